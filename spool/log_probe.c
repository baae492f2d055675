#include "core/encode.h"
#include "spool/volume_log_internal.h"

#include <errno.h>
#include <stdlib.h>

/* Whether the disk still takes what it is given. A synchronizing alone asks nothing of one whose
 * cache cannot be lost: a block is written, behind what the file `told` says. */

/* It outlives a log that is closed meanwhile, and has the file then. */
struct probe_job {
	struct disk_op op;
	struct volume_log *log;     /* NULL: closed */
	struct disk_file *own_file; /* NULL: the log's */
	struct iovec vector;
	uint8_t block[TOLD_PROBE_BYTES];
	void (*done)(void *arg, int status);
	void *arg;
};

static void on_probe_written(struct disk_op *op)
{
	struct probe_job *job = container_of(op, struct probe_job, op);
	int status = op->result < 0 ? (int)op->result : 0;
	if (job->log != NULL && status < 0 && !log_is_refusal(status))
		log_give_up(job->log, status); /* whose appends fail, and may close it */
	struct volume_log *log = job->log;
	if (log != NULL) {
		log->probing = NULL;
		job->done(job->arg, log->fenced ? -EIO : status);
	}
	disk_file_close(&job->own_file);
	free(job);
}

void log_probe_abandon(struct volume_log *log)
{
	if (log->probing == NULL)
		return;
	log->probing->log = NULL;
	log->probing->own_file = log->told.file;
	log->told.file = NULL;
	log->probing = NULL;
}

bool volume_log_is_probing(const struct volume_log *log)
{
	return log->probing != NULL;
}

void volume_log_probe(struct volume_log *log, void (*done)(void *arg, int status), void *arg)
{
	CHECK(log->probing == NULL);
	struct probe_job *job = mem_alloc(sizeof(*job));
	job->op.done = on_probe_written;
	job->log = log;
	job->done = done;
	job->arg = arg;
	job->vector = (struct iovec){ job->block, sizeof(job->block) };
	put_le64(job->block, ++log->probe_count);
	log->probing = job;
	disk_write(log->told.file, &job->op, &job->vector, 1, TOLD_PROBE_AT);
}
