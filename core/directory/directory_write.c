#include "core/directory/write_internal.h"

#include "core/clock.h"
#include "core/directory/schema.h"
#include "core/encode.h"
#include "core/nearest.h"
#include "core/net_address.h"
#include "core/rand.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Changes kept for followers that come back; older ones load everything, which takes a second. */
#define CHANGES_KEPT "100000"
enum {
	/* A server that is restarted is back within a second or two, on a busy machine in five; a
	 * failover that has fenced has ten for its decision. */
	RECONNECT_MS = 6000,
	RECONNECT_PAUSE_MS = 50,
};

void directory_server_memory(const struct config *config, struct buf *out)
{
	buf_printf(out, "%s/pando-directory.server", config->data_dir);
}

int writer_query(struct directory_writer *writer, struct error *error, const char *text,
	const char *const *values, unsigned count, struct sql_result **result_out)
{
	return sql_query(writer->sql, text, values, count, result_out, error);
}

/* In the place of a connection that is lost, which stays when there is no other. */
static int connect_postgres(struct directory_writer *writer, struct error *error)
{
	struct buf path = { 0 };
	struct sql *sql = NULL;
	struct error refusal = { 0 };
	directory_server_memory(writer->config, &path);
	int code = sql_open_postgres(
		writer->config->directory, buf_terminated(&path), &sql, &refusal, error);
	if (code == 0) {
		sql_close(&writer->sql);
		writer->sql = sql;
		writer->why_read_only = refusal;
		writer->is_read_only = refusal.text[0] != '\0';
		writer->moves.are_lost = buf_length(&writer->moves.doing) > 0;
	}
	buf_deinit(&path);
	return code;
}

int directory_writer_open(
	const struct config *config, struct directory_writer **writer_out, struct error *error)
{
	struct directory_writer *writer = mem_alloc(sizeof(*writer));
	struct buf path = { 0 };
	int code;
	writer->config = config;
	if (strcmp(config->directory, "standalone") == 0) {
		directory_file_path(config, &path);
		code = sql_open_file(buf_terminated(&path), false, &writer->sql, error);
		if (code == 0)
			code = sql_script(writer->sql, "pragma foreign_keys = on", error);
	} else {
		code = connect_postgres(writer, error);
	}
	bool is_open = code == 0;
	if (is_open)
		code = writer_query(
			writer, error, "select max(number) from migration", NULL, 0, NULL);
	/* Any other refusal is its own reason: who makes a directory anew has lost the old one. */
	if (is_open && code == -EPROTONOSUPPORT)
		code = error_set(error, -ENOENT,
			"the directory has not been initialised: run `pando init` first");
	else if (!is_open && code == -ENOENT)
		code = error_set(error, -ENOENT,
			"there is no directory file %s: `pando init --standalone` makes one, "
			"`pando restore --directory` brings one back out of a backup",
			buf_terminated(&path));
	buf_deinit(&path);
	if (code < 0)
		directory_writer_close(&writer);
	*writer_out = writer;
	return code;
}

void directory_writer_give_way(struct directory_writer *writer)
{
	writer->gives_way = true;
}

void directory_writer_close(struct directory_writer **writer)
{
	if (!*writer)
		return;
	sql_close(&(*writer)->sql);
	buf_deinit(&(*writer)->loads);
	writer_forget_moves(*writer);
	free(*writer);
	*writer = NULL;
}

int directory_check_writable(const struct directory_writer *writer, struct error *error)
{
	return writer->is_read_only ? error_set(error, -EROFS, "%s", writer->why_read_only.text)
				    : 0;
}

static int begin_once(struct directory_writer *writer, struct error *error)
{
	int code = directory_check_writable(writer, error);
	if (code == 0 && writer->moves.are_lost)
		code = writer_take_moves(writer, error);
	if (code < 0)
		return code;
	if (!sql_is_postgres(writer->sql))
		return sql_script(writer->sql, "begin immediate", error);
	return sql_script(writer->sql,
		writer->gives_way ? SCHEMA_BEGIN_WRITING(IDLE_TIMEOUT_OF_DAEMONS)
				  : SCHEMA_BEGIN_WRITING(IDLE_TIMEOUT),
		error);
}

/* A server was restarted: nothing of the transaction was there yet, so that it can begin on another
 * connection, with the volumes that were taken there. Volumes may stand still for it. */
static int begin_again(struct directory_writer *writer, struct error *error)
{
	uint64_t end_us = clock_mono_us() + RECONNECT_MS * 1000u;
	int code;
	do {
		clock_sleep_ms(RECONNECT_PAUSE_MS);
		code = connect_postgres(writer, error);
		if (code == 0)
			code = begin_once(writer, error);
	} while (code < 0 && sql_is_lost(writer->sql) && clock_mono_us() < end_us);
	return code;
}

int directory_begin(struct directory_writer *writer, struct error *error)
{
	CHECK(!writer->in_transaction);
	int code = begin_once(writer, error);
	if (code < 0 && sql_is_lost(writer->sql))
		code = begin_again(writer, error);
	writer->in_transaction = code == 0;
	/* A lock that was waited for in vain leaves a transaction that has failed. */
	if (code < 0 && sql_is_postgres(writer->sql))
		(void)!sql_script(writer->sql, "rollback", NULL);
	buf_clear(&writer->loads);
	writer->reservation = (struct reservation){ 0 };
	return code;
}

int directory_commit(struct directory_writer *writer, struct error *error)
{
	int code = writer_query(writer, error,
		"delete from change where revision <= (select max(revision) from change) "
		"- " CHANGES_KEPT,
		NULL, 0, NULL);
	if (code == 0)
		code = sql_script(writer->sql, "commit", error);
	if (code < 0)
		directory_rollback(writer);
	writer->in_transaction = false;
	writer->has_committed |= code == 0;
	return code;
}

bool directory_has_committed(const struct directory_writer *writer)
{
	return writer->has_committed;
}

void directory_rollback(struct directory_writer *writer)
{
	if (writer->in_transaction)
		(void)!sql_script(writer->sql, "rollback", NULL);
	writer->in_transaction = false;
}

/* Begins when the caller has not, and remembers that in *own. */
int writer_enter(struct directory_writer *writer, bool *own, struct error *error)
{
	*own = !writer->in_transaction;
	return *own ? directory_begin(writer, error) : 0;
}

int writer_leave(struct directory_writer *writer, bool own, int code, struct error *error)
{
	if (!own)
		return code;
	if (code == 0)
		return directory_commit(writer, error);
	directory_rollback(writer);
	return code;
}

void writer_who(char who_out[64])
{
	const char *who = getenv("SUDO_USER");
	const struct passwd *account = who ? NULL : getpwuid(getuid());
	if (account)
		who = account->pw_name;
	if (who)
		snprintf(who_out, 64, "%s", who);
	else
		snprintf(who_out, 64, "uid %u", (unsigned)getuid());
	/* Accounts are named in ASCII; a variable may hold what no database takes. */
	for (char *c = who_out; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

int writer_audit(struct directory_writer *writer, const char *action, const char *detail,
	struct error *error)
{
	char who[64];
	writer_who(who);
	return writer_query(writer, error,
		"insert into audit (who, action, detail) values ($1, $2, $3)",
		SQL_VALUES(who, action, detail), NULL);
}

/* The next number of a kind; never given again. Blocks double from 1, so that a single addition
 * leaves no gap. */
int writer_next_id(
	struct directory_writer *writer, const char *kind, char id_out[24], struct error *error)
{
	struct reservation *reservation = &writer->reservation;
	struct sql_result *result = NULL;
	if (strcmp(reservation->kind, kind) != 0) {
		*reservation = (struct reservation){ .block = 1 };
		snprintf(reservation->kind, sizeof(reservation->kind), "%s", kind);
	}
	if (reservation->next == reservation->end) {
		char block[24];
		snprintf(block, sizeof(block), "%llu", (unsigned long long)reservation->block);
		int code = writer_query(writer, error,
			"insert into counter (name, value) values ($1, $2) "
			"on conflict (name) do update set value = counter.value + excluded.value "
			"returning value",
			SQL_VALUES(kind, block), &result);
		if (code < 0)
			return code;
		reservation->end = sql_value_u64(result, 0, 0) + 1;
		reservation->next = reservation->end - reservation->block;
		reservation->block *= reservation->block < 4096 ? 2 : 1;
		sql_result_free(&result);
	}
	snprintf(id_out, 24, "%llu", (unsigned long long)reservation->next++);
	return 0;
}

int writer_raise_ids(
	struct directory_writer *writer, const char *kind, uint64_t above, struct error *error)
{
	struct reservation *reservation = &writer->reservation;
	struct sql_result *result = NULL;
	char value[24];
	bool is_ours = strcmp(reservation->kind, kind) == 0;
	if (above == 0 || (is_ours && reservation->next > above))
		return 0;
	snprintf(value, sizeof(value), "%llu", (unsigned long long)above);
	int code = writer_query(writer, error,
		"insert into counter (name, value) values ($1, $2) on conflict (name) do "
		"update set value = excluded.value where counter.value < excluded.value "
		"returning value",
		SQL_VALUES(kind, value), &result);
	if (code == 0 && is_ours && sql_rows(result) > 0)
		*reservation = (struct reservation){ 0 };
	sql_result_free(&result);
	return code;
}

static bool is_name(const char *text)
{
	size_t length = strlen(text);
	if (length == 0 || length > 63 || text[0] == '-' || text[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!(text[i] >= 'a' && text[i] <= 'z') && !ascii_is_digit(text[i]) &&
			text[i] != '-' && text[i] != '.')
			return false;
	return true;
}

int directory_check_name(const char *what, const char *name, struct error *error)
{
	if (is_name(name))
		return 0;
	return error_set(error, -EINVAL,
		"`%s` cannot name a %s: take 1 to 63 lower-case letters, digits, hyphens and dots, "
		"a letter or digit first",
		name, what);
}

int directory_check_endpoint(const char *what, const char *address, struct error *error)
{
	struct net_address parsed;
	int code = net_address_parse(address, &parsed);
	/* The columns of the directory that the daemons read have room for so much. */
	if (code == 0 && strlen(address) < 96 && net_address_is_destination(&parsed))
		return 0;
	return error_set(error, -EINVAL,
		"`%s` is no %s address that others can connect to: write it in numbers, as "
		"192.0.2.1:2424 or [2001:db8::1]:2424",
		address, what);
}

static int no_such_row(
	struct directory_writer *writer, const char *table, const char *name, struct error *error)
{
	char text[96];
	struct sql_result *result = NULL;
	struct nearest nearest = { .wanted = str_from(name) };
	snprintf(text, sizeof(text), "select name from %s order by name", table);
	if (error && writer_query(writer, NULL, text, NULL, 0, &result) == 0)
		for (unsigned row = 0; row < sql_rows(result); row++)
			nearest_offer(&nearest, str_from(sql_value(result, row, 0)));
	sql_result_free(&result);
	return nearest_refuse(&nearest, table, error);
}

/* The id of a row by its name; -ENOENT with a sentence. */
int writer_find_id(struct directory_writer *writer, const char *table, const char *name,
	char id_out[24], struct error *error)
{
	char text[96];
	struct sql_result *result = NULL;
	snprintf(text, sizeof(text), "select id from %s where name = $1", table);
	int code = writer_query(writer, error, text, SQL_VALUES(name), &result);
	if (code == 0 && sql_rows(result) == 0)
		code = no_such_row(writer, table, name, error);
	else if (code == 0)
		snprintf(id_out, 24, "%s", sql_value(result, 0, 0));
	sql_result_free(&result);
	return code;
}

int writer_exists_already(int code, const char *what, const char *name, struct error *error)
{
	if (code == -EEXIST)
		return error_set(error, code, "the %s `%s` exists already", what, name);
	return code;
}

int writer_check_only_name(
	struct directory_writer *writer, const char *kind, const char *name, struct error *error)
{
	static const char *const kinds[] = { "site", "node", "volume" };
	int code = -ENOENT;
	for (size_t i = 0; i < array_length(kinds) && code == -ENOENT; i++) {
		char id[24];
		if (strcmp(kinds[i], kind) == 0)
			continue;
		code = writer_find_id(writer, kinds[i], name, id, NULL);
		if (code == 0)
			return error_set(error, -EEXIST,
				"a %s is called `%s` already: no %s can be, as `pando failover` "
				"takes the names of both",
				kinds[i], name, kind);
	}
	return code == -ENOENT ? 0 : error_set(error, code, "the directory cannot be read");
}

/* A row of a table that has nothing but an id and a name. */
int writer_add_named(
	struct directory_writer *writer, const char *table, const char *name, struct error *error)
{
	char id[24], statement[80], action[24];
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	snprintf(statement, sizeof(statement), "insert into %s (id, name) values ($1, $2)", table);
	snprintf(action, sizeof(action), "%s add", table);
	code = writer_next_id(writer, table, id, error);
	if (code == 0)
		code = writer_exists_already(
			writer_query(writer, error, statement, SQL_VALUES(id, name), NULL), table,
			name, error);
	if (code == 0)
		code = writer_audit(writer, action, name, error);
	return writer_leave(writer, own, code, error);
}

int directory_add_site(struct directory_writer *writer, const char *name, struct error *error)
{
	bool own;
	int code = directory_check_name("site", name, error);
	if (code == 0)
		code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = writer_check_only_name(writer, "site", name, error);
	if (code == 0)
		code = writer_add_named(writer, "site", name, error);
	return writer_leave(writer, own, code, error);
}

static int check_node(const struct node_description *node, struct error *error)
{
	int code = directory_check_name("node", node->name, error);
	if (code == 0)
		code = directory_check_endpoint("LMTP", node->lmtp, error);
	if (code == 0)
		code = directory_check_endpoint("IMAP", node->imap, error);
	if (code == 0)
		code = directory_check_endpoint("control", node->control, error);
	if (code == 0)
		code = directory_check_endpoint("replicator", node->replicator, error);
	return code;
}

/* Before its addresses, which are taken then too. */
static int check_name_is_free(
	struct directory_writer *writer, const char *table, const char *name, struct error *error)
{
	char id[24];
	int code = writer_find_id(writer, table, name, id, NULL);
	return code == -ENOENT ? 0
		: code < 0     ? error_set(error, code, "the directory cannot be read")
			       : writer_exists_already(-EEXIST, table, name, error);
}

/* Two daemons at one address are a slip of the hand that shows as somebody else's answers. */
static int check_unused(struct directory_writer *writer, const char *const *addresses,
	unsigned count, struct error *error)
{
	int code = 0;
	for (unsigned i = 0; i < count && code == 0; i++) {
		struct sql_result *result = NULL;
		for (unsigned k = 0; k < i && addresses[i][0]; k++)
			if (strcmp(addresses[i], addresses[k]) == 0)
				return error_set(error, -EINVAL,
					"the address `%s` is given twice: everything that listens "
					"has its own",
					addresses[i]);
		if (addresses[i][0])
			code = writer_query(writer, error,
				"select 'node', name from node "
				"where $1 in (lmtp, imap, control, replicator) "
				"union all select 'router', name from router "
				"where $1 in (control, queue)",
				SQL_VALUES(addresses[i]), &result);
		if (code == 0 && addresses[i][0] && sql_rows(result) > 0)
			code = error_set(error, -EEXIST,
				"`%s` is an address of the %s `%s` already: everything that "
				"listens has its own",
				addresses[i], sql_value(result, 0, 0), sql_value(result, 0, 1));
		sql_result_free(&result);
	}
	return code;
}

int writer_check_unused(struct directory_writer *writer, const char *address, const char *column,
	const char *node_id, struct error *error)
{
	char text[96];
	struct sql_result *result = NULL;
	snprintf(text, sizeof(text), "select id from node where id = $1 and %s = $2", column);
	int code = writer_query(writer, error, text, SQL_VALUES(node_id, address), &result);
	bool is_its_own = code == 0 && sql_rows(result) > 0;
	sql_result_free(&result);
	return code < 0 || is_its_own ? code
				      : check_unused(writer, &address, 1, error);
}

int directory_add_node(
	struct directory_writer *writer, const struct node_description *node, struct error *error)
{
	char id[24], site_id[24];
	bool own;
	int code = check_node(node, error);
	if (code == 0)
		code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = writer_find_id(writer, "site", node->site, site_id, error);
	if (code == 0)
		code = check_name_is_free(writer, "node", node->name, error);
	if (code == 0)
		code = writer_check_only_name(writer, "node", node->name, error);
	if (code == 0)
		code = check_unused(writer,
			(const char *const[]){
				node->lmtp, node->imap, node->control, node->replicator },
			4, error);
	if (code == 0)
		code = writer_next_id(writer, "node", id, error);
	if (code == 0)
		code = writer_exists_already(
			writer_query(writer, error,
				"insert into node (id, site_id, name, lmtp, imap, "
				"control, replicator) "
				"values ($1, $2, $3, $4, $5, $6, $7)",
				SQL_VALUES(id, site_id, node->name, node->lmtp, node->imap,
					node->control, node->replicator),
				NULL),
			"node", node->name, error);
	if (code == 0)
		code = writer_audit(writer, "node add", node->name, error);
	return writer_leave(writer, own, code, error);
}

int directory_add_router(struct directory_writer *writer, const struct router_description *router,
	struct error *error)
{
	char id[24], site_id[24];
	bool own;
	int code = directory_check_name("router", router->name, error);
	if (code == 0)
		code = directory_check_endpoint("control", router->control, error);
	if (code == 0 && router->queue[0])
		code = directory_check_endpoint("queue", router->queue, error);
	if (code == 0)
		code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = writer_find_id(writer, "site", router->site, site_id, error);
	if (code == 0)
		code = check_name_is_free(writer, "router", router->name, error);
	if (code == 0)
		code = check_unused(
			writer, (const char *const[]){ router->control, router->queue }, 2, error);
	if (code == 0)
		code = writer_next_id(writer, "router", id, error);
	if (code == 0)
		code = writer_exists_already(
			writer_query(writer, error,
				"insert into router (id, site_id, name, control, "
				"queue) values ($1, $2, $3, $4, $5)",
				SQL_VALUES(
					id, site_id, router->name, router->control, router->queue),
				NULL),
			"router", router->name, error);
	if (code == 0)
		code = writer_audit(writer, "router add", router->name, error);
	return writer_leave(writer, own, code, error);
}

int writer_check_durability(const char *name, struct error *error)
{
	if (strcmp(name, "remote") == 0 || strcmp(name, "strict") == 0 ||
		strcmp(name, "local") == 0)
		return 0;
	return error_set(error, -EINVAL, "`%s` is no durability: remote, strict or local", name);
}

static int add_copy(struct directory_writer *writer, const char *volume_id, const char *node,
	bool preferred, unsigned slot, struct error *error)
{
	char id[24], node_id[24], slot_text[24];
	int code = writer_find_id(writer, "node", node, node_id, error);
	snprintf(slot_text, sizeof(slot_text), "%u", slot % VOLUME_COPIES_MAX);
	if (code == 0)
		code = writer_next_id(writer, "volume_copy", id, error);
	if (code == 0)
		code = writer_query(writer, error,
			"insert into volume_copy (id, volume_id, node_id, preferred, slot) values "
			"($1, $2, $3, $4, $5)",
			SQL_VALUES(id, volume_id, node_id, preferred ? "1" : "0", slot_text), NULL);
	if (code == -EEXIST)
		code = error_set(error, code, "the node `%s` is named twice for one volume", node);
	if (code == 0)
		code = writer_query(writer, error,
			"insert into volume_slot (volume_id, slot, node_id) values ($1, $2, $3)",
			SQL_VALUES(volume_id, slot_text, node_id), NULL);
	return code;
}

static void random_reign(struct buf *out)
{
	uint8_t reign[REIGN_LENGTH];
	rand_bytes(reign, sizeof(reign));
	encode_hex(out, reign, sizeof(reign));
}

static int insert_volume(struct directory_writer *writer, const struct volume_description *volume,
	const char *durability, struct error *error)
{
	char id[24], node_id[24];
	struct buf reign = { 0 };
	int code = writer_find_id(writer, "node", volume->primary_node, node_id, error);
	if (code == 0)
		code = writer_check_only_name(writer, "volume", volume->name, error);
	if (code == 0)
		code = writer_next_id(writer, "volume", id, error);
	random_reign(&reign);
	if (code == 0)
		code = writer_exists_already(
			writer_query(writer, error,
				"insert into volume (id, name, epoch, reign, primary_node_id, "
				"durability, unclean, "
				"epoch_start_lsn) values ($1, $2, 1, $3, $4, $5, false, 0)",
				SQL_VALUES(id, volume->name, buf_terminated(&reign), node_id,
					durability),
				NULL),
			"volume", volume->name, error);
	buf_deinit(&reign);
	if (code == 0)
		code = add_copy(writer, id, volume->primary_node, true, 1, error);
	for (unsigned i = 0; code == 0 && i < volume->replica_count; i++)
		code = add_copy(writer, id, volume->replica_nodes[i], false, i + 2, error);
	return code;
}

int directory_add_volume(struct directory_writer *writer, const struct volume_description *volume,
	struct error *error)
{
	const char *durability = volume->durability;
	bool own;
	if (!durability)
		durability = volume->replica_count ? "remote" : "local";
	int code = directory_check_name("volume", volume->name, error);
	if (code == 0)
		code = writer_check_durability(durability, error);
	if (code == 0 && volume->replica_count == 0 && strcmp(durability, "strict") == 0)
		code = error_set(error, -EINVAL,
			"a strict volume needs a replica, without which it refuses every message: "
			"name one with --replica");
	if (code == 0)
		code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = insert_volume(writer, volume, durability, error);
	if (code == 0)
		code = writer_audit(writer, "volume add", volume->name, error);
	return writer_leave(writer, own, code, error);
}

static int promote_one(
	struct directory_writer *writer, struct promotion *promotion, struct error *error)
{
	char id[24], epoch[24], expected_epoch[24], node_id[24], start_lsn[24], detail[256];
	char token[24], clean_after[24], from_epoch[24];
	struct buf reign = { 0 }, expected_reign = { 0 };
	struct sql_result *result = NULL;
	snprintf(id, sizeof(id), "%u", promotion->volume_id);
	snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)promotion->epoch);
	snprintf(expected_epoch, sizeof(expected_epoch), "%llu",
		(unsigned long long)promotion->expected_epoch);
	snprintf(node_id, sizeof(node_id), "%u", promotion->primary_node_id);
	snprintf(start_lsn, sizeof(start_lsn), "%llu",
		(unsigned long long)promotion->epoch_start_lsn);
	snprintf(token, sizeof(token), "%llu", (unsigned long long)promotion->token);
	snprintf(clean_after, sizeof(clean_after), "%llu",
		(unsigned long long)promotion->clean_after);
	snprintf(from_epoch, sizeof(from_epoch), "%llu", (unsigned long long)promotion->from_epoch);
	encode_hex(&reign, promotion->reign, REIGN_LENGTH);
	encode_hex(&expected_reign, promotion->expected_reign, REIGN_LENGTH);
	int code = writer_query(writer, error,
		"update volume set epoch = $1, reign = $2, primary_node_id = $3, unclean = $4, "
		"epoch_start_lsn = $5, token = $9, clean_after = $10 "
		"where id = $6 and epoch = $7 and reign = $8 and $1 > epoch "
		"and (freed_epoch < $11 or (freed_epoch = $11 and freed_lsn <= $5)) "
		"and exists "
		"(select 1 from volume_copy c where c.volume_id = volume.id and c.node_id = $3) "
		"returning name",
		SQL_VALUES(epoch, buf_terminated(&reign), node_id,
			promotion->clean_after ? "0" : "1", start_lsn, id, expected_epoch,
			buf_terminated(&expected_reign), token, clean_after, from_epoch),
		&result);
	promotion->is_stale = code == 0 && sql_rows(result) == 0;
	if (code == 0 && !promotion->is_stale) {
		snprintf(detail, sizeof(detail), "%s: epoch %s to node %s at LSN %s%s reign %s",
			sql_value(result, 0, 0), epoch, node_id, start_lsn,
			promotion->clean_after ? " clean" : " unclean", buf_terminated(&reign));
		code = writer_audit(
			writer, promotion->action ? promotion->action : "promote", detail, error);
	}
	/* Who is primary has what there is of it, whatever was said of that copy before. */
	if (code == 0 && !promotion->is_stale)
		code = writer_query(writer, error,
			"update volume_copy set seeding = false "
			"where volume_id = $1 and node_id = $2 and seeding",
			SQL_VALUES(id, node_id), NULL);
	sql_result_free(&result);
	buf_deinit(&reign);
	buf_deinit(&expected_reign);
	return code;
}

/* Nobody else changes the row from here on; waiting for one who does is bounded. */
int writer_lock_volume(struct directory_writer *writer, const char *id, struct error *error)
{
	return writer_query(writer, error,
		sql_is_postgres(writer->sql) ? "select id from volume where id = $1 for update"
					     : "select id from volume where id = $1",
		SQL_VALUES(id), NULL);
}

static int promote_all(struct directory_writer *writer, struct promotion *promotions,
	unsigned count, uint64_t decide_by_us, struct error *error)
{
	char id[24];
	int code = 0;
	for (unsigned i = 0; i < count && code == 0; i++) {
		snprintf(id, sizeof(id), "%u", promotions[i].volume_id);
		code = writer_lock_volume(writer, id, error);
	}
	if (code == 0 && decide_by_us && clock_mono_us() > decide_by_us)
		code = error_set(error, -ETIMEDOUT,
			"the directory was locked too late for what the copies said: nothing was "
			"changed, run the command again");
	for (unsigned i = 0; i < count && code == 0; i++)
		code = promote_one(writer, &promotions[i], error);
	return code;
}

int directory_promote(struct directory_writer *writer, struct promotion *promotions, unsigned count,
	uint64_t decide_by_us, struct error *error)
{
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = promote_all(writer, promotions, count, decide_by_us, error);
	return writer_leave(writer, own, code, error);
}

int directory_note_service(
	struct directory_writer *writer, const struct volume_service *service, struct error *error)
{
	char id[24], epoch[24], incarnation[24], slacks[24], freed_epoch[24], freed_lsn[24];
	snprintf(
		freed_epoch, sizeof(freed_epoch), "%llu", (unsigned long long)service->freed_epoch);
	snprintf(freed_lsn, sizeof(freed_lsn), "%llu", (unsigned long long)service->freed_lsn);
	snprintf(id, sizeof(id), "%u", service->volume_id);
	snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)service->epoch);
	snprintf(
		incarnation, sizeof(incarnation), "%llu", (unsigned long long)service->incarnation);
	snprintf(slacks, sizeof(slacks), "%llu", (unsigned long long)service->uid_slacks);
	int code = writer_query(writer, error,
		"update volume set incarnation = $1, "
		"uid_slacks = case when uid_slacks < $2 then $2 else uid_slacks end "
		"where id = $3 and epoch = $4 and (incarnation <> $1 or uid_slacks < $2)",
		SQL_VALUES(incarnation, slacks, id, epoch), NULL);
	if (code == 0 && service->freed_lsn > 0)
		code = writer_query(writer, error,
			"update volume set freed_epoch = $4, freed_lsn = $1 where id = $2 "
			"and epoch = $3 and (freed_epoch < $4 or (freed_epoch = $4 and freed_lsn < "
			"$1))",
			SQL_VALUES(freed_lsn, id, epoch, freed_epoch), NULL);
	for (unsigned i = 0; code == 0 && i < VOLUME_COPIES_MAX; i++) {
		char copy[24];
		if (service->filled_copies[i] == 0)
			continue;
		snprintf(copy, sizeof(copy), "%llu",
			(unsigned long long)service->filled_copies[i]);
		code = writer_query(writer, error,
			"update volume_copy set seeding = false where id = $1 and volume_id = $2 "
			"and seeding and exists "
			"(select 1 from volume where id = $2 and epoch = $3)",
			SQL_VALUES(copy, id, epoch), NULL);
	}
	return code;
}

struct sql *directory_writer_sql(struct directory_writer *writer)
{
	return writer->sql;
}
