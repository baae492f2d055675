#include "spool/volume_log.h"

#include "core/log.h"
#include "spool/volume_log_internal.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* Zero-filled ahead of the end, so that a commit is a plain overwrite: at 100 MB/s of mail
	 * this is 80 ms of warning, ten times what filling takes on a slow disk cache. */
	PREPARE_STEP = 8 << 20,
	/* With less than this left it goes on. */
	PREPARE_LOW = 4 << 20,
	/* Vectors of one write, below the kernel's 1024. A record takes up to four. */
	VECTORS_MAX = 1000,
	VECTORS_PER_RECORD = 4,
	RECORDS_PER_GROUP_MAX = VECTORS_MAX / VECTORS_PER_RECORD - 1,
};

static const char zeroes[GROUP_ALIGNMENT];

static void try_write(struct volume_log *log);

/* ---- state ---- */

uint64_t volume_log_end(const struct volume_log *log)
{
	return log->end;
}

uint64_t volume_log_last_group(const struct volume_log *log)
{
	return log->is_empty ? log->end : log->last_group;
}

const struct epochs *volume_log_epochs(const struct volume_log *log)
{
	return &log->epochs;
}

bool volume_log_is_fenced(const struct volume_log *log)
{
	return log->fenced;
}

bool volume_log_is_idle(const struct volume_log *log)
{
	return !log->writing && log->queue_first == NULL && log->receive == NULL && log->reads == 0;
}

static void fence(struct volume_log *log, int reason)
{
	if (log->fenced)
		return;
	log->fenced = true;
	log_error("volume_fenced",
		"volume=%u lsn=%llu reason=%s hint=\"check the disk, then restart\"", log->volume,
		(unsigned long long)log->end, log_quote(str_from(strerror(-reason))));
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
	sem_post(&job->written);
}

/* Nothing was lost: what does not fit is refused, the volume goes on. */
static void refuse_for_space(struct volume_log *log)
{
	struct volume_receive *receive = log->receive;
	log_warn("volume_full", "volume=%u hint=\"free space on the disk of %s\"", log->volume,
		log->files.directory);
	fail_queue(log, -ENOSPC);
	if (receive != NULL && !log->writing) {
		log->receive = NULL;
		receive->status = -ENOSPC;
		receive->done(receive);
	}
}

static void on_prepared(void *arg)
{
	struct prepare_job *job = arg;
	struct volume_log *log = job->log;
	int result = job->result;
	if (log != NULL) {
		log->preparing = NULL;
		if (result == 0)
			prepared_of(log, job->segment)->length = job->length;
	}
	sem_destroy(&job->written);
	free(job);
	if (log == NULL)
		return;
	if (result == -ENOSPC || result == -EDQUOT) {
		refuse_for_space(log);
		return;
	}
	if (result < 0)
		fence(log, result);
	try_write(log);
}

void log_prepare_wait(struct volume_log *log)
{
	if (log->preparing == NULL)
		return;
	while (sem_wait(&log->preparing->written) < 0)
		;
	log->preparing->log = NULL;
	log->preparing = NULL;
	log_prepared_reset(log);
}

static void start_prepare(struct volume_log *log, uint64_t segment, uint64_t length)
{
	struct disk_file *file;
	int result = log_files_get(&log->files, segment, true, &file);
	if (result < 0) {
		fence(log, result);
		return;
	}
	struct prepare_job *job = mem_alloc(sizeof(*job));
	job->log = log;
	job->file = file;
	job->segment = segment;
	job->length = length;
	CHECK(sem_init(&job->written, 0, 0) == 0);
	log->preparing = job;
	loop_work(log->loop, on_prepare, on_prepared, job);
}

/* True when `length` bytes of the segment may be written now; else they will be, and try_write is
 * called. */
static bool prepare(struct volume_log *log, uint64_t segment, uint64_t length)
{
	struct prepared *prepared = prepared_of(log, segment);
	uint64_t wanted =
		length + PREPARE_LOW < SEGMENT_LENGTH ? length + PREPARE_LOW : SEGMENT_LENGTH;
	uint64_t target =
		length + PREPARE_STEP < SEGMENT_LENGTH ? length + PREPARE_STEP : SEGMENT_LENGTH;
	if (prepared->length < wanted && log->preparing == NULL)
		start_prepare(log, segment, target);
	return prepared->length >= length;
}

/* The first bytes of the next segment, before they are needed. */
static void prepare_next_segment(struct volume_log *log)
{
	uint64_t left = SEGMENT_LENGTH - log->end % SEGMENT_LENGTH;
	if (left < PREPARE_STEP)
		(void)prepare(log, segment_of(log->end) + 1, GROUP_ALIGNMENT);
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

/* Moves appends from the queue into the group until it is large enough. The group's used bytes. */
static uint64_t take_appends(struct volume_log *log, uint64_t lsn, uint64_t room)
{
	uint64_t used = GROUP_HEADER_LENGTH;
	struct volume_append **link = &log->group_first;
	log->group.record_count = 0;
	while (log->queue_first != NULL) {
		struct volume_append *append = log->queue_first;
		uint64_t length = append_length(append);
		bool first = used == GROUP_HEADER_LENGTH;
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

static void build_vectors(struct volume_log *log)
{
	uint8_t *header = log->headers;
	log->vector_count = 0;
	group_header_encode(&log->group, header);
	add_vector(log, header, GROUP_HEADER_LENGTH);
	header += GROUP_HEADER_LENGTH;
	for (struct volume_append *append = log->group_first; append; append = append->next) {
		for (unsigned i = 0; i < append->record_count; i++) {
			const struct append_record *record = &append->records[i];
			size_t length = record->head.length + record->tail.length;
			record_header_encode(record->lsn, log->group.epoch, record->type,
				record->head, record->tail, header);
			add_vector(log, header, RECORD_HEADER_LENGTH);
			add_vector(log, record->head.bytes, record->head.length);
			add_vector(log, record->tail.bytes, record->tail.length);
			add_vector(
				log, zeroes, record_padded(length) - RECORD_HEADER_LENGTH - length);
			header += RECORD_HEADER_LENGTH;
		}
	}
	add_vector(log, zeroes, group_padded(log->group.used) - log->group.used);
}

/* Where a group with `used` bytes goes: at the end, or at the start of the next segment. */
static uint64_t place_group(const struct volume_log *log, uint64_t used)
{
	uint64_t room = SEGMENT_LENGTH - log->end % SEGMENT_LENGTH;
	return group_padded(used) <= room ? log->end : (segment_of(log->end) + 1) * SEGMENT_LENGTH;
}

static void write_group(struct volume_log *log)
{
	struct disk_file *file;
	uint64_t first_used = GROUP_HEADER_LENGTH + append_length(log->queue_first);
	uint64_t lsn = place_group(log, first_used);
	uint64_t room = SEGMENT_LENGTH - lsn % SEGMENT_LENGTH;
	/* Room for a full group is asked for, so that what is taken now surely fits. */
	uint64_t reach = first_used > COMMIT_BYTES_TARGET ? first_used : COMMIT_BYTES_TARGET;
	if (reach > room)
		reach = room;
	if (!prepare(log, segment_of(lsn), lsn % SEGMENT_LENGTH + group_padded(reach)))
		return;
	int result = log_files_get(&log->files, segment_of(lsn), true, &file);
	if (result < 0) {
		fence(log, result);
		return;
	}
	const struct epoch_entry *reign = epochs_last(&log->epochs);
	log->group.lsn = lsn;
	log->group.previous_lsn = log->is_empty ? lsn : log->last_group;
	log->group.epoch = reign->epoch;
	memcpy(log->group.reign, reign->reign, GROUP_REIGN_LENGTH);
	log->group.volume = log->volume;
	log->group.flags = log->mark_first ? GROUP_FIRST_OF_REIGN : 0;
	log->mark_first = false;
	log->group.used = (uint32_t)take_appends(log, lsn, room);
	for (struct volume_append *append = log->group_first; append; append = append->next)
		if (append->on_addressed != NULL)
			append->on_addressed(append);
	build_vectors(log);
	log->writing = true;
	disk_write(file, &log->op, log->vectors, log->vector_count, lsn % SEGMENT_LENGTH);
}

static void write_received(struct volume_log *log)
{
	struct volume_receive *receive = log->receive;
	struct disk_file *file;
	uint64_t offset = receive->lsn % SEGMENT_LENGTH;
	if (!prepare(log, segment_of(receive->lsn), offset + receive->length))
		return;
	int result = log_files_get(&log->files, segment_of(receive->lsn), true, &file);
	if (result < 0) {
		fence(log, result);
		return;
	}
	receive->vector = (struct iovec){ receive->bytes->data + receive->offset, receive->length };
	log->writing = true;
	disk_write(file, &log->op, &receive->vector, 1, offset);
}

/* A group never crosses the end of a segment. */
static bool fits_segment(const struct volume_append *append)
{
	return group_padded(GROUP_HEADER_LENGTH + append_length(append)) <= SEGMENT_LENGTH;
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

static void try_write(struct volume_log *log)
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
	if (!log->fenced && log->receive != NULL)
		write_received(log);
	else if (!log->fenced && log->queue_first != NULL)
		write_group(log);
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
	try_write(arg);
}

static void on_written(struct disk_op *op)
{
	struct volume_log *log = container_of(op, struct volume_log, op);
	struct volume_append *group_first = log->group_first;
	struct volume_receive *receive = log->receive;
	bool failed = op->result < 0;
	log->writing = false;
	log->group_first = NULL;
	log->receive = NULL;
	if (failed) {
		fence(log, (int)op->result);
	} else {
		log->is_empty = false;
		log->last_group = receive ? receive->last_group : log->group.lsn;
		log->end = receive ? receive->lsn + receive->length
				   : log->group.lsn + group_padded(log->group.used);
		prepare_next_segment(log);
	}
	/* The next write goes out before the callbacks of this one run. */
	if (log->queue_first != NULL)
		loop_defer(log->loop, &log->commit_task);
	finish_appends(group_first, failed ? -EIO : 0, log->end);
	if (receive != NULL) {
		receive->status = failed ? -EIO : 0;
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

struct reign_failure {
	struct task task;
	void (*done)(void *arg, int status);
	void *arg;
	int status;
};

static void on_reign_failure(void *arg)
{
	struct reign_failure *failure = arg;
	failure->done(failure->arg, failure->status);
	free(failure);
}

void volume_log_reign(struct volume_log *log, uint64_t epoch,
	const uint8_t reign[GROUP_REIGN_LENGTH], void (*done)(void *arg, int status), void *arg)
{
	struct epoch_entry entry = { .epoch = epoch, .start_lsn = log->end };
	const struct epoch_entry *last = epochs_last(&log->epochs);
	memcpy(entry.reign, reign, GROUP_REIGN_LENGTH);
	bool goes_on = last != NULL && last->epoch == epoch &&
		memcmp(last->reign, reign, GROUP_REIGN_LENGTH) == 0;
	int status = log_replica_mark_set(log, false);
	if (status == 0 && !goes_on) {
		if (!epochs_add(&log->epochs, &entry))
			status = -ESTALE;
		else
			status = log_epochs_save(log);
	}
	if (status < 0) {
		struct reign_failure *failure = mem_alloc(sizeof(*failure));
		*failure = (struct reign_failure){ { .run = on_reign_failure, .arg = failure },
			done, arg, status };
		loop_defer(log->loop, &failure->task);
		return;
	}
	/* A reign that has written nothing yet (new, or cut short by a crash) begins with this
	 * group. */
	log->mark_first = epochs_last(&log->epochs)->start_lsn == log->end;
	log->reign_done = done;
	log->reign_arg = arg;
	buf_clear(&log->barrier_body);
	epochs_encode(&log->epochs, &log->barrier_body);
	log->barrier =
		(struct volume_append){ .record_count = 1, .done = on_barrier_done, .arg = log };
	log->barrier.records[0] = (struct append_record){ .type = RECORD_BARRIER,
		.head = buf_str(&log->barrier_body) };
	volume_log_append(log, &log->barrier);
}

/* ---- receiving ---- */

/* Takes over the epoch vector of a group that begins a reign. */
static int adopt_reign(struct volume_log *log, const struct group *group, struct str bytes)
{
	struct record record;
	size_t position = GROUP_HEADER_LENGTH;
	struct epochs epochs = { 0 };
	if (!group_next_record(group, bytes, &position, &record) || record.type != RECORD_BARRIER ||
		!epochs_decode(record.body, &epochs))
		return -EINVAL;
	const struct epoch_entry *last = epochs_last(&epochs);
	const struct epoch_entry *known = epochs_last(&log->epochs);
	bool is_sound = last != NULL && last->epoch == group->epoch &&
		last->start_lsn <= group->lsn && (known == NULL || last->epoch >= known->epoch) &&
		epochs_common_end(&log->epochs, log->end, &epochs, group->lsn) == log->end;
	if (!is_sound) {
		epochs_deinit(&epochs);
		return -EINVAL;
	}
	epochs_deinit(&log->epochs);
	log->epochs = epochs;
	return log_epochs_save(log);
}

/* A reign that was announced here and never wrote: the leader's log goes on with another. */
static void drop_announced_reign(struct volume_log *log, const struct group *next)
{
	const struct epoch_entry *last = epochs_last(&log->epochs);
	if (last != NULL && last->start_lsn >= log->end &&
		(last->epoch != next->epoch ||
			memcmp(last->reign, next->reign, GROUP_REIGN_LENGTH) != 0))
		epochs_truncate(&log->epochs, log->end);
}

static int check_received(struct volume_log *log, struct volume_receive *receive)
{
	struct str rest = str_of(receive->bytes->data + receive->offset, receive->length);
	uint64_t lsn = receive->lsn, last_group = log->last_group;
	bool is_first = log->is_empty;
	bool follows = lsn == log->end ||
		(lsn % SEGMENT_LENGTH == 0 && segment_of(lsn) == segment_of(log->end) + 1 &&
			log->end % SEGMENT_LENGTH != 0);
	if (!follows || rest.length == 0 || rest.length % GROUP_ALIGNMENT != 0)
		return -EINVAL;
	while (rest.length > 0) {
		struct group group;
		/* What does not fit into one torn-write window is left for the next write. */
		if (lsn != receive->lsn && group_header_decode(rest, lsn, log->volume, &group) &&
			lsn + group_padded(group.used) > receive->lsn + RECEIVE_BYTES_MAX) {
			receive->length = (size_t)(lsn - receive->lsn);
			break;
		}
		if (!group_verify(rest, lsn, log->volume, &group) ||
			group_padded(group.used) > rest.length ||
			group.previous_lsn != (is_first ? lsn : last_group))
			return -EINVAL;
		if (lsn == receive->lsn)
			drop_announced_reign(log, &group);
		if (group.flags & GROUP_FIRST_OF_REIGN) {
			/* Bytes of the old reign before it must be durable first. */
			if (lsn != receive->lsn) {
				receive->length = (size_t)(lsn - receive->lsn);
				break;
			}
			int result = adopt_reign(log, &group, rest);
			if (result < 0)
				return result;
		}
		const struct epoch_entry *reign = epochs_last(&log->epochs);
		if (reign == NULL || reign->epoch != group.epoch ||
			memcmp(reign->reign, group.reign, GROUP_REIGN_LENGTH) != 0)
			return -EINVAL;
		last_group = lsn;
		is_first = false;
		lsn += group_padded(group.used);
		rest = str_from_index(rest, group_padded(group.used));
	}
	receive->last_group = last_group;
	return 0;
}

struct receive_refusal {
	struct task task;
	struct volume_receive *receive;
};

static void on_receive_refused(void *arg)
{
	struct receive_refusal *refusal = arg;
	refusal->receive->done(refusal->receive);
	free(refusal);
}

void volume_log_receive(struct volume_log *log, struct volume_receive *receive)
{
	CHECK(log->receive == NULL && !log->writing);
	receive->status = log->fenced ? -EIO : check_received(log, receive);
	if (receive->status == 0)
		receive->status = log_replica_mark_set(log, true);
	if (receive->status < 0) {
		struct receive_refusal *refusal = mem_alloc(sizeof(*refusal));
		*refusal = (struct receive_refusal){ { .run = on_receive_refused, .arg = refusal },
			receive };
		loop_defer(log->loop, &refusal->task);
		return;
	}
	log->receive = receive;
	loop_defer(log->loop, &log->commit_task);
}

/* ---- reading one record ---- */

static void finish_read(struct record_read *read)
{
	if (read->status == 0 &&
		!record_verify(str_of(read->header, sizeof(read->header)), bytes_str(read->bytes),
			read->lsn))
		read->status = -EBADMSG;
	if (read->status < 0)
		bytes_unref(&read->bytes);
}

static void on_record_read(struct disk_op *op)
{
	struct record_read *read = container_of(op, struct record_read, op);
	read->log->reads--;
	read->status = op->result < 0 ? (int)op->result : 0;
	finish_read(read);
	read->done(read);
}

bool volume_log_read(
	struct volume_log *log, uint64_t lsn, size_t body_length, struct record_read *read)
{
	struct disk_file *file;
	uint64_t offset = lsn % SEGMENT_LENGTH;
	read->lsn = lsn;
	read->bytes = NULL;
	read->status = -EBADMSG;
	if (body_length > RECORD_BODY_MAX ||
		offset + RECORD_HEADER_LENGTH + body_length > SEGMENT_LENGTH)
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
	log->reads++;
	disk_read_vectors(file, &read->op, read->vectors, 2, offset);
	return false;
}

/* ---- opening and closing ---- */

int volume_log_open(struct loop *loop, struct disk *disk, const char *directory, uint32_t volume,
	struct volume_log **log_out, struct error *error)
{
	struct volume_log *log = mem_alloc(sizeof(*log));
	log->loop = loop;
	log->disk = disk;
	log->volume = volume;
	log->queue_link = &log->queue_first;
	log->commit_task.run = on_commit_task;
	log->commit_task.arg = log;
	log->op.done = on_written;
	log->vectors = mem_alloc(VECTORS_MAX * sizeof(*log->vectors));
	log->headers = mem_alloc(GROUP_HEADER_LENGTH +
		(RECORDS_PER_GROUP_MAX + APPEND_RECORDS_MAX) * RECORD_HEADER_LENGTH);
	log_prepared_reset(log);
	log_files_init(&log->files, disk, directory);
	int result = disk_make_directory(directory);
	if (result < 0)
		result = error_set(
			error, result, "cannot make %s: %s", directory, strerror(-result));
	char *lock_path = log_files_path(&log->files, "lock");
	if (result == 0) {
		result = disk_lock_take(lock_path, &log->lock);
		if (result < 0)
			error_set(error, result, "cannot take %s: %s", lock_path,
				result == -EAGAIN ? "another process is writing here"
						  : strerror(-result));
	}
	free(lock_path);
	log->was_replica = result == 0 && log_replica_mark_exists(log);
	if (result == 0)
		result = log_epochs_load(log, error);
	if (result == 0)
		result = log_find_end(log, error);
	if (result < 0) {
		volume_log_close(&log);
		return result;
	}
	*log_out = log;
	return 0;
}

void volume_log_close(struct volume_log **log_pointer)
{
	struct volume_log *log = *log_pointer;
	if (log == NULL)
		return;
	loop_cancel_deferred(log->loop, &log->commit_task);
	log_prepare_wait(log);
	log_files_deinit(&log->files);
	disk_lock_release(&log->lock);
	epochs_deinit(&log->epochs);
	buf_deinit(&log->barrier_body);
	free(log->vectors);
	free(log->headers);
	free(log);
	*log_pointer = NULL;
}
