#include "spool/log_punch.h"

#include "core/digest.h"
#include "core/encode.h"
#include "core/log.h"
#include "spool/volume_log_internal.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

enum { FILE_HEADER = 16 };

static const uint32_t punch_magic = 0x31555050; /* "PPU1" */

/* A record whose body goes. */
struct hole {
	uint64_t lsn;
	uint32_t length;
	bool is_punched; /* already: its room may not be */
	uint8_t header[RECORD_HEADER_LENGTH];
};

/* On a pool thread, with descriptors of its own. As a zero-filling, it outlives a log that is
 * closed meanwhile, but not the lock. */
struct punch_job {
	struct volume_log *log; /* NULL: closed */
	struct log_files files;
	uint32_t volume;
	struct punch *punches;
	size_t count;
	struct hole *holes; /* two for each at most */
	size_t hole_count;
	int status;
	sem_t written;
	void (*done)(void *arg, int status);
	void *arg;
};

bool volume_log_may_punch(const struct volume_log *log, uint64_t lsn)
{
	return segment_of(lsn) < segment_of(log->end);
}

bool volume_log_is_punching(const struct volume_log *log)
{
	return log->punching != NULL;
}

/* ---- which ---- */

static int read_hole(
	struct log_files *files, uint64_t lsn, enum record_type type, struct hole *hole)
{
	struct disk_file *file;
	struct record record;
	int result = log_files_get(files, segment_of(lsn), false, &file);
	if (result == 0)
		result = disk_read_now(
			file, hole->header, sizeof(hole->header), lsn % segment_length);
	if (result < 0)
		return result;
	if (!record_header_decode(hole->header, lsn, &record))
		return -EBADMSG;
	hole->lsn = lsn;
	hole->length = (uint32_t)record.body.length;
	hole->is_punched = record.state == RECORD_PUNCHED;
	if (record.type != type || record.state == RECORD_SEALED)
		return -EUCLEAN;
	record_header_punch(hole->header);
	return 0;
}

/* What is damaged, or is another record than is meant, is left as it is: scrubbing names it. */
static int find_holes(struct punch_job *job)
{
	for (size_t i = 0; i < job->count; i++) {
		const struct punch *punch = &job->punches[i];
		struct hole *hole = &job->holes[job->hole_count];
		int result = read_hole(&job->files, punch->lsn, RECORD_MESSAGE, hole);
		uint64_t padded = result == 0 ? record_padded(hole->length) : 0;
		bool has_summary = result == 0 && punch->length > padded;
		if (has_summary)
			result = read_hole(
				&job->files, punch->lsn + padded, RECORD_SUMMARY, hole + 1);
		if (result == 0 &&
			punch->length != padded + (has_summary ? record_padded(hole[1].length) : 0))
			result = -EUCLEAN;
		if (result == 0)
			job->hole_count += has_summary ? 2 : 1;
		else if (log_is_refusal(result) || result == -EIO)
			return result;
		else
			log_warn("not_punched", "volume=%u lsn=%llu reason=%s", job->volume,
				(unsigned long long)punch->lsn,
				log_quote(str_from(strerror(-result))));
	}
	return 0;
}

/* ---- the file ---- */

static int write_file(struct punch_job *job)
{
	struct disk_file *file = NULL;
	struct buf bytes = { 0 };
	uint32_t count = 0;
	append_le32(&bytes, punch_magic);
	append_le32(&bytes, 0);
	append_le32(&bytes, 0);
	append_le32(&bytes, 0);
	for (size_t i = 0; i < job->hole_count; i++)
		if (!job->holes[i].is_punched) {
			buf_append(&bytes, job->holes[i].header, RECORD_HEADER_LENGTH);
			count++;
		}
	char *text = bytes.memory + bytes.start; /* its own bytes */
	put_le32(text + 8, count);
	put_le32(text + 4, crc32c(0, text + 8, buf_length(&bytes) - 8));
	char *path = log_files_path(&job->files, "punch");
	int result = count > 0 ? disk_file_open(job->files.disk, path, true, &file) : 0;
	if (result == 0 && count > 0)
		result = disk_write_now(file, text, buf_length(&bytes), 0);
	if (result == 0 && count > 0)
		result = disk_sync_now(file);
	disk_file_close(&file);
	free(path);
	buf_deinit(&bytes);
	return result;
}

int log_punch_drop(struct log_files *files)
{
	char *path = log_files_path(files, "punch");
	int result = disk_remove_file(path);
	free(path);
	return result == -ENOENT ? 0 : result;
}

/* Whether the log has this record there, punched or not; or nothing that can be read, as a torn
 * write leaves it. */
static bool may_write(struct disk_file *file, const uint8_t *header, uint64_t lsn)
{
	uint8_t there[RECORD_HEADER_LENGTH];
	struct record record;
	if (disk_read_now(file, there, sizeof(there), lsn % segment_length) < 0)
		return false;
	if (!record_header_decode(there, lsn, &record))
		return true;
	record_header_punch(there);
	return memcmp(there, header, sizeof(there)) == 0;
}

static int write_header(struct log_files *files, const uint8_t *header)
{
	struct disk_file *file;
	struct record record;
	uint64_t lsn = get_le64(header + 8);
	if (!record_header_decode(header, lsn, &record))
		return -EBADMSG;
	int result = log_files_get(files, segment_of(lsn), false, &file);
	if (result == -ENOENT)
		return 0; /* cut off since */
	if (result == 0 && may_write(file, header, lsn))
		result = disk_write_now(file, header, RECORD_HEADER_LENGTH, lsn % segment_length);
	return result;
}

/* Of the segments in which they are; those of one call stand close together. */
static int sync_segments(struct log_files *files, const struct hole *holes, size_t count)
{
	uint64_t last = UINT64_MAX;
	int result = 0;
	for (size_t i = 0; i < count && result == 0; i++) {
		struct disk_file *file;
		if (segment_of(holes[i].lsn) == last)
			continue;
		last = segment_of(holes[i].lsn);
		result = log_files_get(files, last, false, &file);
		if (result == 0)
			result = disk_sync_now(file);
		else if (result == -ENOENT)
			result = 0;
	}
	return result;
}

static int read_file(struct log_files *files, struct buf *out)
{
	struct disk_file *file = NULL;
	char *path = log_files_path(files, "punch");
	int result = disk_file_open(files->disk, path, false, &file);
	int64_t size = result == 0 ? disk_file_size(file) : 0;
	if (result == 0 && size < 0)
		result = (int)size;
	enum { SIZE_MAX_BYTES = FILE_HEADER + 2 * LOG_PUNCH_MAX * RECORD_HEADER_LENGTH };
	if (result == 0 && (size < FILE_HEADER || size > SIZE_MAX_BYTES))
		result = -ENODATA;
	if (result == 0) {
		char *text = buf_reserve(out, (size_t)size);
		result = disk_read_now(file, text, (size_t)size, 0);
		if (result == 0)
			buf_commit(out, (size_t)size);
	}
	disk_file_close(&file);
	free(path);
	return result;
}

/* -ENODATA: it is not whole. */
static int check_file(struct str text)
{
	uint32_t count = get_le32(text.bytes + 8);
	size_t length = FILE_HEADER + (size_t)count * RECORD_HEADER_LENGTH;
	if (get_le32(text.bytes) != punch_magic || count > 2 * LOG_PUNCH_MAX ||
		text.length < length ||
		get_le32(text.bytes + 4) != crc32c(0, text.bytes + 8, length - 8))
		return -ENODATA;
	return 0;
}

int log_punch_finish(struct log_files *files, uint32_t volume)
{
	struct buf bytes = { 0 };
	struct hole *holes = NULL;
	uint32_t count = 0;
	int result = read_file(files, &bytes);
	/* Without it headers may be torn: that is damage of single records, and found as such. */
	if (result < 0 && result != -ENOENT && !log_is_refusal(result)) {
		log_warn("punch_unreadable", "volume=%u directory=%s reason=%s", volume,
			files->directory, log_quote(str_from(strerror(-result))));
		result = -ENODATA;
	}
	if (result == 0)
		result = check_file(buf_str(&bytes));
	if (result == 0) {
		const uint8_t *headers = (const uint8_t *)buf_str(&bytes).bytes + FILE_HEADER;
		count = get_le32(buf_str(&bytes).bytes + 8);
		holes = mem_alloc((count + 1) * sizeof(*holes));
		for (uint32_t i = 0; i < count && result == 0; i++) {
			const uint8_t *header = headers + i * RECORD_HEADER_LENGTH;
			holes[i].lsn = get_le64(header + 8);
			result = write_header(files, header);
		}
		if (result == 0)
			result = sync_segments(files, holes, count);
		log_info("punch_finished", "volume=%u records=%u", volume, count);
	}
	free(holes);
	buf_deinit(&bytes);
	if (result == -ENOENT)
		return 0;
	return result == 0 || result == -ENODATA ? log_punch_drop(files) : result;
}

/* ---- doing it ---- */

static int write_headers(struct punch_job *job)
{
	int result = 0;
	for (size_t i = 0; i < job->hole_count && result == 0; i++)
		if (!job->holes[i].is_punched)
			result = write_header(&job->files, job->holes[i].header);
	return result == 0 ? sync_segments(&job->files, job->holes, job->hole_count) : result;
}

static int make_holes(struct punch_job *job)
{
	int result = 0;
	for (size_t i = 0; i < job->hole_count && result == 0; i++) {
		struct disk_file *file;
		const struct hole *hole = &job->holes[i];
		result = log_files_get(&job->files, segment_of(hole->lsn), false, &file);
		if (result == 0 && hole->length > 0)
			result = disk_file_punch(file,
				hole->lsn % segment_length + RECORD_HEADER_LENGTH, hole->length);
	}
	return result == 0 ? sync_segments(&job->files, job->holes, job->hole_count) : result;
}

static void on_work(void *arg)
{
	struct punch_job *job = arg;
	int result = find_holes(job);
	if (result == 0)
		result = write_file(job);
	if (result == 0)
		result = write_headers(job);
	if (result == 0)
		result = log_punch_drop(&job->files);
	job->status = result == 0 ? make_holes(job) : result;
	sem_post(&job->written);
}

static void on_done(void *arg)
{
	struct punch_job *job = arg;
	struct volume_log *log = job->log;
	void (*done)(void *, int) = job->done;
	void *done_arg = job->arg;
	int status = job->status;
	if (log != NULL)
		log->punching = NULL;
	log_files_deinit(&job->files);
	sem_destroy(&job->written);
	free(job->punches);
	free(job->holes);
	free(job);
	if (log != NULL)
		done(done_arg, status);
}

void log_punch_wait(struct volume_log *log)
{
	if (log->punching == NULL)
		return;
	while (sem_wait(&log->punching->written) < 0)
		;
	sem_post(&log->punching->written); /* whoever waits next */
}

void log_punch_abandon(struct volume_log *log)
{
	log_punch_wait(log);
	if (log->punching != NULL)
		log->punching->log = NULL;
	log->punching = NULL;
}

void volume_log_punch(struct volume_log *log, const struct punch *punches, size_t count,
	void (*done)(void *arg, int status), void *arg)
{
	CHECK(log->punching == NULL && !log->is_cutting && count <= LOG_PUNCH_MAX);
	if (log->fenced || log->mending != NULL) {
		log_report_later(log->loop, done, arg, log->fenced ? -EIO : -EAGAIN);
		return;
	}
	struct punch_job *job = mem_alloc(sizeof(*job));
	*job = (struct punch_job){
		.log = log, .volume = log->volume, .count = count, .done = done, .arg = arg
	};
	job->punches = mem_alloc((count + 1) * sizeof(*punches));
	for (size_t i = 0; i < count; i++) {
		CHECK(volume_log_may_punch(log, punches[i].lsn));
		job->punches[i] = punches[i];
	}
	job->holes = mem_alloc((2 * count + 1) * sizeof(*job->holes));
	log_files_init(&job->files, log->disk, log->files.directory);
	CHECK(sem_init(&job->written, 0, 0) == 0);
	log->punching = job;
	loop_work(log->loop, on_work, on_done, job);
}
