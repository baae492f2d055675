#include "proto/disk/record.h"

#include "core/digest.h"
#include "core/encode.h"

static const uint32_t group_magic = 0x31524750;  /* "PGR1" */
static const uint32_t record_magic = 0x31435250; /* "PRC1" */

void group_header_encode(const struct group *group, uint8_t out[GROUP_HEADER_LENGTH])
{
	put_le32(out, group_magic);
	put_le64(out + 8, group->lsn);
	put_le64(out + 16, group->previous_lsn);
	put_le64(out + 24, group->epoch);
	memcpy(out + 32, group->reign, GROUP_REIGN_LENGTH);
	put_le32(out + 48, group->volume);
	put_le32(out + 52, group->used);
	put_le32(out + 56, group->record_count);
	put_le16(out + 60, group->flags);
	put_le16(out + 62, 0);
	put_le32(out + 4, crc32c(0, out + 8, GROUP_HEADER_LENGTH - 8));
}

bool group_header_decode(struct str bytes, uint64_t lsn, uint32_t volume, struct group *group_out)
{
	if (bytes.length < GROUP_HEADER_LENGTH || lsn % GROUP_ALIGNMENT != 0)
		return false;
	const char *p = bytes.bytes;
	if (get_le32(p) != group_magic ||
		get_le32(p + 4) != crc32c(0, p + 8, GROUP_HEADER_LENGTH - 8))
		return false;
	group_out->lsn = get_le64(p + 8);
	group_out->previous_lsn = get_le64(p + 16);
	group_out->epoch = get_le64(p + 24);
	memcpy(group_out->reign, p + 32, GROUP_REIGN_LENGTH);
	group_out->volume = get_le32(p + 48);
	group_out->used = get_le32(p + 52);
	group_out->record_count = get_le32(p + 56);
	group_out->flags = get_le16(p + 60);
	return group_out->lsn == lsn && group_out->volume == volume &&
		group_out->used >= GROUP_HEADER_LENGTH &&
		lsn % SEGMENT_LENGTH + group_padded(group_out->used) <= SEGMENT_LENGTH;
}

static uint32_t record_crc(const uint8_t *header, struct str body)
{
	return crc32c(crc32c(0, header + 8, RECORD_HEADER_LENGTH - 8), body.bytes, body.length);
}

void record_header_encode(uint64_t lsn, uint64_t epoch, enum record_type type, struct str head,
	struct str tail, uint8_t out[RECORD_HEADER_LENGTH])
{
	put_le32(out, record_magic);
	put_le64(out + 8, lsn);
	put_le64(out + 16, epoch);
	put_le32(out + 24, (uint32_t)(head.length + tail.length));
	out[28] = (uint8_t)type;
	out[29] = 0;
	put_le16(out + 30, 0);
	put_le32(out + 4, crc32c(record_crc(out, head), tail.bytes, tail.length));
}

bool record_verify(struct str header, struct str body, uint64_t lsn)
{
	const uint8_t *p = (const uint8_t *)header.bytes;
	return header.length >= RECORD_HEADER_LENGTH && get_le32(p) == record_magic &&
		get_le64(p + 8) == lsn && get_le32(p + 24) == body.length &&
		get_le32(p + 4) == record_crc(p, body);
}

bool group_next_record(
	const struct group *group, struct str bytes, size_t *position, struct record *record_out)
{
	size_t at = *position;
	if (at + RECORD_HEADER_LENGTH > group->used || group->used > bytes.length)
		return false;
	const uint8_t *p = (const uint8_t *)bytes.bytes + at;
	uint32_t length = get_le32(p + 24);
	if (record_padded(length) > group->used - at)
		return false;
	record_out->lsn = get_le64(p + 8);
	record_out->epoch = get_le64(p + 16);
	record_out->type = p[28];
	record_out->body = str_of(p + RECORD_HEADER_LENGTH, length);
	*position = at + record_padded(length);
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
