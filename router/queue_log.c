#include "router/queue_log.h"

#include "core/encode.h"
#include "core/log.h"
#include "core/rand.h"
#include "core/timer.h"
#include "spool/log_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* A change takes a block of 4 KiB: this is 16,000 of them. */
	RESERVE = 64 << 20,
	/* Read at a time at the start. */
	READ_TARGET = 1 << 20,
	/* Between two tries to open: space comes back by hand, or with what is delivered. */
	RETRY_MS_MIN = 1000,
	RETRY_MS_MAX = 60 * 1000,
};

enum queue_log_state { LOG_SHUT, LOG_BEGINNING, LOG_OPEN, LOG_FAILED };

struct queue_log {
	struct router *router;
	struct disk *disk;
	struct volume_log *log; /* NULL: shut */
	const struct queue_log_handler *handler;
	void *arg;
	enum queue_log_state state;
	uint64_t start;      /* lower segments have been given back */
	struct list waiting; /* writes until the reign has begun */
	struct list damaged;
	bool is_known; /* all records have been told */
	int why;       /* it is shut or has failed */
	struct timer *retry;
	uint64_t retry_ms;
	uint8_t identity[QUEUE_IDENTITY_LENGTH];
	bool name_is_unread; /* the last try could not read it; no damage of the log */
	char directory[512];
};

/* Every edge of the states passes here. */
static void log_enter(struct queue_log *log, enum queue_log_state state)
{
	static const unsigned allowed[] = {
		[LOG_SHUT] = 1u << LOG_BEGINNING,
		[LOG_BEGINNING] = 1u << LOG_OPEN | 1u << LOG_FAILED,
		[LOG_OPEN] = 1u << LOG_FAILED,
		[LOG_FAILED] = 1u << LOG_SHUT,
	};

	CHECK(allowed[log->state] & 1u << state);
	CHECK((log->log == NULL) == (state == LOG_SHUT));
	log->state = state;
}

static void retry_later(struct queue_log *log)
{
	log->retry_ms = timer_next_wait_ms(log->retry_ms, RETRY_MS_MIN, RETRY_MS_MAX);
	timer_start(log->retry, log->retry_ms);
}

static void log_failed(struct queue_log *log, int status)
{
	log->why = status;
	log_error("queue_log_failed",
		"status=%d directory=%s effect=\"mail that its home takes at once is taken, other "
		"mail is refused for now\" next=\"it is opened again\" action=\"see that the disk "
		"works and has room\"",
		status, log->directory);
	log_enter(log, LOG_FAILED);
	retry_later(log);
}

void queue_write_record(struct queue_write *write, const struct queue_record *record)
{
	unsigned index = buf_length(&write->encoded[0]) == 0 ? 0 : 1;
	struct append_record *slot = &write->append.records[write->append.record_count++];

	queue_record_encode(record, &write->encoded[index]);
	slot->type = RECORD_QUEUE;
	slot->head = buf_str(&write->encoded[index]);
	slot->tail = STR("");
}

unsigned queue_write_message(struct queue_write *write, struct bytes *body)
{
	unsigned index = write->append.record_count++;
	struct append_record *slot = &write->append.records[index];

	slot->type = RECORD_MESSAGE;
	slot->head = bytes_str(body);
	slot->tail = STR("");
	return index;
}

void queue_write_deinit(struct queue_write *write)
{
	buf_deinit(&write->encoded[0]);
	buf_deinit(&write->encoded[1]);
}

static void on_appended(struct volume_append *append)
{
	struct queue_write *write = append->arg;
	struct queue_log *log = write->log;

	/* A log that a write has failed in takes no other until it is opened anew. */
	if (append->status != 0 && log->state == LOG_OPEN && volume_log_is_fenced(log->log))
		log_failed(log, append->status);
	write->done(write);
}

static void start_write(struct queue_log *log, struct queue_write *write)
{
	write->append.done = on_appended;
	write->append.arg = write;
	volume_log_append(log->log, &write->append);
}

static void run_refused(void *arg)
{
	struct queue_write *write = arg;
	write->done(write);
}

static void refuse_write(struct queue_log *log, struct queue_write *write)
{
	write->append.status = log->why != 0 ? log->why : -EIO;
	write->task.run = run_refused;
	write->task.arg = write;
	loop_defer(log->router->loop, &write->task);
}

void queue_log_write(struct queue_log *log, struct queue_write *write)
{
	write->log = log;
	if (log->state == LOG_OPEN)
		start_write(log, write);
	else if (log->state == LOG_BEGINNING)
		list_append(&log->waiting, &write->link);
	else
		refuse_write(log, write);
}

static void on_reign(void *arg, int status)
{
	struct queue_log *log = arg;

	if (status == 0) {
		log_enter(log, LOG_OPEN);
		log->why = 0;
		log->retry_ms = 0;
	} else {
		log_failed(log, status);
	}
	while (!list_is_empty(&log->waiting)) {
		struct queue_write *write = list_entry(log->waiting.next, struct queue_write, link);
		list_remove(&write->link);
		queue_log_write(log, write);
	}
	if (status == 0)
		log->handler->on_ready(log->arg);
}

bool queue_log_read(struct queue_log *log, uint64_t lsn, size_t length, struct record_read *read)
{
	if (log->state == LOG_OPEN || log->state == LOG_BEGINNING)
		return volume_log_read(log->log, lsn, length, read);
	read->status = -EAGAIN;
	return true;
}

/* Goes on in the reign that the log ends in; nobody else ever claims this log. */
static void begin_reign(struct queue_log *log)
{
	const struct epoch_entry *last = epochs_last(volume_log_epochs(log->log));
	struct epoch_entry opening = { .epoch = 1, .incarnation = rand_u64() };

	if (last)
		opening.epoch = last->epoch;
	if (last)
		memcpy(opening.reign, last->reign, sizeof(opening.reign));
	else
		rand_bytes(opening.reign, sizeof(opening.reign));
	log_enter(log, LOG_BEGINNING);
	volume_log_reign(log->log, &opening, on_reign, log);
}

static int replay(struct queue_log *log, struct error *error)
{
	struct log_reader *reader;
	uint64_t limit = volume_log_end(log->log), lsn = log->start, at, next;
	int rc = log_reader_open(log->disk, log->directory, 0, &reader);

	if (rc < 0)
		return error_set(error, rc, "cannot read the queue in %s", log->directory);
	while (lsn < limit) {
		struct bytes *bytes;
		rc = log_reader_next(reader, lsn, limit, READ_TARGET, true, &bytes, &at, &next);
		if (rc == -ENODATA)
			break;
		if (rc < 0) {
			log_reader_close(&reader);
			return error_set(error, rc, "the queue's log %s is damaged at address %llu",
				log->directory, (unsigned long long)at);
		}
		queue_groups_walk(bytes_str(bytes), at, NULL, log->handler->on_record, log->arg);
		bytes_unref(&bytes);
		lsn = next;
	}
	log_reader_close(&reader);
	return 0;
}

static int draw_identity(struct queue_log *log, struct disk_file *file)
{
	struct buf text = { 0 };

	rand_bytes(log->identity, sizeof(log->identity));
	encode_hex(&text, log->identity, sizeof(log->identity));
	log_info("queue_named", "directory=%s identity=%s", log->directory, buf_terminated(&text));
	buf_append_byte(&text, '\n');
	int rc = disk_write_now(file, buf_str(&text).bytes, buf_length(&text), 0);
	if (rc >= 0)
		rc = disk_sync_now(file);
	buf_deinit(&text);
	return rc;
}

/* A queue without a name gets one: its directory is new, or the name has been damaged. What others
 * hold of the old one is then unknown here, and delivered by them. */
static int take_identity(struct queue_log *log, struct error *error)
{
	char digits[2 * QUEUE_IDENTITY_LENGTH];
	struct disk_file *file;
	struct buf path = { 0 };

	buf_printf(&path, "%s/identity", log->directory);
	int rc = disk_file_open(log->disk, buf_terminated(&path), true, &file);
	buf_deinit(&path);
	if (rc >= 0) {
		rc = disk_read_now(file, digits, sizeof(digits), 0);
		/* A name that cannot be read just now is still the queue's: another one would
		 * disown what others hold. A sector that stays lost is written anew. */
		bool is_lost = rc == -ENODATA || (rc == -EIO && log->name_is_unread) ||
			(rc == 0 &&
				!decode_hex(str_of(digits, sizeof(digits)), log->identity,
					sizeof(log->identity)));
		if (is_lost)
			rc = draw_identity(log, file);
		disk_file_close(&file);
	}
	log->name_is_unread = rc < 0;
	if (rc < 0)
		return error_set(error, rc, "cannot name the queue in %s", log->directory);
	return 0;
}

/* A disk says EIO of a sector that is lost, and of one that it reads a moment later: only what it
 * has said in the try before too is damage. */
static bool is_damage(const struct queue_log *log, int rc)
{
	return rc == -EUCLEAN || rc == -EBADMSG ||
		(rc == -EIO && log->why == -EIO && !log->name_is_unread);
}

/* Tells what is in the log, and in those that were set aside before it. */
static int tell_records(struct queue_log *log, struct error *error)
{
	int rc = queue_damaged_find(
		log->disk, log->directory, &log->damaged, log->handler->on_record, log->arg);
	if (rc < 0)
		error_set(error, rc, "cannot read what was set aside in %s", log->directory);
	else
		rc = replay(log, error);
	if (rc == 0) {
		log->is_known = true;
		return 0;
	}
	log->handler->on_forget(log->arg);
	queue_damaged_close(&log->damaged);
	return rc;
}

static int open_once(struct queue_log *log, struct error *error)
{
	int rc = volume_log_open(log->router->loop, log->disk, log->directory, 0,
		&(struct log_told){ 0 }, &log->log, NULL, error);

	if (rc < 0)
		return rc;
	rc = volume_log_start(log->log, &log->start);
	if (rc < 0)
		error_set(error, rc, "cannot say where the queue's log %s begins: %s",
			log->directory, rc == -EUCLEAN ? "a segment is missing" : strerror(-rc));
	else
		rc = take_identity(log, error);
	if (rc == 0 && !log->is_known)
		rc = tell_records(log, error);
	if (rc < 0)
		volume_log_close(&log->log);
	return rc;
}

static int try_open(struct queue_log *log, struct error *error)
{
	int rc = open_once(log, error);

	/* While messages are known by where they stand in it, it stays where it is. */
	if (is_damage(log, rc) && log->is_known) {
		error_set(error, rc,
			"the queue's log %s is damaged: restart the router, which sets it aside",
			log->directory);
	} else if (is_damage(log, rc)) {
		rc = queue_damaged_set_aside(log->directory);
		rc = rc < 0 ? error_set(error, rc, "cannot set the damaged queue in %s aside",
				      log->directory)
			    : open_once(log, error);
	}
	log->why = rc;
	if (rc == 0)
		begin_reign(log);
	return rc;
}

static void on_retry(void *arg)
{
	struct queue_log *log = arg;
	struct error error = { 0 };

	if (log->state == LOG_FAILED) {
		if (!volume_log_is_idle(log->log)) {
			timer_start(log->retry, RETRY_MS_MIN);
			return;
		}
		volume_log_close(&log->log);
		log_enter(log, LOG_SHUT);
	}
	if (log->state == LOG_SHUT && try_open(log, &error) < 0) {
		log_warn("queue_still_shut", "status=%d reason=%s", log->why,
			log_quote(str_from(error.text)));
		retry_later(log);
	}
}

int queue_log_open(struct router *router, const struct queue_log_handler *handler, void *arg,
	struct queue_log **log_out, struct error *error)
{
	struct queue_log *log = mem_alloc(sizeof(*log));
	int rc;

	log->router = router;
	log->handler = handler;
	log->arg = arg;
	list_init(&log->waiting);
	list_init(&log->damaged);
	log->retry = timer_new(router->loop, on_retry, log);
	snprintf(log->directory, sizeof(log->directory), "%s/router/queue",
		router->config->data_dir);
	rc = disk_create(
		router->loop, (enum io_backend)router->config->io_backend, &log->disk, error);
	if (rc == 0)
		rc = try_open(log, error);
	/* Another process, or a folder that is not ours: time helps neither. */
	if (!log->disk || rc == -EAGAIN || rc == -EACCES || rc == -EPERM) {
		queue_log_close(&log);
		return rc;
	}
	if (rc < 0) {
		log_error("queue_shut",
			"status=%d effect=\"mail that its home takes at once is taken, other mail "
			"is refused for now\" next=\"it is tried again\" action=\"free space on "
			"the queue's disk, or see that it works\" reason=%s",
			rc, log_quote(str_from(error->text)));
		retry_later(log);
	}
	*log_out = log;
	return 0;
}

void queue_log_close(struct queue_log **log_pointer)
{
	struct queue_log *log = *log_pointer;
	if (!log)
		return;
	queue_damaged_close(&log->damaged);
	timer_destroy(&log->retry);
	volume_log_close(&log->log);
	if (log->disk)
		disk_destroy(&log->disk);
	free(log);
	*log_pointer = NULL;
}

bool queue_log_is_known(const struct queue_log *log)
{
	return log->is_known;
}

const uint8_t *queue_log_identity(const struct queue_log *log)
{
	return log->identity;
}

int queue_log_refusal(const struct queue_log *log)
{
	if (log->state == LOG_SHUT || log->state == LOG_FAILED)
		return log->why != 0 ? log->why : -EIO;
	int64_t left = disk_space_free(log->directory);
	/* Who cannot be asked is tried. */
	return left < 0 || left >= RESERVE ? 0 : -ENOSPC;
}

void queue_log_settle_damaged(struct queue_log *log)
{
	queue_damaged_settle(&log->damaged);
}

uint64_t queue_log_length(const struct queue_log *log)
{
	return log->log ? volume_log_end(log->log) - log->start : 0;
}

void queue_log_free(struct queue_log *log, uint64_t lsn)
{
	if (log->state != LOG_OPEN || segment_of(lsn) <= segment_of(log->start) ||
		segment_of(volume_log_last_group(log->log)) <= segment_of(log->start))
		return;
	int rc = volume_log_free(log->log, lsn);
	/* Where it begins stays what it was until that is known: the next one asks again. */
	int known = volume_log_start(log->log, &log->start);
	if (rc < 0 || known < 0)
		log_warn("queue_segment_stays", "directory=%s status=%d", log->directory,
			rc < 0 ? rc : known);
}
