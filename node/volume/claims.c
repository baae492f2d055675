#include "node/volume/volumes_internal.h"

#include "core/config.h"
#include "core/directory/directory_write.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

/*
 * What a node writes in the directory, which is little: an epoch that a copy gives itself, which
 * opening of a volume was the last, how many uids a later reign is to pass over, up to where what a
 * copy may lack is freed, and which copies have been in step. All on a pool
 * thread; all for volumes that the directory names this node for, or, once it was put back, that
 * are served here in an epoch above its own, or are about to be, with all other copies heard.
 */

enum {
	/* A standby that is being promoted, a lock that somebody holds: over within a second or
	 * within minutes, and one connection a second costs the directory little. */
	TELL_AGAIN_MS = 1000,
};

struct write_job {
	struct slot *slot;
	struct promotion promotion; /* epoch 0: only the service is noted */
	struct volume_service service;
	int result;
	struct error error;
};

static void run_write(void *arg)
{
	struct write_job *job = arg;
	struct directory_writer *writer = NULL;
	job->result = directory_writer_open(job->slot->volumes->config, &writer, &job->error);
	if (job->result == 0)
		directory_writer_give_way(writer);
	if (job->result == 0 && job->promotion.epoch == 0)
		job->result = directory_note_service(writer, &job->service, &job->error);
	else if (job->result == 0)
		job->result = directory_promote(writer, &job->promotion, 1, 0, &job->error);
	directory_writer_close(&writer);
}

static void on_written(void *arg)
{
	struct write_job *job = arg;
	struct slot *slot = job->slot;
	bool is_stale = job->result == 0 && job->promotion.is_stale;
	bool is_refused = job->result < 0 || is_stale;
	slot->is_claiming = false;
	/* What there was to tell meanwhile may be told by no other event: an idle volume has none.
	 */
	slot->is_untold = is_refused || slot->has_more_to_tell;
	slot->has_more_to_tell = false;
	if (slot->is_untold)
		timer_start(slot->volumes->tell_timer, TELL_AGAIN_MS);
	if (is_refused && !slot->told_untold)
		log_warn("directory_not_told", "volume=%u epoch=%llu reason=%s", slot->id,
			(unsigned long long)(job->promotion.epoch ? job->promotion.epoch
								  : job->service.epoch),
			log_quote(is_stale ? STR("its row has been changed meanwhile")
					   : str_from(job->error.text)));
	slot->told_untold = is_refused;
	if (!is_refused && job->promotion.epoch != 0)
		log_warn("epoch_claimed", "volume=%u epoch=%llu before=%llu", slot->id,
			(unsigned long long)job->promotion.epoch,
			(unsigned long long)job->promotion.expected_epoch);
	free(job);
}

static void start(struct slot *slot, const struct write_job *what)
{
	struct write_job *job = mem_alloc(sizeof(*job));
	*job = *what;
	slot->is_claiming = true;
	if (job->promotion.epoch != 0) {
		slot->claimed_epoch = job->promotion.epoch;
		memcpy(slot->claimed_reign, job->promotion.reign, REIGN_LENGTH);
	}
	loop_work(slot->volumes->front, run_write, on_written, job);
}

void slot_claim(struct slot *slot, const struct volume_claim *claim)
{
	struct volumes *volumes = slot->volumes;
	if (slot->is_claiming || !directory_is_fresh(volumes->directory) ||
		slot->epoch != claim->expected_epoch || (!slot->wants_primary && !claim->is_heard))
		return;
	struct promotion promotion = { .volume_id = slot->id,
		.expected_epoch = claim->expected_epoch,
		.epoch = claim->epoch,
		.primary_node_id = volumes->node_id,
		.token = claim->token,
		.epoch_start_lsn = claim->end_lsn,
		.from_epoch = PROMOTE_STALE,
		.action = "claim" };
	memcpy(promotion.expected_reign, claim->expected_reign, REIGN_LENGTH);
	memcpy(promotion.reign, claim->reign, REIGN_LENGTH);
	start(slot, &(struct write_job){ .slot = slot, .promotion = promotion });
}

/* The directory was put back, or was away when this copy was opened alone. */
static void claim_served(struct slot *slot, const struct directory_volume *entry, uint64_t epoch)
{
	const struct volume_numbers *numbers = &slot->volume->numbers;
	struct promotion promotion = { .volume_id = slot->id,
		.expected_epoch = entry->epoch,
		.epoch = epoch,
		.primary_node_id = slot->volumes->node_id,
		.epoch_start_lsn = atomic_load(&numbers->durable_lsn),
		.from_epoch = PROMOTE_STALE,
		.action = "directory put right" };
	uint64_t reign[2] = { atomic_load(&numbers->reign[0]), atomic_load(&numbers->reign[1]) };
	memcpy(promotion.expected_reign, entry->reign, REIGN_LENGTH);
	memcpy(promotion.reign, reign, REIGN_LENGTH);
	if (atomic_load(&numbers->writes) && atomic_load(&numbers->epoch) == epoch)
		start(slot, &(struct write_job){ .slot = slot, .promotion = promotion });
}

/* Copies that were being filled and are in step by now, where the directory does not say so yet. */
static bool find_filled(const struct slot *slot, const struct directory_volume *entry,
	struct volume_service *service)
{
	bool any = false;
	for (unsigned i = 0; i < entry->replica_count; i++)
		for (unsigned k = 0; k < VOLUME_COPIES_MAX; k++)
			if (entry->replica_seeding[i] &&
				atomic_load(&slot->volume->numbers.filled_copies[k]) ==
					entry->replica_copies[i]) {
				service->filled_copies[i] = entry->replica_copies[i];
				any = true;
			}
	return any;
}

static void remember_freed(struct slot *slot, uint64_t epoch, uint64_t lsn)
{
	if (lsn == 0 || epoch < slot->freed_epoch ||
		(epoch == slot->freed_epoch && lsn <= slot->freed_lsn))
		return;
	slot->freed_epoch = epoch;
	slot->freed_lsn = lsn;
}

static bool is_freed_further(const struct slot *slot, const struct directory_volume *entry)
{
	return entry->freed_epoch < slot->freed_epoch ||
		(entry->freed_epoch == slot->freed_epoch && entry->freed_lsn < slot->freed_lsn);
}

static bool is_own_claim(const struct slot *slot, const struct directory_volume *entry)
{
	return entry->epoch == slot->claimed_epoch &&
		memcmp(entry->reign, slot->claimed_reign, REIGN_LENGTH) == 0;
}

/* A later epoch whose row lacks it does so on purpose: another log stands there, from a backup. But
 * for one that was named by this node, in a directory that was put back. */
static void take_freed(struct slot *slot, const struct directory_volume *entry)
{
	if (entry->epoch > slot->seen_epoch && is_freed_further(slot, entry) &&
		!is_own_claim(slot, entry)) {
		slot->freed_epoch = entry->freed_epoch;
		slot->freed_lsn = entry->freed_lsn;
	}
	if (entry->epoch > slot->seen_epoch)
		slot->seen_epoch = entry->epoch;
	remember_freed(slot, entry->freed_epoch, entry->freed_lsn);
}

void slot_tell_directory(struct slot *slot)
{
	struct volumes *volumes = slot->volumes;
	const struct volume_numbers *numbers = &slot->volume->numbers;
	const struct directory_volume *entry = directory_find_volume(volumes->directory, slot->id);
	uint64_t epoch = atomic_load(&numbers->epoch);
	uint64_t incarnation = atomic_load(&numbers->incarnation);
	uint64_t slacks = atomic_load(&numbers->uid_slacks);
	if (entry != NULL && directory_is_fresh(volumes->directory))
		take_freed(slot, entry);
	slot->has_more_to_tell |= slot->is_claiming;
	if (slot->is_claiming || slot->is_untold || entry == NULL ||
		!directory_is_fresh(volumes->directory) ||
		atomic_load(&numbers->state) != VOLUME_PRIMARY)
		return;
	remember_freed(slot, epoch, atomic_load(&numbers->freed_lsn));
	if (entry->epoch < epoch)
		claim_served(slot, entry, epoch);
	else if (entry->epoch == epoch) {
		struct write_job job = { .slot = slot,
			.service = { .volume_id = slot->id,
				.epoch = epoch,
				.incarnation = incarnation,
				.uid_slacks = slacks,
				.freed_epoch = slot->freed_epoch,
				.freed_lsn = slot->freed_lsn } };
		if (find_filled(slot, entry, &job.service) || entry->incarnation != incarnation ||
			entry->uid_slacks < slacks || is_freed_further(slot, entry))
			start(slot, &job);
	}
}

void volumes_tell_again(void *arg)
{
	struct volumes *volumes = arg;
	void *value;
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);) {
		struct slot *slot = value;
		if (!slot->is_untold)
			continue;
		slot->is_untold = false;
		slot_tell_directory(slot);
	}
}

/* ---- the operator's word ---- */

struct alone_request {
	struct task task;
	struct slot *slot;
	void (*done)(void *arg, int status);
	void *arg;
	int status;
	bool by_itself;
	uint64_t epoch;
};

static void on_alone_answer(void *arg)
{
	struct alone_request *request = arg;
	if (request->status == 0 && request->by_itself)
		request->slot->epoch = request->epoch;
	request->done(request->arg, request->status);
	free(request);
}

static void run_alone(struct worker_call *call)
{
	struct alone_request *request = call->arg;
	request->status = volume_open_alone(call->slot->volume, request->by_itself);
	request->epoch = call->slot->volume->desired.epoch;
	request->task = (struct task){ .run = on_alone_answer, .arg = request };
	loop_post(call->slot->volumes->front, &request->task);
}

int volumes_open_alone(struct volumes *volumes, uint32_t volume_id,
	void (*done)(void *arg, int status), void *arg)
{
	struct slot *slot = volumes_find_slot(volumes, volume_id);
	if (slot == NULL)
		return -ENOENT;
	struct alone_request *request = mem_alloc(sizeof(*request));
	*request = (struct alone_request){ .slot = slot,
		.done = done,
		.arg = arg,
		.by_itself = !directory_is_fresh(volumes->directory) };
	struct worker_call *call = slot_call(slot, run_alone);
	call->arg = request;
	slot_send(call);
	return 0;
}
