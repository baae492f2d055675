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
		snprintf(batch->base_mark, sizeof(batch->base_mark), "%s",
			cells[3] ? cells[3] : "");
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
	code = source == BATCH_SNAPSHOT ? snapshot_verify(sql, batch, error) : 0;
	if (code < 0)
		batch_destroy(&batch);
	*batch_out = batch;
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
