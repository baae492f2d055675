#ifndef PANDO_NODE_BODIES_H
#define PANDO_NODE_BODIES_H

/*
 * What of a log's space is in use: how many messages show each body. A body is a MESSAGE record
 * with its SUMMARY; deliveries to several mailboxes, COPY and MOVE show one more than once. One
 * that no message shows any more is dead, or kept while some mailbox may recover it (kept.h). When
 * every copy of the volume knows that, and it is kept no longer, the log says that it is free
 * (ACTION_FREE), and each copy gives its room back, at its own time.
 *
 * Part of the index: apply.c alone changes it, and a replay gives the same. Kept by ranges of
 * addresses, which are loaded from the store when they are touched; how much of each segment lives
 * is always there.
 */

#include "core/list.h"
#include "core/map.h"
#include "node/index/kept.h"

#include <stdint.h>

struct index;

#define BODY_FREE UINT32_MAX

enum {
	/* Of a segment: what one expunge reads and a checkpoint writes. */
	BODY_RANGES_PER_SEGMENT = 16,
	/* Ranges that are kept in memory after a checkpoint although nothing changes in them. */
	BODY_RANGES_KEPT = 64,
};

struct body {
	uint32_t offset;     /* of the MESSAGE record in its range, in units of RECORD_ALIGNMENT */
	uint32_t references; /* messages that show it; 0: dead or kept; BODY_FREE */
	uint32_t length;     /* of both records, headers and padding included */
};

struct body_range {
	uint64_t number; /* address / length of a range */
	struct body *bodies; /* by rising offset */
	uint32_t count, capacity;
	struct kept_list kept; /* of these bodies */
	bool dirty, has_kept_row; /* the store has one of kept ones */
	struct list dirty_link;
};

struct segment_use {
	/* Bytes of bodies that begin in it; free: whose room has not come back here yet. */
	uint64_t live, dead, kept, free;
	uint32_t ranges, kept_ranges; /* a bit for each that has bodies, kept messages */
};

struct bodies {
	struct map *ranges; /* u64 number -> struct body_range, those that are loaded */
	struct list dirty;
	struct segment_use *segments; /* by number */
	uint32_t segment_count, segment_capacity;
	/* Lowest and one above the highest whose use has changed since the last checkpoint; equal:
	 * none. */
	uint32_t dirty_from, dirty_to;
	uint64_t live_bytes, dead_bytes, kept_bytes, free_bytes;
	uint32_t kept_range_count;
	/* How often one that nothing showed was shown again, since this process runs. */
	uint64_t revived;
};

struct body_at {
	uint64_t lsn;
	uint32_t length;
};

void bodies_init(struct bodies *bodies);
void bodies_deinit(struct bodies *bodies);

/* The bytes of a body's two records, with headers and padding. */
uint32_t body_length(uint32_t message_length, uint32_t summary_length);

/* A message of the mailbox shows the body that was stored with it. */
int bodies_store(
	struct index *index, uint64_t lsn, uint32_t length, uint64_t mailbox_id) must_check;
/* Another message shows it. -ENOENT: it is not there any more. */
int bodies_refer(struct index *index, uint64_t lsn, uint64_t mailbox_id) must_check;
int bodies_has(struct index *index, uint64_t lsn) must_check; /* 0 or -ENOENT */
/* What the mailbox, by the beginning of its mark too, keeps of it, good until anything else is
 * asked: 0 or -ENOENT. */
int bodies_find_kept(struct index *index, uint64_t lsn, uint64_t mailbox_id, uint64_t mark,
	const struct kept_message **kept_out) must_check;
/* A message that showed it is gone, and is kept as this one, whose offset does not count (NULL: is
 * not kept). -EUCLEAN where none did. */
int bodies_release(
	struct index *index, uint64_t lsn, const struct kept_message *kept) must_check;
/* What is dead or kept becomes free; anything else stays as it is. */
int bodies_free(struct index *index, uint64_t lsn) must_check;
bool bodies_is_free(struct index *index, uint64_t lsn);
/* Its room has come back here, which is no matter of the log. */
void bodies_forget(struct index *index, uint64_t lsn);
/* Dead ones, or free ones, of the segments below one; `max` at most. How many. */
size_t bodies_collect(struct index *index, uint64_t below_segment, bool free, struct body_at *out,
	size_t max);
/* The first range at or above `number` that has kept messages: 1, 0: there is none, or a negative
 * errno. Good until anything else is asked. */
int bodies_next_kept(
	struct index *index, uint64_t number, struct body_range **range_out) must_check;
uint64_t bodies_range_of(uint64_t lsn);
uint64_t body_range_lsn(const struct body_range *range, uint32_t offset);
const struct body *body_range_find(const struct body_range *range, uint32_t offset);
/* Memory of ranges in which nothing has changed since the last checkpoint is given back, if it is
 * of many. */
void bodies_trim(struct bodies *bodies);

/* Of one that is shown, as body_length() says it; -ENOENT: none is; another errno: it cannot be
 * known. */
int64_t bodies_length(struct index *index, uint64_t lsn) must_check;
/* How often messages show bodies that begin in [from, to); or a negative errno. */
int64_t bodies_count_shown(struct index *index, uint64_t from, uint64_t to) must_check;
/* Those bodies, as they rise. */
int bodies_each_shown(struct index *index, uint64_t from, uint64_t to,
	void (*fn)(void *arg, const struct body_at *body), void *arg) must_check;

/* Whether the table says what the folders say. Loads all of both. */
bool bodies_are_right(struct index *index);

/* For checkpoint.c. */
struct body_range *bodies_make_range(struct bodies *bodies, uint64_t number);
bool bodies_has_range(const struct bodies *bodies, uint64_t number);
bool bodies_has_kept_range(const struct bodies *bodies, uint64_t number);
void body_range_push(struct body_range *range, const struct body *body);
/* Of a store that is read. */
void bodies_set_segment(struct bodies *bodies, uint32_t segment, struct segment_use use);
void bodies_mark_clean(struct bodies *bodies);

#endif
