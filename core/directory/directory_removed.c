#include "core/directory/write_internal.h"

#include "core/clock.h"
#include "core/encode.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * What can be undone: a mailbox that is removed, restored or renamed. Its mail is its volume's, by
 * the mailbox's number and mark, and no copy of it moves for any of these.
 */

/* ---- removing ---- */

/* The addresses that lead to it, one a line. */
static int read_aliases(struct directory_writer *writer, const char *address, struct buf *out,
	struct error *error)
{
	struct sql_result *result = NULL;
	int code = writer_query(writer, error,
		"select address from alias where lower(target) = lower($1) order by id",
		SQL_VALUES(address), &result);
	for (unsigned i = 0; code == 0 && i < sql_rows(result); i++)
		buf_printf(out, "%s\n", sql_value(result, i, 0));
	(void)buf_terminated(out);
	sql_result_free(&result);
	return code;
}

static int keep(struct directory_writer *writer, const char *id, const char *aliases,
	uint64_t keep_s, struct error *error)
{
	struct buf now = { 0 }, until = { 0 };
	int64_t now_us = clock_wall_us();
	encode_time(&now, now_us);
	encode_time(&until, now_us + (int64_t)keep_s * 1000000);
	int code = writer_query(writer, error,
		"insert into removed_mailbox (id, address, volume_id, durability, enabled, "
		"quota_bytes, mark, scram, aliases, removed_at, keep_until, purging) "
		"select m.id, m.address, m.volume_id, m.durability, m.enabled, m.quota_bytes, "
		"m.mark, coalesce(c.scram, ''), $2, $3, $4, false "
		"from mailbox m left join credential c on c.id = m.id where m.id = $1",
		SQL_VALUES(id, aliases, buf_terminated(&now), buf_terminated(&until)), NULL);
	buf_deinit(&now);
	buf_deinit(&until);
	return code;
}

static int take_out(struct directory_writer *writer, const char *id, struct error *error)
{
	int code = writer_query(
		writer, error, "delete from credential where id = $1", SQL_VALUES(id), NULL);
	return code < 0 ? code
			: writer_query(writer, error, "delete from mailbox where id = $1",
				  SQL_VALUES(id), NULL);
}

int directory_remove_mailbox(struct directory_writer *writer, const char *address,
	uint64_t keep_s, struct error *error)
{
	char id[24];
	bool own;
	struct buf canonical = { 0 }, aliases = { 0 };
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	directory_canonical_address(address, &canonical);
	code = writer_find_mailbox(writer, address, id, error);
	if (code == 0)
		code = read_aliases(writer, buf_terminated(&canonical), &aliases, error);
	if (code == 0)
		code = keep(writer, id, buf_terminated(&aliases), keep_s, error);
	if (code == 0)
		code = take_out(writer, id, error);
	if (code == 0)
		code = writer_query(writer, error,
			"delete from alias where lower(target) = lower($1)",
			SQL_VALUES(buf_terminated(&canonical)), NULL);
	if (code == 0)
		code = writer_audit(writer, "mailbox remove", address, error);
	buf_deinit(&aliases);
	buf_deinit(&canonical);
	return writer_leave(writer, own, code, error);
}

/* ---- restoring ---- */

/* The last of that address, or the one of that number; -ENOENT with a sentence. */
static int find_removed(struct directory_writer *writer, const char *address, uint64_t id,
	struct sql_result **row_out, struct error *error)
{
	char number[24];
	struct buf canonical = { 0 };
	directory_canonical_address(address, &canonical);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)id);
	int code = writer_query(writer, error,
		"select id, address, volume_id, durability, case when enabled then '1' else '0' "
		"end, quota_bytes, mark, scram, aliases from removed_mailbox "
		"where lower(address) = lower($1) and (id = $2 or $2 = '0') and not purging "
		"order by removed_at desc, id desc limit 1",
		SQL_VALUES(buf_terminated(&canonical), number), row_out);
	buf_deinit(&canonical);
	if (code == 0 && sql_rows(*row_out) == 0)
		code = error_set(error, -ENOENT,
			"no mailbox `%s` was removed%s, or its time is over: see `pando mailbox "
			"list --removed`",
			address, id ? " under this number" : "");
	return code;
}

/* An address that is free for a mailbox: canonical in `out`. */
static int take_address(struct directory_writer *writer, const char *address, struct buf *out,
	char domain_id_out[24], struct error *error)
{
	int code = writer_check_address(writer, address, out, domain_id_out, error);
	return code < 0 ? code : writer_refuse_alias(writer, buf_terminated(out), error);
}

static int put_back(struct directory_writer *writer, const struct sql_result *row,
	const char *address, const char *domain_id, struct error *error)
{
	const char *id = sql_value(row, 0, 0);
	int code = writer_query(writer, error,
		"insert into mailbox (id, address, domain_id, volume_id, durability, enabled, "
		"quota_bytes, mark) values ($1, $2, $3, $4, $5, $6, $7, $8)",
		SQL_VALUES(id, address, domain_id, sql_value(row, 0, 2), sql_value(row, 0, 3),
			sql_value(row, 0, 4), sql_value(row, 0, 5), sql_value(row, 0, 6)),
		NULL);
	if (code == -EEXIST)
		code = error_set(error, code,
			"`%s` is another mailbox by now: give this one another address with --as",
			address);
	if (code == 0 && sql_value(row, 0, 7)[0])
		code = writer_put_credential(writer, id, sql_value(row, 0, 7), error);
	if (code == 0)
		code = writer_query(writer, error,
			"delete from removed_mailbox where id = $1 and mark = $2",
			SQL_VALUES(id, sql_value(row, 0, 6)), NULL);
	return code;
}

/* An address that has become a mailbox meanwhile, or whose domain is served no more, is no alias:
 * it is left out. */
static int put_back_alias(struct directory_writer *writer, const char *alias, const char *target,
	struct buf *left_out, struct error *error)
{
	char id[24], domain_id[24];
	struct sql_result *result = NULL;
	struct buf canonical = { 0 };
	int code = writer_check_address(writer, alias, &canonical, domain_id, error);
	buf_deinit(&canonical);
	if (code == -ENOENT || code == -EINVAL) {
		buf_printf(left_out, "%s\n", alias);
		return 0;
	}
	if (code == 0)
		code = writer_query(writer, error,
			"select 1 from mailbox where lower(address) = lower($1) union all "
			"select 1 from alias where lower(address) = lower($1) and lower(target) = "
			"lower($2)",
			SQL_VALUES(alias, target), &result);
	bool is_taken = code == 0 && sql_rows(result) > 0;
	sql_result_free(&result);
	if (code == 0 && !is_taken) {
		code = writer_next_id(writer, "alias", id, error);
		if (code == 0)
			code = writer_query(writer, error,
				"insert into alias (id, address, target) values ($1, $2, $3)",
				SQL_VALUES(id, alias, target), NULL);
	}
	if (is_taken)
		buf_printf(left_out, "%s\n", alias);
	return code;
}

static int put_back_aliases(struct directory_writer *writer, const char *aliases,
	const char *target, struct buf *left_out, struct error *error)
{
	struct str rest = str_from(aliases), line;
	int code = 0;
	while (code == 0 && str_next(&rest, '\n', &line)) {
		struct buf alias = { 0 };
		buf_append_str(&alias, line);
		if (line.length > 0)
			code = put_back_alias(
				writer, buf_terminated(&alias), target, left_out, error);
		buf_deinit(&alias);
	}
	return code;
}

static int restore(struct directory_writer *writer, const char *address, uint64_t id,
	const char *new_address, struct buf *left_out, struct error *error)
{
	char domain_id[24];
	struct sql_result *row = NULL;
	struct buf canonical = { 0 }, detail = { 0 };
	int code = find_removed(writer, address, id, &row, error);
	if (code == 0)
		code = take_address(writer, new_address ? new_address : sql_value(row, 0, 1),
			&canonical, domain_id, error);
	if (code == 0)
		code = put_back(writer, row, buf_terminated(&canonical), domain_id, error);
	if (code == 0)
		code = put_back_aliases(writer, sql_value(row, 0, 8), buf_terminated(&canonical),
			left_out, error);
	buf_printf(&detail, "%s: mailbox %s", buf_terminated(&canonical),
		code == 0 ? sql_value(row, 0, 0) : "");
	if (code == 0)
		code = writer_audit(writer, "mailbox restore", buf_terminated(&detail), error);
	buf_deinit(&detail);
	buf_deinit(&canonical);
	sql_result_free(&row);
	return code;
}

int directory_restore_mailbox(struct directory_writer *writer, const char *address, uint64_t id,
	const char *new_address, struct buf *left_out, struct error *error)
{
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	return writer_leave(writer, own,
		restore(writer, address, id, new_address, left_out, error), error);
}

/* ---- renaming ---- */

static int change_address(struct directory_writer *writer, const char *id, const char *old,
	const char *address, const char *domain_id, struct error *error)
{
	int code = writer_exists_already(
		writer_query(writer, error,
			"update mailbox set address = $2, domain_id = $3 where id = $1",
			SQL_VALUES(id, address, domain_id), NULL),
		"mailbox", address, error);
	return code < 0 ? code
			: writer_query(writer, error,
				  "update alias set target = $2 where lower(target) = lower($1)",
				  SQL_VALUES(old, address), NULL);
}

static int rename_mailbox(struct directory_writer *writer, const char *address,
	const char *new_address, bool keeps_old, struct error *error)
{
	char id[24], domain_id[24];
	struct buf old = { 0 }, canonical = { 0 }, detail = { 0 };
	directory_canonical_address(address, &old);
	int code = writer_find_mailbox(writer, address, id, error);
	if (code == 0)
		code = take_address(writer, new_address, &canonical, domain_id, error);
	if (code == 0)
		code = change_address(writer, id, buf_terminated(&old), buf_terminated(&canonical),
			domain_id, error);
	if (code == 0 && keeps_old)
		code = directory_add_alias(
			writer, buf_terminated(&old), buf_terminated(&canonical), error);
	buf_printf(&detail, "%s: now %s", buf_terminated(&old), buf_terminated(&canonical));
	if (code == 0)
		code = writer_audit(writer, "mailbox rename", buf_terminated(&detail), error);
	buf_deinit(&detail);
	buf_deinit(&canonical);
	buf_deinit(&old);
	return code;
}

int directory_rename_mailbox(struct directory_writer *writer, const char *address,
	const char *new_address, bool keeps_old, struct error *error)
{
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	return writer_leave(writer, own,
		rename_mailbox(writer, address, new_address, keeps_old, error), error);
}

/* ---- when its time is over ---- */

int directory_begin_purges(struct directory_writer *writer, uint32_t node_id,
	struct purge *purges_out, unsigned max, unsigned *count_out, struct error *error)
{
	char node[24], limit[24];
	struct buf now = { 0 };
	struct sql_result *rows = NULL;
	bool own;
	*count_out = 0;
	snprintf(node, sizeof(node), "%u", node_id);
	snprintf(limit, sizeof(limit), "%u", max);
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	encode_time(&now, clock_wall_us());
	code = writer_query(writer, error,
		"update removed_mailbox set purging = true where keep_until < $1 and not purging "
		"and volume_id in (select id from volume where primary_node_id = $2)",
		SQL_VALUES(buf_terminated(&now), node), NULL);
	buf_deinit(&now);
	if (code == 0)
		code = writer_query(writer, error,
			"select r.id, r.volume_id, r.mark, r.address from removed_mailbox r "
			"join volume v on v.id = r.volume_id "
			"where r.purging and v.primary_node_id = $1 order by r.id limit "
			"cast($2 as bigint)",
			SQL_VALUES(node, limit), &rows);
	for (unsigned i = 0; code == 0 && i < sql_rows(rows) && *count_out < max; i++) {
		struct purge *purge = &purges_out[*count_out];
		purge->mailbox_id = sql_value_u64(rows, i, 0);
		purge->volume_id = (uint32_t)sql_value_u64(rows, i, 1);
		snprintf(purge->address, sizeof(purge->address), "%s", sql_value(rows, i, 3));
		*count_out += decode_hex(
			str_from(sql_value(rows, i, 2)), purge->mark, sizeof(purge->mark));
	}
	sql_result_free(&rows);
	return writer_leave(writer, own, code, error);
}

int directory_end_purge(
	struct directory_writer *writer, const struct purge *purge, struct error *error)
{
	char id[24];
	bool own;
	struct buf mark = { 0 };
	snprintf(id, sizeof(id), "%llu", (unsigned long long)purge->mailbox_id);
	encode_hex(&mark, purge->mark, sizeof(purge->mark));
	int code = writer_enter(writer, &own, error);
	if (code == 0) {
		code = writer_query(writer, error,
			"delete from removed_mailbox where id = $1 and mark = $2 and purging",
			SQL_VALUES(id, buf_terminated(&mark)), NULL);
		if (code == 0)
			code = writer_audit(writer, "mailbox purge", purge->address, error);
		code = writer_leave(writer, own, code, error);
	}
	buf_deinit(&mark);
	return code;
}
