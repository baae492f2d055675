#include "spool/volume_log_internal.h"

#include "core/log.h"
#include "spool/log_mend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Saving a range, cutting it off, and giving space back. */

enum {
	/* Read at a time when a range is saved. */
	COPY_BYTES = 1 << 20,
};

/* ---- saving ---- */

static int read_part(struct log_files *files, char *bytes, size_t length, uint64_t lsn)
{
	struct disk_file *file;
	uint64_t offset = lsn % segment_length;
	memset(bytes, 0, length);
	int result = log_files_get(files, segment_of(lsn), false, &file);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	int64_t size = disk_file_size(file);
	if (size < 0)
		return (int)size;
	if ((uint64_t)size <= offset)
		return 0;
	uint64_t there = (uint64_t)size - offset;
	return disk_read_now(file, bytes, there < length ? (size_t)there : length, offset);
}

static int copy_range(
	struct log_files *files, struct disk_file *file_to, uint64_t from, uint64_t to)
{
	char *bytes = mem_alloc(COPY_BYTES);
	int result = 0;
	for (uint64_t lsn = from; result == 0 && lsn < to;) {
		uint64_t segment_end = (segment_of(lsn) + 1) * segment_length;
		uint64_t end = segment_end < to ? segment_end : to;
		size_t length = end - lsn < COPY_BYTES ? (size_t)(end - lsn) : COPY_BYTES;
		result = read_part(files, bytes, length, lsn);
		if (result == 0)
			result = disk_write_now(file_to, bytes, length, lsn - from);
		lsn += length;
	}
	free(bytes);
	return result == 0 ? disk_sync_now(file_to) : result;
}

int log_save_range(
	struct log_files *files, uint32_t volume, uint64_t epoch, uint64_t from, uint64_t to)
{
	char name[96];
	struct disk_file *file = NULL;
	snprintf(name, sizeof(name), "salvage-%llu-%016llx-%016llx.log", (unsigned long long)epoch,
		(unsigned long long)from, (unsigned long long)to);
	char *path = log_files_path(files, name);
	char *new_path = log_files_path(files, "salvage.new");
	(void)!disk_remove_file(new_path);
	int result = disk_file_open(files->disk, new_path, true, &file);
	if (result == 0)
		result = copy_range(files, file, from, to);
	disk_file_close(&file);
	if (result == 0)
		result = disk_rename(new_path, path);
	else
		(void)!disk_remove_file(new_path);
	if (result == 0)
		log_warn("tail_saved", "volume=%u from=%llu to=%llu file=%s", volume,
			(unsigned long long)from, (unsigned long long)to, path);
	free(path);
	free(new_path);
	return result;
}

/* ---- cutting ---- */

int log_cut_files(struct log_files *files, uint64_t lsn)
{
	struct disk_file *file;
	int64_t highest = log_files_highest(files);
	int result = highest < -1 ? (int)highest : 0;
	for (int64_t segment = highest; result == 0 && segment > (int64_t)segment_of(lsn);
		segment--) {
		result = log_files_remove(files, (uint64_t)segment);
		if (result == -ENOENT)
			result = 0;
	}
	if (result == 0)
		result = log_files_get(files, segment_of(lsn), false, &file);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	int64_t size = disk_file_size(file);
	if (size < 0)
		return (int)size;
	return (uint64_t)size > lsn % segment_length
		? disk_file_truncate(file, lsn % segment_length)
		: 0;
}

/* What a pool thread does to the files of a log that stands still. */
struct cut {
	struct volume_log *log;
	struct log_files files; /* its own descriptors */
	struct log_state state; /* as it will be */
	uint64_t from;          /* all behind is saved */
	uint64_t end, last_group, chain, epoch;
	bool is_empty;
	bool has_begun; /* the files may be shorter already */
	int status;
	void (*done)(void *arg, int status);
	void *arg;
};

/* Walks the sound groups of a segment that follow each other below `lsn`: where they end becomes
 * the new end. -ENODATA: there is none; -EINVAL: `lsn` lies within one. */
static int walk_segment_to(struct cut *cut, uint64_t segment, uint64_t lsn)
{
	struct volume_log *log = cut->log;
	uint64_t at = segment * segment_length, last = UINT64_MAX;
	int result = 0;
	while (at < lsn) {
		struct group group;
		struct bytes *bytes;
		result = log_files_read_group(&cut->files, log->volume, at, &bytes, &group);
		if (result < 0)
			break;
		uint64_t chain = group_chain_after(bytes_str(bytes), &group);
		bytes_unref(&bytes);
		bool follows = last == UINT64_MAX ||
			(group.previous_lsn == last && group.chain == cut->chain);
		if (!follows || !log_is_of_branch(&log->state.epochs, &group))
			break;
		last = at;
		cut->last_group = last;
		cut->chain = chain;
		cut->end = at += group_padded(group.used);
	}
	if (result < 0 && !log_files_is_damage(result))
		return result;
	if (last == UINT64_MAX)
		return -ENODATA;
	return at > lsn ? -EINVAL : 0;
}

/* Where what goes, or the group before it, is damaged and names nothing. A log ends with a sound
 * group: the damage goes too, and is filled again with what follows. */
static int walk_to_new_end(struct cut *cut, uint64_t lsn)
{
	int64_t lowest = log_files_lowest(&cut->files);
	int result = lowest < -1 ? (int)lowest : -ENODATA;
	for (int64_t segment = (int64_t)segment_of(lsn - 1);
		result == -ENODATA && segment >= lowest && segment >= 0; segment--)
		result = walk_segment_to(cut, (uint64_t)segment, lsn);
	/* Nothing is left below, also where segments are missing: it begins anew. */
	if (result == -ENODATA) {
		cut->is_empty = true;
		cut->end = cut->last_group = cut->chain = 0;
	}
	return result == -ENODATA ? 0 : result;
}

/* Where the log will end: by the first group that goes, and the one before. The chain is that of
 * what stays: what goes may be of another log. */
static int find_new_end(struct cut *cut, uint64_t lsn)
{
	struct volume_log *log = cut->log;
	struct group group, previous;
	uint64_t at = lsn;
	cut->is_empty = lsn == 0;
	if (cut->is_empty)
		return 0;
	int result = log_files_read_header(&cut->files, log->volume, at, &group);
	if (log_files_is_damage(result) && lsn % segment_length != 0) {
		at = (segment_of(lsn) + 1) * segment_length;
		result = at < log->end ? log_files_read_header(&cut->files, log->volume, at, &group)
				       : -ENODATA;
	}
	/* What follows in the next segment names another group when the one here is damaged. */
	if (result == 0)
		result = group.previous_lsn < lsn ? log_files_read_header(&cut->files, log->volume,
							    group.previous_lsn, &previous)
						  : -ENODATA;
	if (result < 0)
		return log_files_is_damage(result) ? walk_to_new_end(cut, lsn) : result;
	cut->last_group = group.previous_lsn;
	cut->end = previous.lsn + group_padded(previous.used);
	/* One of another log names what it likes. */
	if (cut->end > lsn)
		return log_is_of_branch(&log->state.epochs, &group) ? -EINVAL
								    : walk_to_new_end(cut, lsn);
	if (cut->end < lsn && segment_of(cut->last_group) == segment_of(lsn))
		return walk_to_new_end(cut, lsn);
	struct bytes *bytes;
	result = log_files_read_group(
		&cut->files, log->volume, group.previous_lsn, &bytes, &previous);
	if (result < 0)
		return log_files_is_damage(result) ? walk_to_new_end(cut, lsn) : result;
	cut->chain = group_chain_after(bytes_str(bytes), &previous);
	bytes_unref(&bytes);
	return 0;
}

static void on_cut_work(void *arg)
{
	struct cut *cut = arg;
	struct volume_log *log = cut->log;
	cut->status = log_punch_drop(&cut->files);
	if (cut->status == 0)
		cut->status = log_mend_drop(&cut->files);
	if (cut->status == 0)
		cut->status = find_new_end(cut, cut->from);
	epochs_truncate(&cut->state.epochs, cut->end);
	if (cut->status == 0)
		cut->status =
			log_save_range(&cut->files, log->volume, cut->epoch, cut->end, log->end);
	cut->has_begun = cut->status == 0;
	/* From here on the log may be found to end anywhere between. */
	if (cut->status == 0)
		cut->status = log_told_write(
			&log->told, &(struct told){ cut->end, cut->chain, false }, true);
	if (cut->status == 0)
		cut->status = log_cut_files(&cut->files, cut->end);
	if (cut->status == 0)
		cut->status = log_state_save(log->disk, cut->files.directory, &cut->state);
}

static void on_cut_done(void *arg)
{
	struct cut *cut = arg;
	struct volume_log *log = cut->log;
	CHECK(log->is_cutting && volume_log_end(log) > cut->from);
	log->is_cutting = false;
	log->may_append = false;
	log_prepared_reset(log);
	if (cut->status == 0) {
		CHECK(cut->end <= cut->from);
		log->end = cut->end;
		log->last_group = cut->last_group;
		log->chain = cut->chain;
		log->is_empty = cut->is_empty;
		log_state_deinit(&log->state);
		log->state = cut->state;
	} else {
		log_state_deinit(&cut->state);
		/* Where it ends is known again when it is opened: nothing may be written behind
		 * the old end, and that end not be named. */
		log->fenced |= cut->has_begun;
	}
	void (*done)(void *, int) = cut->done;
	void *done_arg = cut->arg;
	int status = cut->status;
	log_files_deinit(&cut->files);
	free(cut);
	done(done_arg, status);
}

void volume_log_cut(
	struct volume_log *log, uint64_t lsn, void (*done)(void *arg, int status), void *arg)
{
	CHECK(volume_log_is_idle(log));
	if (lsn >= log->end || log->fenced) {
		log_report_later(log->loop, done, arg, log->fenced ? -EIO : 0);
		return;
	}
	log_prepare_wait(log);
	log_punch_wait(log);
	log_mend_wait(log);
	log_files_close_idle(&log->files);
	struct cut *cut = mem_alloc(sizeof(*cut));
	const struct epoch_entry *last = epochs_last(&log->state.epochs);
	*cut = (struct cut){ .log = log,
		.from = lsn,
		.epoch = last ? last->epoch : 0,
		.state = log_state_numbers(log),
		.done = done,
		.arg = arg };
	timer_stop(log->told_timer);
	log_files_init(&cut->files, log->disk, log->files.directory);
	epochs_copy(&cut->state.epochs, &log->state.epochs);
	log->is_cutting = true;
	loop_work(log->loop, on_cut_work, on_cut_done, cut);
}

/* ---- giving space back ---- */

int volume_log_start(struct volume_log *log, uint64_t *lsn_out)
{
	uint64_t segment;
	int result = log_files_first(&log->files, segment_of(volume_log_last_group(log)), &segment);
	if (result == 0)
		*lsn_out = segment * segment_length;
	return result;
}

int volume_log_free(struct volume_log *log, uint64_t lsn)
{
	CHECK(!log->is_cutting);
	uint64_t last = volume_log_last_group(log);
	uint64_t limit = segment_of(lsn < last ? lsn : last);
	int64_t lowest = log_files_lowest(&log->files);
	int result = lowest < -1 ? (int)lowest : 0;
	for (int64_t segment = lowest; result == 0 && segment >= 0 && (uint64_t)segment < limit;
		segment++) {
		result = log_files_remove(&log->files, (uint64_t)segment);
		if (result == -ENOENT)
			result = 0;
	}
	return result;
}
