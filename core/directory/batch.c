#include "core/directory/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct directory_batch *batch_create(bool full)
{
	struct directory_batch *batch = mem_alloc(sizeof(*batch));
	batch->pool = pool_create();
	batch->full = full;
	return batch;
}

void batch_destroy(struct directory_batch **batch)
{
	if (!*batch)
		return;
	pool_destroy(&(*batch)->pool);
	buf_deinit(&(*batch)->changed_buf);
	buf_deinit(&(*batch)->rows_buf);
	free(*batch);
	*batch = NULL;
}

void batch_add(struct directory_batch *batch, const char *const cells[DIRECTORY_CELLS],
	const char *expected_mark)
{
	if (!cells[0])
		return;
	struct directory_row row = { .id = cells[1] ? strtoull(cells[1], NULL, 10) : 0 };
	if (strcmp(cells[0], "revision") == 0) {
		batch->revision = row.id;
		snprintf(batch->mark, sizeof(batch->mark), "%s", cells[2] ? cells[2] : "");
		if (!batch->full && (!cells[3] || strcmp(cells[3], expected_mark) != 0))
			batch->stale = true;
		return;
	}
	if (strcmp(cells[0], "changed") == 0) {
		row.kind = directory_kind_of(cells[2] ? cells[2] : "");
		if (row.kind != KIND_COUNT)
			buf_append(&batch->changed_buf, &row, sizeof(row));
		return;
	}
	row.kind = directory_kind_of(cells[0]);
	if (row.kind == KIND_COUNT)
		return;
	for (unsigned i = 0; i < DIRECTORY_COLUMNS_MAX; i++)
		if (cells[i + 2])
			row.columns[i] = pool_copy_terminated(batch->pool, str_from(cells[i + 2]));
	buf_append(&batch->rows_buf, &row, sizeof(row));
}

int batch_read(struct sql *sql, enum batch_source source, uint64_t revision, const char *mark,
	struct directory_batch **batch_out, struct error *error)
{
	struct buf text = { 0 };
	char asked[24];
	snprintf(asked, sizeof(asked), "%llu", (unsigned long long)revision);
	if (source == BATCH_DELTA)
		schema_delta_statement(&text);
	else if (source == BATCH_FULL)
		schema_full_statement(&text);
	else if (source == BATCH_PLACES)
		schema_places_statement(&text);
	else
		schema_snapshot_statement(&text);
	struct sql_result *result = NULL;
	const char *values[] = { asked };
	int code = sql_query(
		sql, buf_terminated(&text), values, source == BATCH_DELTA ? 1 : 0, &result, error);
	buf_deinit(&text);
	if (code < 0)
		return code;
	struct directory_batch *batch = batch_create(source != BATCH_DELTA);
	for (unsigned row = 0; row < sql_rows(result); row++) {
		const char *cells[DIRECTORY_CELLS];
		for (unsigned i = 0; i < DIRECTORY_CELLS; i++)
			cells[i] = sql_value(result, row, i);
		batch_add(batch, cells, mark);
	}
	sql_result_free(&result);
	*batch_out = batch;
	return 0;
}

static int prepare_file(struct sql *sql, struct error *error)
{
	int code = schema_migrate(sql, true, NULL, error);
	if (code == 0)
		code = sql_script(sql,
			"create table if not exists snapshot (revision bigint not null, mark text "
			"not null)",
			error);
	return code;
}

int snapshot_open(const char *path, struct sql **sql_out, struct error *error)
{
	int code = sql_open_file(path, true, sql_out, error);
	if (code == 0) {
		code = prepare_file(*sql_out, error);
		if (code == 0)
			return 0;
		sql_close(sql_out);
	}
	struct buf aside = { 0 };
	buf_printf(&aside, "%s.unusable", path);
	int renamed = rename(path, buf_terminated(&aside));
	buf_deinit(&aside);
	if (renamed != 0)
		return code;
	code = sql_open_file(path, true, sql_out, error);
	if (code == 0 && (code = prepare_file(*sql_out, error)) < 0)
		sql_close(sql_out);
	return code;
}

int batch_insert_row(struct sql *sql, const struct directory_row *row, struct error *error)
{
	const struct directory_table *table = &directory_tables[row->kind];
	const char *values[DIRECTORY_COLUMNS_MAX + 1];
	char id[24];
	struct buf text = { 0 };
	snprintf(id, sizeof(id), "%llu", (unsigned long long)row->id);
	values[0] = id;
	buf_printf(&text, "insert into %s (id", table->name);
	for (unsigned i = 0; i < table->column_count; i++)
		buf_printf(&text, ", %s", table->columns[i]);
	buf_append_literal(&text, ") values ($1");
	for (unsigned i = 0; i < table->column_count; i++) {
		buf_printf(&text, ", $%u", i + 2);
		values[i + 1] = row->columns[i];
	}
	buf_append_byte(&text, ')');
	int code =
		sql_query(sql, buf_terminated(&text), values, table->column_count + 1, NULL, error);
	buf_deinit(&text);
	return code;
}

static int forget_rows(struct sql *sql, const struct directory_batch *batch, struct error *error)
{
	int code = 0;
	if (batch->full) {
		for (unsigned kind = KIND_COUNT; kind-- > 0 && code == 0;) {
			char text[64];
			snprintf(text, sizeof(text), "delete from %s", directory_tables[kind].name);
			code = sql_script(sql, text, error);
		}
		return code;
	}
	for (size_t i = 0; i < batch_changed_count(batch) && code == 0; i++) {
		const struct directory_row *row = &batch_changed(batch)[i];
		char text[64], id[24];
		snprintf(text, sizeof(text), "delete from %s where id = $1",
			directory_tables[row->kind].name);
		snprintf(id, sizeof(id), "%llu", (unsigned long long)row->id);
		code = sql_query(sql, text, SQL_VALUES(id), NULL, error);
	}
	return code;
}

int snapshot_apply(struct sql *sql, const struct directory_batch *batch, struct error *error)
{
	int code = sql_script(sql, "begin immediate", error);
	if (code < 0)
		return code;
	code = forget_rows(sql, batch, error);
	for (size_t i = 0; i < batch_row_count(batch) && code == 0; i++)
		code = batch_insert_row(sql, &batch_rows(batch)[i], error);
	char revision[24];
	snprintf(revision, sizeof(revision), "%llu", (unsigned long long)batch->revision);
	if (code == 0)
		code = sql_script(sql, "delete from snapshot", error);
	if (code == 0)
		code = sql_query(sql, "insert into snapshot (revision, mark) values ($1, $2)",
			SQL_VALUES(revision, batch->mark), NULL, error);
	if (code == 0)
		code = sql_script(sql, "commit", error);
	if (code < 0)
		(void)!sql_script(sql, "rollback", NULL);
	return code;
}
