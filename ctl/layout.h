#ifndef PANDO_CTL_LAYOUT_H
#define PANDO_CTL_LAYOUT_H

/*
 * What stands where, for plans that are functions of it alone (drain_plan.c, balance_plan.c): nodes
 * and volumes in the directory's order, which decides where nothing else does, and a node meant by
 * its place in that order. layout_read fills it from the directory and what the daemons say.
 */

#include "core/directory/directory.h"

enum {
	/* Below it `pando check` fails for a disk (DISK_FREE_MIB_MIN of judge.h): no plan goes
	 * there. */
	LAYOUT_SPARE_MIB = 1024,
	/* Of a volume that comes to a node, in hundredths: its log, and beside it its index, and
	 * what arrives while it is filled. */
	LAYOUT_ROOM_PERCENT = 125,
};

struct layout_node {
	uint32_t id, site_id;
	const char *name, *site;
	/* NULL: its daemons answer; else which does not. */
	const char *silent;
	/* Where volumes are, less what copies that are being filled there lack yet; 0 where one of
	 * its disks takes nothing. */
	uint64_t free_bytes;
	unsigned copies, primaries;
	uint64_t mailboxes; /* of the volumes that it serves */
	uint64_t bytes;     /* of all logs there */
};

enum copy_state {
	COPY_SEEDING, /* counts for nothing yet */
	COPY_BEHIND,  /* it counts, and its primary does not say that it is in step */
	COPY_IN_STEP,
};

struct layout_copy {
	unsigned node;
	enum copy_state state;
};

struct layout_volume {
	uint32_t id;
	const char *name;
	/* Of its log, all of which a copy is filled with. */
	uint64_t bytes;
	uint64_t mailboxes;
	bool is_served;
	/* It is not, and who is to serve it answers: it stands still for a move that has not ended,
	 * which the same move ends, and its copies are in step by their own word; or it is being
	 * opened. */
	bool is_fenced, is_settling;
	/* The first is the primary's, in step where it is served or fenced. */
	unsigned copy_count;
	struct layout_copy copies[VOLUME_COPIES_MAX + 1];
	/* Of the nodes that have had a copy of it, those that were removed too: the number of a
	 * copy is never given to another node. */
	unsigned number_count;
	uint32_t number_node_ids[VOLUME_COPIES_MAX];
};

struct layout {
	struct layout_node *nodes;
	unsigned node_count;
	struct layout_volume *volumes;
	unsigned volume_count;
};

/* NULL: it has none there. */
const struct layout_copy *layout_copy_at(const struct layout_volume *volume, unsigned node);
/* The node has had a copy of it, and gets its number back. */
bool layout_has_number(
	const struct layout *layout, const struct layout_volume *volume, unsigned node);
/* It has, or there is a number for it when `promised` of those that are left have been given. */
bool layout_may_have_copy(const struct layout *layout, const struct layout_volume *volume,
	unsigned node, unsigned promised);
/* What a node needs free to take a volume of so many bytes. */
uint64_t layout_room(uint64_t bytes);

#endif
