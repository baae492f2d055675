#include "spool/volume_log_internal.h"

#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Opening, in the order in which the files of a directory can be believed. */

static int take_lock(struct volume_log *log, struct error *error)
{
	const char *directory = log->files.directory;
	int result = disk_make_directory(directory);
	if (result < 0)
		return error_set(error, result, "cannot make %s: %s", directory, strerror(-result));
	char *path = log_files_path(&log->files, "lock");
	result = disk_lock_take(path, &log->lock);
	if (result < 0)
		error_set(error, result, "cannot take %s: %s", path,
			result == -EAGAIN ? "another process is writing here" : strerror(-result));
	free(path);
	return result;
}

/* All that needs no loop. */
static int open_files(struct volume_log *log, const struct log_told *told, bool repair,
	uint64_t *rotten_lsn_out, struct error *error)
{
	const char *directory = log->files.directory;
	int result = take_lock(log, error);
	if (result == 0)
		result = log_replica_mark_load(log, error);
	if (result == 0)
		result = log_state_load(log, error);
	if (result == 0) {
		result = log_mend_finish(&log->files, log->volume, &log->state.epochs);
		if (result < 0)
			error_set(error, result, "cannot finish what %s/mend says: %s", directory,
				strerror(-result));
	}
	if (result == 0) {
		result = log_punch_finish(&log->files, log->volume);
		if (result < 0)
			error_set(error, result, "cannot finish what %s/punch says: %s", directory,
				strerror(-result));
	}
	if (result == 0) {
		result = log_told_open(log->disk, directory, &log->told);
		if (result < 0)
			error_set(error, result, "cannot read %s/told: %s", directory,
				strerror(-result));
	}
	if (result == 0)
		result = log_copy_id_load(log, told->owner, error);
	if (result == 0)
		result = log_find_end(log, told, repair, rotten_lsn_out, error);
	return result;
}

int volume_log_open(struct loop *loop, struct disk *disk, const char *directory, uint32_t volume,
	const struct log_told *told, struct volume_log **log_out, uint64_t *rotten_lsn_out,
	struct error *error)
{
	uint64_t rotten;
	struct volume_log *log = log_create(loop, disk, directory, volume);
	int result = open_files(log, told, false, rotten_lsn_out ? rotten_lsn_out : &rotten, error);
	if (result < 0)
		volume_log_close(&log);
	else
		*log_out = log;
	return result;
}

struct repair_job {
	struct volume_log *log;
	struct log_told told;
	int status;
	struct error error;
	void (*done)(void *arg, int status, struct volume_log *log, const struct error *error);
	void *arg;
};

static void on_repair_work(void *arg)
{
	struct repair_job *job = arg;
	uint64_t rotten;
	job->status = open_files(job->log, &job->told, true, &rotten, &job->error);
}

static void on_repair_done(void *arg)
{
	struct repair_job *job = arg;
	if (job->status < 0)
		volume_log_close(&job->log);
	job->done(job->arg, job->status, job->log, &job->error);
	free(job);
}

void volume_log_repair(struct loop *loop, struct disk *disk, const char *directory, uint32_t volume,
	const struct log_told *told,
	void (*done)(void *arg, int status, struct volume_log *log, const struct error *error),
	void *arg)
{
	struct repair_job *job = mem_alloc(sizeof(*job));
	*job = (struct repair_job){ .log = log_create(loop, disk, directory, volume),
		.told = *told,
		.done = done,
		.arg = arg };
	loop_work(loop, on_repair_work, on_repair_done, job);
}
