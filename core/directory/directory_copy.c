/* All of a directory into another one: from a file to PostgreSQL, and from either to a file. */

#include "core/directory/batch.h"
#include "core/directory/write_internal.h"

/* What daemons know nothing of: it is in no batch. */
struct other_table {
	const char *name;
	unsigned column_count;
	const char *columns[12];
};

static const struct other_table other_tables[] = {
	{ "counter", 2, { "name", "value" } },
	{ "volume_slot", 3, { "volume_id", "slot", "node_id" } },
	{ "removed_mailbox", 12,
		{ "id", "address", "volume_id", "durability", "enabled", "quota_bytes", "mark",
			"scram", "aliases", "removed_at", "keep_until", "purging" } },
	/* Its own ids, in the same order: PostgreSQL gives them. */
	{ "audit", 4, { "at", "who", "action", "detail" } },
};

/* By which of them rows are taken in their order. */
static const char *order_of(const struct other_table *table)
{
	return strcmp(table->name, "audit") == 0 ? "id" : table->columns[0];
}

/* SQLite has no such type: to it the `true` that PostgreSQL writes is a text, and no truth. */
static bool is_boolean(const char *column)
{
	static const char *const names[] = { "unclean", "preferred", "seeding", "enabled",
		"purging" };
	for (unsigned i = 0; i < array_length(names); i++)
		if (strcmp(names[i], column) == 0)
			return true;
	return false;
}

static const char *as_both_write(const char *column, const char *value)
{
	if (!value || !is_boolean(column))
		return value;
	return sql_is_true(value) ? "1" : "0";
}

/* The audit's moments, as the file has them; PostgreSQL reads that too. */
static const char *expression_of(const struct sql *from, const char *column)
{
	if (strcmp(column, "at") == 0 && sql_is_postgres(from))
		return "to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";
	return column;
}

static int copy_other(
	const struct other_table *table, struct sql *from, struct sql *to, struct error *error)
{
	struct buf select = { 0 }, insert = { 0 };
	struct sql_result *rows = NULL;
	const char *values[array_length(table->columns)];
	buf_printf(&insert, "insert into %s (", table->name);
	for (unsigned i = 0; i < table->column_count; i++) {
		buf_printf(&select, "%s%s", i ? ", " : "select ",
			expression_of(from, table->columns[i]));
		buf_printf(&insert, "%s%s", i ? ", " : "", table->columns[i]);
	}
	buf_printf(&select, " from %s order by %s", table->name, order_of(table));
	for (unsigned i = 0; i < table->column_count; i++)
		buf_printf(&insert, "%s$%u", i ? ", " : ") values (", i + 1);
	buf_append_byte(&insert, ')');
	int code = sql_query(from, buf_terminated(&select), NULL, 0, &rows, error);
	for (unsigned i = 0; code == 0 && i < sql_rows(rows); i++) {
		for (unsigned k = 0; k < table->column_count; k++)
			values[k] = as_both_write(table->columns[k], sql_value(rows, i, k));
		code = sql_query(
			to, buf_terminated(&insert), values, table->column_count, NULL, error);
	}
	sql_result_free(&rows);
	buf_deinit(&select);
	buf_deinit(&insert);
	return code;
}

static int copy_row(const struct directory_row *row, struct sql *to, struct error *error)
{
	const struct directory_table *table = &directory_tables[row->kind];
	struct directory_row copy = *row;
	for (unsigned i = 0; i < table->column_count; i++)
		copy.columns[i] = as_both_write(table->columns[i], row->columns[i]);
	return batch_insert_row(to, &copy, error);
}

int directory_copy(
	struct sql *from, struct sql *to, struct directory_copied *copied_out, struct error *error)
{
	struct directory_batch *batch = NULL;
	int code = batch_read(from, BATCH_FULL, 0, "", &batch, error);
	if (code < 0)
		return code;
	/* Kinds are in an order that satisfies references, and a full read keeps it. */
	for (size_t i = 0; code == 0 && i < batch_row_count(batch); i++)
		code = copy_row(&batch_rows(batch)[i], to, error);
	for (unsigned i = 0; code == 0 && i < array_length(other_tables); i++)
		code = copy_other(&other_tables[i], from, to, error);
	*copied_out = (struct directory_copied){ batch->revision, batch_row_count(batch) };
	batch_destroy(&batch);
	return code;
}

static int copy_into(struct sql *from, struct sql *file, struct directory_copied *copied_out,
	struct error *error)
{
	int code = schema_migrate(file, false, NULL, error);
	if (code == 0)
		code = sql_script(file, "begin immediate", error);
	if (code == 0)
		code = directory_copy(from, file, copied_out, error);
	return code == 0 ? sql_script(file, "commit", error) : code;
}

int directory_export(struct directory_writer *writer, struct bytes **file_out,
	uint64_t *revision_out, struct error *error)
{
	struct sql *file = NULL;
	struct directory_copied copied = { 0 };
	CHECK(!writer->in_transaction);
	int code = sql_script(writer->sql,
		sql_is_postgres(writer->sql) ? "begin isolation level repeatable read read only"
					     : "begin",
		error);
	if (code < 0)
		return code;
	code = sql_open_memory(&file, error);
	if (code == 0)
		code = copy_into(writer->sql, file, &copied, error);
	(void)!sql_script(writer->sql, "rollback", NULL);
	if (code == 0)
		code = sql_serialize(file, file_out, error);
	sql_close(&file);
	*revision_out = copied.revision;
	return code;
}
