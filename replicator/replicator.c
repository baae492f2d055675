#include "replicator/internal.h"

#include "core/log.h"
#include "core/rand.h"

#include <stdio.h>
#include <stdlib.h>

struct copy *replicator_find_copy(const struct replicator *replicator, uint32_t volume_id)
{
	uint64_t id = volume_id;
	return map_get(replicator->copies, map_key_u64(&id));
}

int replicator_create(const struct replicator_options *options, struct replicator **replicator_out,
	struct error *error)
{
	struct replicator *replicator = mem_alloc(sizeof(*replicator));
	replicator->options = *options;
	replicator->volumes_directory = str_to_heap(str_from(options->volumes_directory));
	replicator->node_name = str_to_heap(str_from(options->node_name));
	replicator->copies = map_create();
	replicator->peers = map_create();
	replicator->process = rand_u64();
	replicator->pool = pool_create();
	list_init(&replicator->connections);
	list_init(&replicator->exports);
	replicator->ship_task = (struct task){ .run = ship_task, .arg = replicator };
	replicator->report_timer =
		timer_new(options->loop, receive_on_report_timer, replicator);
	replicator->place_timer = timer_new(options->loop, receive_on_place_timer, replicator);
	timer_start(replicator->place_timer, LOG_LOOK_MS);
	replicator->fill_timer = timer_new(options->loop, ship_on_fill_timer, replicator);
	replicator->export_timer = timer_new(options->loop, export_on_timer, replicator);
	replicator->shipped_bytes =
		metric_counter("pando_shipped_bytes_total", "", "Log bytes sent to followers");
	replicator->received_bytes = metric_counter(
		"pando_received_bytes_total", "", "Log bytes received and durable here");
	*replicator_out = replicator;
	int result = peers_listen(replicator, options->listen, error);
	if (result == 0)
		result = node_side_listen(replicator, options->node_socket, error);
	if (result < 0)
		replicator_destroy(replicator_out);
	return result;
}

static void free_copy(struct copy *copy)
{
	ship_retire(copy, false, "stopping");
	prove_end(copy);
	timer_destroy(&copy->open_timer);
	while (!list_is_empty(&copy->chunks)) {
		struct queued_chunk *chunk =
			list_entry(copy->chunks.next, struct queued_chunk, link);
		list_remove(&chunk->link);
		bytes_unref(&chunk->payload);
		free(chunk);
	}
	volume_log_close(&copy->log);
	mend_end(copy);
	free(copy);
}

void replicator_destroy(struct replicator **replicator_pointer)
{
	struct replicator *replicator = *replicator_pointer;
	void *value;
	if (replicator == NULL)
		return;
	listeners_close(&replicator->listeners);
	listener_close(&replicator->node_listener);
	if (replicator->node != NULL)
		stream_abort(replicator->node);
	replicator->node = NULL;
	list_for_each_safe (entry, following, &replicator->connections)
		connection_close(list_entry(entry, struct connection, link), "stopping");
	for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);)
		free_copy(value);
	for (size_t i = 0; map_next(replicator->peers, &i, NULL, &value);) {
		struct peer *peer = value;
		timer_destroy(&peer->dial_timer);
		free(peer);
	}
	timer_destroy(&replicator->report_timer);
	timer_destroy(&replicator->place_timer);
	timer_destroy(&replicator->fill_timer);
	timer_destroy(&replicator->export_timer);
	loop_cancel_deferred(replicator->options.loop, &replicator->ship_task);
	map_destroy(&replicator->copies);
	map_destroy(&replicator->peers);
	frame_reader_deinit(&replicator->node_reader);
	pool_destroy(&replicator->pool);
	buf_deinit(&replicator->out);
	free(replicator->volumes_directory);
	free(replicator->node_name);
	free(replicator);
	*replicator_pointer = NULL;
}

void replicator_set_node_id(struct replicator *replicator, uint32_t node_id)
{
	replicator->options.node_id = node_id;
}

struct peer *replicator_find_peer(const struct replicator *replicator, uint32_t node_id)
{
	uint64_t id = node_id;
	return map_get(replicator->peers, map_key_u64(&id));
}

struct connection *replicator_find_connection(
	const struct replicator *replicator, uint32_t node_id)
{
	list_for_each (entry, &replicator->connections) {
		struct connection *connection = list_entry(entry, struct connection, link);
		if (connection->open && connection->node_id == node_id)
			return connection;
	}
	return NULL;
}

const char *replicator_node_name(const struct replicator *replicator, uint32_t node_id)
{
	const struct peer *peer = replicator_find_peer(replicator, node_id);
	return peer ? peer->name : "an unknown node";
}

static void on_dial_timer(void *arg)
{
	peers_dial(arg);
}

void replicator_set_peer(
	struct replicator *replicator, uint32_t node_id, const char *name, const char *address)
{
	struct peer *peer = replicator_find_peer(replicator, node_id);
	if (node_id == replicator->options.node_id)
		return;
	if (peer == NULL) {
		uint64_t id = node_id;
		peer = mem_alloc(sizeof(*peer));
		peer->replicator = replicator;
		peer->node_id = node_id;
		peer->dial_timer = timer_new(replicator->options.loop, on_dial_timer, peer);
		map_set(replicator->peers, map_key_u64(&id), peer);
	}
	snprintf(peer->name, sizeof(peer->name), "%s", name);
	if (strcmp(peer->address, address) == 0)
		return;
	snprintf(peer->address, sizeof(peer->address), "%s", address);
	if (peer->connection != NULL)
		connection_close(peer->connection, "new address");
}

static void forget_peer(struct peer *peer)
{
	peer->wanted = false;
	peer->name[0] = peer->address[0] = '\0';
	timer_stop(peer->dial_timer);
	list_for_each_safe (entry, following, &peer->replicator->connections) {
		struct connection *connection = list_entry(entry, struct connection, link);
		if (connection->dialled_for == peer || connection->node_id == peer->node_id)
			connection_close(connection, "its node was removed");
	}
}

/* The address may be another node's by now, of the same name perhaps: of two lines that are dialled
 * to one process, it takes the second for the first one that has dialled anew. */
void replicator_forget_peers(struct replicator *replicator,
	bool (*is_there)(void *arg, uint32_t node_id), void *arg)
{
	void *value;
	for (size_t i = 0; map_next(replicator->peers, &i, NULL, &value);) {
		struct peer *peer = value;
		if (peer->address[0] && !is_there(arg, peer->node_id))
			forget_peer(peer);
	}
}

static void want_peers(struct replicator *replicator, const struct replicator_volume *volume)
{
	for (unsigned i = 0; i < volume->member_count; i++) {
		struct peer *peer = replicator_find_peer(replicator, volume->members[i]);
		if (peer == NULL || peer->wanted || !peer->address[0])
			continue;
		peer->wanted = true;
		timer_start(peer->dial_timer, 0);
	}
}

void replicator_set_volume(struct replicator *replicator, const struct replicator_volume *volume)
{
	struct copy *copy = replicator_find_copy(replicator, volume->id);
	if (copy == NULL) {
		uint64_t id = volume->id;
		if (volume->role == REPLICATOR_NONE)
			return;
		copy = mem_alloc(sizeof(*copy));
		copy->replicator = replicator;
		copy->id = volume->id;
		snprintf(copy->directory, sizeof(copy->directory), "%s/%u",
			replicator->volumes_directory, volume->id);
		list_init(&copy->shipments);
		list_init(&copy->chunks);
		copy->open_timer = timer_new(replicator->options.loop, receive_on_open_timer, copy);
		map_set(replicator->copies, map_key_u64(&id), copy);
		/* The node may have spoken of it before the directory did here. */
		node_side_send(replicator, &(struct cluster_message){ .kind = MESSAGE_HELLO,
						   .volume = copy->id });
	}
	if (volume->epoch < copy->desired.epoch)
		return; /* a stale copy of the directory */
	bool changed = memcmp(&copy->desired, volume, sizeof(*volume)) != 0;
	copy->desired = *volume;
	want_peers(replicator, volume);
	copy_saw_epoch(copy, volume->epoch);
	if (!changed)
		return;
	ship_end_strangers(copy);
	aside_drop(copy);
	copy->ask_again_ms = 0;
	if (copy->node == NODE_PROVES) /* perhaps by other members */
		prove_begin(copy, prove_epoch(copy));
	else
		receive_reconcile(copy);
}

void replicator_forget_volumes(struct replicator *replicator,
	bool (*is_there)(void *arg, uint32_t volume_id), void *arg)
{
	void *value;
	for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);) {
		const struct copy *copy = value;
		if (is_there(arg, copy->id))
			continue;
		struct replicator_volume gone = { .id = copy->id, .epoch = copy->desired.epoch };
		replicator_set_volume(replicator, &gone);
	}
}

bool copy_has_member(const struct copy *copy, uint32_t node_id)
{
	return copy_member_index(copy, node_id) != SIZE_MAX;
}

/* Peers that were connected before this epoch was known hear of it now: a primary that no line
 * leads to learns from a third that it has been deposed. */
static void pass_on_epoch(struct copy *copy)
{
	list_for_each (entry, &copy->replicator->connections) {
		struct connection *connection = list_entry(entry, struct connection, link);
		if (connection->open)
			connection_send(connection,
				&(struct cluster_message){ .kind = MESSAGE_EPOCH,
					.volume = copy->id,
					.epoch = copy->highest_epoch });
	}
}

uint64_t copy_believable_epoch(const struct copy *copy)
{
	return copy->desired.epoch > EPOCH_HEARD_MAX ? copy->desired.epoch : EPOCH_HEARD_MAX;
}

void copy_saw_epoch(struct copy *copy, uint64_t epoch)
{
	if (epoch <= copy->highest_epoch)
		return;
	if (epoch > copy_believable_epoch(copy)) {
		log_warn("epoch_disbelieved", "volume=%u epoch=%llu known=%llu", copy->id,
			(unsigned long long)epoch, (unsigned long long)copy->highest_epoch);
		return;
	}
	copy->highest_epoch = epoch;
	pass_on_epoch(copy);
	/* Whatever it does now: it may be named below this epoch later. */
	struct cluster_message news = {
		.kind = MESSAGE_HIGHER_EPOCH, .volume = copy->id, .epoch = epoch
	};
	node_side_send(copy->replicator, &news);
}

bool replicator_is_settled(const struct replicator *replicator)
{
	void *value;
	bool settled = replicator->node != NULL;
	for (size_t i = 0; map_next(replicator->copies, &i, NULL, &value);) {
		const struct copy *copy = value;
		if (copy->desired.role == REPLICATOR_FOLLOW)
			settled &= copy->state == COPY_RECEIVING;
	}
	return settled;
}
