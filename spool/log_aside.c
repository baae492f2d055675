#include "spool/log_aside.h"

#include "core/digest.h"
#include "core/encode.h"

#include <errno.h>
#include <stdlib.h>

enum { ASIDE_HEADER = 16 };

int log_aside_write(
	struct log_files *files, const char *name, uint32_t magic, uint32_t volume, struct str body)
{
	struct disk_file *file = NULL;
	char header[ASIDE_HEADER];
	put_le32(header, magic);
	put_le32(header + 8, (uint32_t)body.length);
	put_le32(header + 12, volume);
	put_le32(header + 4, crc32c(crc32c(0, header + 8, 8), body.bytes, body.length));
	char *path = log_files_path(files, name);
	int result = disk_file_open(files->disk, path, true, &file);
	if (result == 0)
		result = disk_write_now(file, body.bytes, body.length, sizeof(header));
	if (result == 0)
		result = disk_write_now(file, header, sizeof(header), 0);
	if (result == 0)
		result = disk_sync_now(file);
	disk_file_close(&file);
	free(path);
	return result;
}

static int read_body(struct disk_file *file, uint32_t magic, uint32_t volume, size_t length_max,
	struct buf *body_out)
{
	char header[ASIDE_HEADER];
	int64_t size = disk_file_size(file);
	if (size < 0)
		return (int)size;
	if (size < ASIDE_HEADER)
		return -ENODATA;
	int result = disk_read_now(file, header, sizeof(header), 0);
	if (result < 0)
		return result;
	size_t length = get_le32(header + 8);
	if (get_le32(header) != magic || get_le32(header + 12) != volume || length > length_max ||
		length > (size_t)size - ASIDE_HEADER)
		return -ENODATA;
	char *body = buf_reserve(body_out, length);
	result = disk_read_now(file, body, length, sizeof(header));
	if (result < 0)
		return result;
	if (get_le32(header + 4) != crc32c(crc32c(0, header + 8, 8), body, length))
		return -ENODATA;
	buf_commit(body_out, length);
	return 0;
}

int log_aside_read(struct log_files *files, const char *name, uint32_t magic, uint32_t volume,
	size_t length_max, struct buf *body_out)
{
	struct disk_file *file = NULL;
	char *path = log_files_path(files, name);
	int result = disk_file_open(files->disk, path, false, &file);
	if (result == 0)
		result = read_body(file, magic, volume, length_max, body_out);
	disk_file_close(&file);
	free(path);
	return result;
}

int log_aside_drop(struct log_files *files, const char *name)
{
	char *path = log_files_path(files, name);
	int result = disk_remove_file(path);
	free(path);
	return result == -ENOENT ? 0 : result;
}
