#include "spool/replace.h"

#include "core/buf.h"

int replace_file(struct disk *disk, const char *path, struct str bytes)
{
	struct buf new_path = { 0 };
	struct disk_file *file = NULL;
	buf_printf(&new_path, "%s.new", path);
	/* Of somebody who was killed here. */
	(void)!disk_remove_file(buf_terminated(&new_path));
	int result = disk_file_open(disk, buf_terminated(&new_path), true, &file);
	if (result == 0)
		result = disk_write_now(file, bytes.bytes, bytes.length, 0);
	if (result == 0)
		result = disk_sync_now(file);
	disk_file_close(&file);
	if (result == 0)
		result = disk_rename(buf_terminated(&new_path), path);
	buf_deinit(&new_path);
	return result;
}
