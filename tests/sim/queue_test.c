/* Single stories of the routers' queues: starts that are refused a call, and copies that a slow
 * disk is still writing when their owner has finished them. */

#include "sim/scenario.h"

#include "router/queue_item.h"
#include "sim/cluster_internal.h"
#include "sim/routers.h"

#include <errno.h>

enum { OWNER = CLUSTER_ROUTER_FIRST, HOLDER = OWNER + 1 };

static void restart(unsigned router)
{
	world_kill_machine(router);
	router_restart(router);
}

static void homes(bool run)
{
	for (unsigned machine = 0; machine < 2; machine++) {
		if (run)
			cluster_restart(machine);
		else
			cluster_crash(machine);
	}
}

/* The owner takes so many. */
static void accept(size_t *entries, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		entries[i] = history_add(1, MAILBOX, DURABILITY_LOCAL);
		router_accept(OWNER, entries[i]);
	}
}

TEST(a_call_that_is_refused_at_a_start_gives_up_nothing_that_is_in_the_log)
{
	enum { COUNT = 200, PATIENCE = 40 };
	static const enum disk_call calls[] = { DISK_OPEN, DISK_READ, DISK_LIST };
	static const int refusals[] = { -EIO, -EMFILE, -ENFILE, -ENOMEM };
	size_t entries[COUNT];
	unsigned refused = 0;
	start();
	homes(false);
	cluster_crash(HOLDER);
	accept(entries, COUNT);
	run_us(5 * SECOND_US);
	EXPECT_INT(COUNT, router_queued(OWNER));
	EXPECT(segment_of(router_item(OWNER, entries[COUNT - 1])->body_lsn) >= 2);
	uint64_t first_lsn = router_item(OWNER, entries[0])->body_lsn;
	for (unsigned call = 0; call < array_length(calls); call++) {
		bool is_reached = true;
		for (unsigned i = 0; i < PATIENCE && is_reached; i++) {
			int refusal = refusals[i % array_length(refusals)];
			world_kill_machine(OWNER);
			world_refuse_call(OWNER, calls[call], refusal, i / array_length(refusals));
			router_restart(OWNER);
			is_reached = world_has_refused(OWNER);
			refused += is_reached;
			run_us(3 * SECOND_US);
			world_spare(OWNER);
			EXPECT_INT(COUNT, router_queued(OWNER));
			/* Nor is the log set aside for it, and written anew. */
			const struct queue_item *first = router_item(OWNER, entries[0]);
			EXPECT(first && first->body_lsn == first_lsn);
		}
	}
	EXPECT(refused >= 30);
	homes(true);
	router_restart(HOLDER);
	run_us(60 * SECOND_US);
	for (unsigned i = 0; i < COUNT; i++) {
		EXPECT(entry(entries[i])->handed_over);
		EXPECT_INT(1, history_count_in_index(cluster_primary(1), entry(entries[i])));
	}
}

/* The holder's disk takes so long for what its owner leaves there that the owner gives up waiting,
 * brings the messages home, comes back and releases them, all before they are written. `dies_us`:
 * when the holder is killed and starts again; 0: never. False: they were written sooner. */
static bool release_what_is_being_written(uint64_t seed, uint64_t dies_us)
{
	enum { COUNT = 200 };
	size_t entries[COUNT];
	start_from(seed);
	world_slow_disk(HOLDER, 60 * SECOND_US);
	accept(entries, COUNT);
	run_us(12 * SECOND_US);
	unsigned arriving = router_arriving(HOLDER);
	for (unsigned i = 0; i < COUNT; i++)
		EXPECT(entry(entries[i])->queued);
	EXPECT_INT(0, router_queued(OWNER));
	/* What the holder takes for its own from here on stays with it. */
	homes(false);
	if (dies_us > 0) {
		run_us(dies_us);
		world_slow_disk(HOLDER, 0);
		restart(HOLDER);
	}
	run_us(300 * SECOND_US);
	EXPECT_INT(0, router_arriving(HOLDER));
	EXPECT_INT(0, router_queued(HOLDER));
	world_slow_disk(HOLDER, 0);
	restart(HOLDER);
	run_us(30 * SECOND_US);
	EXPECT_INT(0, router_queued(HOLDER));
	return arriving > 0;
}

TEST(what_is_released_while_it_is_being_written_is_not_there_when_it_has_been)
{
	unsigned slow = 0;
	for (uint64_t seed = 1; seed <= 4; seed++)
		slow += release_what_is_being_written(seed, 0);
	EXPECT(slow >= 2);
}

TEST(what_is_released_while_it_is_being_written_is_not_brought_back_by_a_restart)
{
	unsigned slow = 0;
	for (uint64_t seed = 11; seed <= 20; seed++)
		slow += release_what_is_being_written(seed, (seed - 10) * 7 * SECOND_US);
	EXPECT(slow >= 5);
}

TEST(what_comes_in_on_a_line_that_its_router_has_given_up_is_not_held)
{
	/* Bytes that a cut line holds come at some time within the first 50 ms after it. */
	enum { STEP_US = 5000, STEPS = 10 };
	for (unsigned i = 0; i < STEPS; i++) {
		size_t message;
		start_from(5);
		uint64_t started_us = world_now_us() - SECOND_US;
		accept(&message, 1);
		run_us(4 * SECOND_US);
		EXPECT_INT(0, router_queued(HOLDER));
		world_run_until_us(started_us + 6 * SECOND_US + i * STEP_US);
		world_set_link(OWNER, HOLDER, false);
		homes(false);
		accept(&message, 1);
		run_us(SECOND_US);
		EXPECT(entry(message)->queued);
		homes(true);
		run_us(7 * SECOND_US);
		EXPECT_INT(0, router_queued(OWNER));
		homes(false);
		/* Its owner looks every 5 seconds whether the line is back. */
		world_run_until_us(started_us + 15 * SECOND_US - STEP_US / 2);
		world_set_link(OWNER, HOLDER, true);
		run_us(60 * SECOND_US);
		EXPECT_INT(0, router_queued(HOLDER));
	}
}

TEST(a_copy_that_is_being_written_is_neither_lost_nor_written_twice)
{
	size_t message;
	unsigned most = 0, steps = 0;
	start_from(3);
	homes(false);
	world_slow_disk(HOLDER, 60 * SECOND_US);
	accept(&message, 1);
	for (; steps < 2000 && router_queued(HOLDER) == 0; steps++) {
		run_us(SECOND_US / 10);
		unsigned arriving = router_arriving(HOLDER);
		most = arriving > most ? arriving : most;
	}
	/* Its owner has come back before it is written. */
	EXPECT(steps > 100);
	EXPECT_INT(1, most);
	EXPECT_INT(1, router_queued(HOLDER));
	run_us(30 * SECOND_US);
	const struct queue_item *item = router_item(OWNER, message);
	EXPECT(item != NULL && item->copy_router_id != 0);
	homes(true);
	world_slow_disk(HOLDER, 0);
	run_us(30 * SECOND_US);
	EXPECT(entry(message)->handed_over);
}
