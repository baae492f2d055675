#ifndef PANDO_PROTO_DISK_EPOCHS_H
#define PANDO_PROTO_DISK_EPOCHS_H

/*
 * The epoch vector of a log: which incarnation began at which address. It is the body of every
 * BARRIER and SEGMENT record, part of a volume's `epochs` file (spool/log_state.h), and part of
 * every replication handshake.
 *
 * An *incarnation* is one opening of the log by one process: its epoch in the upper 24 bits, then
 * 40 random ones. So whoever hears of one that his log lacks knows whether it was passed over by a
 * later epoch, or is lost. Entries rise in start address; the epoch never falls; within an epoch
 * the reign is the same and `opening` never falls (it counts the openings that were agreed with the
 * other copies instead of proven by this machine's memory). Two logs that went apart differ in the
 * vector, also within one reign.
 *
 * The oldest entries are forgotten when there are EPOCHS_MAX: vectors are compared from the first
 * entry that both have.
 *
 * Bytes: u32 version (2), u32 count, then per entry u64 epoch, u64 start LSN, 16 bytes reign, u64
 * incarnation, u32 opening, u32 0; then CRC-32C of all before.
 */

#include "core/buf.h"

enum {
	EPOCH_REIGN_LENGTH = 16,
	/* A restart a day for almost three years; a vector of 48 KiB fits any segment. */
	EPOCHS_MAX = 1000,
	EPOCHS_BYTES_MAX = 8 + EPOCHS_MAX * 48 + 4,
	/* Epochs of one class belong to one copy, whichever directory names them: two directories,
	 * or one that was put back, never give one epoch to two copies. */
	EPOCH_CLASSES = 8,
	/* An unclean reign in epoch E has passed over E - 1 slacks of 65,536 uids, not less and not
	 * more: beyond it there are none. At one failover a week, 157 years. */
	EPOCH_MAX = 65535,
	/* What somebody else says is believed up to here, so that a number which a mistaken or
	 * stolen machine shows leaves epochs, and half of all uids, for the next reign. */
	EPOCH_HEARD_MAX = EPOCH_MAX / 2,
	/* So many epochs are passed over, at least, where a log goes on that may be of any age: one
	 * that was restored from a backup, or lacks what is known to have been there. Each stands
	 * for 65,536 uids of every folder: 16 million messages that a client may have been shown
	 * since, and 32 failovers. */
	RESTORED_EPOCHS = 256,
	/* And up to so many times a class more, by the minute at which it is restored: nobody may
	 * be left who knows how often that was done with the same backup. Two restorations within
	 * three hours, and not within a minute, pass over different numbers, any other two in all
	 * but one of 224 cases. There are epochs for 32 of them. */
	RESTORED_STEPS = 224,
	/* Openings of one epoch, each of which passes over half a slack: more than there are UIDs
	 * for. Those behind it bear the same number. */
	OPENING_MAX = 1 << 20,
	/* So many that a vector has forgotten are counted with an epoch's first. */
	FORGOTTEN_OPENINGS_MAX = 4096,
};

struct epoch_entry {
	uint64_t epoch, start_lsn, incarnation;
	uint8_t reign[EPOCH_REIGN_LENGTH];
	uint32_t opening;
};

static inline uint64_t incarnation_make(uint64_t epoch, uint64_t random)
{
	return epoch << 40 | random >> 24;
}

static inline uint64_t incarnation_epoch(uint64_t incarnation)
{
	return incarnation >> 40;
}

struct epochs {
	struct epoch_entry *entries; /* heap */
	uint32_t count;
};

void epochs_deinit(struct epochs *epochs);
void epochs_copy(struct epochs *to, const struct epochs *from);
void epochs_encode(const struct epochs *epochs, struct buf *out);
size_t epochs_encoded_length(const struct epochs *epochs);
/* `epochs_out` is replaced. False (and unchanged) when malformed. */
bool epochs_decode(struct str bytes, struct epochs *epochs_out) must_check;
/* Adds a later incarnation, forgetting the oldest entries when the vector is full. An entry that
 * starts where the last one does replaces it: that one wrote nothing. False when it is not later:
 * lower epoch or opening, another reign of the same epoch, a lower start, or an incarnation that is
 * there. */
bool epochs_add(struct epochs *epochs, const struct epoch_entry *entry) must_check;
const struct epoch_entry *epochs_last(const struct epochs *epochs);
/* Whether this entry is in it, unchanged but for `opening`. */
bool epochs_have(const struct epochs *epochs, const struct epoch_entry *entry);
/* Drops what starts at or above `lsn`. */
void epochs_truncate(struct epochs *epochs, uint64_t lsn);

/*
 * Where a follower that ends at `follower_end` parts from the leader's log by the vectors alone:
 * everything below is the same, if the copies are sound. Entries are the same when epoch, start,
 * reign and incarnation are. -ENOENT (and 0 in `common_out`) when the vectors have no entry in
 * common although neither is empty: nothing can be said.
 */
int epochs_common_end(const struct epochs *follower, uint64_t follower_end,
	const struct epochs *leader, uint64_t leader_end, uint64_t *common_out) must_check;

/* How many epochs a restoration at this time (seconds since 1970) passes over: a multiple of
 * EPOCH_CLASSES. */
uint64_t epochs_restored(int64_t now_s);
/* The least epoch above `above` of the class `slot`. */
uint64_t epochs_next(uint64_t above, unsigned slot);
/* The same, and `least` or above (epochs_least_unclean; 0: nothing is known of the log). */
uint64_t epochs_next_from(uint64_t above, uint64_t least, unsigned slot);
/*
 * The least epoch in which a reign may begin unclean behind a log that ends at `end`: what such a
 * reign passes over follows from its epoch alone, so that copies which know nothing of each other
 * agree about it; here it has to be half a slack more, at least, than what was passed over before.
 * Each agreed opening passes over half a slack, each epoch leaves room for two.
 */
uint64_t epochs_least_unclean(const struct epochs *epochs, uint64_t end);

/* The first entry with the last one's epoch and opening: from there on other copies may lack
 * something. NULL for an empty vector. */
const struct epoch_entry *epochs_opened(const struct epochs *epochs);
/* The highest `opening` of an epoch in a log that ends at `end`, OPENING_MAX at most; 0 when there
 * is none. */
uint32_t epochs_opening(const struct epochs *epochs, uint64_t end, uint64_t epoch);

/* The epoch of the last byte below `lsn`; 0 when there is none. */
uint64_t epochs_epoch_below(const struct epochs *epochs, uint64_t lsn);

/* Above 0: who ends at (a, a_end) has more than who ends at (b, b_end): by epoch, opening, then
 * LSN. What counts is the entry that wrote the last byte: one that only announced itself at the end
 * has nothing more, and an empty vector or log has least. */
int epochs_compare(const struct epochs *a, uint64_t a_end, const struct epochs *b, uint64_t b_end);

#endif
