#include "spool/log_reader.h"

#include "spool/log_files.h"

#include <errno.h>
#include <stdlib.h>

struct log_reader {
	struct log_files files;
	uint32_t volume;
	/* The last group that log_reader_next kept, and where it stands in the bytes. */
	struct group last;
	size_t last_at;
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

/* The group that follows at `lsn`, or at the start of the next segment: there only if it says that
 * nothing stands between, else what follows here is rotten. */
static int find_group(
	struct log_reader *reader, uint64_t *lsn, uint64_t limit, struct group *group_out)
{
	struct group previous;
	if (*lsn >= limit)
		return -ENODATA;
	int result = log_files_read_header(&reader->files, reader->volume, *lsn, group_out);
	if (result != -ENODATA)
		return result;
	uint64_t next_segment = (segment_of(*lsn) + 1) * segment_length;
	if (*lsn % segment_length == 0 || next_segment >= limit)
		return -EBADMSG;
	result = log_files_read_header(&reader->files, reader->volume, next_segment, group_out);
	if (result == 0)
		result = group_out->previous_lsn < *lsn
			? log_files_read_header(&reader->files, reader->volume,
				  group_out->previous_lsn, &previous)
			: -ENODATA;
	if (result < 0)
		return result == -ENODATA ? -EBADMSG : result;
	if (previous.lsn + group_padded(previous.used) != *lsn)
		return -EBADMSG;
	*lsn = next_segment;
	return 0;
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
		reader->last = group;
		reader->last_at = kept;
		/* Rot there is nobody's loss, and is not passed on. */
		if (verify)
			group_clear_gaps(bytes->data + kept, &group);
		kept += group_padded(group.used);
	}
	return kept;
}

/* The last group's padding may lie beyond the end of the file. */
static int read_part(struct disk_file *file, char *bytes, size_t length, uint64_t offset)
{
	int64_t size = disk_file_size(file);
	if (size < 0)
		return (int)size;
	uint64_t there = (uint64_t)size > offset ? (uint64_t)size - offset : 0;
	if (there < length) {
		memset(bytes + there, 0, length - (size_t)there);
		length = (size_t)there;
	}
	return disk_read_now(file, bytes, length, offset);
}

/* How many bytes are looked at: *lsn is where the first group is. */
static int find_range(struct log_reader *reader, uint64_t *lsn, uint64_t limit, size_t bytes_target,
	size_t *length_out, struct disk_file **file_out)
{
	struct group group;
	int result = find_group(reader, lsn, limit, &group);
	if (result < 0)
		return result;
	uint64_t end = *lsn + group_padded(group.used);
	uint64_t segment_end = (segment_of(*lsn) + 1) * segment_length;
	if (end < *lsn + bytes_target)
		end = *lsn + bytes_target;
	if (end > limit)
		end = limit;
	if (end > segment_end)
		end = segment_end;
	if (*lsn + group_padded(group.used) > end)
		return -EBADMSG; /* the limit lies inside a group: the writer never says so */
	*length_out = (size_t)(end - *lsn);
	return log_files_get(&reader->files, segment_of(*lsn), false, file_out);
}

int log_reader_next(struct log_reader *reader, uint64_t lsn, uint64_t limit, size_t bytes_target,
	bool verify, struct bytes **bytes_out, uint64_t *lsn_out, uint64_t *next_out)
{
	struct disk_file *file;
	size_t range;
	int result = find_range(reader, &lsn, limit, bytes_target, &range, &file);
	*lsn_out = lsn;
	if (result < 0)
		return result;
	struct bytes *bytes = bytes_create(range);
	result = read_part(file, bytes->data, range, lsn % segment_length);
	if (result == 0) {
		bytes->length = keep_groups(reader, bytes, lsn, limit, verify, &result);
		if (bytes->length == 0 && result == 0)
			result = -EBADMSG;
		if (bytes->length > 0)
			/* What is good goes first; what is bad is met alone next time. */
			result = 0;
	}
	if (result < 0) {
		bytes_unref(&bytes);
		return result;
	}
	*bytes_out = bytes;
	*next_out = lsn + bytes->length;
	return 0;
}

uint64_t log_reader_chain_behind(const struct log_reader *reader, struct str bytes)
{
	return group_chain_after(str_from_index(bytes, reader->last_at), &reader->last);
}

/* ---- skimming ---- */

struct skim {
	struct disk_file *file;
	struct bytes *bytes; /* zeroes where nothing was read */
	uint64_t lsn;        /* of their first */
	size_t loaded;       /* all in front is read or passed over */
};

static int skim_load(struct skim *skim, size_t to)
{
	if (to <= skim->loaded)
		return 0;
	if (to > skim->bytes->length)
		return -EBADMSG;
	size_t end = skim->loaded + LOG_SKIM_BODY_MAX;
	if (end < to)
		end = to;
	if (end > skim->bytes->length)
		end = skim->bytes->length;
	int result = read_part(skim->file, skim->bytes->data + skim->loaded, end - skim->loaded,
		skim->lsn % segment_length + skim->loaded);
	skim->loaded = end;
	return result;
}

/* Loads the record at `at`, or passes over its body. Its padded length. */
static int skim_record(struct skim *skim, size_t at, size_t *length_out)
{
	struct record record;
	int result = skim_load(skim, at + RECORD_HEADER_LENGTH);
	if (result < 0)
		return result;
	uint8_t *header = (uint8_t *)skim->bytes->data + at;
	if (!record_header_decode(header, skim->lsn + at, &record))
		return -EBADMSG;
	size_t end = at + record_padded(record.body.length);
	*length_out = end - at;
	bool is_mail = record.type == RECORD_MESSAGE || record.type == RECORD_SUMMARY;
	bool is_short = record.body.length <= LOG_SKIM_BODY_MAX;
	if (!is_mail || record.state != RECORD_PRESENT || is_short) {
		result = skim_load(skim, end);
		/* A body that is damaged is passed over too: whoever reads it learns of that. */
		if (result < 0 || !is_mail || record.state != RECORD_PRESENT ||
			record_verify(str_of((char *)header, RECORD_HEADER_LENGTH),
				str_of((char *)header + RECORD_HEADER_LENGTH, record.body.length),
				skim->lsn + at))
			return result;
	}
	if (end > skim->bytes->length)
		return -EBADMSG;
	record_header_punch(header);
	size_t body = at + RECORD_HEADER_LENGTH;
	memset(skim->bytes->data + body, 0, (skim->loaded < end ? skim->loaded : end) - body);
	if (skim->loaded < end)
		skim->loaded = end;
	return 0;
}

/* The group at `at` of the range. Its padded length; -ENODATA: it is not in the range as a whole.
 */
static int skim_group(struct log_reader *reader, struct skim *skim, size_t at, size_t *length_out)
{
	struct group group;
	int result = skim_load(skim, at + GROUP_HEADER_LENGTH);
	struct str bytes = str_from_index(bytes_str(skim->bytes), at);
	if (result < 0)
		return result;
	if (!group_header_decode(bytes, skim->lsn + at, reader->volume, &group) ||
		group_padded(group.used) > bytes.length)
		return -ENODATA;
	size_t position = GROUP_HEADER_LENGTH;
	while (result == 0 && position < group.used) {
		size_t length = 0;
		result = skim_record(skim, at + position, &length);
		position += length;
	}
	if (result == 0)
		result = skim_load(skim, at + group_padded(group.used));
	if (result == 0 && !group_verify(bytes, skim->lsn + at, reader->volume, &group))
		result = -EBADMSG;
	*length_out = group_padded(group.used);
	return result;
}

int log_reader_skim(struct log_reader *reader, uint64_t lsn, uint64_t limit, size_t bytes_target,
	struct bytes **bytes_out, uint64_t *lsn_out, uint64_t *next_out)
{
	struct skim skim = { 0 };
	size_t range, kept = 0, length = 0;
	int result = find_range(reader, &lsn, limit, bytes_target, &range, &skim.file);
	*lsn_out = lsn;
	if (result < 0)
		return result;
	skim.lsn = lsn;
	skim.bytes = bytes_create_zeroed(range);
	while (result == 0 && kept < range) {
		result = skim_group(reader, &skim, kept, &length);
		if (result == 0)
			kept += length;
	}
	/* What is good goes first; what is bad is met alone next time. */
	if (kept == 0) {
		bytes_unref(&skim.bytes);
		return result == -ENODATA ? -EBADMSG : result;
	}
	skim.bytes->length = kept;
	*bytes_out = skim.bytes;
	*next_out = lsn + kept;
	return 0;
}

/* What the groups below say of an address where none can be read: -EINVAL: it is inside one of them
 * or behind the last of its segment; -EBADMSG: a group begins there, and is damaged, or one below
 * is. */
static int judge_boundary(struct log_reader *reader, uint64_t lsn, uint64_t limit)
{
	struct group group;
	uint64_t at = segment_of(lsn) * segment_length;
	while (at < lsn) {
		int result = find_group(reader, &at, limit, &group);
		if (result < 0)
			return result;
		at += group_padded(group.used);
	}
	return at == lsn ? -EBADMSG : -EINVAL;
}

int log_reader_chain(struct log_reader *reader, uint64_t lsn, uint64_t limit, uint64_t *chain_out)
{
	struct group group;
	uint64_t at = lsn;
	if (lsn > limit || lsn % GROUP_ALIGNMENT != 0)
		return -EINVAL;
	int result = find_group(reader, &at, limit, &group);
	if (result == -EBADMSG)
		return judge_boundary(reader, lsn, limit);
	if (result < 0)
		return result;
	*chain_out = group.chain;
	return 0;
}
