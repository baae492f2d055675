#ifndef PANDO_TESTS_REPLAY_WORLD_MAILBOX_H
#define PANDO_TESTS_REPLAY_WORLD_MAILBOX_H

/* node/mailbox/mailbox.h in memory: one mailbox, made with the folders of a new one. Changes become
 * visible, and call back, in the loop's next turn. */

#include "node/mailbox/mailbox.h"

struct mailbox *world_mailbox(void);
void world_mailbox_reset(void);
void world_mailbox_add_folder(struct str name);
/* Stores a message as a delivery does. */
void world_mailbox_deliver(struct str folder, struct str message);
/* From now on every change ends with this status. */
void world_mailbox_fail(int status);
/* The change after the next one ends with this status, and no other. */
void world_mailbox_fail_second(int status);
/* From now on bodies and summaries come a turn later. */
void world_mailbox_read_slowly(void);
/* Its owner may not go on: all sessions are told. */
void world_mailbox_deny(void);
/* The mailbox moves away: all sessions are told. */
void world_mailbox_lose(void);

#endif
