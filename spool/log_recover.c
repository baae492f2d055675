#include "spool/volume_log_internal.h"

#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Opening a log: where does it end, is its tail torn or its middle corrupt; and cutting it. */

enum {
	/* Read at a time when a tail is searched or copied. */
	SCAN_BYTES = 1 << 20,
	/* A full vector (proto/disk/epochs.h). */
	EPOCHS_FILE_BYTES_MAX = 4 + EPOCHS_MAX * 32 + 4,
};

/* ---- the epochs file ---- */

int log_epochs_save(struct volume_log *log)
{
	struct buf bytes = { 0 };
	struct disk_file *file = NULL;
	char *path = log_files_path(&log->files, "epochs");
	char *new_path = log_files_path(&log->files, "epochs.new");
	epochs_encode(&log->epochs, &bytes);
	(void)!disk_remove_file(new_path);
	int result = disk_file_open(log->disk, new_path, true, &file);
	if (result == 0)
		result = disk_write_now(file, buf_str(&bytes).bytes, buf_length(&bytes), 0);
	if (result == 0)
		result = disk_sync_now(file);
	disk_file_close(&file);
	if (result == 0)
		result = disk_rename(new_path, path);
	free(path);
	free(new_path);
	buf_deinit(&bytes);
	return result;
}

static int read_epochs(struct disk *disk, const char *path, struct epochs *epochs_out)
{
	struct disk_file *file;
	struct buf bytes = { 0 };
	int result = disk_file_open(disk, path, false, &file);
	if (result < 0)
		return result;
	int64_t size = disk_file_size(file);
	result = size < 0 ? (int)size : size > EPOCHS_FILE_BYTES_MAX ? -EUCLEAN : 0;
	if (result == 0)
		result = disk_read_now(file, buf_reserve(&bytes, (size_t)size), (size_t)size, 0);
	if (result == 0) {
		buf_commit(&bytes, (size_t)size);
		if (!epochs_decode(buf_str(&bytes), epochs_out))
			result = -EUCLEAN;
	}
	buf_deinit(&bytes);
	disk_file_close(&file);
	return result;
}

int volume_epochs_read(struct disk *disk, const char *directory, struct epochs *epochs_out)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/epochs", directory);
	int result = read_epochs(disk, buf_terminated(&path), epochs_out);
	buf_deinit(&path);
	return result == -ENOENT ? 0 : result;
}

int log_epochs_load(struct volume_log *log, struct error *error)
{
	char *path = log_files_path(&log->files, "epochs");
	int result = read_epochs(log->disk, path, &log->epochs);
	if (result == -EUCLEAN)
		log_warn("epochs_unreadable",
			"volume=%u file=%s action=\"rebuild it from the log\"", log->volume, path);
	/* Also a new volume; else log_find_end reads the barriers. */
	log->must_save_epochs = result == -ENOENT || result == -EUCLEAN;
	if (log->must_save_epochs)
		result = 0;
	if (result < 0)
		error_set(error, result, "cannot read %s: %s", path, strerror(-result));
	free(path);
	return result;
}

/* ---- the mark of a replica ---- */

bool log_replica_mark_exists(struct volume_log *log)
{
	struct disk_file *file;
	char *path = log_files_path(&log->files, "replica");
	int result = disk_file_open(log->disk, path, false, &file);
	free(path);
	if (result == 0)
		disk_file_close(&file);
	return result == 0;
}

int log_replica_mark_set(struct volume_log *log, bool is_replica)
{
	struct disk_file *file;
	int result = 0;
	if (log->was_replica == is_replica)
		return 0;
	char *path = log_files_path(&log->files, "replica");
	if (is_replica) {
		result = disk_file_open(log->disk, path, true, &file);
		if (result == 0)
			disk_file_close(&file);
	} else {
		result = disk_remove_file(path);
	}
	free(path);
	if (result == 0)
		log->was_replica = is_replica;
	return result;
}

/* ---- finding the end ---- */

static bool is_known_reign(const struct volume_log *log, const struct group *group)
{
	for (uint32_t i = 0; i < log->epochs.count; i++)
		if (log->epochs.entries[i].epoch == group->epoch &&
			memcmp(log->epochs.entries[i].reign, group->reign, GROUP_REIGN_LENGTH) == 0)
			return true;
	return false;
}

/* What stands behind the last valid group of a segment. */
struct tail {
	bool has_bytes;        /* something not zero */
	uint64_t later_group;  /* address of the first valid group of ours, 0 when there is none */
	uint64_t later_end;    /* end of the last one */
};

static int scan_tail(
	struct volume_log *log, struct disk_file *file, uint64_t lsn, struct tail *tail)
{
	int64_t size = disk_file_size(file);
	char *bytes = mem_alloc(SCAN_BYTES);
	int result = size < 0 ? (int)size : 0;
	*tail = (struct tail){ false, 0, 0 };
	for (uint64_t offset = lsn % SEGMENT_LENGTH; result == 0 && offset < (uint64_t)size;
		offset += SCAN_BYTES) {
		size_t length = (uint64_t)size - offset < SCAN_BYTES
			? (size_t)((uint64_t)size - offset)
			: SCAN_BYTES;
		result = disk_read_now(file, bytes, length, offset);
		for (size_t i = 0; result == 0 && i < length; i += GROUP_ALIGNMENT) {
			struct group group;
			size_t part = length - i < GROUP_ALIGNMENT ? length - i : GROUP_ALIGNMENT;
			uint64_t at = segment_of(lsn) * SEGMENT_LENGTH + offset + i;
			bool is_zero =
				bytes[i] == 0 && memcmp(bytes + i, bytes + i + 1, part - 1) == 0;
			tail->has_bytes |= !is_zero;
			if (is_zero || at <= lsn ||
				!group_header_decode(
					str_of(bytes + i, part), at, log->volume, &group) ||
				!is_known_reign(log, &group))
				continue;
			if (tail->later_group == 0)
				tail->later_group = at;
			tail->later_end = at + group_padded(group.used);
		}
	}
	free(bytes);
	return result;
}

/* Zeroes from `lsn` to the end of its file: nothing there was ever acknowledged. */
static int clear_tail(struct volume_log *log, struct disk_file *file, uint64_t lsn)
{
	uint64_t offset = lsn % SEGMENT_LENGTH;
	int64_t size = disk_file_size(file);
	if (size < 0)
		return (int)size;
	if ((uint64_t)size <= offset)
		return 0;
	log_info("torn_tail", "volume=%u lsn=%llu", log->volume, (unsigned long long)lsn);
	return disk_file_zero(file, offset, (uint64_t)size - offset);
}

/* Adopts the epoch vector of a barrier when the `epochs` file was lost. */
static void learn_epochs(struct volume_log *log, const struct group *group, struct str bytes)
{
	struct record record;
	size_t position = GROUP_HEADER_LENGTH;
	struct epochs epochs = { 0 };
	if (!group_next_record(group, bytes, &position, &record) || record.type != RECORD_BARRIER ||
		!epochs_decode(record.body, &epochs))
		return;
	const struct epoch_entry *known = epochs_last(&log->epochs);
	const struct epoch_entry *found = epochs_last(&epochs);
	if (found != NULL && (known == NULL || found->epoch > known->epoch))
		epochs_copy(&log->epochs, &epochs);
	epochs_deinit(&epochs);
}

/* Walks the groups of one segment from its start; sets end and last group. */
static int walk_segment(struct volume_log *log, uint64_t segment, struct error *error)
{
	uint64_t lsn = segment * SEGMENT_LENGTH;
	int result = 0;
	while (lsn < (segment + 1) * SEGMENT_LENGTH) {
		struct bytes *bytes;
		struct group group;
		result = log_files_read_group(&log->files, log->volume, lsn, &bytes, &group);
		if (result < 0)
			break;
		learn_epochs(log, &group, bytes_str(bytes));
		bytes_unref(&bytes);
		log->is_empty = false;
		log->last_group = lsn;
		lsn += group_padded(group.used);
		log->end = lsn;
	}
	if (result != 0 && result != -ENODATA && result != -EBADMSG)
		return error_set(error, result, "cannot read segment %llu of %s: %s",
			(unsigned long long)segment, log->files.directory, strerror(-result));
	return 0;
}

/* The last segment that begins with a valid group, or -1. */
static int64_t last_used_segment(struct volume_log *log, int64_t highest)
{
	for (int64_t segment = highest; segment >= 0; segment--) {
		struct disk_file *file;
		struct group group;
		char header[GROUP_HEADER_LENGTH];
		uint64_t lsn = (uint64_t)segment * SEGMENT_LENGTH;
		if (log_files_get(&log->files, (uint64_t)segment, false, &file) == 0 &&
			disk_read_now(file, header, sizeof(header), 0) == 0 &&
			group_header_decode(
				str_of(header, sizeof(header)), lsn, log->volume, &group))
			return segment;
	}
	return -1;
}

/* ---- saving ---- */

static int copy_range(struct volume_log *log, struct disk_file *file_to, uint64_t from, uint64_t to)
{
	char *bytes = mem_alloc(SCAN_BYTES);
	uint64_t written = 0;
	int result = 0;
	for (uint64_t lsn = from; result == 0 && lsn < to;) {
		struct disk_file *file;
		uint64_t segment_end = (segment_of(lsn) + 1) * SEGMENT_LENGTH;
		uint64_t end = segment_end < to ? segment_end : to;
		size_t length = end - lsn < SCAN_BYTES ? (size_t)(end - lsn) : SCAN_BYTES;
		result = log_files_get(&log->files, segment_of(lsn), false, &file);
		int64_t size = result == 0 ? disk_file_size(file) : 0;
		memset(bytes, 0, length);
		if (result == 0 && size > (int64_t)(lsn % SEGMENT_LENGTH)) {
			size_t there = (size_t)size - (size_t)(lsn % SEGMENT_LENGTH);
			result = disk_read_now(
				file, bytes, there < length ? there : length, lsn % SEGMENT_LENGTH);
		}
		if (result == 0)
			result = disk_write_now(file_to, bytes, length, written);
		written += length;
		lsn += length;
	}
	free(bytes);
	return result == 0 ? disk_sync_now(file_to) : result;
}

/* Nothing is ever dropped: the range goes to a file of its own, durably. */
static int save_range(struct volume_log *log, uint64_t lsn, uint64_t to)
{
	char name[96];
	struct disk_file *file = NULL;
	const struct epoch_entry *last = epochs_last(&log->epochs);
	snprintf(name, sizeof(name), "salvage-%llu-%016llx-%016llx.log",
		(unsigned long long)(last ? last->epoch : 0), (unsigned long long)lsn,
		(unsigned long long)to);
	char *path = log_files_path(&log->files, name);
	char *new_path = log_files_path(&log->files, "salvage.new");
	(void)!disk_remove_file(new_path);
	int result = disk_file_open(log->disk, new_path, true, &file);
	if (result == 0)
		result = copy_range(log, file, lsn, to);
	disk_file_close(&file);
	if (result == 0)
		result = disk_rename(new_path, path);
	if (result == 0)
		log_warn("tail_saved", "volume=%u from=%llu to=%llu file=%s", log->volume,
			(unsigned long long)lsn, (unsigned long long)to, path);
	free(path);
	free(new_path);
	return result;
}

/* Whether groups behind an invalid one are what a replica's last write left of itself: such a write
 * holds many groups, a primary's holds one. The leader ships the range again. */
static bool is_torn_receive(const struct volume_log *log, uint64_t lsn, const struct tail *tail)
{
	return log->was_replica && tail->later_end <= lsn + RECEIVE_BYTES_MAX;
}

/* Everything behind the end must be nothing, or a torn write that may be cleared. */
static int clean_behind_end(struct volume_log *log, int64_t highest, struct error *error)
{
	for (int64_t segment = (int64_t)segment_of(log->end); segment <= highest; segment++) {
		struct disk_file *file;
		struct tail tail;
		uint64_t lsn = (uint64_t)segment * SEGMENT_LENGTH;
		if (lsn < log->end)
			lsn = log->end;
		int result = log_files_get(&log->files, (uint64_t)segment, false, &file);
		if (result == -ENOENT)
			continue;
		if (result == 0)
			result = scan_tail(log, file, lsn, &tail);
		if (result == 0 && tail.later_group != 0 && is_torn_receive(log, lsn, &tail))
			result = save_range(log, lsn, tail.later_end);
		else if (result == 0 && tail.later_group != 0)
			return error_set(error, -EUCLEAN,
				"%s is corrupt at address %llu: valid data follows at %llu; copy "
				"this volume from a replica",
				log->files.directory, (unsigned long long)lsn,
				(unsigned long long)tail.later_group);
		if (result == 0 && tail.has_bytes)
			result = clear_tail(log, file, lsn);
		if (result < 0)
			return error_set(error, result, "cannot check segment %lld of %s: %s",
				(long long)segment, log->files.directory, strerror(-result));
	}
	return 0;
}

int log_find_end(struct volume_log *log, struct error *error)
{
	int64_t highest = log_files_highest(&log->files);
	log->end = log->last_group = 0;
	log->is_empty = true;
	log_prepared_reset(log);
	if (highest < -1)
		return error_set(error, (int)highest, "cannot list %s: %s", log->files.directory,
			strerror((int)-highest));
	int64_t last = last_used_segment(log, highest);
	/* Without an epochs file the barriers of the whole log are read. */
	int64_t segment = log->epochs.count > 0 ? last : log_files_lowest(&log->files);
	int result = 0;
	for (; result == 0 && segment >= 0 && segment <= last; segment++)
		result = walk_segment(log, (uint64_t)segment, error);
	if (result == 0)
		result = clean_behind_end(log, highest, error);
	/* An epoch that was announced and then cut off again. */
	epochs_truncate(&log->epochs, log->end + 1);
	if (result == 0 && log->must_save_epochs && log->epochs.count > 0) {
		result = log_epochs_save(log);
		if (result < 0)
			return error_set(error, result, "cannot write the epochs of %s: %s",
				log->files.directory, strerror(-result));
		log->must_save_epochs = false;
	}
	return result;
}

/* ---- fences ---- */

static bool is_fence(struct volume_log *log, uint64_t lsn, struct group *group_out)
{
	struct bytes *bytes;
	struct record record;
	size_t position = GROUP_HEADER_LENGTH;
	bool fence = false;
	*group_out = (struct group){ .lsn = UINT64_MAX };
	if (log_files_read_group(&log->files, log->volume, lsn, &bytes, group_out) < 0)
		return false;
	while (group_next_record(group_out, bytes_str(bytes), &position, &record))
		fence = record.type == RECORD_FENCE;
	bytes_unref(&bytes);
	return fence;
}

bool volume_log_ends_fenced(struct volume_log *log)
{
	struct group group;
	return !log->is_empty && is_fence(log, log->last_group, &group);
}

bool volume_log_began_clean(struct volume_log *log)
{
	const struct epoch_entry *reign = epochs_last(&log->epochs);
	struct group group;
	if (reign == NULL || reign->start_lsn == 0)
		return true;
	/* An epoch in between that this log has not seen was somebody else's, who went on after the
	 * fence. */
	if (log->epochs.count > 1 && reign[-1].epoch + 1 != reign->epoch)
		return false;
	if (reign->start_lsn >= log->end)
		return volume_log_ends_fenced(log);
	(void)is_fence(log, reign->start_lsn, &group);
	return group.lsn == reign->start_lsn && is_fence(log, group.previous_lsn, &group);
}

/* ---- cutting ---- */

int volume_log_truncate(struct volume_log *log, uint64_t lsn)
{
	struct disk_file *file;
	struct error error;
	CHECK(volume_log_is_idle(log));
	if (lsn >= log->end)
		return 0;
	log_prepare_wait(log);
	int result = save_range(log, lsn, log->end);
	/* From the end backwards, so that a crash in between leaves a shorter log and no gap. */
	int64_t highest = log_files_highest(&log->files);
	for (int64_t segment = highest; result == 0 && segment > (int64_t)segment_of(lsn);
		segment--) {
		result = log_files_remove(&log->files, (uint64_t)segment);
		if (result == -ENOENT)
			result = 0;
	}
	if (result == 0)
		result = log_files_get(&log->files, segment_of(lsn), false, &file);
	if (result == 0) {
		int64_t size = disk_file_size(file);
		uint64_t offset = lsn % SEGMENT_LENGTH;
		result = size < 0 ? (int)size
			: (uint64_t)size > offset
			? disk_file_zero(file, offset, (uint64_t)size - offset)
			: 0;
	}
	epochs_truncate(&log->epochs, lsn);
	if (result == 0)
		result = log_epochs_save(log);
	if (result == 0)
		result = log_find_end(log, &error);
	log->may_append = false;
	return result;
}

/* ---- giving space back ---- */

uint64_t volume_log_start(struct volume_log *log)
{
	struct disk_file *file;
	uint64_t segment = segment_of(volume_log_last_group(log));
	while (segment > 0 && log_files_get(&log->files, segment - 1, false, &file) == 0)
		segment--;
	return segment * SEGMENT_LENGTH;
}

int volume_log_free(struct volume_log *log, uint64_t lsn)
{
	uint64_t last = volume_log_last_group(log);
	uint64_t limit = segment_of(lsn < last ? lsn : last);
	int64_t lowest = log_files_lowest(&log->files);
	int result = lowest < -1 ? (int)lowest : 0;
	for (int64_t segment = lowest;
		result == 0 && segment >= 0 && (uint64_t)segment < limit; segment++) {
		result = log_files_remove(&log->files, (uint64_t)segment);
		if (result == -ENOENT)
			result = 0;
	}
	return result;
}
