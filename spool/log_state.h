#ifndef PANDO_SPOOL_LOG_STATE_H
#define PANDO_SPOOL_LOG_STATE_H

/*
 * What a copy of a log knows beside its groups: the file `epochs`, replaced whole (written anew,
 * synced, renamed).
 *
 * Bytes: u32 magic "PST2", u32 version (3), u64 seen, u64 held epoch, u64 whole from, u32 length of
 * the vector, the vector (proto/disk/epochs.h); then CRC-32C of all before.
 */

#include "core/disk.h"
#include "proto/disk/epochs.h"

enum {
	/* For how long a copy stands still that was asked to: a `pando failover` decides within a
	 * third of it. Counted from when it was asked, and anew by a process that finds `held` in a
	 * log that it opens: no clock is compared over a restart. */
	HELD_MS_MAX = 30000,
};

struct log_state {
	struct epochs epochs;
	uint64_t seen; /* highest epoch heard, from whomever */
	/* This copy had more than it has, or is being filled for the first time: it is whole when it
	 * reaches this; UINT64_MAX: nobody knows where that is; 0: it is whole. */
	uint64_t whole_from;
	uint64_t held; /* this copy stands still in this epoch, HELD_MS_MAX long; 0: it does not */
};

void log_state_deinit(struct log_state *state);
/* Reads the file of a log that another process may be writing. All zero when there is none yet;
 * -EUCLEAN: damaged; -EPROTONOSUPPORT: of another version. */
int log_state_read(
	struct disk *disk, const char *directory, struct log_state *state_out) must_check;
/* Durable when it returns 0. */
int log_state_save(
	struct disk *disk, const char *directory, const struct log_state *state) must_check;

#endif
