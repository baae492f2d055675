#ifndef PANDO_PROTO_DISK_RECORD_H
#define PANDO_PROTO_DISK_RECORD_H

/*
 * The bytes of a volume's log.
 *
 * A log is a sequence of groups at rising addresses (LSN = byte address, for ever). A group is what
 * one commit writes: a header of 64 bytes, then records, then zeroes up to a multiple of 4096. A
 * group lies within one segment (64 MiB of addresses); the group after it starts where it ends, or,
 * when it would not fit there, at the start of the next segment. All integers are little-endian.
 *
 * Group header:                              Record header (at a multiple of 8):
 *    0  u32  magic "PGR1"                       0  u32  magic "PRC1"
 *    4  u32  CRC-32C of bytes 8..63             4  u32  CRC-32C of bytes 8..31 and the body
 *    8  u64  LSN of this group                  8  u64  LSN of this record
 *   16  u64  LSN of the group before           16  u64  epoch
 *   24  u64  epoch                             24  u32  length of the body
 *   32  16   reign id                          28  u8   type
 *   48  u32  volume                            29  u8   flags (0)
 *   52  u32  bytes used, header included       30  u16  0
 *   56  u32  records                           32       body, then zeroes to a multiple of 8
 *   60  u16  flags (bit 0: first of a reign)
 *   62  u16  0
 *
 * A group is valid at address A of volume V if and only if: the magic and CRC are right; its LSN is
 * A and A is a multiple of 4096; its volume is V; 64 <= used, and the padded group ends within A's
 * segment; its records, walked from byte 64, are exactly `records` in number and end at `used`;
 * each has the right magic, LSN, epoch and CRC. The first group of a log names itself as the one
 * before.
 */

#include "core/str.h"

#include <stdint.h>

enum {
	/* What disks write whole: nothing durable shares it with what is being written. */
	GROUP_ALIGNMENT = 4096,
	GROUP_HEADER_LENGTH = 64,
	RECORD_HEADER_LENGTH = 32,
	RECORD_ALIGNMENT = 8,
	GROUP_REIGN_LENGTH = 16,
	GROUP_FIRST_OF_REIGN = 1,
	/* Above the largest message, and small enough that space comes back piece by piece. */
	SEGMENT_LENGTH = 64 << 20,
	/* The longest body that fits into a group of its own. */
	RECORD_BODY_MAX = SEGMENT_LENGTH - GROUP_HEADER_LENGTH - RECORD_HEADER_LENGTH - 4096,
};

enum record_type {
	RECORD_BARRIER = 1, /* the epoch vector, proto/disk/epochs.h */
	RECORD_MESSAGE = 2, /* message bytes as received */
	RECORD_SUMMARY = 3, /* proto/mail/summary.h of the MESSAGE right before */
	RECORD_CHANGE = 4,  /* proto/disk/change.h */
	RECORD_QUEUE = 5,   /* a router's queue entry; its format is the router's */
	RECORD_FENCE = 6,   /* empty: the writer was fenced here and writes no more in this epoch */
};

struct group {
	uint64_t lsn, previous_lsn, epoch;
	uint8_t reign[GROUP_REIGN_LENGTH];
	uint32_t volume, used, record_count;
	uint16_t flags;
};

struct record {
	uint64_t lsn, epoch;
	enum record_type type;
	struct str body;
};

static inline uint64_t group_padded(uint64_t used)
{
	return (used + GROUP_ALIGNMENT - 1) & ~(uint64_t)(GROUP_ALIGNMENT - 1);
}

static inline uint64_t record_padded(uint64_t body_length)
{
	return (RECORD_HEADER_LENGTH + body_length + RECORD_ALIGNMENT - 1) &
		~(uint64_t)(RECORD_ALIGNMENT - 1);
}

static inline uint64_t segment_of(uint64_t lsn)
{
	return lsn / SEGMENT_LENGTH;
}

void group_header_encode(const struct group *group, uint8_t out[GROUP_HEADER_LENGTH]);
/* Header only: magic, CRC, address, volume, bounds. False when anything is wrong. */
bool group_header_decode(struct str bytes, uint64_t lsn, uint32_t volume, struct group *group_out);

/* The CRC covers the body, which follows the header on disk and is given in two parts. */
void record_header_encode(uint64_t lsn, uint64_t epoch, enum record_type type, struct str head,
	struct str tail, uint8_t out[RECORD_HEADER_LENGTH]);
/* Checks one record whose header is at the start of `header` (32 bytes) and whose body is given. */
bool record_verify(struct str header, struct str body, uint64_t lsn);

/* A whole group with all its records checked: `bytes` begins at the group and holds at least its
 * used part. False when it is not valid as defined above. */
bool group_verify(struct str bytes, uint64_t lsn, uint32_t volume, struct group *group_out);
/* Walks a verified group: start with *position = GROUP_HEADER_LENGTH. */
bool group_next_record(const struct group *group, struct str bytes, size_t *position,
	struct record *record_out);

#endif
