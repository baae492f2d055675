#include "replicator/internal.h"

#include "core/encode.h"
#include "core/log.h"
#include "spool/log_punch.h"

#include <errno.h>
#include <stdlib.h>

/* The UNIX socket on which the node of this machine connects. The newest connection counts. */

/* Messages only: chunks never come from the node. */
enum { NODE_PAYLOAD_MAX = FRAME_MESSAGE_MAX };

void node_side_send(struct replicator *replicator, const struct cluster_message *message)
{
	if (replicator->node == NULL)
		return;
	buf_clear(&replicator->out);
	message_encode(message, &replicator->out);
	stream_write_str(replicator->node, buf_str(&replicator->out));
}

void node_side_send_groups(struct copy *copy, uint64_t lsn, struct str groups)
{
	struct replicator *replicator = copy->replicator;
	uint8_t head[FRAME_HEADER_LENGTH + CHUNK_HEADER_LENGTH];
	struct chunk chunk = { .volume = copy->id, .lsn = lsn, .mends = true };
	if (replicator->node == NULL)
		return;
	chunk_encode(&chunk, groups, head);
	stream_write(replicator->node, head, sizeof(head));
	stream_write_str(replicator->node, groups);
}

/* What a node that greets must know: ends of replicas, who follows, higher epochs. */
static void tell_all(struct replicator *replicator)
{
	void *value;
	for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);) {
		struct copy *copy = value;
		if (copy->log != NULL)
			receive_report(copy);
		node_side_send(replicator, &(struct cluster_message){ .kind = MESSAGE_HIGHER_EPOCH,
						   .volume = copy->id,
						   .epoch = copy->highest_epoch });
		for (unsigned k = 0; k < REPLICATOR_MEMBERS_MAX; k++)
			if (copy->members[k].verdict == COPY_DIVERGED)
				member_tell(copy, copy->members[k].node_id, 0, 0, false);
		list_for_each (entry, &copy->shipments) {
			struct shipment *shipment = list_entry(entry, struct shipment, volume_link);
			if (!shipment->fetch_end)
				member_tell(copy, shipment->connection->node_id,
					shipment->copy_number, shipment->acked_lsn, true);
		}
	}
}

static void on_durable(struct copy *copy, const struct cluster_message *message)
{
	if (message->reign.length != GROUP_REIGN_LENGTH)
		return;
	bool new_reign = copy->node != NODE_WRITES || copy->node_epoch != message->epoch;
	copy->node = NODE_WRITES;
	copy->node_epoch = message->epoch;
	memcpy(copy->node_reign, message->reign.bytes, GROUP_REIGN_LENGTH);
	copy->durable_lsn = message->lsn;
	copy->durable_chain = message->chain;
	if (new_reign) {
		copy_saw_epoch(copy, message->epoch);
		receive_reconcile(copy);
		aside_drop(copy);
		/* Followers that were told `not here` ask again by themselves. */
	}
	if (copy->node_epoch < copy->highest_epoch)
		node_side_send(copy->replicator,
			&(struct cluster_message){ .kind = MESSAGE_HIGHER_EPOCH,
				.volume = copy->id,
				.epoch = copy->highest_epoch });
	ship_later(copy->replicator);
}

static void on_retired(struct copy *copy)
{
	if (copy->node != NODE_NONE)
		ship_retire(copy, false, "not written here any more");
	mend_end_for_node(copy);
	copy->node = NODE_NONE;
	receive_reconcile(copy);
}

static void on_release(struct copy *copy, uint64_t question)
{
	copy->node = NODE_WANTS;
	copy->question = question;
	receive_reconcile(copy);
}

/* What it wrote is not shipped while that is in question. */
static void on_prove(struct copy *copy, const struct cluster_message *message)
{
	copy->question = message->end;
	copy->passes_over = message->connected;
	ship_retire(copy, false, "not written here now");
	copy->node = NODE_PROVES;
	prove_begin(copy, message->epoch);
}

/* ---- room of a replica that comes back ---- */

static void answer_punch(struct copy *copy, uint64_t number, int status)
{
	node_side_send(copy->replicator,
		&(struct cluster_message){ .kind = MESSAGE_PUNCHED,
			.volume = copy->id,
			.end = number,
			.status = status });
}

static void on_punched(void *arg, int status)
{
	struct copy *copy = arg;
	answer_punch(copy, copy->punch_number, status);
}

/* The node's index is of the log here, as far as it goes: what it calls free is no other branch's.
 */
static bool is_of_this_log(const struct copy *copy, const struct cluster_message *message)
{
	const struct epochs *epochs = volume_log_epochs(copy->log);
	for (uint32_t i = 0; i < epochs->count; i++) {
		const struct epoch_entry *entry = &epochs->entries[i];
		if (entry->incarnation == message->incarnation)
			return message->lsn > entry->start_lsn &&
				message->lsn <= volume_log_end(copy->log) &&
				(i + 1 == epochs->count || message->lsn <= entry[1].start_lsn);
	}
	return false;
}

static void on_punch(struct copy *copy, const struct cluster_message *message)
{
	enum { PUNCH_BYTES = 12 };
	size_t count = message->bodies.length / PUNCH_BYTES;
	if (copy->node != NODE_NONE || copy->log == NULL || copy->is_writing ||
		volume_log_is_punching(copy->log) || message->bodies.length % PUNCH_BYTES != 0 ||
		count > LOG_PUNCH_MAX || !is_of_this_log(copy, message)) {
		answer_punch(copy, message->end, -EAGAIN);
		return;
	}
	struct punch *punches = mem_alloc((count + 1) * sizeof(*punches));
	bool is_below = true;
	for (size_t i = 0; i < count; i++) {
		const char *at = message->bodies.bytes + i * PUNCH_BYTES;
		punches[i] = (struct punch){ get_le64(at), get_le32(at + 8) };
		is_below &= volume_log_may_punch(copy->log, punches[i].lsn);
	}
	copy->punch_number = message->end;
	if (is_below)
		volume_log_punch(copy->log, punches, count, on_punched, copy);
	else
		answer_punch(copy, message->end, -EAGAIN);
	free(punches);
}

static void on_message(struct replicator *replicator, const struct cluster_message *message)
{
	if (message->kind == MESSAGE_HELLO) {
		/* The node says it again when it has come to hold more volumes. */
		tell_all(replicator);
		return;
	}
	struct copy *copy = replicator_find_copy(replicator, message->volume);
	if (copy == NULL) {
		/* Not in the directory as we know it: nobody writes here, the node may have it. A
		 * proof has to wait until the members are known. */
		if (message->kind == MESSAGE_RELEASE)
			node_side_send(replicator,
				&(struct cluster_message){ .kind = MESSAGE_RELEASED,
					.volume = message->volume,
					.end = message->end });
		return;
	}
	switch (message->kind) {
	case MESSAGE_DURABLE: on_durable(copy, message); break;
	case MESSAGE_RETIRED: on_retired(copy); break;
	case MESSAGE_RELEASE: on_release(copy, message->end); break;
	case MESSAGE_DAMAGED:
		mend_replica(copy, message->lsn, message->connected ? MEND_SCRUBBED : MEND_READ);
		break;
	case MESSAGE_MEND: mend_for_node(copy, message); break;
	case MESSAGE_PROVE: on_prove(copy, message); break;
	case MESSAGE_PUNCH: on_punch(copy, message); break;
	default: break;
	}
}

static void on_input(void *arg, struct buf *input)
{
	struct replicator *replicator = arg;
	enum frame_type type;
	struct bytes *payload;
	enum frame_result result;
	while ((result = frame_read(&replicator->node_reader, input, NODE_PAYLOAD_MAX, &type,
			&payload)) == FRAME_DONE) {
		struct cluster_message message;
		pool_reset(replicator->pool);
		if (type == FRAME_MESSAGE &&
			message_decode(bytes_str(payload), replicator->pool, &message))
			on_message(replicator, &message);
		bytes_unref(&payload);
	}
	if (result == FRAME_BAD)
		log_error("node_link_broken", "reason=\"bad frame\"");
}

/* What it wrote is durable and goes on being shipped; its wishes are void. */
static void forget_node(struct replicator *replicator)
{
	void *value;
	replicator->node = NULL;
	frame_reader_deinit(&replicator->node_reader);
	for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);) {
		struct copy *copy = value;
		mend_end_for_node(copy);
		if (copy->node != NODE_WRITES)
			copy->node = NODE_NONE;
		receive_reconcile(copy);
	}
}

static void on_close(void *arg, int reason)
{
	log_info("node_gone", "reason=%d", reason);
	forget_node(arg);
}

static const struct stream_handler handler = { .on_input = on_input, .on_close = on_close };

static void on_accept(void *arg, struct stream *stream)
{
	struct replicator *replicator = arg;
	if (replicator->node != NULL) {
		stream_abort(replicator->node);
		forget_node(replicator);
	}
	replicator->node = stream;
	stream_set_handler(stream, &handler, replicator);
	log_info("node_linked", "node=%s", replicator->node_name);
}

int node_side_listen(struct replicator *replicator, const char *path, struct error *error)
{
	return listener_open(replicator->options.loop, path, NULL, on_accept, replicator,
		&replicator->node_listener, error);
}
