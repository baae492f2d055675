#include "ctl/position.h"

static int compare(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

int position_compare(const struct position *a, const struct position *b)
{
	int order = compare(a->epoch, b->epoch);
	if (order == 0 && a->has_opening && b->has_opening)
		order = compare(a->opening, b->opening);
	return order ? order : compare(a->end_lsn, b->end_lsn);
}

bool position_reaches(const struct position *position, uint64_t epoch, uint64_t lsn)
{
	int order = compare(position->epoch, epoch);
	return order ? order > 0 : position->end_lsn >= lsn;
}
