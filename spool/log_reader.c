#include "spool/log_reader.h"

#include "spool/log_files.h"

#include <errno.h>
#include <stdlib.h>

struct log_reader {
	struct log_files files;
	uint32_t volume;
};

int log_reader_open(
	struct disk *disk, const char *directory, uint32_t volume, struct log_reader **reader_out)
{
	struct log_reader *reader = mem_alloc(sizeof(*reader));
	log_files_init(&reader->files, disk, directory);
	reader->volume = volume;
	*reader_out = reader;
	return 0;
}

void log_reader_close(struct log_reader **reader)
{
	if (*reader == NULL)
		return;
	log_files_deinit(&(*reader)->files);
	free(*reader);
	*reader = NULL;
}

/* The group that follows at `lsn`, or at the start of the next segment. */
static int find_group(
	struct log_reader *reader, uint64_t *lsn, uint64_t limit, struct group *group_out)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		if (*lsn >= limit)
			return -ENODATA;
		int result = log_files_read_header(&reader->files, reader->volume, *lsn, group_out);
		if (result != -ENODATA)
			return result;
		uint64_t next_segment = (segment_of(*lsn) + 1) * segment_length;
		/* An invalid header inside a segment is corruption unless the log goes on in the
		 * next. */
		if (attempt == 1 || *lsn % segment_length == 0 || next_segment >= limit)
			return -EBADMSG;
		*lsn = next_segment;
	}
	return -EBADMSG;
}

/* Cuts `bytes` behind the last whole, valid group. The number of bytes kept. */
static size_t keep_groups(struct log_reader *reader, struct bytes *bytes, uint64_t lsn,
	uint64_t limit, bool verify, int *result)
{
	size_t kept = 0;
	while (kept + GROUP_HEADER_LENGTH <= bytes->length && lsn + kept < limit) {
		struct group group;
		struct str rest = str_from_index(bytes_str(bytes), kept);
		if (!group_header_decode(rest, lsn + kept, reader->volume, &group))
			break;
		if (group_padded(group.used) > rest.length)
			break;
		if (verify && !group_verify(rest, lsn + kept, reader->volume, &group)) {
			*result = -EBADMSG;
			break;
		}
		kept += group_padded(group.used);
	}
	return kept;
}

int log_reader_next(struct log_reader *reader, uint64_t lsn, uint64_t limit, size_t bytes_target,
	bool verify, struct bytes **bytes_out, uint64_t *lsn_out, uint64_t *next_out)
{
	struct group group;
	struct disk_file *file;
	int result = find_group(reader, &lsn, limit, &group);
	*lsn_out = lsn;
	if (result < 0)
		return result;
	uint64_t end = lsn + group_padded(group.used);
	uint64_t segment_end = (segment_of(lsn) + 1) * segment_length;
	if (end < lsn + bytes_target)
		end = lsn + bytes_target;
	if (end > limit)
		end = limit;
	if (end > segment_end)
		end = segment_end;
	if (lsn + group_padded(group.used) > end)
		return -EBADMSG; /* the limit lies inside a group: the writer never says so */
	struct bytes *bytes = bytes_create((size_t)(end - lsn));
	result = log_files_get(&reader->files, segment_of(lsn), false, &file);
	if (result == 0) {
		/* The last group's padding may lie beyond the end of the file. */
		int64_t available = disk_file_size(file) - (int64_t)(lsn % segment_length);
		size_t length = bytes->length;
		if (available >= 0 && (uint64_t)available < length) {
			memset(bytes->data + available, 0, length - (size_t)available);
			length = (size_t)available;
		}
		result = disk_read_now(file, bytes->data, length, lsn % segment_length);
	}
	if (result == 0) {
		bytes->length = keep_groups(reader, bytes, lsn, limit, verify, &result);
		if (bytes->length == 0 && result == 0)
			result = -EBADMSG;
		if (bytes->length > 0)
			result = 0; /* what is good goes first; the bad group is met
				     * alone next time */
	}
	if (result < 0) {
		bytes_unref(&bytes);
		return result;
	}
	*bytes_out = bytes;
	*next_out = lsn + bytes->length;
	return 0;
}

int log_reader_chain(struct log_reader *reader, uint64_t lsn, uint64_t limit, uint64_t *chain_out)
{
	struct group group;
	uint64_t asked = lsn;
	if (lsn > limit || lsn % GROUP_ALIGNMENT != 0)
		return -EINVAL;
	int result = find_group(reader, &lsn, limit, &group);
	if (result == -EBADMSG)
		return -EINVAL;
	if (result < 0)
		return result;
	/* In the next segment only when the group before ends exactly where was asked. */
	if (lsn != asked) {
		struct group previous;
		result = log_files_read_header(
			&reader->files, reader->volume, group.previous_lsn, &previous);
		if (result < 0)
			return result == -ENODATA ? -EINVAL : result;
		if (previous.lsn + group_padded(previous.used) != asked)
			return -EINVAL;
	}
	*chain_out = group.chain;
	return 0;
}
