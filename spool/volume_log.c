#include "spool/volume_log.h"

#include "core/clock.h"
#include "core/log.h"
#include "spool/volume_log_internal.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* Zero-filled ahead of the end, so that a commit is a plain overwrite: at 100 MB/s of mail
	 * this is 80 ms of warning, ten times what filling takes on a slow disk cache. */
	PREPARE_STEP = 8 << 20,
	/* Of a log that is shorter than a step: as much as it has, and at least this, so that a
	 * volume without mail costs no room. */
	PREPARE_STEP_MIN = 256 << 10,
	/* Vectors of one write, below the kernel's 1024. A record takes up to four; one record's
	 * worth is for the group's own header and padding, one for a SEGMENT record. */
	VECTORS_MAX = 1000,
	VECTORS_PER_RECORD = 4,
	RECORDS_PER_GROUP_MAX = VECTORS_MAX / VECTORS_PER_RECORD - 2,
};

static const char zeroes[GROUP_ALIGNMENT];

/* ---- state ---- */

uint64_t volume_log_passed_over(const struct volume_log *log)
{
	return log->passed_over;
}

uint64_t volume_log_end(const struct volume_log *log)
{
	return log->end;
}

uint64_t volume_log_chain(const struct volume_log *log)
{
	return log->chain;
}

void volume_log_copy_id(const struct volume_log *log, uint8_t copy_id_out[COPY_ID_LENGTH])
{
	memcpy(copy_id_out, log->copy_id.bytes, COPY_ID_LENGTH);
}

uint64_t volume_log_last_group(const struct volume_log *log)
{
	return log->is_empty ? log->end : log->last_group;
}

const struct epochs *volume_log_epochs(const struct volume_log *log)
{
	return &log->state.epochs;
}

bool volume_log_is_fenced(const struct volume_log *log)
{
	return log->fenced;
}

bool volume_log_is_idle(const struct volume_log *log)
{
	return !log->writing && log->queue_first == NULL && log->receive == NULL &&
		log->reads == 0 && !log->is_cutting && log->holding == NULL;
}

static const char *failure(int reason)
{
	return reason == -ESTALE
		? "its files are not at their place any more: removed, moved away, or another "
		  "disk is mounted there"
		: strerror(-reason);
}

static void fence(struct volume_log *log, int reason)
{
	if (log->fenced)
		return;
	log->fenced = true;
	/* Left to memory, as what it warns of is. */
	(void)!log_told_write(
		&log->told, &(struct told){ log->end, log->chain, .failed = true }, false);
	log_error("volume_fenced",
		"volume=%u lsn=%llu reason=%s hint=\"check the disk, then restart\"", log->volume,
		(unsigned long long)log->end, log_quote(str_from(failure(reason))));
}

/* Takes the list first, so that a callback may append again. */
static void finish_appends(struct volume_append *first, int status, uint64_t end)
{
	while (first != NULL) {
		struct volume_append *next = first->next;
		first->status = status;
		first->end_lsn = end;
		first->done(first);
		first = next;
	}
}

static void fail_queue(struct volume_log *log, int status)
{
	struct volume_append *first = log->queue_first;
	log->queue_first = NULL;
	log->queue_link = &log->queue_first;
	finish_appends(first, status, log->end);
}

/* ---- zero-filling ahead ---- */

static struct prepared *prepared_of(struct volume_log *log, uint64_t segment)
{
	struct prepared *prepared = &log->prepared[segment & 1];
	if (prepared->segment != segment) {
		struct disk_file *file;
		*prepared = (struct prepared){ segment, 0 };
		if (log_files_get(&log->files, segment, false, &file) == 0) {
			int64_t size = disk_file_size(file);
			prepared->length = size > 0 ? (uint64_t)size : 0;
		}
	}
	return prepared;
}

void log_prepared_reset(struct volume_log *log)
{
	log->prepared[0].segment = log->prepared[1].segment = UINT64_MAX;
}

static void on_prepare(void *arg)
{
	struct prepare_job *job = arg;
	job->result = disk_file_allocate(job->file, job->length);
	/* Without it a power cut leaves a little more unnamed. */
	(void)!disk_sync_now(job->told);
	sem_post(&job->written);
}

void log_refuse(struct volume_log *log, int status)
{
	struct volume_receive *receive = log->receive;
	CHECK(!log->writing);
	log_warn("volume_refuses", "volume=%u reason=%s hint=\"make room for %s\"", log->volume,
		log_quote(str_from(strerror(-status))), log->files.directory);
	log->receive = NULL;
	fail_queue(log, status);
	if (receive != NULL) {
		receive->status = status;
		receive->done(receive);
	}
}

/* A refusal or a failure that came outside of a write. */
void log_give_up(struct volume_log *log, int result)
{
	if (log_is_refusal(result)) {
		log_refuse(log, result);
		return;
	}
	fence(log, result);
	log_try_write(log);
}

bool log_is_in_place(const struct volume_log *log)
{
	char *path = log_files_path(&log->files, "lock");
	bool is_there = disk_lock_is_at(log->lock, path);
	free(path);
	return is_there;
}

bool volume_log_look(struct volume_log *log)
{
	/* A cut has the files for itself. */
	if (!log->fenced && !log->is_cutting && !log_is_in_place(log)) {
		log_give_up(log, -ESTALE);
		return false;
	}
	return !log->fenced;
}

int log_file_to_write(struct volume_log *log, uint64_t segment, struct disk_file **file_out)
{
	int result = log_files_get(&log->files, segment, false, file_out);
	if (result != -ENOENT)
		return result;
	return log_is_in_place(log) ? log_files_get(&log->files, segment, true, file_out) : -ESTALE;
}

static void on_prepared(void *arg)
{
	struct prepare_job *job = arg;
	struct volume_log *log = job->log;
	int result = job->result;
	if (log != NULL) {
		log->preparing = NULL;
		log_files_release(&log->files, job->file);
		if (result == 0)
			prepared_of(log, job->segment)->length = job->length;
	}
	sem_destroy(&job->written);
	free(job);
	if (log == NULL)
		return;
	/* What is being written has its zeroes: its successors ask again. */
	if (log_is_refusal(result) && log->writing)
		return;
	if (result < 0 && !(log->fenced && log->writing))
		log_give_up(log, result);
	else
		log_try_write(log);
}

void log_prepare_wait(struct volume_log *log)
{
	if (log->preparing == NULL)
		return;
	while (sem_wait(&log->preparing->written) < 0)
		;
	log_files_release(&log->files, log->preparing->file);
	log->preparing->log = NULL;
	log->preparing = NULL;
	log_prepared_reset(log);
}

static int start_prepare(struct volume_log *log, uint64_t segment, uint64_t length)
{
	struct disk_file *file;
	int result = log_file_to_write(log, segment, &file);
	if (result < 0)
		return result;
	struct prepare_job *job = mem_alloc(sizeof(*job));
	job->log = log;
	job->file = file;
	job->told = log->told.file;
	job->segment = segment;
	job->length = length;
	CHECK(sem_init(&job->written, 0, 0) == 0);
	log_files_hold(&log->files, file);
	log->preparing = job;
	loop_work(log->loop, on_prepare, on_prepared, job);
	return 0;
}

/* As log_prepare, but 0 when it is begun or done, and nobody is refused. */
static int prepare_ahead(struct volume_log *log, uint64_t segment, uint64_t length)
{
	struct prepared *prepared = prepared_of(log, segment);
	uint64_t step = log->end < PREPARE_STEP_MIN ? PREPARE_STEP_MIN : log->end;
	step = step > PREPARE_STEP ? PREPARE_STEP : step;
	/* With less than half of that left it goes on. */
	uint64_t wanted = length + step / 2 < segment_length ? length + step / 2 : segment_length;
	uint64_t target = length + step < segment_length ? length + step : segment_length;
	if (prepared->length >= wanted || log->preparing != NULL)
		return 0;
	return start_prepare(log, segment, target);
}

bool log_prepare(struct volume_log *log, uint64_t segment, uint64_t length)
{
	int result = prepare_ahead(log, segment, length);
	bool is_ready = prepared_of(log, segment)->length >= length;
	if (!is_ready && result < 0)
		log_give_up(log, result);
	return is_ready;
}

/* The first bytes of the next segment, before they are needed. */
static void prepare_next_segment(struct volume_log *log)
{
	uint64_t left = segment_length - log->end % segment_length;
	if (left < PREPARE_STEP)
		/* What cannot be made now is made, or refused, when it is needed. */
		(void)!prepare_ahead(log, segment_of(log->end) + 1, GROUP_ALIGNMENT);
}

/* ---- writing groups ---- */

static uint64_t append_length(const struct volume_append *append)
{
	uint64_t length = 0;
	for (unsigned i = 0; i < append->record_count; i++)
		length += record_padded(
			append->records[i].head.length + append->records[i].tail.length);
	return length;
}

/* Bytes of a group in front of its first append: the header and, at the start of a segment, the
 * vector, unless the append is the barrier, which has it. */
static uint64_t group_head_length(const struct volume_log *log, uint64_t lsn)
{
	if (lsn % segment_length != 0 || log->queue_first == &log->barrier)
		return GROUP_HEADER_LENGTH;
	return GROUP_HEADER_LENGTH + record_padded(epochs_encoded_length(&log->state.epochs));
}

/* Moves appends from the queue into the group until it is large enough. The group's used bytes. */
static uint64_t take_appends(struct volume_log *log, uint64_t lsn, uint64_t room)
{
	uint64_t used = group_head_length(log, lsn);
	bool first = true;
	CHECK(log->group_first == NULL && log->queue_first != NULL);
	struct volume_append **link = &log->group_first;
	buf_clear(&log->vector_body);
	if (used > GROUP_HEADER_LENGTH)
		epochs_encode(&log->state.epochs, &log->vector_body);
	log->group.record_count = used > GROUP_HEADER_LENGTH;
	while (log->queue_first != NULL) {
		struct volume_append *append = log->queue_first;
		uint64_t length = append_length(append);
		if (!first &&
			(used + length > COMMIT_BYTES_TARGET || used + length > room ||
				log->group.record_count + append->record_count >
					RECORDS_PER_GROUP_MAX))
			break;
		for (unsigned i = 0; i < append->record_count; i++) {
			struct append_record *record = &append->records[i];
			record->lsn = lsn + used;
			used += record_padded(record->head.length + record->tail.length);
		}
		log->group.record_count += append->record_count;
		first = false;
		log->queue_first = append->next;
		if (log->queue_first == NULL)
			log->queue_link = &log->queue_first;
		*link = append;
		link = &append->next;
		*link = NULL;
	}
	return used;
}

static void add_vector(struct volume_log *log, const void *bytes, size_t length)
{
	if (length > 0)
		log->vectors[log->vector_count++] =
			(struct iovec){ (void *)(uintptr_t)bytes, length };
}

static uint8_t *add_record(struct volume_log *log, uint64_t lsn, enum record_type type,
	struct str head, struct str tail, uint8_t *header)
{
	size_t length = head.length + tail.length;
	record_header_encode(lsn, log->group.epoch, type, head, tail, header);
	add_vector(log, header, RECORD_HEADER_LENGTH);
	add_vector(log, head.bytes, head.length);
	add_vector(log, tail.bytes, tail.length);
	add_vector(log, zeroes, record_padded(length) - RECORD_HEADER_LENGTH - length);
	log->next_chain = group_chain_record(log->next_chain, header);
	return header + RECORD_HEADER_LENGTH;
}

static void build_vectors(struct volume_log *log)
{
	uint8_t *header = log->headers;
	log->vector_count = 0;
	group_header_encode(&log->group, header);
	log->next_chain = group_chain_start(log->chain, header);
	add_vector(log, header, GROUP_HEADER_LENGTH);
	header += GROUP_HEADER_LENGTH;
	if (buf_length(&log->vector_body) > 0)
		header = add_record(log, log->group.lsn + GROUP_HEADER_LENGTH, RECORD_SEGMENT,
			buf_str(&log->vector_body), STR(""), header);
	for (struct volume_append *append = log->group_first; append; append = append->next) {
		for (unsigned i = 0; i < append->record_count; i++) {
			const struct append_record *record = &append->records[i];
			header = add_record(
				log, record->lsn, record->type, record->head, record->tail, header);
		}
	}
	add_vector(log, zeroes, group_padded(log->group.used) - log->group.used);
	CHECK(log->vector_count <= VECTORS_MAX);
}

/* Where a group with `used` bytes goes: at the end, or at the start of the next segment. */
static uint64_t place_group(const struct volume_log *log, uint64_t used)
{
	uint64_t room = segment_length - log->end % segment_length;
	return group_padded(used) <= room ? log->end : (segment_of(log->end) + 1) * segment_length;
}

void log_begin_write(struct volume_log *log, struct disk_file *file)
{
	CHECK(!log->writing && !log->fenced && !log->is_cutting);
	log_files_hold(&log->files, file);
	log->written_file = file;
	log->writing = true;
}

static void write_group(struct volume_log *log)
{
	struct disk_file *file;
	uint64_t length = append_length(log->queue_first);
	uint64_t lsn = place_group(log, group_head_length(log, log->end) + length);
	uint64_t first_used = group_head_length(log, lsn) + length;
	uint64_t room = segment_length - lsn % segment_length;
	/* Room for a full group is asked for, so that what is taken now surely fits. */
	uint64_t reach = first_used > COMMIT_BYTES_TARGET ? first_used : COMMIT_BYTES_TARGET;
	if (reach > room)
		reach = room;
	if (!log_prepare(log, segment_of(lsn), lsn % segment_length + group_padded(reach)))
		return;
	int result = log_file_to_write(log, segment_of(lsn), &file);
	if (result < 0) {
		log_give_up(log, result);
		return;
	}
	/* Nothing that is durable is written again, and whoever writes has said who it is. */
	const struct epoch_entry *reign = epochs_last(&log->state.epochs);
	CHECK(lsn >= log->end && reign != NULL && reign->start_lsn <= lsn);
	log->group.lsn = lsn;
	log->group.previous_lsn = log->is_empty ? lsn : log->last_group;
	log->group.chain = log->chain;
	log->group.epoch = reign->epoch;
	log->group.incarnation = reign->incarnation;
	memcpy(log->group.reign, reign->reign, GROUP_REIGN_LENGTH);
	log->group.volume = log->volume;
	log->group.flags = log->mark_first ? GROUP_FIRST_OF_INCARNATION : 0;
	log->mark_first = false;
	log->group.used = (uint32_t)take_appends(log, lsn, room);
	CHECK(log->group.used <= room);
	for (struct volume_append *append = log->group_first; append; append = append->next)
		if (append->on_addressed != NULL)
			append->on_addressed(append);
	build_vectors(log);
	log_begin_write(log, file);
	disk_write(file, &log->op, log->vectors, log->vector_count, lsn % segment_length);
}

/* A group never crosses the end of a segment, and must fit behind the largest vector too. */
static bool fits_segment(const struct volume_append *append)
{
	return append_length(append) <= segment_length - GROUP_HEADER_LENGTH - SEGMENT_RECORD_MAX;
}

static void refuse_first(struct volume_log *log)
{
	struct volume_append *append = log->queue_first;
	log->queue_first = append->next;
	append->next = NULL;
	if (log->queue_first == NULL)
		log->queue_link = &log->queue_first;
	else
		loop_defer(log->loop, &log->commit_task);
	finish_appends(append, -EFBIG, log->end);
}

void log_try_write(struct volume_log *log)
{
	if (log->writing)
		return;
	/* Whoever is refused last may close the log: nothing follows a refusal. */
	if (!log->may_append && log->queue_first != NULL && log->queue_first != &log->barrier) {
		fail_queue(log, log->fenced ? -EIO : -EROFS);
		return;
	}
	if (!log->fenced && log->queue_first != NULL && !fits_segment(log->queue_first)) {
		refuse_first(log);
		return;
	}
	if (!log->fenced && log->receive != NULL) {
		log_write_received(log);
		return;
	}
	if (!log->fenced && log->queue_first != NULL) {
		write_group(log);
		return;
	}
	if (log->fenced && !log->writing) {
		struct volume_receive *receive = log->receive;
		log->receive = NULL;
		if (receive == NULL) {
			fail_queue(log, -EIO);
			return;
		}
		receive->status = -EIO;
		receive->done(receive);
	}
}

static void on_commit_task(void *arg)
{
	log_try_write(arg);
}

/* A disk that had no room for a write has not failed. What it took of it is cut off, so that
 * nothing of a refused append is ever found. */
static int undo_write(struct volume_log *log, int result, uint64_t lsn)
{
	if (!log_is_refusal(result))
		return result;
	int cut = disk_file_truncate(log->written_file, lsn % segment_length);
	log_prepared_reset(log);
	return cut < 0 ? cut : result;
}

static void name_end(struct volume_log *log)
{
	timer_stop(log->told_timer);
	/* A hint: one that is written later is as good. */
	(void)!log_told_write(&log->told, &(struct told){ log->end, log->chain, false }, false);
}

static void on_told_timer(void *arg)
{
	struct volume_log *log = arg;
	/* A cut has named the end that it makes; a fence has left its warning. */
	if (!log->is_cutting && !log->fenced)
		name_end(log);
}

static void advance(struct volume_log *log, uint64_t lsn, uint64_t end, uint64_t chain)
{
	CHECK(lsn >= log->end && end > lsn && end % GROUP_ALIGNMENT == 0);
	log->is_empty = false;
	log->last_group = lsn;
	log->end = end;
	log->chain = chain;
	if (clock_mono_us() - log->told.written_us >= TOLD_INTERVAL_MS * 1000)
		name_end(log);
	else if (!timer_is_running(log->told_timer))
		timer_start(log->told_timer, TOLD_INTERVAL_MS);
}

static void on_written(struct disk_op *op)
{
	struct volume_log *log = container_of(op, struct volume_log, op);
	struct volume_append *group_first = log->group_first;
	struct volume_receive *receive = log->receive;
	uint64_t lsn = receive ? receive->lsn : log->group.lsn;
	CHECK(log->writing && (receive == NULL) == (group_first != NULL));
	int status = op->result < 0 ? undo_write(log, (int)op->result, lsn) : 0;
	if (status == 0 && log->fenced) /* by something else meanwhile: nothing is believed */
		status = -EIO;
	log_files_release(&log->files, log->written_file);
	log->writing = false;
	log->group_first = NULL;
	log->receive = NULL;
	if (status < 0 && !log_is_refusal(status)) {
		fence(log, status);
		status = -EIO;
	} else if (status == 0) {
		advance(log, receive ? receive->last_group : lsn,
			receive ? lsn + receive->length : lsn + group_padded(log->group.used),
			receive ? receive->chain : log->next_chain);
		prepare_next_segment(log);
	}
	/* The next write goes out before the callbacks of this one run. */
	if (log->queue_first != NULL)
		loop_defer(log->loop, &log->commit_task);
	finish_appends(group_first, status, log->end);
	if (receive != NULL) {
		receive->status = status;
		receive->done(receive);
	}
}

void volume_log_append(struct volume_log *log, struct volume_append *append)
{
	CHECK(append->record_count > 0 && append->record_count <= APPEND_RECORDS_MAX);
	append->next = NULL;
	/* Refusals take the same way as successes: in order, from the loop. */
	*log->queue_link = append;
	log->queue_link = &append->next;
	loop_defer(log->loop, &log->commit_task);
}

/* ---- reigns ---- */

static void on_barrier_done(struct volume_append *append)
{
	struct volume_log *log = append->arg;
	log->may_append = append->status == 0;
	buf_deinit(&log->barrier_body);
	log->reign_done(log->reign_arg, append->status);
}

struct later_report {
	struct task task;
	void (*done)(void *arg, int status);
	void *arg;
	int status;
};

static void on_later_report(void *arg)
{
	struct later_report *report = arg;
	report->done(report->arg, report->status);
	free(report);
}

void log_report_later(struct loop *loop, void (*done)(void *arg, int status), void *arg, int status)
{
	struct later_report *report = mem_alloc(sizeof(*report));
	*report = (struct later_report){ { .run = on_later_report, .arg = report }, done, arg,
		status };
	loop_defer(loop, &report->task);
}

static int record_opening(struct volume_log *log, const struct epoch_entry *opening)
{
	struct epoch_entry entry = *opening;
	struct log_state state = log_state_numbers(log);
	state.whole_from = 0; /* what this writes is the truth from now on */
	if (log->fenced)
		return -EIO;
	if (opening->epoch < volume_log_seen(log))
		return -ESTALE;
	int status = log_replica_mark_set(log, false);
	if (status < 0)
		return status;
	entry.start_lsn = log->end;
	epochs_copy(&state.epochs, &log->state.epochs);
	status = epochs_add(&state.epochs, &entry) ? log_state_replace(log, &state) : -ESTALE;
	if (status < 0)
		log_state_deinit(&state);
	return status;
}

void volume_log_reign(struct volume_log *log, const struct epoch_entry *opening,
	void (*done)(void *arg, int status), void *arg)
{
	CHECK(!log->is_cutting && log->receive == NULL && log->holding == NULL);
	int status = record_opening(log, opening);
	if (status < 0) {
		log_report_later(log->loop, done, arg, status);
		return;
	}
	log->mark_first = true;
	log->may_append = false;
	log->reign_done = done;
	log->reign_arg = arg;
	buf_clear(&log->barrier_body);
	epochs_encode(&log->state.epochs, &log->barrier_body);
	log->barrier =
		(struct volume_append){ .record_count = 1, .done = on_barrier_done, .arg = log };
	log->barrier.records[0] = (struct append_record){ .type = RECORD_BARRIER,
		.head = buf_str(&log->barrier_body) };
	volume_log_append(log, &log->barrier);
}

/* ---- reading one record ---- */

static void finish_read(struct record_read *read)
{
	if (read->status == 0 &&
		!record_verify(str_of(read->header, sizeof(read->header)), bytes_str(read->bytes),
			read->lsn))
		read->status = -EBADMSG;
	if (read->status == 0 && record_header_state(read->header) != RECORD_PRESENT)
		read->status = -ENODATA;
	if (read->status < 0)
		bytes_unref(&read->bytes);
}

static void on_record_read(struct disk_op *op)
{
	struct record_read *read = container_of(op, struct record_read, op);
	read->log->reads--;
	log_files_release(&read->log->files, read->file);
	read->status = op->result < 0 ? (int)op->result : 0;
	finish_read(read);
	read->done(read);
}

bool volume_log_read(
	struct volume_log *log, uint64_t lsn, size_t body_length, struct record_read *read)
{
	struct disk_file *file;
	uint64_t offset = lsn % segment_length;
	read->lsn = lsn;
	read->bytes = NULL;
	read->status = -EBADMSG;
	if (body_length > record_body_max() ||
		offset + RECORD_HEADER_LENGTH + body_length > segment_length)
		return true;
	read->status = log_files_get(&log->files, segment_of(lsn), false, &file);
	if (read->status < 0)
		return true;
	read->bytes = bytes_create(body_length);
	read->vectors[0] = (struct iovec){ read->header, sizeof(read->header) };
	read->vectors[1] = (struct iovec){ read->bytes->data, body_length };
	if (disk_read_cached(file, read->vectors, 2, offset) == 0) {
		finish_read(read);
		return true;
	}
	read->op.done = on_record_read;
	read->log = log;
	read->file = file;
	log->reads++;
	log_files_hold(&log->files, file);
	disk_read_vectors(file, &read->op, read->vectors, 2, offset);
	return false;
}

/* ---- made, and closed ---- */

struct volume_log *log_create(
	struct loop *loop, struct disk *disk, const char *directory, uint32_t volume)
{
	struct volume_log *log = mem_alloc(sizeof(*log));
	log->loop = loop;
	log->disk = disk;
	log->volume = volume;
	log->queue_link = &log->queue_first;
	log->commit_task.run = on_commit_task;
	log->commit_task.arg = log;
	log->op.done = on_written;
	log->told_timer = timer_new(loop, on_told_timer, log);
	log->vectors = mem_alloc(VECTORS_MAX * sizeof(*log->vectors));
	log->headers = mem_alloc(GROUP_HEADER_LENGTH +
		(RECORDS_PER_GROUP_MAX + APPEND_RECORDS_MAX + 1) * RECORD_HEADER_LENGTH);
	log_prepared_reset(log);
	log_files_init(&log->files, disk, directory);
	return log;
}

void volume_log_close(struct volume_log **log_pointer)
{
	struct volume_log *log = *log_pointer;
	if (log == NULL)
		return;
	CHECK(!log->is_cutting);
	loop_cancel_deferred(log->loop, &log->commit_task);
	log_prepare_wait(log);
	log_hold_wait(log);
	log_punch_abandon(log);
	log_mend_abandon(log);
	if (!log->fenced && log->told.file != NULL && log->end > log->told.told.lsn)
		/* Without it the next opening knows a little less. */
		(void)!log_told_write(
			&log->told, &(struct told){ log->end, log->chain, false }, true);
	log_probe_abandon(log);
	log_told_close(&log->told);
	timer_destroy(&log->told_timer);
	log_files_deinit(&log->files);
	disk_lock_release(&log->lock);
	log_state_deinit(&log->state);
	buf_deinit(&log->barrier_body);
	buf_deinit(&log->vector_body);
	free(log->vectors);
	free(log->headers);
	free(log);
	*log_pointer = NULL;
}
