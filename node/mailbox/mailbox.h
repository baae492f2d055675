#ifndef PANDO_NODE_MAILBOX_H
#define PANDO_NODE_MAILBOX_H

/*
 * The mail of one address as a session sees it: folders, messages, flags. Derived from the volume's
 * log (mailbox/apply.c is the only writer of these structures), read by sessions as plain fields.
 *
 * Everything here belongs to the worker thread of the mailbox's volume.
 *
 * Invariants:
 * 1. messages[] is sorted by uid, strictly rising, below uidnext.
 * 2. What is visible here is durable on this machine: a change is applied after its log write.
 * 3. A uid, once visible or answered, is never given again (uidnext only grows).
 * 4. Every visible change raises the folder's highest_modseq and its change counters.
 *
 * A folder pointer stays valid until the folder is deleted; sessions that have it selected are told
 * by on_gone before. A mailbox pointer stays valid while at least one mailbox_session is
 * registered.
 */

#include "core/bytes.h"
#include "core/directory/directory.h"
#include "core/list.h"

struct volume;
struct mailbox;

/* Bits of message.flags. Keyword i of the folder's table is bit MESSAGE_KEYWORD_SHIFT + i. */
enum {
	MESSAGE_SEEN = 1 << 0,
	MESSAGE_ANSWERED = 1 << 1,
	MESSAGE_FLAGGED = 1 << 2,
	MESSAGE_DELETED = 1 << 3,
	MESSAGE_DRAFT = 1 << 4,
	MESSAGE_SYSTEM_FLAGS = 0x1f,
	MESSAGE_KEYWORD_SHIFT = 8,
	/* What fits beside the system flags in 64 bits; a 57th keyword in one folder gets NO
	 * [LIMIT]. */
	FOLDER_KEYWORDS_MAX = 56,
	/* The bytes of a folder's full name in UTF-8. */
	FOLDER_NAME_MAX = 1000,
	/* A mailbox with more folders than this is a runaway script. */
	MAILBOX_FOLDERS_MAX = 10000,
};

enum special_use {
	SPECIAL_NONE,
	SPECIAL_ARCHIVE,
	SPECIAL_DRAFTS,
	SPECIAL_JUNK,
	SPECIAL_SENT,
	SPECIAL_TRASH,
};

struct message {
	uint32_t uid;
	uint32_t size;           /* RFC822.SIZE: bytes with CRLF line ends */
	uint64_t flags;
	uint64_t modseq;
	uint64_t body_lsn;       /* of the MESSAGE record */
	int64_t internal_date_s; /* INTERNALDATE, seconds since 1970 UTC */
	uint32_t summary_length; /* of the encoded proto/mail/summary.h stored behind the body */
};

struct folder {
	struct mailbox *mailbox;
	uint32_t id;            /* unique in the mailbox for ever, survives renames */
	uint32_t uidvalidity;
	uint32_t uidnext;
	/* \Recent for the next session that selects read-write, or that has it selected so and is
	 * told of them: those from this uid on, and how many they are. Kept beside the index, not
	 * in the log: a copy elsewhere takes for recent what nobody was told of there. */
	uint32_t first_recent_uid, recent_count;
	uint64_t highest_modseq;   /* at least 1 */
	struct str name;           /* UTF-8, '/' between levels, "INBOX" in capitals */
	enum special_use special_use;
	struct message *messages;
	uint32_t message_count;
	uint32_t unseen_count;
	uint64_t total_bytes;
	struct str *keywords; /* keyword_count of them */
	unsigned keyword_count;
	/* A session compares these with what it saw last to know what to look for. */
	uint64_t append_counter, flag_counter, expunge_counter, keyword_counter;
	/* private to mailbox/ */
	struct folder_private *private;
	uint32_t position; /* among the mailbox's folders */
	struct list sessions;
};

/* One session's interest. Zero it and set the callbacks before mailbox_attach. */
struct mailbox_session {
	struct mailbox *mailbox;
	struct folder *folder; /* selected, or NULL */
	/* Something visible in the selected folder has changed. Called from apply: only note it or
	 * queue output. */
	void (*on_change)(struct mailbox_session *session);
	/* The selected folder (folder_only) or the whole mailbox (fenced, moved away, removed)
	 * goes. The session deselects or ends with BYE; after a whole-mailbox on_gone it must not
	 * touch it again, and it is detached already. */
	void (*on_gone)(struct mailbox_session *session, bool folder_only);
	struct list mailbox_link, folder_link; /* private */
};

/* Opens (and for a mailbox never used before prepares) the mailbox. -EROFS when this node is not
 * the volume's serving primary. A new mailbox has INBOX, Archive, Drafts, Junk, Sent and Trash when
 * done is called. */
struct mailbox_op;
void mailbox_attach(struct volume *volume, uint64_t mailbox_id, struct mailbox_session *session,
	struct mailbox_op *op);
void mailbox_detach(struct mailbox_session *session);
/* Makes `folder` (or NULL) the session's selected one. A read-write selection, also of the folder
 * that is selected already, takes the recent messages: returns the uid of the first. */
uint32_t mailbox_select(struct mailbox_session *session, struct folder *folder, bool read_only);

/* INBOX matches in any case. NULL when missing. */
struct folder *mailbox_find_folder(struct mailbox *mailbox, struct str name);
/* In name order, INBOX first; start with NULL. */
struct folder *mailbox_next_folder(struct mailbox *mailbox, struct folder *previous);
bool mailbox_is_subscribed(struct mailbox *mailbox, struct str name);
/* Subscribed names, also of folders that do not exist; position starts at 0. */
bool mailbox_next_subscription(struct mailbox *mailbox, size_t *position, struct str *name_out);

/* Index of the first message with uid >= the given one (message_count when none). */
uint32_t folder_find_uid(const struct folder *folder, uint32_t uid);

/*
 * Changes. Every call takes an operation that the caller keeps alive until done; done is called on
 * the worker's loop, never from inside the call, after the change is visible and as durable as the
 * call says. status: 0; -EROFS fenced or not primary (end the session with BYE); -EIO; -ENOENT;
 * -EEXIST; -EINVAL (name); -ENOSPC; -EDQUOT (past the quota); -E2BIG (a limit: keywords, folders,
 * name); -EFBIG (more than a segment of the log holds: a million messages and more); -EAGAIN
 * (durability `strict` and no replica in time: the change may exist here but may not be confirmed;
 * or the folder's uids would run too far ahead of its replica: nothing has changed).
 */
struct mailbox_op {
	void (*done)(struct mailbox_op *op);
	void *arg;
	int status;
	/* Results of append, copy and move: the new uids are first_uid .. first_uid+count-1. */
	struct folder *folder;
	uint32_t uidvalidity, first_uid, count;
	uint64_t modseq;
	/* Result of a conditional store: uids that were changed meanwhile. Freed by the caller. */
	uint32_t *failed_uids;
	uint32_t failed_count;
	/* private */
	struct list link;
	void *pending;
};

enum store_mode { STORE_ADD, STORE_REMOVE, STORE_REPLACE };

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
};

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
