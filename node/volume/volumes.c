#include "node/volume/volumes_internal.h"

#include "core/config.h"
#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	/* How long a start waits for the directory before it trusts the copy on disk: a healthy
	 * PostgreSQL answers in milliseconds, and a failover that happened meanwhile
	 * is then known. */
	DIRECTORY_WAIT_MS = 3000,
};

/* ---- workers ---- */

static void *run_worker(void *arg)
{
	struct worker *worker = arg;
	/* The ring belongs to the thread that made it. */
	worker->failed =
		disk_create(worker->loop, worker->backend, &worker->disk, &worker->error) < 0;
	sem_post(&worker->ready);
	if (!worker->failed)
		loop_run(worker->loop);
	disk_destroy(&worker->disk);
	return NULL;
}

static int start_workers(struct volumes *volumes, struct error *error)
{
	unsigned count = (unsigned)volumes->config->worker_threads;
	if (count == 0) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);
		count = cores > 0 ? (unsigned)cores : 1;
	}
	volumes->workers = mem_alloc(count * sizeof(*volumes->workers));
	for (unsigned i = 0; i < count; i++) {
		struct worker *worker = &volumes->workers[i];
		worker->loop = loop_create();
		worker->backend = (enum io_backend)volumes->config->io_backend;
		CHECK(sem_init(&worker->ready, 0, 0) == 0);
		CHECK(pthread_create(&worker->thread, NULL, run_worker, worker) == 0);
		while (sem_wait(&worker->ready) < 0 && errno == EINTR)
			;
		volumes->worker_count = i + 1;
		if (worker->failed) {
			*error = worker->error;
			return -EIO;
		}
	}
	log_info("workers", "count=%u io_backend=%s", count,
		disk_backend_name(volumes->workers[0].disk));
	return 0;
}

static void run_create(struct worker_call *call)
{
	struct slot *slot = call->slot;
	const struct config *config = slot->volumes->config;
	char log_directory[512], index_path[512], witness_path[512];
	snprintf(witness_path, sizeof(witness_path), "%s/node/%u", config->run_dir, slot->id);
	snprintf(log_directory, sizeof(log_directory), "%s/volumes/%u", config->data_dir, slot->id);
	snprintf(index_path, sizeof(index_path), "%s/index/%u.sqlite", config->data_dir, slot->id);
	slot->volume = volume_create(&(struct volume_options){ .loop = slot->worker->loop,
		.disk = slot->worker->disk,
		.id = slot->id,
		.node_id = slot->volumes->node_id,
		.log_directory = log_directory,
		.index_path = index_path,
		.witness_path = witness_path,
		.remote_wait_ms_max = config->remote_wait_ms_max,
		.alone_after_ms = config->alone_after_s * 1000,
		.free_wait_ms = config->free_after_s * 1000,
		.retained_bytes_max = config->retained_mib_max << 20,
		.stale_after_ms = config->stale_after_s * 1000,
		.write_quotas_per_day = config->write_quotas_per_day,
		.is_short_of_room = &slot->volumes->is_short_of_room,
		.events = slot_events(slot) });
	sem_post((sem_t *)call->arg);
}

static struct slot *make_slot(struct volumes *volumes, uint32_t volume_id)
{
	struct slot *slot = mem_alloc(sizeof(*slot));
	uint64_t id = volume_id;
	sem_t created;
	slot->volumes = volumes;
	slot->id = volume_id;
	slot->worker = &volumes->workers[map_count(volumes->slots) % volumes->worker_count];
	slot_init(slot);
	map_set(volumes->slots, map_key_u64(&id), slot);
	CHECK(sem_init(&created, 0, 0) == 0);
	struct worker_call *call = slot_call(slot, run_create);
	call->arg = &created;
	slot_send(call);
	/* Opening an index takes milliseconds, and only when a volume is new here. */
	while (sem_wait(&created) < 0 && errno == EINTR)
		;
	sem_destroy(&created);
	return slot;
}

/* ---- the directory's word ---- */

static void run_set_desired(struct worker_call *call)
{
	volume_set_desired(call->slot->volume, &call->desired);
}

static void fill_replicas(struct volumes *volumes, const struct directory_volume *entry,
	struct volume_desired *desired)
{
	const struct directory_node *me = directory_find_node(volumes->directory, volumes->node_id);
	bool any_elsewhere = false;
	for (unsigned i = 0; i < entry->replica_count; i++) {
		const struct directory_node *node =
			directory_find_node(volumes->directory, entry->replica_node_ids[i]);
		if (node == NULL || node->id == volumes->node_id)
			continue;
		struct volume_replica *replica = &desired->replicas[desired->replica_count++];
		replica->node_id = node->id;
		replica->slot = entry->replica_slots[i];
		replica->copy = entry->replica_copies[i];
		replica->is_seeding = entry->replica_seeding[i];
		replica->counted =
			!replica->is_seeding && (me == NULL || node->site_id != me->site_id);
		any_elsewhere |= replica->counted;
	}
	/* Two nodes of one site are still better than one. */
	for (unsigned i = 0; !any_elsewhere && i < desired->replica_count; i++)
		desired->replicas[i].counted = !desired->replicas[i].is_seeding;
}

/* The class of this node's copy. */
static uint8_t my_slot(const struct volumes *volumes, const struct directory_volume *entry)
{
	for (unsigned i = 0; i < entry->replica_count; i++)
		if (entry->replica_node_ids[i] == volumes->node_id)
			return entry->replica_slots[i];
	return entry->primary_slot;
}

static bool is_member(const struct directory_volume *entry, uint32_t node_id)
{
	bool member = entry->primary_node_id == node_id;
	for (unsigned i = 0; i < entry->replica_count; i++)
		member |= entry->replica_node_ids[i] == node_id;
	return member;
}

static const struct slot_other *find_other(const struct slot *slot, uint32_t node_id)
{
	for (unsigned i = 0; i < slot->other_count; i++)
		if (slot->others[i].node_id == node_id)
			return &slot->others[i];
	return NULL;
}

/* What was reported of copies that are no more, or are made anew, is of no copy. True when there
 * are some of which nothing may have been taken yet: the replicator says it again. */
static bool take_others(struct slot *slot, const struct directory_volume *entry, uint32_t me)
{
	unsigned kept = 0, count = 0;
	struct slot_other others[VOLUME_COPIES_MAX] = { 0 };
	bool any_new = false;
	for (unsigned i = 0; i < entry->replica_count; i++) {
		if (entry->replica_node_ids[i] == me)
			continue;
		any_new |= find_other(slot, entry->replica_node_ids[i]) == NULL;
		others[count++] = (struct slot_other){ entry->replica_node_ids[i],
			entry->replica_copies[i], entry->replica_seeding[i] };
	}
	memcpy(slot->others, others, sizeof(others));
	slot->other_count = count;
	for (unsigned i = 0; i < slot->replica_count; i++) {
		const struct slot_other *other = find_other(slot, slot->replicas[i].node_id);
		if (other != NULL &&
			(!other->is_seeding || other->copy == slot->replicas[i].copy))
			slot->replicas[kept++] = slot->replicas[i];
	}
	slot->replica_count = kept;
	return any_new;
}

/* Volumes that the directory has no more: they are let go, and their files stay. */
static void forget_gone(struct volumes *volumes)
{
	void *value;
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);) {
		struct slot *slot = value;
		if (!slot->is_member || directory_find_volume(volumes->directory, slot->id) != NULL)
			continue;
		log_warn("volume_gone", "volume=%u name=%s", slot->id, slot->name);
		struct worker_call *call = slot_call(slot, run_set_desired);
		call->desired = (struct volume_desired){ .epoch = slot->epoch };
		memcpy(call->desired.reign, slot->reign, sizeof(call->desired.reign));
		slot->is_member = slot->wants_primary = false;
		slot->other_count = slot->replica_count = 0;
		slot_send(call);
	}
}

void volumes_reconcile(struct volumes *volumes)
{
	const struct directory_volume *entry;
	size_t position = 0;
	if (!directory_is_loaded(volumes->directory) ||
		(!directory_is_fresh(volumes->directory) && !volumes->may_use_copy))
		return;
	const struct directory_node *me = directory_find_node_by_name(
		volumes->directory, str_from(volumes->config->node));
	if (me == NULL)
		return;
	volumes->node_id = me->id;
	size_t slots_before = map_count(volumes->slots);
	bool any_new = false;
	while ((entry = directory_next_volume(volumes->directory, &position)) != NULL) {
		struct slot *slot = volumes_find_slot(volumes, entry->id);
		if (slot == NULL && !is_member(entry, me->id))
			continue;
		if (slot == NULL)
			slot = make_slot(volumes, entry->id);
		bool is_live = directory_is_fresh(volumes->directory);
		bool is_named = entry->primary_node_id == me->id && !slot->wants_primary;
		if (entry->epoch < slot->epoch && !(is_live && is_named)) {
			/* A stale copy of the directory, or one that was put back: the volume
			 * refuses it too. Who its copies are it does not know either: by it this
			 * one may be a replica of who follows it. */
			slot_tell_directory(slot);
			continue;
		}
		slot->is_member = is_member(entry, me->id);
		any_new |= take_others(slot, entry, me->id);
		struct worker_call *call = slot_call(slot, run_set_desired);
		call->desired =
			(struct volume_desired){ .primary = entry->primary_node_id == me->id,
				.is_live = is_live,
				.epoch = entry->epoch,
				.token = entry->token,
				.clean_after = entry->clean_after,
				.incarnation = entry->incarnation,
				.uid_slacks = entry->uid_slacks,
				.freed_epoch = entry->freed_epoch,
				.freed_lsn = entry->freed_lsn,
				.slot = my_slot(volumes, entry) };
		memcpy(call->desired.reign, entry->reign, sizeof(call->desired.reign));
		fill_replicas(volumes, entry, &call->desired);
		slot->epoch = entry->epoch;
		slot->wants_primary = call->desired.primary;
		memcpy(slot->reign, entry->reign, sizeof(slot->reign));
		snprintf(slot->name, sizeof(slot->name), "%s", entry->name);
		slot_send(call);
		slot_tell_directory(slot);
	}
	forget_gone(volumes);
	volumes_tell_keeping(volumes);
	if (map_count(volumes->slots) > slots_before || any_new)
		replicator_link_greet(volumes->link);
}

static void on_start_timer(void *arg)
{
	struct volumes *volumes = arg;
	volumes->may_use_copy = true;
	if (!directory_is_fresh(volumes->directory))
		log_warn("directory_away", "waited_ms=%d action=\"serve from the copy on disk\"",
			DIRECTORY_WAIT_MS);
	volumes_reconcile(volumes);
}

bool volumes_are_settled(const struct volumes *volumes)
{
	void *value;
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);) {
		const struct slot *slot = value;
		if (slot->wants_primary &&
			atomic_load(&slot->volume->numbers.state) != VOLUME_PRIMARY)
			return false;
	}
	return map_count(volumes->slots) > 0;
}

int volumes_create(struct loop *front, const struct config *config, struct directory *directory,
	struct volumes **volumes_out, struct error *error)
{
	struct volumes *volumes = mem_alloc(sizeof(*volumes));
	char path[512];
	int result = 0;
	static const char *const folders[] = { "", "/volumes", "/index" };
	for (size_t i = 0; result == 0 && i < array_length(folders); i++) {
		snprintf(path, sizeof(path), "%s%s", config->data_dir, folders[i]);
		result = disk_make_directory(path);
	}
	snprintf(path, sizeof(path), "%s/node", config->run_dir);
	if (result == 0)
		result = disk_make_directory(path);
	if (result < 0) {
		free(volumes);
		return error_set(error, result, "cannot make %s: %s", path, strerror(-result));
	}
	volumes->front = front;
	volumes->config = config;
	volumes->directory = directory;
	volumes->slots = map_create();
	result = start_workers(volumes, error);
	if (result < 0)
		return result;
	volumes->link = replicator_link_create(volumes);
	volumes->start_timer = timer_new(front, on_start_timer, volumes);
	timer_start(volumes->start_timer, DIRECTORY_WAIT_MS);
	volumes->tell_timer = timer_new(front, volumes_tell_again, volumes);
	volumes_watch_room(volumes);
	*volumes_out = volumes;
	return 0;
}

/* ---- stopping ---- */

struct stop_wait {
	struct end_wait wait;
	sem_t *done;
};

static void on_stopped(struct end_wait *wait, int status, uint64_t end)
{
	struct stop_wait *stop = container_of(wait, struct stop_wait, wait);
	(void)status;
	(void)end;
	sem_post(stop->done);
	free(stop);
}

static void run_stop(struct worker_call *call)
{
	/* One that is being proven has nothing to drain, and the replicator is heard no more. It
	 * does not open its log any more either. */
	if (call->slot->volume->log == NULL) {
		volume_close(call->slot->volume);
		sem_post(call->arg);
		return;
	}
	struct stop_wait *stop = mem_alloc(sizeof(*stop));
	*stop = (struct stop_wait){ .wait.done = on_stopped, .done = call->arg };
	volume_stop(call->slot->volume, &stop->wait);
}

static void run_destroy(struct worker_call *call)
{
	volume_destroy(&call->slot->volume);
	sem_post(call->arg);
}

static void wait_for(sem_t *done, unsigned count)
{
	while (count > 0)
		if (sem_wait(done) == 0)
			count--;
}

void volumes_destroy(struct volumes **volumes_pointer)
{
	struct volumes *volumes = *volumes_pointer;
	void *value;
	sem_t done;
	if (volumes == NULL)
		return;
	CHECK(sem_init(&done, 0, 0) == 0);
	for (int step = 0; step < 2; step++) {
		for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);) {
			struct worker_call *call =
				slot_call(value, step == 0 ? run_stop : run_destroy);
			call->arg = &done;
			slot_send(call);
		}
		wait_for(&done, (unsigned)map_count(volumes->slots));
	}
	for (unsigned i = 0; i < volumes->worker_count; i++) {
		loop_stop(volumes->workers[i].loop);
		pthread_join(volumes->workers[i].thread, NULL);
	}
	/* The process ends now; what is left is the kernel's to take back. */
	*volumes_pointer = NULL;
}
