#include "replicator/internal.h"

#include "core/log.h"

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
				member_tell(copy, copy->members[k].node_id, 0, false);
		list_for_each (entry, &copy->shipments) {
			struct shipment *shipment = list_entry(entry, struct shipment, volume_link);
			if (!shipment->fetch_end)
				member_tell(copy, shipment->connection->node_id,
					shipment->acked_lsn, true);
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
	case MESSAGE_DAMAGED: receive_damaged(copy, message->lsn); break;
	case MESSAGE_PROVE: on_prove(copy, message); break;
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

static void on_close(void *arg, int reason)
{
	struct replicator *replicator = arg;
	void *value;
	log_info("node_gone", "reason=%d", reason);
	replicator->node = NULL;
	frame_reader_deinit(&replicator->node_reader);
	/* What it wrote is durable and goes on being shipped; its wishes are void. */
	for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);) {
		struct copy *copy = value;
		if (copy->node != NODE_WRITES)
			copy->node = NODE_NONE;
		receive_reconcile(copy);
	}
}

static const struct stream_handler handler = { .on_input = on_input, .on_close = on_close };

static void on_accept(void *arg, struct stream *stream)
{
	struct replicator *replicator = arg;
	if (replicator->node != NULL) {
		stream_abort(replicator->node);
		frame_reader_deinit(&replicator->node_reader);
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
