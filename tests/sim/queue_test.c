/* Single stories of the routers' queues: starts that are refused a call. */

#include "sim/scenario.h"

#include "router/queue_item.h"
#include "sim/cluster_internal.h"
#include "sim/routers.h"

#include <errno.h>

enum { OWNER = CLUSTER_ROUTER_FIRST, HOLDER = OWNER + 1 };

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
