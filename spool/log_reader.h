#ifndef PANDO_SPOOL_LOG_READER_H
#define PANDO_SPOOL_LOG_READER_H

/*
 * Reads whole groups of a volume's log up to a limit that the writer has declared durable: for
 * shipping, for applying at start-up, for scrubbing. Needs no lock: what is durable never changes.
 */

#include "core/bytes.h"
#include "core/disk.h"
#include "proto/disk/record.h"

struct log_reader;

enum {
	/* Passing over less saves nothing: a disk and the kernel's reading ahead take it along. */
	LOG_SKIM_BODY_MAX = 64 << 10,
};

int log_reader_open(struct disk *disk, const char *directory, uint32_t volume,
	struct log_reader **reader_out) must_check;
void log_reader_close(struct log_reader **reader);

/* Groups from `lsn` on, contiguous in one segment, at least one group and at most about
 * `bytes_target` bytes more, all below `limit`. *lsn_out is where they begin (the start of the next
 * segment when nothing follows at `lsn` itself), *next_out where the following one is looked for.
 * Headers are checked; with `verify`, records too. -ENODATA at the limit; -EBADMSG: corrupt, at
 * *lsn_out. */
int log_reader_next(struct log_reader *reader, uint64_t lsn, uint64_t limit, size_t bytes_target,
	bool verify, struct bytes **bytes_out, uint64_t *lsn_out, uint64_t *next_out) must_check;

/* The chain behind the groups that log_reader_next returned last, which are `bytes`. */
uint64_t log_reader_chain_behind(const struct log_reader *reader, struct str bytes);

/* As log_reader_next, verified, for who replays the log and needs no mail: of MESSAGE and SUMMARY
 * the bodies that are longer than LOG_SKIM_BODY_MAX are neither read nor checked, and those that
 * are damaged are passed over. Their records come as punched, with zeroes for a body, whatever they
 * are on disk. */
int log_reader_skim(struct log_reader *reader, uint64_t lsn, uint64_t limit, size_t bytes_target,
	struct bytes **bytes_out, uint64_t *lsn_out, uint64_t *next_out) must_check;

/* The chain at `lsn`, which is a boundary between groups below `limit`: read from the header of the
 * group that begins there (or in the next segment). -ENODATA at the limit itself: ask the writer;
 * -EINVAL: no group begins there; -EBADMSG: damage hides whether one does, or what it says. */
int log_reader_chain(
	struct log_reader *reader, uint64_t lsn, uint64_t limit, uint64_t *chain_out) must_check;

#endif
