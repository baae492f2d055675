#ifndef PANDO_NODE_INDEX_H
#define PANDO_NODE_INDEX_H

/*
 * The index of one volume: its mailboxes and folders, derived from the log and disposable. apply.c
 * is the only code that changes what sessions see; checkpoint.c keeps a copy in a store, so that a
 * start reads only the log behind it. Those above give out numbers (uid, modseq, folder ids) ahead
 * of it. It knows nothing of volumes and of what sessions ask for.
 *
 * A folder's messages are loaded from the store on first use; counts are always there.
 *
 * Belongs to the volume's loop.
 */

#include "core/map.h"
#include "core/store.h"
#include "node/index/bodies.h"
#include "node/index/folder.h"
#include "proto/disk/change.h"
#include "proto/disk/epochs.h"

enum {
	/* Messages of one stored chunk are those whose uid has the same upper bits: an expunge
	 * never moves a message to another chunk. 1024 messages are 48 KiB. */
	CHUNK_UID_BITS = 10,
	/* Delivery ids remembered for de-duplication per volume: at 300 messages a second those of
	 * the last 15 minutes, the longest pause between two attempts of a router. */
	DEDUPE_IDS_MAX = 1 << 18,
	/* UIDNEXT rises by a multiple of this in an unclean promotion, and no folder may run
	 * further ahead of its replica. */
	UID_SLACK = 65536,
};

/* Which (delivery id, mailbox) pairs were stored: a ring of hashes with a set over it. */
struct dedupe {
	struct map *set;      /* 16-byte key -> non-NULL */
	uint8_t (*ring)[16];  /* oldest first, once full */
	uint32_t count, next; /* entries; slot of the next one */
	uint64_t added;       /* since this process opened it */
	uint32_t saved_next;  /* slots from here on are not in the store yet */
	bool all_dirty;
};

void dedupe_key(const uint8_t delivery_id[16], uint64_t mailbox_id, uint8_t key_out[16]);
bool dedupe_has(const struct dedupe *dedupe, const uint8_t key[16]);
void dedupe_add(struct dedupe *dedupe, const uint8_t key[16]);
void dedupe_deinit(struct dedupe *dedupe);

/* What is given out ahead of the applied state; ahead.h is the only reader and writer. */
struct folder_ahead {
	uint32_t uidnext;     /* 0: nothing */
	struct str *keywords; /* FOLDER_KEYWORDS_MAX by bit, on the heap; NULL: none */
	struct list link;     /* of index.ahead_folders */
};

struct mailbox_ahead {
	uint64_t modseq;
	uint32_t next_folder_id, last_uidvalidity;
	/* The INBOX of a mailbox whose first folders are on their way; 0: none. With its mark. */
	uint32_t inbox_id, inbox_uidnext;
	uint8_t mark[CHANGE_MARK_LENGTH];
	struct list link; /* of index.ahead_mailboxes */
};

/* For volume_is_uid_slack_used, in the epoch `epoch`: a copy that has the log up to `lsn` knows of
 * the uids below uidnext, and when it has it up to mark_lsn (0: no mark) of those below
 * marked_uidnext. */
struct folder_shipped {
	uint32_t uidnext, marked_uidnext;
	uint64_t lsn, mark_lsn, epoch;
};

struct folder_private {
	struct folder *folder;
	uint32_t message_capacity;
	struct folder_ahead ahead;
	bool loaded; /* messages[] is complete */
	bool header_dirty;
	/* Chunk numbers (uid >> CHUNK_UID_BITS) to be written with the next checkpoint; sorted sets
	 * are not needed: the list is short and checked for repeats at its end. */
	uint32_t *dirty_chunks;
	uint32_t dirty_count, dirty_capacity;
	/* After an unclean promotion no message has a lower modseq: what a client was told before
	 * may be of a branch that is lost, so it asks for everything once more. Messages that are
	 * not loaded are raised when they are. */
	uint64_t modseq_floor;
	struct list dirty_link; /* of index.dirty_folders while header_dirty */
	struct folder_shipped nearest, farthest;
	/* The lowest uid that stands, or stood, in the log between where another copy was known to
	 * be and the end when the volume was opened last; 0: none (at_risk.c). */
	uint32_t opened_uid;
	uint64_t opened_end; /* that end */
};

/* How much has come to it lately (node/mailbox/rate.h): not of the log. */
struct mailbox_rate {
	uint64_t bytes, at_us;
};

struct mailbox {
	uint64_t id;
	/* Which of the mailboxes that ever had this id it is; of the log, so nothing before there
	 * are folders. */
	uint8_t mark[CHANGE_MARK_LENGTH];
	struct str made_for; /* the address that it had then; on the heap */
	struct index *index;
	struct folder **folders; /* in name order, INBOX first */
	uint32_t folder_count, folder_capacity;
	struct map *subscriptions; /* name -> the map itself */
	uint32_t next_folder_id, last_uidvalidity;
	uint64_t modseq; /* highest applied */
	struct mailbox_ahead ahead;
	bool dirty;
	struct mailbox_rate rate;
	bool told_another; /* the log has a line of who was refused */
	/* Of the directory, as whoever opened it last was told; 0: nobody has. By its setting it is
	 * decided whether what is expunged is kept. */
	uint64_t domain_id;
	/* By what its owner is let in, as far as the directory has told since this process runs. */
	bool is_access_told;
	uint64_t access;
	struct list sessions, dirty_link;
};

/* The beginning of its mark as a number, for struct kept_message. */
uint64_t mailbox_mark_number(const struct mailbox *mailbox);

struct index {
	void *owner; /* of the floors above: struct volume */
	uint32_t volume_id;
	struct map *mailboxes; /* u64 -> struct mailbox */
	struct dedupe dedupe;
	struct bodies bodies;
	struct store *store;
	char *store_path;
	uint64_t applied_lsn; /* every group below is applied */
	/* The reign that wrote the last of them: with applied_lsn it names one branch
	 * of the log. */
	uint64_t applied_epoch, applied_incarnation;
	uint8_t applied_reign[EPOCH_REIGN_LENGTH];
	uint64_t saved_lsn;   /* applied_lsn of the last checkpoint */
	uint64_t slack_epoch; /* epoch of the last ACTION_UID_SLACK */
	/* How many slacks were passed over in all: folders made now start behind as many, so that a
	 * folder that was made, lost in an unclean failover and made again shares no uid with its
	 * first life. */
	uint32_t slack_count;
	/* And how many halves in openings within an epoch, which do not count towards those. */
	uint32_t half_slack_count;
	uint64_t message_count;
	uint32_t folder_count;
	/* Of every mailbox that is in the log, whether the directory still knows it or not. */
	uint64_t highest_mailbox_id;
	/* Every UID that any folder here has given, or passed over, is below it; never lower. */
	uint32_t highest_uidnext;
	/* What a replica at another site was known to have; kept for the next start. */
	uint64_t acked_lsn;
	bool reset_store; /* the store holds something else: clear it with the next checkpoint */
	struct list dirty_mailboxes, dirty_folders;
	struct list ahead_mailboxes, ahead_folders;
	/* What is ahead has to be made anew before more is given out. */
	bool ahead_is_stale;
	/* It contradicts its log or its store, or a change has been applied by half: nothing of it
	 * may be saved, and a reset and a replay of the log make it anew. */
	bool is_broken;
	/* Made by a replay from the log's start: another replay would say the same. */
	bool is_from_log;
	/* Called when it breaks, from inside whatever found it; may be NULL. */
	void (*on_broken)(void *owner);
	/* Keys of removed folders and chunks. */
	struct buf removed_keys; /* u8 length, bytes, ... */
};

/* What apply found out, for the operation that caused it. */
struct apply_result {
	/* 0; -ENOENT: the folder was deleted by a change before this one; -EEXIST: the name was
	 * taken by one. Such a change has no effect, here and wherever the log is replayed. */
	int status;
	uint32_t *failed_uids; /* heap; of a conditional ACTION_FLAGS */
	uint32_t failed_count;
	/* The caller's, one for each action: 0 or -ENOENT or -EEXIST as above. May be NULL. */
	int *action_statuses;
};

/* ---- index.c ---- */

void index_init(struct index *index, void *owner, uint32_t volume_id, const char *store_path);
void index_deinit(struct index *index);
/* Forgets everything; the next checkpoint clears the store. Sessions have been told. */
void index_reset(struct index *index);
/* It cannot be trusted any more (is_broken). */
void index_break(struct index *index, const char *reason);
/* How many half slacks were passed over in all. */
uint64_t index_half_slacks(const struct index *index);
/* Where folders made now begin. */
uint32_t index_first_uid(const struct index *index);
/* A folder's next UID has become this one. */
void index_note_uidnext(struct index *index, uint32_t uidnext);
struct mailbox *index_find_mailbox(const struct index *index, uint64_t mailbox_id);
struct mailbox *index_make_mailbox(struct index *index, uint64_t mailbox_id);
/* Takes it out and frees it, with its folders; sessions have been told. */
void index_drop_mailbox(struct mailbox *mailbox);
void mailbox_set_made_for(struct mailbox *mailbox, struct str address);
/* The session hears of changes from now on. */
void mailbox_register(struct mailbox *mailbox, struct mailbox_session *session);
/* The directory has told by what the owner is let in now: sessions that began with something else
 * are told this reason and detached. */
void mailbox_tell_access(struct mailbox *mailbox, uint64_t access, const char *reason);
/* Whether a session that began with this may go on. */
bool mailbox_allows(const struct mailbox *mailbox, uint64_t access);
/* Tells every session of it, or of every mailbox, that it goes; they are detached before. */
void mailbox_tell_gone(struct mailbox *mailbox);
void index_tell_gone(struct index *index);
/* Whether so many more bytes are within the quota (0: none). What is on its way to the log is not
 * counted yet: a mailbox can go past it by the messages of one moment. */
bool mailbox_has_room(const struct mailbox *mailbox, uint64_t quota_bytes, uint64_t bytes);
struct folder *mailbox_folder_by_id(const struct mailbox *mailbox, uint32_t folder_id);
struct folder *mailbox_add_folder(struct mailbox *mailbox, uint32_t id, struct str name);
/* Takes it out of the list and frees it; sessions have been told. */
void mailbox_drop_folder(struct folder *folder);
/* Puts the list back into order after a rename. */
void mailbox_sort_folders(struct mailbox *mailbox);
void folder_set_name(struct folder *folder, struct str name);
/* What the log says of a bit holds: a message that had it by another name loses it, with this
 * modseq. The folder is loaded. -EUCLEAN for a bit that no folder has. */
int folder_set_keyword(
	struct folder *folder, unsigned bit, struct str name, uint64_t modseq) must_check;
/* The keyword bits that messages have (bit 0: the first). The folder is loaded. */
uint64_t folder_used_keywords(const struct folder *folder);
void folder_ahead_deinit(struct folder_ahead *ahead);
/* Raises messages to the folder's floor. */
void folder_raise_to_floor(struct folder *folder);
/* At the end: uid must be higher than all. */
void folder_push_message(struct folder *folder, const struct message *message);
void folder_mark_dirty(struct folder *folder, uint32_t uid);
void folder_mark_header_dirty(struct folder *folder);
void mailbox_mark_dirty(struct mailbox *mailbox);
void index_note_removed(struct index *index, struct str key);

/* Whether what is applied is a prefix of the log with this epoch vector, not of a branch that was
 * cut off. */
bool index_is_prefix_of(const struct index *index, const struct epochs *epochs);

/* ---- apply.c ---- */

/* One change whose record stands at `lsn`. A negative status (-EUCLEAN: it contradicts the index)
 * leaves a broken index behind. `result` may be NULL. */
int index_apply(struct index *index, const struct change *change, uint64_t lsn,
	struct apply_result *result) must_check;
/* All changes of the groups in `bytes` (verified, starting at `lsn`); moves applied_lsn. */
int index_apply_groups(struct index *index, struct str bytes, uint64_t lsn) must_check;
/* What an ACTION_FLAGS makes of a message with these flags, changed last at `modseq`. */
uint64_t action_flags_after(const struct action *action, uint64_t flags, uint64_t modseq);

/* ---- checkpoint.c ---- */

/* Opens the store and loads mailboxes and folder headers. A store that is damaged or of another
 * volume is set aside: the index starts empty. */
int index_open(struct index *index, struct error *error) must_check;
/* Forgets everything, and begins an empty store; the old one is set aside. */
int index_renew(struct index *index, struct error *error) must_check;
/* Writes all that is dirty and applied_lsn in one transaction. -EUCLEAN for a broken one. */
int index_checkpoint(struct index *index) must_check;
bool index_is_dirty(const struct index *index);
/* Loads the folder's messages. A folder whose rows are damaged breaks the index. */
int folder_load(struct folder *folder) must_check;
/* Calls fn for the messages of one chunk (uid >> CHUNK_UID_BITS); a folder that is not loaded is
 * read in the store, and stays so. Rows that are damaged break the index. */
int folder_look_at_chunk(struct folder *folder, uint32_t chunk,
	void (*fn)(void *arg, const struct message *message), void *arg) must_check;
/* The range as it stands in the store; empty where that has none. -EUCLEAN breaks the index. */
int index_load_bodies(
	struct index *index, uint64_t number, struct body_range **range_out) must_check;
/* Keys of its records in the store, to be removed with it. */
void folder_note_removed(struct folder *folder);
void mailbox_note_removed(struct mailbox *mailbox);

/* ---- digest.c ---- */

/* A digest of everything visible, for comparing an index with its rebuilt twin.
 * 0: it cannot be, or its table of bodies is not what its folders say. Loads all folders. */
uint64_t index_digest(struct index *index);

#endif
