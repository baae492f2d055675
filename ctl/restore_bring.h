#ifndef PANDO_CTL_RESTORE_BRING_H
#define PANDO_CTL_RESTORE_BRING_H

/*
 * Brings messages of an unpacked backup into a living mailbox, each exactly once, however often the
 * command is repeated and whatever ends it:
 *
 * 1. After every login the target folder is looked at. What stands there with the same bytes, date
 *    and size is there, one of it for one of ours; and in a folder that is the backup's own, so is
 *    what stands there under the same UID.
 * 2. What is not there is stored under an id (ctl/backup/pick.h), which the home remembers as long
 *    as fewer than DEDUPE_IDS_MAX messages come after the login: one more, and it asks for another
 *    login. So a message whose answer was lost is recognised.
 * 3. An id that the home knows and a message that is not in the folder: it was brought back before
 *    and has been moved or expunged since. It is not brought again.
 */

#include "ctl/backup/living.h"
#include "ctl/backup/pick.h"
#include "ctl/backup/view.h"
#include "ctl/restore.h"

enum bring_state {
	BRING_WANTED, /* nothing is known yet */
	BRING_STANDS, /* in its own folder, under its own UID */
	BRING_THERE,  /* in the target folder, the same bytes */
	BRING_STORED, /* by this command; in a dry run: would be */
	BRING_BEFORE, /* by an earlier one, and is not there any more */
	BRING_FREED,  /* the backup has no body of it: expunged while that ran */
	BRING_DAMAGED,
	BRING_REFUSED, /* by its home: `why` */
	BRING_STATES,
};

struct bring_message {
	struct view_message message;
	enum bring_state state;
	uint32_t there_uid; /* of the copy in the target folder, where that is known; else 0 */
	const char *why;    /* in the pool */
};

struct bring_folder {
	struct view_folder folder;
	struct str target; /* where it goes; of what goes back to its own, the name now */
	struct bring_message *messages;
	uint32_t message_count;
	uint32_t counts[BRING_STATES];
};

struct bring {
	struct restore *restore;
	struct view *view;
	struct living_way *way;
	struct living *living; /* NULL: not now */
	/* Of the mailbox in the backup; of that which the messages go to. */
	uint8_t from_mark[MAILBOX_MARK_LENGTH], to_mark[MAILBOX_MARK_LENGTH];
	const char *to_address;
	bool is_same;    /* the two are one */
	bool to_own;     /* each goes back to its own folder, if it stands there no more */
	bool is_dry_run; /* nothing is changed */
	struct pool *pool;
	struct living_folder *folders; /* of the living mailbox, after each login */
	unsigned folder_count;
};

/* All messages of one folder; counts them. A negative errno with a sentence: the mailbox cannot be
 * reached any more, or its home refuses all. */
int bring_folder(struct bring *bring, struct bring_folder *folder, struct error *error) must_check;

#endif
