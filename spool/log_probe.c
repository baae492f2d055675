#include "core/loop.h"
#include "spool/volume_log_internal.h"

#include <errno.h>
#include <stdlib.h>

/* Whether the disk still has what it took: a synchronizing of the last segment, on a pool thread
 * and by a descriptor of its own, so that closing the log waits for nothing. */

struct probe_job {
	struct volume_log *log; /* NULL: closed */
	struct log_files files;
	uint64_t segment;
	int status;
	void (*done)(void *arg, int status);
	void *arg;
};

static void on_probe_work(void *arg)
{
	struct probe_job *job = arg;
	struct disk_file *file;
	job->status = log_files_get(&job->files, job->segment, false, &file);
	if (job->status == 0)
		job->status = disk_sync_now(file);
}

static void on_probe_done(void *arg)
{
	struct probe_job *job = arg;
	if (job->log != NULL && job->status < 0 && !log_is_refusal(job->status))
		log_give_up(job->log, job->status); /* whose appends fail, and may close it */
	struct volume_log *log = job->log;
	if (log != NULL) {
		log->probing = NULL;
		job->done(job->arg, log->fenced ? -EIO : job->status);
	}
	log_files_deinit(&job->files);
	free(job);
}

void log_probe_abandon(struct volume_log *log)
{
	if (log->probing != NULL)
		log->probing->log = NULL;
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
	*job = (struct probe_job){
		.log = log, .segment = segment_of(log->last_group), .done = done, .arg = arg
	};
	log_files_init(&job->files, log->disk, log->files.directory);
	log->probing = job;
	loop_work(log->loop, on_probe_work, on_probe_done, job);
}
