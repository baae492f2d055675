#ifndef PANDO_NODE_SALVAGE_INTERNAL_H
#define PANDO_NODE_SALVAGE_INTERNAL_H

/* Between look.c (which tails there are, what `pando` asks and sets) and work.c (bringing one
 * home). */

#include "core/disk.h"
#include "core/metric.h"
#include "core/timer.h"
#include "core/tls.h"
#include "node/salvage/work.h"

/* A tail, and what its report says. */
struct found {
	uint32_t volume_id;
	struct tail_name name;
	struct salvage_report report;
	/* The disk does not give it now: what has become of the tail is not known, and nothing is
	 * done about it. */
	bool is_unread;
	/* One that was done long ago is gone when a look for work has passed: how that went. */
	bool is_old;
	int removed;
};

struct salvage {
	struct loop *loop;
	const struct config *config;
	struct directory *directory;
	struct volumes *volumes;
	struct disk *disk; /* plain calls alone */
	struct tls_context *tls;
	struct timer *look_timer, *behind_timer;
	struct metric *open;
	atomic_bool stop;
	struct work *work; /* NULL: none */
	/* By the operator's word: under way, and ended so far. */
	unsigned settings;
	uint64_t settings_ended;
	/* As the last look found: open tails, and how long the oldest is. */
	int64_t open_count, waits_s;
	bool removing_failed; /* and was said */
	unsigned router;      /* the next of the site's */
};

int64_t salvage_now_s(void);
/* Of the volume. */
void salvage_folder_of(const struct salvage *salvage, uint32_t volume_id, char out[512]);

/* ---- look.c ---- */

/* For the timer: begins the tail that is to be worked off next, and looks again later. */
void salvage_look(void *salvage);

/* ---- work.c ---- */

/* salvage->work until it has ended. */
void work_begin(struct salvage *salvage, const struct found *found);
bool work_is_on(const struct salvage *salvage, const struct found *found);
/* When the copy that was behind may have come up. */
void work_look_again(void *salvage);

#endif
