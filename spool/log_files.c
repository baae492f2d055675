#include "spool/log_files.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "core/encode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void log_files_init(struct log_files *files, struct disk *disk, const char *directory)
{
	*files = (struct log_files){ .disk = disk, .directory = str_to_heap(str_from(directory)) };
}

void log_files_deinit(struct log_files *files)
{
	for (uint64_t i = 0; i < files->count; i++)
		disk_file_close(&files->files[i]);
	free(files->files);
	free(files->directory);
	*files = (struct log_files){ 0 };
}

char *log_files_path(const struct log_files *files, const char *name)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", files->directory, name);
	char *text = str_to_heap(buf_str(&path));
	buf_deinit(&path);
	return text;
}

static char *segment_path(const struct log_files *files, uint64_t segment)
{
	char name[32];
	snprintf(name, sizeof(name), "%016llx.log", (unsigned long long)segment);
	return log_files_path(files, name);
}

int log_files_get(
	struct log_files *files, uint64_t segment, bool create, struct disk_file **file_out)
{
	if (segment < files->count && files->files[segment] != NULL) {
		*file_out = files->files[segment];
		return 0;
	}
	char *path = segment_path(files, segment);
	int result = disk_file_open(files->disk, path, create, file_out);
	free(path);
	if (result < 0)
		return result;
	if (segment >= files->count) {
		files->files = mem_resize(files->files, (segment + 1) * sizeof(*files->files));
		for (uint64_t i = files->count; i <= segment; i++)
			files->files[i] = NULL;
		files->count = segment + 1;
	}
	files->files[segment] = *file_out;
	return 0;
}

int log_files_remove(struct log_files *files, uint64_t segment)
{
	if (segment < files->count)
		disk_file_close(&files->files[segment]);
	char *path = segment_path(files, segment);
	int result = disk_remove_file(path);
	free(path);
	return result;
}

struct segment_range {
	int64_t lowest, highest;
};

static void on_entry(void *arg, const char *name)
{
	struct segment_range *range = arg;
	struct str s = str_from(name);
	uint8_t number[8];
	if (s.length != 20 || !str_ends_with(s, STR(".log")) ||
		!decode_hex(str_first(s, 16), number, sizeof(number)))
		return;
	uint64_t segment = 0;
	for (int i = 0; i < 8; i++)
		segment = segment << 8 | number[i];
	if (segment > INT64_MAX)
		return;
	if ((int64_t)segment > range->highest)
		range->highest = (int64_t)segment;
	if (range->lowest < 0 || (int64_t)segment < range->lowest)
		range->lowest = (int64_t)segment;
}

static int list_segments(const struct log_files *files, struct segment_range *range)
{
	*range = (struct segment_range){ -1, -1 };
	int result = disk_list_directory(files->directory, on_entry, range);
	if (result < 0 && result != -ENOENT)
		return result < -1 ? result : -EIO;
	return 0;
}

int64_t log_files_highest(const struct log_files *files)
{
	struct segment_range range;
	int result = list_segments(files, &range);
	return result < 0 ? result : range.highest;
}

int64_t log_files_lowest(const struct log_files *files)
{
	struct segment_range range;
	int result = list_segments(files, &range);
	return result < 0 ? result : range.lowest;
}

int log_files_read_group(struct log_files *files, uint32_t volume, uint64_t lsn,
	struct bytes **bytes_out, struct group *group_out)
{
	struct disk_file *file;
	char header[GROUP_HEADER_LENGTH];
	uint64_t offset = lsn % SEGMENT_LENGTH;
	int result = log_files_get(files, segment_of(lsn), false, &file);
	if (result == 0)
		result = disk_read_now(file, header, sizeof(header), offset);
	if (result == -ENOENT)
		result = -ENODATA;
	if (result < 0)
		return result;
	if (!group_header_decode(str_of(header, sizeof(header)), lsn, volume, group_out))
		return -ENODATA;
	struct bytes *bytes = bytes_create(group_padded(group_out->used));
	memcpy(bytes->data, header, sizeof(header));
	result = disk_read_now(file, bytes->data + sizeof(header), group_out->used - sizeof(header),
		offset + sizeof(header));
	memset(bytes->data + group_out->used, 0, bytes->length - group_out->used);
	if (result == -ENODATA ||
		(result == 0 && !group_verify(bytes_str(bytes), lsn, volume, group_out)))
		result = -EBADMSG;
	if (result < 0) {
		bytes_unref(&bytes);
		return result;
	}
	*bytes_out = bytes;
	return 0;
}
