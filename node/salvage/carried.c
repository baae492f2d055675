#include "node/salvage/carried.h"

#include "core/digest.h"
#include "core/encode.h"

#include <errno.h>
#include <stdlib.h>

enum {
	ENTRY_BYTES = 24,
	/* As many mailboxes as a volume has, several times. */
	ENTRIES_MAX = 1 << 22,
};

static uint32_t limited(uint64_t count)
{
	return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

static void take(struct carried *carried, uint64_t mailbox_id, uint32_t count, uint32_t left)
{
	if (!carried_has(carried, mailbox_id)) {
		carried->carried += count;
		carried->left += left;
	}
	map_set(carried->mailboxes, map_key_u64(&mailbox_id), carried->mailboxes);
	carried->length += ENTRY_BYTES;
}

static int read_all(struct disk_file *file, struct carried *out)
{
	int64_t size = disk_file_size(file);
	if (size < 0)
		return (int)size;
	if (size > (int64_t)ENTRIES_MAX * ENTRY_BYTES)
		return -EFBIG;
	char *bytes = mem_alloc((size_t)size + 1);
	int result = disk_read_now(file, bytes, (size_t)size, 0);
	for (int64_t at = 0; result == 0 && at + ENTRY_BYTES <= size; at += ENTRY_BYTES) {
		const char *entry = bytes + at;
		if (get_le32(entry + 16) != crc32c(0, entry, 16))
			break;
		take(out, get_le64(entry), get_le32(entry + 8), get_le32(entry + 12));
	}
	free(bytes);
	return result;
}

int carried_load(struct disk *disk, const char *directory, const struct tail_name *name,
	struct carried *out)
{
	struct disk_file *file = NULL;
	char *path = tail_path(directory, name, "carried");
	*out = (struct carried){ .mailboxes = map_create() };
	int result = disk_file_open(disk, path, false, &file);
	if (result == 0)
		result = read_all(file, out);
	disk_file_close(&file);
	free(path);
	return result == -ENOENT ? 0 : result;
}

void carried_end(struct carried *carried)
{
	map_destroy(&carried->mailboxes);
}

bool carried_has(const struct carried *carried, uint64_t mailbox_id)
{
	return map_get(carried->mailboxes, map_key_u64(&mailbox_id)) != NULL;
}

int carried_add(struct disk *disk, const char *directory, const struct tail_name *name,
	struct carried *carried, uint64_t mailbox_id, uint64_t count, uint64_t left)
{
	char entry[ENTRY_BYTES] = { 0 };
	struct disk_file *file = NULL;
	char *path = tail_path(directory, name, "carried");
	put_le64(entry, mailbox_id);
	put_le32(entry + 8, limited(count));
	put_le32(entry + 12, limited(left));
	put_le32(entry + 16, crc32c(0, entry, 16));
	int result = disk_file_open(disk, path, true, &file);
	if (result == 0)
		result = disk_write_now(file, entry, sizeof(entry), carried->length);
	if (result == 0)
		result = disk_sync_now(file);
	disk_file_close(&file);
	free(path);
	if (result == 0)
		take(carried, mailbox_id, limited(count), limited(left));
	return result;
}
