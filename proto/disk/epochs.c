#include "proto/disk/epochs.h"

#include "core/digest.h"
#include "core/encode.h"

#include <stdlib.h>

enum { ENTRY_LENGTH = 32 };

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
	size_t length = 4 + (size_t)epochs->count * ENTRY_LENGTH;
	uint8_t *at = (uint8_t *)buf_reserve(out, length + 4);
	put_le32(at, epochs->count);
	for (uint32_t i = 0; i < epochs->count; i++) {
		uint8_t *entry = at + 4 + (size_t)i * ENTRY_LENGTH;
		put_le64(entry, epochs->entries[i].epoch);
		put_le64(entry + 8, epochs->entries[i].start_lsn);
		memcpy(entry + 16, epochs->entries[i].reign, EPOCH_REIGN_LENGTH);
	}
	put_le32(at + length, crc32c(0, at, length));
	buf_commit(out, length + 4);
}

bool epochs_decode(struct str bytes, struct epochs *epochs_out)
{
	if (bytes.length < 8)
		return false;
	uint32_t count = get_le32(bytes.bytes);
	size_t length = 4 + (size_t)count * ENTRY_LENGTH;
	if (count > EPOCHS_MAX || bytes.length != length + 4 ||
		get_le32(bytes.bytes + length) != crc32c(0, bytes.bytes, length))
		return false;
	struct epochs decoded = { 0 };
	for (uint32_t i = 0; i < count; i++) {
		const char *at = bytes.bytes + 4 + (size_t)i * ENTRY_LENGTH;
		struct epoch_entry entry = { get_le64(at), get_le64(at + 8), { 0 } };
		memcpy(entry.reign, at + 16, EPOCH_REIGN_LENGTH);
		if (!epochs_add(&decoded, &entry)) {
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

bool epochs_add(struct epochs *epochs, const struct epoch_entry *entry)
{
	const struct epoch_entry *last = epochs_last(epochs);
	if (epochs->count == EPOCHS_MAX ||
		(last != NULL &&
			(entry->epoch <= last->epoch || entry->start_lsn < last->start_lsn)))
		return false;
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
		memcmp(a->reign, b->reign, EPOCH_REIGN_LENGTH) == 0;
}

static uint64_t end_of(const struct epochs *epochs, uint32_t index, uint64_t end)
{
	return index + 1 < epochs->count ? epochs->entries[index + 1].start_lsn : end;
}

uint64_t epochs_common_end(const struct epochs *follower, uint64_t follower_end,
	const struct epochs *leader, uint64_t leader_end)
{
	uint32_t same = 0;
	while (same < follower->count && same < leader->count &&
		is_same(&follower->entries[same], &leader->entries[same]))
		same++;
	if (same == 0)
		return 0;
	uint64_t mine = end_of(follower, same - 1, follower_end);
	uint64_t theirs = end_of(leader, same - 1, leader_end);
	return mine < theirs ? mine : theirs;
}
