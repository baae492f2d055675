#include "proto/disk/epochs.h"

#include "core/digest.h"
#include "core/encode.h"
#include "proto/disk/record.h"

#include <errno.h>
#include <stdlib.h>

enum {
	HEAD_LENGTH = 8,
	ENTRY_LENGTH = 48,
};

_Static_assert(HEAD_LENGTH + EPOCHS_MAX * ENTRY_LENGTH + 4 == EPOCHS_BYTES_MAX, "epochs.h");
_Static_assert(RECORD_HEADER_LENGTH + EPOCHS_BYTES_MAX <= SEGMENT_RECORD_MAX, "record.h");

void epochs_deinit(struct epochs *epochs)
{
	free(epochs->entries);
	*epochs = (struct epochs){ 0 };
}

void epochs_copy(struct epochs *to, const struct epochs *from)
{
	epochs_deinit(to);
	to->count = from->count;
	if (from->count > 0)
		to->entries = mem_copy(from->entries, from->count * sizeof(*from->entries));
}

void epochs_encode(const struct epochs *epochs, struct buf *out)
{
	size_t length = HEAD_LENGTH + (size_t)epochs->count * ENTRY_LENGTH;
	uint8_t *at = (uint8_t *)buf_reserve(out, length + 4);
	put_le32(at, LOG_FORMAT_VERSION);
	put_le32(at + 4, epochs->count);
	for (uint32_t i = 0; i < epochs->count; i++) {
		uint8_t *entry = at + HEAD_LENGTH + (size_t)i * ENTRY_LENGTH;
		put_le64(entry, epochs->entries[i].epoch);
		put_le64(entry + 8, epochs->entries[i].start_lsn);
		memcpy(entry + 16, epochs->entries[i].reign, EPOCH_REIGN_LENGTH);
		put_le64(entry + 32, epochs->entries[i].incarnation);
		put_le32(entry + 40, epochs->entries[i].opening);
		put_le32(entry + 44, 0);
	}
	put_le32(at + length, crc32c(0, at, length));
	buf_commit(out, length + 4);
}

size_t epochs_encoded_length(const struct epochs *epochs)
{
	return HEAD_LENGTH + (size_t)epochs->count * ENTRY_LENGTH + 4;
}

bool epochs_decode(struct str bytes, struct epochs *epochs_out)
{
	if (bytes.length < HEAD_LENGTH + 4 || get_le32(bytes.bytes) != LOG_FORMAT_VERSION)
		return false;
	uint32_t count = get_le32(bytes.bytes + 4);
	size_t length = HEAD_LENGTH + (size_t)count * ENTRY_LENGTH;
	if (count > EPOCHS_MAX || bytes.length != length + 4 ||
		get_le32(bytes.bytes + length) != crc32c(0, bytes.bytes, length))
		return false;
	struct epochs decoded = { 0 };
	for (uint32_t i = 0; i < count; i++) {
		const char *at = bytes.bytes + HEAD_LENGTH + (size_t)i * ENTRY_LENGTH;
		const struct epoch_entry *last = epochs_last(&decoded);
		struct epoch_entry entry = { .epoch = get_le64(at),
			.start_lsn = get_le64(at + 8),
			.incarnation = get_le64(at + 32),
			.opening = get_le32(at + 40) };
		memcpy(entry.reign, at + 16, EPOCH_REIGN_LENGTH);
		if ((last != NULL && entry.start_lsn == last->start_lsn) ||
			!epochs_add(&decoded, &entry)) {
			epochs_deinit(&decoded);
			return false;
		}
	}
	epochs_deinit(epochs_out);
	*epochs_out = decoded;
	return true;
}

const struct epoch_entry *epochs_last(const struct epochs *epochs)
{
	return epochs->count > 0 ? &epochs->entries[epochs->count - 1] : NULL;
}

static bool is_later(const struct epochs *epochs, const struct epoch_entry *entry)
{
	const struct epoch_entry *last = epochs_last(epochs);
	for (uint32_t i = 0; i < epochs->count; i++)
		if (epochs->entries[i].incarnation == entry->incarnation)
			return false;
	if (last == NULL)
		return true;
	if (entry->start_lsn < last->start_lsn || entry->epoch < last->epoch)
		return false;
	return entry->epoch > last->epoch ||
		(entry->opening >= last->opening &&
			memcmp(entry->reign, last->reign, EPOCH_REIGN_LENGTH) == 0);
}

bool epochs_add(struct epochs *epochs, const struct epoch_entry *entry)
{
	if (!is_later(epochs, entry))
		return false;
	if (epochs->count > 0 && epochs_last(epochs)->start_lsn == entry->start_lsn)
		epochs->count--;
	if (epochs->count == EPOCHS_MAX) {
		epochs->count--;
		memmove(epochs->entries, epochs->entries + 1,
			epochs->count * sizeof(*epochs->entries));
	}
	epochs->entries =
		mem_resize(epochs->entries, (epochs->count + 1) * sizeof(*epochs->entries));
	epochs->entries[epochs->count++] = *entry;
	return true;
}

void epochs_truncate(struct epochs *epochs, uint64_t lsn)
{
	while (epochs->count > 0 && epochs->entries[epochs->count - 1].start_lsn >= lsn)
		epochs->count--;
}

static bool is_same(const struct epoch_entry *a, const struct epoch_entry *b)
{
	return a->epoch == b->epoch && a->start_lsn == b->start_lsn &&
		a->incarnation == b->incarnation &&
		memcmp(a->reign, b->reign, EPOCH_REIGN_LENGTH) == 0;
}

static uint64_t end_of(const struct epochs *epochs, uint32_t index, uint64_t end)
{
	return index + 1 < epochs->count ? epochs->entries[index + 1].start_lsn : end;
}

/* Where `entry` stands in the vector; its count when it does not. */
static uint32_t find(const struct epochs *epochs, const struct epoch_entry *entry)
{
	uint32_t i = 0;
	while (i < epochs->count && !is_same(&epochs->entries[i], entry))
		i++;
	return i;
}

bool epochs_have(const struct epochs *epochs, const struct epoch_entry *entry)
{
	return find(epochs, entry) < epochs->count;
}

int epochs_common_end(const struct epochs *follower, uint64_t follower_end,
	const struct epochs *leader, uint64_t leader_end, uint64_t *common_out)
{
	*common_out = 0;
	/* What was announced to a log without bytes says nothing of it. */
	if (follower->count == 0 || leader->count == 0 || follower_end == 0 || leader_end == 0)
		return 0;
	/* One of them may have forgotten entries that the other still has. */
	uint32_t i = 0, k = find(leader, &follower->entries[0]);
	if (k == leader->count) {
		k = 0;
		i = find(follower, &leader->entries[0]);
		if (i == follower->count)
			return -ENOENT;
	}
	while (i + 1 < follower->count && k + 1 < leader->count &&
		is_same(&follower->entries[i + 1], &leader->entries[k + 1])) {
		i++;
		k++;
	}
	uint64_t mine = end_of(follower, i, follower_end);
	uint64_t theirs = end_of(leader, k, leader_end);
	*common_out = mine < theirs ? mine : theirs;
	return 0;
}

uint64_t epochs_restored(int64_t now_s)
{
	uint64_t minute = (uint64_t)now_s / 60;
	return RESTORED_EPOCHS + minute % RESTORED_STEPS * EPOCH_CLASSES;
}

uint64_t epochs_next(uint64_t above, unsigned slot)
{
	uint64_t next = above - above % EPOCH_CLASSES + slot % EPOCH_CLASSES;
	return next > above ? next : next + EPOCH_CLASSES;
}

uint64_t epochs_next_from(uint64_t above, uint64_t least, unsigned slot)
{
	return epochs_next(above + 1 < least ? least - 1 : above, slot);
}

static uint32_t forgotten(uint32_t openings)
{
	return openings < FORGOTTEN_OPENINGS_MAX ? openings : FORGOTTEN_OPENINGS_MAX;
}

uint64_t epochs_least_unclean(const struct epochs *epochs, uint64_t end)
{
	/* Half slacks beyond what an unclean reign in the entry's epoch passes over. Whether an
	 * epoch began clean the vector does not say: then what is beyond goes on in it. */
	uint64_t beyond = 0, epoch = 0;
	uint32_t opening = 0;
	for (uint32_t i = 0; i < epochs->count && epochs->entries[i].start_lsn < end; i++) {
		const struct epoch_entry *entry = &epochs->entries[i];
		if (entry->epoch != epoch) {
			uint64_t room = 2 * (entry->epoch - epoch);
			beyond = beyond > room ? beyond - room : 0;
			opening = 0;
		}
		/* However far the number has jumped: other copies' openings were none here. */
		beyond += entry->opening > opening;
		if (i == 0 && entry->opening > 1)
			beyond += forgotten(entry->opening - 1);
		epoch = entry->epoch;
		opening = entry->opening;
	}
	return epoch + beyond / 2 + 1;
}

const struct epoch_entry *epochs_opened(const struct epochs *epochs)
{
	const struct epoch_entry *entry = epochs_last(epochs);
	while (entry != NULL && entry > epochs->entries && entry[-1].epoch == entry->epoch &&
		entry[-1].opening == entry->opening)
		entry--;
	return entry;
}

uint32_t epochs_opening(const struct epochs *epochs, uint64_t end, uint64_t epoch)
{
	uint32_t opening = 0;
	for (uint32_t i = 0; i < epochs->count && epochs->entries[i].start_lsn < end; i++)
		if (epochs->entries[i].epoch == epoch && epochs->entries[i].opening > opening)
			opening = epochs->entries[i].opening;
	return opening < OPENING_MAX ? opening : OPENING_MAX;
}

/* The entry that wrote the last byte below `lsn`; NULL when there is none. */
static const struct epoch_entry *entry_below(const struct epochs *epochs, uint64_t lsn)
{
	for (uint32_t i = epochs->count; i > 0; i--)
		if (epochs->entries[i - 1].start_lsn < lsn)
			return &epochs->entries[i - 1];
	return NULL;
}

uint64_t epochs_epoch_below(const struct epochs *epochs, uint64_t lsn)
{
	const struct epoch_entry *entry = entry_below(epochs, lsn);
	return entry ? entry->epoch : 0;
}

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

int epochs_compare(const struct epochs *a, uint64_t a_end, const struct epochs *b, uint64_t b_end)
{
	const struct epoch_entry *mine = entry_below(a, a_end);
	const struct epoch_entry *theirs = entry_below(b, b_end);
	if (mine == NULL || theirs == NULL)
		return (mine != NULL) - (theirs != NULL);
	int order = compare(mine->epoch, theirs->epoch);
	if (order == 0)
		order = compare(mine->opening, theirs->opening);
	return order ? order : compare(a_end, b_end);
}
