#ifndef PANDO_CORE_DIRECTORY_BATCH_H
#define PANDO_CORE_DIRECTORY_BATCH_H

/*
 * What one read of the directory brought: all rows, or the changed ones, of one moment. Immutable
 * once built; memory and snapshot file are brought up to date from the same batch, on different
 * threads.
 */

#include "core/directory/schema.h"
#include "core/pool.h"

struct directory_row {
	enum directory_kind kind;
	uint64_t id;
	const char *columns[DIRECTORY_COLUMNS_MAX]; /* NULL: not given */
};

struct directory_batch {
	struct pool *pool;
	bool full;
	/* The reader's own (revision, mark) is unknown to the source: only a full read helps. */
	bool stale;
	uint64_t revision;
	char mark[64];
	char base_mark[64]; /* a delta: of the revision that it goes on from */
	/* Rows of a delta to forget before `rows` are added. */
	struct buf changed_buf, rows_buf;
	struct directory_batch *next; /* in the snapshot writer's queue */
};

struct directory_batch *batch_create(bool full);
void batch_destroy(struct directory_batch **batch);
/* Takes one row as the schema's statements give it; cells are copied. `expected_mark` is that of
 * the reader's revision; ignored when full. */
void batch_add(struct directory_batch *batch, const char *const cells[DIRECTORY_CELLS],
	const char *expected_mark);

static inline size_t batch_row_count(const struct directory_batch *batch)
{
	return buf_length(&batch->rows_buf) / sizeof(struct directory_row);
}

static inline const struct directory_row *batch_rows(const struct directory_batch *batch)
{
	return (const void *)buf_str(&batch->rows_buf).bytes;
}

static inline size_t batch_changed_count(const struct directory_batch *batch)
{
	return buf_length(&batch->changed_buf) / sizeof(struct directory_row);
}

/* Columns are empty. */
static inline const struct directory_row *batch_changed(const struct directory_batch *batch)
{
	return (const void *)buf_str(&batch->changed_buf).bytes;
}

/* Runs the full or the delta statement on a standalone file or a snapshot. -EBADMSG: the snapshot's
 * rows are not those that were written. */
enum batch_source { BATCH_FULL, BATCH_DELTA, BATCH_SNAPSHOT, BATCH_PLACES };
int batch_read(struct sql *sql, enum batch_source source, uint64_t revision, const char *mark,
	struct directory_batch **batch_out, struct error *error) must_check;

/* Into the table of the row's kind, ids included. */
int batch_insert_row(
	struct sql *sql, const struct directory_row *row, struct error *error) must_check;

/*
 * The file of a daemon's snapshot: the tables of the schema, and one row
 *   snapshot (revision, mark, digest)
 * that changes in one transaction with them. A snapshot is whole if and only if its digest is the
 * sum, modulo 2^64 in each half, of the first 16 bytes of the SHA-256 of every row and of
 * (revision, mark), in hexadecimal digits. A sum, because a delta must not read all rows again.
 */

/* The batch becomes part of the file, atomically. Any thread, one at a time. -ESTALE: a delta that
 * does not go on from what the file holds; only a full batch helps. */
int snapshot_apply(
	struct sql *sql, const struct directory_batch *batch, struct error *error) must_check;
/* -EBADMSG when `batch`, read from the file, is not what was written there. An empty file is whole.
 */
int snapshot_verify(
	struct sql *sql, const struct directory_batch *batch, struct error *error) must_check;

#endif
