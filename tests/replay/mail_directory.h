#ifndef PANDO_TESTS_REPLAY_MAIL_DIRECTORY_H
#define PANDO_TESTS_REPLAY_MAIL_DIRECTORY_H

/*
 * The cluster that mail scripts play in, linked in place of core/directory: example.org with
 *   u0001 (password "secret"), strict1 and full (disabled: off) on volume 1, u0002 on volume 2,
 *   postmaster -> u0001, list -> u0001 and u0002;
 * volume n has its home on node n; both nodes are named "script".
 */

#include "core/directory/directory.h"

/* Never looked into. */
struct directory *mail_directory(void);
void mail_directory_start(void);
/* The volume's home is that node from now on. */
void mail_directory_move(uint32_t volume_id, uint32_t node_id);

/* Every mailbox has another password: who was let in with the old one may not go on. */
void mail_directory_change_passwords(void);

#endif
