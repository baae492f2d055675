#ifndef PANDO_CORE_NEAREST_H
#define PANDO_CORE_NEAREST_H

/* Of all names that there are, the one that a wrong name was probably meant to be. All zero but for
 * `wanted` is the beginning. */

#include "core/error.h"
#include "core/str.h"

struct nearest {
	struct str wanted; /* the caller's */
	char name[64];     /* the nearest so far; empty: none */
	unsigned distance;
};

/* Edits (insert, delete, replace) that turn one name into the other; of long ones, their first 63
 * bytes. */
unsigned nearest_distance(struct str a, struct str b);
/* The first of several that are as near stays. One of which more than half is other than what was
 * wanted is no answer. */
void nearest_offer(struct nearest *nearest, struct str name);
/* -ENOENT, and "there is no node `nod-a1`; did you mean `node-a1`? See `pando node list`" of
 * `what` node. */
int nearest_refuse(const struct nearest *nearest, const char *what, struct error *error);

#endif
