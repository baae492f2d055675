#ifndef PANDO_NODE_KEPT_H
#define PANDO_NODE_KEPT_H

/*
 * Expunged messages that can be recovered, of one range of bodies (bodies.h). The log says of an
 * expunge that its messages are kept, when it was, and by the setting of which domain; so what is
 * here follows from the log, and how long it stays is the primary's decision (ACTION_FREE).
 *
 * Invariants:
 * 1. One for each body and mailbox: of a message that a mailbox had twice, the one that went last.
 * 2. It goes when its body is free, or when its mailbox shows the body again.
 *
 * It may be of a mailbox that is gone, or of a body that somebody, even the same mailbox, still
 * shows.
 */

#include "core/buf.h"

struct folder;
struct message;

struct kept_message {
	uint32_t offset; /* of its body in the range, as struct body has it */
	uint32_t uid, size, folder_id, summary_length;
	uint64_t mailbox_id, domain_id;
	uint64_t mark; /* the beginning of its mailbox' one: the id may be another's by now */
	uint64_t flags;
	int64_t internal_date_s, expunged_s;
	/* The folder's name, then those of the keywords by rising bit of `flags`; for kept_folder
	 * and kept_next_keyword. */
	struct str texts;
};

struct kept_list {
	struct kept_message *messages; /* by offset, then by mailbox; texts on the heap */
	uint32_t count, capacity;
};

/* Fills in what the folder says of the message; the texts stand in `texts`, which is emptied first.
 */
void kept_describe(struct kept_message *kept, const struct folder *folder,
	const struct message *message, struct buf *texts);
struct str kept_folder(const struct kept_message *kept);
/* Start with *rest = the texts behind kept_folder, by kept_keywords; false at the end. */
struct str kept_keywords(const struct kept_message *kept);
bool kept_next_keyword(struct str *rest, struct str *name_out);

void kept_list_deinit(struct kept_list *list);
/* Copies it, in the place of one of the same body and mailbox. */
void kept_list_put(struct kept_list *list, const struct kept_message *kept);
/* Of this body, or of it and one mailbox; how many there were. */
uint32_t kept_list_remove(struct kept_list *list, uint32_t offset, const uint64_t *mailbox_id);
/* The first of this body, and how many it has. */
const struct kept_message *kept_list_of(
	const struct kept_list *list, uint32_t offset, uint32_t *count_out);

/* The store's row (checkpoint.c). False when malformed; the list is empty before. */
void kept_list_encode(const struct kept_list *list, struct buf *out);
bool kept_list_decode(struct kept_list *list, struct str row) must_check;
uint64_t kept_list_digest(const struct kept_list *list);

#endif
