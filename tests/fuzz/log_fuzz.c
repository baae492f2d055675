/* Groups, records, change records and epoch vectors: what a disk or a peer may hand over. */

#include "proto/disk/change.h"
#include "proto/disk/epochs.h"
#include "proto/disk/record.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* Random bytes never have the right checksums: a well-made group around them gets further. */
static void read_inside_a_group(struct str body)
{
	struct group group = { .epoch = 1, .volume = 7, .record_count = 1 }, found;
	struct buf whole = { 0 };
	uint8_t header[RECORD_HEADER_LENGTH];
	struct record record;
	size_t position = GROUP_HEADER_LENGTH;
	group.used = (uint32_t)(GROUP_HEADER_LENGTH + record_padded(body.length));
	group_header_encode(&group, (uint8_t *)buf_reserve(&whole, GROUP_HEADER_LENGTH));
	buf_commit(&whole, GROUP_HEADER_LENGTH);
	record_header_encode(GROUP_HEADER_LENGTH, 1, RECORD_CHANGE, body, STR(""), header);
	buf_append(&whole, header, sizeof(header));
	buf_append_str(&whole, body);
	while (buf_length(&whole) < group.used)
		buf_append_byte(&whole, '\0');
	if (!group_verify(buf_str(&whole), 0, 7, &found) ||
		!group_next_record(&found, buf_str(&whole), &position, &record) ||
		!str_equal(record.body, body) || position != found.used)
		abort();
	/* A byte changed anywhere in the record is noticed. */
	if (body.length > 0) {
		whole.memory[GROUP_HEADER_LENGTH + RECORD_HEADER_LENGTH + body.length / 2] ^= 0x10;
		if (group_verify(buf_str(&whole), 0, 7, &found))
			abort();
	}
	buf_deinit(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct str input = str_of(bytes, length);
	struct pool *pool = pool_create();
	struct change change;
	struct epochs epochs = { 0 };
	struct group group;
	struct buf again = { 0 };
	(void)group_verify(input, 0, 0, &group);
	if (length < 60000)
		read_inside_a_group(input);
	if (change_decode(input, pool, &change))
		change_encode(&change, &again);
	uint64_t common;
	if (epochs_decode(input, &epochs))
		(void)!epochs_common_end(&epochs, 100, &epochs, 200, &common);
	epochs_deinit(&epochs);
	buf_deinit(&again);
	pool_destroy(&pool);
	return 0;
}
