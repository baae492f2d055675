#ifndef PANDO_SPOOL_LOG_FILES_H
#define PANDO_SPOOL_LOG_FILES_H

/*
 * The segment files of one volume directory, opened on first use: shared by the writer
 * (volume_log.h) and the reader (log_reader.h).
 */

#include "core/bytes.h"
#include "core/disk.h"
#include "proto/disk/record.h"

struct log_files {
	struct disk *disk;
	char *directory;
	struct disk_file **files; /* by segment number; NULL: not open */
	uint64_t count;
};

void log_files_init(struct log_files *files, struct disk *disk, const char *directory);
void log_files_deinit(struct log_files *files);
/* -ENOENT without `create`. */
int log_files_get(struct log_files *files, uint64_t segment, bool create,
	struct disk_file **file_out) must_check;
/* Removes the file. */
int log_files_remove(struct log_files *files, uint64_t segment) must_check;
/* The heap-allocated path of a file in the directory. */
char *log_files_path(const struct log_files *files, const char *name);
/* Number of the highest segment file, -1 when there is none; or a negative errno below -1. */
int64_t log_files_highest(const struct log_files *files);
/* The same for the lowest. */
int64_t log_files_lowest(const struct log_files *files);

/* Reads the group at `lsn` into `*bytes_out` (one reference): header, then as much as it says.
 * -ENODATA when there is no valid header at this address; -EBADMSG when the header is valid and the
 * records are not. */
int log_files_read_group(struct log_files *files, uint32_t volume, uint64_t lsn,
	struct bytes **bytes_out, struct group *group_out) must_check;

#endif
