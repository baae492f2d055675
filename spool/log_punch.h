#ifndef PANDO_SPOOL_LOG_PUNCH_H
#define PANDO_SPOOL_LOG_PUNCH_H

/*
 * Giving back the room of bodies: their record headers say *punched* (proto/disk/record.h), and
 * where they stood is a hole of the file. Addresses, chain and everything else stay.
 *
 * A header shares its block with others, so it is changed by way of the file `punch` in the log's
 * directory: what the headers will be, durable there, then in place, then the file goes. Whoever
 * opens the log does again what the file says: a write that was torn in place is whole then.
 *
 *    0  u32  magic "PPU1"
 *    4  u32  CRC-32C of what follows
 *    8  u32  headers
 *   12  u32  0
 *   16  headers of 40 bytes, as in record.h, of records that are punched
 *
 * A file that is not whole is of headers that were not touched yet. One whose records are others
 * than those in the log changes nothing.
 */

#include "spool/volume_log.h"

enum {
	/* Of one call: a file of 40 KiB, and the flushes are of many bodies. */
	LOG_PUNCH_MAX = 512,
};

/* A MESSAGE record, whose SUMMARY goes with it. */
struct punch {
	uint64_t lsn;
	uint32_t length; /* of both, headers and padding included: else it is another one */
};

/* Bodies of the last segment stay, so that where a log ends is found as ever. */
bool volume_log_may_punch(const struct volume_log *log, uint64_t lsn);
/* Any number of times, over crashes too. `done` is called from the loop: 0, or a negative errno
 * (then some may be punched, and all may be asked for again); not after the log was closed, which
 * waits for what is under way. One at a time. -EOPNOTSUPP: the file system makes no holes. */
void volume_log_punch(struct volume_log *log, const struct punch *punches, size_t count,
	void (*done)(void *arg, int status), void *arg);
bool volume_log_is_punching(const struct volume_log *log);

#endif
