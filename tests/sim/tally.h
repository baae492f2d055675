#ifndef PANDO_TESTS_SIM_TALLY_H
#define PANDO_TESTS_SIM_TALLY_H

/* What all runs have tried and checked, counted by name and printed at the end: a check that never
 * came to anything is seen there. Runs in processes of their own, one after the other, count in the
 * same place. */

#include <stdint.h>

enum tally_section { TALLY_FAULT, TALLY_CHECK, TALLY_SECTIONS };

/* Once, before the first run. */
void tally_init(void);
/* What the run's disks say of themselves is counted too; at the end of a run. */
void tally_add_disk(void);
/* `name` is kept: a literal. */
void tally_add(enum tally_section section, const char *name, uint64_t count);
void tally_print(void);

#endif
