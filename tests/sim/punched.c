#include "sim/punched.h"

#include "proto/disk/record.h"
#include "sim/tally.h"
#include "sim/world.h"

#include <stdio.h>
#include <string.h>

bool punched_is_under_way(unsigned machine, uint32_t volume_id)
{
	char path[64], byte;
	snprintf(path, sizeof(path), "/volumes/%u/punch", volume_id);
	return world_read_file(machine, path, 0, &byte, 1) > 0;
}

/* A record that is punched in one copy may not be yet in the other. */
static void mask_record(uint64_t lsn, char *a, char *b, size_t length)
{
	struct record here, there;
	if (!record_header_decode((uint8_t *)a, lsn, &here) ||
		!record_header_decode((uint8_t *)b, lsn, &there))
		return;
	bool is_punched = here.state == RECORD_PUNCHED || there.state == RECORD_PUNCHED;
	tally_add(TALLY_CHECK, "a body whose room has come back, at both copies or at one",
		is_punched);
	if (!is_punched || here.body.length != there.body.length ||
		here.body.length > length - RECORD_HEADER_LENGTH)
		return;
	record_header_punch((uint8_t *)a);
	record_header_punch((uint8_t *)b);
	memset(a + RECORD_HEADER_LENGTH, 0, here.body.length);
	memset(b + RECORD_HEADER_LENGTH, 0, here.body.length);
}

/* A header that has rotted in one of them is read in the other. */
static bool read_group(uint32_t volume_id, uint64_t lsn, const char *a, const char *b,
	size_t length, struct group *group_out)
{
	return group_header_decode(str_of(a, length), lsn, volume_id, group_out) ||
		group_header_decode(str_of(b, length), lsn, volume_id, group_out);
}

static bool read_record(uint64_t lsn, const char *a, const char *b, struct record *record_out)
{
	return record_header_decode((const uint8_t *)a, lsn, record_out) ||
		record_header_decode((const uint8_t *)b, lsn, record_out);
}

void punched_mask(uint32_t volume_id, uint64_t lsn, char *a, char *b, size_t length)
{
	struct group group;
	for (size_t at = 0; at + GROUP_HEADER_LENGTH <= length &&
		read_group(volume_id, lsn + at, a + at, b + at, length - at, &group);
		at += group_padded(group.used)) {
		struct record record;
		size_t position = at + GROUP_HEADER_LENGTH;
		while (position + RECORD_HEADER_LENGTH <= at + group.used &&
			at + group.used <= length &&
			read_record(lsn + position, a + position, b + position, &record)) {
			mask_record(lsn + position, a + position, b + position,
				at + group.used - position);
			position += record_padded(record.body.length);
		}
	}
}
