#include "spool/log_files.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "core/check.h"
#include "core/encode.h"
#include "spool/log_mend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void log_files_init(struct log_files *files, struct disk *disk, const char *directory)
{
	*files = (struct log_files){ .disk = disk, .directory = str_to_heap(str_from(directory)) };
}

void log_files_deinit(struct log_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		disk_file_close(&files->open[i].file);
	free(files->open);
	free(files->directory);
	*files = (struct log_files){ 0 };
}

bool log_is_refusal(int result)
{
	return result == -ENOSPC || result == -EDQUOT || result == -EMFILE || result == -ENFILE ||
		result == -ENOMEM;
}

char *log_files_path(const struct log_files *files, const char *name)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", files->directory, name);
	char *text = str_to_heap(buf_str(&path));
	buf_deinit(&path);
	return text;
}

char *log_files_segment_path(const struct log_files *files, uint64_t segment)
{
	char name[32];
	snprintf(name, sizeof(name), "%016llx.log", (unsigned long long)segment);
	return log_files_path(files, name);
}

static void close_at(struct log_files *files, size_t index)
{
	CHECK(files->open[index].holds == 0);
	disk_file_close(&files->open[index].file);
	files->open[index] = files->open[--files->count];
}

void log_files_close_idle(struct log_files *files)
{
	for (size_t i = files->count; i > 0; i--)
		if (files->open[i - 1].holds == 0)
			close_at(files, i - 1);
}

static void close_oldest_idle(struct log_files *files)
{
	size_t oldest = files->count;
	for (size_t i = 0; i < files->count; i++)
		if (files->open[i].holds == 0 &&
			(oldest == files->count || files->open[i].used < files->open[oldest].used))
			oldest = i;
	if (oldest < files->count)
		close_at(files, oldest);
}

static struct log_file *find_open(struct log_files *files, const struct disk_file *file)
{
	for (size_t i = 0; i < files->count; i++)
		if (files->open[i].file == file)
			return &files->open[i];
	return NULL;
}

void log_files_hold(struct log_files *files, struct disk_file *file)
{
	struct log_file *entry = find_open(files, file);
	CHECK(entry != NULL);
	entry->holds++;
}

void log_files_release(struct log_files *files, struct disk_file *file)
{
	struct log_file *entry = find_open(files, file);
	CHECK(entry != NULL && entry->holds > 0);
	entry->holds--;
}

int log_files_get(
	struct log_files *files, uint64_t segment, bool create, struct disk_file **file_out)
{
	for (size_t i = 0; i < files->count; i++) {
		if (files->open[i].segment != segment)
			continue;
		files->open[i].used = ++files->clock;
		*file_out = files->open[i].file;
		return 0;
	}
	if (files->count >= LOG_FILES_OPEN_MAX)
		close_oldest_idle(files);
	char *path = log_files_segment_path(files, segment);
	int result = disk_file_open(files->disk, path, create, file_out);
	if (result == -EMFILE || result == -ENFILE) {
		log_files_close_idle(files);
		result = disk_file_open(files->disk, path, create, file_out);
	}
	free(path);
	if (result < 0)
		return result;
	if (files->count == files->capacity) {
		files->capacity += LOG_FILES_OPEN_MAX;
		files->open = mem_resize(files->open, files->capacity * sizeof(*files->open));
	}
	files->open[files->count++] = (struct log_file){ *file_out, segment, ++files->clock, 0 };
	return 0;
}

int log_files_remove(struct log_files *files, uint64_t segment)
{
	for (size_t i = files->count; i > 0; i--)
		if (files->open[i - 1].segment == segment)
			close_at(files, i - 1);
	char *path = log_files_segment_path(files, segment);
	int result = disk_remove_file(path);
	free(path);
	return result;
}

struct segment_range {
	int64_t lowest, highest;
	uint64_t last, count; /* how many there are up to `last` */
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
	range->count += segment <= range->last;
}

static int list_segments(const struct log_files *files, uint64_t last, struct segment_range *range)
{
	*range = (struct segment_range){ -1, -1, last, 0 };
	int result = disk_list_directory(files->directory, on_entry, range);
	if (result < 0 && result != -ENOENT)
		return result < -1 ? result : -EIO;
	return 0;
}

int64_t log_files_highest(const struct log_files *files)
{
	struct segment_range range;
	int result = list_segments(files, UINT64_MAX, &range);
	return result < 0 ? result : range.highest;
}

int64_t log_files_lowest(const struct log_files *files)
{
	struct segment_range range;
	int result = list_segments(files, UINT64_MAX, &range);
	return result < 0 ? result : range.lowest;
}

int log_files_first(const struct log_files *files, uint64_t last, uint64_t *first_out)
{
	struct segment_range range;
	int result = list_segments(files, last, &range);
	if (result < 0)
		return result;
	uint64_t first = range.lowest < 0 ? last : (uint64_t)range.lowest;
	/* A directory has each name once. */
	if (range.lowest >= 0 && (first > last || range.count != last - first + 1))
		return -EUCLEAN;
	*first_out = first;
	return 0;
}

/* The bytes of the header too. */
static int read_header(struct log_files *files, uint32_t volume, uint64_t lsn,
	char bytes[GROUP_HEADER_LENGTH], struct group *group_out)
{
	struct disk_file *file;
	int result = log_files_get(files, segment_of(lsn), false, &file);
	if (result == 0)
		result = disk_read_now(file, bytes, GROUP_HEADER_LENGTH, lsn % segment_length);
	if (result == -ENOENT)
		result = -ENODATA;
	if (result < 0)
		return result;
	struct str header = str_of(bytes, GROUP_HEADER_LENGTH);
	if (group_header_decode(header, lsn, volume, group_out))
		return 0;
	unsigned version = group_format_version(header);
	return version == 0 || version == LOG_FORMAT_VERSION ? -ENODATA : -EPROTONOSUPPORT;
}

int log_files_read_header(
	struct log_files *files, uint32_t volume, uint64_t lsn, struct group *group_out)
{
	char bytes[GROUP_HEADER_LENGTH];
	return read_header(files, volume, lsn, bytes, group_out);
}

int log_files_read_group(struct log_files *files, uint32_t volume, uint64_t lsn,
	struct bytes **bytes_out, struct group *group_out)
{
	struct disk_file *file;
	char header[GROUP_HEADER_LENGTH];
	int result = read_header(files, volume, lsn, header, group_out);
	if (result == 0)
		result = log_files_get(files, segment_of(lsn), false, &file);
	if (result < 0)
		return result;
	struct bytes *bytes = bytes_create(group_padded(group_out->used));
	memcpy(bytes->data, header, sizeof(header));
	result = disk_read_now(file, bytes->data + sizeof(header), group_out->used - sizeof(header),
		lsn % segment_length + sizeof(header));
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

bool log_files_is_damage(int result)
{
	return result == -ENODATA || result == -EBADMSG || result == -EIO;
}

int log_files_check_before(struct log_files *files, uint32_t volume, const struct epochs *epochs,
	const struct group *first)
{
	struct bytes *bytes;
	struct group group;
	if (first->previous_lsn == first->lsn)
		return first->lsn == 0 ? 0 : -EXDEV;
	if (first->previous_lsn > first->lsn)
		return -EXDEV;
	int result = log_files_read_group(files, volume, first->previous_lsn, &bytes, &group);
	if (log_files_is_damage(result))
		return 0;
	if (result < 0)
		return result;
	uint64_t end = group.lsn + group_padded(group.used);
	bool is_ours = log_is_of_branch(epochs, &group);
	bool follows = end == first->lsn ||
		(first->lsn % segment_length == 0 &&
			segment_of(group.lsn) + 1 == segment_of(first->lsn));
	if (is_ours && (!follows || group_chain_after(bytes_str(bytes), &group) != first->chain))
		result = -EXDEV;
	bytes_unref(&bytes);
	return result;
}
