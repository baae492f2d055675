#ifndef PANDO_TESTS_SIM_TALLY_H
#define PANDO_TESTS_SIM_TALLY_H

/* What the runs of a process have tried and checked, counted by name and printed at the end: a
 * check that never came to anything is seen there. */

#include <stdint.h>

enum tally_section { TALLY_FAULT, TALLY_CHECK, TALLY_SECTIONS };

/* `name` is kept: a literal. */
void tally_add(enum tally_section section, const char *name, uint64_t count);
void tally_print(void);

#endif
