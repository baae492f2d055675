#ifndef PANDO_CORE_DIRECTORY_SNAPSHOT_FILE_H
#define PANDO_CORE_DIRECTORY_SNAPSHOT_FILE_H

/*
 * The snapshot as a file: opened, read where it cannot be opened, set aside where it is no good.
 * Private to core/directory.
 *
 * A file is set aside only when its content has been read and is proven unusable: SQLite finds it
 * damaged, its digest is wrong, or it is of another form. It may be all that a daemon knows, and
 * the disk that refuses it now (full, no descriptor, not ours) gives it back later: then nothing is
 * moved, and the caller tries again.
 */

#include "core/directory/batch.h"

/* Whether a failure to open or read it says that its content is no good. */
bool snapshot_is_unusable(int code);

/* Opens (makes) it to be written. An unusable one is set aside, which is logged, and a new one
 * made: its content can be fetched again. Any other failure leaves it where it is. */
int snapshot_open(const char *path, struct sql **sql_out, struct error *error) must_check;
/* The same, and what it holds; an empty batch of revision 0 where that is nothing. On a failure
 * nothing is open. */
int snapshot_open_and_read(const char *path, struct sql **sql_out,
	struct directory_batch **batch_out, struct error *error) must_check;
/* For one that turns out to be unusable as it is written (`reason`): set aside, and a new one made.
 * Closes *sql first. */
int snapshot_replace(const char *path, const struct error *reason, struct sql **sql,
	struct error *error) must_check;
/* What it holds, without a byte being written beside it: for one that a full disk keeps from being
 * opened. Sets nothing aside: whether it is of another form is seen by who can write to it. */
int snapshot_read_only(
	const char *path, struct directory_batch **batch_out, struct error *error) must_check;

#endif
