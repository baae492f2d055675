#include "node/volume/volume_internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/metric.h"
#include "node/index/ahead.h"

#include <errno.h>

/* What is durable where: lag, the answers that wait for another site, and the messages that did not
 * get it. */

/* ---- lag ---- */

uint64_t volume_lag_ms(const struct volume *volume)
{
	if (volume->lag_count == 0)
		return 0;
	return (clock_mono_us() - volume->lag_samples[volume->lag_first].time_us) / 1000;
}

void volume_note_durable(struct volume *volume, uint64_t lsn)
{
	size_t last = (volume->lag_first + volume->lag_count - 1) % LAG_SAMPLES_MAX;
	if (volume->lag_count > 0 &&
		(volume->lag_samples[last].lsn == lsn || volume->lag_count == LAG_SAMPLES_MAX)) {
		volume->lag_samples[last].lsn = lsn;
		return;
	}
	size_t at = (volume->lag_first + volume->lag_count) % LAG_SAMPLES_MAX;
	volume->lag_samples[at] = (struct lag_sample){ lsn, clock_mono_us() };
	volume->lag_count++;
}

static void note_shipped(struct volume *volume, uint64_t acked)
{
	uint64_t now = clock_mono_us();
	while (volume->lag_count > 0 && volume->lag_samples[volume->lag_first].lsn <= acked) {
		metric_observe_us(
			volume->lag_seconds, now - volume->lag_samples[volume->lag_first].time_us);
		volume->lag_first = (volume->lag_first + 1) % LAG_SAMPLES_MAX;
		volume->lag_count--;
	}
}

/* ---- durability ---- */

bool volume_has_replica(const struct volume *volume)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replicas[i].counted)
			return true;
	return false;
}

static bool is_stalled(const struct volume_replica *replica)
{
	return replica->in_step_lsn == UINT64_MAX;
}

static bool is_in_step(const struct volume_replica *replica)
{
	return replica->counted && replica->connected && replica->acked_lsn >= replica->in_step_lsn;
}

bool volume_has_live_replica(const struct volume *volume)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replicas[i].counted && volume->replicas[i].connected &&
			!is_stalled(&volume->replicas[i]))
			return true;
	return false;
}

static bool has_replica_in_step(const struct volume *volume)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (is_in_step(&volume->replicas[i]))
			return true;
	return false;
}

static uint64_t acked_elsewhere(const struct volume *volume)
{
	uint64_t acked = 0;
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replicas[i].counted && volume->replicas[i].acked_lsn > acked)
			acked = volume->replicas[i].acked_lsn;
	return acked;
}

static bool has_heard(const struct volume *volume)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replicas[i].counted &&
			(volume->replicas[i].connected || volume->replicas[i].acked_lsn > 0))
			return true;
	return false;
}

/* What a copy that was not heard since this process started had is what was known before. Where all
 * are being filled, nothing is anywhere. */
uint64_t volume_shipped_end(const struct volume *volume)
{
	if (volume->replica_count > 0 && !volume_has_replica(volume))
		return 0;
	return has_heard(volume) ? acked_elsewhere(volume) : volume->index.acked_lsn;
}

/* What was known before may be of the one that is gone: those that are left have what one of them
 * wrote, or has said. */
uint64_t volume_left_end(const struct volume *volume)
{
	return has_heard(volume) ? acked_elsewhere(volume) : volume_written_elsewhere(volume);
}

/* Of those that count as copies. */
static unsigned count_copies(const struct volume *volume)
{
	unsigned count = 0;
	for (unsigned i = 0; i < volume->replica_count; i++)
		count += !volume->replicas[i].is_seeding;
	return count;
}

/* What the nearest and the farthest of all copies have of this reign, those that are away as far as
 * they are known. Several copies may stand at any distance when a reign begins: where one has said
 * nothing since, the farthest is not known. False then. The only other copy, where there is but
 * one, has what the reign began with. */
static bool find_distances(const struct volume *volume, const struct epoch_entry *reign,
	uint64_t *nearest_out, uint64_t *farthest_out)
{
	bool is_known = true;
	unsigned copies = count_copies(volume);
	*nearest_out = reign->start_lsn;
	*farthest_out = UINT64_MAX;
	for (unsigned i = 0; i < volume->replica_count; i++) {
		uint64_t acked = volume->replicas[i].acked_lsn;
		if (volume->replicas[i].is_seeding)
			continue;
		is_known &= acked >= reign->start_lsn || copies == 1;
		if (acked < reign->start_lsn)
			acked = reign->start_lsn;
		*nearest_out = acked > *nearest_out ? acked : *nearest_out;
		*farthest_out = acked < *farthest_out ? acked : *farthest_out;
	}
	return is_known;
}

/* The first uid that a copy which has `acked` may lack. What stood in the log when this reign
 * began, the copy has that may be promoted next: the old primary, or one that this reign wrote to;
 * so it is with an opening that all copies agreed to. A restart that asked nobody changes nothing.
 */
static uint32_t first_unshipped_uid(const struct volume *volume, const struct folder *folder,
	const struct epoch_entry *reign, uint64_t acked, struct folder_shipped *shipped)
{
	uint64_t applied = volume->index.applied_lsn;
	if (shipped->epoch != reign->epoch || acked < shipped->lsn) {
		/* The first look, or it went back: messages above `acked` tell where shipping
		 * stood. */
		uint32_t i = folder->message_count;
		while (i > 0 && folder->messages[i - 1].body_lsn >= acked)
			i--;
		shipped->uidnext =
			i < folder->message_count ? folder->messages[i].uid : folder->uidnext;
		const struct folder_private *private = folder->private;
		if (acked < volume->opened_end && private->opened_end == volume->opened_end &&
			private->opened_uid < shipped->uidnext)
			shipped->uidnext = private->opened_uid;
		shipped->epoch = reign->epoch;
		shipped->mark_lsn = 0;
	}
	shipped->lsn = acked;
	if (acked >= applied)
		shipped->uidnext = folder->uidnext;
	else if (shipped->mark_lsn > 0 && shipped->mark_lsn <= acked)
		shipped->uidnext = shipped->marked_uidnext;
	if (acked >= applied) {
		shipped->mark_lsn = 0;
	} else if (shipped->mark_lsn <= acked) {
		shipped->marked_uidnext = folder->uidnext;
		shipped->mark_lsn = applied;
	}
	return shipped->uidnext;
}

/* Every unclean reign after this one begins above: it passes over one slack more at least, and no
 * folder is below what its volume has passed over. */
static uint64_t passed_uid(const struct volume *volume)
{
	return (volume->desired.epoch + volume->uid_slacks) * UID_SLACK;
}

/* The directory is to say that more is passed over, early enough that nobody waits for it. */
static void want_slacks(struct volume *volume, uint64_t last_uid)
{
	uint64_t wanted = last_uid / UID_SLACK + 2 - volume->desired.epoch;
	if (last_uid + UID_SLACK / 2 <= passed_uid(volume) ||
		wanted <= atomic_load(&volume->numbers.uid_slacks) ||
		wanted + volume->desired.epoch > EPOCH_MAX)
		return;
	atomic_store(&volume->numbers.uid_slacks, wanted);
	volume->options.events.changed(volume->options.events.arg, volume);
}

/* How far a folder may be ahead of the only other copy in this reign, in half slacks: one for the
 * reign of which that copy has a part, one for each behind that of which it has heard nothing. */
static uint64_t halves_ahead(const struct volume *volume)
{
	const struct epochs *epochs = volume_log_epochs(volume->log);
	uint64_t ahead = 1, acked = acked_elsewhere(volume);
	if (acked < volume->index.acked_lsn)
		acked = volume->index.acked_lsn;
	if (count_copies(volume) != 1)
		return ahead;
	for (uint32_t i = 1; i < epochs->count; i++)
		ahead += epochs->entries[i].epoch != epochs->entries[i - 1].epoch &&
			epochs->entries[i].start_lsn >= acked;
	return ahead;
}

/* An opening that was agreed is in every log, until a copy goes back to before it: also a reign
 * there is to begin above what was passed over here. So is one at a copy that was silent for
 * several reigns. */
void volume_tell_passed(struct volume *volume)
{
	volume->halves_needed = index_half_slacks(&volume->index) + halves_ahead(volume);
	uint64_t wanted = (volume->halves_needed + 1) / 2;
	if (wanted <= volume->desired.epoch + atomic_load(&volume->numbers.uid_slacks) ||
		wanted > EPOCH_MAX)
		return;
	atomic_store(&volume->numbers.uid_slacks, wanted - volume->desired.epoch);
	volume->options.events.changed(volume->options.events.arg, volume);
}

/* A reign at the only other copy, which has heard nothing of this one, begins above every folder:
 * the directory has said so, unless there were several such reigns, and then it soon does. */
static bool is_only_copy_below(const struct volume *volume, const struct epoch_entry *reign)
{
	bool is_heard = false;
	for (unsigned i = 0; i < volume->replica_count; i++)
		is_heard |= !volume->replicas[i].is_seeding &&
			volume->replicas[i].acked_lsn >= reign->start_lsn;
	return is_heard ||
		2 * (volume->desired.epoch + volume->uid_slacks) >= volume->halves_needed;
}

bool volume_is_uid_slack_used(struct volume *volume, struct folder *folder, uint32_t count)
{
	if (volume->state != VOLUME_PRIMARY)
		return false; /* refused where it is submitted */
	const struct epoch_entry *reign = epochs_opened(volume_log_epochs(volume->log));
	struct folder_private *private = folder->private;
	uint32_t next = ahead_uidnext(folder);
	uint64_t nearest, farthest, last = (uint64_t)next + count;
	if (last > UINT32_MAX) /* past the last uid there is */
		return true;
	unsigned copies = count_copies(volume);
	bool is_any_seeding = copies < volume->replica_count;
	bool is_known = find_distances(volume, reign, &nearest, &farthest);
	if (copies == 0 && last - folder->uidnext > UID_SLACK / 2)
		return true;
	/* An opening that all copies agree to passes over half a slack: what is lost here then was
	 * never more. */
	if (copies > 0 &&
		last - first_unshipped_uid(volume, folder, reign, nearest, &private->nearest) >
			UID_SLACK / 2)
		return true;
	if (copies <= 1 && !is_any_seeding)
		return copies == 1 && !is_only_copy_below(volume, reign) &&
			last > passed_uid(volume);
	want_slacks(volume, last);
	/* One that is being filled may yet be all that is left, and a reign begin there. */
	if (is_known && !is_any_seeding &&
		last - first_unshipped_uid(volume, folder, reign, farthest, &private->farthest) <=
			UID_SLACK / 2)
		return false;
	return last > passed_uid(volume);
}

static void forget_shipped(struct volume *volume, uint64_t acked)
{
	while (volume->at_risk_count > 0 && volume->at_risk[volume->at_risk_first].lsn <= acked) {
		volume->at_risk_first++;
		volume->at_risk_count--;
		volume->at_risk_total--;
	}
	if (volume->unlisted_end <= acked) {
		volume->unlisted_end = 0;
		volume->at_risk_total = volume->at_risk_count;
	}
	if (volume->at_risk_count == 0)
		volume->at_risk_first = 0;
}

/* How long an answer waits that begins to wait now: from the last hope on; never in the past. */
static uint64_t wait_deadline(const struct volume *volume)
{
	uint64_t now = clock_mono_us(), from = has_replica_in_step(volume) ? now : volume->hope_us;
	uint64_t deadline = from > 0 ? from + volume->options.remote_wait_ms_max * 1000 : now;
	return deadline > now ? deadline : now;
}

/* Nobody waited while this process was stopped, or starved: what has happened since, a failover
 * above all, is still to be read. Whoever waits does so anew. */
static void wait_anew(struct volume *volume, uint64_t now)
{
	uint64_t deadline_us = now + volume->options.remote_wait_ms_max * 1000;
	log_warn("was_stopped", "volume=%u effect=\"answers wait anew for a replica\"",
		volume->options.id);
	list_for_each (link, &volume->waits)
		list_entry(link, struct ack_wait, link)->deadline_us = deadline_us;
}

static void publish_stalls(struct volume *volume)
{
	for (unsigned i = 0; i < VOLUME_COPIES_MAX; i++) {
		const struct volume_replica *replica = &volume->replicas[i];
		bool stalled =
			i < volume->replica_count && replica->connected && is_stalled(replica);
		atomic_store(&volume->numbers.stalled_nodes[i], stalled ? replica->node_id : 0);
	}
}

/* An answer was waited for in vain. A replica that has not moved all the while is hung, or its line
 * is: answers stop waiting for it until it has stirred and caught up. One that moves is slow, and
 * waiting for it is what keeps it from falling behind. */
static void note_stalls(struct volume *volume, uint64_t now)
{
	uint64_t wait_us = volume->options.remote_wait_ms_max * 1000;
	for (unsigned i = 0; i < volume->replica_count; i++) {
		struct volume_replica *replica = &volume->replicas[i];
		if (!replica->counted || !replica->connected || is_stalled(replica) ||
			replica->moved_us + wait_us > now)
			continue;
		if (is_in_step(replica))
			volume->hope_us = now - wait_us;
		replica->in_step_lsn = UINT64_MAX;
		log_warn("replica_stalled",
			"volume=%u node=%u acked=%llu end=%llu effect=\"mail is on one site until "
			"it moves\"",
			volume->options.id, replica->node_id,
			(unsigned long long)replica->acked_lsn,
			(unsigned long long)volume_durable_end(volume));
		publish_stalls(volume);
	}
}

void volume_on_failed_disk(struct volume *volume)
{
	volume_fence(volume, false, NULL);
	volume_settle_waits(volume);
}

static bool is_disk_known(const struct volume *volume, uint64_t now)
{
	return now - volume->disk_known_us <= DISK_KNOWN_MS * 1000;
}

static void on_probed(void *arg, int status)
{
	struct volume *volume = arg;
	if (status == 0)
		volume->disk_known_us = clock_mono_us();
	else
		volume->disk_refused_us = clock_mono_us();
	if (!volume_has_failed(volume)) {
		volume_settle_waits(volume);
		return;
	}
	volume_on_failed_disk(volume);
	volume_publish(volume);
}

static void ask_disk(struct volume *volume)
{
	if (volume->log != NULL && !volume_log_is_probing(volume->log))
		volume_log_probe(volume->log, on_probed, volume);
}

/* What one is told that has waited in vain. 0: that it is at risk; -EBUSY: the disk has not
 * answered yet. */
static int judge_overdue(struct volume *volume, const struct ack_wait *wait, uint64_t now)
{
	if (wait->durability != DURABILITY_REMOTE)
		return -EAGAIN;
	if (is_disk_known(volume, now))
		return 0;
	/* What the machine lacks now says nothing of the disk. */
	if (volume->disk_refused_us != 0 && now - volume->disk_refused_us <= DISK_KNOWN_MS * 1000)
		return -EAGAIN;
	ask_disk(volume);
	return -EBUSY;
}

/* The first that is to be told something; NULL: none. Who waits for the disk holds up nobody behind
 * him who needs none. */
static struct ack_wait *next_ended(
	struct volume *volume, uint64_t acked, uint64_t now, int *status_out)
{
	list_for_each (entry, &volume->waits) {
		struct ack_wait *wait = list_entry(entry, struct ack_wait, link);
		*status_out = 0;
		if (wait->lsn <= acked)
			return wait;
		if (wait->deadline_us > now)
			return NULL;
		note_stalls(volume, now);
		*status_out = judge_overdue(volume, wait, now);
		if (*status_out != -EBUSY)
			return wait;
	}
	return NULL;
}

/* Ends the waits that are met, or that have waited long enough. What is answered though no copy has
 * it stands on this disk alone, which may have failed since: then it stands nowhere. */
void volume_settle_waits(struct volume *volume)
{
	uint64_t acked = acked_elsewhere(volume), now = clock_mono_us();
	if (!list_is_empty(&volume->waits) && now - volume->looked_us > LATE_MS_MAX * 1000)
		wait_anew(volume, now);
	volume->looked_us = now;
	while (!list_is_empty(&volume->waits)) {
		int status = 0;
		if (volume_first_wait(volume) > acked && volume_is_in_doubt(volume)) {
			volume_fail_waits(volume);
			return;
		}
		struct ack_wait *wait = next_ended(volume, acked, now, &status);
		if (wait == NULL)
			break;
		list_remove(&wait->link);
		wait->done(wait, status, wait->lsn > acked);
	}
	if (list_is_empty(&volume->waits) || timer_is_running(volume->wait_timer))
		return;
	struct ack_wait *wait = list_entry(volume->waits.next, struct ack_wait, link);
	uint64_t left_ms = wait->deadline_us > now ? (wait->deadline_us - now) / 1000 + 1 : LOOK_MS;
	timer_start(volume->wait_timer, left_ms < LOOK_MS ? left_ms : LOOK_MS);
}

void volume_wait(struct volume *volume, struct ack_wait *wait)
{
	if (list_is_empty(&volume->waits))
		volume->looked_us = clock_mono_us();
	wait->deadline_us = wait_deadline(volume);
	list_append(&volume->waits, &wait->link);
	volume_settle_waits(volume);
}

uint64_t volume_first_wait(const struct volume *volume)
{
	return list_is_empty(&volume->waits)
		? UINT64_MAX
		: list_entry(volume->waits.next, struct ack_wait, link)->lsn;
}

void volume_on_wait_timer(void *arg)
{
	volume_settle_waits(arg);
}

/* A copy that is being filled has been in step when it has what stood here a moment ago. Each time
 * that it has what stood here when it was looked at last, that is less. */
static void note_filling(struct volume *volume, struct volume_replica *replica)
{
	uint64_t end = volume_durable_end(volume);
	if (!replica->is_seeding || !replica->connected || volume->state != VOLUME_PRIMARY ||
		replica->copy == 0 || replica->fill_lsn == 0 ||
		replica->acked_lsn < replica->fill_lsn)
		return;
	if (end - replica->fill_lsn > FILLED_WITHIN) {
		replica->fill_lsn = end;
		return;
	}
	for (unsigned i = 0; i < VOLUME_COPIES_MAX; i++)
		if (atomic_load(&volume->numbers.filled_copies[i]) == replica->copy)
			return;
	log_info("copy_filled", "volume=%u node=%u lsn=%llu", volume->options.id, replica->node_id,
		(unsigned long long)replica->acked_lsn);
	atomic_store(&volume->numbers.filled_copies[replica - volume->replicas], replica->copy);
	volume->options.events.changed(volume->options.events.arg, volume);
}

static void note_ack(
	struct volume *volume, struct volume_replica *replica, uint64_t lsn, bool connected)
{
	uint64_t now = clock_mono_us();
	bool moved = connected && lsn != replica->acked_lsn;
	bool begins = connected && (!replica->connected || (moved && is_stalled(replica)));
	if (is_in_step(replica) || (begins && replica->counted))
		volume->hope_us = now;
	if (begins && is_stalled(replica))
		log_info("replica_moves", "volume=%u node=%u acked=%llu", volume->options.id,
			replica->node_id, (unsigned long long)lsn);
	bool was_stalled = is_stalled(replica);
	if (begins)
		replica->in_step_lsn = replica->fill_lsn = volume_durable_end(volume);
	if (begins || moved)
		replica->moved_us = now;
	replica->connected = connected;
	/* A copy that was made anew may have less than before. */
	if (connected) {
		replica->acked_lsn = lsn;
		replica->diverged = false;
		if (lsn >= replica->lacks_lsn)
			replica->lacks_since_us = 0;
	}
	note_filling(volume, replica);
	if (was_stalled)
		publish_stalls(volume);
}

/* What copies were connected with before is not what they are to have now: who said so before the
 * log was open here was compared with nothing. */
void volume_compare_copies(struct volume *volume)
{
	for (unsigned i = 0; i < volume->replica_count; i++) {
		struct volume_replica *replica = &volume->replicas[i];
		if (!is_stalled(replica))
			replica->in_step_lsn = replica->fill_lsn = volume_durable_end(volume);
		note_filling(volume, replica);
	}
}

/* Whoever waits for copies that are no more, or away, has nothing to wait for. */
void volume_recount(struct volume *volume)
{
	uint64_t acked = acked_elsewhere(volume), now = clock_mono_us();
	for (unsigned i = 0; i < VOLUME_COPIES_MAX; i++) {
		uint64_t filled = atomic_load(&volume->numbers.filled_copies[i]);
		bool is_seeding = false;
		for (unsigned k = 0; k < volume->replica_count; k++)
			is_seeding |= volume->replicas[k].copy == filled &&
				volume->replicas[k].is_seeding;
		if (!is_seeding)
			atomic_store(&volume->numbers.filled_copies[i], 0);
	}
	publish_stalls(volume);
	if (volume->state != VOLUME_PRIMARY)
		return;
	if (acked > volume->index.acked_lsn)
		volume->index.acked_lsn = acked;
	note_shipped(volume, acked);
	forget_shipped(volume, acked);
	if (!volume_has_replica(volume)) {
		volume->hope_us = 0;
		list_for_each (link, &volume->waits)
			list_entry(link, struct ack_wait, link)->deadline_us = now;
	}
	volume_settle_waits(volume);
}

void volume_acked(struct volume *volume, uint32_t node_id, uint64_t lsn, bool connected)
{
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replicas[i].node_id == node_id)
			note_ack(volume, &volume->replicas[i], lsn, connected);
	/* A copy that counts as none says nothing of what another site has. */
	uint64_t acked = acked_elsewhere(volume), shipped = volume_shipped_end(volume);
	if (acked > volume->index.acked_lsn)
		volume->index.acked_lsn = acked;
	else if (connected && volume->writes && shipped < volume->index.acked_lsn)
		volume_list_anew(volume, shipped);
	note_shipped(volume, acked);
	forget_shipped(volume, acked);
	volume_settle_waits(volume);
	volume_check_opening(volume);
	volume_publish(volume);
}

void volume_diverged(struct volume *volume, uint32_t node_id)
{
	for (unsigned i = 0; i < volume->replica_count; i++) {
		struct volume_replica *replica = &volume->replicas[i];
		if (replica->node_id != node_id)
			continue;
		note_ack(volume, replica, 0, false);
		replica->acked_lsn = 0;
		replica->diverged = true;
	}
	if (volume->writes && acked_elsewhere(volume) < volume->index.acked_lsn)
		volume_list_anew(volume, acked_elsewhere(volume));
	volume_settle_waits(volume);
	volume_publish(volume);
}

void volume_fail_waits(struct volume *volume)
{
	while (!list_is_empty(&volume->waits)) {
		struct ack_wait *wait = list_entry(volume->waits.next, struct ack_wait, link);
		list_remove(&wait->link);
		/* Somebody else is primary, and may lack it: no policy takes that for a success. */
		wait->done(wait, -EROFS, true);
	}
}
