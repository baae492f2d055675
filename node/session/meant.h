#ifndef PANDO_NODE_MEANT_H
#define PANDO_NODE_MEANT_H

/*
 * Which mailbox a router means. By its own copy of the directory it has checked a password, or
 * accepted a message, of the mailbox with a certain mark, and names that beside the address. By
 * this node's copy, which may be older or newer, the address may be another mailbox's: after a
 * rename one person's mail would be opened to the newcomer who got the address, and the newcomer's
 * delivered to the first. So both have to agree, or nothing is done for now.
 */

#include "core/directory/directory.h"

/* Mailboxes that are named in the log while they are not agreed upon: more come of one cause, and
 * the first say which. */
enum { MEANT_TOLD_MAX = 64 };

/* What the log has been told of already. The caller's, zeroed; lives on the front loop. */
struct meant {
	uint64_t revision;             /* of the directory, at which it was */
	uint64_t told[MEANT_TOLD_MAX]; /* the beginnings of the marks */
	unsigned told_count;
};

/* The mailbox of this address, if it has this mark here too. NULL: it has not, which is logged
 * once as long as this node's copy of the directory stays as it is. */
const struct directory_mailbox *meant_find(struct meant *meant, const struct directory *directory,
	struct str address, const uint8_t mark[MAILBOX_MARK_LENGTH], const char *peer);

#endif
