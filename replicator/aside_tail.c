#include "replicator/internal.h"

#include "core/log.h"
#include "spool/log_files.h"
#include "spool/log_state.h"

#include <errno.h>

/* What a log that was set aside has and the copy that took its place lacks: mail that was answered
 * while the machine was cut off, and then lost its copy. It becomes a tail of the new copy, which
 * the node brings home (node/salvage/). */

/* Behind the last group of the files at or above `lsn`; `lsn` itself: there is none. What is
 * damaged in between goes with it. */
static int find_end(struct log_files *files, uint32_t volume, uint64_t lsn, uint64_t *end_out)
{
	int64_t highest = log_files_highest(files);
	*end_out = lsn;
	if (highest < -1)
		return (int)highest;
	uint64_t limit = (uint64_t)(highest + 1) * segment_length;
	while (lsn < limit) {
		struct group group;
		int result = log_files_read_header(files, volume, lsn, &group);
		if (result == 0)
			*end_out = lsn + group_padded(group.used);
		else if (result != -ENODATA && result != -ENOENT)
			return result;
		lsn = result == 0 ? *end_out : lsn + GROUP_ALIGNMENT;
	}
	return 0;
}

int aside_save_tail(struct disk *disk, const char *folder, const char *successor, uint32_t volume,
	uint64_t successor_end)
{
	struct log_state mine = { 0 }, its = { 0 };
	struct log_files files;
	uint64_t common, end = 0;
	int result = log_state_read(disk, folder, &mine);
	if (result == 0)
		result = log_state_read(disk, successor, &its);
	if (result == 0 && mine.epochs.count > 0)
		result = epochs_common_end(
			&mine.epochs, UINT64_MAX, &its.epochs, successor_end, &common);
	log_files_init(&files, disk, folder);
	/* Its file is gone and its log is not: nobody knows here where the two part. */
	if (result == 0 && mine.epochs.count == 0 && log_files_highest(&files) >= 0)
		result = -EUCLEAN;
	if (result == 0 && mine.epochs.count > 0)
		result = find_end(&files, volume, common, &end);
	if (result == 0 && mine.epochs.count > 0 && end > common)
		result = log_save_range(
			&files, volume, epochs_last(&mine.epochs)->epoch, common, end);
	log_files_deinit(&files);
	log_state_deinit(&mine);
	log_state_deinit(&its);
	return result;
}
