/* Who is told of finished messages, and how often: the list over routers that are played here. */

#include "router/queue_item.h"
#include "unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROUTERS = 4,
	AWAY = 1, /* the first of the routers, "router-1" */
	LIVES = 2,
	GONE = 9, /* left the cluster */
	/* Told of one holder in one round (queue_finished.c). */
	ROUND = 500,
	MANY = 2 * ROUND,
	ASKED_MAX = 8 * MANY,
};

/* What a holder was asked and has not answered. */
struct asked {
	uint32_t router_id;
	char id[33];
	queue_peer_done *done;
	void *arg;
};

struct fixture {
	struct router router;
	struct queue queue;
};

static struct asked asked[ASKED_MAX];
static unsigned asked_count, asked_of[ROUTERS];
static bool is_open[ROUTERS];

/* ---- what queue_finished.c stands on ---- */

bool queue_peers_is_open(const struct queue_peers *peers, uint32_t router_id)
{
	(void)peers;
	return is_open[router_id];
}

void queue_peer_release(struct queue_peers *peers, uint32_t router_id, struct str id,
	queue_peer_done *done, void *arg)
{
	(void)peers;
	EXPECT(asked_count < ASKED_MAX);
	struct asked *one = &asked[asked_count++];
	*one = (struct asked){ .router_id = router_id, .done = done, .arg = arg };
	snprintf(one->id, sizeof(one->id), STR_FORMAT, STR_ARG(id));
	asked_of[router_id]++;
}

const struct directory_router *directory_find_router_by_name(
	const struct directory *directory, struct str name)
{
	static struct directory_router found;
	(void)directory;
	found.id = (uint32_t)(name.bytes[name.length - 1] - '0');
	return found.id < ROUTERS ? &found : NULL;
}

bool directory_is_fresh(const struct directory *directory)
{
	(void)directory;
	return true;
}

void queue_log_write(struct queue_log *log, struct queue_write *write)
{
	(void)log;
	(void)write;
}

void queue_write_record(struct queue_write *write, const struct queue_record *record)
{
	(void)write;
	(void)record;
}

void queue_write_deinit(struct queue_write *write)
{
	(void)write;
}

void queue_clean(struct queue *queue)
{
	(void)queue;
}

/* ---- the play ---- */

static void setup(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	f->router.queue_peers = (struct queue_peers *)f;
	f->queue.router = &f->router;
	f->queue.finished = map_create();
	f->queue.audiences = map_create();
	list_init(&f->queue.finished_ages);
	asked_count = 0;
	memset(asked_of, 0, sizeof(asked_of));
	memset(is_open, 0, sizeof(is_open));
}

/* All that was asked of this one, or of all (0), is answered. */
static void answer(uint32_t router_id, enum queue_peer_reply reply)
{
	unsigned kept = 0, count = asked_count;
	for (unsigned i = 0; i < count; i++) {
		struct asked one = asked[i];
		if (router_id == 0 || one.router_id == router_id)
			one.done(one.arg, reply);
		else
			asked[kept++] = one;
	}
	EXPECT_INT(count, asked_count);
	asked_count = kept;
}

static void teardown(struct fixture *f)
{
	answer(0, QUEUE_PEER_NONE);
	queue_finished_forget(&f->queue);
	map_destroy(&f->queue.finished);
	map_destroy(&f->queue.audiences);
}

static void finish(struct fixture *f, unsigned number, unsigned holder)
{
	struct queue_record record = { .is_change = true, .finished = true };
	char name[16];
	snprintf(name, sizeof(name), "router-%u", holder);
	memcpy(record.delivery_id, &number, sizeof(number));
	EXPECT(queue_record_add_holder(&record, name));
	queue_finished_add(&f->queue, &record, number);
}

TEST(finished_messages_of_a_router_that_is_away_keep_no_other_from_being_told)
{
	struct fixture f;
	setup(&f);
	is_open[LIVES] = true;
	for (unsigned i = 0; i < MANY; i++)
		finish(&f, i, AWAY);
	for (unsigned i = 0; i < 10; i++)
		finish(&f, MANY + i, LIVES);
	queue_finished_tell(&f.queue, 0);
	EXPECT_INT(10, asked_of[LIVES]);
	/* One question finds out whether it is back. */
	EXPECT_INT(1, asked_of[AWAY]);
	answer(LIVES, QUEUE_PEER_YES);
	answer(AWAY, QUEUE_PEER_NONE);
	EXPECT_INT(MANY, map_count(f.queue.finished));
	is_open[AWAY] = true;
	queue_finished_tell(&f.queue, AWAY);
	EXPECT(asked_of[AWAY] > ROUND / 2);
	EXPECT_INT(10, asked_of[LIVES]);
	teardown(&f);
}

TEST(a_round_goes_on_where_the_one_before_has_ended)
{
	struct fixture f;
	setup(&f);
	is_open[LIVES] = true;
	for (unsigned i = 0; i < MANY; i++)
		finish(&f, i, LIVES);
	/* The first half is not gone yet, and stands in front of the second. */
	queue_finished_tell(&f.queue, 0);
	EXPECT_INT(ROUND, asked_count);
	char first[33];
	memcpy(first, asked[0].id, sizeof(first));
	answer(0, QUEUE_PEER_NONE);
	queue_finished_tell(&f.queue, 0);
	EXPECT_INT(ROUND, asked_count);
	for (unsigned i = 0; i < asked_count; i++)
		EXPECT(strcmp(first, asked[i].id) != 0);
	answer(0, QUEUE_PEER_YES);
	EXPECT_INT(MANY - ROUND, map_count(f.queue.finished));
	queue_finished_tell(&f.queue, 0);
	answer(0, QUEUE_PEER_YES);
	EXPECT_INT(0, map_count(f.queue.finished));
	teardown(&f);
}

TEST(what_is_under_way_is_not_said_again_and_a_finish_says_what_is_new)
{
	struct fixture f;
	setup(&f);
	is_open[LIVES] = true;
	for (unsigned i = 0; i < 100; i++) {
		finish(&f, i, LIVES);
		queue_finished_tell_new(&f.queue);
	}
	EXPECT_INT(100, asked_count);
	queue_finished_tell(&f.queue, 0);
	EXPECT_INT(100, asked_count);
	/* "Not yet": it is asked again with the next round. */
	answer(0, QUEUE_PEER_NONE);
	queue_finished_tell_new(&f.queue);
	EXPECT_INT(100, asked_of[LIVES]);
	queue_finished_tell(&f.queue, 0);
	EXPECT_INT(200, asked_of[LIVES]);
	teardown(&f);
}

TEST(a_router_that_has_left_the_cluster_is_told_nothing)
{
	struct fixture f;
	setup(&f);
	is_open[LIVES] = true;
	for (unsigned i = 0; i < MANY; i++)
		finish(&f, i, GONE);
	finish(&f, MANY, LIVES);
	queue_finished_tell(&f.queue, 0);
	EXPECT_INT(1, map_count(f.queue.finished));
	EXPECT_INT(1, asked_of[LIVES]);
	teardown(&f);
}
