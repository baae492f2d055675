#ifndef PANDO_ROUTER_RESOLVE_H
#define PANDO_ROUTER_RESOLVE_H

/* From an address to the mailboxes behind it and the nodes that serve them now. */

#include "core/directory/directory.h"

/* ADDRESS_LOCAL_MAX, '@' and ADDRESS_DOMAIN_MAX with their end fit. */
enum { RESOLVED_ADDRESS_MAX = 512 };

struct resolved {
	uint64_t mailbox_id;
	uint8_t mark[MAILBOX_MARK_LENGTH];
	uint32_t volume_id;
	uint32_t node_id; /* 0: the volume has no primary that is known */
	enum durability durability;
	bool enabled;
	char address[RESOLVED_ADDRESS_MAX];
};

/* Calls fn for each mailbox of the address (aliases lead to several); fn NULL only asks. */
enum directory_found resolve_address(const struct directory *directory, struct str address,
	void (*fn)(void *arg, const struct resolved *resolved), void *arg);
/* The mailbox for which something was accepted: that of this address, if it has this mark, or else
 * the one that has it, under another address. Without a mark (NULL) that of the address. NULL: it
 * is gone, or not known yet. */
const struct directory_mailbox *resolve_accepted(const struct directory *directory,
	struct str address, uint64_t mailbox_id, const uint8_t *mark);
/* The node that serves the mailbox now, 0 when it is gone or has none. */
uint32_t resolve_home(const struct directory *directory, uint64_t mailbox_id);

#endif
