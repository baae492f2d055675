#ifndef PANDO_PROTO_DISK_EPOCHS_H
#define PANDO_PROTO_DISK_EPOCHS_H

/*
 * The epoch vector of a log: which reign began at which address. Rising in epoch and in start. It
 * is the body of every BARRIER record, the content of a volume's `epochs` file, and part of every
 * replication handshake.
 *
 * Bytes: u32 count, then per entry u64 epoch, u64 start LSN, 16 bytes reign; then CRC-32C of all
 * before.
 */

#include "core/buf.h"

enum {
	EPOCH_REIGN_LENGTH = 16,
	/* A failover a day for eleven years. */
	EPOCHS_MAX = 4096,
};

struct epoch_entry {
	uint64_t epoch, start_lsn;
	uint8_t reign[EPOCH_REIGN_LENGTH];
};

struct epochs {
	struct epoch_entry *entries; /* heap */
	uint32_t count;
};

void epochs_deinit(struct epochs *epochs);
void epochs_copy(struct epochs *to, const struct epochs *from);
void epochs_encode(const struct epochs *epochs, struct buf *out);
/* `epochs_out` is replaced. False (and unchanged) when malformed. */
bool epochs_decode(struct str bytes, struct epochs *epochs_out) must_check;
/* Adds a newer epoch. False when it is not newer or the vector is full. */
bool epochs_add(struct epochs *epochs, const struct epoch_entry *entry) must_check;
const struct epoch_entry *epochs_last(const struct epochs *epochs);
/* Drops what starts at or above `lsn`. */
void epochs_truncate(struct epochs *epochs, uint64_t lsn);

/*
 * Where a follower that ends at `follower_end` must cut its log to be a prefix of the leader's: the
 * whole of it when it is one already. Epochs with equal number but different reign count as
 * different.
 */
uint64_t epochs_common_end(const struct epochs *follower, uint64_t follower_end,
	const struct epochs *leader, uint64_t leader_end);

#endif
