#include "core/clock.h"
#include "core/log.h"
#include "node/scrub/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What is done next: one thing at a time, each when the one before has ended. */

int64_t scrub_now_s(void)
{
	return clock_wall_us() / 1000000;
}

void scrub_folder_of(const struct scrub *scrub, uint32_t volume_id, char out[512])
{
	snprintf(out, 512, "%s/volumes/%u", scrub->config->data_dir, volume_id);
}

struct walk scrub_walk(const struct scrub *scrub, const struct scrubbed *copy, const char *folder)
{
	const struct scrub_state *state = &copy->state;
	return (struct walk){ .disk = scrub->disk,
		.directory = folder,
		.volume = copy->id,
		.stop = &scrub->stop,
		.lsn = state->lsn,
		.last = state->last,
		.chain = state->chain,
		.follows = state->follows };
}

/* ---- on a pool thread ---- */

struct job {
	struct scrub *scrub;
	struct scrubbed *copy;
	char folder[512];
	struct walk walk;
	uint64_t from, target, end, took_us;
	struct scrub_state state; /* that is read, or written; the stains are its own */
	int status;
};

static struct job *job_begin(struct scrub *scrub, struct scrubbed *copy)
{
	struct job *job = mem_alloc(sizeof(*job));
	*job = (struct job){ .scrub = scrub, .copy = copy };
	scrub_folder_of(scrub, copy->id, job->folder);
	scrub->is_working = true;
	return job;
}

static void job_end(struct job *job)
{
	struct scrub *scrub = job->scrub;
	free(job);
	scrub_end_work(scrub);
}

void scrub_end_work(struct scrub *scrub)
{
	scrub->is_working = false;
	timer_start(scrub->timer, 0);
}

static void begin_pass(struct scrubbed *copy)
{
	struct scrub_state *state = &copy->state;
	state->began_s = scrub_now_s();
	state->lsn = state->last = state->chain = state->end = 0;
	state->follows = true; /* as walk_rewind */
	state->unlisted = state->disagreeing = 0;
	copy->rows_are_compared = false;
	copy->is_dirty = true;
	copy->saved_us = 0;
	log_info("scrub_begins", "volume=%u end=%llu speed=%s", copy->id,
		(unsigned long long)copy->end, state->is_now ? "full" : "background");
}

/* By the operator's word; one that was begun so goes on. */
static void begin_now(struct scrubbed *copy)
{
	copy->wants_now = !copy->is_loaded;
	if (!copy->is_loaded || copy->state.is_now)
		return;
	copy->state.is_now = true;
	begin_pass(copy);
	stains_ask_again(copy);
	if (copy->scrub->at == copy)
		copy->scrub->at = NULL; /* what is on its way is of the pass before */
}

/* ---- the file ---- */

static void run_load(void *arg)
{
	struct job *job = arg;
	job->status = scrub_state_read(job->scrub->disk, job->folder, &job->state);
}

static void on_loaded(void *arg)
{
	struct job *job = arg;
	struct scrubbed *copy = job->copy;
	if (job->status < 0)
		log_warn("scrub_begins_anew", "volume=%u reason=%s", copy->id,
			log_quote(str_from(strerror(-job->status))));
	copy->state = job->state;
	if (copy->state.stains == NULL)
		copy->state.stains =
			mem_alloc(SCRUB_DAMAGES_MAX * sizeof(*copy->state.stains));
	if (copy->state.since_s == 0) {
		copy->state.since_s = scrub_now_s();
		copy->is_dirty = true;
	}
	copy->is_loaded = true;
	stains_begin(copy);
	if (copy->wants_now)
		begin_now(copy);
	job_end(job);
}

static void run_save(void *arg)
{
	struct job *job = arg;
	job->status = scrub_state_write(job->scrub->disk, job->folder, &job->state);
}

static void on_saved(void *arg)
{
	struct job *job = arg;
	if (job->status < 0) {
		/* Nothing relies on it: the disk says elsewhere what is wrong with it. */
		log_debug("scrub_not_saved", "volume=%u reason=%s", job->copy->id,
			log_quote(str_from(strerror(-job->status))));
		job->copy->is_dirty = true;
	}
	scrub_state_deinit(&job->state);
	job_end(job);
}

static void save(struct scrubbed *copy)
{
	struct job *job = job_begin(copy->scrub, copy);
	size_t length = copy->state.stain_count * sizeof(*copy->state.stains);
	job->state = copy->state;
	job->state.stains = mem_alloc(length + 1);
	memcpy(job->state.stains, copy->state.stains, length);
	copy->is_dirty = false;
	copy->saved_us = clock_mono_us();
	loop_work(copy->scrub->loop, run_save, on_saved, job);
}

/* ---- a pass ---- */

static void end_pass(struct scrubbed *copy)
{
	struct scrub_state *state = &copy->state;
	state->last_began_s = state->began_s;
	state->last_ended_s = scrub_now_s();
	state->began_s = 0;
	state->is_now = false;
	copy->is_dirty = true;
	copy->saved_us = 0;
	copy->scrub->at = NULL;
	log_info("scrub_ended",
		"volume=%u bytes=%llu seconds=%lld found=%llu mended=%llu unmended=%llu", copy->id,
		(unsigned long long)state->lsn,
		(long long)(state->last_ended_s - state->last_began_s),
		(unsigned long long)state->found, (unsigned long long)state->mended,
		(unsigned long long)stains_unmended(copy));
}

static void run_step(void *arg)
{
	struct job *job = arg;
	uint64_t began_us = clock_mono_us();
	job->status = walk_step(&job->walk, job->target, job->end);
	job->took_us = clock_mono_us() - began_us;
}

static void step_end(struct job *job)
{
	free(job->walk.messages);
	job_end(job);
}

static void on_step(void *arg)
{
	struct job *job = arg;
	struct scrub *scrub = job->scrub;
	struct scrubbed *copy = job->copy;
	struct scrub_state *state = &copy->state;
	metric_add(scrub->bytes, (int64_t)job->walk.bytes);
	if (scrub->at != copy) {
		/* It was begun anew meanwhile, or is held here no more. */
		step_end(job);
		return;
	}
	state->lsn = job->walk.lsn;
	state->last = job->walk.last;
	state->chain = job->walk.chain;
	state->follows = job->walk.follows;
	copy->is_dirty = true;
	stains_note(copy, &job->walk);
	pace_note(scrub, job->walk.bytes, job->took_us);
	if (job->status < 0) {
		log_warn("scrub_cannot_read", "volume=%u lsn=%llu reason=%s", copy->id,
			(unsigned long long)state->lsn,
			log_quote(str_from(strerror(-job->status))));
		scrub->step_us = clock_mono_us() + SCRUB_LOOK_MS * 1000u;
	}
	if (job->status == 0 && compare_step(copy, &job->walk, job->from))
		free(job); /* who compares ends it */
	else
		step_end(job);
}

/* False where it has to wait: until `due_us_out`, if that is earlier. */
static bool step(struct scrubbed *copy, uint64_t *due_us_out)
{
	struct scrub *scrub = copy->scrub;
	struct scrub_state *state = &copy->state;
	scrub_refresh(copy);
	if (copy->end == 0)
		return false; /* its log is just moving from one writer to another */
	bool is_short = state->end > copy->end;
	if (scrub_waits(&copy->short_us, is_short))
		return false;
	if (is_short)
		begin_pass(copy);
	/* What comes meanwhile is for the next one: a log may grow faster than it is read. */
	if (state->end == 0)
		state->end = copy->end;
	if (state->lsn >= state->end) {
		if (!stains_are_settled(copy))
			return false;
		if (compare_work(copy))
			return true;
		end_pass(copy);
		*due_us_out = 0;
		return false;
	}
	scrub->is_paused = pace_must_pause(scrub, copy);
	if (scrub->is_paused || !stains_have_room(copy))
		return false;
	if (clock_mono_us() < scrub->step_us) {
		if (scrub->step_us < *due_us_out)
			*due_us_out = scrub->step_us;
		return false;
	}
	struct job *job = job_begin(scrub, copy);
	job->walk = scrub_walk(scrub, copy, job->folder);
	job->from = state->lsn;
	job->end = state->end;
	job->target = state->lsn + pace_step_bytes(copy);
	if (copy->is_primary)
		job->walk.messages =
			mem_alloc(WALK_MESSAGES_MAX * sizeof(*job->walk.messages));
	loop_work(scrub->loop, run_step, on_step, job);
	return true;
}

/* ---- what is next ---- */

/* What has to be done for this one beside reading it. */
static bool attend(struct scrubbed *copy, uint64_t *due_us)
{
	struct scrub *scrub = copy->scrub;
	uint64_t now_us = clock_mono_us();
	if (!copy->is_loaded) {
		loop_work(scrub->loop, run_load, on_loaded, job_begin(scrub, copy));
		return true;
	}
	if (copy->is_dirty && now_us - copy->saved_us > SCRUB_SAVE_MS * 1000u) {
		save(copy);
		return true;
	}
	return stains_work(copy, due_us) || names_work(copy);
}

static bool do_something(struct scrub *scrub, uint64_t *due_us)
{
	void *value;
	for (size_t i = 0; map_next(scrub->copies, &i, NULL, &value);) {
		struct scrubbed *copy = value;
		if (copy->end > 0 && attend(copy, due_us))
			return true;
	}
	scrub->at = copies_choose(scrub);
	scrub->is_paused = false;
	if (scrub->at == NULL)
		return false;
	if (scrub->at->state.began_s == 0)
		begin_pass(scrub->at);
	return step(scrub->at, due_us);
}

void scrub_look(void *arg)
{
	struct scrub *scrub = arg;
	uint64_t now_us = clock_mono_us(), due_us = now_us + SCRUB_LOOK_MS * 1000u;
	/* Who ends work comes back here. */
	if (scrub->is_working || atomic_load(&scrub->stop))
		return;
	if (now_us - scrub->looked_us >= SCRUB_LOOK_MS * 1000u) {
		copies_look(scrub);
		pace_look(scrub);
		report_measure(scrub);
	}
	if (do_something(scrub, &due_us))
		return;
	now_us = clock_mono_us();
	timer_start(scrub->timer, due_us > now_us ? (due_us - now_us) / 1000 + 1 : 1);
}

int scrub_create(struct loop *loop, const struct config *config, struct directory *directory,
	struct volumes *volumes, struct scrub **scrub_out, struct error *error)
{
	struct scrub *scrub = mem_alloc(sizeof(*scrub));
	*scrub = (struct scrub){ .loop = loop,
		.config = config,
		.directory = directory,
		.volumes = volumes,
		.created_us = clock_mono_us(),
		.copies = map_create() };
	*scrub_out = scrub;
	int result = disk_create(loop, IO_BACKEND_POSIX, &scrub->disk, error);
	if (result < 0)
		return result;
	scrub->bytes = metric_counter(
		"pando_scrub_bytes_total", "", "Of logs, read to find what has rotted");
	scrub->found = metric_counter(
		"pando_scrub_found_total", "", "Damaged places of logs that a scrub has found");
	scrub->mended = metric_counter("pando_scrub_mended_total", "",
		"Damaged places that a scrub has found and another copy has mended");
	scrub->timer = timer_new(loop, scrub_look, scrub);
	timer_start(scrub->timer, SCRUB_LOOK_MS);
	return 0;
}

void scrub_stop(struct scrub *scrub)
{
	atomic_store(&scrub->stop, true);
}

int scrub_now(struct scrub *scrub, struct str list)
{
	struct str part;
	int count = 0;
	copies_look(scrub);
	for (struct str rest = list; str_next(&rest, ',', &part);) {
		uint64_t id;
		if (!str_to_u64(part, UINT32_MAX, &id))
			return -EINVAL;
		struct scrubbed *copy = map_get(scrub->copies, map_key_u64(&id));
		if (copy == NULL || copy->end == 0)
			continue;
		count++;
		begin_now(copy);
	}
	scrub->step_us = 0;
	if (!scrub->is_working)
		timer_start(scrub->timer, 0);
	return count;
}
