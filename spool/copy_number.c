#include "spool/copy_number.h"

#include "spool/replace.h"

#include <errno.h>
#include <stdio.h>

enum {
	NUMBER_LENGTH_MAX = 24,
	/* Folders of one volume: a copy is begun that often before one counts. */
	ASIDE_TRIES_MAX = 1000,
};

uint64_t copy_number_read(struct disk *disk, const char *directory)
{
	char text[NUMBER_LENGTH_MAX] = "";
	struct buf path = { 0 };
	struct disk_file *file = NULL;
	uint64_t number = 0;
	buf_printf(&path, "%s/number", directory);
	int result = disk_file_open(disk, buf_terminated(&path), false, &file);
	buf_deinit(&path);
	if (result < 0)
		return 0;
	int64_t size = disk_file_size(file);
	struct str rest = str_of(text, size > 0 && size < NUMBER_LENGTH_MAX ? (size_t)size : 0);
	if (rest.length > 1 && disk_read_now(file, text, rest.length, 0) == 0 &&
		text[rest.length - 1] == '\n' &&
		!str_to_u64(str_first(rest, rest.length - 1), UINT64_MAX, &number))
		number = 0;
	disk_file_close(&file);
	return number;
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
