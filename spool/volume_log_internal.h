#ifndef PANDO_SPOOL_VOLUME_LOG_INTERNAL_H
#define PANDO_SPOOL_VOLUME_LOG_INTERNAL_H

/* Between volume_log.c (writing) and log_recover.c (opening, cutting). */

#include "core/error.h"
#include "spool/log_files.h"
#include "spool/volume_log.h"

#include <semaphore.h>

/* How far a segment's file is zero-filled and may be written. */
struct prepared {
	uint64_t segment, length;
};

/* One zero-filling on a pool thread. It outlives a log that is closed meanwhile, but not the lock:
 * closing waits for the writes, because the next owner of the files must not be overwritten. */
struct prepare_job {
	struct volume_log *log; /* NULL: closed */
	struct disk_file *file;
	uint64_t segment, length;
	int result;
	sem_t written;
};

struct volume_log {
	struct loop *loop;
	struct disk *disk;
	uint32_t volume;
	struct log_files files;
	struct disk_lock *lock;
	struct epochs epochs;
	uint64_t end, last_group;
	bool is_empty, fenced, may_append, mark_first;
	bool was_replica; /* the last writer received; the file `replica` says so */
	bool must_save_epochs; /* the file was lost: they come from the barriers */
	struct volume_append *queue_first, **queue_link;
	struct task commit_task;

	/* The write in flight. */
	bool writing;
	struct volume_append *group_first;
	struct disk_op op;
	struct iovec *vectors;
	unsigned vector_count;
	uint8_t *headers; /* group header, then record headers */
	struct group group;
	struct volume_receive *receive;
	unsigned reads; /* of single records, on their way */

	/* Zero-filling ahead, on a pool thread. */
	struct prepared prepared[2]; /* of the segments with even and odd numbers */
	struct prepare_job *preparing; /* NULL: none */

	struct volume_append barrier;
	struct buf barrier_body;
	void (*reign_done)(void *arg, int status);
	void *reign_arg;
};

/* Finds the end of the log and the last group; cuts a torn tail off the file. */
int log_find_end(struct volume_log *log, struct error *error) must_check;
int log_epochs_load(struct volume_log *log, struct error *error) must_check;
int log_epochs_save(struct volume_log *log) must_check;
/* Remembers which kind of writer this log has, durably: their torn writes look different. */
bool log_replica_mark_exists(struct volume_log *log);
int log_replica_mark_set(struct volume_log *log, bool is_replica) must_check;
/* Waits until no zero-filling writes to the files; its result is forgotten. */
void log_prepare_wait(struct volume_log *log);
/* Forgets what is known of the files' prepared lengths (after opening or cutting). */
void log_prepared_reset(struct volume_log *log);

#endif
