#ifndef PANDO_NODE_SCRUB_INTERNAL_H
#define PANDO_NODE_SCRUB_INTERNAL_H

/* Between scrub.c (what is done next), copies.c (which copies there are), pace.c (how fast),
 * stains.c (what is damaged), names.c (whose messages that are), compare.c (whether the index
 * agrees) and report.c (what `pando` and Prometheus are told). */

#include "core/disk.h"
#include "core/map.h"
#include "core/metric.h"
#include "core/timer.h"
#include "node/scrub/scrub.h"
#include "node/scrub/state.h"
#include "node/volume/volume.h"

enum {
	/* How often it is looked what is to be done when nothing is, and how busy the node is. */
	SCRUB_LOOK_MS = 1000,
	/* A node that has just started has better things to do than to begin a pass. */
	SCRUB_FIRST_S = 600,
	/* Read at a time: in the background, some milliseconds of a disk, so that what comes beside
	 * it waits no longer; by the operator's word, larger ones cost less. */
	SCRUB_STEP_BYTES = 1 << 20,
	SCRUB_STEP_NOW_BYTES = 4 << 20,
	/* How much of a pass a crash costs. */
	SCRUB_SAVE_MS = 10000,
	/* Of one copy, by name; those beyond are counted. More is no list that a person works off.
	 */
	SCRUB_NAMED_MAX = 100,
	/* Between two looks at a place that is to be mended, doubled each time: an answer takes a
	 * few milliseconds, or as long as a replicator waits for one (2 s). */
	SCRUB_ASK_MS = 250,
	SCRUB_ASKS_MAX = 5,
	/* A log that ends below what has been read of it was cut, or is of another copy; or its end
	 * is not heard of yet, as after a start. */
	SCRUB_SHORT_MS = 30 * 1000,
	/* What no copy had is asked for again so often: one that was away is back some day. */
	SCRUB_AGAIN_MS = 600 * 1000,
};

struct named_message {
	uint64_t mailbox_id, body_lsn;
	uint8_t mark[CHANGE_MARK_LENGTH];
	struct str made_for, folder; /* on the heap */
	uint32_t uid, size, summary_length;
	char sender[256]; /* "": not readable */
};

enum stain_state { STAIN_SUSPECTED, STAIN_ASKED, STAIN_STANDS };

/* Beside the stain of the same number in struct scrub_state. */
struct stain_work {
	enum stain_state state;
	bool has_stood; /* it counts as unmended, also while it is asked for again */
	unsigned asks;
	uint64_t next_us; /* when it is looked at */
	uint64_t short_us; /* since when the log has ended below it; 0: it does not */
	bool is_named;
	uint64_t messages; /* that show a body there; named or not */
};

/* One copy that is held here. */
struct scrubbed {
	struct scrub *scrub;
	uint32_t id;
	char name[64];
	bool is_loaded, is_primary;
	bool wants_now; /* asked for before it was loaded */
	bool rows_are_compared; /* in the pass that is under way */
	uint64_t end; /* of its log, as far as it is known */
	struct scrub_state state;
	struct stain_work work[SCRUB_DAMAGES_MAX];
	struct named_message *messages; /* of all its stains, SCRUB_NAMED_MAX at most */
	unsigned message_count;
	bool is_dirty; /* the file is older than the state */
	uint64_t saved_us, name_us;
	uint64_t short_us; /* since when its log has ended below where a pass stands; or 0 */
	struct metric *unmended, *age; /* NULL until the volume has a name */
};

struct scrub {
	struct loop *loop;
	const struct config *config;
	struct directory *directory;
	struct volumes *volumes;
	struct disk *disk; /* plain calls alone */
	struct timer *timer;
	struct map *copies; /* u64 id -> struct scrubbed */
	atomic_bool stop;
	bool is_working;      /* one thing at a time: on a pool thread or a worker */
	struct scrubbed *at;  /* the copy that is read */
	bool is_paused;
	uint64_t created_us;
	/* pace.c */
	uint64_t looked_us, log_bytes; /* of all logs here, at the last look */
	uint64_t step_us;              /* when the next step may begin */
	bool is_busy, is_slow;         /* the node, as its logs grow; the disk, as it answers */
	struct metric *bytes, *found, *mended;
};

/* ---- scrub.c ---- */

/* For the timer: does what is to be done next, and comes again. */
void scrub_look(void *scrub);
int64_t scrub_now_s(void);
/* Of the volume. */
void scrub_folder_of(const struct scrub *scrub, uint32_t volume_id, char out[512]);
struct walk scrub_walk(const struct scrub *scrub, const struct scrubbed *copy, const char *folder);
/* What was done has ended; what is next follows. */
void scrub_end_work(struct scrub *scrub);

/* ---- copies.c ---- */

/* Those that have come since the last look, and what each volume says now. */
void copies_look(struct scrub *scrub);
/* Which is to be read now; NULL: none. */
struct scrubbed *copies_choose(struct scrub *scrub);
/* What the volume says of it now. */
void scrub_refresh(struct scrubbed *copy);
/* Whether it is to be waited for a log that is short, by when it was seen to be first. */
bool scrub_waits(uint64_t *short_us, bool is_short);

/* ---- pace.c ---- */

/* Once in SCRUB_LOOK_MS at most: how busy the node is. */
void pace_look(struct scrub *scrub);
/* A step has read so much and has taken so long. */
void pace_note(struct scrub *scrub, uint64_t bytes, uint64_t took_us);
/* A pass of it is to begin, if it has not; in seconds of the wall clock. */
bool pace_is_due(const struct scrub *scrub, const struct scrubbed *copy, int64_t now_s);
/* Whether the node has better things to do than to read this one. */
bool pace_must_pause(const struct scrub *scrub, const struct scrubbed *copy);
size_t pace_step_bytes(const struct scrubbed *copy);

/* ---- stains.c ---- */

/* What a step has found. */
void stains_note(struct scrubbed *copy, const struct walk *walk);
/* False: some of it is to be decided before a step goes on. */
bool stains_have_room(const struct scrubbed *copy);
/* Every place that stands is asked for again at once. */
void stains_ask_again(struct scrubbed *copy);
/* After a start: all are asked for again. */
void stains_begin(struct scrubbed *copy);
/* None is undecided. */
bool stains_are_settled(const struct scrubbed *copy);
uint64_t stains_unmended(const struct scrubbed *copy);
/* Looks at one whose time has come; false where there is none. `due_us_out`: when the next is. */
bool stains_work(struct scrubbed *copy, uint64_t *due_us_out);

/* ---- names.c ---- */

/* Begins to ask whose messages are damaged, where that is not known; false where it is. */
bool names_work(struct scrubbed *copy);
/* What was damaged there is not any more. */
void names_drop(struct scrubbed *copy, const struct walk_damage *damage);

/* ---- compare.c ---- */

/* Begins to compare what a step of a primary has passed with its index: then the walk's messages
 * are taken. False where there is nothing to compare. */
bool compare_step(struct scrubbed *copy, struct walk *walk, uint64_t from);
/* The same of all rows, once in a pass. */
bool compare_work(struct scrubbed *copy);

/* ---- report.c ---- */

void report_measure(struct scrub *scrub);

#endif
