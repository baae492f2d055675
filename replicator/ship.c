#include "replicator/internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "spool/log_files.h"
#include "spool/log_state.h"

#include <errno.h>
#include <stdlib.h>

/* The leader's side: durable bytes go out, acknowledgements go to the node. */

static void tell_node(const struct shipment *shipment, uint64_t lsn, bool connected)
{
	if (!shipment->fetch_end) /* else nobody's replica */
		member_tell(shipment->copy, shipment->connection->node_id, shipment->copy_number,
			lsn, connected);
}

static struct shipment *find_shipment_to(const struct copy *copy, uint32_t node_id)
{
	list_for_each (entry, &copy->shipments)
	{
		struct shipment *shipment = list_entry(entry, struct shipment, volume_link);
		if (shipment->connection->node_id == node_id && !shipment->fetch_end)
			return shipment;
	}
	return NULL;
}

void shipment_end(struct shipment *shipment)
{
	list_remove(&shipment->volume_link);
	list_remove(&shipment->connection_link);
	if (find_shipment_to(shipment->copy, shipment->connection->node_id) == NULL)
		tell_node(shipment, 0, false);
	log_reader_close(&shipment->reader);
	free(shipment);
}

void ship_retire(struct copy *copy, bool fetches_only, const char *why)
{
	list_for_each_safe (entry, following, &copy->shipments)
	{
		struct shipment *shipment = list_entry(entry, struct shipment, volume_link);
		if (fetches_only && !shipment->fetch_end)
			continue;
		connection_send(shipment->connection,
			&(struct cluster_message){ .kind = MESSAGE_REFUSE,
				.volume = copy->id,
				.epoch = copy->highest_epoch,
				.text = str_from(why) });
		shipment_end(shipment);
	}
	export_retire(copy, fetches_only, why);
}

/* A copy that the directory has had made anew: what its node has of the one before counts for
 * nothing. One that does not say which it is, is none that is being filled. */
static bool is_outdated(const struct copy *copy, uint32_t node_id, uint64_t number)
{
	size_t at = copy_member_index(copy, node_id);
	return at != SIZE_MAX && copy->desired.is_seeding[at] && copy->desired.copies[at] > number;
}

void ship_end_strangers(struct copy *copy)
{
	list_for_each_safe (entry, following, &copy->shipments)
	{
		struct shipment *shipment = list_entry(entry, struct shipment, volume_link);
		uint32_t node_id = shipment->connection->node_id;
		if (shipment->fetch_end ||
			(copy_has_member(copy, node_id) &&
				!is_outdated(copy, node_id, shipment->copy_number)))
			continue;
		connection_send(shipment->connection,
			&(struct cluster_message){ .kind = MESSAGE_REFUSE,
				.volume = copy->id,
				.epoch = copy->highest_epoch,
				.text = STR("this copy is not wanted any more") });
		shipment_end(shipment);
	}
}

static void refuse(struct connection *connection, uint32_t volume, uint64_t epoch, const char *why)
{
	connection_send(connection,
		&(struct cluster_message){ .kind = MESSAGE_REFUSE,
			.volume = volume,
			.epoch = epoch,
			.text = str_from(why) });
}

static void refuse_other(struct connection *connection, const struct copy *copy)
{
	connection_send(connection,
		&(struct cluster_message){ .kind = MESSAGE_REFUSE,
			.volume = copy->id,
			.epoch = copy->highest_epoch,
			.verdict = COPY_DIVERGED,
			.text = STR("this copy and yours differ") });
}

static struct shipment *find_shipment(struct connection *connection, uint32_t volume_id)
{
	list_for_each (entry, &connection->shipments)
	{
		struct shipment *shipment = list_entry(entry, struct shipment, connection_link);
		if (shipment->copy->id == volume_id)
			return shipment;
	}
	return NULL;
}

/* What may go out: for a fetch what stands here, for a follower what the node has said. */
static uint64_t limit_of(const struct shipment *shipment)
{
	return shipment->fetch_end ? shipment->fetch_end : shipment->copy->durable_lsn;
}

/* A copy that is farther behind when it begins is filled, beside what is committed now. */
static uint64_t fill_far(void)
{
	return segment_length / 4;
}

static void start_shipment(struct connection *connection, struct copy *copy, uint64_t lsn,
	enum copy_verdict verdict, uint64_t fetch_end, uint64_t copy_number)
{
	struct replicator *replicator = connection->replicator;
	struct shipment *shipment = mem_alloc(sizeof(*shipment));
	shipment->copy = copy;
	shipment->connection = connection;
	shipment->next_lsn = shipment->acked_lsn = shipment->taken_lsn = lsn;
	shipment->fetch_end = fetch_end;
	shipment->copy_number = copy_number;
	CHECK(log_reader_open(
		      replicator->options.disk, copy->directory, copy->id, &shipment->reader) == 0);
	/* Once it has been near, it is one of those that are waited for. */
	shipment->is_filled = !fetch_end && copy->durable_lsn > lsn + fill_far();
	list_append(&copy->shipments, &shipment->volume_link);
	list_append(&connection->shipments, &shipment->connection_link);
	connection_send(connection,
		&(struct cluster_message){ .kind = MESSAGE_FOLLOWING,
			.volume = copy->id,
			.epoch = fetch_end ? copy->highest_epoch : copy->node_epoch,
			.lsn = lsn,
			.verdict = verdict,
			.end = limit_of(shipment),
			.time_us = (uint64_t)clock_wall_us() });
	tell_node(shipment, lsn, true);
	log_info(fetch_end ? "fetched_from" : "following", "volume=%u node=%u lsn=%llu behind=%llu",
		copy->id, connection->node_id, (unsigned long long)lsn,
		(unsigned long long)(limit_of(shipment) - lsn));
	ship_later(replicator);
}

static void send_cut(struct connection *connection, const struct copy *copy,
	const struct epochs *mine, uint64_t lsn)
{
	struct buf vector = { 0 };
	epochs_encode(mine, &vector);
	connection_send(connection,
		&(struct cluster_message){ .kind = MESSAGE_CUT,
			.volume = copy->id,
			.epoch = copy->node_epoch,
			.lsn = lsn,
			.epochs = buf_str(&vector) });
	buf_deinit(&vector);
}

/*
 * A follower has bytes of the epoch that is written here, which this log lacks. Only what was
 * durable here was ever shipped, so this machine has lost it: a disk that was replaced or put back,
 * a write that was confirmed and never made. Such a leader cuts nobody; its node stops.
 */
static void tell_behind(
	struct connection *connection, struct copy *copy, uint64_t common, uint64_t their_end)
{
	if (copy->behind_epoch != copy->node_epoch)
		log_error("leader_is_behind",
			"volume=%u epoch=%llu node=%u has=%llu same_up_to=%llu here=%llu "
			"effect=\"not served until that has been fetched\"",
			copy->id, (unsigned long long)copy->node_epoch, connection->node_id,
			(unsigned long long)their_end, (unsigned long long)common,
			(unsigned long long)copy->durable_lsn);
	copy->behind_epoch = copy->node_epoch;
	node_side_send(copy->replicator,
		&(struct cluster_message){ .kind = MESSAGE_BEHIND,
			.volume = copy->id,
			.node = connection->node_id,
			.epoch = copy->node_epoch,
			.lsn = their_end });
	refuse(connection, copy->id, copy->highest_epoch, "this leader lacks what you have");
}

enum copy_verdict ship_compare(
	const struct copy *copy, uint64_t end, uint64_t limit, uint64_t chain)
{
	struct log_reader *reader;
	if (log_reader_open(copy->replicator->options.disk, copy->directory, copy->id, &reader) < 0)
		return COPY_UNVERIFIED;
	enum copy_verdict verdict = copy_compare_chain(copy, reader, end, limit, chain);
	log_reader_close(&reader);
	return verdict;
}

static void tell_differs(struct connection *connection, struct copy *copy, uint64_t end)
{
	member_judge(copy, connection->node_id, COPY_DIVERGED, end);
	member_tell(copy, connection->node_id, 0, 0, false);
	refuse_other(connection, copy);
}

/* Ships from the follower's end, or says where the logs part and who gives way. */
static void answer_follow(struct connection *connection, struct copy *copy,
	const struct epochs *theirs, const struct cluster_message *message,
	const struct epochs *mine)
{
	uint64_t their_end = message->lsn, their_chain = message->chain;
	uint64_t common = 0;
	int result = epochs_common_end(theirs, their_end, mine, copy->durable_lsn, &common);
	enum copy_verdict verdict = result == 0 && common >= their_end
		? ship_compare(copy, their_end, copy->durable_lsn, their_chain)
		: COPY_UNVERIFIED;
	if (verdict == COPY_DIVERGED) {
		tell_differs(connection, copy, their_end);
	} else if (result == 0 && common >= their_end) {
		member_judge(copy, connection->node_id, verdict, their_end);
		start_shipment(connection, copy, their_end, verdict, 0, message->copy);
	} else if (result < 0 && mine->entries[0].start_lsn > 0) {
		refuse(connection, copy->id, copy->highest_epoch,
			"the logs have nothing in common");
	} else if (epochs_epoch_below(theirs, their_end) >= copy->node_epoch) {
		tell_behind(connection, copy, common, their_end);
	} else {
		/* Nothing in common with a vector that has forgotten nothing: they part at 0. */
		send_cut(connection, copy, mine, common);
	}
}

void ship_on_follow(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	struct epochs theirs = { 0 };
	struct log_state mine = { 0 };
	int result;
	if (copy == NULL || !copy_has_member(copy, connection->node_id)) {
		refuse(connection, message->volume, 0, "this node holds no copy for you");
		return;
	}
	if (is_outdated(copy, connection->node_id, message->copy)) {
		refuse(connection, copy->id, 0, "another copy is wanted of this node");
		return;
	}
	if (!epochs_decode(message->epochs, &theirs)) {
		refuse(connection, copy->id, 0, "malformed epoch vector");
		return;
	}
	const struct epoch_entry *last = epochs_last(&theirs);
	if (last != NULL)
		copy_saw_epoch(copy, last->epoch);
	member_shows_copy(copy, connection->node_id, message->copy_id);
	struct shipment *running = find_shipment_to(copy, connection->node_id);
	if (running != NULL)
		shipment_end(running);
	if (copy->node != NODE_WRITES || copy->node_epoch < copy->highest_epoch)
		refuse(connection, copy->id, copy->highest_epoch, "not written here");
	else if ((result = log_state_read(
			  connection->replicator->options.disk, copy->directory, &mine)) < 0) {
		/* Who writes the log knows what stood there. */
		if (result == -EUCLEAN)
			node_side_send(copy->replicator,
				&(struct cluster_message){
					.kind = MESSAGE_DAMAGED, .volume = copy->id });
		refuse(connection, copy->id, copy->highest_epoch, "epochs are not readable");
	} else
		answer_follow(connection, copy, &theirs, message, &mine.epochs);
	epochs_deinit(&theirs);
	log_state_deinit(&mine);
}

/* The other way round: who is to write lacks what this replica has. */
void ship_on_fetch(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	struct epochs theirs = { 0 };
	uint64_t common = 0;
	if (copy == NULL || !copy_has_member(copy, connection->node_id) || copy->log == NULL ||
		copy->node != NODE_NONE || receive_is_held(copy) ||
		!epochs_decode(message->epochs, &theirs)) {
		refuse(connection, message->volume, 0, "nothing to fetch here");
		return;
	}
	struct shipment *running = find_shipment(connection, copy->id);
	if (running != NULL)
		shipment_end(running);
	uint64_t end = volume_log_end(copy->log);
	int result = epochs_common_end(
		&theirs, message->lsn, volume_log_epochs(copy->log), end, &common);
	if (result < 0 || common < message->lsn)
		refuse(connection, copy->id, copy->highest_epoch, "cut what parts from mine first");
	else if (ship_compare(copy, message->lsn, end, message->chain) == COPY_DIVERGED)
		tell_differs(connection, copy, message->lsn);
	else /* whoever fetches compares by what it receives */
		start_shipment(connection, copy, message->lsn, COPY_UNVERIFIED, end, 0);
	epochs_deinit(&theirs);
}

void ship_on_park(struct connection *connection, const struct cluster_message *message)
{
	struct shipment *shipment = find_shipment(connection, message->volume);
	if (shipment == NULL)
		return;
	if (message->verdict == COPY_DIVERGED)
		member_judge(
			shipment->copy, connection->node_id, COPY_DIVERGED, shipment->next_lsn);
	log_warn("parked", "volume=%u node=%u acked=%llu reason=%s", message->volume,
		connection->node_id, (unsigned long long)shipment->acked_lsn,
		log_quote(message->text));
	shipment_end(shipment);
}

/* ---- who goes first ----
 *
 * A copy that is far behind is filled beside what is committed now: it gets its next chunk when
 * nothing waits for its connection, and while what was sent to it and is not acknowledged yet is
 * little enough that its machine need not stop reading from the line.
 */

/* 8 MiB: half of RECEIVE_QUEUE_MAX; on a line of 50 ms they are 160 MB/s. */
static uint64_t fill_window(void)
{
	return segment_length / 8 > CHUNK_BYTES_TARGET ? segment_length / 8 : CHUNK_BYTES_TARGET;
}

/* It was near, and is so much farther behind now that it would be in the way of the others. */
static bool is_left_behind(const struct shipment *shipment)
{
	return !shipment->fetch_end && limit_of(shipment) > shipment->next_lsn + 4 * fill_far();
}

/* Nothing of what was sent has come to its disk for long: it may not be receiving any more. */
static bool is_silent(const struct shipment *shipment, uint64_t now_us)
{
	return shipment->next_lsn > shipment->taken_lsn &&
		now_us - shipment->taken_us > FILL_SILENT_MS_MAX * 1000u;
}

static bool has_fill_window(const struct connection *connection, uint64_t now_us)
{
	uint64_t ahead = 0, silent = 0;
	list_for_each (entry, &connection->shipments) {
		const struct shipment *shipment =
			list_entry(entry, struct shipment, connection_link);
		uint64_t sent = shipment->next_lsn - shipment->taken_lsn;
		if (shipment->is_filled && is_silent(shipment, now_us))
			silent += sent;
		else if (shipment->is_filled)
			ahead += sent;
	}
	/* What is silent may be queued there for a disk that hangs: more than that would be in the
	 * way of all others. */
	return silent <= fill_window() &&
		(ahead == 0 || ahead + CHUNK_BYTES_TARGET <= fill_window());
}

/* NULL: none, or what comes back of a connection wakes it. */
static struct shipment *next_filled(const struct replicator *replicator)
{
	struct shipment *next = NULL;
	uint64_t now_us = clock_mono_us();
	list_for_each (link, &replicator->connections) {
		struct connection *connection = list_entry(link, struct connection, link);
		bool is_full = stream_backlog(connection->stream) > FILL_BACKLOG_MAX;
		bool has_room = !is_full && has_fill_window(connection, now_us);
		connection->fill_waits = false;
		list_for_each (entry, &connection->shipments) {
			struct shipment *shipment =
				list_entry(entry, struct shipment, connection_link);
			if (!shipment->is_filled)
				continue;
			bool may_go = has_room && !is_silent(shipment, now_us);
			connection->fill_waits |= !may_go;
			if (may_go && (next == NULL || shipment->filled_at < next->filled_at))
				next = shipment;
		}
		/* Its successor need not wait for an acknowledgement. */
		if (is_full && connection->fill_waits)
			stream_tell_drain(connection->stream);
	}
	return next;
}

void ship_fill_later(struct replicator *replicator)
{
	uint64_t now_us = clock_mono_us(), after_us = replicator->fill_after_us;
	timer_start(replicator->fill_timer, after_us > now_us ? (after_us - now_us) / 1000 + 1 : 0);
}

static void note_filled(struct replicator *replicator, uint64_t bytes)
{
	uint64_t now_us = clock_mono_us(), rate = replicator->options.fill_bytes_s;
	if (rate == 0)
		return;
	if (replicator->fill_after_us < now_us)
		replicator->fill_after_us = now_us;
	replicator->fill_after_us += bytes * 1000000 / rate;
}

/* ---- acknowledgements ---- */

static void note_mark(struct shipment *shipment, uint64_t lsn, uint64_t chain)
{
	if (shipment->mark_count == MARKS_MAX) {
		shipment->mark_first = (shipment->mark_first + 1) % MARKS_MAX;
		shipment->mark_count--;
	}
	unsigned at = (shipment->mark_first + shipment->mark_count++) % MARKS_MAX;
	shipment->marks[at] = (struct mark){ lsn, chain };
}

/* What a follower has confirmed is the log here, by its chain. Chunks are acknowledged whole unless
 * they begin an epoch or cross a limit of the follower. */
static enum copy_verdict judge_ack(struct shipment *shipment, uint64_t lsn, uint64_t chain)
{
	const struct copy *copy = shipment->copy;
	while (shipment->mark_count > 0) {
		const struct mark *mark = &shipment->marks[shipment->mark_first];
		if (mark->lsn == lsn)
			return mark->chain == chain ? COPY_VERIFIED : COPY_DIVERGED;
		if (mark->lsn > lsn)
			break;
		shipment->mark_first = (shipment->mark_first + 1) % MARKS_MAX;
		shipment->mark_count--;
	}
	return copy_compare_chain(copy, shipment->reader, lsn, copy->durable_lsn, chain);
}

/* Of whatever reign: it is on that disk, and off the line. */
static void note_taken(struct shipment *shipment, uint64_t lsn)
{
	if (lsn > shipment->taken_lsn && lsn <= shipment->next_lsn) {
		shipment->taken_lsn = lsn;
		shipment->taken_us = clock_mono_us();
	}
	if (shipment->connection->fill_waits)
		ship_fill_later(shipment->connection->replicator);
}

void ship_on_ack(struct connection *connection, const struct cluster_message *message)
{
	struct shipment *shipment = find_shipment(connection, message->volume);
	if (shipment != NULL)
		note_taken(shipment, message->lsn);
	/* An acknowledgement given to another reign says nothing about this one. */
	if (shipment == NULL || shipment->fetch_end ||
		message->epoch != shipment->copy->node_epoch || message->lsn > shipment->next_lsn ||
		!str_equal(message->reign, str_of(shipment->copy->node_reign, GROUP_REIGN_LENGTH)))
		return;
	enum copy_verdict verdict = judge_ack(shipment, message->lsn, message->chain);
	member_judge(shipment->copy, connection->node_id, verdict, message->lsn);
	if (verdict == COPY_DIVERGED) {
		refuse_other(connection, shipment->copy);
		shipment_end(shipment);
		return;
	}
	shipment->acked_lsn = message->lsn;
	tell_node(shipment, message->lsn, true);
}

/* Once for each place, however often its followers ask for it. What the machine lacks now is tried
 * again, and no other copy helps. */
void ship_note_unreadable(struct copy *copy, uint64_t lsn, int result)
{
	bool is_known = copy->unreadable == 1 + lsn;
	if (log_is_refusal(result)) {
		log_warn("log_not_read", "volume=%u lsn=%llu reason=%s next=\"it is tried again\"",
			copy->id, (unsigned long long)lsn, log_quote(str_from(strerror(-result))));
		return;
	}
	copy->unreadable = 1 + lsn;
	if (!is_known)
		log_error("log_unreadable",
			"volume=%u lsn=%llu reason=%s effect=\"copies get nothing from there on\" "
			"action=\"the other copies are asked for what stood there\" "
			"hint=\"pando failover, if that does not mend it\"",
			copy->id, (unsigned long long)lsn, log_quote(str_from(strerror(-result))));
	/* Each time that a copy asks: what mends it may be in reach by now. */
	if (copy->node == NODE_WRITES)
		node_side_send(copy->replicator,
			&(struct cluster_message){
				.kind = MESSAGE_ROTTEN, .volume = copy->id, .lsn = lsn });
}

/* Sends one chunk. False when there is nothing to send or no room. */
static bool ship_one(struct shipment *shipment)
{
	struct copy *copy = shipment->copy;
	struct stream *stream = shipment->connection->stream;
	struct bytes *bytes;
	uint64_t lsn, next;
	uint8_t head[FRAME_HEADER_LENGTH + CHUNK_HEADER_LENGTH];
	uint64_t limit = limit_of(shipment);
	if (shipment->next_lsn >= limit || stream_backlog(stream) >= STREAM_BACKLOG_HIGH)
		return false;
	/* Checked whole: rot of this disk stays here. */
	int result = log_reader_next(shipment->reader, shipment->next_lsn, limit,
		CHUNK_BYTES_TARGET, true, &bytes, &lsn, &next);
	if (result < 0) {
		ship_note_unreadable(copy, shipment->next_lsn, result);
		refuse(shipment->connection, copy->id, copy->highest_epoch,
			"the log is not readable");
		shipment_end(shipment);
		return false;
	}
	struct chunk chunk = { .volume = copy->id,
		.epoch = shipment->fetch_end ? copy->highest_epoch : copy->node_epoch,
		.lsn = lsn,
		.leader_end = limit,
		.time_us = (uint64_t)clock_wall_us() };
	chunk_encode(&chunk, bytes_str(bytes), head);
	stream_write(stream, head, sizeof(head));
	stream_write_bytes(stream, bytes, 0, bytes->length);
	metric_add(copy->replicator->shipped_bytes, (int64_t)bytes->length);
	if (!shipment->fetch_end)
		note_mark(shipment, next,
			log_reader_chain_behind(shipment->reader, bytes_str(bytes)));
	bytes_unref(&bytes);
	if (shipment->taken_lsn == shipment->next_lsn)
		shipment->taken_us = clock_mono_us();
	shipment->next_lsn = next;
	if (next + fill_far() >= limit)
		shipment->is_filled = false;
	return true;
}

/* One chunk of every volume in turn, until all are sent or the lines are full; then those that are
 * filled. */
void ship_task(void *arg)
{
	struct replicator *replicator = arg;
	bool sent = true, fills = false;
	void *value;
	while (sent) {
		sent = false;
		for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);) {
			struct copy *copy = value;
			list_for_each_safe (entry, following, &copy->shipments) {
				struct shipment *shipment =
					list_entry(entry, struct shipment, volume_link);
				if (is_left_behind(shipment))
					shipment->is_filled = true;
				fills |= shipment->is_filled;
				if (!shipment->is_filled)
					sent |= ship_one(shipment);
			}
		}
	}
	if (fills)
		ship_fill_later(replicator);
}

void ship_on_fill_timer(void *arg)
{
	struct replicator *replicator = arg;
	struct shipment *shipment = next_filled(replicator);
	if (shipment == NULL)
		return;
	uint64_t before = shipment->next_lsn;
	shipment->filled_at = ++replicator->fill_count;
	if (ship_one(shipment)) /* else it may be gone */
		note_filled(replicator, shipment->next_lsn - before);
	ship_later(replicator);
}

void ship_later(struct replicator *replicator)
{
	loop_defer(replicator->options.loop, &replicator->ship_task);
}
