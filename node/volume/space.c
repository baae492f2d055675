#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "spool/log_punch.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Room that comes back. What no message shows any more is dead (node/index/bodies.h). The primary
 * says in the log what of that is free: when every copy, wherever it is, has the log up to where it
 * was dead, so that no promotion can bring its message back; and not before a while, as somebody
 * may be reading it. Each copy then gives the room back by itself: at the primary through its log,
 * elsewhere through the replicator, which holds that. Nothing needs it any more, not a replay
 * either: bodies are no part of that. What is punched leaves the table, which is no matter of the
 * log: whoever dies in between punches it again.
 *
 * What some mailbox may recover stays until its time is over (keeping.c).
 *
 * A copy that is away keeps what died since from coming back, up to `retained_bytes_max`. What is
 * above that is given back without it, after the directory was told up to where: a copy whose log
 * ends before that place is stale. No failover chooses it, nor does a primary open with what it
 * has: its log shows messages whose bodies are nowhere any more. It is followed as ever when it is
 * back, over the holes, and where it has come past that place, nothing is left to be undone.
 */

enum {
	/* Of one look: half a megabyte of memory, and what a busy volume sees expunged between two
	 * looks. */
	DEAD_MAX = 1 << 16,
	/* A replicator that was asked and has restarted does not answer. */
	PUNCH_ANSWER_MS = 60000,
	/* So often a list that waits is made anew, as more has died since. */
	LIST_MS = 600000,
};

/* Below it a record in the log, and the flushes of a punch, cost more than they bring: 1 MiB. */
static uint64_t free_bytes_min(void)
{
	return segment_length / 64;
}

void volume_forget_space(struct volume *volume)
{
	struct volume_space *space = &volume->space;
	free(space->dead);
	free(space->punched);
	space->dead = NULL;
	space->punched = NULL;
	space->dead_count = space->punched_count = 0;
	space->asked_us = 0;
	for (unsigned i = 0; i < volume->replica_count; i++)
		volume->replicas[i].lacks_since_us = 0;
	atomic_store(&volume->numbers.freed_lsn, 0); /* it was of the epoch that ends */
	volume_forget_kept(volume);
}

/* ---- giving it back ---- */

static void give_back(struct volume *volume);

void volume_punched(struct volume *volume, uint64_t number, int status)
{
	struct volume_space *space = &volume->space;
	if (number != space->number || space->punched == NULL)
		return; /* of a question that is void */
	for (size_t i = 0; i < space->punched_count && status == 0; i++)
		bodies_forget(&volume->index, space->punched[i].lsn);
	if (status == -EOPNOTSUPP && !space->makes_no_holes)
		log_warn("no_holes",
			"volume=%u directory=%s reason=\"its file system makes none\" effect=\"the "
			"room of expunged messages does not come back\"",
			volume->options.id, volume->options.log_directory);
	else if (status < 0 && status != -EAGAIN && status != -EOPNOTSUPP)
		log_warn("not_punched", "volume=%u reason=%s", volume->options.id,
			log_quote(str_from(strerror(-status))));
	space->makes_no_holes |= status == -EOPNOTSUPP;
	free(space->punched);
	space->punched = NULL;
	space->punched_count = 0;
	space->asked_us = 0;
	if (status == 0)
		give_back(volume);
}

static void on_punched(void *arg, int status)
{
	struct volume *volume = arg;
	volume_punched(volume, volume->space.number, status);
}

static void punch_here(struct volume *volume)
{
	struct volume_space *space = &volume->space;
	struct punch *punches = mem_alloc((space->punched_count + 1) * sizeof(*punches));
	for (size_t i = 0; i < space->punched_count; i++)
		punches[i] = (struct punch){ space->punched[i].lsn, space->punched[i].length };
	volume_log_punch(volume->log, punches, space->punched_count, on_punched, volume);
	free(punches);
}

static void give_back(struct volume *volume)
{
	struct volume_space *space = &volume->space;
	bool is_primary = volume->state == VOLUME_PRIMARY;
	bool is_replica = volume->state == VOLUME_REPLICA && volume->branch_is_checked;
	uint64_t end = is_primary ? volume_log_end(volume->log) : volume->reader_end;
	if (space->makes_no_holes || volume->index.bodies.free_bytes == 0 ||
		volume->index.is_broken || (!is_primary && !is_replica))
		return;
	if (space->punched != NULL &&
		(is_primary || clock_mono_us() - space->asked_us < PUNCH_ANSWER_MS * 1000u))
		return;
	/* One that was closed and opened again meanwhile may be at it still. */
	if (is_primary && volume_log_is_punching(volume->log))
		return;
	free(space->punched);
	space->punched = mem_alloc(LOG_PUNCH_MAX * sizeof(*space->punched));
	space->punched_count = bodies_collect(
		&volume->index, segment_of(end), true, space->punched, LOG_PUNCH_MAX);
	if (space->punched_count == 0) {
		free(space->punched);
		space->punched = NULL;
		return;
	}
	space->number++;
	space->asked_us = clock_mono_us();
	if (is_primary)
		punch_here(volume);
	else
		volume->options.events.punch(volume->options.events.arg, volume, space->number,
			space->punched, space->punched_count);
}

/* ---- what is free ---- */

static void find_dead(struct volume *volume)
{
	struct volume_space *space = &volume->space;
	struct body_at *found;
	/* The last segment's room stays (log_punch.h): they are said free when it is another. */
	uint64_t below = segment_of(volume_log_end(volume->log));
	bool has_passed = volume_look_at_kept(volume, below);
	uint64_t over_bytes = has_passed ? space->over_bytes : 0;
	if (volume->index.bodies.dead_bytes + over_bytes < free_bytes_min())
		return;
	found = mem_alloc(DEAD_MAX * sizeof(*found));
	size_t count = has_passed ? space->over_count : 0;
	CHECK(count < DEAD_MAX);
	if (count > 0)
		memcpy(found, space->over, count * sizeof(*found));
	count += bodies_collect(&volume->index, below, false, found + count, DEAD_MAX - count);
	space->dead = mem_alloc((count + 1) * sizeof(*space->dead));
	for (size_t i = 0; i < count; i++)
		space->dead[i] = found[i].lsn;
	space->dead_count = count;
	space->dead_over_bytes = over_bytes;
	space->is_full_of_over = has_passed && space->over_count == KEPT_OVER_MAX;
	space->mark_lsn = volume->index.applied_lsn;
	space->since_us = clock_mono_us();
	space->revived = volume->index.bodies.revived;
	free(found);
}

/* Also one that is not connected: it has what it had. */
static bool knows(const struct volume_replica *replica, uint64_t lsn)
{
	return replica->acked_lsn >= lsn && !replica->diverged;
}

static bool all_copies_know(const struct volume *volume, uint64_t lsn)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (!knows(&volume->replicas[i], lsn))
			return false;
	return true;
}

/* The directory says that whoever lacks this is stale: it was asked for by this process, and may
 * have been put back since to a time before. */
static bool is_told(const struct volume *volume, uint64_t lsn)
{
	return atomic_load(&volume->numbers.freed_lsn) >= lsn &&
		volume->desired.freed_epoch == volume->reign_epoch &&
		volume->desired.freed_lsn >= lsn;
}

static bool has_waited(uint64_t since_us, uint64_t ms)
{
	return since_us > 0 && clock_mono_us() - since_us >= ms * 1000;
}

static bool is_above_most(const struct volume *volume)
{
	const struct volume_space *space = &volume->space;
	return space->is_full_of_over ||
		volume->index.bodies.dead_bytes + space->dead_over_bytes >
		volume->options.retained_bytes_max;
}

/* Every copy that does not know has not known for long. Of one whose log is another it is not known
 * what it lacks, nor which of the two is the bad one: that is the operator's to end. */
static bool may_leave_behind(struct volume *volume, uint64_t lsn)
{
	uint64_t now = clock_mono_us();
	bool may = !volume->space.makes_no_holes && is_above_most(volume);
	for (unsigned i = 0; i < volume->replica_count; i++) {
		struct volume_replica *replica = &volume->replicas[i];
		if (knows(replica, lsn)) {
			replica->lacks_since_us = 0;
			replica->is_left_behind = false;
			continue;
		}
		if (replica->lacks_since_us == 0) {
			replica->lacks_since_us = now;
			replica->lacks_lsn = lsn;
		}
		may = may && !replica->diverged &&
			has_waited(replica->lacks_since_us, volume->options.stale_after_ms);
	}
	return may;
}

/* Once for each list: the directory is asked again by itself until it has it (claims.c). */
static void leave_behind(struct volume *volume, uint64_t lsn)
{
	if (atomic_load(&volume->numbers.freed_lsn) >= lsn)
		return;
	for (unsigned i = 0; i < volume->replica_count; i++) {
		struct volume_replica *replica = &volume->replicas[i];
		if (replica->lacks_since_us > 0 && !replica->is_left_behind)
			log_warn("copy_stale",
				"volume=%u node=%u acked=%llu freed=%llu "
				"effect=\"no failover chooses it before it has caught up\"",
				volume->options.id, replica->node_id,
				(unsigned long long)replica->acked_lsn, (unsigned long long)lsn);
		replica->is_left_behind = replica->lacks_since_us > 0;
	}
	atomic_store(&volume->numbers.freed_lsn, lsn);
	volume->options.events.changed(volume->options.events.arg, volume);
}

static void say_free(struct volume *volume);

/* What was shown again in between, and let go again, died above the mark, and is perhaps kept by
 * now: such a list is void, and the next look makes another. */
static bool is_list_good(const struct volume *volume)
{
	return volume->space.revived == volume->index.bodies.revived;
}

static void on_freed(struct pending_change *pending, int status, bool at_risk)
{
	struct volume *volume = pending->volume;
	(void)at_risk;
	volume->space.is_freeing = false;
	free(pending);
	if (status < 0 || volume->state != VOLUME_PRIMARY)
		return;
	if (volume->space.dead_count > 0 && is_list_good(volume))
		say_free(volume);
	else
		give_back(volume);
}

/* One record of them. */
static void say_free(struct volume *volume)
{
	struct volume_space *space = &volume->space;
	struct pending_change *pending = mem_alloc(sizeof(*pending));
	pending->pool = pool_create();
	size_t left = space->dead_count;
	size_t count = left < CHANGE_BODIES_MAX ? left : CHANGE_BODIES_MAX;
	uint64_t *bodies = pool_alloc(pending->pool, count * sizeof(*bodies));
	memcpy(bodies, space->dead + left - count, count * sizeof(*bodies));
	pending->change.action_count = 1;
	pending->change.actions = pool_alloc(pending->pool, sizeof(struct action));
	pending->change.actions[0] = (struct action){
		.kind = ACTION_FREE, .bodies = bodies, .body_count = count
	};
	pending->done = on_freed;
	pending->durability = DURABILITY_LOCAL;
	pending->is_own = true;
	space->is_freeing = true;
	space->dead_count -= count;
	volume_submit(volume, pending, STR(""), STR(""));
}

/* ---- looking ---- */

static void free_or_wait(struct volume *volume)
{
	struct volume_space *space = &volume->space;
	bool may_go_past = may_leave_behind(volume, space->mark_lsn);
	if (all_copies_know(volume, space->mark_lsn)) {
		say_free(volume);
	} else if (may_go_past) {
		leave_behind(volume, space->mark_lsn);
		if (is_told(volume, space->mark_lsn))
			say_free(volume);
	} else if (has_waited(space->since_us, LIST_MS)) {
		space->dead_count = 0;
	}
}

void volume_look_at_space(struct volume *volume)
{
	struct volume_space *space = &volume->space;
	if (volume->index.is_broken)
		return;
	give_back(volume);
	if (volume->state != VOLUME_PRIMARY || space->is_freeing || volume_is_in_doubt(volume))
		return;
	if (space->dead_count == 0) {
		free(space->dead);
		space->dead = NULL;
		find_dead(volume);
	} else if (!is_list_good(volume)) {
		space->dead_count = 0;
	} else if (has_waited(space->since_us, volume->options.free_wait_ms)) {
		free_or_wait(volume);
	}
}
