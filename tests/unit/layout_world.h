#ifndef PANDO_TESTS_UNIT_LAYOUT_WORLD_H
#define PANDO_TESTS_UNIT_LAYOUT_WORLD_H

/* A described cluster (ctl/layout.h) for the tests of plans. */

#include "ctl/layout.h"

enum { NODES_MAX = 8, VOLUMES_MAX = 32 };

extern struct layout_world {
	struct layout_node nodes[NODES_MAX];
	struct layout_volume volumes[VOLUMES_MAX];
	struct layout layout;
} world;

/* "a1", "b2": the letter is the site, site-a. Room for anything, unless a test takes it. */
void world_begin(const char *const *names, unsigned count);
#define BEGIN(...) \
	world_begin((const char *const[]){ __VA_ARGS__ }, \
		sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))
/* "a1 b1 b2+ c1?": the primary, copies in step, one being filled, one that is behind. 1 GiB. */
struct layout_volume *world_add(const char *copies);
/* Nodes that are gone have had all of its numbers but so many, and those where it has copies. */
void world_use_numbers(struct layout_volume *volume, unsigned left);

#endif
