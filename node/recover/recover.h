#ifndef PANDO_NODE_RECOVER_H
#define PANDO_NODE_RECOVER_H

/*
 * Expunged messages of one mailbox, for the operator: what is kept, and having it back. Called on
 * the front thread and called back there, once, with a JSON document; a refusal is {"error":
 * "sentence"}.
 */

#include "core/directory/directory.h"
#include "node/volume/volumes.h"

enum {
	/* Of one answer: some hundred kilobytes. The next page begins behind its last one. */
	RECOVER_LISTED_MAX = 500,
	/* Of one request to have messages back: one change in the log, of some ten kilobytes, and
	 * a line that the control port takes. */
	RECOVER_BACK_MAX = 256,
};

/* `mailbox`: its number; `mark` in hexadecimal digits. */
struct recover_ask {
	struct volumes *volumes;
	const struct directory *directory;
	struct str mailbox, mark;
	void (*done)(void *arg, struct str json);
	void *arg;
};

/* {"messages": [{"lsn", "folder", "folder_is_gone", "uid", "size", "received_s", "expunged_s",
 * "until_s", "from", "subject"}], "next"}: those whose bodies stand at or above the address
 * `from`, in digits, by rising address; `next`: where the next page begins, 0: nowhere. */
void recover_list(const struct recover_ask *ask, struct str from);
/* {"messages": [{"lsn", "folder", "uid", "result"}]}: the messages whose bodies stand at the
 * addresses of `list`, LSN,LSN,..., are back in the folders where they were, or all in `folder`,
 * whose name is in hexadecimal digits ("-": none). The result is "recovered" or a sentence. */
void recover_back(const struct recover_ask *ask, struct str folder, struct str list);

#endif
