#ifndef PANDO_ROUTER_QUEUE_LOG_H
#define PANDO_ROUTER_QUEUE_LOG_H

/*
 * The queue's own log: a volume log (spool/volume_log.h) in data_dir/router/queue that nobody
 * replicates, and a file `identity` that names the queue: 32 hexadecimal digits, drawn when the
 * directory has none. Beside the segment that is written and the reserve it needs little, so that a
 * disk of 256 MiB is enough for a queue that is empty as a rule. What lies below everything that is
 * alive is given back; queue_clean.c moves up what would keep it.
 *
 * States: SHUT (cannot be opened, tried again with growing delay) -> BEGINNING (read, takes reads;
 * writes wait) -> OPEN -> FAILED (the disk has failed under it; shut as soon as nothing is under
 * way, then opened again). A log that is damaged is set aside within the directory and a new one
 * begun under the same identity; what can be read of it is found at every start (queue_damaged.h)
 * until it has been written to the new one.
 */

#include "core/error.h"
#include "core/list.h"
#include "router/queue_damaged.h"
#include "router/queue_record.h"
#include "spool/volume_log.h"

struct queue_log;

/* One group of records. The caller's until done. */
struct queue_write {
	struct volume_append append; /* status and record addresses are read by done */
	struct buf encoded[2];       /* of the RECORD_QUEUE records, freed by queue_write_deinit */
	void (*done)(struct queue_write *write);
	void *arg;
	/* private */
	struct list link;
	struct queue_log *log;
	struct task task;
};

/* Adds a RECORD_QUEUE; at most two per write. */
void queue_write_record(struct queue_write *write, const struct queue_record *record);
/* Adds the message that belongs to the record before; its index in append.records is returned.
 * `body` stays alive until done. */
unsigned queue_write_message(struct queue_write *write, struct bytes *body);
void queue_write_deinit(struct queue_write *write);

struct queue_log_handler {
	/* For every record in order, once in the life of the process. */
	void (*on_record)(void *arg, const struct queue_found *found);
	/* What on_record has told does not count: it comes again, from the beginning. */
	void (*on_forget)(void *arg);
	/* All records have been told; again whenever the log is open after it was not. */
	void (*on_ready)(void *arg);
};

/* A log that cannot be opened for now, for want of space or because of its disk, is no failure: it
 * is opened later. on_record may be called from inside, on_ready is not. -EAGAIN: another process
 * writes here; -EACCES. */
int queue_log_open(struct router *router, const struct queue_log_handler *handler, void *arg,
	struct queue_log **log_out, struct error *error) must_check;
void queue_log_close(struct queue_log **log);
/* All records have been told: it is known what is in the queue. */
bool queue_log_is_known(const struct queue_log *log) must_check;
/* Directories that were set aside and hold nothing that is needed get their last name. */
void queue_log_settle_damaged(struct queue_log *log);
/* 0, or why no new message is taken now. -ENOSPC: what is left of the disk is kept for saying what
 * has become of messages that are here already, without which nothing would ever go. */
int queue_log_refusal(const struct queue_log *log) must_check;
/* QUEUE_IDENTITY_LENGTH bytes; zeroes until the log has been opened. */
const uint8_t *queue_log_identity(const struct queue_log *log);
/* done is never called from inside. */
void queue_log_write(struct queue_log *log, struct queue_write *write);
/* As volume_log_read; -EAGAIN while the log is shut. */
bool queue_log_read(struct queue_log *log, uint64_t lsn, size_t length, struct record_read *read);
/* What the log takes on disk, in bytes. */
uint64_t queue_log_length(const struct queue_log *log);
/* Nothing below `lsn` is alive or being read: its whole segments are given back. */
void queue_log_free(struct queue_log *log, uint64_t lsn);

#endif
