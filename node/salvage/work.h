#ifndef PANDO_NODE_SALVAGE_WORK_H
#define PANDO_NODE_SALVAGE_WORK_H

/*
 * Works off, one after the other, the tails that were cut off the volumes of this node: what their
 * branches had is brought to the present homes through a router of this node's site, as a client
 * that may give delivery ids (router/imap_login.h, XPANDO-SALVAGE).
 *
 *   OPEN -> (reading, then for each mailbox: login, look, message by message) -> DONE | OPEN, later
 *
 * A message is stored exactly once, whoever dies when:
 * 1. A login says where the home's log ends. What the present branch has below that is looked for
 * in the log here, which must be that log (same address, same chain); what comes behind it the home
 *    remembers by its ids, as long as fewer than DEDUPE_IDS_MAX come.
 * 2. So a message that is neither found here nor remembered there is not stored, and is appended
 *    under its id. Who comes again, after any crash, finds it in one of the two.
 *
 * Front thread; files and logs are read on pool threads.
 */

#include "core/config.h"
#include "core/directory/directory.h"
#include "node/salvage/report.h"
#include "node/volume/volumes.h"

enum {
	/* How often the folders are looked through: a second for thousands of volumes. */
	SALVAGE_LOOK_MS = 5000,
	/* Between two tries, doubled each time: a home that is away is there again soon or much
	 * later. */
	SALVAGE_RETRY_S_MIN = 5,
	SALVAGE_RETRY_S_MAX = 600,
	/* One step: connecting, a login, a message. A login takes the router 8 s at most, and one
	 * message as large as there are crosses a slow line. */
	SALVAGE_STEP_MS = 60 * 1000,
	/* The copy here is behind the home by what is on its way. */
	SALVAGE_BEHIND_MS = 250,
	SALVAGE_BEHIND_TRIES = 80,
};

struct salvage;

int salvage_create(struct loop *loop, const struct config *config, struct directory *directory,
	struct volumes *volumes, struct salvage **salvage_out, struct error *error) must_check;

/* The process ends: what reads a log on a pool thread comes back soon. */
void salvage_stop(struct salvage *salvage);

/* For `pando status` and `check`: appends a member of an object. */
void salvage_status(const struct salvage *salvage, struct buf *json_out);
/* JSON for `pando salvage list` and `show`: all tails with their reports. */
void salvage_list(struct salvage *salvage, void (*done)(void *arg, struct str json), void *arg);
/* `pando salvage retry` and `discard` of the tail VOLUME:FILE. 0; -EINVAL; -ENOENT; -EBUSY: it is
 * being worked off just now; or the errno of a report that cannot be written. */
void salvage_set_state(struct salvage *salvage, struct str tail, enum salvage_state state,
	void (*done)(void *arg, int status), void *arg);

#endif
