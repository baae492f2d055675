#ifndef PANDO_CTL_RESTORE_MAILBOX_H
#define PANDO_CTL_RESTORE_MAILBOX_H

/* Between restore_mailbox.c (which messages, where to) and restore_mailbox_say.c (what became of
 * them). */

#include "ctl/restore_bring.h"

struct mailbox_restore {
	struct restore restore;
	struct bring bring;
	const char *address;
	struct pick_uids uids;
	const char *into; /* the folder below which all goes; NULL: to their own folders */
	/* In the backup. */
	uint64_t id;
	uint32_t volume_id;
	uint8_t mark[MAILBOX_MARK_LENGTH];
	bool was_removed; /* by then, and kept */
	struct bring_folder *folders;
	unsigned folder_count;
	/* Of the UIDs that were asked for: whether the backup has any of a range. */
	bool has_range[PICK_RANGES_MAX];
	uint64_t counts[BRING_STATES];
};

/* Prints it; an exit code: failed where a message could not be brought back. */
int restore_mailbox_say(struct mailbox_restore *mailbox) must_check;

#endif
