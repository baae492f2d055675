#include "replicator/internal.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>

/* Connections between replicators: dialling, greeting, heartbeats, and which message goes where. */

void connection_send(struct connection *connection, const struct cluster_message *message)
{
	struct buf *out = &connection->replicator->out;
	buf_clear(out);
	message_encode(message, out);
	stream_write_str(connection->stream, buf_str(out));
}

static void forget(struct connection *connection)
{
	struct replicator *replicator = connection->replicator;
	struct peer *peer = connection->dialled_for;
	void *value;
	while (!list_is_empty(&connection->shipments))
		shipment_end(
			list_entry(connection->shipments.next, struct shipment, connection_link));
	for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);)
		receive_forget_connection(value, connection);
	list_remove(&connection->link);
	timer_destroy(&connection->alive_timer);
	frame_reader_deinit(&connection->reader);
	if (peer != NULL) {
		peer->connection = NULL;
		if (peer->wanted)
			timer_start(peer->dial_timer,
				peer->dial_wait_ms ? peer->dial_wait_ms : RECONNECT_MS);
	}
	free(connection);
}

void connection_close(struct connection *connection, const char *why)
{
	log_info("peer_closed", "peer=%s node=%u reason=%s",
		stream_peer_address(connection->stream), connection->node_id,
		log_quote(str_from(why)));
	stream_abort(connection->stream);
	forget(connection);
}

/* ---- two processes under one name ----
 *
 * A machine that was copied has the keys, the name and the data of the other one. What one of them
 * confirms the other does not have, and both would be heard as one member. So the process that is
 * linked and lives is the member; another one is refused, and both are named. A line that has died
 * unnoticed makes way: it is spoken on, and whoever has restarted says so. Nor is the process that
 * is linked anybody else when it dials anew: it has lost its line, which ends here at once.
 */

static bool is_alive(const struct connection *connection)
{
	return connection->is_paused ||
		clock_mono_us() - connection->heard_us <= MEMBER_ALIVE_MS * 1000u;
}

/* The living connection of another process under the same name, or NULL. What has died is closed,
 * and so is what the same process dialled before: it has one connection for each side that dials,
 * and the end of a line that fails may be lost. */
static struct connection *find_twin(struct connection *connection)
{
	list_for_each_safe (entry, following, &connection->replicator->connections) {
		struct connection *other = list_entry(entry, struct connection, link);
		bool is_same_way =
			(other->dialled_for == NULL) == (connection->dialled_for == NULL);
		bool is_same_process = other->process == connection->process;
		if (other == connection || other->node_id != connection->node_id ||
			(!is_same_way && is_same_process))
			continue;
		if (!is_same_process && is_alive(other))
			return other;
		connection_close(other,
			is_same_process ? "its member has dialled anew"
					: "silent, and its member has come anew");
	}
	return NULL;
}

static void refuse_twin(struct connection *connection, struct connection *linked)
{
	struct replicator *replicator = connection->replicator;
	struct peer *peer = replicator_find_peer(replicator, connection->node_id);
	uint64_t now = clock_mono_us();
	char text[160];
	const char *name = replicator_node_name(replicator, connection->node_id);
	snprintf(text, sizeof(text), "%s has another %s linked, at %s", replicator->node_name, name,
		stream_peer_address(linked->stream));
	if (peer != NULL) {
		bool is_news = peer->twin_us == 0 || now - peer->twin_us > TWIN_TOLD_MS * 1000u;
		if (is_news)
			log_error("twin_refused",
				"name=%s node=%u linked=%s refused=%s hint=\"stop one of them\"",
				name, peer->node_id, stream_peer_address(linked->stream),
				stream_peer_address(connection->stream));
		peer->twin_us = now;
		snprintf(peer->twin_linked, sizeof(peer->twin_linked), "%s",
			stream_peer_address(linked->stream));
		snprintf(peer->twin_refused, sizeof(peer->twin_refused), "%s",
			stream_peer_address(connection->stream));
	}
	/* The other may have died and not been missed yet. */
	connection_send(linked, &(struct cluster_message){ .kind = MESSAGE_ALIVE });
	connection_send(connection,
		&(struct cluster_message){ .kind = MESSAGE_REFUSE, .text = str_from(text) });
	stream_close(connection->stream);
	forget(connection);
}

/* The other end has refused this process. */
static void on_refused(struct connection *connection, const struct cluster_message *message)
{
	struct peer *peer = replicator_find_peer(connection->replicator, connection->node_id);
	if (peer != NULL) {
		if (!peer->refused_us[0])
			log_error("refused_as_twin", "node=%u reason=%s hint=\"stop one of them\"",
				connection->node_id, log_quote(message->text));
		snprintf(peer->refused_us, sizeof(peer->refused_us), STR_FORMAT,
			STR_ARG(message->text));
		peer->dial_wait_ms = timer_next_wait_ms(
			peer->dial_wait_ms, RECONNECT_MS, ASK_AGAIN_MS_MAX);
	}
	connection_close(connection, "refused");
}

/* It says something else than a refusal. */
static void note_welcome(struct connection *connection)
{
	struct peer *peer = connection->dialled_for;
	if (peer == NULL || peer->dial_wait_ms == 0)
		return;
	peer->refused_us[0] = '\0';
	peer->dial_wait_ms = 0;
}

const char *peers_refusal(const struct copy *copy)
{
	for (unsigned i = 0; i < copy->desired.member_count; i++) {
		const struct peer *peer =
			replicator_find_peer(copy->replicator, copy->desired.members[i]);
		if (peer != NULL && peer->refused_us[0])
			return peer->refused_us;
	}
	return NULL;
}

void replicator_report(const struct replicator *replicator, struct buf *json_out)
{
	uint64_t now = clock_mono_us();
	bool first = true;
	void *value;
	buf_append_literal(json_out, "\"twins\": [");
	for (size_t i = 0; map_next(replicator->peers, &i, NULL, &value);) {
		const struct peer *peer = value;
		if (peer->twin_us == 0 || now - peer->twin_us > TWIN_TOLD_MS * 1000u)
			continue;
		buf_append_str(json_out, first ? STR("{\"name\": ") : STR(", {\"name\": "));
		encode_json(json_out, str_from(peer->name));
		buf_append_literal(json_out, ", \"linked\": ");
		encode_json(json_out, str_from(peer->twin_linked));
		buf_append_literal(json_out, ", \"refused\": ");
		encode_json(json_out, str_from(peer->twin_refused));
		buf_append_byte(json_out, '}');
		first = false;
	}
	buf_append_literal(json_out, "], \"refused_by\": [");
	first = true;
	for (size_t i = 0; map_next(replicator->peers, &i, NULL, &value);) {
		const struct peer *peer = value;
		if (!peer->refused_us[0])
			continue;
		if (!first)
			buf_append_literal(json_out, ", ");
		encode_json(json_out, str_from(peer->refused_us));
		first = false;
	}
	buf_append_byte(json_out, ']');
}

/* ---- what comes in ---- */

/* The certificate must be that of the node it claims to be. */
static bool is_proven(struct connection *connection, const struct cluster_message *hello)
{
	const struct tls_peer *certificate = stream_peer(connection->stream);
	struct peer *peer = replicator_find_peer(connection->replicator, hello->node);
	if (connection->replicator->options.tls_server == NULL)
		return true;
	return peer != NULL && strcmp(certificate->role, "replicator") == 0 &&
		strcmp(certificate->name, peer->name) == 0;
}

/* False: the connection is gone. */
static bool on_hello(struct connection *connection, const struct cluster_message *message)
{
	connection->node_id = message->node;
	connection->process = message->process;
	struct connection *twin = find_twin(connection);
	if (twin != NULL) {
		refuse_twin(connection, twin);
		return false;
	}
	log_info("peer_linked", "peer=%s node=%u name=%s", stream_peer_address(connection->stream),
		message->node, log_quote(message->text));
	void *value;
	for (size_t i = 0; map_next(connection->replicator->copies, &i, NULL, &value);) {
		struct copy *copy = value;
		connection_send(connection, &(struct cluster_message){ .kind = MESSAGE_EPOCH,
						    .volume = copy->id,
						    .epoch = copy->highest_epoch });
		prove_forget(copy, message->node);
		receive_reconcile(copy);
	}
	return true;
}

static void on_epoch(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	/* Others have no say in it. */
	if (copy != NULL && copy_has_member(copy, connection->node_id))
		copy_saw_epoch(copy, message->epoch);
}

static void refuse_peer(struct connection *connection, uint32_t claimed)
{
	const struct tls_peer *certificate = stream_peer(connection->stream);
	log_warn("peer_refused", "peer=%s claims=%u certificate=%s role=%s",
		stream_peer_address(connection->stream), claimed,
		log_quote(str_from(certificate->name)), log_quote(str_from(certificate->role)));
	connection_close(connection, "not the replicator it should be");
}

/* False: the connection is gone. */
static bool on_message(struct connection *connection, const struct cluster_message *message)
{
	if (message->kind == MESSAGE_HELLO && connection->node_id == 0) {
		if (!is_proven(connection, message)) {
			refuse_peer(connection, message->node);
			return false;
		}
		return on_hello(connection, message);
	}
	if (connection->node_id == 0) {
		connection_close(connection, "no greeting");
		return false;
	}
	if (message->kind == MESSAGE_REFUSE && message->volume == 0) {
		on_refused(connection, message);
		return false;
	}
	note_welcome(connection);
	switch (message->kind) {
	case MESSAGE_FOLLOW: ship_on_follow(connection, message); break;
	case MESSAGE_ACK: ship_on_ack(connection, message); break;
	case MESSAGE_PARK: ship_on_park(connection, message); break;
	case MESSAGE_FOLLOWING: receive_on_following(connection, message); break;
	case MESSAGE_CUT: receive_on_cut(connection, message); break;
	case MESSAGE_REFUSE: receive_on_refuse(connection, message); break;
	case MESSAGE_EPOCH: on_epoch(connection, message); break;
	case MESSAGE_ASK: prove_on_ask(connection, message); break;
	case MESSAGE_POSITION: prove_on_position(connection, message); break;
	case MESSAGE_FETCH: ship_on_fetch(connection, message); break;
	case MESSAGE_MEND: mend_on_ask(connection, message); break;
	case MESSAGE_NOT_MENDED: mend_on_refusal(connection, message); break;
	default: break; /* ALIVE, and what later versions say */
	}
	return true;
}

/* Nobody makes us reserve a whole chunk before we know who it is. */
static size_t payload_limit(const struct connection *connection)
{
	return connection->node_id != 0 ? FRAME_PAYLOAD_MAX : FRAME_MESSAGE_MAX;
}

static void on_input(void *arg, struct buf *input)
{
	struct connection *connection = arg;
	struct replicator *replicator = connection->replicator;
	enum frame_type type;
	struct bytes *payload;
	enum frame_result result = FRAME_MORE;
	connection->heard_us = clock_mono_us();
	while (!connection->is_paused &&
		(result = frame_read(&connection->reader, input, payload_limit(connection), &type,
			 &payload)) == FRAME_DONE) {
		struct cluster_message message;
		bool alive = true;
		if (type == FRAME_CHUNK) {
			if (connection->node_id != 0)
				receive_on_chunk(connection, payload);
		} else {
			pool_reset(replicator->pool);
			if (message_decode(bytes_str(payload), replicator->pool, &message))
				alive = on_message(connection, &message);
		}
		bytes_unref(&payload);
		if (!alive)
			return;
	}
	if (result == FRAME_BAD) {
		log_warn("bad_frame", "peer=%s node=%u", stream_peer_address(connection->stream),
			connection->node_id);
		connection_close(connection, "bad frame");
	}
}

static void on_alive_timer(void *arg)
{
	struct connection *connection = arg;
	if (clock_mono_us() - connection->heard_us > SILENT_MS_MAX * 1000u &&
		!connection->is_paused) {
		connection_close(connection, "silent");
		return;
	}
	connection_send(connection, &(struct cluster_message){ .kind = MESSAGE_ALIVE });
	timer_start(connection->alive_timer, ALIVE_MS);
	/* Not all that fills a line is acknowledged. */
	if (connection->fill_waits)
		ship_fill_later(connection->replicator);
}

static void on_open(void *arg)
{
	struct connection *connection = arg;
	struct replicator *replicator = connection->replicator;
	if (replicator->options.on_operator != NULL &&
		strcmp(stream_peer(connection->stream)->role, "ctl") == 0) {
		replicator->options.on_operator(replicator->options.arg, connection->stream);
		forget(connection);
		return;
	}
	if (replicator->options.tls_server != NULL &&
		strcmp(stream_peer(connection->stream)->role, "replicator") != 0) {
		refuse_peer(connection, 0);
		return;
	}
	connection->open = true;
	stream_limit_unsent(connection->stream, UNSENT_BYTES_MAX);
	connection->heard_us = clock_mono_us();
	connection_send(connection, &(struct cluster_message){ .kind = MESSAGE_HELLO,
					    .node = replicator->options.node_id,
					    .process = replicator->process,
					    .text = str_from(replicator->node_name) });
	timer_start(connection->alive_timer, ALIVE_MS);
}

static void on_drain(void *arg)
{
	struct connection *connection = arg;
	ship_later(connection->replicator);
}

static void on_close(void *arg, int reason)
{
	struct connection *connection = arg;
	if (connection->open)
		log_info("peer_closed", "peer=%s node=%u reason=%d",
			stream_peer_address(connection->stream), connection->node_id, reason);
	forget(connection);
}

static const struct stream_handler handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_drain = on_drain,
	.on_close = on_close,
};

static struct connection *connection_create(struct replicator *replicator)
{
	struct connection *connection = mem_alloc(sizeof(*connection));
	connection->replicator = replicator;
	connection->alive_timer = timer_new(replicator->options.loop, on_alive_timer, connection);
	list_init(&connection->shipments);
	list_append(&replicator->connections, &connection->link);
	return connection;
}

void peers_dial(struct peer *peer)
{
	struct replicator *replicator = peer->replicator;
	if (peer->connection != NULL || peer->address[0] == '\0')
		return;
	struct connection *connection = connection_create(replicator);
	connection->dialled_for = peer;
	peer->connection = connection;
	connection->stream = stream_connect(replicator->options.loop, peer->address,
		replicator->options.tls_client, NULL, CONNECT_MS_MAX, &handler, connection);
}

static void on_accept(void *arg, struct stream *stream)
{
	const struct replicator *replicator = arg;
	if (replicator->options.node_id == 0) {
		/* The directory has not been read yet: nobody is known. They dial again soon. */
		stream_abort(stream);
		return;
	}
	struct connection *connection = connection_create(arg);
	connection->stream = stream;
	stream_set_handler(stream, &handler, connection);
	if (connection->replicator->options.tls_server == NULL)
		on_open(connection); /* accepted streams in clear are open from the start */
}

int peers_listen(struct replicator *replicator, const char *addresses, struct error *error)
{
	return listeners_open(&replicator->listeners, replicator->options.loop, addresses,
		replicator->options.tls_server, on_accept, replicator, error);
}
