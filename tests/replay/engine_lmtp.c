/*
 * The node's LMTP session as it is shipped. The volumes are played here: scripts decide when
 * deliveries end and how.
 *
 * connect [ROLE] (default: router)
 * do hold, do release: deliveries wait until they are released, the newest first
 * do status NUMBER: what deliveries end with from now on
 */

#include "core/list.h"
#include "node/session/lmtp_session.h"
#include "replay/engine.h"
#include "replay/mail_directory.h"

#include <stdlib.h>

struct played_delivery {
	struct list link;
	struct task task;
	struct delivery *delivery;
};

static struct config config;
static struct lmtp_front front;
static struct meant meant;
static struct list held;
static bool is_holding;
static int status;

static void run_done(void *arg)
{
	struct played_delivery *played = arg;
	struct delivery *delivery = played->delivery;
	free(played);
	for (unsigned i = 0; i < delivery->target_count; i++)
		delivery->targets[i].status = status;
	delivery->done(delivery);
}

void volumes_deliver(struct volumes *volumes, struct delivery *delivery)
{
	struct played_delivery *played = mem_alloc(sizeof(*played));

	(void)volumes;
	CHECK(delivery->target_count > 0 && buf_length(&delivery->summary) > 0);
	CHECK(str_starts_with(bytes_str(delivery->body), STR("Return-Path: <")));
	played->delivery = delivery;
	played->task.run = run_done;
	played->task.arg = played;
	list_init(&played->link);
	if (is_holding)
		list_append(&held, &played->link);
	else
		loop_defer(front.loop, &played->task);
}

static void start(struct str arguments)
{
	(void)arguments;
	mail_directory_start();
	list_init(&held);
	config.hostname = (char *)"node.example.org";
	config.node = (char *)"script";
	config.message_bytes_max = 100000;
	front.loop = world_loop();
	front.directory = mail_directory();
	front.config = &config;
	meant = (struct meant){ 0 };
	front.meant = &meant;
}

static struct stream *open_session(struct str arguments)
{
	char role[32] = "router";
	if (arguments.length > 0 && arguments.length < sizeof(role))
		memcpy(role, arguments.bytes, arguments.length), role[arguments.length] = 0;
	struct stream *stream = world_accept(role);
	lmtp_session_start(&front, stream);
	return stream;
}

static bool command(struct str text)
{
	uint64_t number;

	if (str_equal(text, STR("hold"))) {
		is_holding = true;
	} else if (str_equal(text, STR("release"))) {
		is_holding = false;
		while (!list_is_empty(&held)) {
			struct played_delivery *played =
				list_entry(held.previous, struct played_delivery, link);
			list_remove(&played->link);
			loop_defer(front.loop, &played->task);
		}
	} else if (str_starts_with(text, STR("status ")) &&
		str_to_u64(str_from_index(text, 7), 200, &number)) {
		status = -(int)number;
	} else {
		return false;
	}
	return true;
}

static void stop(void)
{
	command(STR("release"));
	world_settle();
}

const struct replay_engine engine_lmtp = { "lmtp", start, open_session, command, stop };
extern const struct replay_engine engine_relay, engine_smtp;
const struct replay_engine *const replay_engines[] = { &engine_lmtp, &engine_relay, &engine_smtp,
	NULL };
