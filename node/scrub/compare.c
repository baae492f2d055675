#include "core/clock.h"
#include "core/log.h"
#include "node/scrub/internal.h"
#include "node/scrub/rows.h"

#include <errno.h>
#include <stdlib.h>

/*
 * The index of a primary beside its log: after each step what that has passed, and at the end of a
 * pass the rows of all messages. An index that does not agree is thrown away and made anew from the
 * log, unless that is where it comes from: then it is said, and a person has to look.
 */

enum {
	/* At a time: a worker has sessions that wait. */
	TURN_US = 3000,
};

struct comparing {
	struct volume_call call;
	struct task task;
	struct scrubbed *copy;
	struct walk walk; /* its messages are owned */
	uint64_t from;
	bool is_of_rows, is_over;
	struct rows rows;
	struct rows_faults faults;
	int status;
	bool is_from_log; /* the index: another replay would say the same */
};

/* ---- on the worker ---- */

static void on_turn(void *arg);

static void look(struct comparing *comparing, struct index *index)
{
	uint64_t end_us = clock_mono_us() + TURN_US;
	comparing->is_over = true;
	if (!comparing->is_of_rows) {
		comparing->status = rows_compare_bodies(
			index, &comparing->walk, comparing->from, &comparing->faults);
		return;
	}
	do
		comparing->status = rows_compare_next(&comparing->rows, index, &comparing->faults);
	while (comparing->status > 0 && clock_mono_us() < end_us);
	comparing->is_over = comparing->status <= 0;
}

static void run_turn(struct volume_call *call, struct volume *volume)
{
	struct comparing *comparing = container_of(call, struct comparing, call);
	struct index *index = &volume->index;
	comparing->is_from_log = index->is_from_log;
	if (volume->state != VOLUME_PRIMARY || index->is_broken)
		comparing->status = -EAGAIN;
	else
		look(comparing, index);
	comparing->is_over |= comparing->status < 0;
	/* Ranges of bodies that nothing has touched: a pass would load them all. */
	if (list_is_empty(&index->bodies.dirty))
		bodies_trim(&index->bodies);
	if (comparing->is_over && comparing->status >= 0 && comparing->faults.count > 0 &&
		!index->is_from_log)
		index_break(index, "it disagrees with the log that a scrub has read");
	comparing->task = (struct task){ .run = on_turn, .arg = comparing };
	loop_post(comparing->copy->scrub->loop, &comparing->task);
}

/* ---- on the front thread ---- */

static void comparing_end(struct comparing *comparing)
{
	struct scrub *scrub = comparing->copy->scrub;
	rows_deinit(&comparing->rows);
	free(comparing->walk.messages);
	free(comparing);
	scrub_end_work(scrub);
}

static void turn(struct comparing *comparing)
{
	comparing->call = (struct volume_call){ .run = run_turn };
	if (!volumes_call(comparing->copy->scrub->volumes, comparing->copy->id, &comparing->call))
		comparing_end(comparing);
}

static void on_turn(void *arg)
{
	struct comparing *comparing = arg;
	struct scrubbed *copy = comparing->copy;
	const struct rows_faults *faults = &comparing->faults;
	if (!comparing->is_over) {
		turn(comparing);
		return;
	}
	if (comparing->status >= 0 && faults->count > 0) {
		log_error("index_disagrees", "volume=%u lsn=%llu rows=%llu action=%s", copy->id,
			(unsigned long long)faults->first_lsn, (unsigned long long)faults->count,
			comparing->is_from_log ? "none" : "rebuild");
		copy->state.disagreeing += faults->count;
		copy->is_dirty = true;
	}
	comparing_end(comparing);
}

static void begin(struct scrubbed *copy, const struct walk *walk, uint64_t from)
{
	struct comparing *comparing = mem_alloc(sizeof(*comparing));
	*comparing = (struct comparing){ .copy = copy, .from = from, .is_of_rows = walk == NULL };
	if (walk != NULL)
		comparing->walk = *walk;
	copy->scrub->is_working = true;
	turn(comparing);
}

bool compare_step(struct scrubbed *copy, struct walk *walk, uint64_t from)
{
	bool is_wanted = copy->is_primary && walk->damage_count == 0 && walk->messages != NULL;
	if (is_wanted) {
		begin(copy, walk, from);
		walk->messages = NULL;
	}
	return is_wanted;
}

bool compare_work(struct scrubbed *copy)
{
	if (!copy->is_primary || copy->rows_are_compared)
		return false;
	copy->rows_are_compared = true;
	begin(copy, NULL, 0);
	return true;
}
