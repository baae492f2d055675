#ifndef PANDO_ROUTER_QUEUE_LOG_H
#define PANDO_ROUTER_QUEUE_LOG_H

/*
 * The queue's own log: a volume log (spool/volume_log.h) in data_dir/router/queue that nobody
 * replicates. Beside the segment that is written and the reserve it needs little, so that a disk of
 * 256 MiB is enough for a queue that is empty as a rule. What lies below everything that is alive
 * is given back; queue_clean.c moves up what would keep it.
 */

#include "core/error.h"
#include "core/list.h"
#include "router/queue_record.h"
#include "spool/volume_log.h"

struct queue_log;

/* One group of records. The caller's until done. */
struct queue_write {
	struct volume_append append; /* status and record addresses are read by done */
	struct buf encoded[2];       /* of the RECORD_QUEUE records, freed by queue_write_deinit */
	void (*done)(struct queue_write *write);
	void *arg;
	struct list link; /* private */
};

/* Adds a RECORD_QUEUE; at most two per write. */
void queue_write_record(struct queue_write *write, const struct queue_record *record);
/* Adds the message that belongs to the record before; its index in append.records is returned.
 * `body` stays alive until done. */
unsigned queue_write_message(struct queue_write *write, struct bytes *body);
void queue_write_deinit(struct queue_write *write);

/* Opens, and calls fn for every record in order; body_lsn is the address of an added message. */
int queue_log_open(struct router *router,
	void (*fn)(void *arg, struct str record, uint64_t body_lsn), void *arg,
	struct queue_log **log_out, struct error *error) must_check;
void queue_log_close(struct queue_log **log);
/* done is never called from inside. */
void queue_log_write(struct queue_log *log, struct queue_write *write);
bool queue_log_read(struct queue_log *log, uint64_t lsn, size_t length, struct record_read *read);
/* There is room for more messages: what is left of the disk beyond it is kept for saying what has
 * become of those that are here already, without which nothing would ever go. */
bool queue_log_has_room(const struct queue_log *log) must_check;
/* What the log takes on disk, in bytes. */
uint64_t queue_log_length(const struct queue_log *log);
/* Nothing below `lsn` is alive or being read: its whole segments are given back. */
void queue_log_free(struct queue_log *log, uint64_t lsn);

#endif
