#ifndef PANDO_NODE_SCRUB_ROWS_H
#define PANDO_NODE_SCRUB_ROWS_H

/*
 * Looks through all messages of a volume's index, a chunk at a time, so that a worker goes on with
 * other things between two; folders that are not loaded stay so. And compares: the log, as a walk
 * has read it, with the table of bodies, and that with the rows of messages. So a row that agrees
 * shows a message that stands in the log, as long as the row says.
 *
 * On the volume's worker.
 */

#include "node/index/index.h"
#include "node/scrub/walk.h"

/* Where it stands; zero is the beginning. What comes into folders meanwhile may be seen or not. */
struct rows {
	uint64_t *mailboxes; /* their ids when it began; NULL: it has not */
	size_t mailbox_count, mailbox;
	uint32_t folder_id, chunk;
	const struct folder *folder; /* of the messages that are just seen */
};

/* Calls fn for the messages of the next chunk. 1; 0 when there are no more; or a negative errno. */
int rows_next(struct rows *rows, const struct index *index,
	void (*fn)(void *arg, const struct message *message), void *arg) must_check;
void rows_deinit(struct rows *rows);

/* What does not agree. */
struct rows_faults {
	uint64_t count, first_lsn;
};

/* Bodies that begin where the walk's last step has been, from `from` on, are MESSAGE records there,
 * of that length; not looked at where that step has met damage. A negative errno: the index cannot
 * say. */
int rows_compare_bodies(struct index *index, const struct walk *walk, uint64_t from,
	struct rows_faults *faults) must_check;
/* The next chunk of messages: each shows a body, of its length. As rows_next. */
int rows_compare_next(
	struct rows *rows, struct index *index, struct rows_faults *faults) must_check;

#endif
