#ifndef PANDO_NODE_FOLDER_H
#define PANDO_NODE_FOLDER_H

/*
 * The mail of one address as it is read: folders, messages, flags, and who looks at them. Derived
 * from the volume's log (index/apply.c is the only writer of these structures), read by sessions as
 * plain fields.
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

#include "core/list.h"
#include "core/str.h"

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
	/* What fits beside the system flags in 64 bits. The bit of a keyword that no message has
	 * any more is given to the next new one. */
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
	/* By bit, keyword_count of them; an empty one is a bit without a name. */
	struct str *keywords;
	unsigned keyword_count;
	/* A session compares these with what it saw last to know what to look for. */
	uint64_t append_counter, flag_counter, expunge_counter, keyword_counter;
	/* private to index/ and to those who give out numbers */
	struct folder_private *private;
	uint32_t position; /* among the mailbox's folders */
	struct list sessions;
};

enum store_mode { STORE_ADD, STORE_REMOVE, STORE_REPLACE };


/* One session's interest. Zero it and set the callbacks before mailbox_register. */
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
	/* Its owner may not go on, for this reason (static text). It is detached already. */
	void (*on_denied)(struct mailbox_session *session, const char *reason);
	uint64_t access; /* with which the owner was let in */
	struct list mailbox_link, folder_link; /* private */
};

/* No more is told, and nothing is selected. */
void mailbox_detach(struct mailbox_session *session);

/* INBOX matches in any case. NULL when missing. */
struct folder *mailbox_find_folder(struct mailbox *mailbox, struct str name);
/* In name order, INBOX first; start with NULL. */
struct folder *mailbox_next_folder(struct mailbox *mailbox, struct folder *previous);
bool mailbox_is_subscribed(struct mailbox *mailbox, struct str name);
/* Subscribed names, also of folders that do not exist; position starts at 0. */
bool mailbox_next_subscription(struct mailbox *mailbox, size_t *position, struct str *name_out);

/* The bit of a keyword; -1 when the folder has none of this name. */
int folder_find_keyword(const struct folder *folder, struct str name);
/* A keyword that is new to the folder can be stored. */
bool folder_has_keyword_room(const struct folder *folder);

/* Index of the first message with uid >= the given one (message_count when none). */
uint32_t folder_find_uid(const struct folder *folder, uint32_t uid);

#endif
