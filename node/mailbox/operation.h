#ifndef PANDO_NODE_OPERATION_H
#define PANDO_NODE_OPERATION_H

/*
 * Between the files of node/mailbox: a session's wish on its way. operation.c carries it, attach.c,
 * messages.c, folders.c and deliver_part.c make the changes.
 *
 * Every operation is answered exactly once, from the loop: by operation_refuse, or after
 * operation_submit when the change is applied and as durable as it asks. Either frees it.
 */

#include "node/mailbox/mailbox.h"
#include "node/volume/volume.h"

struct mailbox_change {
	struct pending_change pending;
	struct mailbox_op *op;
	uint64_t mailbox_id;
	/* Of mailbox_attach. */
	struct mailbox_session *attaching;
	struct mailbox_identity who;
	uint32_t folder_id;
	struct bytes *body;
	struct at_risk risk;
	/* Of mailbox_recover. */
	struct recovered *recovered;
	uint32_t recovered_count;
};

struct volume *operation_volume(const struct mailbox *mailbox);
/* A change with room for `action_count` actions, each zeroed. Numbers may be taken for it until it
 * is submitted or refused, in one go. */
struct mailbox_change *operation_create(
	struct mailbox *mailbox, struct mailbox_op *op, size_t action_count);
struct action *operation_action(struct mailbox_change *change);
void operation_submit(struct mailbox_change *change);
/* Nothing was submitted: answers with a negative status. */
void operation_refuse(struct mailbox_change *change, int status);
/* The bits of keywords; those for which the folder has no bit any more are left out and counted
 * (RFC 9051 section 7.1: without \* in PERMANENTFLAGS a new keyword is not stored). */
unsigned operation_take_keywords(struct folder *folder, const struct str *names, unsigned count,
	struct pool *pool, struct action *action, uint64_t *flags);
/* `strict` cannot be met now. */
bool operation_lacks_replica(const struct volume *volume, enum durability durability);
/* An answer that needs no log: from the loop all the same. */
void operation_answer(struct volume *volume, struct mailbox_op *op, int status);

/* ---- attach.c ---- */

/* The action that makes the first folders of a mailbox, and with them the mailbox itself; appended
 * in front of others. */
void mailbox_first_folders(struct mailbox *mailbox, const struct mailbox_identity *who,
	struct pool *pool, struct action *action_out);
/* The mailbox of this id, made where it is missing, if it is or may become the one with this mark.
 * NULL: it is somebody else's, whatever the directory says now; the log has a line of it. */
struct mailbox *mailbox_of_mark(struct volume *volume, const struct mailbox_identity *who);
/* Rising, and never one that a folder of this mailbox has had. */
uint32_t mailbox_next_uidvalidity(struct mailbox *mailbox);

#endif
