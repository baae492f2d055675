#ifndef PANDO_NODE_SALVAGE_CARRY_H
#define PANDO_NODE_SALVAGE_CARRY_H

/*
 * What a tail did to things that stood before it, done again at the present home: flags and moves
 * of older messages, expunges of what had been seen, folders, subscriptions. The branches have one
 * past, so what stood before has the UIDs there that it had; whether it is the same folder its
 * UIDVALIDITY says. Each rule lets the present branch be right where both did something:
 *
 * 1. A message gets the flags and keywords that it had at the tail's end, if it has those there
 *    that it had before the tail: nobody has touched it since.
 * 2. A message that the tail moved is moved, if it still stands where it stood before.
 * 3. A message that the tail expunged is expunged if it had been seen by then, or the tail has made
 *    a copy of it that stands, and if it has the flags there that it had before the tail, or
 *    \Deleted beside them; and only where all that the tail added to the mailbox is at its home:
 *    one of these may be its copy.
 * 4. A folder that is new is made; one that got another name gets it, if it has its old one and the
 *    new one is nobody's. One that was deleted stays, with its mail.
 * 5. A name that was subscribed, or is no more, is or is not.
 *
 * Folders come before the tail's own messages, which go to the names that they had at its end, and
 * the rest behind. Who dies in between begins the mailbox anew, and finds what is done already; a
 * mailbox that has been carried is never carried again (report.h): its owner has gone on. Front
 * thread; one mailbox at a time, over a home that is logged in.
 */

#include "node/salvage/home.h"

enum {
	/* Messages of one command: a line of a kilobyte. */
	CARRY_UIDS_MAX = 100,
	/* How often what was changed between a look and a change is looked at again. */
	CARRY_LOOKS_MAX = 3,
};

enum carry_part { CARRY_FOLDERS, CARRY_REST };

struct carry;

struct carry_handler {
	/* All of the part that can be: how many changes are there now, and how many stay undone by
	 * the rules. */
	void (*on_done)(void *arg, uint64_t carried, uint64_t left);
	/* The home cannot now, in its words. */
	void (*on_refused)(void *arg, struct str text);
};

/* How many changes there are: of messages, folders and subscriptions. */
uint64_t carry_count(const struct tail_mailbox *mailbox);
/* `may_expunge`: all that the tail added is at its home. */
struct carry *carry_create(struct home *home, const struct tail_mailbox *mailbox,
	enum carry_part part, bool may_expunge, const struct carry_handler *handler, void *arg);
/* Begins; also calls back at once. From then on the home's answers are to be handed on. */
void carry_run(struct carry *carry);
void carry_on_untagged(struct carry *carry, struct str line);
void carry_on_answer(struct carry *carry, enum home_answer answer, struct str text);
/* Sets *carry to NULL; NULL is accepted. Also from a callback. */
void carry_destroy(struct carry **carry);

#endif
