#ifndef PANDO_PROTO_DISK_CHANGE_H
#define PANDO_PROTO_DISK_CHANGE_H

/*
 * A change of mailboxes as values; change.proto is its encoding. Applying the changes of a log in
 * order, from any checkpoint, gives the same index: every number a change needs is in it.
 */

#include "core/buf.h"
#include "core/pool.h"

enum action_kind {
	ACTION_ADD = 1,       /* messages appear in `folder` (delivery, APPEND, COPY) */
	ACTION_MOVE = 2,      /* as ADD, and `uid_ranges` leave `source_folder` */
	ACTION_FLAGS = 3,     /* `mode`, `flags` on uid_ranges of `folder` */
	ACTION_EXPUNGE = 4,   /* uid_ranges leave `folder` */
	ACTION_FOLDERS = 5,   /* new folders; the first of a mailbox make it, and say its `mark` and
				 in `name` the address for which it is made */
	ACTION_DELETE = 6,    /* `folder` goes */
	ACTION_RENAME = 7,    /* `folders` (id, name) get these names */
	ACTION_SUBSCRIBE = 8, /* `name`, `subscribed` */
	ACTION_UID_SLACK =
		9, /* every folder of the volume: UIDNEXT rises by uid_slack, and every message has
		      changed at this modseq or a higher one (unclean promotion) */
	ACTION_PURGE = 11, /* the mailbox goes, with all that it has, if it has this `mark` */
	ACTION_FREE = 10, /* `bodies` are dead at every copy: their room is given back. Of no
			     mailbox */
};

enum {
	/* 128 random bits: no two are the same. */
	CHANGE_DELIVERY_ID_LENGTH = 16,
	CHANGE_MARK_LENGTH = 16,
	/* Of one ACTION_FREE: a record of 8 KiB. */
	CHANGE_BODIES_MAX = 1024,
};

struct added_message {
	uint32_t uid, size;
	uint64_t flags;
	uint64_t body_lsn; /* absolute; or 0 and body_back counts from the CHANGE record's own
			      address */
	uint64_t body_back;
	int64_t internal_date_s;
	uint32_t summary_length;
};

struct action_keyword {
	uint32_t index;
	struct str name;
};

struct action_folder {
	uint32_t id;
	struct str name;
	uint32_t uidvalidity, special_use;
};

struct uid_range {
	uint32_t first, last;
};

struct action {
	enum action_kind kind;
	uint64_t mailbox_id, modseq;
	uint32_t folder_id, source_folder_id;
	struct added_message *added;
	size_t added_count;
	struct str delivery_id; /* 16 bytes or empty */
	struct action_keyword *keywords;
	size_t keyword_count;
	struct uid_range *uids;
	size_t uid_range_count;
	uint32_t mode;
	uint64_t flags;
	bool conditional;
	uint64_t unchanged_since;
	struct action_folder *folders;
	size_t folder_count;
	struct str name;
	bool subscribed;
	uint32_t uid_slack;
	struct str mark; /* of the mailbox that is made: 16 bytes; else empty */
	uint64_t *bodies; /* addresses of MESSAGE records */
	size_t body_count;
	/* Of EXPUNGE and DELETE whose messages can be recovered: when, and the domain whose setting
	 * says for how long; 0: they cannot. */
	int64_t kept_at_s;
	uint64_t kept_domain;
	bool recovers; /* of ADD: of bodies that the mailbox keeps, and no others */
};

struct change {
	struct action *actions;
	size_t action_count;
};

void change_encode(const struct change *change, struct buf *out);
/* Everything in `change_out` lives in `pool` (or in `bytes`). False when malformed. */
bool change_decode(struct str bytes, struct pool *pool, struct change *change_out) must_check;

#endif
