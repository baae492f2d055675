#ifndef PANDO_NODE_CONTROL_H
#define PANDO_NODE_CONTROL_H

/* The verbs with which `pando` asks this node: `status`, `at-risk`, `others` (mailboxes in
 * whose place another one is stored), `made-for ADDRESS` (all that were made for it), `salvage`
 * (tails that were cut off logs here), `salvage-retry TAIL` and `salvage-discard TAIL`, TAIL being
 * ID:FILE, `expunged MAILBOX MARK FROM` and `recover MAILBOX MARK FOLDER|- LSN,LSN,...`
 * (node/recover/recover.h), and `fence LIST` and `hold LIST`, LIST being ID:EPOCH,ID:EPOCH,... of
 * volumes; `scrub` (what of the logs here has rotted) and `scrub-now ID,ID,...`. */

#include "core/control.h"
#include "core/vitals.h"
#include "node/recover/recover.h"
#include "node/salvage/work.h"
#include "node/scrub/scrub.h"
#include "node/volume/volumes.h"

struct node_control {
	struct volumes *volumes;
	struct vitals *vitals;
	struct salvage *salvage;
	const struct directory *directory;
	struct scrub *scrub;
};

/* A control_handler; `arg` is a struct node_control. */
void node_control(void *arg, struct control_request *request, struct str verb,
	const struct str *arguments, size_t argument_count);

#endif
