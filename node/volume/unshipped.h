#ifndef PANDO_NODE_UNSHIPPED_H
#define PANDO_NODE_UNSHIPPED_H

/*
 * What a log has above an address, by mailbox: what a copy that ends there lacks. An operator asks
 * for it now and then, and it is read from the log then: no change counts anything on its way.
 *
 * The walk runs in slices on a pool thread; the log may go on growing meanwhile, and is not cut by
 * who asks. Bounded: what is not looked at is said in bytes.
 */

#include "core/disk.h"
#include "core/map.h"
#include "spool/log_reader.h"

enum {
	/* Of one log in one question. Bodies are passed over: a second of a slow disk. */
	UNSHIPPED_BYTES_MAX = 256 << 20,
	/* At a time: others wait for pool threads too. */
	UNSHIPPED_SLICE_BYTES = 8 << 20,
	/* Counted by name; those beyond are among `others`. */
	UNSHIPPED_MAILBOXES_MAX = 10000,
};

/* Numbers of messages, but for the last two. */
struct unshipped_mailbox {
	uint64_t mailbox_id, end_lsn; /* end_lsn: of the last group with a change of it */
	uint64_t messages;            /* delivered or appended */
	uint64_t copies;              /* copied or moved within the mailbox */
	uint64_t flags, expunges;
	uint64_t folders; /* made, renamed, deleted */
	uint64_t subscriptions;
};

struct unshipped {
	uint32_t volume_id;
	uint64_t next, end;  /* still to be looked at */
	uint64_t bytes_left; /* of UNSHIPPED_BYTES_MAX */
	/* Messages of groups that end here or above wait for their answers, and are not counted;
	 * UINT64_MAX: all are. The caller's to lower. */
	uint64_t waiting_from;
	/* 0, or why the walk ended before the end. */
	int status;
	struct map *mailboxes; /* u64 id -> struct unshipped_mailbox */
	struct unshipped_mailbox others;
	struct log_reader *reader;
};

/* From `from`, where a group ends, to `end`. `directory` is the log's. */
void unshipped_init(struct unshipped *unshipped, struct disk *disk, const char *directory,
	uint32_t volume_id, uint64_t from, uint64_t end);
void unshipped_deinit(struct unshipped *unshipped);
/* One slice. True: there is more to look at. */
bool unshipped_look(struct unshipped *unshipped) must_check;

#endif
