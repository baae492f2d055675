/* Volumes, and a whole directory, as a backup had them. */

#include "core/directory/write_internal.h"

#include "core/encode.h"

#include <errno.h>
#include <stdio.h>

static int note_incarnation(struct directory_writer *writer, const struct restoration *restoration,
	struct error *error)
{
	char id[24], incarnation[24];
	snprintf(id, sizeof(id), "%u", restoration->promotion.volume_id);
	snprintf(incarnation, sizeof(incarnation), "%llu",
		(unsigned long long)restoration->incarnation);
	/* The log that is restored may be of before a place that has been freed since; all other
	 * copies are filled from it. */
	return writer_query(writer, error,
		"update volume set incarnation = $1, freed_epoch = 0, freed_lsn = 0 where id = $2",
		SQL_VALUES(incarnation, id), NULL);
}

static int restore(
	struct directory_writer *writer, struct restoration *restoration, struct error *error)
{
	int code = directory_promote(writer, &restoration->promotion, 1, 0, error);
	if (code == 0 && restoration->promotion.is_stale)
		code = error_set(error, -ESTALE,
			"volume %s was changed by somebody else meanwhile: nothing was changed, "
			"run the command again",
			restoration->volume);
	if (code == 0)
		code = note_incarnation(writer, restoration, error);
	for (unsigned i = 0; code == 0 && i < restoration->other_count; i++) {
		struct copy_change change = { .volume = restoration->volume,
			.node = restoration->others[i] };
		code = directory_reseed_copy(writer, &change, error);
	}
	return code;
}

int directory_restore_volume(
	struct directory_writer *writer, struct restoration *restoration, struct error *error)
{
	bool own;
	restoration->promotion.action = "restore";
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = restore(writer, restoration, error);
	return writer_leave(writer, own, code, error);
}

int directory_find_restored(struct directory_writer *writer, const struct restoration *restoration,
	bool *is_there_out, struct error *error)
{
	bool own;
	char id[24];
	struct buf reign = { 0 };
	struct sql_result *result = NULL;
	/* As who writes: behind all that were begun before. */
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	snprintf(id, sizeof(id), "%u", restoration->promotion.volume_id);
	encode_hex(&reign, restoration->promotion.reign, REIGN_LENGTH);
	code = writer_query(writer, error, "select 1 from volume where id = $1 and reign = $2",
		SQL_VALUES(id, buf_terminated(&reign)), &result);
	*is_there_out = code == 0 && sql_rows(result) > 0;
	sql_result_free(&result);
	buf_deinit(&reign);
	if (own)
		directory_rollback(writer);
	return code;
}

/* ---- the whole directory ---- */

/* More than a cluster makes of volumes, copies or places between two backups. */
static const char numbers_passed_over[] = "4096";

static int check_epochs(
	struct sql *sql, unsigned epochs, uint64_t epoch_max, struct error *error)
{
	char highest[24];
	struct sql_result *result = NULL;
	snprintf(highest, sizeof(highest), "%llu", (unsigned long long)(epoch_max - epochs));
	int code = sql_query(sql, "select name, epoch from volume where epoch > $1 order by name",
		SQL_VALUES(highest), &result, error);
	if (code == 0 && sql_rows(result) > 0)
		code = error_set(error, -ERANGE,
			"volume %s was in epoch %s, and a restored one passes over %u of %llu: its "
			"mail can be brought into another one, by `pando restore --mailbox`",
			sql_value(result, 0, 0), sql_value(result, 0, 1), epochs,
			(unsigned long long)epoch_max);
	sql_result_free(&result);
	return code;
}

int directory_raise_restored(
	const char *path, unsigned epochs, uint64_t epoch_max, struct error *error)
{
	char number[24];
	struct sql *sql = NULL;
	CHECK(epochs % VOLUME_COPIES_MAX == 0); /* the epoch stays one of the same copy's */
	snprintf(number, sizeof(number), "%u", epochs);
	int code = sql_open_file(path, false, &sql, error);
	if (code == 0)
		code = check_epochs(sql, epochs, epoch_max, error);
	if (code == 0)
		code = sql_query(sql,
			"update volume set epoch = epoch + $1, reign = lower(hex(randomblob(16))), "
			"unclean = true, epoch_start_lsn = 0, token = 0, clean_after = 0",
			SQL_VALUES(number), NULL, error);
	/* Machines that live have folders under numbers that were given since: a new volume, or a
	 * new copy, is none of those. */
	if (code == 0)
		code = sql_query(sql, "update counter set value = value + $1",
			SQL_VALUES(numbers_passed_over), NULL, error);
	if (code == 0)
		code = sql_query(sql, "delete from policy where name = 'server'", NULL, 0, NULL,
			error);
	sql_close(&sql);
	return code;
}

int directory_check_unused(const char *conninfo, const char *memory_path, struct error *error)
{
	struct sql *sql = NULL;
	struct sql_result *result = NULL;
	int code = sql_open_postgres(conninfo, memory_path, &sql, NULL, error);
	if (code == 0)
		code = sql_query(sql,
			"select count(*) from information_schema.tables "
			"where table_schema = 'pando' and table_name = 'counter'",
			NULL, 0, &result, error);
	bool is_made = code == 0 && sql_value_u64(result, 0, 0) > 0;
	sql_result_free(&result);
	if (is_made)
		code = sql_query(sql, "select count(*) from pando.counter", NULL, 0, &result,
			error);
	if (code == 0 && is_made && sql_value_u64(result, 0, 0) > 0)
		code = error_set(error, -EEXIST,
			"nothing was changed: the database that `directory` names is not empty. "
			"Name an empty one there, and run this again");
	sql_result_free(&result);
	sql_close(&sql);
	return code;
}
