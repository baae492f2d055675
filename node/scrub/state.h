#ifndef PANDO_NODE_SCRUB_STATE_H
#define PANDO_NODE_SCRUB_STATE_H

/*
 * Where the scrub of one copy stands, over restarts: the file "scrub" beside its log, written anew
 * as a whole (another name, synced, renamed). No file, or one that is not valid: nobody has looked
 * at the copy yet, and the next pass begins anew; nothing else is lost with it. It goes with the
 * folder, so that of a copy that is replaced nothing is said of the new one.
 *
 *   pando-scrub 1
 *   <name> <number>                        one line for each row of the table in state.c
 *   damage <from> <to> <group> <fault> <since> <found> <told>    each
 *
 * A file is valid if and only if its first line is this one, every other is a known name with a
 * number or a damage with numbers whose fault is one of enum walk_fault, and there are
 * SCRUB_DAMAGES_MAX of those at most.
 */

#include "node/scrub/walk.h"

enum {
	/* Of one copy, by their places; those beyond are counted. A disk that has more is to be
	 * replaced, not mended. */
	SCRUB_DAMAGES_MAX = 64,
};

/* What is still damaged. */
struct scrub_stain {
	struct walk_damage at;
	int64_t since_s;
	bool is_found; /* it was looked at twice, and counts */
	bool is_told;  /* no copy had it, and the log has named it */
};

/* Times are seconds of the wall clock; 0: not yet. */
struct scrub_state {
	int64_t since_s;                    /* this copy is known since */
	int64_t began_s;                    /* the pass that is under way; 0: none is */
	int64_t last_began_s, last_ended_s; /* the last whole pass */
	uint64_t is_now;                    /* by the operator's word, at full speed */
	uint64_t lsn, last, chain, follows; /* as struct walk; damage behind it is not known yet */
	uint64_t end; /* of the log when the pass began, which ends there; 0: not asked yet */
	uint64_t found, mended;             /* places, ever */
	uint64_t unlisted;                  /* of this pass: beyond SCRUB_DAMAGES_MAX */
	uint64_t disagreeing;               /* of this pass: rows of the index with the log */
	struct scrub_stain *stains;         /* the caller's on reading; `stain_count` of them */
	unsigned stain_count;
};

void scrub_state_deinit(struct scrub_state *state);
/* All zero when there is none; -EBADMSG for one that is not valid, all zero too. */
int scrub_state_read(
	struct disk *disk, const char *directory, struct scrub_state *state_out) must_check;
int scrub_state_write(
	struct disk *disk, const char *directory, const struct scrub_state *state) must_check;

#endif
