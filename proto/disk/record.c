#include "proto/disk/record.h"

#include "core/digest.h"
#include "core/encode.h"

#include <errno.h>

static const uint32_t group_magic = 0x32524750;     /* "PGR2" */
static const uint32_t record_magic = 0x32435250;    /* "PRC2" */
static const uint32_t old_group_magic = 0x31524750; /* "PGR1" */

enum {
	/* What the CRC of a header and the chain cover: all behind magic and CRC. */
	COVERED_FROM = 8,
	RECORD_STATE_AT = 33,
};

void group_header_encode(const struct group *group, uint8_t out[GROUP_HEADER_LENGTH])
{
	memset(out, 0, GROUP_HEADER_LENGTH);
	put_le32(out, group_magic);
	put_le64(out + 8, group->lsn);
	put_le64(out + 16, group->previous_lsn);
	put_le64(out + 24, group->chain);
	put_le64(out + 32, group->epoch);
	memcpy(out + 40, group->reign, GROUP_REIGN_LENGTH);
	put_le64(out + 56, group->incarnation);
	put_le32(out + 64, group->volume);
	put_le32(out + 68, group->used);
	put_le32(out + 72, group->record_count);
	put_le16(out + 76, group->flags);
	put_le16(out + 78, LOG_FORMAT_VERSION);
	put_le32(out + 4, crc32c(0, out + COVERED_FROM, GROUP_HEADER_LENGTH - COVERED_FROM));
}

bool group_header_decode(struct str bytes, uint64_t lsn, uint32_t volume, struct group *group_out)
{
	if (bytes.length < GROUP_HEADER_LENGTH || lsn % GROUP_ALIGNMENT != 0)
		return false;
	const char *p = bytes.bytes;
	if (get_le32(p) != group_magic || get_le16(p + 78) != LOG_FORMAT_VERSION ||
		get_le32(p + 4) != crc32c(0, p + COVERED_FROM, GROUP_HEADER_LENGTH - COVERED_FROM))
		return false;
	group_out->lsn = get_le64(p + 8);
	group_out->previous_lsn = get_le64(p + 16);
	group_out->chain = get_le64(p + 24);
	group_out->epoch = get_le64(p + 32);
	memcpy(group_out->reign, p + 40, GROUP_REIGN_LENGTH);
	group_out->incarnation = get_le64(p + 56);
	group_out->volume = get_le32(p + 64);
	group_out->used = get_le32(p + 68);
	group_out->record_count = get_le32(p + 72);
	group_out->flags = get_le16(p + 76);
	return group_out->lsn == lsn && group_out->volume == volume &&
		group_out->used >= GROUP_HEADER_LENGTH &&
		lsn % segment_length + group_padded(group_out->used) <= segment_length;
}

unsigned group_format_version(struct str bytes)
{
	if (bytes.length < GROUP_HEADER_LENGTH)
		return 0;
	if (get_le32(bytes.bytes) == old_group_magic)
		return 1;
	return get_le32(bytes.bytes) == group_magic &&
			get_le32(bytes.bytes + 4) ==
				crc32c(0, bytes.bytes + COVERED_FROM,
					GROUP_HEADER_LENGTH - COVERED_FROM)
		? get_le16(bytes.bytes + 78)
		: 0;
}

void record_header_encode(uint64_t lsn, uint64_t epoch, enum record_type type, struct str head,
	struct str tail, uint8_t out[RECORD_HEADER_LENGTH])
{
	memset(out, 0, RECORD_HEADER_LENGTH);
	put_le32(out, record_magic);
	put_le64(out + 8, lsn);
	put_le64(out + 16, epoch);
	put_le32(out + 24, (uint32_t)(head.length + tail.length));
	put_le32(out + 28, crc32c(crc32c(0, head.bytes, head.length), tail.bytes, tail.length));
	out[32] = (uint8_t)type;
	out[RECORD_STATE_AT] = RECORD_PRESENT;
	out[34] = LOG_FORMAT_VERSION;
	put_le32(out + 4, crc32c(0, out + COVERED_FROM, RECORD_HEADER_LENGTH - COVERED_FROM));
}

void record_header_punch(uint8_t header[RECORD_HEADER_LENGTH])
{
	header[RECORD_STATE_AT] = RECORD_PUNCHED;
	put_le32(header + 4, crc32c(0, header + COVERED_FROM, RECORD_HEADER_LENGTH - COVERED_FROM));
}

/* Takes the fields as they stand. */
static void read_header(const uint8_t *p, struct record *record_out)
{
	record_out->lsn = get_le64(p + 8);
	record_out->epoch = get_le64(p + 16);
	record_out->type = p[32];
	record_out->state = p[RECORD_STATE_AT];
	record_out->body_crc = get_le32(p + 28);
	record_out->body = str_of(p + RECORD_HEADER_LENGTH, get_le32(p + 24));
}

static bool header_is_valid(const uint8_t *p, uint64_t lsn)
{
	uint8_t state = p[RECORD_STATE_AT];
	return get_le32(p) == record_magic && p[34] == LOG_FORMAT_VERSION &&
		get_le64(p + 8) == lsn && state >= RECORD_PRESENT && state <= RECORD_SEALED &&
		get_le32(p + 4) == crc32c(0, p + COVERED_FROM, RECORD_HEADER_LENGTH - COVERED_FROM);
}

bool record_header_decode(
	const uint8_t header[RECORD_HEADER_LENGTH], uint64_t lsn, struct record *record_out)
{
	if (!header_is_valid(header, lsn))
		return false;
	read_header(header, record_out);
	return true;
}

enum record_state record_header_state(const uint8_t header[RECORD_HEADER_LENGTH])
{
	return header[RECORD_STATE_AT];
}

bool record_verify(struct str header, struct str body, uint64_t lsn)
{
	const uint8_t *p = (const uint8_t *)header.bytes;
	if (header.length < RECORD_HEADER_LENGTH || !header_is_valid(p, lsn) ||
		get_le32(p + 24) != body.length)
		return false;
	return p[RECORD_STATE_AT] != RECORD_PRESENT ||
		crc32c(0, body.bytes, body.length) == get_le32(p + 28);
}

int record_check_message(
	const uint8_t header[RECORD_HEADER_LENGTH], struct str body, uint64_t lsn)
{
	struct record record;
	if (!record_header_decode(header, lsn, &record) || record.type != RECORD_MESSAGE ||
		record.body.length != body.length)
		return -EBADMSG;
	if (record.state != RECORD_PRESENT)
		return -ENODATA;
	struct str head = str_of((const char *)header, RECORD_HEADER_LENGTH);
	return record_verify(head, body, lsn) ? 0 : -EBADMSG;
}

bool group_next_record(
	const struct group *group, struct str bytes, size_t *position, struct record *record_out)
{
	size_t at = *position;
	if (at + RECORD_HEADER_LENGTH > group->used || group->used > bytes.length)
		return false;
	read_header((const uint8_t *)bytes.bytes + at, record_out);
	if (record_padded(record_out->body.length) > group->used - at)
		return false;
	*position = at + record_padded(record_out->body.length);
	return true;
}

bool group_verify(struct str bytes, uint64_t lsn, uint32_t volume, struct group *group_out)
{
	struct record record;
	size_t position = GROUP_HEADER_LENGTH;
	uint32_t count = 0;
	if (!group_header_decode(bytes, lsn, volume, group_out) || group_out->used > bytes.length)
		return false;
	while (position < group_out->used) {
		size_t at = position;
		if (!group_next_record(group_out, bytes, &position, &record) ||
			record.epoch != group_out->epoch ||
			!record_verify(str_from_index(bytes, at), record.body, lsn + at))
			return false;
		count++;
	}
	return count == group_out->record_count;
}

/* Where a record that begins at `at` leaves its padding. */
static size_t gap_begin(const struct record *record, size_t at)
{
	return at + RECORD_HEADER_LENGTH + record->body.length;
}

void group_clear_gaps(char *bytes, const struct group *group)
{
	struct record record;
	size_t at = GROUP_HEADER_LENGTH, position = at;
	struct str whole = str_of(bytes, group->used);
	while (group_next_record(group, whole, &position, &record)) {
		size_t begin = gap_begin(&record, at);
		memset(bytes + begin, 0, position - begin);
		at = position;
	}
	memset(bytes + group->used, 0, group_padded(group->used) - group->used);
}

static bool is_zero(const char *bytes, size_t length)
{
	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

bool group_gaps_are_clear(struct str bytes, const struct group *group)
{
	struct record record;
	size_t at = GROUP_HEADER_LENGTH, position = at;
	while (group_next_record(group, bytes, &position, &record)) {
		size_t begin = gap_begin(&record, at);
		if (!is_zero(bytes.bytes + begin, position - begin))
			return false;
		at = position;
	}
	return is_zero(bytes.bytes + group->used, group_padded(group->used) - group->used);
}

uint64_t group_chain_start(uint64_t chain, const uint8_t header[GROUP_HEADER_LENGTH])
{
	return digest64(chain, header + COVERED_FROM, GROUP_HEADER_LENGTH - COVERED_FROM);
}

uint64_t group_chain_record(uint64_t chain, const uint8_t header[RECORD_HEADER_LENGTH])
{
	uint8_t covered[RECORD_HEADER_LENGTH - COVERED_FROM];
	memcpy(covered, header + COVERED_FROM, sizeof(covered));
	covered[RECORD_STATE_AT - COVERED_FROM] = RECORD_PRESENT;
	return digest64(chain, covered, sizeof(covered));
}

uint64_t group_chain_after(struct str bytes, const struct group *group)
{
	struct record record;
	size_t at = GROUP_HEADER_LENGTH, position = at;
	const uint8_t *p = (const uint8_t *)bytes.bytes;
	uint64_t chain = group_chain_start(group->chain, p);
	while (group_next_record(group, bytes, &position, &record)) {
		chain = group_chain_record(chain, p + at);
		at = position;
	}
	return chain;
}
