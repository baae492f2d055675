#include "node/volume/volumes_internal.h"

#include "core/encode.h"

#include <stdlib.h>

/* A volume between its worker and the front thread: calls one way, events the other. */

/* ---- calls on a worker ---- */

static void on_call(void *arg)
{
	struct worker_call *call = arg;
	call->run(call);
	free(call);
}

struct worker_call *slot_call(struct slot *slot, void (*run)(struct worker_call *call))
{
	struct worker_call *call = mem_alloc(sizeof(*call));
	call->slot = slot;
	call->run = run;
	call->task.run = on_call;
	call->task.arg = call;
	return call;
}

void slot_send(struct worker_call *call)
{
	loop_post(call->slot->worker->loop, &call->task);
}

struct slot *volumes_find_slot(const struct volumes *volumes, uint32_t volume_id)
{
	uint64_t id = volume_id;
	return map_get(volumes->slots, map_key_u64(&id));
}

/* ---- a volume's events, on its worker ---- */

static void on_volume_changed(void *arg, struct volume *volume)
{
	struct slot *slot = arg;
	(void)volume;
	loop_post(slot->volumes->front, &slot->changed_task);
}

static void on_volume_release(void *arg, struct volume *volume, uint64_t prove_epoch)
{
	struct slot *slot = arg;
	atomic_store(&slot->prove_epoch, prove_epoch);
	atomic_store(&slot->passes_over, volume->passes_over);
	atomic_store(&slot->question, volume->question);
	on_volume_changed(arg, volume);
}

struct claim_call {
	struct task task;
	struct slot *slot;
	struct volume_claim claim;
};

static void on_claim(void *arg)
{
	struct claim_call *call = arg;
	slot_claim(call->slot, &call->claim);
	free(call);
}

static void on_volume_claim(void *arg, struct volume *volume, const struct volume_claim *claim)
{
	struct slot *slot = arg;
	struct claim_call *call = mem_alloc(sizeof(*call));
	(void)volume;
	*call = (struct claim_call){ .task.run = on_claim, .slot = slot, .claim = *claim };
	call->task.arg = call;
	loop_post(slot->volumes->front, &call->task);
}

struct punch_call {
	struct task task;
	struct slot *slot;
	uint64_t number, applied_lsn, incarnation;
	struct buf bodies;
};

static void on_punch(void *arg)
{
	struct punch_call *call = arg;
	replicator_link_punch(call->slot->volumes->link, call->slot,
		&(struct cluster_message){ .kind = MESSAGE_PUNCH,
			.volume = call->slot->id,
			.end = call->number,
			.lsn = call->applied_lsn,
			.incarnation = call->incarnation,
			.bodies = buf_str(&call->bodies) });
	buf_deinit(&call->bodies);
	free(call);
}

static void on_volume_punch(void *arg, struct volume *volume, uint64_t number,
	const struct body_at *bodies, size_t count)
{
	struct slot *slot = arg;
	struct punch_call *call = mem_alloc(sizeof(*call));
	*call = (struct punch_call){ .task.run = on_punch,
		.slot = slot,
		.number = number,
		.applied_lsn = volume->index.applied_lsn,
		.incarnation = volume->index.applied_incarnation };
	call->task.arg = call;
	for (size_t i = 0; i < count; i++) {
		append_le64(&call->bodies, bodies[i].lsn);
		append_le32(&call->bodies, bodies[i].length);
	}
	loop_post(slot->volumes->front, &call->task);
}

struct mend_call {
	struct task task;
	struct slot *slot;
	struct log_damage damage;
	unsigned passed_over;
};

static void on_mend(void *arg)
{
	struct mend_call *call = arg;
	replicator_link_mend(call->slot->volumes->link, call->slot,
		&(struct cluster_message){ .kind = MESSAGE_MEND,
			.volume = call->slot->id,
			.lsn = call->damage.from,
			.end = call->damage.to,
			.opening = call->passed_over });
	free(call);
}

static void on_volume_mend(void *arg, struct volume *volume, const struct log_damage *damage,
	unsigned passed_over)
{
	struct slot *slot = arg;
	struct mend_call *call = mem_alloc(sizeof(*call));
	(void)volume;
	*call = (struct mend_call){ .task.run = on_mend,
		.slot = slot,
		.damage = *damage,
		.passed_over = passed_over };
	call->task.arg = call;
	loop_post(slot->volumes->front, &call->task);
}

/* On the front thread, as often as it is free. */
static void on_slot_changed(void *arg)
{
	struct slot *slot = arg;
	replicator_link_tell(slot->volumes->link, slot);
	slot_tell_directory(slot);
}

struct volume_events slot_events(struct slot *slot)
{
	return (struct volume_events){ .release = on_volume_release,
		.claim = on_volume_claim,
		.punch = on_volume_punch,
		.mend = on_volume_mend,
		.changed = on_volume_changed,
		.arg = slot };
}

void slot_init(struct slot *slot)
{
	slot->changed_task.run = on_slot_changed;
	slot->changed_task.arg = slot;
	slot->told_state = -1;
}

/* ---- calls of those above ---- */

static void on_volume_call(void *arg)
{
	struct volume_call *call = arg;
	const struct slot *slot = call->slot;
	call->run(call, slot->volume);
}

bool volumes_call(struct volumes *volumes, uint32_t volume_id, struct volume_call *call)
{
	struct slot *slot = volumes_find_slot(volumes, volume_id);
	if (slot == NULL)
		return false;
	call->slot = slot;
	call->task = (struct task){ .run = on_volume_call, .arg = call };
	loop_post(slot->worker->loop, &call->task);
	return true;
}

bool volumes_hold(const struct volumes *volumes, uint32_t volume_id)
{
	return volumes_find_slot(volumes, volume_id) != NULL;
}

unsigned volumes_count(const struct volumes *volumes)
{
	return (unsigned)map_count(volumes->slots);
}

struct loop *volumes_front(const struct volumes *volumes)
{
	return volumes->front;
}

/* ---- sessions ---- */

struct hand_over {
	struct task task;
	struct slot *slot;
	struct stream *stream;
	void (*start)(struct volume *volume, struct stream *stream, void *arg);
	void *arg;
	struct volumes *volumes;
};

static void on_refused_session(void *arg)
{
	struct hand_over *over = arg;
	over->start(NULL, over->stream, over->arg);
	free(over);
}

static void on_session(void *arg)
{
	struct hand_over *over = arg;
	if (over->slot->volume->state != VOLUME_PRIMARY) {
		over->task.run = on_refused_session;
		loop_post(over->volumes->front, &over->task);
		return;
	}
	over->start(over->slot->volume, over->stream, over->arg);
	free(over);
}

void volumes_hand_over(struct volumes *volumes, uint32_t volume_id, struct stream *stream,
	void (*start)(struct volume *volume, struct stream *stream, void *arg), void *arg)
{
	struct hand_over *over = mem_alloc(sizeof(*over));
	struct slot *slot = volumes_find_slot(volumes, volume_id);
	*over = (struct hand_over){ { .arg = over }, slot, stream, start, arg, volumes };
	over->task.run = slot ? on_session : on_refused_session;
	loop_post(slot ? slot->worker->loop : volumes->front, &over->task);
}
