#ifndef PANDO_TESTS_SIM_USER_H
#define PANDO_TESTS_SIM_USER_H

/*
 * People with a mail program each: every mailbox has one, who logs in where the mailbox is served,
 * selects folders, looks, and changes something, and keeps what it was shown and answered in the
 * model. Nobody expunges or moves what was delivered or appended to an INBOX, so that the checkers
 * find it there.
 */

#include <stdbool.h>
#include <stdint.h>

void users_reset(void);
void users_start(void);
void users_stop(void);
/* Everybody reads the whole INBOX, bodies too: how often each message was found is then in the
 * history. On a cluster that is well and quiet. */
void users_read_all(void);
/* Who reads it was told that some messages cannot be read. */
bool users_told_corrupt(uint64_t mailbox_id);
/* Prints who could not; false then. */
bool users_have_read_all(void);

#endif
