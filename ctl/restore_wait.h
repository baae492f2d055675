#ifndef PANDO_CTL_RESTORE_WAIT_H
#define PANDO_CTL_RESTORE_WAIT_H

/* A login at a mailbox whose home may be away for now: who waits is told what for. */

#include "ctl/restore.h"

enum {
	/* A failover takes seconds; who is away longer is not waited for. */
	RESTORE_PATIENCE_MS = 30 * 1000,
};

/* Says within two seconds on standard error who does not answer, and waits for it so long.
 * -ETIMEDOUT with a sentence: in vain. Else as living_open. */
int restore_wait_open(struct restore *restore, struct living_way *way, unsigned patience_ms,
	const uint8_t mark[MAILBOX_MARK_LENGTH], const char *address, struct living **living_out,
	struct error *error) must_check;

#endif
