/* Changing and removing what is there: volumes, nodes, sites, routers, domains. Nothing is removed
 * that something else stands on; the refusal names that. */

#include "core/directory/write_internal.h"

#include "core/clock.h"
#include "core/encode.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* More names make no sentence. */
enum { NAMED_MAX = 8 };

/* Runs `text` (one column of names, in order; $1) and refuses where it gives rows: "<before> a, b
 * and 3 more<after>". */
static int refuse_used(struct directory_writer *writer, const char *text, const char *value,
	const char *before, const char *after, struct error *error)
{
	struct sql_result *result = NULL;
	int code = writer_query(writer, error, text, SQL_VALUES(value), &result);
	unsigned count = code == 0 ? sql_rows(result) : 0;
	if (count > 0) {
		struct buf names = { 0 };
		for (unsigned row = 0; row < count && row < NAMED_MAX; row++)
			buf_printf(
				&names, "%s%s", row > 0 ? ", " : "", sql_value(result, row, 0));
		if (count > NAMED_MAX)
			buf_printf(&names, " and %u more", count - NAMED_MAX);
		code = error_set(
			error, -EBUSY, "%s %s%s", before, buf_terminated(&names), after);
		buf_deinit(&names);
	}
	sql_result_free(&result);
	return code;
}

static int delete_row(
	struct directory_writer *writer, const char *table, const char *id, struct error *error)
{
	char text[64];
	snprintf(text, sizeof(text), "delete from %s where id = $1", table);
	return writer_query(writer, error, text, SQL_VALUES(id), NULL);
}

/* ---- volumes ---- */

static int set_durability(struct directory_writer *writer, const char *name,
	const char *durability, struct error *error)
{
	char id[24], detail[96];
	struct sql_result *result = NULL;
	int code = writer_find_id(writer, "volume", name, id, error);
	if (code == 0)
		code = writer_query(writer, error,
			"select count(*) from volume_copy where volume_id = $1 and not seeding",
			SQL_VALUES(id), &result);
	if (code == 0 && strcmp(durability, "strict") == 0 && sql_value_u64(result, 0, 0) < 2)
		code = error_set(error, -EINVAL,
			"a strict volume needs a replica, without which it refuses every message: "
			"give it one with `pando copy add %s NODE --wait`",
			name);
	sql_result_free(&result);
	if (code == 0)
		code = writer_query(writer, error,
			"update volume set durability = $1 where id = $2 and durability <> $1",
			SQL_VALUES(durability, id), NULL);
	snprintf(detail, sizeof(detail), "%s %s", name, durability);
	return code == 0 ? writer_audit(writer, "volume set", detail, error) : code;
}

int directory_set_volume(struct directory_writer *writer, const char *name,
	const char *durability, struct error *error)
{
	bool own;
	int code = writer_check_durability(durability, error);
	if (code == 0)
		code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	return writer_leave(writer, own, set_durability(writer, name, durability, error), error);
}

int directory_rename_volume(struct directory_writer *writer, const char *name,
	const char *new_name, struct error *error)
{
	char id[24], detail[160];
	bool own;
	int code = directory_check_name("volume", new_name, error);
	if (code == 0)
		code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = writer_find_id(writer, "volume", name, id, error);
	if (code == 0)
		code = writer_check_only_name(writer, "volume", new_name, error);
	if (code == 0 && strcmp(name, new_name) != 0)
		code = writer_exists_already(
			writer_query(writer, error, "update volume set name = $1 where id = $2",
				SQL_VALUES(new_name, id), NULL),
			"volume", new_name, error);
	snprintf(detail, sizeof(detail), "%s to %s", name, new_name);
	if (code == 0)
		code = writer_audit(writer, "volume rename", detail, error);
	return writer_leave(writer, own, code, error);
}

static int check_kept(
	struct directory_writer *writer, const char *name, const char *id, struct error *error)
{
	struct sql_result *result = NULL;
	struct buf now = { 0 };
	encode_time(&now, clock_wall_us());
	int code = writer_query(writer, error,
		"select count(*), max(keep_until), min(address) from removed_mailbox "
		"where volume_id = $1 and keep_until > $2",
		SQL_VALUES(id, buf_terminated(&now)), &result);
	buf_deinit(&now);
	if (code == 0 && sql_value_u64(result, 0, 0) > 0)
		code = error_set(error, -EBUSY,
			"volume %s keeps the mail of %s removed mailbox%s (%s among them) until %s "
			"at the latest, and `pando mailbox list --removed` names them: "
			"--forget-removed gives them up",
			name, sql_value(result, 0, 0), sql_value_u64(result, 0, 0) == 1 ? "" : "es",
			sql_value(result, 0, 2), sql_value(result, 0, 1));
	sql_result_free(&result);
	return code;
}

static int remove_volume(struct directory_writer *writer, const char *name, bool forgets_removed,
	struct error *error)
{
	char id[24], before[128];
	int code = writer_find_id(writer, "volume", name, id, error);
	snprintf(before, sizeof(before), "volume %s holds the mailboxes", name);
	if (code == 0)
		code = refuse_used(writer,
			"select address from mailbox where volume_id = $1 order by lower(address)",
			id, before, ": remove them first with `pando mailbox remove`", error);
	if (code == 0 && !forgets_removed)
		code = check_kept(writer, name, id, error);
	if (code == 0)
		code = writer_query(writer, error,
			"delete from removed_mailbox where volume_id = $1", SQL_VALUES(id), NULL);
	if (code == 0)
		code = writer_query(writer, error, "delete from volume_copy where volume_id = $1",
			SQL_VALUES(id), NULL);
	if (code == 0)
		code = delete_row(writer, "volume", id, error);
	return code == 0 ? writer_audit(writer, "volume remove", name, error) : code;
}

int directory_remove_volume(struct directory_writer *writer, const char *name,
	bool forgets_removed, struct error *error)
{
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	return writer_leave(
		writer, own, remove_volume(writer, name, forgets_removed, error), error);
}

/* ---- nodes, routers, sites, domains ---- */

static int set_node(struct directory_writer *writer, const struct node_description *node,
	struct error *error)
{
	static const char *const columns[] = { "lmtp", "imap", "control", "replicator" };
	const char *values[] = { node->lmtp, node->imap, node->control, node->replicator };
	char id[24], text[96];
	int code = writer_find_id(writer, "node", node->name, id, error);
	for (unsigned i = 0; code == 0 && i < array_length(columns); i++) {
		if (values[i] == NULL)
			continue;
		code = directory_check_endpoint(columns[i], values[i], error);
		if (code == 0)
			code = writer_check_unused(writer, values[i], columns[i], id, error);
		snprintf(text, sizeof(text), "update node set %s = $1 where id = $2", columns[i]);
		if (code == 0)
			code = writer_query(writer, error, text, SQL_VALUES(values[i], id), NULL);
	}
	return code == 0 ? writer_audit(writer, "node set", node->name, error) : code;
}

int directory_set_node(struct directory_writer *writer, const struct node_description *node,
	struct error *error)
{
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	return writer_leave(writer, own, set_node(writer, node, error), error);
}

/* What stands on a row of the table, in an order in which it is to go. */
struct user {
	const char *table, *query, *holds, *advice;
};

static const struct user users[] = {
	{ "node",
		"select v.name from volume_copy c join volume v on v.id = c.volume_id "
		"where c.node_id = $1 order by v.name",
		"holds copies of the volumes",
		": `pando node drain` takes all off it; `pando copy remove VOLUME NODE` lets one "
		"go, `pando failover` moves what it serves" },
	{ "site", "select name from node where site_id = $1 order by name", "has the nodes",
		": remove them first with `pando node remove`" },
	{ "site", "select name from router where site_id = $1 order by name", "has the routers",
		": remove them first with `pando router remove`" },
	{ "domain",
		"select address from mailbox where domain_id = $1 order by lower(address)",
		"has the mailboxes", ": remove them first with `pando mailbox remove`" },
	{ "domain",
		"select distinct lower(a.address) from alias a join domain d on "
		"lower(a.address) like '%@' || d.name where d.id = $1 order by 1",
		"has the aliases", ": remove them first with `pando alias remove`" },
};

static int remove_unused(struct directory_writer *writer, const char *table, const char *name,
	struct error *error)
{
	char id[24], before[192], action[32];
	int code = writer_find_id(writer, table, name, id, error);
	for (unsigned i = 0; code == 0 && i < array_length(users); i++) {
		if (strcmp(users[i].table, table) != 0)
			continue;
		snprintf(before, sizeof(before), "the %s `%s` %s", table, name, users[i].holds);
		code = refuse_used(writer, users[i].query, id, before, users[i].advice, error);
	}
	if (code == 0)
		code = delete_row(writer, table, id, error);
	snprintf(action, sizeof(action), "%s remove", table);
	return code == 0 ? writer_audit(writer, action, name, error) : code;
}

static int remove_place(struct directory_writer *writer, const char *table, const char *name,
	struct error *error)
{
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	return writer_leave(writer, own, remove_unused(writer, table, name, error), error);
}

int directory_remove_node(struct directory_writer *writer, const char *name, struct error *error)
{
	return remove_place(writer, "node", name, error);
}

int directory_remove_site(struct directory_writer *writer, const char *name, struct error *error)
{
	return remove_place(writer, "site", name, error);
}

int directory_remove_router(struct directory_writer *writer, const char *name, struct error *error)
{
	return remove_place(writer, "router", name, error);
}

/* As it is stored. */
static void canonical_domain(const char *name, struct buf *out)
{
	struct buf address = { 0 }, canonical = { 0 };
	buf_printf(&address, "x@%s", name);
	directory_canonical_address(buf_terminated(&address), &canonical);
	buf_append_str(out, str_from_index(buf_str(&canonical), strlen("x@")));
	buf_deinit(&canonical);
	buf_deinit(&address);
}

int directory_remove_domain(struct directory_writer *writer, const char *name, struct error *error)
{
	struct buf stored = { 0 };
	canonical_domain(name, &stored);
	int code = remove_place(writer, "domain", buf_terminated(&stored), error);
	buf_deinit(&stored);
	return code;
}

static int set_domain(struct directory_writer *writer, const char *name,
	unsigned keep_expunged_days, struct error *error)
{
	char id[24], days[16], detail[320];
	int code = writer_find_id(writer, "domain", name, id, error);
	snprintf(days, sizeof(days), "%u", keep_expunged_days);
	snprintf(detail, sizeof(detail), "%s keep-expunged-days %s", name, days);
	if (code == 0)
		code = writer_query(writer, error,
			"update domain set keep_expunged_days = $1 where id = $2 "
			"and keep_expunged_days <> $1",
			SQL_VALUES(days, id), NULL);
	return code == 0 ? writer_audit(writer, "domain set", detail, error) : code;
}

int directory_set_domain(struct directory_writer *writer, const char *name,
	unsigned keep_expunged_days, struct error *error)
{
	struct buf stored = { 0 };
	bool own;
	if (keep_expunged_days > KEEP_EXPUNGED_DAYS_MAX)
		return error_set(error, -EINVAL,
			"expunged messages can be kept for %d days at most",
			KEEP_EXPUNGED_DAYS_MAX);
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	canonical_domain(name, &stored);
	code = set_domain(writer, buf_terminated(&stored), keep_expunged_days, error);
	buf_deinit(&stored);
	return writer_leave(writer, own, code, error);
}
