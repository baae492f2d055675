#ifndef PANDO_CORE_DIRECTORY_SNAPSHOT_WRITER_H
#define PANDO_CORE_DIRECTORY_SNAPSHOT_WRITER_H

/*
 * Brings a daemon's snapshot file up to date behind its memory, private to core/directory. Batches
 * are written in their order, each in one transaction with its revision, on a pool thread.
 *
 * 1. A batch that could not be written stays the next one and is tried again with growing delay:
 *    nothing behind it is written before it.
 * 2. When too much waits, or the file turns out to hold something else, all that waits is dropped
 *    and on_behind asks for a full batch.
 *
 * Lives on one loop.
 */

#include "core/directory/batch.h"
#include "core/loop.h"

struct snapshot_writer;

/* Opens the file and reads it. *batch_out is what it holds, the caller's; NULL when it holds
 * nothing, when what it held is damaged (it has been set aside), and when it cannot be read now. A
 * file that is refused costs no more than that: opening it is tried again with every batch.
 * on_behind is never called from inside. */
struct snapshot_writer *snapshot_writer_open(struct loop *loop, const char *path,
	void (*on_behind)(void *arg), void *arg, struct directory_batch **batch_out);
/* Once more where it could not be read, before any batch was put: it may be all that is known. NULL
 * as above, and when it has been read. */
struct directory_batch *snapshot_writer_read(struct snapshot_writer *writer);
/* Takes the batch over. */
void snapshot_writer_put(struct snapshot_writer *writer, struct directory_batch *batch);
/* What waits is written before the file is closed, as far as it can be: a restart may find no
 * PostgreSQL. */
void snapshot_writer_close(struct snapshot_writer **writer);

#endif
