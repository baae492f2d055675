#include "spool/copy_number.h"

#include "spool/replace.h"

#include <errno.h>
#include <stdio.h>

enum {
	NUMBER_LENGTH_MAX = 24,
	/* Folders of one volume: a copy is begun that often before one counts. */
	ASIDE_TRIES_MAX = 1000,
};

static int read_text(struct disk *disk, const char *path, char *text, size_t *length_out)
{
	struct disk_file *file = NULL;
	int result = disk_file_open(disk, path, false, &file);
	if (result < 0)
		return result;
	int64_t size = disk_file_size(file);
	result = size < 0 ? (int)size : 0;
	*length_out = size > 0 && size < NUMBER_LENGTH_MAX ? (size_t)size : 0;
	if (result == 0 && *length_out > 0)
		result = disk_read_now(file, text, *length_out, 0);
	disk_file_close(&file);
	return result;
}

int copy_number_read(struct disk *disk, const char *directory, uint64_t *number_out)
{
	char text[NUMBER_LENGTH_MAX] = "";
	struct buf path = { 0 };
	size_t length = 0;
	*number_out = 0;
	buf_printf(&path, "%s/number", directory);
	int result = read_text(disk, buf_terminated(&path), text, &length);
	/* Of a sector that is lost it is said again. */
	if (result == -EIO)
		result = read_text(disk, buf_terminated(&path), text, &length);
	buf_deinit(&path);
	if (result == -ENOENT || result == -EIO || result == -ENODATA)
		return 0;
	if (result == 0 && length > 1 && text[length - 1] == '\n' &&
		!str_to_u64(str_of(text, length - 1), UINT64_MAX, number_out))
		*number_out = 0;
	return result;
}

int copy_number_write(struct disk *disk, const char *directory, uint64_t number)
{
	char text[NUMBER_LENGTH_MAX];
	struct buf path = { 0 };
	int length = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)number);
	buf_printf(&path, "%s/number", directory);
	int result = replace_file(disk, buf_terminated(&path), str_of(text, (size_t)length));
	buf_deinit(&path);
	return result;
}

int copy_number_set_aside(const char *directory, const char *volumes_directory, uint32_t volume,
	uint64_t number, struct buf *path_out)
{
	int result = -EEXIST;
	/* One that could not be begun has no number, and left a folder before. */
	for (unsigned tries = 0; tries < ASIDE_TRIES_MAX; tries++) {
		buf_clear(path_out);
		buf_printf(path_out, "%s/removed-%u-%llu", volumes_directory, volume,
			(unsigned long long)number + tries);
		result = disk_rename(directory, buf_terminated(path_out));
		if (result != -ENOTEMPTY && result != -EEXIST)
			break;
	}
	return result;
}
