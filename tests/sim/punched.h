#ifndef PANDO_TESTS_SIM_PUNCHED_H
#define PANDO_TESTS_SIM_PUNCHED_H

/* Room that has come back: what of two equal copies differs all the same. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A machine has died, or is, within the change of headers: whoever opens the log finishes it. */
bool punched_is_under_way(unsigned machine, uint32_t volume_id);
/* The same bytes of a segment at two copies, from its start: what is punched in one of them is made
 * so in the other. */
void punched_mask(uint32_t volume_id, uint64_t lsn, char *a, char *b, size_t length);

#endif
