#ifndef PANDO_NODE_CONTROL_H
#define PANDO_NODE_CONTROL_H

/* The verbs with which `pando` asks this node: `status`, `at-risk`, `others` (mailboxes in
 * whose place another one is stored), `made-for ADDRESS` (all that were made for it), and `fence
 * LIST` and `hold LIST`, LIST being ID:EPOCH,ID:EPOCH,... of volumes. */

#include "core/control.h"
#include "core/vitals.h"
#include "node/volume/volumes.h"

struct node_control {
	struct volumes *volumes;
	struct vitals *vitals;
};

/* A control_handler; `arg` is a struct node_control. */
void node_control(void *arg, struct control_request *request, struct str verb,
	const struct str *arguments, size_t argument_count);

#endif
