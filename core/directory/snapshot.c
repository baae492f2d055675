/* The content of the snapshot file (core/directory/batch.h says what is in it). */

#include "core/directory/batch.h"

#include "core/digest.h"
#include "core/encode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The digest while it is added to. */
struct sum {
	uint64_t halves[2];
};

static void sum_cell(struct buf *out, const char *cell)
{
	append_le32(out, cell ? (uint32_t)strlen(cell) + 1 : 0);
	buf_append_str(out, str_from(cell ? cell : ""));
}

static void sum_text(struct sum *sum, struct buf *text, bool add)
{
	uint8_t digest[SHA256_LENGTH];

	sha256(buf_str(text), digest);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t half = get_le64(digest + 8 * i);
		sum->halves[i] += add ? half : -half;
	}
	buf_deinit(text);
}

static void sum_head(struct sum *sum, uint64_t revision, const char *mark, bool add)
{
	struct buf text = { 0 };

	sum_cell(&text, "snapshot");
	append_le64(&text, revision);
	sum_cell(&text, mark);
	sum_text(sum, &text, add);
}

static void sum_row(struct sum *sum, enum directory_kind kind, uint64_t id,
	const char *const *columns, bool add)
{
	const struct directory_table *table = &directory_tables[kind];
	struct buf text = { 0 };

	sum_cell(&text, table->name);
	append_le64(&text, id);
	for (unsigned i = 0; i < table->column_count; i++)
		sum_cell(&text, columns[i]);
	sum_text(sum, &text, add);
}

/* The row as the file holds it, which need not be how it was given: a column may have a type. */
static int sum_stored_row(struct sql *sql, struct sum *sum, enum directory_kind kind, uint64_t id,
	bool add, struct error *error)
{
	const struct directory_table *table = &directory_tables[kind];
	const char *columns[DIRECTORY_COLUMNS_MAX];
	struct sql_result *result = NULL;
	struct buf text = { 0 };
	char digits[24];

	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)id);
	for (unsigned i = 0; i < table->column_count; i++)
		buf_printf(&text, "%s cast(%s as text)", i == 0 ? "select" : ",",
			table->columns[i]);
	buf_printf(&text, " from %s where id = $1", table->name);
	int code =
		sql_query(sql, buf_terminated(&text), SQL_VALUES(digits), &result, error);
	buf_deinit(&text);
	if (code == 0 && sql_rows(result) > 0) {
		for (unsigned i = 0; i < table->column_count; i++)
			columns[i] = sql_value(result, 0, i);
		sum_row(sum, kind, id, columns, add);
	}
	sql_result_free(&result);
	return code;
}

static void sum_print(const struct sum *sum, char out[33])
{
	snprintf(out, 33, "%016llx%016llx", (unsigned long long)sum->halves[0],
		(unsigned long long)sum->halves[1]);
}

static bool sum_parse(struct sum *sum, const char *text)
{
	char end;
	unsigned long long high, low;

	if (!text || strlen(text) != 32 || sscanf(text, "%16llx%16llx%c", &high, &low, &end) != 2)
		return false;
	*sum = (struct sum){ { high, low } };
	return true;
}

int snapshot_verify(struct sql *sql, const struct directory_batch *batch, struct error *error)
{
	struct sql_result *result = NULL;
	struct sum told, sum = { 0 };
	int code = sql_query(sql, "select digest from snapshot", NULL, 0, &result, error);

	if (code < 0)
		return code;
	unsigned rows = sql_rows(result);
	bool is_told = rows == 1 && sum_parse(&told, sql_value(result, 0, 0));
	sql_result_free(&result);
	if (rows == 0 && batch->revision == 0 && batch_row_count(batch) == 0)
		return 0;
	sum_head(&sum, batch->revision, batch->mark, true);
	for (size_t i = 0; i < batch_row_count(batch); i++) {
		const struct directory_row *row = &batch_rows(batch)[i];
		sum_row(&sum, row->kind, row->id, row->columns, true);
	}
	if (is_told && memcmp(&told, &sum, sizeof(sum)) == 0)
		return 0;
	return error_set(error, -EBADMSG,
		"the snapshot of revision %llu is damaged: its rows are not those that were "
		"written",
		(unsigned long long)batch->revision);
}

/* What the file holds, to go on from. */
static int read_base(struct sql *sql, const struct directory_batch *batch, struct sum *sum_out,
	struct error *error)
{
	struct sql_result *result = NULL;
	int code = sql_query(
		sql, "select revision, mark, digest from snapshot", NULL, 0, &result, error);

	if (code < 0)
		return code;
	bool fits = sql_rows(result) == 1 && sql_value(result, 0, 1) &&
		strcmp(sql_value(result, 0, 1), batch->base_mark) == 0 &&
		sum_parse(sum_out, sql_value(result, 0, 2));
	if (fits)
		sum_head(sum_out, sql_value_u64(result, 0, 0), sql_value(result, 0, 1), false);
	sql_result_free(&result);
	if (fits)
		return 0;
	return error_set(error, -ESTALE,
		"revision %llu does not go on from what the snapshot holds",
		(unsigned long long)batch->revision);
}

static int forget_all(struct sql *sql, struct error *error)
{
	int code = 0;
	for (unsigned kind = KIND_COUNT; kind-- > 0 && code == 0;) {
		char text[64];
		snprintf(text, sizeof(text), "delete from %s", directory_tables[kind].name);
		code = sql_script(sql, text, error);
	}
	return code;
}

static int forget_rows(struct sql *sql, const struct directory_batch *batch, struct sum *sum,
	struct error *error)
{
	int code = 0;

	if (batch->full)
		return forget_all(sql, error);
	for (size_t i = 0; i < batch_changed_count(batch) && code == 0; i++) {
		const struct directory_row *row = &batch_changed(batch)[i];
		char text[64], id[24];
		code = sum_stored_row(sql, sum, row->kind, row->id, false, error);
		if (code < 0)
			break;
		snprintf(text, sizeof(text), "delete from %s where id = $1",
			directory_tables[row->kind].name);
		snprintf(id, sizeof(id), "%llu", (unsigned long long)row->id);
		code = sql_query(sql, text, SQL_VALUES(id), NULL, error);
	}
	return code;
}

static int write_head(struct sql *sql, const struct directory_batch *batch, struct sum *sum,
	struct error *error)
{
	char revision[24], digest[33];
	int code = sql_script(sql, "delete from snapshot", error);

	sum_head(sum, batch->revision, batch->mark, true);
	sum_print(sum, digest);
	snprintf(revision, sizeof(revision), "%llu", (unsigned long long)batch->revision);
	if (code == 0)
		code = sql_query(sql,
			"insert into snapshot (revision, mark, digest) values ($1, $2, $3)",
			SQL_VALUES(revision, batch->mark, digest), NULL, error);
	return code;
}

int snapshot_apply(struct sql *sql, const struct directory_batch *batch, struct error *error)
{
	struct sum sum = { 0 };
	int code = sql_script(sql, "begin immediate", error);

	if (code < 0)
		return code;
	if (!batch->full)
		code = read_base(sql, batch, &sum, error);
	if (code == 0)
		code = forget_rows(sql, batch, &sum, error);
	for (size_t i = 0; i < batch_row_count(batch) && code == 0; i++) {
		const struct directory_row *row = &batch_rows(batch)[i];
		code = batch_insert_row(sql, row, error);
		if (code == 0)
			code = sum_stored_row(sql, &sum, row->kind, row->id, true, error);
	}
	if (code == 0)
		code = write_head(sql, batch, &sum, error);
	if (code == 0)
		code = sql_script(sql, "commit", error);
	if (code < 0)
		(void)!sql_script(sql, "rollback", NULL);
	return code;
}
