#include "spool/copy_id.h"

#include "core/digest.h"
#include "core/encode.h"
#include "core/rand.h"
#include "spool/replace.h"

#include <errno.h>

enum { FILE_LENGTH = COPY_ID_LENGTH + 8 };

int copy_id_read(struct disk *disk, const char *directory, struct copy_id *id_out)
{
	uint8_t bytes[FILE_LENGTH];
	struct disk_file *file = NULL;
	struct buf path = { 0 };
	buf_printf(&path, "%s/copy", directory);
	int result = disk_file_open(disk, buf_terminated(&path), false, &file);
	buf_deinit(&path);
	if (result < 0)
		return result;
	result = disk_read_now(file, bytes, sizeof(bytes), 0);
	disk_file_close(&file);
	if (result < 0)
		return result == -ENODATA ? -EUCLEAN : result;
	if (get_le32(bytes + FILE_LENGTH - 4) != crc32c(0, bytes, FILE_LENGTH - 4))
		return -EUCLEAN;
	memcpy(id_out->bytes, bytes, COPY_ID_LENGTH);
	id_out->owner = get_le32(bytes + COPY_ID_LENGTH);
	return 0;
}

static int save(struct disk *disk, const char *directory, const struct copy_id *id)
{
	uint8_t bytes[FILE_LENGTH];
	struct buf path = { 0 };
	buf_printf(&path, "%s/copy", directory);
	memcpy(bytes, id->bytes, COPY_ID_LENGTH);
	put_le32(bytes + COPY_ID_LENGTH, id->owner);
	put_le32(bytes + FILE_LENGTH - 4, crc32c(0, bytes, FILE_LENGTH - 4));
	int result = replace_file(
		disk, buf_terminated(&path), str_of((const char *)bytes, sizeof(bytes)));
	buf_deinit(&path);
	return result;
}

int copy_id_take(struct disk *disk, const char *directory, uint32_t owner, struct copy_id *id_out,
	uint32_t *moved_from_out)
{
	int result = copy_id_read(disk, directory, id_out);
	bool is_new = result == -ENOENT || result == -EUCLEAN;
	*moved_from_out = 0;
	if (result < 0 && !is_new)
		return result;
	if (!is_new && (owner == 0 || id_out->owner == owner))
		return 0;
	if (!is_new && id_out->owner != 0)
		*moved_from_out = id_out->owner;
	if (is_new || id_out->owner != 0)
		rand_bytes(id_out->bytes, COPY_ID_LENGTH);
	id_out->owner = owner;
	return save(disk, directory, id_out);
}
