#ifndef PANDO_NODE_AHEAD_H
#define PANDO_NODE_AHEAD_H

/*
 * What is given out ahead of the log: uids, modseqs, folder ids, uidvalidities, keyword bits, the
 * first folders of a mailbox. A change is made with numbers that nobody else has, long before it is
 * applied, and it may be refused on the way.
 *
 * The next number is the higher of what is applied and what is ahead, and what is ahead is nothing
 * but the changes on their way: when one of them is refused, ahead_clear and an ahead_claim for
 * each that is left make it anew. So there is nothing to give back one by one, and nothing that a
 * caller could forget. A uid that a later change has passed stays a gap; one that was durable is
 * applied, and spent.
 *
 * Names of folders are not held: the log's order decides who has one.
 */

#include "node/index/index.h"

uint32_t ahead_take_uid(struct folder *folder);
/* The one that is taken next. */
uint32_t ahead_uidnext(const struct folder *folder);
/* Above all that the mailbox has had, and not below `lowest`. */
uint64_t ahead_take_modseq(struct mailbox *mailbox, uint64_t lowest);
uint32_t ahead_take_folder_id(struct mailbox *mailbox);
/* Near `wanted`, and above all that the mailbox has had. */
uint32_t ahead_take_uidvalidity(struct mailbox *mailbox, uint32_t wanted);

/* The bit of a keyword; of a new one that of no other, or one that no message has any more. -E2BIG
 * when all are in use. The folder is loaded. */
int ahead_take_keyword(struct folder *folder, struct str name);

/* The bit that it has or will have; -1 when it has none. */
int ahead_find_keyword(const struct folder *folder, struct str name);

/* What a bit stands for when all that is on its way is applied; empty: nothing. It lives until the
 * next keyword of the folder is taken, or what is ahead is made anew. */
struct str ahead_keyword(const struct folder *folder, unsigned bit);

/* Its first folders are about to be submitted: INBOX will have this id, the mailbox this mark. */
void ahead_make_inbox(
	struct mailbox *mailbox, uint32_t folder_id, const uint8_t mark[CHANGE_MARK_LENGTH]);
bool ahead_is_being_made(const struct mailbox *mailbox);
/* Of the INBOX that is being made. */
uint32_t ahead_inbox_id(const struct mailbox *mailbox);
uint32_t ahead_take_inbox_uid(struct mailbox *mailbox);
/* Whether the mailbox has this mark or, where neither the log nor what is on its way to it says
 * which one it has, may be given it. */
bool ahead_fits_mark(const struct mailbox *mailbox, const uint8_t mark[CHANGE_MARK_LENGTH]);

/* All that this change was given. */
void ahead_claim(struct index *index, const struct change *change);
void ahead_clear(struct index *index);
/* Every folder that messages of this change go to is there, on its way, or made by the change
 * itself. */
bool ahead_knows_folders(const struct index *index, const struct change *change);

#endif
