#include "spool/log_mend.h"

#include "core/encode.h"
#include "core/log.h"
#include "spool/log_aside.h"
#include "spool/log_punch.h"
#include "spool/volume_log_internal.h"

#include <errno.h>
#include <stdlib.h>

enum { BODY_HEADER = 8 };

static const uint32_t mend_magic = 0x31444d50; /* "PMD1" */

/* On a pool thread, with descriptors of its own. As a zero-filling, it outlives a log that is
 * closed meanwhile, but not the lock. */
struct mend_job {
	struct volume_log *log;    /* NULL: closed */
	struct log_locate *locate; /* NULL: it mends */
	struct log_damage damage;  /* what was located */
	struct log_files files;
	struct epochs epochs;
	uint32_t volume;
	uint64_t lsn, end, chain; /* of the log: where it ends */
	struct bytes *groups;
	size_t length; /* of those up to the next sound group */
	int status;
	sem_t written;
	void (*done)(void *arg, int status);
	void *arg;
};

bool volume_log_is_mending(const struct volume_log *log)
{
	return log->mending != NULL || log->is_cutting;
}

bool log_is_of_branch(const struct epochs *epochs, const struct group *group)
{
	uint32_t i = epochs->count;
	while (i > 0 && epochs->entries[i - 1].start_lsn > group->lsn)
		i--;
	if (i == 0)
		return true;
	const struct epoch_entry *entry = &epochs->entries[i - 1];
	return entry->epoch == group->epoch && entry->incarnation == group->incarnation &&
		memcmp(entry->reign, group->reign, GROUP_REIGN_LENGTH) == 0;
}

/* ---- where ---- */

/* Where a walk has come to. */
struct walk {
	uint64_t end, last, chain;
	bool is_known; /* the group that ends there is sound */
};

/* What is whole, and follows: an old disk, or another's, has groups that are whole too. */
static int check_follows(struct mend_job *job, const struct walk *walk, const struct group *group)
{
	bool follows = group->previous_lsn == walk->last && group->chain == walk->chain;
	if (!log_is_of_branch(&job->epochs, group) || (walk->is_known && !follows))
		return -EXDEV;
	if (walk->is_known)
		return 0;
	/* Where a walk begins, the segment before knows. */
	return group->lsn % segment_length == 0
		? log_files_check_before(&job->files, job->volume, &job->epochs, group)
		: 0;
}

/* Goes on behind the group at `lsn`. 0; -EBADMSG: it is damaged, and the walk is where it was. */
static int walk_group(struct mend_job *job, uint64_t lsn, struct walk *walk)
{
	struct bytes *bytes;
	struct group group;
	int result = log_files_read_group(&job->files, job->volume, lsn, &bytes, &group);
	if (result < 0)
		return log_files_is_damage(result) ? -EBADMSG : result;
	result = check_follows(job, walk, &group);
	if (result == 0)
		*walk = (struct walk){ lsn + group_padded(group.used), lsn,
			group_chain_after(bytes_str(bytes), &group), true };
	bytes_unref(&bytes);
	return result == -EXDEV ? -EBADMSG : result;
}

static uint64_t segment_limit(const struct mend_job *job)
{
	uint64_t limit = (segment_of(job->lsn) + 1) * segment_length;
	return limit < job->end ? limit : job->end;
}

/* Behind the last group of a segment stands nothing, and the next segment says so. */
static bool is_end_of_segment(struct mend_job *job, uint64_t lsn)
{
	struct group next, last;
	uint64_t next_segment = (segment_of(lsn) + 1) * segment_length;
	if (lsn % segment_length == 0 || next_segment >= job->end ||
		log_files_read_header(&job->files, job->volume, next_segment, &next) < 0 ||
		next.previous_lsn >= lsn ||
		log_files_read_header(&job->files, job->volume, next.previous_lsn, &last) < 0)
		return false;
	return last.lsn + group_padded(last.used) == lsn;
}

/* The address of the next group whose header is sound. Headers in bodies that were sent on purpose
 * are of no incarnation that is known; and what is written there is compared by its chain. */
static uint64_t next_sound(struct mend_job *job, uint64_t lsn, uint64_t limit)
{
	struct group group;
	while (lsn < limit) {
		if (log_files_read_header(&job->files, job->volume, lsn, &group) == 0 &&
			log_is_of_branch(&job->epochs, &group))
			break;
		lsn += GROUP_ALIGNMENT;
	}
	return lsn;
}

/* Damage in front of it is another matter, which another copy may not mend. */
static int locate_damage(struct mend_job *job)
{
	uint64_t limit = segment_limit(job);
	struct walk walk = { .end = segment_of(job->lsn) * segment_length };
	while (walk.end < limit && walk.end <= job->lsn) {
		uint64_t lsn = walk.end;
		int result = walk_group(job, lsn, &walk);
		if (result == 0)
			continue;
		if (result != -EBADMSG)
			return result;
		/* What follows there stands at the start of the next one. */
		if (is_end_of_segment(job, lsn)) {
			job->lsn = walk.end = limit;
			limit = segment_limit(job);
			continue;
		}
		uint64_t end = next_sound(job, lsn + GROUP_ALIGNMENT, limit);
		job->damage = (struct log_damage){ lsn, end };
		if (end > job->lsn)
			return 0;
		walk = (struct walk){ .end = end };
	}
	return -ENOENT;
}

/* ---- is it right ---- */

enum boundary { BOUNDARY_DAMAGED, BOUNDARY_SOUND };

/* What stands here behind the groups; -EXDEV: it names others. */
static int look_at_boundary(struct mend_job *job, uint64_t lsn, uint64_t last, uint64_t chain)
{
	struct group group;
	if (lsn == job->end)
		return chain == job->chain ? BOUNDARY_SOUND : -EXDEV;
	uint64_t next_segment = (segment_of(lsn) + 1) * segment_length;
	int result = log_files_read_header(&job->files, job->volume, lsn, &group);
	if (log_files_is_damage(result) && lsn % segment_length != 0 && next_segment < job->end) {
		result = log_files_read_header(&job->files, job->volume, next_segment, &group);
		if (result == 0 && group.previous_lsn > last)
			return BOUNDARY_DAMAGED; /* others stand between */
	}
	if (log_files_is_damage(result))
		return BOUNDARY_DAMAGED;
	if (result < 0)
		return result;
	return group.previous_lsn == last && group.chain == chain ? BOUNDARY_SOUND : -EXDEV;
}

/* Walks the groups up to the first boundary that is sound here; `looks`: at the log too. */
static int check_groups(struct mend_job *job, bool looks)
{
	uint64_t last = 0, chain = 0;
	uint64_t segment_end = (segment_of(job->lsn) + 1) * segment_length;
	size_t at = 0;
	int result = BOUNDARY_DAMAGED;
	while (result == BOUNDARY_DAMAGED && at < job->groups->length) {
		struct group group;
		struct str rest = str_from_index(bytes_str(job->groups), at);
		uint64_t lsn = job->lsn + at;
		if (!group_verify(rest, lsn, job->volume, &group) ||
			group_padded(group.used) > rest.length ||
			!group_gaps_are_clear(rest, &group))
			return -EBADMSG;
		if (looks && lsn + group_padded(group.used) > job->end)
			return -EINVAL;
		if (!log_is_of_branch(&job->epochs, &group) ||
			(at > 0 && (group.previous_lsn != last || group.chain != chain)))
			return -EXDEV;
		result = at == 0 && looks
			? log_files_check_before(&job->files, job->volume, &job->epochs, &group)
			: 0;
		if (result < 0)
			return result;
		last = lsn;
		chain = group_chain_after(rest, &group);
		at += group_padded(group.used);
		job->length = at;
		result = looks ? look_at_boundary(job, job->lsn + at, last, chain)
			       : BOUNDARY_DAMAGED;
	}
	if (job->lsn + job->length > segment_end)
		return -EINVAL;
	if (result == BOUNDARY_DAMAGED && looks)
		return -ENOLINK;
	return result < 0 ? result : 0;
}

/* A file that begins in its middle would not be one. */
static int check_segment(struct mend_job *job)
{
	struct disk_file *file;
	int result = log_files_get(&job->files, segment_of(job->lsn), false, &file);
	if (result == -ENOENT)
		return job->lsn % segment_length == 0 ? 0 : -EINVAL;
	return result;
}

/* ---- writing ---- */

static int write_aside(struct mend_job *job)
{
	struct buf body = { 0 };
	put_le64(buf_reserve(&body, BODY_HEADER), job->lsn);
	buf_commit(&body, BODY_HEADER);
	buf_append(&body, job->groups->data, job->length);
	int result = log_aside_write(&job->files, "mend", mend_magic, job->volume, buf_str(&body));
	buf_deinit(&body);
	return result;
}

int log_mend_drop(struct log_files *files)
{
	return log_aside_drop(files, "mend");
}

/* The same group, whole, stays as it is: it may be punched since. */
static int write_group(struct mend_job *job, struct disk_file *file, size_t at, size_t *length_out)
{
	struct bytes *bytes;
	struct group group;
	struct str rest = str_from_index(bytes_str(job->groups), at);
	uint64_t lsn = job->lsn + at;
	CHECK(group_header_decode(rest, lsn, job->volume, &group));
	uint64_t chain = group_chain_after(rest, &group);
	*length_out = group_padded(group.used);
	int result = log_files_read_group(&job->files, job->volume, lsn, &bytes, &group);
	if (result == 0) {
		bool is_same = group_chain_after(bytes_str(bytes), &group) == chain;
		bytes_unref(&bytes);
		if (is_same)
			return 0;
	} else if (!log_files_is_damage(result)) {
		return result;
	}
	return disk_write_now(file, rest.bytes, *length_out, lsn % segment_length);
}

static int write_groups(struct mend_job *job)
{
	struct disk_file *file;
	size_t at = 0, length = 0;
	int result = log_files_get(&job->files, segment_of(job->lsn), true, &file);
	while (result == 0 && at < job->length) {
		result = write_group(job, file, at, &length);
		at += length;
	}
	return result == 0 ? disk_sync_now(file) : result;
}

int log_mend_finish(struct log_files *files, uint32_t volume, const struct epochs *epochs)
{
	struct buf body = { 0 };
	struct mend_job job = { .files = *files, .volume = volume, .epochs = *epochs };
	size_t length_max = BODY_HEADER + (size_t)segment_length;
	int result = log_aside_read(files, "mend", mend_magic, volume, length_max, &body);
	if (result == 0) {
		struct str text = buf_str(&body);
		size_t length = text.length > BODY_HEADER ? text.length - BODY_HEADER : 0;
		job.groups = bytes_create(length);
		job.lsn = length > 0 ? get_le64(text.bytes) : 0;
		memcpy(job.groups->data, text.bytes + BODY_HEADER, length);
		/* What stands around them was looked at before they were written aside. */
		result = check_groups(&job, false);
		if (result == 0)
			result = write_groups(&job);
		*files = job.files;
		if (result == 0)
			log_info("mend_finished", "volume=%u lsn=%llu bytes=%zu", volume,
				(unsigned long long)job.lsn, length);
		bytes_unref(&job.groups);
		/* Of another log than the one that stands here now. */
		if (result == -EXDEV || result == -EBADMSG || result == -EINVAL)
			result = 0;
	}
	buf_deinit(&body);
	if (result == -ENOENT)
		return 0;
	return result == 0 || result == -ENODATA ? log_mend_drop(files) : result;
}

/* ---- doing it ---- */

static void on_work(void *arg)
{
	struct mend_job *job = arg;
	if (job->locate != NULL) {
		job->status = locate_damage(job);
		sem_post(&job->written);
		return;
	}
	int result = check_groups(job, true);
	if (result == 0)
		result = check_segment(job);
	if (result == 0)
		result = write_aside(job);
	if (result == 0)
		result = write_groups(job);
	if (result == 0)
		result = log_mend_drop(&job->files);
	job->status = result;
	sem_post(&job->written);
}

static void on_done(void *arg)
{
	struct mend_job *job = arg;
	struct volume_log *log = job->log;
	if (log != NULL)
		log->mending = NULL;
	if (log != NULL && job->locate != NULL) {
		job->locate->damage = job->damage;
		job->locate->done(job->locate, job->status);
	} else if (log != NULL) {
		job->done(job->arg, job->status);
	}
	log_files_deinit(&job->files);
	epochs_deinit(&job->epochs);
	bytes_unref(&job->groups);
	sem_destroy(&job->written);
	free(job);
}

void log_mend_wait(struct volume_log *log)
{
	if (log->mending == NULL)
		return;
	while (sem_wait(&log->mending->written) < 0)
		;
	sem_post(&log->mending->written); /* whoever waits next */
}

void log_mend_abandon(struct volume_log *log)
{
	log_mend_wait(log);
	if (log->mending != NULL)
		log->mending->log = NULL;
	log->mending = NULL;
}

static void begin(struct volume_log *log, struct mend_job *job)
{
	job->log = log;
	job->volume = log->volume;
	job->end = log->end;
	job->chain = log->chain;
	log_files_init(&job->files, log->disk, log->files.directory);
	epochs_copy(&job->epochs, &log->state.epochs);
	CHECK(sem_init(&job->written, 0, 0) == 0);
	log->mending = job;
	loop_work(log->loop, on_work, on_done, job);
}

void volume_log_locate(struct volume_log *log, uint64_t lsn, struct log_locate *locate)
{
	CHECK(log->mending == NULL && !log->is_cutting);
	struct mend_job *job = mem_alloc(sizeof(*job));
	*job = (struct mend_job){ .lsn = lsn, .locate = locate };
	begin(log, job);
}

void volume_log_mend(struct volume_log *log, uint64_t lsn, struct bytes *groups,
	void (*done)(void *arg, int status), void *arg)
{
	CHECK(log->mending == NULL && !log->is_cutting);
	/* A segment that is made where all others are gone would pass for what is left of the log.
	 */
	bool may_write = !log->fenced && log_is_in_place(log);
	int status = !may_write ? -EIO : volume_log_is_punching(log) ? -EAGAIN : 0;
	if (status < 0 || groups->length == 0 || lsn % GROUP_ALIGNMENT != 0) {
		log_report_later(log->loop, done, arg, status < 0 ? status : -EINVAL);
		bytes_unref(&groups);
		return;
	}
	struct mend_job *job = mem_alloc(sizeof(*job));
	*job = (struct mend_job){ .lsn = lsn, .groups = groups, .done = done, .arg = arg };
	begin(log, job);
}
