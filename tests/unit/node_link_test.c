#include "core/config.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/net.h"
#include "core/timer.h"
#include "node/volume/volumes_internal.h"
#include "proto/cluster/message.h"
#include "unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What a node says to the replicator of its machine, whenever that comes. The replicator is the
 * test. */

enum { VOLUME = 7, EPOCH = 3, END = 8192, LIMIT_MS = 5000, TURN_MS = 10 };

struct link {
	struct loop *loop;
	struct timer *limit;
	struct listener *listener;
	struct stream *stream;
	struct frame_reader reader;
	struct config config;
	struct volumes volumes;
	struct worker worker;
	struct slot slot;
	struct volume volume;
	char folder[64], name[8];
	enum message_kind awaited;
	struct cluster_message heard; /* the last of that kind; no texts */
	unsigned count;
};

/* There is no directory that could be told. */
void slot_claim(struct slot *slot, const struct volume_claim *claim)
{
	(void)slot;
	(void)claim;
}

void slot_tell_directory(struct slot *slot)
{
	(void)slot;
}

static void on_input(void *arg, struct buf *input)
{
	struct link *link = arg;
	enum frame_type type;
	struct bytes *payload;
	struct pool *pool = pool_create();
	while (frame_read(&link->reader, input, FRAME_MESSAGE_MAX, &type, &payload) == FRAME_DONE) {
		struct cluster_message message;
		EXPECT(message_decode(bytes_str(payload), pool, &message));
		bytes_unref(&payload);
		if (message.kind != link->awaited)
			continue;
		link->heard = message;
		link->count++;
		loop_stop(link->loop);
	}
	pool_destroy(&pool);
}

static void on_close(void *arg, int reason)
{
	(void)arg;
	(void)reason;
}

static const struct stream_handler handler = { .on_input = on_input, .on_close = on_close };

static void on_accept(void *arg, struct stream *stream)
{
	struct link *link = arg;
	link->stream = stream;
	stream_set_handler(stream, &handler, link);
}

static void on_limit(void *arg)
{
	struct link *link = arg;
	loop_stop(link->loop);
}

/* False: it did not come. */
static bool await(struct link *link, enum message_kind kind)
{
	link->awaited = kind;
	link->count = 0;
	timer_start(link->limit, LIMIT_MS);
	loop_run(link->loop);
	return link->count > 0;
}

/* What has come is looked at. */
static void turn(struct link *link)
{
	timer_start(link->limit, TURN_MS);
	loop_run(link->loop);
}

static void say(struct link *link, const struct cluster_message *message)
{
	struct buf out = { 0 };
	message_encode(message, &out);
	stream_write_str(link->stream, buf_str(&out));
	buf_deinit(&out);
}

static void setup(struct link *link)
{
	static const uint64_t id = VOLUME;
	memset(link, 0, sizeof(*link));
	log_setup("test", LOG_LEVEL_ERROR + 1);
	snprintf(link->folder, sizeof(link->folder), "/tmp/pando-link-XXXXXX");
	EXPECT(mkdtemp(link->folder) != NULL);
	link->loop = loop_create();
	link->limit = timer_new(link->loop, on_limit, link);
	snprintf(link->name, sizeof(link->name), "node-a1");
	link->config.run_dir = link->folder;
	link->config.node = link->name;
	link->worker.loop = link->volumes.front = link->loop;
	link->volumes.config = &link->config;
	link->volumes.slots = map_create();
	link->slot.volumes = &link->volumes;
	link->slot.worker = &link->worker;
	link->slot.id = VOLUME;
	link->slot.volume = &link->volume;
	slot_init(&link->slot);
	map_set(link->volumes.slots, map_key_u64(&id), &link->slot);
	link->volumes.link = replicator_link_create(&link->volumes);
}

static void listen_here(struct link *link)
{
	char address[96];
	struct error error;
	snprintf(address, sizeof(address), "unix:%s/replicator.sock", link->folder);
	EXPECT_INT(0,
		listener_open(link->loop, address, NULL, on_accept, link, &link->listener, &error));
}

/* The link lives as long as its process. */
static void tear_down(struct link *link)
{
	char socket[96];
	listener_close(&link->listener);
	snprintf(socket, sizeof(socket), "%s/replicator.sock", link->folder);
	(void)!unlink(socket);
	EXPECT_INT(0, rmdir(link->folder));
}

TEST(a_volume_that_opened_while_its_replicator_came_is_told_of)
{
	static struct link link;
	setup(&link);
	/* It is being opened, and nobody is there who could have to let it go. */
	atomic_store(&link.volume.numbers.state, VOLUME_OPENING);
	atomic_store(&link.slot.question, 1);
	replicator_link_tell(link.volumes.link, &link.slot);
	EXPECT_INT(1, link.slot.over_question);
	listen_here(&link);
	EXPECT(await(&link, MESSAGE_RELEASE));
	EXPECT_INT(1, link.heard.end);
	/* Now it is open, before that has been answered. */
	atomic_store(&link.volume.numbers.epoch, EPOCH);
	atomic_store(&link.volume.numbers.durable_lsn, END);
	atomic_store(&link.volume.numbers.writes, true);
	atomic_store(&link.volume.numbers.state, VOLUME_PRIMARY);
	replicator_link_tell(link.volumes.link, &link.slot);
	say(&link,
		&(struct cluster_message){ .kind = MESSAGE_RELEASED, .volume = VOLUME, .end = 1 });
	EXPECT(await(&link, MESSAGE_DURABLE));
	EXPECT_INT(EPOCH, link.heard.epoch);
	EXPECT_INT(END, link.heard.lsn);
	tear_down(&link);
}

TEST(a_volume_that_has_its_proof_asks_a_replicator_that_came_later_for_no_other)
{
	static struct link link;
	setup(&link);
	listen_here(&link);
	atomic_store(&link.volume.numbers.state, VOLUME_OPENING);
	atomic_store(&link.slot.prove_epoch, EPOCH);
	atomic_store(&link.slot.question, 1);
	EXPECT(await(&link, MESSAGE_PROVE));
	say(&link, &(struct cluster_message){ .kind = MESSAGE_RELEASED,
			   .volume = VOLUME,
			   .opening = 1,
			   .end = 1 });
	/* The log is read, which takes its time, and the replicator starts anew. */
	for (unsigned i = 0; i < LIMIT_MS / TURN_MS && link.slot.over_question < 1; i++)
		turn(&link);
	EXPECT_INT(1, link.slot.over_question);
	stream_abort(link.stream);
	frame_reader_deinit(&link.reader);
	EXPECT(await(&link, MESSAGE_RELEASE));
	EXPECT_INT(1, link.heard.end);
	say(&link,
		&(struct cluster_message){ .kind = MESSAGE_RELEASED, .volume = VOLUME, .end = 1 });
	atomic_store(&link.volume.numbers.epoch, EPOCH);
	atomic_store(&link.volume.numbers.durable_lsn, END);
	atomic_store(&link.volume.numbers.writes, true);
	EXPECT(await(&link, MESSAGE_DURABLE));
	EXPECT_INT(END, link.heard.lsn);
	tear_down(&link);
}

TEST(a_replicator_that_came_later_hears_where_the_copy_is_damaged)
{
	static struct link link;
	setup(&link);
	listen_here(&link);
	atomic_store(&link.volume.numbers.state, VOLUME_REPLICA);
	atomic_store(&link.volume.numbers.damaged, 1 + END);
	EXPECT(await(&link, MESSAGE_DAMAGED));
	/* It starts anew before a leader was there to fill it again. */
	stream_abort(link.stream);
	frame_reader_deinit(&link.reader);
	EXPECT(await(&link, MESSAGE_DAMAGED));
	EXPECT_INT(END, link.heard.lsn);
	tear_down(&link);
}

/* Whether it is heard: what a replica has is told to the volume. */
static bool is_heard(struct link *link, uint64_t copy, uint64_t lsn)
{
	say(link,
		&(struct cluster_message){ .kind = MESSAGE_ACKED,
			.volume = VOLUME,
			.node = 2,
			.copy = copy,
			.lsn = lsn,
			.connected = true });
	for (unsigned i = 0; i < 20; i++)
		turn(link);
	return link->slot.replica_count == 1 && link->slot.replicas[0].acked_lsn == lsn;
}

TEST(what_a_node_had_before_its_copy_was_thrown_away_is_no_acknowledgement)
{
	static struct link link;
	setup(&link);
	listen_here(&link);
	atomic_store(&link.volume.numbers.state, VOLUME_REPLICA);
	EXPECT(await(&link, MESSAGE_RETIRED));
	list_init(&link.volume.waits);
	link.volume.options.events = slot_events(&link.slot);
	link.slot.is_member = true;
	EXPECT(!is_heard(&link, 5, END)); /* of a node without a copy */
	link.slot.others[link.slot.other_count++] = (struct slot_other){ 2, 5, false };
	EXPECT(is_heard(&link, 4, END)); /* who counts need not say which it is */
	link.slot.others[0] = (struct slot_other){ 2, 6, true };
	link.slot.replica_count = 0;
	EXPECT(!is_heard(&link, 5, END));
	EXPECT(!is_heard(&link, 0, END));
	EXPECT(is_heard(&link, 6, 4096));
	tear_down(&link);
}
