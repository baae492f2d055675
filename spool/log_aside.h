#ifndef PANDO_SPOOL_LOG_ASIDE_H
#define PANDO_SPOOL_LOG_ASIDE_H

/*
 * A file beside the segments that says what is about to be written over what is durable (`punch`,
 * `mend`): it is durable first, then comes the write in place, then it goes. Whoever opens the log
 * does again what it says, so that a write that was torn is whole then.
 *
 *    0  u32  magic
 *    4  u32  CRC-32C of what follows
 *    8  u32  length of the body
 *   12  u32  volume
 *   16       body
 *
 * One that is not whole is of a write that had not begun. What an earlier, longer one has left
 * behind the body is nothing.
 */

#include "core/buf.h"
#include "spool/log_files.h"

/* Durable when it returns 0. */
int log_aside_write(struct log_files *files, const char *name, uint32_t magic, uint32_t volume,
	struct str body) must_check;
/* `body_out` is the caller's. -ENOENT: there is none; -ENODATA: it is not whole, or not of this
 * volume. A longer body than `length_max` is not read. */
int log_aside_read(struct log_files *files, const char *name, uint32_t magic, uint32_t volume,
	size_t length_max, struct buf *body_out) must_check;
/* 0 also where there is none. */
int log_aside_drop(struct log_files *files, const char *name) must_check;

#endif
