/* Making a directory, and moving one from its file to PostgreSQL. */

#include "core/directory/batch.h"
#include "core/directory/directory_write.h"

#include <errno.h>

int directory_init_postgres(const char *conninfo, unsigned *applied_out, struct error *error)
{
	struct sql *sql = NULL;
	int code = sql_open_postgres(conninfo, true, &sql, error);
	if (code == 0)
		code = schema_migrate(sql, false, applied_out, error);
	sql_close(&sql);
	return code;
}

int directory_init_file(const char *path, unsigned *applied_out, struct error *error)
{
	struct sql *sql = NULL;
	int code = sql_open_file(path, true, &sql, error);
	if (code == 0)
		code = schema_migrate(sql, false, applied_out, error);
	sql_close(&sql);
	return code;
}

static int copy_counters(struct sql *from, struct sql *to, struct error *error)
{
	struct sql_result *result = NULL;
	int code = sql_query(from, "select name, value from counter", NULL, 0, &result, error);
	for (unsigned i = 0; code == 0 && i < sql_rows(result); i++)
		code = sql_query(to, "insert into counter (name, value) values ($1, $2)",
			SQL_VALUES(sql_value(result, i, 0), sql_value(result, i, 1)), NULL, error);
	sql_result_free(&result);
	return code;
}

static int copy_rows(struct sql *from, struct sql *to, size_t *rows_out, struct error *error)
{
	struct directory_batch *batch = NULL;
	struct sql_result *result = NULL;
	int code = batch_read(from, BATCH_FULL, 0, "", &batch, error);
	if (code == 0)
		code = sql_query(to, "select count(*) from counter", NULL, 0, &result, error);
	if (code == 0 && sql_value_u64(result, 0, 0) > 0)
		code = error_set(error, -EEXIST,
			"the PostgreSQL directory is not empty: nothing was copied. Point "
			"`directory` at it "
			"to use it, or initialise another database");
	sql_result_free(&result);
	if (code == 0)
		code = copy_counters(from, to, error);
	/* Kinds are in an order that satisfies references, and a full read keeps it. */
	for (size_t i = 0; code == 0 && i < batch_row_count(batch); i++)
		code = batch_insert_row(to, &batch_rows(batch)[i], error);
	if (code == 0)
		*rows_out = batch_row_count(batch);
	batch_destroy(&batch);
	return code;
}

int directory_move_to_postgres(
	const char *path, const char *conninfo, size_t *rows_out, struct error *error)
{
	struct sql *from = NULL, *to = NULL;
	int code = sql_open_file(path, false, &from, error);
	if (code == 0)
		code = sql_open_postgres(conninfo, true, &to, error);
	if (code == 0)
		code = sql_script(to, "begin; " FEED_LOCK, error);
	if (code == 0)
		code = copy_rows(from, to, rows_out, error);
	if (code == 0)
		code = sql_script(to, "commit", error);
	sql_close(&to);
	sql_close(&from);
	return code;
}
