#include "spool/volume_log_internal.h"

#include "core/loop.h"

#include <semaphore.h>
#include <stdlib.h>

/* Standing still durably: a few synchronous writes, which a node with hundreds of volumes makes for
 * all of them at once and cannot make between the turns of a loop. */

/* As a zero-filling, it outlives a log that is closed meanwhile, but not the lock. */
struct hold_job {
	struct volume_log *log; /* NULL: closed */
	struct disk *disk;
	char *directory;
	struct log_state state;
	int status;
	sem_t written;
	void (*done)(void *arg, int status);
	void *arg;
};

static void on_hold_work(void *arg)
{
	struct hold_job *job = arg;
	job->status = log_state_save(job->disk, job->directory, &job->state);
	sem_post(&job->written);
}

static void on_hold_done(void *arg)
{
	struct hold_job *job = arg;
	struct volume_log *log = job->log;
	void (*done)(void *, int) = job->done;
	void *done_arg = job->arg;
	int status = job->status;
	if (log != NULL) {
		log->holding = NULL;
		if (status == 0)
			log->state.held = job->state.held;
	}
	log_state_deinit(&job->state);
	sem_destroy(&job->written);
	free(job->directory);
	free(job);
	if (log != NULL)
		done(done_arg, status);
}

void log_hold_wait(struct volume_log *log)
{
	if (log->holding == NULL)
		return;
	while (sem_wait(&log->holding->written) < 0)
		;
	log->holding->log = NULL;
	log->holding = NULL;
}

void volume_log_hold(
	struct volume_log *log, uint64_t epoch, void (*done)(void *arg, int status), void *arg)
{
	CHECK(volume_log_is_idle(log));
	struct hold_job *job = mem_alloc(sizeof(*job));
	*job = (struct hold_job){ .log = log,
		.disk = log->disk,
		.directory = str_to_heap(str_from(log->files.directory)),
		.state = log_state_numbers(log),
		.done = done,
		.arg = arg };
	job->state.held = epoch;
	epochs_copy(&job->state.epochs, &log->state.epochs);
	CHECK(sem_init(&job->written, 0, 0) == 0);
	log->holding = job;
	loop_work(log->loop, on_hold_work, on_hold_done, job);
}
