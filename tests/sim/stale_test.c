/* A copy that is away for longer than expunged messages keep their room for it: stories on the
 * simulated cluster. Their messages are none of the history's, which looks for every accepted one.
 */

#include "sim/scenario.h"

#include "sim/cluster_internal.h"

/* More than a segment: what is written to keeps its room. */
enum { MESSAGES = 60, LENGTH = 8000 };

struct wish {
	struct mailbox_op op;
	unsigned machine;
	bool is_over;
};

static void on_wish_done(struct mailbox_op *op)
{
	container_of(op, struct wish, op)->is_over = true;
}

static void on_store(void *arg)
{
	struct wish *wish = arg;
	struct append_request request = { .body = bytes_create(LENGTH),
		.policy = { DURABILITY_LOCAL, 0 } };
	memset(request.body->data, 'a', LENGTH);
	wish->op = (struct mailbox_op){ .done = on_wish_done };
	CHECK(folder_load(inbox_of(wish->machine)) == 0);
	mailbox_append(inbox_of(wish->machine), &request, &wish->op);
	bytes_unref(&request.body);
}

/* All but the first, which the history knows. */
static void on_expunge(void *arg)
{
	struct wish *wish = arg;
	struct folder *inbox = inbox_of(wish->machine);
	CHECK(folder_load(inbox) == 0);
	uint32_t uids[MESSAGES], count = inbox->message_count - 1;
	CHECK(count <= MESSAGES);
	for (uint32_t i = 0; i < count; i++)
		uids[i] = inbox->messages[i + 1].uid;
	wish->op = (struct mailbox_op){ .done = on_wish_done };
	mailbox_expunge(inbox, uids, count, &wish->op);
}

static void wish_for(void (*fn)(void *arg))
{
	struct wish wish = { .machine = cluster_primary(1) };
	world_call_on(wish.machine, 0, fn, &wish);
	run_us(SECOND_US / 5);
	EXPECT(wish.is_over && wish.op.status == 0);
}

static void store_all(void)
{
	cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(SECOND_US);
	for (unsigned i = 0; i < MESSAGES; i++)
		wish_for(on_store);
}

/* Of what died, the bytes that nobody has said free. */
static uint64_t kept_back(unsigned machine)
{
	const struct bodies *bodies = &cluster_volume(machine, 1)->index.bodies;
	return bodies->dead_bytes;
}

static bool is_stale(unsigned machine)
{
	const struct volume_numbers *numbers = &cluster_volume(machine, 1)->numbers;
	return !truth_is_reached(&truths[0], numbers->epoch, numbers->durable_lsn);
}

/* The replica goes, and what it has not heard of dies. */
static unsigned leave_it_behind(void)
{
	start();
	store_all();
	run_us(3 * SECOND_US);
	unsigned away = replica_of(1);
	cluster_crash(away);
	wish_for(on_expunge);
	EXPECT(kept_back(cluster_primary(1)) > segment_length + CLUSTER_RETAINED_BYTES_MAX);
	return away;
}

TEST(room_comes_back_without_a_copy_that_is_away_for_too_long)
{
	unsigned away = leave_it_behind(), primary = 1 - away;
	EXPECT(!is_stale(away));
	run_us(30 * SECOND_US);
	EXPECT(is_stale(away));
	/* But what stands in the last segment. */
	EXPECT(kept_back(primary) <= segment_length);
	/* Back, it fetches what it lacks, gives back the same, and counts again. */
	cluster_restart(away);
	run_us(30 * SECOND_US);
	EXPECT(!is_stale(away));
	EXPECT_INT(kept_back(primary), kept_back(away));
	EXPECT(check_all());
}

/* As a client does that takes back what it has expunged: what was found dead is looked for anew. */
static void keep_reviving(unsigned machine, uint64_t for_us)
{
	for (uint64_t us = 0; us < for_us; us += SECOND_US / 100) {
		cluster_volume(machine, 1)->index.bodies.revived++;
		run_us(SECOND_US / 100);
	}
}

TEST(the_time_of_a_copy_that_has_been_in_step_since_does_not_count)
{
	unsigned away = leave_it_behind(), primary = 1 - away;
	const struct volume_replica *replica = &cluster_volume(primary, 1)->replicas[0];
	for (unsigned i = 0; i < 1000 && replica->lacks_since_us == 0; i++)
		run_us(SECOND_US / 100);
	EXPECT(replica->lacks_since_us > 0);
	keep_reviving(primary, SECOND_US);
	cluster_restart(away);
	keep_reviving(primary, 5 * SECOND_US);
	EXPECT(!is_stale(away));
	EXPECT_INT(0, replica->lacks_since_us);
}

TEST(a_stale_copy_is_no_choice_of_a_failover_until_it_is_in_step)
{
	unsigned away = leave_it_behind(), primary = 1 - away;
	run_us(30 * SECOND_US);
	EXPECT(is_stale(away));
	/* It is back, and cannot be brought in step: who serves is gone. */
	cluster_crash(primary);
	cluster_restart(away);
	run_us(SECOND_US);
	cluster_fail_over(1);
	run_us(10 * SECOND_US);
	EXPECT_INT(primary, cluster_primary(1));
	EXPECT(cluster_volume(away, 1)->state != VOLUME_PRIMARY);
	cluster_restart(primary);
	run_us(60 * SECOND_US);
	EXPECT(!is_stale(away));
	cluster_fail_over(1);
	run_us(20 * SECOND_US);
	EXPECT(check_all());
}

TEST(no_room_comes_back_before_the_directory_says_who_is_left_behind)
{
	start();
	store_all();
	run_us(3 * SECOND_US);
	unsigned away = replica_of(1), primary = 1 - away;
	cluster_cut_off(primary, true);
	cluster_crash(away);
	wish_for(on_expunge);
	uint64_t dead = kept_back(primary);
	run_us(30 * SECOND_US);
	EXPECT_INT(dead, kept_back(primary));
	/* Nobody was left behind: it may be chosen. */
	EXPECT(!is_stale(away));
	cluster_cut_off(primary, false);
	run_us(30 * SECOND_US);
	EXPECT(is_stale(away) && kept_back(primary) <= segment_length);
}

TEST(a_directory_that_was_put_back_is_told_again)
{
	start();
	store_all();
	run_us(3 * SECOND_US);
	cluster_keep_directory();
	unsigned away = replica_of(1);
	cluster_crash(away);
	wish_for(on_expunge);
	run_us(30 * SECOND_US);
	EXPECT(is_stale(away));
	cluster_put_back_directory();
	EXPECT(!is_stale(away));
	run_us(2 * SECOND_US);
	EXPECT(is_stale(away));
	cluster_restart(away);
	run_us(30 * SECOND_US);
	EXPECT(!is_stale(away));
	EXPECT(check_all());
}

/* All that is left shows messages that have no bodies any more: somebody has to say that this is to
 * be served. */
TEST(a_primary_that_has_lost_its_disk_does_not_open_with_what_a_stale_copy_has)
{
	unsigned away = leave_it_behind(), primary = 1 - away;
	run_us(30 * SECOND_US);
	EXPECT(is_stale(away));
	cluster_crash(primary);
	world_empty_disk(primary);
	cluster_restart(primary);
	cluster_restart(away);
	run_us(60 * SECOND_US);
	EXPECT_INT(VOLUME_OPENING, cluster_volume(primary, 1)->state);
	EXPECT_INT(WAIT_LOST, cluster_volume(primary, 1)->numbers.waits_for);
	cluster_open_closed();
	run_us(30 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(cluster_primary(1), 1)->state);
}
