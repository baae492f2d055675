#include "replicator/internal.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

/* The follower's side: asks, writes, acknowledges. */

static void try_receive(struct copy *copy);

static bool should_follow(const struct copy *copy)
{
	return copy->desired.role == REPLICATOR_FOLLOW && !copy->node_wants && !copy->node_writes;
}

static struct connection *leader_connection(const struct copy *copy)
{
	uint64_t id = copy->desired.leader_node_id;
	struct peer *peer = map_get(copy->replicator->peers, map_key_u64(&id));
	return peer && peer->connection && peer->connection->node_id == peer->node_id
		? peer->connection
		: NULL;
}

void receive_report(struct copy *copy)
{
	copy->report_owed = false;
	node_side_send(copy->replicator, &(struct cluster_message){ .kind = MESSAGE_RECEIVED,
						 .volume = copy->id,
						 .lsn = volume_log_end(copy->log),
						 .end = copy->leader_end,
						 .time_us = copy->leader_time_us });
}

/* At once after a pause, and then not more often than every REPORT_MS. */
static void report_end(struct copy *copy, uint64_t leader_end, uint64_t time_us)
{
	struct timer *timer = copy->replicator->report_timer;
	copy->leader_end = leader_end;
	copy->leader_time_us = time_us;
	copy->report_owed = true;
	if (timer_is_running(timer))
		return;
	receive_report(copy);
	timer_start(timer, REPORT_MS);
}

void receive_on_report_timer(void *arg)
{
	struct replicator *replicator = arg;
	void *value;
	bool any = false;
	for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);) {
		struct copy *copy = value;
		if (!copy->report_owed || copy->log == NULL)
			continue;
		any = true;
		receive_report(copy);
	}
	if (any)
		timer_start(replicator->report_timer, REPORT_MS);
}

static void ask(struct copy *copy, struct connection *connection)
{
	struct buf vector = { 0 };
	epochs_encode(volume_log_epochs(copy->log), &vector);
	copy->leader = connection;
	copy->is_following = false;
	connection_send(connection, &(struct cluster_message){ .kind = MESSAGE_FOLLOW,
					    .volume = copy->id,
					    .lsn = volume_log_end(copy->log),
					    .epochs = buf_str(&vector) });
	buf_deinit(&vector);
}

static bool open_log(struct copy *copy)
{
	struct error error;
	const struct replicator_options *options = &copy->replicator->options;
	if (copy->log != NULL)
		return true;
	int result = volume_log_open(
		options->loop, options->disk, copy->directory, copy->id,
		&(struct log_told){ 0 }, &copy->log, NULL, &error);
	if (result == 0) {
		report_end(copy, volume_log_end(copy->log), (uint64_t)clock_wall_us());
		return true;
	}
	if (result != -EAGAIN)
		log_error("replica_unusable", "volume=%u reason=%s", copy->id,
			log_quote(str_from(error.text)));
	/* The node closes its side in a moment; anything else needs the operator and is tried
	 * seldom. */
	timer_start(copy->open_timer, result == -EAGAIN ? LOCK_RETRY_MS : REFUSED_RETRY_MS);
	return false;
}

void receive_on_open_timer(void *arg)
{
	receive_reconcile(arg);
}

void receive_reconcile(struct copy *copy)
{
	if (!should_follow(copy)) {
		receive_release(copy);
		return;
	}
	if (copy->is_receiving || !open_log(copy) || volume_log_is_fenced(copy->log))
		return;
	struct connection *connection = leader_connection(copy);
	if (connection == NULL || connection == copy->leader)
		return;
	ask(copy, connection);
}

static void free_chunk(struct queued_chunk *chunk)
{
	struct connection *connection = chunk->connection;
	if (connection != NULL) {
		connection->receive_queued -= chunk->chunk.length;
		if (connection->is_paused && connection->receive_queued < RECEIVE_QUEUE_MAX / 2) {
			connection->is_paused = false;
			stream_resume(connection->stream);
		}
	}
	bytes_unref(&chunk->payload);
	free(chunk);
}

static void drop_chunks(struct copy *copy)
{
	while (!list_is_empty(&copy->chunks)) {
		struct queued_chunk *chunk =
			list_entry(copy->chunks.next, struct queued_chunk, link);
		list_remove(&chunk->link);
		free_chunk(chunk);
	}
}

/* The leader is not followed any more; the follower asks again, after longer and longer. */
static void ask_again_later(struct copy *copy)
{
	copy->ask_again_ms = timer_next_wait_ms(copy->ask_again_ms, RECONNECT_MS, ASK_AGAIN_MS_MAX);
	copy->leader = NULL;
	copy->is_following = false;
	drop_chunks(copy);
	timer_start(copy->open_timer, copy->ask_again_ms);
}

void receive_forget_connection(struct copy *copy, struct connection *connection)
{
	list_for_each (entry, &copy->chunks) {
		struct queued_chunk *chunk = list_entry(entry, struct queued_chunk, link);
		if (chunk->connection == connection)
			chunk->connection = NULL;
	}
	if (copy->current != NULL && copy->current->connection == connection)
		copy->current->connection = NULL;
	if (copy->leader != connection)
		return;
	copy->leader = NULL;
	copy->is_following = false;
	drop_chunks(copy);
}

void receive_release(struct copy *copy)
{
	copy->leader = NULL;
	copy->is_following = false;
	drop_chunks(copy);
	if (copy->is_receiving)
		return; /* on_received comes back here */
	timer_stop(copy->open_timer);
	if (copy->report_owed)
		receive_report(copy);
	volume_log_close(&copy->log);
	if (copy->release_owed) {
		copy->release_owed = false;
		node_side_send(copy->replicator,
			&(struct cluster_message){ .kind = MESSAGE_RELEASED, .volume = copy->id });
	}
}

void receive_on_following(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	if (copy == NULL || copy->leader != connection || copy->log == NULL)
		return;
	copy->is_following = true;
	copy_saw_epoch(copy, message->epoch);
	report_end(copy, message->end, message->time_us);
	log_info("follows", "volume=%u leader=%u lsn=%llu behind=%llu", copy->id,
		connection->node_id, (unsigned long long)message->lsn,
		(unsigned long long)(message->end - volume_log_end(copy->log)));
}

/* While it runs the copy is receiving: nothing else touches its log. */
static void on_cut_done(void *arg, int status)
{
	struct copy *copy = arg;
	copy->is_receiving = false;
	if (status < 0) {
		log_error("cut_failed", "volume=%u lsn=%llu reason=%s", copy->id,
			(unsigned long long)volume_log_end(copy->log),
			log_quote(str_from(strerror(-status))));
		copy->leader = NULL;
		copy->is_following = false;
		volume_log_close(&copy->log);
		timer_start(copy->open_timer, REFUSED_RETRY_MS);
		return;
	}
	copy->report_owed = false;
	node_side_send(copy->replicator, &(struct cluster_message){ .kind = MESSAGE_WAS_CUT,
						 .volume = copy->id,
						 .lsn = volume_log_end(copy->log) });
	if (!should_follow(copy))
		receive_release(copy);
	else if (copy->leader != NULL)
		ask(copy, copy->leader);
	else
		receive_reconcile(copy);
}

void receive_on_cut(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	if (copy == NULL || copy->leader != connection || copy->log == NULL || copy->is_receiving)
		return;
	/* Only an epoch later than that of every byte that is to go may cut it: this is the
	 * directory's word, not only the peer's. Nobody is cut within an epoch that he has
	 * acknowledged. */
	uint64_t end = volume_log_end(copy->log);
	uint64_t mine = epochs_epoch_below(volume_log_epochs(copy->log), end);
	if (message->lsn >= end || message->epoch != copy->desired.epoch ||
		message->epoch < copy->highest_epoch || mine >= message->epoch) {
		log_error("cut_refused", "volume=%u leader=%u epoch=%llu directory=%llu mine=%llu",
			copy->id, connection->node_id, (unsigned long long)message->epoch,
			(unsigned long long)copy->desired.epoch, (unsigned long long)mine);
		ask_again_later(copy);
		return;
	}
	copy->is_receiving = true;
	volume_log_cut(copy->log, message->lsn, on_cut_done, copy);
}

void receive_on_refuse(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	if (copy == NULL || copy->leader != connection)
		return;
	log_debug("follow_refused", "volume=%u leader=%u reason=%s", copy->id, connection->node_id,
		log_quote(message->text));
	copy_saw_epoch(copy, message->epoch);
	ask_again_later(copy);
}

/* ---- chunks ---- */

/* False: a later epoch than the leader's has been shown here, and it is confirmed nothing more.
 * What a leader ships of epochs before its own is right. */
static bool acknowledge(struct copy *copy, struct connection *connection, uint64_t leader_epoch)
{
	const struct epoch_entry *last = epochs_last(volume_log_epochs(copy->log));
	if (last == NULL)
		return true;
	if (leader_epoch < copy->highest_epoch) {
		connection_send(connection, &(struct cluster_message){ .kind = MESSAGE_EPOCH,
						    .volume = copy->id,
						    .epoch = copy->highest_epoch });
		return false;
	}
	connection_send(connection, &(struct cluster_message){ .kind = MESSAGE_ACK,
					    .volume = copy->id,
					    .epoch = last->epoch,
					    .reign = str_of(last->reign, EPOCH_REIGN_LENGTH),
					    .lsn = volume_log_end(copy->log) });
	return true;
}

static void park(struct copy *copy, struct connection *connection, const char *why)
{
	if (connection != NULL)
		connection_send(connection, &(struct cluster_message){ .kind = MESSAGE_PARK,
						    .volume = copy->id,
						    .text = str_from(why) });
	ask_again_later(copy);
}

/* Nothing of the chunk was confirmed. The volume is parked on this connection; the others that
 * share it go on. */
static void refuse_chunk(
	struct copy *copy, struct queued_chunk *chunk, const struct volume_receive *receive)
{
	struct connection *connection = chunk->connection;
	const char *why = strerror(-receive->status);
	log_error("chunk_refused", "volume=%u lsn=%llu end=%llu reason=%s", copy->id,
		(unsigned long long)receive->lsn, (unsigned long long)volume_log_end(copy->log),
		log_quote(str_from(why)));
	free_chunk(chunk);
	if (!should_follow(copy)) {
		receive_release(copy);
		return;
	}
	/* A failed disk is asked about again only by the next process (see receive_reconcile). */
	park(copy, copy->leader == connection ? connection : NULL, why);
}

static void on_received(struct volume_receive *receive)
{
	struct copy *copy = receive->arg;
	struct queued_chunk *chunk = copy->current;
	copy->is_receiving = false;
	if (receive->status < 0) {
		copy->current = NULL;
		refuse_chunk(copy, chunk, receive);
		return;
	}
	metric_add(copy->replicator->received_bytes, (int64_t)receive->length);
	chunk->done += receive->length;
	copy->ask_again_ms = 0;
	bool is_led = chunk->connection != NULL && copy->leader == chunk->connection;
	struct connection *deposed =
		is_led && !acknowledge(copy, chunk->connection, chunk->chunk.epoch)
		? chunk->connection
		: NULL;
	report_end(copy, chunk->chunk.leader_end, chunk->chunk.time_us);
	if (chunk->done == chunk->chunk.length || deposed != NULL) {
		copy->current = NULL;
		free_chunk(chunk);
	}
	if (deposed != NULL && should_follow(copy)) {
		park(copy, deposed, "a later epoch is known here");
		return;
	}
	if (!should_follow(copy)) {
		if (copy->current != NULL) {
			free_chunk(copy->current);
			copy->current = NULL;
		}
		receive_release(copy);
		return;
	}
	try_receive(copy);
	if (!copy->is_receiving)
		receive_reconcile(copy);
}

/* Chunks that came while a write was in flight become one write: their bytes follow each other. */
static void merge_chunks(struct copy *copy, struct queued_chunk *first)
{
	size_t total = first->chunk.length;
	unsigned count = 0;
	list_for_each (entry, &copy->chunks) {
		struct queued_chunk *next = list_entry(entry, struct queued_chunk, link);
		if (next->chunk.lsn != first->chunk.lsn + total ||
			segment_of(next->chunk.lsn) != segment_of(first->chunk.lsn) ||
			total + next->chunk.length > CHUNK_BYTES_TARGET ||
			next->connection != first->connection)
			break;
		total += next->chunk.length;
		count++;
	}
	if (count == 0)
		return;
	struct bytes *merged = bytes_create(CHUNK_HEADER_LENGTH + total);
	size_t filled = CHUNK_HEADER_LENGTH + first->chunk.length;
	memcpy(merged->data, first->payload->data, filled);
	while (count-- > 0) {
		struct queued_chunk *next =
			list_entry(copy->chunks.next, struct queued_chunk, link);
		memcpy(merged->data + filled, next->payload->data + CHUNK_HEADER_LENGTH,
			next->chunk.length);
		filled += next->chunk.length;
		first->chunk.leader_end = next->chunk.leader_end;
		first->chunk.time_us = next->chunk.time_us;
		list_remove(&next->link);
		bytes_unref(&next->payload);
		free(next);
	}
	first->chunk.length = total;
	bytes_unref(&first->payload);
	first->payload = merged;
}

static void try_receive(struct copy *copy)
{
	if (copy->is_receiving || copy->log == NULL)
		return;
	if (copy->current == NULL) {
		if (list_is_empty(&copy->chunks))
			return;
		copy->current = list_entry(copy->chunks.next, struct queued_chunk, link);
		list_remove(&copy->current->link);
		merge_chunks(copy, copy->current);
	}
	struct queued_chunk *chunk = copy->current;
	copy->is_receiving = true;
	copy->receive = (struct volume_receive){ .bytes = chunk->payload,
		.lsn = chunk->chunk.lsn + chunk->done,
		.offset = CHUNK_HEADER_LENGTH + chunk->done,
		.length = chunk->chunk.length - chunk->done,
		.done = on_received,
		.arg = copy };
	volume_log_receive(copy->log, &copy->receive);
}

void receive_on_chunk(struct connection *connection, struct bytes *payload)
{
	struct chunk chunk;
	if (!chunk_decode(bytes_str(payload), &chunk))
		return;
	struct copy *copy = replicator_find_copy(connection->replicator, chunk.volume);
	if (copy == NULL || copy->leader != connection || !copy->is_following ||
		!should_follow(copy) || chunk.epoch < copy->desired.epoch)
		return; /* of a shipment that has ended */
	struct queued_chunk *queued = mem_alloc(sizeof(*queued));
	queued->payload = bytes_ref(payload);
	queued->chunk = chunk;
	queued->connection = connection;
	list_append(&copy->chunks, &queued->link);
	connection->receive_queued += chunk.length;
	if (connection->receive_queued >= RECEIVE_QUEUE_MAX && !connection->is_paused) {
		connection->is_paused = true;
		stream_pause(connection->stream);
	}
	try_receive(copy);
}
