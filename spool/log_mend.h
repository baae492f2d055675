#ifndef PANDO_SPOOL_LOG_MEND_H
#define PANDO_SPOOL_LOG_MEND_H

/*
 * Writing over what is damaged, within a log that goes on: verified groups of another copy, at the
 * same addresses.
 *
 * 1. What is written is proven first: the groups verify, are of the incarnation that the epoch
 *    vector names there, follow each other and what stands before them, and the chain behind the
 *    last is the one that the next sound group here (or the end of the log) names. So a copy that
 *    differs mends nothing.
 * 2. They stand in the file `mend` (log_aside.h; body: u64 LSN, the groups) before a segment is
 *    touched. Whoever opens the log writes again what is not whole then.
 * 3. No group that is sound is written over. One that is whole and does not follow what stands
 *    before it, as an old disk has it, is not sound.
 * 4. A segment file that is missing is made anew with its first group.
 */

#include "spool/volume_log.h"

/* Where groups are damaged: the first, and where the next sound one begins (or the segment or the
 * log ends). Within one segment. */
struct log_damage {
	uint64_t from, to;
};

/* The group is of the incarnation that the vector names at its address; the vector may have
 * forgotten who wrote the oldest ones. */
bool log_is_of_branch(const struct epochs *epochs, const struct group *group);

struct log_locate {
	/* On the loop; not after the log was closed. 0; -ENOENT: what stands at `lsn` is sound;
	 * another errno: it could not be read for now. */
	void (*done)(struct log_locate *locate, int status);
	void *arg;
	struct log_damage damage;
};

/* Finds the damage in which `lsn` stands, or at whose beginning a walk that has come to `lsn` (the
 * end of a segment) goes on; on a pool thread. The struct is
 * the caller's until done, or until the log is closed, which waits for it. One at a time. */
void volume_log_locate(struct volume_log *log, uint64_t lsn, struct log_locate *locate);

/* Writes the groups that begin at `lsn` (one reference is taken): from the first up to the next one
 * that is sound here; those behind are not looked at. `done` comes on the loop, not after the log
 * was closed: 0; -EBADMSG: they do not verify; -EXDEV: they are of another log than this; -ENOLINK:
 * no sound group (nor the log's end) follows them here: the next segment is damaged too, and is to
 * be mended first; -EINVAL: they are not all in one segment and below the end, or the segment is
 * missing and they do not begin it; -EAGAIN: bodies are being punched; -EIO, -ENOSPC and such: not
 * written, or not all: the next opening goes on. */
void volume_log_mend(struct volume_log *log, uint64_t lsn, struct bytes *groups,
	void (*done)(void *arg, int status), void *arg);
/* Something is located or mended, or the log is being cut: nothing else can be. */
bool volume_log_is_mending(const struct volume_log *log);

#endif
