#ifndef PANDO_NODE_SALVAGE_HOME_H
#define PANDO_NODE_SALVAGE_HOME_H

/*
 * One mailbox at its present home, through a router: a client's side of IMAP as far as salvage
 * needs it. One command at a time; its answer comes to on_answer, or on_gone ends it all. Front
 * thread.
 */

#include "core/net.h"
#include "node/salvage/tail.h"

struct home;

enum home_answer { HOME_OK, HOME_NO, HOME_BAD };

struct home_handler {
	/* What comes before an answer, without its "* "; NULL: not wanted. */
	void (*on_untagged)(void *arg, struct str line);
	/* To the login, then to each command: `text` is what stands behind the answer's word. */
	void (*on_answer)(void *arg, enum home_answer answer, struct str text);
	/* The connection is over, or an answer did not come in time; `home` is dead. */
	void (*on_gone)(void *arg, const char *why);
};

/* Connects and logs in to the mailbox. `step_ms` bounds each step. */
struct home *home_open(struct loop *loop, struct tls_context *tls, const char *router,
	const uint8_t mark[CHANGE_MARK_LENGTH], struct str address, unsigned step_ms,
	const struct home_handler *handler, void *arg);
/* No callback comes any more. Sets *home to NULL; NULL is accepted. */
void home_close(struct home **home);

void home_create_folder(struct home *home, struct str folder);
/* Untagged: "STATUS folder (UIDVALIDITY n)". */
void home_ask_uidvalidity(struct home *home, struct str folder);
void home_rename_folder(struct home *home, struct str from, struct str to);
void home_subscribe(struct home *home, struct str folder, bool subscribed);
/* Untagged, among others: "OK [UIDVALIDITY n] ...". */
void home_select(struct home *home, struct str folder);
/* Of messages of the selected folder, by their UIDs as a sequence set. Untagged, of those that are
 * there: "n FETCH (UID uid MODSEQ (m) FLAGS (...))". */
void home_fetch_flags(struct home *home, struct str uids);
/* Of a name as the home says it; 0: it is none of a message's. */
uint64_t home_system_flag(struct str name);
/* These flags and no others, or these too; "[MODIFIED ...]" where one has changed since. */
void home_store_flags(struct home *home, struct str uids, uint64_t unchanged_since, bool is_added,
	const struct tail_flags *flags);
void home_move(struct home *home, struct str uids, struct str folder);
void home_expunge(struct home *home, struct str uids);
/* Into this folder (UTF-8), with the message's flags, date and id. */
void home_append(struct home *home, struct str folder, const struct tail_message *message,
	struct bytes *body);

#endif
