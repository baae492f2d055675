#include "core/directory/directory_write.h"

#include "core/directory/schema.h"
#include "core/encode.h"
#include "core/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Changes kept for followers that come back; older ones load everything, which takes a second. */
#define CHANGES_KEPT "100000"

struct volume_load {
	uint64_t id, mailboxes;
};

/* Numbers of one kind taken ahead in this transaction: a counter row updated for each of 100,000
 * mailboxes leaves as many dead versions to walk over. */
struct reservation {
	char kind[16];
	uint64_t next, end, block;
};

struct directory_writer {
	struct sql *sql;
	/* Only a standby was reached: for reading. */
	bool is_read_only;
	struct error why_read_only;
	bool in_transaction;
	/* During one transaction, so that an import does not count all mailboxes for each new one.
	 */
	struct buf loads; /* struct volume_load each */
	struct reservation reservation;
};

static int query(struct directory_writer *writer, struct error *error, const char *text,
	const char *const *values, unsigned count, struct sql_result **result_out)
{
	return sql_query(writer->sql, text, values, count, result_out, error);
}

int directory_writer_open(
	const struct config *config, struct directory_writer **writer_out, struct error *error)
{
	struct directory_writer *writer = mem_alloc(sizeof(*writer));
	struct buf path = { 0 };
	int code;
	if (strcmp(config->directory, "standalone") == 0) {
		buf_printf(&path, "%s/directory.sqlite", config->data_dir);
		code = sql_open_file(buf_terminated(&path), false, &writer->sql, error);
		if (code == 0)
			code = sql_script(writer->sql, "pragma foreign_keys = on", error);
	} else {
		code = sql_open_postgres(
			config->directory, true, &writer->sql, &writer->why_read_only);
		if (code == -EHOSTUNREACH) {
			writer->is_read_only = true;
			code = sql_open_postgres(config->directory, false, &writer->sql, NULL);
		}
		if (code < 0)
			error_set(error, code, "%s", writer->why_read_only.text);
	}
	if (code == 0 &&
		query(writer, NULL, "select max(number) from migration", NULL, 0, NULL) < 0)
		code = error_set(error, -ENOENT,
			"the directory has not been initialised: run `pando init` first");
	else if (code == -ENOENT)
		code = error_set(error, -ENOENT,
			"there is no directory file %s: run `pando init --standalone` first",
			buf_terminated(&path));
	buf_deinit(&path);
	if (code < 0)
		directory_writer_close(&writer);
	*writer_out = writer;
	return code;
}

void directory_writer_close(struct directory_writer **writer)
{
	if (!*writer)
		return;
	sql_close(&(*writer)->sql);
	buf_deinit(&(*writer)->loads);
	free(*writer);
	*writer = NULL;
}

int directory_begin(struct directory_writer *writer, struct error *error)
{
	CHECK(!writer->in_transaction);
	if (writer->is_read_only)
		return error_set(error, -EROFS, "%s", writer->why_read_only.text);
	int code = sql_script(writer->sql,
		sql_is_postgres(writer->sql) ? "begin; " FEED_LOCK : "begin immediate", error);
	writer->in_transaction = code == 0;
	buf_clear(&writer->loads);
	writer->reservation = (struct reservation){ 0 };
	return code;
}

int directory_commit(struct directory_writer *writer, struct error *error)
{
	int code = query(writer, error,
		"delete from change where revision <= (select max(revision) from change) "
		"- " CHANGES_KEPT,
		NULL, 0, NULL);
	if (code == 0)
		code = sql_script(writer->sql, "commit", error);
	if (code < 0)
		directory_rollback(writer);
	writer->in_transaction = false;
	return code;
}

void directory_rollback(struct directory_writer *writer)
{
	if (writer->in_transaction)
		(void)!sql_script(writer->sql, "rollback", NULL);
	writer->in_transaction = false;
}

/* Begins when the caller has not, and remembers that in *own. */
static int enter(struct directory_writer *writer, bool *own, struct error *error)
{
	*own = !writer->in_transaction;
	return *own ? directory_begin(writer, error) : 0;
}

static int leave(struct directory_writer *writer, bool own, int code, struct error *error)
{
	if (!own)
		return code;
	if (code == 0)
		return directory_commit(writer, error);
	directory_rollback(writer);
	return code;
}

static int audit(struct directory_writer *writer, const char *action, const char *detail,
	struct error *error)
{
	const char *who = getenv("SUDO_USER");
	if (!who)
		who = getenv("USER");
	char number[32];
	if (!who) {
		snprintf(number, sizeof(number), "uid %u", (unsigned)getuid());
		who = number;
	}
	return query(writer, error, "insert into audit (who, action, detail) values ($1, $2, $3)",
		SQL_VALUES(who, action, detail), NULL);
}

/* The next number of a kind; never given again. Blocks double from 1, so that a single addition
 * leaves no gap. */
static int next_id(
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
		int code = query(writer, error,
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

static int check_name(const char *what, const char *name, struct error *error)
{
	if (is_name(name))
		return 0;
	return error_set(error, -EINVAL,
		"`%s` is no %s name: 1 to 63 lower-case letters, digits, hyphens and dots", name,
		what);
}

static int check_endpoint(const char *what, const char *address, struct error *error)
{
	struct str text = str_from(address);
	ptrdiff_t colon = str_find_last_byte(text, ':');
	uint64_t port;
	if (colon > 0 && text.length < 96 &&
		str_to_u64(str_from_index(text, (size_t)colon + 1), 65535, &port) && port > 0)
		return 0;
	return error_set(error, -EINVAL,
		"`%s` is no %s address: write it as 192.0.2.1:2424 or [2001:db8::1]:2424", address,
		what);
}

/* The id of a row by its name; -ENOENT with a sentence. */
static int find_id(struct directory_writer *writer, const char *table, const char *name,
	char id_out[24], struct error *error)
{
	char text[96];
	struct sql_result *result = NULL;
	snprintf(text, sizeof(text), "select id from %s where name = $1", table);
	int code = query(writer, error, text, SQL_VALUES(name), &result);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ENOENT, "there is no %s `%s`: see `pando %s list`", table,
			name, table);
	else if (code == 0)
		snprintf(id_out, 24, "%s", sql_value(result, 0, 0));
	sql_result_free(&result);
	return code;
}

static int exists_already(int code, const char *what, const char *name, struct error *error)
{
	if (code == -EEXIST)
		return error_set(error, code, "the %s `%s` exists already", what, name);
	return code;
}

/* A row of a table that has nothing but an id and a name. */
static int add_named(
	struct directory_writer *writer, const char *table, const char *name, struct error *error)
{
	char id[24], statement[80], action[24];
	bool own;
	int code = enter(writer, &own, error);
	if (code < 0)
		return code;
	snprintf(statement, sizeof(statement), "insert into %s (id, name) values ($1, $2)", table);
	snprintf(action, sizeof(action), "%s add", table);
	code = next_id(writer, table, id, error);
	if (code == 0)
		code = exists_already(
			query(writer, error, statement, SQL_VALUES(id, name), NULL), table, name,
			error);
	if (code == 0)
		code = audit(writer, action, name, error);
	return leave(writer, own, code, error);
}

int directory_add_site(struct directory_writer *writer, const char *name, struct error *error)
{
	int code = check_name("site", name, error);
	return code < 0 ? code : add_named(writer, "site", name, error);
}

static int check_node(const struct node_description *node, struct error *error)
{
	int code = check_name("node", node->name, error);
	if (code == 0)
		code = check_endpoint("LMTP", node->lmtp, error);
	if (code == 0)
		code = check_endpoint("IMAP", node->imap, error);
	if (code == 0)
		code = check_endpoint("control", node->control, error);
	if (code == 0)
		code = check_endpoint("replicator", node->replicator, error);
	return code;
}

int directory_add_node(
	struct directory_writer *writer, const struct node_description *node, struct error *error)
{
	char id[24], site_id[24];
	bool own;
	int code = check_node(node, error);
	if (code == 0)
		code = enter(writer, &own, error);
	if (code < 0)
		return code;
	code = find_id(writer, "site", node->site, site_id, error);
	if (code == 0)
		code = next_id(writer, "node", id, error);
	if (code == 0)
		code = exists_already(query(writer, error,
					      "insert into node (id, site_id, name, lmtp, imap, "
					      "control, replicator) "
					      "values ($1, $2, $3, $4, $5, $6, $7)",
					      SQL_VALUES(id, site_id, node->name, node->lmtp,
						      node->imap, node->control, node->replicator),
					      NULL),
			"node", node->name, error);
	if (code == 0)
		code = audit(writer, "node add", node->name, error);
	return leave(writer, own, code, error);
}

int directory_add_router(struct directory_writer *writer, const struct router_description *router,
	struct error *error)
{
	char id[24], site_id[24];
	bool own;
	int code = check_name("router", router->name, error);
	if (code == 0)
		code = check_endpoint("control", router->control, error);
	if (code == 0 && router->queue[0])
		code = check_endpoint("queue", router->queue, error);
	if (code == 0)
		code = enter(writer, &own, error);
	if (code < 0)
		return code;
	code = find_id(writer, "site", router->site, site_id, error);
	if (code == 0)
		code = next_id(writer, "router", id, error);
	if (code == 0)
		code = exists_already(query(writer, error,
					      "insert into router (id, site_id, name, control, "
					      "queue) values ($1, $2, $3, $4, $5)",
					      SQL_VALUES(id, site_id, router->name, router->control,
						      router->queue),
					      NULL),
			"router", router->name, error);
	if (code == 0)
		code = audit(writer, "router add", router->name, error);
	return leave(writer, own, code, error);
}

static int check_durability(const char *name, struct error *error)
{
	if (strcmp(name, "remote") == 0 || strcmp(name, "strict") == 0 ||
		strcmp(name, "local") == 0)
		return 0;
	return error_set(error, -EINVAL, "`%s` is no durability: remote, strict or local", name);
}

static int add_copy(struct directory_writer *writer, const char *volume_id, const char *node,
	bool preferred, struct error *error)
{
	char id[24], node_id[24];
	int code = find_id(writer, "node", node, node_id, error);
	if (code == 0)
		code = next_id(writer, "volume_copy", id, error);
	if (code == 0)
		code = query(writer, error,
			"insert into volume_copy (id, volume_id, node_id, preferred) values ($1, "
			"$2, $3, $4)",
			SQL_VALUES(id, volume_id, node_id, preferred ? "1" : "0"), NULL);
	if (code == -EEXIST)
		code = error_set(error, code, "the node `%s` is named twice for one volume", node);
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
	int code = find_id(writer, "node", volume->primary_node, node_id, error);
	if (code == 0)
		code = next_id(writer, "volume", id, error);
	random_reign(&reign);
	if (code == 0)
		code = exists_already(
			query(writer, error,
				"insert into volume (id, name, epoch, reign, primary_node_id, "
				"durability, unclean, "
				"epoch_start_lsn) values ($1, $2, 1, $3, $4, $5, false, 0)",
				SQL_VALUES(id, volume->name, buf_terminated(&reign), node_id,
					durability),
				NULL),
			"volume", volume->name, error);
	buf_deinit(&reign);
	if (code == 0)
		code = add_copy(writer, id, volume->primary_node, true, error);
	for (unsigned i = 0; code == 0 && i < volume->replica_count; i++)
		code = add_copy(writer, id, volume->replica_nodes[i], false, error);
	return code;
}

int directory_add_volume(struct directory_writer *writer, const struct volume_description *volume,
	struct error *error)
{
	const char *durability = volume->durability;
	bool own;
	if (!durability)
		durability = volume->replica_count ? "remote" : "local";
	int code = check_name("volume", volume->name, error);
	if (code == 0)
		code = check_durability(durability, error);
	if (code == 0)
		code = enter(writer, &own, error);
	if (code < 0)
		return code;
	code = insert_volume(writer, volume, durability, error);
	if (code == 0)
		code = audit(writer, "volume add", volume->name, error);
	return leave(writer, own, code, error);
}

int directory_add_domain(struct directory_writer *writer, const char *name, struct error *error)
{
	char lower[256];
	size_t length = strlen(name);
	if (length == 0 || length > 253 || strpbrk(name, "@ \t[]%!:;,<>\"\\/"))
		return error_set(error, -EINVAL, "`%s` is no domain name", name);
	for (size_t i = 0; i <= length; i++)
		lower[i] = ascii_lower(name[i]);
	return add_named(writer, "domain", lower, error);
}

/* Canonical form in `out` (domain in lower case) and the domain's id. */
static int check_address(struct directory_writer *writer, const char *address, struct buf *out,
	char domain_id_out[24], struct error *error)
{
	struct str text = str_from(address);
	ptrdiff_t at = str_find_last_byte(text, '@');
	/* RFC 5321 section 4.5.3.1.1: 64 octets of local part. */
	if (at < 1 || at > 64 || (size_t)at + 1 == text.length || text.length > 320 ||
		strpbrk(address, " \t\r\n<>,;:\""))
		return error_set(
			error, -EINVAL, "`%s` is no address: write it as user@domain", address);
	buf_append_str(out, str_first(text, (size_t)at + 1));
	for (size_t i = (size_t)at + 1; i < text.length; i++)
		buf_append_byte(out, ascii_lower(text.bytes[i]));
	const char *domain = buf_terminated(out) + at + 1;
	int code = find_id(writer, "domain", domain, domain_id_out, NULL);
	if (code == -ENOENT)
		return error_set(error, code,
			"the cluster does not serve `%s`: run `pando domain add %s` first", domain,
			domain);
	return code < 0 ? error_set(error, code, "the directory cannot be read") : 0;
}

static int load_volumes(struct directory_writer *writer, struct error *error)
{
	struct sql_result *result = NULL;
	int code = query(writer, error,
		"select v.id, count(m.id) from volume v left join mailbox m on m.volume_id = v.id "
		"group by v.id order by v.id",
		NULL, 0, &result);
	for (unsigned i = 0; code == 0 && i < sql_rows(result); i++) {
		struct volume_load load = { sql_value_u64(result, i, 0),
			sql_value_u64(result, i, 1) };
		buf_append(&writer->loads, &load, sizeof(load));
	}
	sql_result_free(&result);
	return code;
}

static int least_loaded(struct directory_writer *writer, char id_out[24], struct error *error)
{
	int code = buf_length(&writer->loads) ? 0 : load_volumes(writer, error);
	if (code < 0)
		return code;
	size_t count = buf_length(&writer->loads) / sizeof(struct volume_load);
	struct volume_load *loads = (void *)(writer->loads.memory + writer->loads.start),
			   *least = loads;
	if (count == 0)
		return error_set(error, -ENOENT,
			"there is no volume to place the mailbox on: run `pando volume add` first");
	for (size_t i = 1; i < count; i++)
		if (loads[i].mailboxes < least->mailboxes)
			least = &loads[i];
	least->mailboxes++;
	snprintf(id_out, 24, "%llu", (unsigned long long)least->id);
	return 0;
}

static int put_credential(
	struct directory_writer *writer, const char *id, const char *scram, struct error *error)
{
	return query(writer, error,
		"insert into credential (id, scram) values ($1, $2) "
		"on conflict (id) do update set scram = excluded.scram",
		SQL_VALUES(id, scram), NULL);
}

static int insert_mailbox(struct directory_writer *writer,
	const struct mailbox_description *mailbox, struct error *error)
{
	char id[24], domain_id[24], volume_id[24], quota[24];
	struct buf address = { 0 };
	int code = check_address(writer, mailbox->address, &address, domain_id, error);
	if (code == 0)
		code = mailbox->volume
			       ? find_id(writer, "volume", mailbox->volume, volume_id, error)
			       : least_loaded(writer, volume_id, error);
	if (code == 0)
		code = next_id(writer, "mailbox", id, error);
	snprintf(quota, sizeof(quota), "%llu", (unsigned long long)mailbox->quota_bytes);
	if (code == 0)
		code = exists_already(
			query(writer, error,
				"insert into mailbox (id, address, domain_id, volume_id, "
				"durability, enabled, quota_bytes) "
				"values ($1, $2, $3, $4, $5, true, $6)",
				SQL_VALUES(id, buf_terminated(&address), domain_id, volume_id,
					mailbox->durability ? mailbox->durability : "", quota),
				NULL),
			"mailbox", mailbox->address, error);
	if (code == 0 && mailbox->scram)
		code = put_credential(writer, id, mailbox->scram, error);
	if (code == 0)
		code = audit(writer, "mailbox add", buf_terminated(&address), error);
	buf_deinit(&address);
	return code;
}

int directory_add_mailbox(struct directory_writer *writer,
	const struct mailbox_description *mailbox, struct error *error)
{
	bool own;
	int code = mailbox->durability ? check_durability(mailbox->durability, error) : 0;
	if (code == 0)
		code = enter(writer, &own, error);
	if (code < 0)
		return code;
	return leave(writer, own, insert_mailbox(writer, mailbox, error), error);
}

static int find_mailbox(
	struct directory_writer *writer, const char *address, char id_out[24], struct error *error)
{
	struct sql_result *result = NULL;
	int code = query(writer, error, "select id from mailbox where lower(address) = lower($1)",
		SQL_VALUES(address), &result);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ENOENT,
			"there is no mailbox `%s`: see `pando mailbox list`", address);
	else if (code == 0)
		snprintf(id_out, 24, "%s", sql_value(result, 0, 0));
	sql_result_free(&result);
	return code;
}

int directory_remove_mailbox(
	struct directory_writer *writer, const char *address, struct error *error)
{
	char id[24];
	bool own;
	int code = enter(writer, &own, error);
	if (code < 0)
		return code;
	code = find_mailbox(writer, address, id, error);
	if (code == 0)
		code = query(writer, error, "delete from credential where id = $1", SQL_VALUES(id),
			NULL);
	if (code == 0)
		code = query(
			writer, error, "delete from mailbox where id = $1", SQL_VALUES(id), NULL);
	if (code == 0)
		code = query(writer, error, "delete from alias where lower(target) = lower($1)",
			SQL_VALUES(address), NULL);
	if (code == 0)
		code = audit(writer, "mailbox remove", address, error);
	return leave(writer, own, code, error);
}

int directory_set_credential(struct directory_writer *writer, const char *address,
	const char *scram, struct error *error)
{
	char id[24];
	bool own;
	int code = enter(writer, &own, error);
	if (code < 0)
		return code;
	code = find_mailbox(writer, address, id, error);
	if (code == 0)
		code = put_credential(writer, id, scram, error);
	if (code == 0)
		code = audit(writer, "mailbox passwd", address, error);
	return leave(writer, own, code, error);
}

static int insert_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error)
{
	char id[24], domain_id[24];
	struct buf canonical = { 0 };
	struct sql_result *result = NULL;
	int code = check_address(writer, address, &canonical, domain_id, error);
	if (code == 0 && find_mailbox(writer, address, id, NULL) == 0)
		code = error_set(error, -EEXIST,
			"`%s` is a mailbox: an alias cannot have its address", address);
	if (code == 0)
		code = query(writer, error,
			"select 1 from mailbox where lower(address) = lower($1) union all "
			"select 1 from alias where lower(address) = lower($1)",
			SQL_VALUES(target), &result);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ENOENT,
			"the target `%s` is neither a mailbox nor an alias here", target);
	sql_result_free(&result);
	if (code == 0)
		code = next_id(writer, "alias", id, error);
	if (code == 0)
		code = exists_already(
			query(writer, error,
				"insert into alias (id, address, target) values ($1, $2, $3)",
				SQL_VALUES(id, buf_terminated(&canonical), target), NULL),
			"alias", address, error);
	if (code == 0)
		code = audit(writer, "alias add", buf_terminated(&canonical), error);
	buf_deinit(&canonical);
	return code;
}

int directory_add_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error)
{
	bool own;
	int code = enter(writer, &own, error);
	if (code < 0)
		return code;
	return leave(writer, own, insert_alias(writer, address, target, error), error);
}

int directory_remove_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error)
{
	struct sql_result *result = NULL;
	bool own;
	int code = enter(writer, &own, error);
	if (code < 0)
		return code;
	code = query(writer, error,
		"delete from alias where lower(address) = lower($1) and "
		"(lower(target) = lower($2) or $2 = '') returning id",
		SQL_VALUES(address, target ? target : ""), &result);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ENOENT, "there is no such alias: see `pando alias list`");
	sql_result_free(&result);
	if (code == 0)
		code = audit(writer, "alias remove", address, error);
	return leave(writer, own, code, error);
}

static int promote_one(
	struct directory_writer *writer, const struct promotion *promotion, struct error *error)
{
	char id[24], epoch[24], expected_epoch[24], node_id[24], start_lsn[24], detail[256];
	struct buf reign = { 0 }, expected_reign = { 0 };
	struct sql_result *result = NULL;
	snprintf(id, sizeof(id), "%u", promotion->volume_id);
	snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)promotion->epoch);
	snprintf(expected_epoch, sizeof(expected_epoch), "%llu",
		(unsigned long long)promotion->expected_epoch);
	snprintf(node_id, sizeof(node_id), "%u", promotion->primary_node_id);
	snprintf(start_lsn, sizeof(start_lsn), "%llu",
		(unsigned long long)promotion->epoch_start_lsn);
	encode_hex(&reign, promotion->reign, REIGN_LENGTH);
	encode_hex(&expected_reign, promotion->expected_reign, REIGN_LENGTH);
	int code = query(writer, error,
		"update volume set epoch = $1, reign = $2, primary_node_id = $3, unclean = $4, "
		"epoch_start_lsn = $5 where id = $6 and epoch = $7 and reign = $8 and $1 > epoch "
		"and exists "
		"(select 1 from volume_copy c where c.volume_id = volume.id and c.node_id = $3) "
		"returning name",
		SQL_VALUES(epoch, buf_terminated(&reign), node_id, promotion->unclean ? "1" : "0",
			start_lsn, id, expected_epoch, buf_terminated(&expected_reign)),
		&result);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ESTALE,
			"volume %s has been changed by somebody else meanwhile: look at `pando "
			"volume list` and "
			"try again",
			id);
	if (code == 0) {
		snprintf(detail, sizeof(detail), "%s: epoch %s to node %s at LSN %s%s reign %s",
			sql_value(result, 0, 0), epoch, node_id, start_lsn,
			promotion->unclean ? " unclean" : " clean", buf_terminated(&reign));
		code = audit(writer, "promote", detail, error);
	}
	sql_result_free(&result);
	buf_deinit(&reign);
	buf_deinit(&expected_reign);
	return code;
}

int directory_promote(struct directory_writer *writer, const struct promotion *promotions,
	unsigned count, struct error *error)
{
	bool own;
	int code = enter(writer, &own, error);
	if (code < 0)
		return code;
	for (unsigned i = 0; i < count && code == 0; i++)
		code = promote_one(writer, &promotions[i], error);
	return leave(writer, own, code, error);
}

struct sql *directory_writer_sql(struct directory_writer *writer)
{
	return writer->sql;
}
