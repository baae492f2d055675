#ifndef PANDO_CTL_BACKUP_VIEW_H
#define PANDO_CTL_BACKUP_VIEW_H

/*
 * The mail of an unpacked log (unpack.h), to look at: the log is replayed into an index as a node
 * does (node/index/), which takes as much memory as the volume's index with all its folders loaded.
 * The log stays as it is.
 *
 * Mailboxes, folders and messages stay where they are until the view is closed, and so do names and
 * keywords.
 */

#include "core/bytes.h"
#include "ctl/backup/unpack.h"
#include "proto/disk/change.h"

struct view;
struct mailbox;
struct folder;

struct view_mailbox {
	const struct mailbox *of;
	uint64_t id;
	uint8_t mark[CHANGE_MARK_LENGTH];
	struct str made_for; /* the address that it had then */
};

struct view_folder {
	const struct folder *of;
	uint32_t id, uidvalidity, message_count;
	struct str name; /* UTF-8 */
};

struct view_message {
	uint32_t uid, size;
	uint64_t lsn; /* of the MESSAGE record */
	int64_t internal_date_s;
	uint64_t flags; /* node/index/folder.h; with the folder, see view_append_flags */
};

/* The log in `folder`, which has to end at `to`, as the backup says. `progress` as in unpack.h; may
 * be NULL. -EUCLEAN: it ends elsewhere, contradicts itself, or is damaged where a replay reads it.
 */
int view_open(const char *folder, uint32_t volume_id, uint64_t to, unpack_progress *progress,
	void *arg, struct view **view_out, struct error *error) must_check;
/* Sets *view to NULL; NULL is accepted. */
void view_close(struct view **view);

/* In no order; start with *position = 0. */
bool view_next_mailbox(const struct view *view, size_t *position, struct view_mailbox *mailbox_out);
/* False: it has none of this id and mark. */
bool view_find_mailbox(const struct view *view, uint64_t id, const uint8_t mark[CHANGE_MARK_LENGTH],
	struct view_mailbox *mailbox_out);
/* In name order, INBOX first; start with *position = 0. */
bool view_next_folder(
	const struct view_mailbox *mailbox, uint32_t *position, struct view_folder *folder_out);
/* Rising by uid; `index` is below message_count. */
struct view_message view_message(const struct view_folder *folder, uint32_t index);
/* As IMAP says them: "(\Seen $Label)". */
void view_append_flags(
	const struct view_folder *folder, const struct view_message *message, struct buf *out);
/* The message as it was received, its checksum verified; the caller's reference. -ENODATA: its room
 * was given back between the set's moment and the reading of its volume; -EBADMSG: damaged. */
int view_body(
	struct view *view, const struct view_message *message, struct bytes **body_out) must_check;

#endif
