#ifndef PANDO_SPOOL_LOG_FILES_H
#define PANDO_SPOOL_LOG_FILES_H

/*
 * The segment files of one volume directory, opened on first use: shared by the writer
 * (volume_log.h) and the reader (log_reader.h). The files used last stay open, up to a limit.
 */

#include "core/bytes.h"
#include "core/disk.h"
#include "proto/disk/epochs.h"
#include "proto/disk/record.h"

enum {
	/* Of one log by one user: the end, the one before it and what readers of old mail touch. A
	 * thousand volumes so stay below the usual 65,536 descriptors of a service, readers
	 * included. Files that are held are open above it. */
	LOG_FILES_OPEN_MAX = 16,
};

struct log_file {
	struct disk_file *file;
	uint64_t segment, used; /* when last, by log_files.clock */
	unsigned holds;
};

struct log_files {
	struct disk *disk;
	char *directory;
	struct log_file *open;
	size_t count, capacity;
	uint64_t clock;
};

void log_files_init(struct log_files *files, struct disk *disk, const char *directory);
void log_files_deinit(struct log_files *files);
/* Good until the next call unless it is held. -ENOENT without `create`. Before -EMFILE is returned
 * every file that nobody holds is closed. */
int log_files_get(struct log_files *files, uint64_t segment, bool create,
	struct disk_file **file_out) must_check;
/* An operation is in flight: the file stays open until it is released as often. */
void log_files_hold(struct log_files *files, struct disk_file *file);
void log_files_release(struct log_files *files, struct disk_file *file);
/* Closes what nobody holds. */
void log_files_close_idle(struct log_files *files);
/* Removes the file. */
int log_files_remove(struct log_files *files, uint64_t segment) must_check;
/* The heap-allocated path of a file in the directory. */
char *log_files_path(const struct log_files *files, const char *name);
char *log_files_segment_path(const struct log_files *files, uint64_t segment);
/* Number of the highest segment file, -1 when there is none; or a negative errno below -1. */
int64_t log_files_highest(const struct log_files *files);
/* The same for the lowest. */
int64_t log_files_lowest(const struct log_files *files);
/* Number of the lowest segment file, if all from there up to `last` are there; `last` itself when
 * there is none. -EUCLEAN: one is missing in between; another negative errno: nothing is known. By
 * their names alone: whether each can be opened is for who reads it to see. */
int log_files_first(const struct log_files *files, uint64_t last, uint64_t *first_out) must_check;

/* Reads the header of the group at `lsn`. -ENODATA: no valid one is there; -EPROTONOSUPPORT: one of
 * another format version is. */
int log_files_read_header(
	struct log_files *files, uint32_t volume, uint64_t lsn, struct group *group_out) must_check;
/* Reads the group at `lsn` into `*bytes_out` (one reference): header, then as much as it says.
 * -ENODATA and -EPROTONOSUPPORT as above; -EBADMSG when the header is valid and the records are
 * not. */
int log_files_read_group(struct log_files *files, uint32_t volume, uint64_t lsn,
	struct bytes **bytes_out, struct group *group_out) must_check;

/* Whether an errno says that there is no room for now (space, descriptors, memory) and nothing of
 * the disk's health. */
bool log_is_refusal(int result);

/* Copies [from, to) into salvage-<epoch>-<from>-<to>.log, durably. May run on a pool thread. */
int log_save_range(struct log_files *files, uint32_t volume, uint64_t epoch, uint64_t from,
	uint64_t to) must_check;

/* What was read is lost: a sector that the disk does not give as much as one that gives other
 * bytes. */
bool log_files_is_damage(int result);
/* 0: the group that stands before this one leads to it by address and chain, or is damaged or of
 * another branch than this vector's; -EXDEV: it does not; another errno: it could not be read for
 * now. */
int log_files_check_before(struct log_files *files, uint32_t volume, const struct epochs *epochs,
	const struct group *first) must_check;

#endif
