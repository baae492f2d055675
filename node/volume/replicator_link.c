#include "node/volume/volumes_internal.h"

#include "core/clock.h"
#include "core/config.h"
#include "core/log.h"
#include "core/net.h"

#include <errno.h>
#include <stdio.h>

/*
 * The node's end of the UNIX socket to the replicator of this machine. The node dials and dials
 * again; after every connection it says what it writes and what it wants, so that either process
 * may restart.
 */

enum {
	/* A restarted replicator is back within this; dialling a socket file costs nothing. */
	RECONNECT_MS = 100,
	/* The other process may be writing to a slow disk. */
	CONNECT_MS_MAX = 1000,
	/* A chunk that mends, of a whole segment at most. */
	LINK_PAYLOAD_MAX = FRAME_PAYLOAD_MAX,
};

struct replicator_link {
	struct volumes *volumes;
	char address[512];
	struct stream *stream;
	bool open;
	struct timer *timer;
	struct frame_reader reader;
	struct pool *pool;
	struct buf out;
};

static void send_message(struct replicator_link *link, const struct cluster_message *message)
{
	buf_clear(&link->out);
	message_encode(message, &link->out);
	stream_write_str(link->stream, buf_str(&link->out));
}

/* ---- telling ---- */

static void run_released(struct worker_call *call)
{
	volume_released(call->slot->volume,
		&(struct volume_release){ .opening = (uint32_t)call->a,
			.end = call->b,
			.chain = call->c,
			.question = call->d });
}

static void tell_release(struct replicator_link *link, struct slot *slot, uint64_t question)
{
	uint64_t prove_epoch =
		question == slot->answered_question ? 0 : atomic_load(&slot->prove_epoch);
	if (!link->open && prove_epoch == 0) {
		/* Nobody to ask: the lock file tells whether the log is free. */
		struct worker_call *call = slot_call(slot, run_released);
		call->d = slot->over_question = question;
		slot_send(call);
	}
	if (!link->open)
		return;
	slot->sent_question = question;
	/* It keeps off until it hears that this is over. */
	slot->told_state = -1;
	slot->told_writes = false;
	send_message(link,
		&(struct cluster_message){ .kind = prove_epoch ? MESSAGE_PROVE : MESSAGE_RELEASE,
			.volume = slot->id,
			.epoch = prove_epoch,
			.connected = atomic_load(&slot->passes_over),
			.end = question });
}

/* A fenced volume still ships what it has: the promotion waits for it. */
static void tell_durable(struct replicator_link *link, struct slot *slot)
{
	const struct volume_numbers *numbers = &slot->volume->numbers;
	uint64_t epoch = atomic_load(&numbers->epoch), reign[2];
	uint64_t durable, chain;
	volume_numbers_end(numbers, &durable, &chain);
	reign[0] = atomic_load(&numbers->reign[0]);
	reign[1] = atomic_load(&numbers->reign[1]);
	/* Read between two reigns: the next change comes. */
	if (!atomic_load(&numbers->writes) || atomic_load(&numbers->epoch) != epoch)
		return;
	if (slot->told_writes && durable == slot->told_durable)
		return;
	send_message(link,
		&(struct cluster_message){ .kind = MESSAGE_DURABLE,
			.volume = slot->id,
			.epoch = epoch,
			.reign = str_of(reign, GROUP_REIGN_LENGTH),
			.lsn = durable,
			.chain = chain });
	slot->told_writes = true;
	slot->told_durable = durable;
}

void replicator_link_tell(struct replicator_link *link, struct slot *slot)
{
	uint64_t question = atomic_load(&slot->question);
	int state = atomic_load(&slot->volume->numbers.state);
	/* A replica wants nothing: what it asked before is void. */
	if (state == VOLUME_REPLICA)
		slot->over_question = question;
	if (question > slot->over_question && question != slot->sent_question)
		tell_release(link, slot, question);
	if (!link->open)
		return;
	if (atomic_load(&slot->volume->numbers.writes) && question <= slot->over_question)
		tell_durable(link, slot);
	if (state == VOLUME_REPLICA && slot->told_state != VOLUME_REPLICA) {
		send_message(link,
			&(struct cluster_message){ .kind = MESSAGE_RETIRED, .volume = slot->id });
		slot->told_writes = false;
	}
	slot->told_state = state;
	uint64_t damaged = atomic_load(&slot->volume->numbers.damaged);
	if (state == VOLUME_REPLICA && damaged != 0 && damaged != slot->told_damaged)
		send_message(link,
			&(struct cluster_message){
				.kind = MESSAGE_DAMAGED, .volume = slot->id, .lsn = damaged - 1 });
	slot->told_damaged = damaged;
}

/* It has just started, or come to know the volume: what was said before is lost. It has to keep off
 * from what stands still or is being opened here, and no more than that where it has answered: a
 * volume that has its proof is reading its log, and a second proof would wait for that for ever. */
static void tell_anew(struct replicator_link *link, struct slot *slot)
{
	int state = atomic_load(&slot->volume->numbers.state);
	uint64_t question = atomic_load(&slot->question);
	slot->told_state = -1;
	slot->told_writes = false;
	slot->sent_question = slot->told_damaged = 0;
	if (state != VOLUME_REPLICA && !atomic_load(&slot->volume->numbers.writes) &&
		question > 0 && slot->over_question == question) {
		slot->answered_question = question;
		slot->over_question--;
	}
	replicator_link_tell(link, slot);
}

static void run_punched(struct worker_call *call)
{
	volume_punched(call->slot->volume, call->a, (int)(int64_t)call->b);
}

static void on_punched(struct slot *slot, uint64_t number, int status)
{
	struct worker_call *call = slot_call(slot, run_punched);
	call->a = number;
	call->b = (uint64_t)(int64_t)status;
	slot_send(call);
}

void replicator_link_punch(struct replicator_link *link, struct slot *slot,
	const struct cluster_message *message)
{
	if (link->open)
		send_message(link, message);
	else
		on_punched(slot, message->end, -EAGAIN);
}

static void run_mend_with(struct worker_call *call)
{
	volume_mend_with(call->slot->volume, call->a, call->arg);
}

/* NULL: no copy has it. */
static void on_groups(struct slot *slot, uint64_t lsn, struct bytes *groups)
{
	struct worker_call *call = slot_call(slot, run_mend_with);
	call->a = lsn;
	call->arg = groups;
	slot_send(call);
}

void replicator_link_mend(struct replicator_link *link, struct slot *slot,
	const struct cluster_message *message)
{
	if (link->open)
		send_message(link, message);
	else
		on_groups(slot, message->lsn, NULL);
}

void replicator_link_scrub(struct replicator_link *link, struct slot *slot, uint64_t lsn)
{
	if (link->open)
		send_message(link,
			&(struct cluster_message){ .kind = MESSAGE_DAMAGED,
				.volume = slot->id,
				.lsn = lsn,
				.connected = true });
}

/* ---- hearing ---- */

static void run_received(struct worker_call *call)
{
	volume_received(call->slot->volume, call->a, call->d, call->b, call->c);
}

static void run_was_cut(struct worker_call *call)
{
	volume_was_cut(call->slot->volume, call->a);
}

static void run_unheard(struct worker_call *call)
{
	volume_unheard(call->slot->volume);
}

static void run_acked(struct worker_call *call)
{
	volume_acked(call->slot->volume, (uint32_t)call->a, call->b, call->flag);
}

static void run_diverged(struct worker_call *call)
{
	volume_diverged(call->slot->volume, (uint32_t)call->a);
}

static void run_higher_epoch(struct worker_call *call)
{
	volume_higher_epoch(call->slot->volume, call->a);
}

static void run_behind(struct worker_call *call)
{
	volume_behind(call->slot->volume, (uint32_t)call->a, call->b, call->c);
}

static void run_mend_state(struct worker_call *call)
{
	volume_mend_state(call->slot->volume);
}

static void run_rotten(struct worker_call *call)
{
	volume_mend(call->slot->volume, call->a, NULL);
}

static void run_proving(struct worker_call *call)
{
	volume_proving(call->slot->volume, call->flag, call->a, call->b);
}

static void on_released(
	struct replicator_link *link, struct slot *slot, const struct cluster_message *message)
{
	struct worker_call *call = slot_call(slot, run_released);
	if (message->end > slot->over_question)
		slot->over_question = message->end;
	slot->waits_for[0] = '\0';
	call->a = message->opening;
	call->b = message->lsn;
	call->c = message->chain;
	call->d = message->end;
	slot_send(call);
	/* The volume may have gone on meanwhile without it, and be writing already. */
	replicator_link_tell(link, slot);
}

static void on_proving(struct slot *slot, const struct cluster_message *message)
{
	struct worker_call *call = slot_call(slot, run_proving);
	snprintf(slot->waits_for, sizeof(slot->waits_for), STR_FORMAT, STR_ARG(message->text));
	call->flag = message->connected;
	call->a = message->lsn;
	call->b = message->end;
	slot_send(call);
}

static void note_ack(struct slot *slot, const struct cluster_message *ack)
{
	unsigned i = 0;
	while (i < slot->replica_count && slot->replicas[i].node_id != ack->node)
		i++;
	if (i == VOLUME_COPIES_MAX)
		return;
	struct slot_replica *replica = &slot->replicas[i];
	if (i == slot->replica_count)
		slot->replica_count++;
	if (ack->connected && !replica->connected)
		replica->connected_us = clock_mono_us();
	if (replica->verdict_since_us == 0 || replica->verdict != ack->verdict)
		replica->verdict_since_us = clock_wall_us();
	replica->node_id = ack->node;
	replica->copy = ack->copy;
	replica->connected = ack->connected;
	replica->verdict = ack->verdict;
	replica->verified_lsn = ack->end;
	if (ack->connected)
		replica->acked_lsn = ack->lsn;
}

/* It is of no copy: of a node that has none any more, or of one that was thrown away and is being
 * filled anew. */
static bool is_outdated(const struct slot *slot, const struct cluster_message *ack)
{
	for (unsigned i = 0; i < slot->other_count; i++)
		if (slot->others[i].node_id == ack->node)
			return ack->connected && slot->others[i].is_seeding &&
				ack->copy < slot->others[i].copy;
	return slot->is_member;
}

static void on_acked(struct slot *slot, const struct cluster_message *message)
{
	if (is_outdated(slot, message))
		return;
	bool diverged = message->verdict == COPY_DIVERGED;
	struct worker_call *call = slot_call(slot, diverged ? run_diverged : run_acked);
	note_ack(slot, message);
	call->a = message->node;
	call->b = message->lsn;
	call->flag = message->connected;
	slot_send(call);
}

static void on_message(struct replicator_link *link, const struct cluster_message *message)
{
	struct slot *slot = volumes_find_slot(link->volumes, message->volume);
	struct worker_call *call;
	if (slot == NULL)
		return;
	switch (message->kind) {
	case MESSAGE_HELLO: tell_anew(link, slot); return;
	case MESSAGE_RELEASED: on_released(link, slot, message); return;
	case MESSAGE_PROVING: on_proving(slot, message); return;
	case MESSAGE_PUNCHED: on_punched(slot, message->end, message->status); return;
	case MESSAGE_ACKED: on_acked(slot, message); return;
	case MESSAGE_RECEIVED:
		slot->verdict = message->verdict;
		call = slot_call(slot, run_received);
		call->a = message->lsn;
		call->b = message->end;
		call->c = message->time_us;
		call->d = message->whole_from;
		slot_send(call);
		return;
	case MESSAGE_WAS_CUT:
		call = slot_call(slot, run_was_cut);
		call->a = message->lsn;
		slot_send(call);
		return;
	case MESSAGE_HIGHER_EPOCH:
		call = slot_call(slot, run_higher_epoch);
		call->a = message->epoch;
		slot_send(call);
		return;
	case MESSAGE_NOT_MENDED: on_groups(slot, message->lsn, NULL); return;
	case MESSAGE_ROTTEN:
		call = slot_call(slot, run_rotten);
		call->a = message->lsn;
		slot_send(call);
		return;
	case MESSAGE_DAMAGED: slot_send(slot_call(slot, run_mend_state)); return;
	case MESSAGE_BEHIND:
		call = slot_call(slot, run_behind);
		call->a = message->node;
		call->b = message->epoch;
		call->c = message->lsn;
		slot_send(call);
		return;
	default: return;
	}
}

static void on_chunk(struct replicator_link *link, const struct bytes *payload)
{
	struct chunk chunk;
	if (!chunk_decode(bytes_str(payload), &chunk) || !chunk.mends)
		return;
	struct slot *slot = volumes_find_slot(link->volumes, chunk.volume);
	if (slot != NULL)
		on_groups(slot, chunk.lsn,
			bytes_create_copy(str_from_index(bytes_str(payload), CHUNK_HEADER_LENGTH)));
}

static void on_input(void *arg, struct buf *input)
{
	struct replicator_link *link = arg;
	enum frame_type type;
	struct bytes *payload;
	enum frame_result result;
	while ((result = frame_read(&link->reader, input, LINK_PAYLOAD_MAX, &type, &payload)) ==
		FRAME_DONE) {
		struct cluster_message message;
		pool_reset(link->pool);
		if (type == FRAME_CHUNK)
			on_chunk(link, payload);
		else if (message_decode(bytes_str(payload), link->pool, &message))
			on_message(link, &message);
		bytes_unref(&payload);
	}
	if (result == FRAME_BAD)
		log_error("replicator_link_broken", "reason=\"bad frame\"");
}

/* ---- the connection ---- */

void replicator_link_greet(struct replicator_link *link)
{
	if (link->open)
		send_message(link,
			&(struct cluster_message){ .kind = MESSAGE_HELLO,
				.node = link->volumes->node_id,
				.text = str_from(link->volumes->config->node) });
}

static void on_open(void *arg)
{
	struct replicator_link *link = arg;
	void *value;
	link->open = true;
	log_info("replicator_linked", "socket=%s", link->address);
	replicator_link_greet(link);
	for (size_t i = 0; map_next(link->volumes->slots, &i, NULL, &value);)
		tell_anew(link, value);
}

static void forget_replicas(struct replicator_link *link)
{
	void *value;
	for (size_t i = 0; map_next(link->volumes->slots, &i, NULL, &value);) {
		struct slot *slot = value;
		for (unsigned k = 0; k < slot->replica_count; k++) {
			struct worker_call *call = slot_call(slot, run_acked);
			slot->replicas[k].connected = false;
			call->a = slot->replicas[k].node_id;
			slot_send(call);
		}
		slot_send(slot_call(slot, run_unheard));
		slot->sent_question = 0;
		replicator_link_tell(link, slot);
	}
}

static void on_close(void *arg, int reason)
{
	struct replicator_link *link = arg;
	if (link->open)
		log_warn("replicator_gone",
			"reason=%d effect=\"mail is on one site until it is back\"", reason);
	link->stream = NULL;
	link->open = false;
	frame_reader_deinit(&link->reader);
	forget_replicas(link);
	timer_start(link->timer, RECONNECT_MS);
}

static const struct stream_handler handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_close = on_close,
};

static void on_timer(void *arg)
{
	struct replicator_link *link = arg;
	link->stream = stream_connect(
		link->volumes->front, link->address, NULL, NULL, CONNECT_MS_MAX, &handler, link);
}

struct replicator_link *replicator_link_create(struct volumes *volumes)
{
	struct replicator_link *link = mem_alloc(sizeof(*link));
	link->volumes = volumes;
	link->pool = pool_create();
	snprintf(link->address, sizeof(link->address), "unix:%s/replicator.sock",
		volumes->config->run_dir);
	link->timer = timer_new(volumes->front, on_timer, link);
	timer_start(link->timer, 0);
	return link;
}
