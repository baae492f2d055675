#ifndef PANDO_NODE_SCRUB_WALK_H
#define PANDO_NODE_SCRUB_WALK_H

/*
 * Reads a volume's log as it stands on the disk, group after group, bodies included, and says what
 * of it is damaged. With descriptors and a buffer of its own: the log may be written, punched,
 * mended or cut meanwhile by whoever owns it, so what is found is a suspicion until it has been
 * looked at again.
 *
 * Sound is a group whose headers and bodies have the checksums that they name, which stands where
 * the one before ends (or begins the next segment), and names that one and its chain. A body that
 * is punched has nothing to be checked. What no checksum covers, padding and what stands behind the
 * end, is not looked at.
 *
 * Blocks: for a pool thread. One thread at a time.
 */

#include "core/disk.h"
#include "proto/disk/record.h"

#include <stdatomic.h>

enum {
	/* Read at a time: a disk with heads gives its full speed from here on, and it is all the
	 * memory that a walk has, however long a message is. */
	WALK_WINDOW_BYTES = 256 << 10,
	/* Of one step; where there are more it ends early, and the next one goes on. */
	WALK_DAMAGES_MAX = 32,
	/* The same of messages, where they are kept: groups of a step that are full of small ones.
	 */
	WALK_MESSAGES_MAX = 32768,
};

enum walk_fault {
	FAULT_HEADER,  /* of a group, or of a record in it: what follows in the group is unknown */
	FAULT_BODY,    /* of one record */
	FAULT_MISSING, /* a segment file */
	FAULT_CHAIN,   /* the group is sound, and is not the one that follows the one before */
	WALK_FAULTS,
};

/* As people read it. */
const char *walk_fault_name(unsigned fault);

/* [from, to) of the log: whole groups; of FAULT_BODY the record alone, and of a SUMMARY the MESSAGE
 * before it too, whose shape it is. */
struct walk_damage {
	uint64_t from, to;
	/* Where a look at it begins: its group; of FAULT_CHAIN the one before. */
	uint64_t group;
	enum walk_fault fault;
};

/* A MESSAGE record with the SUMMARY behind it; length of both, headers and padding included. */
struct walk_message {
	uint64_t lsn;
	uint32_t length;
};

struct walk {
	/* The caller's. */
	struct disk *disk;
	const char *directory; /* of the log */
	uint32_t volume;
	const atomic_bool *stop; /* the process ends: a step comes back soon. May be NULL */
	/* Where it stands; zero is the beginning. */
	uint64_t lsn;
	/* The group before, and the chain behind it; known where `follows`. */
	uint64_t last, chain;
	bool follows;
	/* What the last step has found. */
	struct walk_damage damages[WALK_DAMAGES_MAX];
	unsigned damage_count;
	/* And what messages it has passed; the caller's, room for WALK_MESSAGES_MAX, or NULL. */
	struct walk_message *messages;
	size_t message_count;
	uint64_t bytes; /* that it has read */
};

/* From the beginning. */
void walk_rewind(struct walk *walk);
/* Goes on from walk->lsn until `target` has been passed, in whole groups, below `end`, where a
 * group of the log ends and which is durable. 0: walk->lsn has moved, or is `end`; another errno:
 * it cannot be read for now, and the same step may be tried again. */
int walk_step(struct walk *walk, uint64_t target, uint64_t end) must_check;
/* Whether any of that damage still stands: 1 yes, 0 no (or the log ends below it by now). The walk
 * begins there anew. */
int walk_look_again(
	struct walk *walk, const struct walk_damage *damage, uint64_t end) must_check;

#endif
