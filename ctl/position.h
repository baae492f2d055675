#ifndef PANDO_CTL_POSITION_H
#define PANDO_CTL_POSITION_H

#include <stdbool.h>
#include <stdint.h>

/* Where a copy's log ends. */
struct position {
	uint64_t epoch, end_lsn;
	/* Within the epoch, where it is known: who stands still says it, `status` does not. */
	uint32_t opening;
	bool has_opening;
};

/* Above 0: a has more of the volume than b; below 0: less. Openings count where both are known:
 * an epoch is written by one node, and what it has of it grows from opening to opening. */
int position_compare(const struct position *a, const struct position *b);
/* Whether a log that ends there has what another had written in this epoch below `lsn`, or goes on
 * behind who had it. */
bool position_reaches(const struct position *position, uint64_t epoch, uint64_t lsn);

#endif
