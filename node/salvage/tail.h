#ifndef PANDO_NODE_SALVAGE_TAIL_H
#define PANDO_NODE_SALVAGE_TAIL_H

/*
 * What a branch of a volume's log that was cut off had more than the branch that went on: read from
 * a salvage file (spool/log_cut.c) and from the volume's own log below it, which both branches
 * share.
 *
 * The log below the tail is replayed into an index of its own, and the tail on top, so that
 * folders have the names, and messages the flags, that they had when the branch ended. That takes
 * as much memory as the volume's index with all its folders loaded; who works tails off reads one
 * at a time.
 *
 * Invariants:
 * 1. A message is listed if and only if the tail added it, it still stood at the tail's end, and it
 *    is no older message that was only moved. Of those, of folders and of subscriptions it is
 *    listed what is another at the tail's end than before, however it came to be.
 * 2. It has one id, by which it is recognised however often the tail is read: that of its delivery;
 *    of an APPEND or a COPY one that follows from the volume, the address of its record, the
 *    group's incarnation and its place there. A message that is moved inside the tail keeps it.
 * 3. What the present log has too, group by group, is not the tail's. Behind that, the first group
 *    of the tail names the chain of the log below: else nothing is read.
 *
 * Blocks: for a pool thread. One thread at a time.
 */

#include "core/bytes.h"
#include "core/disk.h"
#include "core/pool.h"
#include "node/index/index.h"

#include <stdatomic.h>

enum {
	/* Messages that one tail added or changed, some 300 bytes each: more than a site takes in
	 * while it is cut off for a day. A tail with more is not read. */
	TAIL_MESSAGES_MAX = 4 << 20,
};

struct tail_name {
	uint64_t epoch, from, to;
};

/* "salvage-<epoch>-<from>-<to>.log"; false for any other name. */
bool tail_parse_name(const char *file, struct tail_name *name_out);
/* The file (`suffix` "log"), or one that stands beside it; the path is the caller's. */
void tail_append_name(struct buf *out, const struct tail_name *name, const char *suffix);
char *tail_path(const char *directory, const struct tail_name *name, const char *suffix);

struct tail_flags {
	uint64_t system;
	struct str *keywords;
	unsigned keyword_count;
};

bool tail_flags_have(const struct tail_flags *flags, struct str keyword);
bool tail_flags_equal(const struct tail_flags *a, const struct tail_flags *b);

struct tail_message {
	uint8_t delivery_id[CHANGE_DELIVERY_ID_LENGTH];
	uint64_t lsn, body_lsn; /* of the CHANGE, of the MESSAGE record */
	uint32_t uid;           /* on the lost branch, where clients may have been told it */
	uint32_t size, folder_id;
	struct tail_flags flags;
	int64_t internal_date_s;
	struct str folder;
};

/* A message that stood before, and that the tail has changed. */
struct tail_older {
	/* Where it stood then, as it does on the present branch, unless somebody moved it. */
	uint32_t folder_id, uid, uidvalidity;
	struct str folder, folder_at_end; /* that folder's name then, and at the end; "": deleted */
	struct tail_flags before;
	/* Expunged; and had been seen by then, or stands elsewhere as a copy that the tail added:
	 * who copies and expunges, moves. Or else what it has at the end. */
	bool is_expunged, may_go;
	struct tail_flags end;
	struct str moved_to; /* "": it was not */
	uint64_t body_lsn;
};

/* Renamed (both names), deleted (no name at the end), or new (none before). */
struct tail_folder {
	uint32_t id, uidvalidity;
	struct str before, end;
};

struct tail_subscription {
	struct str name;
	bool before, end;
};

/* What happened to one mailbox. */
struct tail_mailbox {
	uint64_t id;
	uint8_t mark[CHANGE_MARK_LENGTH];
	struct str address;            /* for which it was made */
	struct tail_message *messages; /* in the order in which the tail added them */
	uint32_t message_count;
	/* Added and expunged again in the tail. */
	uint64_t gone;
	struct tail_older **older; /* by folder and uid */
	uint32_t older_count;
	struct tail_folder *folders; /* parents before children */
	uint32_t folder_count;
	struct tail_subscription *subscriptions; /* on the heap */
	uint32_t subscription_count;
	/* private, while it is read */
	struct tail_folder *before; /* all that there were */
	uint32_t before_count, before_last, next_folder_id;
	struct map *standing;
	struct tail_standing **order;
	uint32_t order_count, order_capacity;
};

struct tail {
	struct tail_name name;
	uint32_t volume_id;
	/* In the order in which the tail came to them. */
	struct tail_mailbox **mailboxes;
	size_t mailbox_count;
	uint64_t message_count;
	/* Where it parts from the present log: not below the file's beginning. */
	uint64_t parts_at;
	/* What stands from here on is not listed: damaged, or behind damage. 0: nothing. */
	uint64_t damaged_at;
	/* private */
	uint64_t chain;                 /* of the log where the tail parts from it */
	uint64_t looked_to, last_group; /* of the present log, for what it has */
	struct map *present;            /* dedupe keys of the tail's messages that are there */
	struct map *wanted;             /* of all of them */
	struct pool *pool;
	struct disk *disk;
	const atomic_bool *stop;
	char *directory;
	char *path;
};

/* `directory` is the volume's, which holds log and file; the log is looked at below `present_end`,
 * where a group of it ends. A negative errno with a sentence: -EUCLEAN when the log here is not, or
 * not any more, the one that the tail was cut off; -ECANCELED soon after `stop` has become true,
 * here and in tail_look: a process that ends waits for its pool threads. It outlives the tail. */
int tail_read(struct disk *disk, const char *directory, uint32_t volume_id,
	const struct tail_name *name, uint64_t present_end, const atomic_bool *stop,
	struct tail **tail_out, struct error *error) must_check;
void tail_destroy(struct tail **tail);
/* What of the tail is stored on the present branch below `end`, where its log has this chain:
 * looked for in the log here, from where it was looked to last. -EAGAIN: the log here ends at
 * `log_end`, which is below; -ESTALE: it is another one, or has so much of the tail by now that the
 * tail has to be read again; or the errno of a log that cannot be read. */
int tail_look(struct tail *tail, uint64_t end, uint64_t chain, uint64_t log_end) must_check;
/* Whether tail_look has found the message. */
bool tail_is_present(const struct tail *tail, const struct tail_mailbox *mailbox,
	const struct tail_message *message);
/* The message as it was received; the caller's reference. -ENODATA: its room was given back;
 * -EBADMSG: damaged. */
int tail_body(
	struct tail *tail, const struct tail_message *message, struct bytes **body_out) must_check;

#endif
