#include "router/queue_log.h"

#include "core/log.h"
#include "core/rand.h"
#include "spool/log_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* A change takes a block of 4 KiB: this is 16,000 of them. */
	RESERVE = 64 << 20,
	/* Read at a time at the start. */
	READ_TARGET = 1 << 20,
};

struct queue_log {
	struct router *router;
	struct disk *disk;
	struct volume_log *log;
	uint64_t start; /* lower segments have been given back */
	bool reigning;
	struct list waiting; /* writes until the reign has begun */
	char directory[512];
};

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
	write->done(write);
}

static void start_write(struct queue_log *log, struct queue_write *write)
{
	write->append.done = on_appended;
	write->append.arg = write;
	volume_log_append(log->log, &write->append);
}

static void on_reign(void *arg, int status)
{
	struct queue_log *log = arg;

	log->reigning = false;
	if (status != 0)
		log_error("queue_log_failed", "status=%d directory=%s", status, log->directory);
	/* Without a reign the log refuses each of them by itself. */
	while (!list_is_empty(&log->waiting)) {
		struct queue_write *write = list_entry(log->waiting.next, struct queue_write, link);
		list_remove(&write->link);
		start_write(log, write);
	}
}

void queue_log_write(struct queue_log *log, struct queue_write *write)
{
	if (log->reigning) {
		list_append(&log->waiting, &write->link);
		return;
	}
	start_write(log, write);
}

bool queue_log_read(struct queue_log *log, uint64_t lsn, size_t length, struct record_read *read)
{
	return volume_log_read(log->log, lsn, length, read);
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
	log->reigning = true;
	volume_log_reign(log->log, &opening, on_reign, log);
}

static void replay_groups(struct str bytes, uint64_t lsn,
	void (*fn)(void *arg, struct str record, uint64_t body_lsn), void *arg)
{
	while (bytes.length >= GROUP_HEADER_LENGTH) {
		struct group group;
		struct record record, following;
		size_t position = GROUP_HEADER_LENGTH;
		if (!group_header_decode(bytes, lsn, 0, &group) || group.used > bytes.length)
			return;
		bool more = group_next_record(&group, bytes, &position, &record);
		while (more) {
			more = group_next_record(&group, bytes, &position, &following);
			if (record.type == RECORD_QUEUE)
				fn(arg, record.body,
					more && following.type == RECORD_MESSAGE ? following.lsn
										 : 0);
			record = following;
		}
		size_t whole = group_padded(group.used);
		lsn += whole;
		bytes = str_from_index(bytes, whole);
	}
}

static int replay(struct queue_log *log,
	void (*fn)(void *arg, struct str record, uint64_t body_lsn), void *arg, struct error *error)
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
			return error_set(error, rc,
				"the queue's log %s is corrupt at address %llu: move the directory "
				"away and look at it with `pando check`",
				log->directory, (unsigned long long)at);
		}
		replay_groups(bytes_str(bytes), at, fn, arg);
		bytes_unref(&bytes);
		lsn = next;
	}
	log_reader_close(&reader);
	return 0;
}

int queue_log_open(struct router *router,
	void (*fn)(void *arg, struct str record, uint64_t body_lsn), void *arg,
	struct queue_log **log_out, struct error *error)
{
	struct queue_log *log = mem_alloc(sizeof(*log));
	int rc;

	log->router = router;
	list_init(&log->waiting);
	snprintf(log->directory, sizeof(log->directory), "%s/router/queue",
		router->config->data_dir);
	rc = disk_create(
		router->loop, (enum io_backend)router->config->io_backend, &log->disk, error);
	if (rc == 0)
		rc = volume_log_open(router->loop, log->disk, log->directory, 0,
			&(struct log_told){ 0 }, &log->log, NULL, error);
	if (rc == 0) {
		log->start = volume_log_start(log->log);
		rc = replay(log, fn, arg, error);
	}
	if (rc < 0) {
		queue_log_close(&log);
		return rc;
	}
	begin_reign(log);
	*log_out = log;
	return 0;
}

void queue_log_close(struct queue_log **log_pointer)
{
	struct queue_log *log = *log_pointer;
	if (!log)
		return;
	volume_log_close(&log->log);
	if (log->disk)
		disk_destroy(&log->disk);
	free(log);
	*log_pointer = NULL;
}

bool queue_log_has_room(const struct queue_log *log)
{
	int64_t left = disk_space_free(log->directory);
	/* Who cannot be asked is tried. */
	return left < 0 || left >= RESERVE;
}

uint64_t queue_log_length(const struct queue_log *log)
{
	return volume_log_end(log->log) - log->start;
}

void queue_log_free(struct queue_log *log, uint64_t lsn)
{
	if (segment_of(lsn) <= segment_of(log->start) ||
		segment_of(volume_log_last_group(log->log)) <= segment_of(log->start))
		return;
	int rc = volume_log_free(log->log, lsn);
	if (rc < 0)
		log_warn("queue_segment_stays", "directory=%s status=%d", log->directory, rc);
	log->start = volume_log_start(log->log);
}
