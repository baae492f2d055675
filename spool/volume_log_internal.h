#ifndef PANDO_SPOOL_VOLUME_LOG_INTERNAL_H
#define PANDO_SPOOL_VOLUME_LOG_INTERNAL_H

/* Between volume_log.c (writing), volume_receive.c, log_open.c, log_recover.c (where it ends) and
 * log_cut.c. */

#include "core/error.h"
#include "core/timer.h"
#include "spool/log_files.h"
#include "spool/log_state.h"
#include "spool/log_told.h"
#include "spool/volume_log.h"

#include <semaphore.h>

/* How far a segment's file is zero-filled and may be written. */
struct prepared {
	uint64_t segment, length;
};

/* One zero-filling on a pool thread. It outlives a log that is closed meanwhile, but not the lock:
 * closing waits for the writes, because the next owner of the files must not be overwritten. */
struct prepare_job {
	struct volume_log *log;        /* NULL: closed */
	struct disk_file *file, *told; /* which is written back with it */
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
	struct log_state state;
	struct log_told_file told;
	struct timer *told_timer; /* runs while a durable group is not named there yet */
	struct copy_id copy_id;
	uint64_t end, last_group, chain;
	uint64_t passed_over; /* UINT64_MAX: nothing */
	bool is_empty, fenced, may_append, mark_first, is_cutting;
	bool was_replica;     /* the last writer received; the file `replica` says so */
	bool must_save_state; /* the file was lost: the vector comes from the segments */
	struct volume_append *queue_first, **queue_link;
	struct task commit_task;

	/* The write in flight. */
	bool writing;
	struct disk_file *written_file;
	struct volume_append *group_first;
	struct disk_op op;
	struct iovec *vectors;
	unsigned vector_count;
	uint8_t *headers; /* group header, then record headers */
	struct group group;
	struct buf vector_body; /* of the SEGMENT record, when the group begins a segment */
	uint64_t next_chain;
	struct volume_receive *receive;
	unsigned reads; /* of single records, on their way */

	/* Zero-filling ahead, on a pool thread. */
	struct prepared prepared[2];   /* of the segments with even and odd numbers */
	struct prepare_job *preparing; /* NULL: none */

	struct hold_job *holding;   /* log_hold.c; NULL: none */
	struct punch_job *punching; /* log_punch.c; NULL: none */
	struct mend_job *mending;   /* log_mend.c; NULL: none */
	struct probe_job *probing;  /* log_probe.c; NULL: none */
	uint64_t probe_count;

	struct volume_append barrier;
	struct buf barrier_body;
	void (*reign_done)(void *arg, int status);
	void *reign_arg;
};

/* Nothing of it is opened yet; volume_log_close frees it. */
struct volume_log *log_create(
	struct loop *loop, struct disk *disk, const char *directory, uint32_t volume);
/* Finds the end of the log and the last group; cuts a torn tail off, and with `repair` what is
 * rotten. */
int log_find_end(struct volume_log *log, const struct log_told *told, bool repair,
	uint64_t *rotten_lsn_out, struct error *error) must_check;
/* As it is now, without the vector: what a new state begins with. */
struct log_state log_state_numbers(const struct volume_log *log);
int log_state_load(struct volume_log *log, struct error *error) must_check;
/* Makes `state` (which is taken over when it returns 0) the log's, durably. */
int log_state_replace(struct volume_log *log, struct log_state *state) must_check;
/* Reads or makes the file `copy`; says so in the log when it was another node's. */
int log_copy_id_load(struct volume_log *log, uint32_t owner, struct error *error) must_check;
/* The vector in the first record of a group, if it is BARRIER or SEGMENT. */
bool log_vector_of(const struct group *group, struct str bytes, struct epochs *epochs_out);
/* Remembers which kind of writer this log has, durably: their torn writes look different. */
int log_replica_mark_load(struct volume_log *log, struct error *error) must_check;
int log_replica_mark_set(struct volume_log *log, bool is_replica) must_check;
/* Waits until no zero-filling writes to the files; its result is forgotten. */
void log_prepare_wait(struct volume_log *log);
/* Waits until a hold is written; nobody is told. */
void log_hold_wait(struct volume_log *log);
/* Does what an earlier process began to punch, before anything else is read. */
int log_punch_finish(struct log_files *files, uint32_t volume) must_check;
/* What was begun is of a log that is about to change: it must not be done again. */
int log_punch_drop(struct log_files *files) must_check;
/* Waits until nothing is being punched; abandon: and nobody is told. */
void log_punch_wait(struct volume_log *log);
void log_punch_abandon(struct volume_log *log);
/* The same of what was begun to be mended; before the punches, which may be of the same groups. */
int log_mend_finish(
	struct log_files *files, uint32_t volume, const struct epochs *epochs) must_check;
int log_mend_drop(struct log_files *files) must_check;
void log_mend_wait(struct volume_log *log);
void log_mend_abandon(struct volume_log *log);
/* Nobody is told any more; what asks the disk ends by itself. */
void log_probe_abandon(struct volume_log *log);
/* Forgets what is known of the files' prepared lengths (after opening or cutting). */
void log_prepared_reset(struct volume_log *log);
/* True when `length` bytes of the segment may be written now; else they will be, and log_try_write
 * is called, or all that waits is refused. */
bool log_prepare(struct volume_log *log, uint64_t segment, uint64_t length);
void log_try_write(struct volume_log *log);
/* Whether its files are where they are looked for (volume_log_look). */
bool log_is_in_place(const struct volume_log *log);
/* As log_files_get, to write there. -ESTALE: it would have to be made, where nothing else of this
 * log is any more: whoever opens that would take it for one whose front was given back. */
int log_file_to_write(
	struct volume_log *log, uint64_t segment, struct disk_file **file_out) must_check;
/* Fails all that waits with `status`; the log goes on. */
void log_refuse(struct volume_log *log, int status);
/* Refuses for want of room, or fences. */
void log_give_up(struct volume_log *log, int result);
/* A write goes to the file; it stays open. */
void log_begin_write(struct volume_log *log, struct disk_file *file);
/* Calls a function from the loop, with what it was given. */
void log_report_later(
	struct loop *loop, void (*done)(void *arg, int status), void *arg, int status);

/* Cuts the files off at `lsn`: from the last down, then one truncation. May run on a pool thread.
 */
int log_cut_files(struct log_files *files, uint64_t lsn) must_check;

/* volume_receive.c */
void log_write_received(struct volume_log *log);

#endif
