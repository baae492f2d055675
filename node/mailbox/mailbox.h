#ifndef PANDO_NODE_MAILBOX_H
#define PANDO_NODE_MAILBOX_H

/*
 * What sessions ask of a mailbox: to open it, to change it, to read what its messages hold. What
 * they see of it is in node/index/folder.h. A wish becomes a change in the volume's log; when that
 * is durable it is applied to the index, and then it is answered.
 *
 * Everything here belongs to the worker thread of the mailbox's volume.
 */

#include "core/bytes.h"
#include "core/directory/directory.h"
#include "node/index/folder.h"

struct volume;

/* Which mailbox is meant, as the directory has it. */
struct mailbox_identity {
	uint64_t id;
	uint8_t mark[MAILBOX_MARK_LENGTH];
	struct str address; /* that the log notes, should the mailbox be made */
	uint64_t domain_id; /* 0: not said */
};

/* Opens (and for a mailbox never used before prepares) the mailbox. The identity is copied; its
 * address stays alive until done. -EROFS when this node is not the volume's serving primary;
 * -EKEYREJECTED when what is stored under the id has another mark: it is somebody else's mailbox,
 * and neither shown nor added to; -EACCES when the session's access was over before the mailbox was
 * there. A new mailbox has INBOX, Archive, Drafts, Junk, Sent and Trash when done is called. */
struct mailbox_op;
void mailbox_attach(struct volume *volume, const struct mailbox_identity *who,
	struct mailbox_session *session, struct mailbox_op *op);
/* Before a folder is selected: loads its messages. Negative when they cannot be read: they are made
 * anew from the log, and the session is about to be told that its mailbox goes. */
int mailbox_prepare(struct folder *folder) must_check;
/* Makes `folder` (or NULL) the session's selected one. A read-write selection, also of the folder
 * that is selected already, takes the recent messages: returns the uid of the first. */
uint32_t mailbox_select(struct mailbox_session *session, struct folder *folder, bool read_only);

/*
 * Changes. Every call takes an operation that the caller keeps alive until done; done is called on
 * the worker's loop, never from inside the call, after the change is visible and as durable as the
 * call says. status: 0; -EROFS fenced or not primary (end the session with BYE); -EIO; -ENOENT;
 * -EEXIST; -EINVAL (name); -ENOSPC; -EDQUOT (past the quota); -ENOBUFS (too much
 * came lately, rate.h); -E2BIG (a limit: folders, name; of a
 * store: nothing but keywords that have no place); -EFBIG (more than a segment of the log holds: a
 * million messages and more); -EAGAIN (durability `strict` and no replica in time: the change may
 * exist here but may not be confirmed; or the folder's uids would run too far ahead of its replica:
 * nothing has changed).
 */
struct mailbox_op {
	void (*done)(struct mailbox_op *op);
	void *arg;
	int status;
	/* Results of append, copy and move: the new uids are first_uid .. first_uid+count-1; count
	 * is 0 when nothing has come to be. */
	struct folder *folder;
	uint32_t uidvalidity, first_uid, count;
	uint64_t modseq;
	/* Result of append and store: keywords that were not stored, since the folder's messages
	 * have as many different ones as there can be. */
	unsigned keywords_dropped;
	/* Result of a conditional store: uids that were changed meanwhile. Freed by the caller. */
	uint32_t *failed_uids;
	uint32_t failed_count;
	/* private */
	struct list link;
	void *pending;
};

struct store_request {
	const uint32_t *uids; /* rising; copied */
	uint32_t count;
	enum store_mode mode;
	uint64_t system_flags;
	const struct str *keywords;
	unsigned keyword_count;
	bool conditional;
	uint64_t unchanged_since;
};

/* What the directory says of the mailbox. */
struct mailbox_policy {
	enum durability durability;
	uint64_t quota_bytes; /* of all its messages; 0: as many as there is room for */
};

/* One message into a folder; the policy says how durable it is to be. */
struct append_request {
	struct bytes *body;     /* whole message with CRLF line ends; referenced until done */
	struct str summary;     /* encoded; copied */
	uint64_t system_flags;
	const struct str *keywords;
	unsigned keyword_count;
	int64_t internal_date_s;
	struct mailbox_policy policy;
	/* What was stored under this id before is not stored again: count is 0 with status 0. NULL:
	 * none. */
	const uint8_t *delivery_id; /* 16 bytes; copied */
	/* With it: of mailbox_salvage_point. -ESTALE: more has been stored since than is remembered
	 * by its id. */
	uint64_t ids_before;
};

/*
 * Who brings messages that were accepted once, and asks for the first time, knows by the log which
 * ids are stored below `end`, where the log has this chain; from then on they are remembered here,
 * as long as not too many come.
 */
struct salvage_point {
	uint64_t end, chain, ids_before;
};

struct salvage_point mailbox_salvage_point(const struct mailbox *mailbox);

void mailbox_append(
	struct folder *folder, const struct append_request *request, struct mailbox_op *op);
void mailbox_store(
	struct folder *folder, const struct store_request *request, struct mailbox_op *op);
/* Removes exactly these uids (unknown ones are ignored). */
void mailbox_expunge(
	struct folder *folder, const uint32_t *uids, uint32_t count, struct mailbox_op *op);
/* Copies these uids in order, flags and internal date included; with `move`, expunges them in the
 * same log record, for which the quota does not matter. A caller copies thousands, not tens of
 * thousands, in one call: the uids that a folder may run ahead of its replica bound it. */
void mailbox_copy(struct folder *from, const uint32_t *uids, uint32_t count, struct folder *to,
	bool move, const struct mailbox_policy *policy, struct mailbox_op *op);
/* Brings back messages that the mailbox keeps since they were expunged (node/index/kept.h), each
 * with its flags but \Deleted, under a new uid, and without a second body. The operation's status
 * is 0 when something was submitted and is as durable as the policy asks; what became of each
 * message stands with it: -ENOENT when it is not kept (any more), or was brought back meanwhile. */
struct recovered {
	uint64_t body_lsn;
	/* Results. */
	uint32_t uid;
	int status;
};
void mailbox_recover(struct folder *folder, struct recovered *messages, uint32_t count,
	const struct mailbox_policy *policy, struct mailbox_op *op);
/* Missing parents are made too (RFC 3501 section 6.3.3). */
void mailbox_create_folder(struct mailbox *mailbox, struct str name, enum special_use special_use,
	struct mailbox_op *op);
/* -EINVAL for INBOX. Children stay (the parent becomes \NonExistent when it has some). */
void mailbox_delete_folder(struct folder *folder, struct mailbox_op *op);
/* Children go along. For INBOX: its messages move to the new folder (RFC 3501 section 6.3.5). */
void mailbox_rename_folder(struct folder *folder, struct str name, struct mailbox_op *op);
void mailbox_subscribe(
	struct mailbox *mailbox, struct str name, bool subscribed, struct mailbox_op *op);

/*
 * Reading what a message holds. The body's bytes are exactly as received. A read from memory ends
 * at once; else the caller waits for done (on the worker's loop). One read at a time per struct.
 */
struct message_read {
	void (*done)(struct message_read *read);
	void *arg;
	int status;           /* 0, -EIO (checksum wrong: reported, never served), -EROFS */
	struct bytes *bytes;  /* the caller's reference on success */
	/* private */
	void *pending;
};

/* True: `read` is complete now (status and bytes set). False: done will be called. */
bool message_read_body(
	struct folder *folder, const struct message *message, struct message_read *read);
bool message_read_summary(
	struct folder *folder, const struct message *message, struct message_read *read);
/* Forgets a read in flight; done will not be called. */
void message_read_cancel(struct message_read *read);

#endif
