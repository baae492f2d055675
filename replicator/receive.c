#include "replicator/internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "spool/log_punch.h"
#include "spool/log_state.h"

#include <errno.h>
#include <stdlib.h>

/* The receiving side: asks, writes, acknowledges. A follower asks its leader; what a proof lacks is
 * fetched in the same way (prove.c). */

static const char *const state_names[] = { "idle", "asked", "receiving" };

static void try_receive(struct copy *copy);

static bool should_follow(const struct copy *copy)
{
	return copy->desired.role == REPLICATOR_FOLLOW && copy->node == NODE_NONE;
}

static bool may_receive(const struct copy *copy)
{
	return should_follow(copy) || copy->node == NODE_PROVES;
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

void copy_enter(struct copy *copy, enum copy_state state, struct connection *source)
{
	static const bool allowed[][3] = {
		[COPY_IDLE] = { true, true, false },
		[COPY_ASKED] = { true, true, true },
		[COPY_RECEIVING] = { true, true, true },
	};
	CHECK(allowed[copy->state][state]);
	CHECK((state == COPY_IDLE) == (source == NULL));
	if (copy->state != state)
		log_debug("copy_state", "volume=%u from=%s to=%s", copy->id,
			state_names[copy->state], state_names[state]);
	copy->state = state;
	copy->source = source;
	if (state == COPY_IDLE)
		drop_chunks(copy);
}

static struct connection *leader_connection(const struct copy *copy)
{
	struct peer *peer = replicator_find_peer(copy->replicator, copy->desired.leader_node_id);
	return peer && peer->connection && peer->connection->node_id == peer->node_id
		? peer->connection
		: NULL;
}

void receive_report(struct copy *copy)
{
	copy->report_owed = false;
	node_side_send(copy->replicator,
		&(struct cluster_message){ .kind = MESSAGE_RECEIVED,
			.volume = copy->id,
			.lsn = volume_log_end(copy->log),
			.end = copy->leader_end,
			.whole_from = volume_log_whole_from(copy->log),
			.verdict = copy->verdict,
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

void receive_ask(struct copy *copy, struct connection *connection)
{
	struct buf vector = { 0 };
	uint8_t copy_id[COPY_ID_LENGTH];
	room_look(copy->replicator);
	volume_log_copy_id(copy->log, copy_id);
	epochs_encode(volume_log_epochs(copy->log), &vector);
	copy_enter(copy, COPY_ASKED, connection);
	connection_send(connection,
		&(struct cluster_message){
			.kind = copy->node == NODE_PROVES ? MESSAGE_FETCH : MESSAGE_FOLLOW,
			.volume = copy->id,
			.copy = copy->number,
			.lsn = volume_log_end(copy->log),
			.chain = volume_log_chain(copy->log),
			.copy_id = str_of(copy_id, sizeof(copy_id)),
			.epochs = buf_str(&vector) });
	buf_deinit(&vector);
}

/* Its epoch is not over, as far as the directory has said. */
static bool stands_still(const struct copy *copy)
{
	uint64_t held = volume_log_held(copy->log);
	return held > 0 && copy->desired.epoch <= held;
}

static struct log_told what_is_told(const struct copy *copy)
{
	return (struct log_told){ .passes_over = true, .owner = copy->replicator->options.node_id };
}

static void on_opened(struct copy *copy)
{
	/* Its node may have read what the disk never took. */
	if (copy->is_read_anew)
		node_side_send(copy->replicator,
			&(struct cluster_message){ .kind = MESSAGE_WAS_CUT,
				.volume = copy->id,
				.lsn = volume_log_end(copy->log) });
	copy->is_read_anew = false;
	copy->stands_until_us = stands_still(copy) ? clock_mono_us() + HELD_MS_MAX * 1000u : 0;
	if (receive_is_held(copy))
		log_info("still_held", "volume=%u epoch=%llu end=%llu", copy->id,
			(unsigned long long)volume_log_held(copy->log),
			(unsigned long long)volume_log_end(copy->log));
	copy->verdict = COPY_UNVERIFIED;
	copy_saw_epoch(copy, volume_log_seen(copy->log));
	report_end(copy, 0, 0);
}

int receive_open_log(struct copy *copy, uint64_t *rotten_lsn_out, struct error *error)
{
	const struct replicator_options *options = &copy->replicator->options;
	struct log_told told = what_is_told(copy);
	if (copy->log != NULL)
		return 0;
	CHECK(!copy->is_writing);
	int result = volume_log_open(options->loop, options->disk, copy->directory, copy->id, &told,
		&copy->log, rotten_lsn_out, error);
	if (result == 0)
		on_opened(copy);
	return result;
}

/* Of a log that was closed until now. */
static void begin_to_follow(struct copy *copy)
{
	uint64_t damaged = volume_log_passed_over(copy->log);
	if (damaged != UINT64_MAX)
		mend_replica(copy, damaged, MEND_OPENED);
	aside_drop(copy);
}

static void on_repaired(void *arg, int status, struct volume_log *log, const struct error *error)
{
	struct copy *copy = arg;
	copy->is_writing = false;
	copy->log = log;
	if (status == 0)
		on_opened(copy);
	else
		log_error("not_repaired", "volume=%u reason=%s", copy->id,
			log_quote(str_from(error->text)));
	if (status == 0 && should_follow(copy))
		begin_to_follow(copy);
	/* Whoever wants the log by now has waited for this. */
	if (status == 0 || !should_follow(copy))
		receive_reconcile(copy);
	else
		timer_start(copy->open_timer, REFUSED_RETRY_MS);
}

void receive_repair_log(struct copy *copy)
{
	const struct replicator_options *options = &copy->replicator->options;
	struct log_told told = what_is_told(copy);
	CHECK(copy->log == NULL && !copy->is_writing);
	copy->is_writing = true;
	volume_log_repair(
		options->loop, options->disk, copy->directory, copy->id, &told, on_repaired, copy);
}

bool receive_is_held(const struct copy *copy)
{
	return copy->stands_until_us > 0;
}

/* The directory has decided, or nobody does any more. */
static void look_at_hold(struct copy *copy)
{
	if (!receive_is_held(copy))
		return;
	bool is_over = !stands_still(copy);
	if (!is_over && clock_mono_us() < copy->stands_until_us) {
		timer_start(copy->open_timer, HELD_LOOK_MS);
		return;
	}
	copy->stands_until_us = 0;
	/* Else the next process stands still once more. */
	if (!is_over && volume_log_unhold(copy->log) < 0)
		log_warn("hold_not_taken_back", "volume=%u", copy->id);
}

static bool open_log(struct copy *copy)
{
	struct error error;
	uint64_t rotten_lsn;
	bool was_open = copy->log != NULL;
	int result = receive_open_log(copy, &rotten_lsn, &error);
	if (result == -EUCLEAN && leader_connection(copy) != NULL) {
		log_warn("replica_repaired",
			"volume=%u lsn=%llu action=\"kept as salvage from there on, filled again\" "
			"reason=%s",
			copy->id, (unsigned long long)rotten_lsn, log_quote(str_from(error.text)));
		receive_repair_log(copy);
		return false;
	}
	if (result == 0) {
		if (!was_open)
			begin_to_follow(copy);
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
	if (copy->node == NODE_PROVES) {
		prove_step(copy);
		return;
	}
	/* What was being fetched for a proof is no leader's: it is acknowledged to nobody. */
	if (copy->proof != NULL && copy->state != COPY_IDLE)
		copy_enter(copy, COPY_IDLE, NULL);
	prove_end(copy);
	/* A node that has died as the writer of an epoch that is over writes no more. */
	if (copy->replicator->node == NULL && copy->node == NODE_WRITES &&
		copy->highest_epoch > copy->node_epoch) {
		ship_retire(copy, false, "not written here any more");
		copy->node = NODE_NONE;
	}
	if (!should_follow(copy)) {
		receive_release(copy);
		return;
	}
	if (copy->is_writing)
		return;
	/* What its disk has failed is read again, as by a process that is started anew. */
	if (aside_is_wanted(copy) || (copy->log != NULL && volume_log_is_fenced(copy->log))) {
		if (copy->log != NULL && volume_log_is_punching(copy->log)) {
			timer_start(copy->open_timer, LOCK_RETRY_MS);
			return;
		}
		receive_close(copy);
	}
	if ((copy->log == NULL && !aside_prepare(copy)) || !open_log(copy))
		return;
	look_at_hold(copy);
	if (receive_is_held(copy))
		return;
	struct connection *connection = leader_connection(copy);
	if (connection == NULL || connection == copy->source)
		return;
	receive_ask(copy, connection);
}

static void send_park(struct copy *copy, struct connection *connection, const char *why,
	enum copy_verdict verdict)
{
	connection_send(connection,
		&(struct cluster_message){ .kind = MESSAGE_PARK,
			.volume = copy->id,
			.verdict = verdict,
			.text = str_from(why) });
}

/* Its leader, which would wait for what it has sent, hears so. */
static void stop_receiving(struct copy *copy, const char *why)
{
	if (copy->state == COPY_RECEIVING)
		send_park(copy, copy->source, why, COPY_UNVERIFIED);
	copy_enter(copy, COPY_IDLE, NULL);
}

/* Nothing more is received for now; it is asked again, after longer and longer. */
static void ask_again_later(struct copy *copy)
{
	copy->ask_again_ms = timer_next_wait_ms(copy->ask_again_ms, RECONNECT_MS, ASK_AGAIN_MS_MAX);
	if (copy->source != NULL)
		prove_forget(copy, copy->source->node_id);
	copy_enter(copy, COPY_IDLE, NULL);
	timer_start(copy->open_timer, copy->ask_again_ms);
}

void receive_forget_connection(struct copy *copy, struct connection *connection)
{
	mend_forget_connection(copy, connection);
	list_for_each (entry, &copy->chunks)
	{
		struct queued_chunk *chunk = list_entry(entry, struct queued_chunk, link);
		if (chunk->connection == connection)
			chunk->connection = NULL;
	}
	if (copy->current != NULL && copy->current->connection == connection)
		copy->current->connection = NULL;
	if (copy->source == connection)
		copy_enter(copy, COPY_IDLE, NULL);
}

void receive_close(struct copy *copy)
{
	CHECK(!copy->is_writing);
	stop_receiving(copy, "the log has left");
	timer_stop(copy->open_timer);
	if (copy->report_owed && copy->log != NULL)
		receive_report(copy);
	ship_retire(copy, true, "the log has left");
	copy->stands_until_us = 0;
	copy->is_read_anew |= copy->log != NULL && volume_log_is_fenced(copy->log);
	volume_log_close(&copy->log);
	mend_end(copy);
}

void receive_release(struct copy *copy)
{
	stop_receiving(copy, "the log is to leave");
	if (copy->is_writing)
		return; /* on_received comes back here */
	receive_close(copy);
	if (copy->node == NODE_WANTS) {
		copy->node = NODE_HOLDS;
		node_side_send(copy->replicator,
			&(struct cluster_message){ .kind = MESSAGE_RELEASED,
				.volume = copy->id,
				.end = copy->question });
	}
}

static void drop_current(struct copy *copy)
{
	if (copy->current != NULL)
		free_chunk(copy->current);
	copy->current = NULL;
}

/* What was queued follows what is cut. The leader is asked again when that is done. */
static void cut_damage(struct copy *copy)
{
	uint64_t lsn = copy->damaged - 1, had = volume_log_end(copy->log);
	if (had > volume_log_whole_from(copy->log) &&
		volume_log_note_whole_from(copy->log, had) < 0) {
		/* Not before it is known what is missing then: it follows anew, and what has been
		 * queued meanwhile holds up nobody else. */
		log_warn("not_noted", "volume=%u what=\"where its damaged log ended\"", copy->id);
		drop_current(copy);
		stop_receiving(copy, "where its damaged log ended could not be noted");
		ask_again_later(copy);
		return;
	}
	send_park(copy, copy->source, "its damaged log is being cut", COPY_UNVERIFIED);
	copy->damaged = 0;
	drop_current(copy);
	drop_chunks(copy);
	copy_enter(copy, COPY_ASKED, copy->source);
	receive_cut(copy, lsn);
}

/* One that begins with nothing, or does not know what it has lost, is whole when it has what its
 * leader has now: until then it is nobody's choice (pando failover). */
static void note_whole(struct copy *copy, uint64_t leader_end)
{
	bool begins =
		volume_log_end(copy->log) == 0 || volume_log_whole_from(copy->log) > leader_end;
	if (begins && should_follow(copy) && !copy->is_writing &&
		volume_log_note_whole_from(copy->log, leader_end) < 0)
		log_warn("not_noted", "volume=%u what=\"that it is being filled\"", copy->id);
}

void receive_on_following(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	if (copy == NULL || copy->source != connection || copy->log == NULL)
		return;
	copy_enter(copy, COPY_RECEIVING, connection);
	copy_saw_epoch(copy, message->epoch);
	note_whole(copy, message->end);
	copy->verdict = message->verdict;
	report_end(copy, message->end, message->time_us);
	log_info(copy->node == NODE_PROVES ? "fetches" : "follows",
		"volume=%u source=%u lsn=%llu behind=%llu", copy->id, connection->node_id,
		(unsigned long long)message->lsn,
		(unsigned long long)(message->end - volume_log_end(copy->log)));
	if (copy->damaged > 0 && should_follow(copy) && !copy->is_writing)
		cut_damage(copy);
}

static void on_cut_done(void *arg, int status)
{
	struct copy *copy = arg;
	copy->is_writing = false;
	if (status < 0) {
		log_error("cut_failed", "volume=%u lsn=%llu reason=%s", copy->id,
			(unsigned long long)volume_log_end(copy->log),
			log_quote(str_from(strerror(-status))));
		copy_enter(copy, COPY_IDLE, NULL);
		volume_log_close(&copy->log);
		mend_end(copy);
		timer_start(copy->open_timer, REFUSED_RETRY_MS);
		return;
	}
	copy->report_owed = false;
	copy->leader_end = copy->leader_time_us = 0;
	node_side_send(copy->replicator,
		&(struct cluster_message){ .kind = MESSAGE_WAS_CUT,
			.volume = copy->id,
			.lsn = volume_log_end(copy->log) });
	if (should_follow(copy) && copy->source != NULL)
		receive_ask(copy, copy->source);
	else
		receive_reconcile(copy);
}

void receive_cut(struct copy *copy, uint64_t lsn)
{
	log_warn("cuts", "volume=%u lsn=%llu end=%llu action=\"what goes is kept as salvage\"",
		copy->id, (unsigned long long)lsn, (unsigned long long)volume_log_end(copy->log));
	copy->is_writing = true;
	copy->verdict = COPY_UNVERIFIED;
	if (copy->damaged > lsn) /* it goes with the rest */
		copy->damaged = 0;
	mend_on_cut(copy);
	export_retire(copy, true, "the log is being cut");
	volume_log_cut(copy->log, lsn, on_cut_done, copy);
}

void receive_cut_damaged(struct copy *copy, uint64_t lsn)
{
	if (!should_follow(copy) || copy->log == NULL || lsn >= volume_log_end(copy->log))
		return;
	/* Not before a leader ships again what goes. */
	copy->damaged = 1 + lsn;
	if (copy->state == COPY_RECEIVING && !copy->is_writing)
		cut_damage(copy);
}

void receive_on_cut(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	if (copy == NULL || copy->source != connection || copy->log == NULL || copy->is_writing ||
		!should_follow(copy))
		return;
	/* Only an epoch later than that of every byte that is to go may cut it, of the node that
	 * the directory names: nobody is cut within an epoch that he has acknowledged. */
	uint64_t end = volume_log_end(copy->log);
	uint64_t mine = epochs_epoch_below(volume_log_epochs(copy->log), end);
	if (message->lsn >= end || message->epoch < copy->desired.epoch ||
		message->epoch < copy->highest_epoch || mine >= message->epoch) {
		log_error("cut_refused", "volume=%u leader=%u epoch=%llu directory=%llu mine=%llu",
			copy->id, connection->node_id, (unsigned long long)message->epoch,
			(unsigned long long)copy->desired.epoch, (unsigned long long)mine);
		ask_again_later(copy);
		return;
	}
	receive_cut(copy, message->lsn);
}

void receive_on_refuse(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	if (copy == NULL || copy->source != connection)
		return;
	log_debug("follow_refused", "volume=%u source=%u reason=%s", copy->id, connection->node_id,
		log_quote(message->text));
	copy_saw_epoch(copy, message->epoch);
	if (message->verdict == COPY_DIVERGED && copy->log != NULL) {
		copy->verdict = COPY_DIVERGED;
		receive_report(copy);
	}
	ask_again_later(copy);
}

/* ---- chunks ---- */

/* NULL, or why this leader is confirmed nothing: a later epoch than its own has been shown here, or
 * what has been shown could not be noted. What a leader ships of epochs before its own is right. */
static const char *acknowledge(
	struct copy *copy, struct connection *connection, uint64_t leader_epoch)
{
	CHECK(!receive_is_held(copy));
	if (leader_epoch < copy->highest_epoch) {
		connection_send(connection,
			&(struct cluster_message){ .kind = MESSAGE_EPOCH,
				.volume = copy->id,
				.epoch = copy->highest_epoch });
		return "a later epoch is known here";
	}
	/* Durably before it is obeyed: a later start confirms nothing below it either. */
	int result = volume_log_note_seen(copy->log, copy->highest_epoch);
	if (result < 0)
		return strerror(-result);
	const struct epoch_entry *last = epochs_last(volume_log_epochs(copy->log));
	if (last != NULL)
		connection_send(connection,
			&(struct cluster_message){ .kind = MESSAGE_ACK,
				.volume = copy->id,
				.epoch = last->epoch,
				.reign = str_of(last->reign, EPOCH_REIGN_LENGTH),
				.lsn = volume_log_end(copy->log),
				.chain = volume_log_chain(copy->log) });
	return NULL;
}

static void park(struct copy *copy, struct connection *connection, const char *why,
	enum copy_verdict verdict)
{
	if (connection != NULL)
		send_park(copy, connection, why, verdict);
	ask_again_later(copy);
}

/* In words; the copies differ below where their vectors say that they are equal. */
static const char *refusal(int status)
{
	return status == -EXDEV ? "this copy and that one differ" : strerror(-status);
}

/* Nothing of the chunk was confirmed. The volume is parked on this connection; the others that
 * share it go on. */
static void refuse_chunk(
	struct copy *copy, struct queued_chunk *chunk, const struct volume_receive *receive)
{
	struct connection *connection = chunk->connection;
	const char *why = refusal(receive->status);
	log_error("chunk_refused", "volume=%u lsn=%llu end=%llu reason=%s", copy->id,
		(unsigned long long)receive->lsn, (unsigned long long)volume_log_end(copy->log),
		log_quote(str_from(why)));
	free_chunk(chunk);
	if (!may_receive(copy)) {
		receive_release(copy);
		return;
	}
	if (receive->status == -EXDEV)
		copy->verdict = COPY_DIVERGED;
	park(copy, copy->source == connection ? connection : NULL, why,
		receive->status == -EXDEV ? COPY_DIVERGED : COPY_UNVERIFIED);
}

static void on_received(struct volume_receive *receive)
{
	struct copy *copy = receive->arg;
	struct queued_chunk *chunk = copy->current;
	copy->is_writing = false;
	if (receive->status < 0) {
		copy->current = NULL;
		refuse_chunk(copy, chunk, receive);
		return;
	}
	metric_add(copy->replicator->received_bytes, (int64_t)receive->length);
	chunk->done += receive->length;
	copy->ask_again_ms = 0;
	bool is_led = chunk->connection != NULL && copy->source == chunk->connection &&
		should_follow(copy);
	const char *why = is_led ? acknowledge(copy, chunk->connection, chunk->chunk.epoch) : NULL;
	struct connection *deposed = why != NULL ? chunk->connection : NULL;
	report_end(copy, chunk->chunk.leader_end, chunk->chunk.time_us);
	if (chunk->done == chunk->chunk.length || deposed != NULL) {
		copy->current = NULL;
		free_chunk(chunk);
	}
	if (deposed != NULL && should_follow(copy)) {
		park(copy, deposed, why, COPY_UNVERIFIED);
		return;
	}
	if (!may_receive(copy)) {
		drop_current(copy);
		receive_release(copy);
		return;
	}
	if (copy->damaged > 0 && copy->state == COPY_RECEIVING && should_follow(copy)) {
		cut_damage(copy);
		return;
	}
	try_receive(copy);
	if (!copy->is_writing)
		receive_reconcile(copy);
}

void receive_on_place_timer(void *arg)
{
	struct replicator *replicator = arg;
	void *value;
	for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);) {
		struct copy *copy = value;
		if (copy->log == NULL || volume_log_is_fenced(copy->log) ||
			volume_log_look(copy->log) || copy->is_writing)
			continue; /* what is being written is refused, which leads on */
		park(copy, copy->state == COPY_RECEIVING ? copy->source : NULL,
			"its files were removed or moved away", COPY_UNVERIFIED);
	}
	timer_start(replicator->place_timer, LOG_LOOK_MS);
}

/* Chunks that came while a write was in flight become one write: their bytes follow each other. */
static void merge_chunks(struct copy *copy, struct queued_chunk *first)
{
	size_t total = first->chunk.length;
	unsigned count = 0;
	list_for_each (entry, &copy->chunks)
	{
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
	if (copy->is_writing || copy->log == NULL)
		return;
	if (copy->current == NULL) {
		if (list_is_empty(&copy->chunks))
			return;
		copy->current = list_entry(copy->chunks.next, struct queued_chunk, link);
		list_remove(&copy->current->link);
		merge_chunks(copy, copy->current);
	}
	struct queued_chunk *chunk = copy->current;
	copy->is_writing = true;
	copy->receive = (struct volume_receive){ .bytes = chunk->payload,
		.epoch_max = copy_believable_epoch(copy),
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
	if (chunk.mends) {
		mend_on_groups(connection, payload);
		return;
	}
	struct copy *copy = replicator_find_copy(connection->replicator, chunk.volume);
	if (copy == NULL || copy->source != connection || copy->state != COPY_RECEIVING ||
		!may_receive(copy))
		return; /* of a shipment that has ended */
	/* Sent before its leader knew of the epoch; one that leads in this one ships it again. */
	if (should_follow(copy) && chunk.epoch < copy->desired.epoch) {
		park(copy, connection, "it was sent in an earlier epoch", COPY_UNVERIFIED);
		return;
	}
	/* A node that is to write gets what it lacks all the same. */
	if (should_follow(copy) && !room_take(copy->replicator, chunk.length)) {
		park(copy, connection,
			"the last room on its disk is kept for what is written there",
			COPY_UNVERIFIED);
		return;
	}
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
