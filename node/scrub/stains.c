#include "core/clock.h"
#include "core/log.h"
#include "node/scrub/internal.h"

#include <stdlib.h>

/* Damaged places of one copy: each is looked at again, asked for, and stands or goes. */

enum {
	/* A group that is just being punched, mended or cut looks damaged for a moment. */
	CONFIRM_MS = 250,
	/* Where it cannot be read for now (descriptors or memory are short), or asked for. */
	LATER_MS = 1000,
	/* A volume answers always, and within what it waits for its replicator (MEND_WAIT_MS_MAX)
	 * for each of its copies; this is for one that is being closed. */
	ANSWER_MS_MAX = 30 * 1000,
};

static uint64_t in_ms(uint64_t ms)
{
	return clock_mono_us() + ms * 1000;
}

/* Saved with the next look. */
static void changed(struct scrubbed *copy)
{
	copy->is_dirty = true;
	copy->saved_us = 0;
}

static struct scrub_stain *find(struct scrubbed *copy, uint64_t from)
{
	for (unsigned i = 0; i < copy->state.stain_count; i++)
		if (copy->state.stains[i].at.from == from)
			return &copy->state.stains[i];
	return NULL;
}

static void add(struct scrubbed *copy, const struct walk_damage *damage)
{
	struct scrub_state *state = &copy->state;
	if (find(copy, damage->from) != NULL)
		return;
	if (state->stain_count == SCRUB_DAMAGES_MAX) {
		state->unlisted++;
		return;
	}
	unsigned i = state->stain_count++;
	state->stains[i] = (struct scrub_stain){ .at = *damage, .since_s = scrub_now_s() };
	copy->work[i] = (struct stain_work){ .next_us = in_ms(CONFIRM_MS) };
}

static void drop(struct scrubbed *copy, unsigned i)
{
	struct scrub_state *state = &copy->state;
	size_t behind = --state->stain_count - i;
	names_drop(copy, &state->stains[i].at);
	memmove(&state->stains[i], &state->stains[i + 1], behind * sizeof(state->stains[0]));
	memmove(&copy->work[i], &copy->work[i + 1], behind * sizeof(copy->work[0]));
	changed(copy);
}

void stains_note(struct scrubbed *copy, const struct walk *walk)
{
	for (unsigned i = 0; i < walk->damage_count; i++)
		add(copy, &walk->damages[i]);
}

bool stains_are_settled(const struct scrubbed *copy)
{
	for (unsigned i = 0; i < copy->state.stain_count; i++)
		if (copy->work[i].state != STAIN_STANDS)
			return false;
	return true;
}

bool stains_have_room(const struct scrubbed *copy)
{
	return copy->state.stain_count + WALK_DAMAGES_MAX <= SCRUB_DAMAGES_MAX ||
		stains_are_settled(copy);
}

uint64_t stains_unmended(const struct scrubbed *copy)
{
	uint64_t count = copy->state.unlisted;
	for (unsigned i = 0; i < copy->state.stain_count; i++)
		count += copy->work[i].has_stood;
	return count;
}

static void ask_anew(struct stain_work *work)
{
	work->state = STAIN_ASKED;
	work->asks = 0;
	work->next_us = 0;
}

void stains_ask_again(struct scrubbed *copy)
{
	for (unsigned i = 0; i < copy->state.stain_count; i++)
		if (copy->work[i].state == STAIN_STANDS)
			ask_anew(&copy->work[i]);
}

void stains_begin(struct scrubbed *copy)
{
	for (unsigned i = 0; i < copy->state.stain_count; i++)
		copy->work[i] = (struct stain_work){ .has_stood = copy->state.stains[i].is_told,
			.next_us = in_ms(CONFIRM_MS) };
}

/* ---- asking ---- */

struct ask {
	struct volume_call call;
	struct mend_wait wait;
	struct task task;
	struct scrubbed *copy;
	uint64_t from;
	int status;
};

/* After the first one SCRUB_ASK_MS. */
static uint64_t wait_ms(const struct stain_work *work)
{
	return work->asks > 0 ? (uint64_t)SCRUB_ASK_MS << (work->asks - 1) : 0;
}

static void on_answered(void *arg)
{
	struct ask *ask = arg;
	struct scrubbed *copy = ask->copy;
	const struct scrub_stain *stain = find(copy, ask->from);
	if (stain != NULL) {
		struct stain_work *work = &copy->work[stain - copy->state.stains];
		work->next_us = ask->status == 0 ? 0 : in_ms(wait_ms(work));
		if (!copy->scrub->is_working)
			timer_start(copy->scrub->timer, 0);
	}
	free(ask);
}

static void on_mended(struct mend_wait *wait, int status)
{
	struct ask *ask = container_of(wait, struct ask, wait);
	ask->status = status;
	ask->task = (struct task){ .run = on_answered, .arg = ask };
	loop_post(ask->copy->scrub->loop, &ask->task);
}

static void run_mend(struct volume_call *call, struct volume *volume)
{
	struct ask *ask = container_of(call, struct ask, call);
	volume_mend(volume, ask->from, &ask->wait);
}

static void ask(struct scrubbed *copy, unsigned i)
{
	struct scrub *scrub = copy->scrub;
	uint64_t from = copy->state.stains[i].at.from;
	copy->work[i].asks++;
	copy->work[i].next_us = in_ms(wait_ms(&copy->work[i]));
	if (!copy->is_primary) {
		volumes_mend_replica(scrub->volumes, copy->id, from);
		return;
	}
	struct ask *asked = mem_alloc(sizeof(*asked));
	*asked = (struct ask){ .call.run = run_mend,
		.wait = { .done = on_mended, .is_scrub = true },
		.copy = copy,
		.from = from };
	copy->work[i].next_us = in_ms(ANSWER_MS_MAX);
	if (!volumes_call(scrub->volumes, copy->id, &asked->call))
		free(asked);
}

/* ---- looking ---- */

struct stain_look {
	struct scrubbed *copy;
	unsigned stain;
	struct walk_damage damage;
	uint64_t end;
	char folder[512];
	struct walk walk;
	int status;
};

static void run_look(void *arg)
{
	struct stain_look *look = arg;
	look->status = walk_look_again(&look->walk, &look->damage, look->end);
}

static void say(const struct scrubbed *copy, const char *event, const struct walk_damage *damage)
{
	log_warn(event, "volume=%u lsn=%llu end=%llu fault=%s", copy->id,
		(unsigned long long)damage->from, (unsigned long long)damage->to,
		walk_fault_name(damage->fault));
}

static void on_sound(struct scrubbed *copy, unsigned i, const struct walk_damage *damage)
{
	if (copy->state.stains[i].is_found && damage->to <= copy->end) {
		copy->state.mended++;
		metric_add(copy->scrub->mended, 1);
		say(copy, "scrub_mended", damage);
	}
	drop(copy, i);
}

/* A replicator mends one place of a replica at a time, and hears of no other meanwhile. */
static bool must_wait(const struct scrubbed *copy, unsigned i)
{
	if (copy->is_primary)
		return false;
	for (unsigned k = 0; k < i; k++)
		if (copy->work[k].state == STAIN_ASKED)
			return true;
	return false;
}

static void on_damaged(struct scrubbed *copy, unsigned i)
{
	struct stain_work *work = &copy->work[i];
	if (!copy->state.stains[i].is_found) {
		copy->state.stains[i].is_found = true;
		copy->state.found++;
		metric_add(copy->scrub->found, 1);
		say(copy, "scrub_found", &copy->state.stains[i].at);
		changed(copy);
	}
	if (work->state != STAIN_ASKED) {
		ask_anew(work);
		/* Nobody had it when it was asked for as often as is of use. */
		if (work->has_stood)
			work->asks = SCRUB_ASKS_MAX - 1;
	}
	if (must_wait(copy, i)) {
		work->next_us = in_ms(LATER_MS);
		return;
	}
	if (work->asks < SCRUB_ASKS_MAX) {
		ask(copy, i);
		return;
	}
	work->state = STAIN_STANDS;
	work->has_stood = true;
	work->is_named = false;
	work->next_us = in_ms(SCRUB_AGAIN_MS);
	changed(copy);
}

static void on_looked(void *arg)
{
	struct stain_look *look = arg;
	struct scrubbed *copy = look->copy;
	if (look->status == 0)
		on_sound(copy, look->stain, &look->damage);
	else if (look->status > 0)
		on_damaged(copy, look->stain);
	else
		copy->work[look->stain].next_us = in_ms(LATER_MS);
	free(look);
	scrub_end_work(copy->scrub);
}

/* False where it is looked at later. */
static bool look_at(struct scrubbed *copy, unsigned i)
{
	struct scrub *scrub = copy->scrub;
	scrub_refresh(copy);
	bool is_short = copy->state.stains[i].at.to > copy->end;
	if (copy->end == 0 || scrub_waits(&copy->work[i].short_us, is_short)) {
		copy->work[i].next_us = in_ms(LATER_MS);
		return false;
	}
	struct stain_look *look = mem_alloc(sizeof(*look));
	*look = (struct stain_look){ .copy = copy,
		.stain = i,
		.damage = copy->state.stains[i].at,
		.end = copy->end };
	scrub_folder_of(scrub, copy->id, look->folder);
	look->walk = scrub_walk(scrub, copy, look->folder);
	scrub->is_working = true;
	loop_work(scrub->loop, run_look, on_looked, look);
	return true;
}

bool stains_work(struct scrubbed *copy, uint64_t *due_us_out)
{
	uint64_t now_us = clock_mono_us();
	for (unsigned i = 0; i < copy->state.stain_count; i++) {
		if (copy->work[i].next_us <= now_us && look_at(copy, i))
			return true;
		if (copy->work[i].next_us < *due_us_out)
			*due_us_out = copy->work[i].next_us;
	}
	return false;
}
