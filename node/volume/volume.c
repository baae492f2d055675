#include "node/volume/volume_internal.h"

#include "core/log.h"
#include "core/metric.h"
#include "core/rand.h"

#include <stdlib.h>

static const char *const state_names[] = { "replica", "opening", "primary", "fenced", "held",
	"closed" };

static void on_retry(void *arg);
static void on_checkpoint(void *arg);
static void on_place_timer(void *arg);

/* ---- publication ---- */

/* The epoch that the last bytes here belong to, 0 when that is not known (yet): not the
 * directory's, which says nothing about what this copy has. */
static uint64_t log_epoch(const struct volume *volume)
{
	if (volume->log != NULL) {
		const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
		return last ? last->epoch : 0;
	}
	if (volume->state == VOLUME_OPENING)
		return volume->opening.ready_epoch;
	return volume->reader_end > 0 ? volume->index.applied_epoch : 0;
}

uint64_t volume_durable_end(const struct volume *volume)
{
	return volume->log ? volume_log_end(volume->log) : volume->reader_end;
}

/* For those who compare copies: of a log that is not proven it counts for nothing but against
 * moving to a copy that has less. */
static uint64_t end_to_show(const struct volume *volume)
{
	bool is_asking = volume->state == VOLUME_OPENING && volume->log == NULL;
	return is_asking ? volume->opening.ready_end : volume_durable_end(volume);
}

/* One thread writes: the volume's. */
static void publish_end(struct volume_numbers *numbers, uint64_t lsn, uint64_t chain)
{
	if (atomic_load(&numbers->durable_lsn) == lsn &&
		atomic_load(&numbers->durable_chain) == chain)
		return;
	atomic_fetch_add(&numbers->end_stamp, 1);
	atomic_store(&numbers->durable_lsn, lsn);
	atomic_store(&numbers->durable_chain, chain);
	atomic_fetch_add(&numbers->end_stamp, 1);
}

void volume_numbers_end(
	const struct volume_numbers *numbers, uint64_t *lsn_out, uint64_t *chain_out)
{
	unsigned stamp;
	do {
		stamp = atomic_load(&numbers->end_stamp);
		*lsn_out = atomic_load(&numbers->durable_lsn);
		*chain_out = atomic_load(&numbers->durable_chain);
	} while (stamp % 2 != 0 || atomic_load(&numbers->end_stamp) != stamp);
}

/* Epoch and reign do not change while `writes` is true, and it is false before they do. */
static void publish_reign(struct volume *volume)
{
	struct volume_numbers *numbers = &volume->numbers;
	if (!volume->writes) {
		atomic_store(&numbers->writes, false);
		return;
	}
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	uint64_t halves[2];
	memcpy(halves, last->reign, sizeof(halves));
	if (!atomic_load(&numbers->writes)) {
		atomic_store(&numbers->reign[0], halves[0]);
		atomic_store(&numbers->reign[1], halves[1]);
		atomic_store(&numbers->incarnation, last->incarnation);
		atomic_store(&numbers->epoch, last->epoch);
		publish_end(numbers, volume_log_end(volume->log), volume_log_chain(volume->log));
		atomic_store(&numbers->writes, true);
	}
}

static void publish_index(struct volume *volume)
{
	atomic_store(&volume->numbers.is_index_usable,
		volume->index.store != NULL && !volume->index.is_broken);
}

static void publish_answered(struct volume *volume)
{
	struct volume_numbers *numbers = &volume->numbers;
	bool has_failed = volume_has_failed(volume);
	if (has_failed) {
		atomic_store(&numbers->answered_epoch, volume_answered_epoch(volume));
		atomic_store(&numbers->answered_lsn, volume->answered_end);
	}
	atomic_store(&numbers->has_failed, has_failed);
}

void volume_publish(struct volume *volume)
{
	struct volume_numbers *numbers = &volume->numbers;
	uint64_t durable = end_to_show(volume), epoch = log_epoch(volume);
	/* Others read the rest when they want to; these the replicator waits for, of a writer. */
	bool changed = !volume->is_published ||
		atomic_load(&numbers->state) != (int)volume->state ||
		atomic_load(&numbers->epoch) != epoch ||
		atomic_load(&numbers->writes) != volume->writes ||
		(volume->state != VOLUME_REPLICA && atomic_load(&numbers->durable_lsn) != durable);
	publish_reign(volume);
	atomic_store(&numbers->state, volume->state);
	atomic_store(&numbers->waits_for, volume_waits_for(volume));
	atomic_store(&numbers->seen, volume->highest_epoch);
	publish_index(volume);
	atomic_store(&numbers->is_proven, volume_is_proven_end(volume));
	atomic_store(&numbers->epoch, epoch);
	publish_end(numbers, durable, volume->log ? volume_log_chain(volume->log) : 0);
	if (volume->log != NULL)
		atomic_store(&numbers->whole_from, volume_log_whole_from(volume->log));
	publish_answered(volume);
	atomic_store(&numbers->applied_lsn, volume->index.applied_lsn);
	atomic_store(&numbers->messages, volume->index.message_count);
	atomic_store(&numbers->live_bytes, volume->index.bodies.live_bytes);
	atomic_store(&numbers->dead_bytes, volume->index.bodies.dead_bytes);
	atomic_store(&numbers->kept_bytes, volume->index.bodies.kept_bytes);
	atomic_store(&numbers->free_bytes, volume->index.bodies.free_bytes);
	if (atomic_load(&numbers->highest_mailbox_id) < volume->index.highest_mailbox_id)
		atomic_store(&numbers->highest_mailbox_id, volume->index.highest_mailbox_id);
	atomic_store(&numbers->at_risk, volume->at_risk_total);
	if (atomic_load(&numbers->highest_uidnext) < volume->index.highest_uidnext)
		atomic_store(&numbers->highest_uidnext, volume->index.highest_uidnext);
	if (atomic_load(&numbers->uid_slacks) < volume->uid_slacks)
		atomic_store(&numbers->uid_slacks, volume->uid_slacks);
	atomic_store(&numbers->lag_ms, volume_lag_ms(volume));
	volume->is_published = true;
	if (changed)
		volume->options.events.changed(volume->options.events.arg, volume);
}

void volume_enter(struct volume *volume, enum volume_state state)
{
	static const bool allowed[][6] = {
		[VOLUME_REPLICA] = { true, true, false, true, true, true },
		[VOLUME_OPENING] = { true, true, true, true, false, true },
		[VOLUME_PRIMARY] = { false, false, true, true, false, false },
		[VOLUME_FENCED] = { true, true, false, true, false, true },
		[VOLUME_HELD] = { true, true, false, false, true, true },
		[VOLUME_CLOSED] = { false, false, false, false, false, true },
	};
	CHECK(allowed[volume->state][state]);
	if (volume->state != state)
		log_info("volume_state", "volume=%u from=%s to=%s epoch=%llu end=%llu",
			volume->options.id, state_names[volume->state], state_names[state],
			(unsigned long long)volume->desired.epoch,
			(unsigned long long)volume_durable_end(volume));
	if (volume->state != state)
		volume_forget_space(volume);
	volume->state = state;
	if (state == VOLUME_PRIMARY) {
		volume->retry_ms = 0;
		volume->was_served = true;
		volume_remember(volume);
		if (volume_log_passed_over(volume->log) != UINT64_MAX)
			volume_mend(volume, volume_log_passed_over(volume->log), NULL);
	}
	if (state == VOLUME_PRIMARY || state == VOLUME_REPLICA)
		volume_answer_unseen(volume);
	volume_publish(volume);
}

struct volume *volume_create(const struct volume_options *options)
{
	struct volume *volume = mem_alloc(sizeof(*volume));
	struct error error;
	volume->options = *options;
	volume->options.log_directory = str_to_heap(str_from(options->log_directory));
	volume->options.index_path = str_to_heap(str_from(options->index_path));
	int result = options->witness_path ? witness_open(options->witness_path, &volume->witness)
					   : 0;
	if (result < 0)
		log_warn("witness_unusable",
			"volume=%u path=%s reason=%s effect=\"every start asks the other copies\"",
			options->id, options->witness_path, log_quote(str_from(strerror(-result))));
	volume->options.witness_path = NULL;
	volume->state = VOLUME_REPLICA;
	/* No answer to a process before this one, and none that was given to it, is taken for one
	 * of ours. Half of the numbers are enough for ever. */
	volume->question = rand_u64() >> 1;
	list_init(&volume->waits);
	list_init(&volume->pending);
	list_init(&volume->unseen);
	list_init(&volume->end_waits);
	volume->pending_deliveries = map_create();
	volume->lag_samples = mem_alloc(LAG_SAMPLES_MAX * sizeof(*volume->lag_samples));
	volume->lag_seconds = metric_histogram("pando_replication_lag_seconds", "",
		"From durable here to acknowledged by a replica at another site");
	volume->wait_timer = timer_new(options->loop, volume_on_wait_timer, volume);
	volume->checkpoint_timer = timer_new(options->loop, on_checkpoint, volume);
	if (volume->options.checkpoint_ms == 0)
		volume->options.checkpoint_ms = CHECKPOINT_MS;
	volume->retry_timer = timer_new(options->loop, on_retry, volume);
	volume->apply_timer = timer_new(options->loop, volume_on_apply_timer, volume);
	volume->place_timer = timer_new(options->loop, on_place_timer, volume);
	volume_begin_mending(volume);
	index_init(&volume->index, volume, options->id, volume->options.index_path);
	volume->index.on_broken = volume_on_index_broken;
	if (index_open(&volume->index, &error) < 0)
		log_error("index_unusable", "volume=%u reason=%s", options->id,
			log_quote(str_from(error.text)));
	/* Who asks before it is told what to be hears nothing wrong. */
	publish_index(volume);
	timer_start(volume->checkpoint_timer, volume->options.checkpoint_ms);
	timer_start(volume->place_timer, LOG_LOOK_MS);
	return volume;
}

void volume_destroy(struct volume **volume_pointer)
{
	struct volume *volume = *volume_pointer;
	if (volume == NULL)
		return;
	if (volume->index.store != NULL && !volume->index.is_broken &&
		index_is_dirty(&volume->index) && index_checkpoint(&volume->index) < 0)
		log_warn("checkpoint_failed", "volume=%u", volume->options.id);
	if (volume->broken_is_posted)
		loop_cancel_deferred(volume->options.loop, &volume->broken_task);
	timer_destroy(&volume->wait_timer);
	timer_destroy(&volume->checkpoint_timer);
	timer_destroy(&volume->retry_timer);
	timer_destroy(&volume->apply_timer);
	timer_destroy(&volume->place_timer);
	volume_end_listing(volume);
	volume_forget_space(volume);
	free(volume->keeping.domains);
	log_reader_close(&volume->reader);
	volume_close_log(volume);
	volume_end_mending(volume);
	witness_close(&volume->witness);
	index_deinit(&volume->index);
	map_destroy(&volume->pending_deliveries);
	free(volume->lag_samples);
	free(volume->at_risk);
	free((char *)(uintptr_t)volume->options.log_directory);
	free((char *)(uintptr_t)volume->options.index_path);
	free(volume);
	*volume_pointer = NULL;
}

static void on_place_timer(void *arg)
{
	struct volume *volume = arg;
	timer_start(volume->place_timer, LOG_LOOK_MS);
	if (volume->log == NULL || volume_has_failed(volume) || volume_log_look(volume->log))
		return;
	if (volume->log != NULL)
		volume_on_failed_disk(volume);
	volume_publish(volume);
}

static void on_checkpoint(void *arg)
{
	struct volume *volume = arg;
	timer_start(volume->checkpoint_timer, volume->options.checkpoint_ms);
	if (volume->index.store == NULL || volume->index.is_broken)
		return;
	int result = index_is_dirty(&volume->index) ? index_checkpoint(&volume->index) : 0;
	if (result < 0)
		log_warn("checkpoint_failed", "volume=%u reason=%s", volume->options.id,
			log_quote(str_from(strerror(-result))));
	else
		volume_look_at_space(volume);
}

/* ---- the directory's word ---- */

bool volume_is_deposed(const struct volume *volume)
{
	return !volume->desired.primary || volume->desired.epoch < volume->highest_epoch;
}

bool volume_has_failed(const struct volume *volume)
{
	return volume->log != NULL && volume_log_is_fenced(volume->log);
}

uint64_t volume_answered_epoch(const struct volume *volume)
{
	return epochs_epoch_below(volume_log_epochs(volume->log), volume->answered_end);
}

bool volume_is_in_doubt(const struct volume *volume)
{
	return volume_is_deposed(volume) || volume->is_behind || volume_has_failed(volume);
}

bool volume_may_be_primary(const struct volume *volume)
{
	return !volume_is_deposed(volume) && !volume_has_failed(volume);
}

bool volume_has_new_reign(const struct volume *volume)
{
	return volume->has_desired && volume_may_be_primary(volume) &&
		volume->desired.epoch > volume->reign_epoch;
}

/* One that is to be filled anew has nothing of what its node had before. */
static bool is_same_copy(const struct volume_replica *before, const struct volume_replica *now)
{
	return before->node_id == now->node_id && (before->copy == now->copy || !now->is_seeding);
}

/* True where one that counted has gone, or counts no more. */
static bool take_replicas(struct volume *volume, const struct volume_desired *desired)
{
	unsigned counted_before = 0, still_counted = 0;
	struct volume_replica before[VOLUME_COPIES_MAX];
	unsigned count_before = volume->replica_count;
	memcpy(before, volume->replicas, sizeof(before));
	for (unsigned k = 0; k < count_before; k++)
		counted_before += before[k].counted;
	volume->replica_count = desired->replica_count;
	for (unsigned i = 0; i < desired->replica_count; i++) {
		struct volume_replica *replica = &volume->replicas[i];
		*replica = desired->replicas[i];
		for (unsigned k = 0; k < count_before; k++)
			if (is_same_copy(&before[k], replica)) {
				still_counted += before[k].counted && desired->replicas[i].counted;
				*replica = before[k];
				replica->copy = desired->replicas[i].copy;
				replica->counted = desired->replicas[i].counted;
				replica->is_seeding = desired->replicas[i].is_seeding;
				replica->slot = desired->replicas[i].slot;
			}
	}
	return still_counted < counted_before;
}

void volume_set_desired(struct volume *volume, const struct volume_desired *desired)
{
	volume->row_epoch = desired->epoch;
	memcpy(volume->row_reign, desired->reign, sizeof(volume->row_reign));
	volume_take_desired(volume, desired);
}

/* The same word again changes nothing. */
static bool goes_on_passing_over(const struct volume *volume)
{
	return volume->state == VOLUME_OPENING && volume->passes_over &&
		volume_is_unexplained(volume) && volume->desired.epoch == volume->reign_epoch;
}

/* This process stood still for nobody, and asked for nothing. */
static void tell_claimed(const struct volume *volume, const struct volume_desired *desired)
{
	if (volume->state == VOLUME_PRIMARY && desired->primary &&
		desired->epoch > volume->desired.epoch)
		log_error("claimed_by_another",
			"volume=%u mine=%llu epoch=%llu hint=\"does another process have this "
			"node's name?\"",
			volume->options.id, (unsigned long long)volume->desired.epoch,
			(unsigned long long)desired->epoch);
}

/* A row of an epoch before: a stale copy of the directory, or one that was put back. Whoever serves
 * in the epoch that it has lost tells it so. Where this is not that one, and is the one that it
 * names, nobody may: then the later epoch is one that has been heard, to be explained. */
static bool is_to_be_believed(const struct volume *volume, const struct volume_desired *desired)
{
	return !volume->has_desired || desired->epoch >= volume->desired.epoch ||
		(desired->is_live && desired->primary && volume->state == VOLUME_REPLICA);
}

void volume_take_desired(struct volume *volume, const struct volume_desired *desired)
{
	if (!is_to_be_believed(volume, desired))
		return;
	tell_claimed(volume, desired);
	bool is_freed_further = desired->freed_lsn != volume->desired.freed_lsn;
	volume->desired = *desired;
	volume->has_desired = true;
	if (desired->uid_slacks > volume->uid_slacks)
		volume->uid_slacks = desired->uid_slacks;
	bool has_lost_copy = take_replicas(volume, desired);
	if (desired->epoch > volume->highest_epoch)
		volume->highest_epoch = desired->epoch;
	if (volume->state == VOLUME_FENCED)
		volume_finish_fence(volume);
	else if (volume->state == VOLUME_HELD)
		volume_finish_hold(volume);
	else if (volume->state == VOLUME_REPLICA && volume_may_be_primary(volume))
		volume_begin_opening(volume);
	else if (volume->state != VOLUME_REPLICA && !goes_on_passing_over(volume) &&
		(!volume_may_be_primary(volume) || volume_has_new_reign(volume)))
		volume_fence(volume, false, NULL);
	volume_await_explanation(volume);
	/* Without any other copy it is the volume that is at risk. */
	has_lost_copy &= volume->writes && volume->replica_count > 0;
	if (has_lost_copy && volume_left_end(volume) < volume->index.acked_lsn)
		volume_list_anew(volume, volume_left_end(volume));
	volume_recount(volume);
	/* What it was asked for is written: room may come back now. */
	if (is_freed_further)
		volume_look_at_space(volume);
	volume_publish(volume);
}

/* ---- between the states ---- */

static void on_retry(void *arg)
{
	struct volume *volume = arg;
	if (volume->state == VOLUME_OPENING)
		volume_poll_opening(volume);
	else if (volume->state == VOLUME_FENCED)
		volume_poll_fence(volume);
	else if (volume->state == VOLUME_HELD)
		volume_poll_hold(volume);
	else if (volume->state == VOLUME_REPLICA && volume->has_desired &&
		volume_may_be_primary(volume))
		volume_begin_opening(volume);
	else if (volume->state == VOLUME_REPLICA && volume_is_unexplained(volume))
		volume_poll_unexplained(volume);
}

void volume_ask_release(struct volume *volume, uint64_t prove_epoch)
{
	volume->is_releasing = true;
	volume->question++;
	volume->options.events.release(volume->options.events.arg, volume, prove_epoch);
}

void volume_released(struct volume *volume, const struct volume_release *release)
{
	struct volume_opening *opening = &volume->opening;
	if (!volume->is_releasing || release->question != volume->question)
		return;
	volume->is_releasing = false;
	if (release->opening > 0) {
		opening->is_proven = opening->is_ready = true;
		opening->number = release->opening;
		opening->end = opening->ready_end = release->end;
		opening->chain = release->chain;
	}
	if (volume->state == VOLUME_OPENING && volume->passes_over && release->opening > 0)
		volume_pass_over(volume);
	else if (volume->state == VOLUME_OPENING && !volume->passes_over)
		volume_try_open(volume);
	else if (volume->state == VOLUME_HELD)
		volume_poll_hold(volume);
	else if (volume->state == VOLUME_FENCED)
		volume_poll_fence(volume);
}

void volume_close(struct volume *volume)
{
	CHECK(volume->log == NULL);
	volume_enter(volume, VOLUME_CLOSED);
}

struct loop *volume_loop(const struct volume *volume)
{
	return volume->options.loop;
}

uint32_t volume_id(const struct volume *volume)
{
	return volume->options.id;
}
