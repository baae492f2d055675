#ifndef PANDO_CTL_TAILS_H
#define PANDO_CTL_TAILS_H

/*
 * What was cut off logs at a node and has not come home (node/salvage/): its disk is the only place
 * that has it, and it comes home through the copy that the node has of the same volume. Asked
 * before a copy leaves a node. Only a node's own word counts: silence is no "none".
 */

#include "ctl/ask.h"

enum {
	/* A node that is asked looks through the folders of its volumes: on a busy disk that takes
	 * seconds. Locks of volumes are held meanwhile, which a failover waits for. */
	TAILS_MS_MAX = 10000,
};

enum tails_found {
	TAILS_NONE,
	TAILS_OPEN,
	TAILS_NOT_TOLD, /* it lives, and does not say it */
	TAILS_SILENT,   /* it answers nothing */
};

struct tails {
	enum tails_found found;
	unsigned open;
	struct error error; /* TAILS_NOT_TOLD: what came of the question */
};

/* Not home yet, as far as is known: one whose disk does not say is none that is done. */
bool tail_is_open(const struct json *tail);
/* Of the node at this control address; `volume_id` 0: of all volumes. One that lives is asked again
 * for so long. */
void tails_ask(struct asker *asker, const char *control, uint32_t volume_id, unsigned patience_ms,
	struct tails *tails_out);

#endif
