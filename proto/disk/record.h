#ifndef PANDO_PROTO_DISK_RECORD_H
#define PANDO_PROTO_DISK_RECORD_H

/*
 * The bytes of a volume's log, format 2.
 *
 * A log is a sequence of groups at rising addresses (LSN = byte address, for ever). A group is what
 * one commit writes: a header of 128 bytes, then records, then zeroes up to a multiple of 4096. A
 * group lies within one segment (segment_length of addresses); the group after it starts where it
 * ends, or, when it would not fit there, at the start of the next segment. All integers are
 * little-endian.
 *
 * Group header:                              Record header (at a multiple of 8):
 *    0  u32  magic "PGR2"                       0  u32  magic "PRC2"
 *    4  u32  CRC-32C of bytes 8..127            4  u32  CRC-32C of bytes 8..39
 *    8  u64  LSN of this group                  8  u64  LSN of this record
 *   16  u64  LSN of the group before           16  u64  epoch
 *   24  u64  chain: of all below this group    24  u32  length of the body
 *   32  u64  epoch                             28  u32  CRC-32C of the body
 *   40  16   reign id                          32  u8   type
 *   56  u64  incarnation                       33  u8   state: 1 present, 2 punched, 3 sealed
 *   64  u32  volume                            34  u8   version (2)
 *   68  u32  bytes used, header included       35  5    0
 *   72  u32  records                           40       body, then zeroes to a multiple of 8
 *   76  u16  flags (bit 0: first of an
 *            incarnation)
 *   78  u16  version (2)
 *   80  48   0
 *
 * The chain is a 64-bit digest of every group header and record header of the log so far, in order:
 * of a group header the bytes 8..127, of a record header the bytes 8..39 with state 1. So (LSN,
 * chain) names everything below LSN, bodies too (by their CRC), and a body that is punched later
 * changes nothing of it. The first group of a log has chain 0; the chain at the end of a log
 * follows from its last group (chain_after).
 *
 * The first record of the first group of every segment is BARRIER or SEGMENT: both hold the epoch
 * vector, so that a segment is understood without those before it.
 *
 * A group is valid at address A of volume V if and only if: the magic, version and CRC are right;
 * its LSN is A and A is a multiple of 4096; its volume is V; 128 <= used, and the padded group ends
 * within A's segment; its records, walked from byte 128, are exactly `records` in number and end at
 * `used`; each has the right magic, version, LSN, epoch and header CRC; and each body that is
 * present has the right CRC. The first group of a log names itself as the one before.
 */

#include "core/str.h"

#include <stdint.h>

/* Above the largest message, and small enough that space comes back piece by piece: 64 MiB as
 * shipped. A link-time constant, so that tests and simulation meet thousands of boundaries with
 * 256 KiB. A multiple of GROUP_ALIGNMENT. */
extern const uint64_t segment_length;

enum {
	/* What disks write whole: nothing durable shares it with what is being written. */
	GROUP_ALIGNMENT = 4096,
	GROUP_HEADER_LENGTH = 128,
	RECORD_HEADER_LENGTH = 40,
	RECORD_ALIGNMENT = 8,
	GROUP_REIGN_LENGTH = 16,
	GROUP_FIRST_OF_INCARNATION = 1,
	LOG_FORMAT_VERSION = 2,
	/* A SEGMENT record with a full vector (epochs.h): 40 + 48012, padded. */
	SEGMENT_RECORD_MAX = 48056,
};

enum record_type {
	RECORD_BARRIER = 1, /* the epoch vector, proto/disk/epochs.h */
	RECORD_MESSAGE = 2, /* message bytes as received */
	RECORD_SUMMARY = 3, /* proto/mail/summary.h of the MESSAGE right before */
	RECORD_CHANGE = 4,  /* proto/disk/change.h */
	RECORD_QUEUE = 5,   /* a router's queue entry; its format is the router's */
	RECORD_FENCE = 6,   /* empty: the writer was fenced here and writes no more in this epoch */
	RECORD_SEGMENT = 7, /* the epoch vector again, at the start of a segment */
};

enum record_state { RECORD_PRESENT = 1, RECORD_PUNCHED = 2, RECORD_SEALED = 3 };

struct group {
	uint64_t lsn, previous_lsn, chain, epoch, incarnation;
	uint8_t reign[GROUP_REIGN_LENGTH];
	uint32_t volume, used, record_count;
	uint16_t flags;
};

struct record {
	uint64_t lsn, epoch;
	enum record_type type;
	enum record_state state;
	uint32_t body_crc;
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
	return lsn / segment_length;
}

/* The longest body that fits wherever it comes to stand: in a group of its own, behind the largest
 * vector at the start of a segment. */
static inline uint64_t record_body_max(void)
{
	return segment_length - GROUP_HEADER_LENGTH - SEGMENT_RECORD_MAX - RECORD_HEADER_LENGTH -
		RECORD_ALIGNMENT;
}

void group_header_encode(const struct group *group, uint8_t out[GROUP_HEADER_LENGTH]);
/* Header only: magic, version, CRC, address, volume, bounds. False when anything is wrong. */
bool group_header_decode(struct str bytes, uint64_t lsn, uint32_t volume, struct group *group_out);
/* The format version of what looks like a group header, for a sentence about it; 0: does not. */
unsigned group_format_version(struct str bytes);

/* The body follows the header on disk and is given in two parts. */
void record_header_encode(uint64_t lsn, uint64_t epoch, enum record_type type, struct str head,
	struct str tail, uint8_t out[RECORD_HEADER_LENGTH]);
/* Makes the header of a record that is present one whose body is gone. */
void record_header_punch(uint8_t header[RECORD_HEADER_LENGTH]);
/* Checks one record whose header is at the start of `header` (RECORD_HEADER_LENGTH bytes) and whose
 * body is given. Of a body that is not present nothing is checked but its length. */
bool record_verify(struct str header, struct str body, uint64_t lsn);
/* Checks the header alone; the body is where it would stand, and is not looked at. */
bool record_header_decode(
	const uint8_t header[RECORD_HEADER_LENGTH], uint64_t lsn, struct record *record_out);
/* Whether this is the message's record at `lsn`, and this its body: 0, -ENODATA where the room of
 * the body has been given back, -EBADMSG. */
int record_check_message(
	const uint8_t header[RECORD_HEADER_LENGTH], struct str body, uint64_t lsn);
/* Of a header that has been verified. */
enum record_state record_header_state(const uint8_t header[RECORD_HEADER_LENGTH]);

/* A whole group with all its records checked: `bytes` begins at the group and holds at least its
 * used part. False when it is not valid as defined above. */
bool group_verify(struct str bytes, uint64_t lsn, uint32_t volume, struct group *group_out);
/* No checksum covers what stands between two records and behind the last one: zeroes, or the bytes
 * of two copies differ. `bytes` holds the whole verified group with its padding. */
void group_clear_gaps(char *bytes, const struct group *group);
bool group_gaps_are_clear(struct str bytes, const struct group *group);
/* Walks a verified group: start with *position = GROUP_HEADER_LENGTH. The body is what stands
 * there: of a record that is not present it has the length and says nothing. */
bool group_next_record(
	const struct group *group, struct str bytes, size_t *position, struct record *record_out);

/* The chain behind a verified group; and in steps, for who makes one: over its header, then over
 * each of its record headers. */
uint64_t group_chain_after(struct str bytes, const struct group *group);
uint64_t group_chain_start(uint64_t chain, const uint8_t header[GROUP_HEADER_LENGTH]);
uint64_t group_chain_record(uint64_t chain, const uint8_t header[RECORD_HEADER_LENGTH]);

#endif
