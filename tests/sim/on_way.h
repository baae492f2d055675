#ifndef PANDO_TESTS_SIM_ON_WAY_H
#define PANDO_TESTS_SIM_ON_WAY_H

/*
 * How much of mail is on its way into a mailbox at once: by so much, and no more, may it pass its
 * quota (index.h, mailbox_has_room). What is never answered counts as on its way for ever.
 */

#include <stdbool.h>
#include <stdint.h>

void on_way_reset(void);
void on_way_begin(uint64_t mailbox_id, uint64_t bytes);
void on_way_end(uint64_t mailbox_id, uint64_t bytes);
/* The most that ever was. */
uint64_t on_way_most(uint64_t mailbox_id);

#endif
