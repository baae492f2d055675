/* Restarts that ask before they write: stories on the simulated cluster. */

#include "sim/scenario.h"

#include "sim/cluster_internal.h"

#include <errno.h>

/* ---- disks that have less than they confirmed ---- */

/* The primary's machine comes back with another disk than the one that it confirmed mail on. */
static void come_back_with_less(void (*change_disk)(unsigned machine))
{
	enum { COUNT = 6 };
	size_t deliveries[COUNT];
	start();
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	for (unsigned i = 0; i < COUNT; i++) {
		deliveries[i] = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
		run_us(SECOND_US);
		EXPECT(entry(deliveries[i])->answered_ok);
		if (i == COUNT / 2)
			world_keep_disk(primary);
	}
	uint64_t end = cluster_volume(replica, 1)->reader_end;
	cluster_crash(primary);
	change_disk(primary);
	cluster_restart(primary);
	run_us(5 * SECOND_US);
	/* It has fetched what the good copy has, and serves in the same epoch. */
	EXPECT(end < cluster_volume(replica, 1)->reader_end);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	EXPECT_INT(1, cluster_volume(primary, 1)->desired.epoch);
	size_t late = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(5 * SECOND_US);
	EXPECT(entry(late)->answered_ok);
	EXPECT(entry(late)->uid > entry(deliveries[COUNT - 1])->uid);
	expect_in_mailbox(deliveries, COUNT);
	EXPECT(check_all());
	/* Once more, with nobody to ask: it stays closed, although the directory is there. */
	cluster_crash(primary);
	change_disk(primary);
	world_set_link(0, 1, false);
	cluster_restart(primary);
	run_us(60 * SECOND_US);
	EXPECT_INT(VOLUME_OPENING, cluster_volume(primary, 1)->state);
	EXPECT_INT(WAIT_LOST, cluster_volume(primary, 1)->numbers.waits_for);
	/* It serves when the other is back. */
	world_set_link(0, 1, true);
	run_us(20 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	expect_in_mailbox(deliveries, COUNT);
	EXPECT(check_all());
}

TEST(a_primary_with_an_empty_disk_is_filled_by_its_replica_and_cuts_nobody)
{
	come_back_with_less(world_empty_disk);
}

TEST(a_primary_with_a_disk_that_was_put_back_fetches_what_it_lacks_and_cuts_nobody)
{
	come_back_with_less(world_put_back_disk);
}

/* Of three: one has all of it and is silent, one has half and answers. Half fills the empty disk,
 * and that it was empty is not forgotten for it, over restarts too. */
TEST(an_emptied_primary_does_not_go_on_with_the_half_that_it_was_given)
{
	size_t deliveries[2];
	start_three();
	unsigned primary = cluster_primary(1);
	unsigned half = (primary + 1) % 3, full = (primary + 2) % 3;
	deliveries[0] = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(2 * SECOND_US);
	cluster_crash(half);
	run_us(SECOND_US);
	deliveries[1] = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(2 * SECOND_US);
	EXPECT(entry(deliveries[0])->answered_ok && entry(deliveries[1])->answered_ok);
	cluster_crash(full);
	cluster_crash(primary);
	world_empty_disk(primary);
	cluster_restart(primary);
	cluster_restart(half);
	for (unsigned i = 0; i < 2; i++) {
		run_us(60 * SECOND_US);
		EXPECT(cluster_volume(primary, 1)->opening.ready_end > 0);
		EXPECT_INT(VOLUME_OPENING, cluster_volume(primary, 1)->state);
		EXPECT_INT(WAIT_LOST, cluster_volume(primary, 1)->numbers.waits_for);
		/* Who compares copies sees what it has by now. */
		EXPECT_INT(cluster_volume(half, 1)->reader_end,
			cluster_volume(primary, 1)->numbers.durable_lsn);
		EXPECT_INT(1, cluster_volume(primary, 1)->numbers.epoch);
		cluster_crash(primary);
		cluster_restart(primary);
	}
	cluster_restart(full);
	run_us(60 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	expect_in_mailbox(deliveries, 2);
	EXPECT(check_all());
}

/* ---- proofs ---- */

static const struct volume *primary_of_1(void)
{
	return cluster_volume(cluster_primary(1), 1);
}

static uint32_t deliver_uid(void)
{
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(3 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok);
	return entry(delivery)->uid;
}

TEST(a_killed_process_goes_on_without_asking_anybody)
{
	start();
	unsigned primary = cluster_primary(1);
	uint32_t before = deliver_uid();
	world_kill_machine(primary);
	world_set_link(0, 1, false);
	cluster_cut_off(primary, true);
	cluster_restart(primary);
	run_us(5 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT_INT(1, primary_of_1()->desired.epoch);
	EXPECT_INT(before + 1, deliver_uid());
}

TEST(a_machine_without_power_serves_again_with_its_copies_and_without_the_directory)
{
	start();
	unsigned primary = cluster_primary(1);
	uint32_t before = deliver_uid();
	cluster_cut_off(0, true);
	cluster_cut_off(1, true);
	cluster_crash(primary);
	cluster_restart(primary);
	run_us(8 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT_INT(1, primary_of_1()->desired.epoch);
	EXPECT_INT(before + 1 + UID_SLACK / 2, deliver_uid());
	EXPECT(check_all());
}

/* Each opening passes over half a slack, of which a copy whose disk is full never hears: the reign
 * that the primary then claims, and one at that copy afterwards, have no UID in common. */
TEST(openings_that_a_full_copy_could_not_confirm_leave_its_next_reign_above)
{
	start();
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	uint32_t first = deliver_uid();
	world_fill_disk(replica, true);
	for (unsigned i = 0; i < 4; i++) {
		cluster_crash(primary);
		cluster_restart(primary);
		run_us(3 * SECOND_US);
		EXPECT_INT(WAIT_ACKS, cluster_volume(primary, 1)->numbers.waits_for);
	}
	EXPECT_INT(4, cluster_volume(primary, 1)->index.half_slack_count);
	run_us(60 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	EXPECT_INT(9, cluster_volume(primary, 1)->desired.epoch);
	EXPECT_INT(16, index_half_slacks(&cluster_volume(primary, 1)->index));
	uint32_t claimed = deliver_uid();
	EXPECT(claimed > first);
	cluster_crash(primary);
	world_fill_disk(replica, false);
	cluster_promote(1, replica);
	run_us(20 * SECOND_US);
	EXPECT_INT(10, cluster_volume(replica, 1)->desired.epoch);
	EXPECT(deliver_uid() > claimed);
	cluster_restart(primary);
	run_us(20 * SECOND_US);
	EXPECT(check_all());
}

/* The same of reigns one after the other of which a dead copy hears nothing: each may give as many
 * UIDs as lie between the beginnings of two. */
TEST(reigns_of_which_the_only_copy_heard_nothing_leave_its_next_one_above)
{
	enum { RUN = UID_SLACK / 2 - 100 };
	start();
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	uint32_t last = deliver_uid();
	cluster_crash(replica);
	for (unsigned i = 0; i < 4; i++) {
		struct growth growth = grow_inbox((i + 1) * RUN);
		EXPECT_INT(0, growth.status);
		last = inbox_of(primary)->uidnext - 1;
		run_us(5 * SECOND_US);
		if (i == 3)
			break;
		cluster_crash(primary);
		cluster_restart(primary);
		run_us(60 * SECOND_US);
		EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
		EXPECT_INT(9 + 8 * i, cluster_volume(primary, 1)->desired.epoch);
	}
	cluster_crash(primary);
	cluster_restart(replica);
	run_us(SECOND_US);
	cluster_promote(1, replica);
	run_us(20 * SECOND_US);
	EXPECT_INT(26, cluster_volume(replica, 1)->desired.epoch);
	EXPECT(deliver_uid() > last);
	cluster_restart(primary);
	run_us(20 * SECOND_US);
	EXPECT(check_all());
}

TEST(both_sites_without_power_and_one_returns)
{
	start();
	unsigned primary = cluster_primary(1);
	uint32_t before = deliver_uid();
	cluster_crash(0);
	cluster_crash(1);
	/* Neither copy nor directory: closed. */
	cluster_cut_off(primary, true);
	cluster_restart(primary);
	run_us(60 * SECOND_US);
	EXPECT_INT(VOLUME_OPENING, primary_of_1()->state);
	EXPECT_INT(WAIT_CLAIM, primary_of_1()->numbers.waits_for);
	/* The directory gives it an epoch of its own class; no uid of it was given before. */
	cluster_cut_off(primary, false);
	run_us(10 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT_INT(9, primary_of_1()->desired.epoch);
	EXPECT(deliver_uid() > before + UID_SLACK);
	cluster_restart(1 - primary);
	run_us(10 * SECOND_US);
	EXPECT(check_all());
}

TEST(what_a_copy_said_that_it_has_is_not_claimed_over_when_it_falls_silent)
{
	start();
	unsigned primary = cluster_primary(1);
	world_keep_disk(primary);
	for (unsigned i = 0; i < 400; i++)
		cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(3 * SECOND_US);
	cluster_crash(primary);
	world_put_back_disk(primary);
	world_set_latency_us(300000);
	cluster_restart(primary);
	/* It has answered, and what it has more has not come. */
	for (unsigned i = 0; i < 10000 && cluster_volume(primary, 1)->known_end == 0; i++)
		run_us(1000);
	world_set_link(0, 1, false);
	run_us(60 * SECOND_US);
	EXPECT_INT(WAIT_LOST, primary_of_1()->numbers.waits_for);
	EXPECT_INT(VOLUME_OPENING, primary_of_1()->state);
	EXPECT_INT(1, primary_of_1()->desired.epoch);
	world_set_latency_us(500);
	world_set_link(0, 1, true);
	run_us(20 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT_INT(1, primary_of_1()->desired.epoch);
	EXPECT(check_all());
}

static void open_alone(void *arg)
{
	EXPECT_INT(0, volume_open_alone(arg, true));
}

static void fail_to_open_alone(void *arg)
{
	EXPECT_INT(-ERANGE, volume_open_alone(arg, false));
	EXPECT_INT(-ERANGE, volume_open_alone(arg, true));
}

TEST(where_no_epoch_is_left_nothing_is_opened_and_that_is_said)
{
	start();
	unsigned primary = cluster_primary(1);
	deliver_uid();
	cluster_crash(0);
	cluster_crash(1);
	/* Named in an epoch that it has not begun, and there is none of its class behind it. */
	truths[0].epoch = EPOCH_MAX;
	cluster_restart(primary);
	run_us(60 * SECOND_US);
	EXPECT_INT(WAIT_EPOCH, primary_of_1()->numbers.waits_for);
	world_call_on(primary, 0, fail_to_open_alone, cluster_volume(primary, 1));
	run_us(5 * SECOND_US);
	EXPECT_INT(VOLUME_OPENING, primary_of_1()->state);
	EXPECT_INT(EPOCH_MAX, primary_of_1()->desired.epoch);
}

TEST(a_machine_opened_alone_tells_the_directory_when_it_is_back)
{
	start();
	unsigned primary = cluster_primary(1);
	uint32_t before = deliver_uid();
	cluster_crash(0);
	cluster_crash(1);
	cluster_cut_off(primary, true);
	cluster_restart(primary);
	run_us(10 * SECOND_US);
	world_call_on(primary, 0, open_alone, cluster_volume(primary, 1));
	run_us(5 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT(deliver_uid() > before + UID_SLACK);
	/* Over a restart too. */
	cluster_crash(primary);
	cluster_restart(1 - primary);
	cluster_restart(primary);
	run_us(20 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT_INT(9, primary_of_1()->desired.epoch);
	cluster_cut_off(primary, false);
	run_us(10 * SECOND_US);
	EXPECT_INT(primary, cluster_primary(1));
	EXPECT(check_all());
	cluster_fail_over(1);
	run_us(60 * SECOND_US);
	EXPECT(check_all());
}

TEST(an_epoch_that_all_copies_have_lost_is_not_begun_again_by_itself)
{
	start();
	unsigned primary = cluster_primary(1);
	deliver_uid();
	world_keep_disk(0);
	world_keep_disk(1);
	/* The copies agree on the first opening after that one, and it is served. */
	cluster_crash(primary);
	cluster_restart(primary);
	run_us(8 * SECOND_US);
	uint32_t lost = deliver_uid();
	for (unsigned machine = 0; machine < 2; machine++) {
		cluster_crash(machine);
		world_put_back_disk(machine);
		history_disk_lost(machine, 0);
	}
	cluster_restart(0);
	cluster_restart(1);
	run_us(60 * SECOND_US);
	/* Another one would be given the same number, and the same uids. */
	EXPECT_INT(VOLUME_OPENING, primary_of_1()->state);
	EXPECT_INT(WAIT_LOST, primary_of_1()->numbers.waits_for);
	cluster_open_closed();
	run_us(10 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	/* It may have been put back to any moment. */
	EXPECT(deliver_uid() > lost + (RESTORED_EPOCHS - 1) * UID_SLACK);
	EXPECT(check_all());
}

TEST(an_opening_that_a_later_epoch_passed_over_is_not_missed)
{
	start();
	unsigned primary = cluster_primary(1), other = 1 - primary;
	deliver_uid();
	/* The directory hears of an opening that no copy has. */
	world_set_link(0, 1, false);
	world_kill_machine(primary);
	cluster_restart(primary);
	run_us(3 * SECOND_US);
	/* The next epoch goes to the other one, which dies before it can say that it serves. */
	cluster_promote(1, other);
	for (unsigned i = 0; i < 1000 && cluster_volume(other, 1)->state != VOLUME_PRIMARY; i++)
		run_us(500);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(other, 1)->state);
	cluster_crash(other);
	cluster_promote(1, other);
	world_set_link(0, 1, true);
	cluster_restart(other);
	run_us(30 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT(check_all());
}

/* ---- fences, holds, tokens ---- */

TEST(a_fence_that_was_given_up_and_shipped_is_not_clean)
{
	start();
	unsigned primary = cluster_primary(1);
	struct question fence = { .machine = primary };
	deliver_uid();
	ask(&fence);
	run_us(SECOND_US);
	EXPECT(fence.answered && fence.status == 0);
	/* Nobody goes on with it: the other copy is asked, and the epoch goes on. */
	run_us(40 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT_INT(1, primary_of_1()->desired.epoch);
	world_set_link(0, 1, false);
	uint32_t alone = deliver_uid();
	cluster_crash(primary);
	cluster_promote(1, 1 - primary);
	run_us(10 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT(deliver_uid() > alone);
	world_set_link(0, 1, true);
	cluster_restart(primary);
	run_us(10 * SECOND_US);
	EXPECT(check_all());
}

TEST(a_fence_that_ends_without_a_word_from_anybody_leaves_it_closed)
{
	start();
	unsigned primary = cluster_primary(1);
	struct question fence = { .machine = primary };
	ask(&fence);
	run_us(SECOND_US);
	EXPECT(fence.answered && fence.status == 0);
	world_set_link(0, 1, false);
	cluster_cut_off(primary, true);
	run_us(100 * SECOND_US);
	EXPECT_INT(VOLUME_OPENING, cluster_volume(primary, 1)->state);
}

TEST(a_copy_that_restarted_after_it_was_chosen_begins_an_epoch_of_its_own)
{
	start();
	unsigned primary = cluster_primary(1), chosen = 1 - primary;
	deliver_uid();
	cluster_crash(primary);
	cluster_promote(1, chosen);
	run_us(30000);
	/* Its disk is another one since it said what it has. */
	cluster_crash(chosen);
	cluster_restart(chosen);
	run_us(20 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT(primary_of_1()->desired.epoch >= 2);
	cluster_restart(primary);
	run_us(10 * SECOND_US);
	EXPECT(check_all());
}

/* Named under a token that its power took with it, all others heard: nothing is asked a second time
 * by itself, so what is refused has to be. */
TEST(a_file_that_does_not_open_once_keeps_no_opening_waiting)
{
	unsigned refused = 0;
	for (unsigned skips = 0; skips < 60; skips++) {
		start();
		unsigned primary = cluster_primary(1), chosen = 1 - primary;
		deliver_uid();
		cluster_promote(1, chosen);
		run_us(16000);
		cluster_crash(chosen);
		world_refuse_call(chosen, DISK_OPEN, -EMFILE, skips);
		cluster_restart(chosen);
		run_us(20 * SECOND_US);
		refused += world_has_refused(chosen);
		world_spare(chosen);
		EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
		EXPECT(check_all());
	}
	EXPECT(refused > 10);
}

/* Without power, and nobody answers when it is back. */
static unsigned leave_opening(void)
{
	start();
	unsigned primary = cluster_primary(1);
	deliver_uid();
	world_set_link(0, 1, false);
	cluster_crash(primary);
	cluster_restart(primary);
	run_us(2 * SECOND_US);
	EXPECT_INT(VOLUME_OPENING, cluster_volume(primary, 1)->state);
	return primary;
}

TEST(an_opening_that_is_asked_to_stand_still_does_not_open_until_that_is_over)
{
	unsigned primary = leave_opening();
	const struct volume *volume = cluster_volume(primary, 1);
	struct question fence = { .machine = primary };
	ask(&fence);
	run_us(SECOND_US);
	EXPECT(fence.answered && fence.status == 0);
	EXPECT(volume->token != 0 && !volume_is_proven_end(volume));
	/* The copy answers now, and would prove it at once. */
	world_set_link(0, 1, true);
	run_us((FENCE_MS_MAX - 5000) * 1000ull);
	EXPECT_INT(VOLUME_FENCED, volume->state);
	EXPECT_INT(1, volume->desired.epoch);
	run_us(15 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, volume->state);
	deliver_uid();
	EXPECT(check_all());
}

TEST(an_opening_that_stood_still_follows_who_was_named)
{
	unsigned primary = leave_opening();
	struct question fence = { .machine = primary };
	ask(&fence);
	run_us(SECOND_US);
	cluster_promote(1, 1 - primary);
	world_set_link(0, 1, true);
	run_us(5 * SECOND_US);
	EXPECT_INT(VOLUME_REPLICA, cluster_volume(primary, 1)->state);
	EXPECT_INT(1 - primary, cluster_primary(1));
	deliver_uid();
	EXPECT(check_all());
}

/* ---- a hold outlives its process ---- */

TEST(a_held_copy_that_restarts_confirms_nothing_until_the_hold_is_over)
{
	log_setup("scenario", LOG_LEVEL_ERROR);
	world_reset(7);
	cluster_start(3);
	run_us(SECOND_US);
	unsigned primary = cluster_primary(1);
	unsigned chosen = (primary + 1) % 3, other = (primary + 2) % 3;
	deliver_uid();
	/* Out of the operator's reach, and not out of that of its copies. */
	cluster_cut_off(primary, true);
	struct question holds[] = { { .machine = chosen, .hold_epoch = 1 },
		{ .machine = other, .hold_epoch = 1 } };
	ask(&holds[0]);
	ask(&holds[1]);
	run_us(100000);
	EXPECT(holds[0].answered && holds[1].answered && holds[1].status == 0);
	cluster_crash(other);
	cluster_restart(other);
	run_us(SECOND_US);
	size_t passed = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(2 * SECOND_US);
	EXPECT(entry(passed)->answered_ok && !entry(passed)->safe);
	cluster_promote(1, chosen);
	run_us(5 * SECOND_US);
	cluster_cut_off(primary, false);
	run_us(5 * SECOND_US);
	/* It is over with the directory's word. */
	size_t later = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US);
	EXPECT(entry(later)->answered_ok);
	EXPECT(check_all());
}

TEST(a_hold_that_outlived_its_process_ends_by_itself)
{
	start();
	unsigned held = replica_of(1);
	struct question hold = { .machine = held, .hold_epoch = 1 };
	ask(&hold);
	run_us(100000);
	cluster_crash(held);
	cluster_restart(held);
	run_us((HELD_MS_MAX - 2000) * 1000ull);
	size_t within = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(SECOND_US);
	EXPECT(entry(within)->answered_ok && !entry(within)->safe);
	run_us(5 * SECOND_US);
	size_t later = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US);
	EXPECT(entry(later)->answered_ok);
	/* And another restart waits for nothing. */
	cluster_crash(held);
	cluster_restart(held);
	run_us(2 * SECOND_US);
	later = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US);
	EXPECT(entry(later)->answered_ok);
	EXPECT(check_all());
}

/* Its hold is being written, which takes a few syncs. */
static const struct volume *catch_holding(struct question *hold)
{
	const struct volume *volume = cluster_volume(hold->machine, 1);
	ask(hold);
	for (unsigned i = 0; i < 10000 && (volume->log == NULL || volume_log_is_idle(volume->log));
		i++)
		run_us(20);
	EXPECT(volume->state == VOLUME_HELD && !hold->answered);
	EXPECT(volume->log != NULL && !volume_log_is_idle(volume->log));
	return volume;
}

static void let_go(void *arg)
{
	volume_unhold(arg);
}

TEST(a_hold_that_is_taken_back_while_it_is_written_is_over_and_over_for_good)
{
	start();
	struct question hold = { .machine = replica_of(1), .hold_epoch = 1 };
	const struct volume *volume = catch_holding(&hold);
	world_call_on(hold.machine, 0, let_go, cluster_volume(hold.machine, 1));
	run_us(100000);
	EXPECT_INT(VOLUME_REPLICA, volume->state);
	EXPECT(hold.answered && hold.status == -ESTALE && volume->token == 0);
	for (unsigned i = 0; i < 2; i++) {
		size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
		run_us(SECOND_US);
		EXPECT(entry(delivery)->answered_ok);
		/* Nor does the next process find it. */
		cluster_crash(hold.machine);
		cluster_restart(hold.machine);
		run_us(2 * SECOND_US);
	}
	EXPECT(check_all());
}

/* Of two commands the second asks for a hold while the first one's is taken back. */
TEST(a_hold_that_is_asked_for_while_an_earlier_one_is_taken_back_holds)
{
	start();
	struct question hold = { .machine = replica_of(1), .hold_epoch = 1 }, again = hold;
	const struct volume *volume = catch_holding(&hold);
	world_call_on(hold.machine, 0, let_go, cluster_volume(hold.machine, 1));
	world_call_on(hold.machine, 1, on_ask, &again);
	run_us(100000);
	EXPECT(again.answered && again.status == 0);
	EXPECT(volume->state == VOLUME_HELD && volume->token != 0);
}

static void name_primary(void *arg)
{
	struct volume *volume = arg;
	struct volume_desired desired = volume->desired;
	desired.primary = true;
	desired.epoch = 2;
	desired.incarnation = incarnation_make(1, 5);
	volume_set_desired(volume, &desired);
}

/* Its log is empty, so what is lost is noted in it when it opens: behind the hold. */
TEST(an_emptied_copy_that_is_named_while_its_hold_is_written_waits_for_that)
{
	start();
	unsigned replica = replica_of(1);
	deliver_uid();
	cluster_crash(replica);
	world_empty_disk(replica);
	world_set_link(0, 1, false);
	cluster_restart(replica);
	run_us(SECOND_US);
	struct question hold = { .machine = replica, .hold_epoch = 1 };
	const struct volume *volume = catch_holding(&hold);
	EXPECT_INT(0, volume_log_end(volume->log));
	world_call_on(replica, 0, name_primary, cluster_volume(replica, 1));
	run_us(2 * SECOND_US);
	EXPECT(hold.answered);
	EXPECT_INT(VOLUME_OPENING, volume->state);
	EXPECT_INT(WAIT_LOST, volume->numbers.waits_for);
}

/* ---- directories that are behind ---- */

TEST(a_directory_that_was_put_back_is_put_right_by_who_writes)
{
	start();
	unsigned primary = cluster_primary(1);
	cluster_keep_directory();
	cluster_promote(1, 1 - primary);
	run_us(10 * SECOND_US);
	uint32_t before = deliver_uid();
	cluster_put_back_directory();
	run_us(10 * SECOND_US);
	EXPECT_INT(1 - primary, cluster_primary(1));
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT_INT(VOLUME_REPLICA, cluster_volume(primary, 1)->state);
	EXPECT_INT(before + 1, deliver_uid());
	EXPECT(check_all());
}

/* It was named, died before it began, and all copies are there: but now the row names the one that
 * follows it, which waits for the epoch that it has heard of to be explained. */
TEST(an_epoch_that_was_given_before_the_directory_was_put_back_is_not_waited_for)
{
	start();
	unsigned primary = cluster_primary(1), named = 1 - primary;
	uint32_t before = deliver_uid();
	run_us(SECOND_US);
	cluster_keep_directory();
	cluster_crash(primary);
	cluster_promote(1, named);
	for (unsigned ms = 0; ms < 1000 && cluster_primary(1) != named; ms++)
		run_us(1000);
	cluster_crash(named);
	cluster_restart(named);
	run_us(2 * SECOND_US);
	EXPECT_INT(VOLUME_OPENING, cluster_volume(named, 1)->state);
	EXPECT_INT(WAIT_COPIES, cluster_volume(named, 1)->numbers.waits_for);
	cluster_put_back_directory();
	cluster_restart(primary);
	run_us(30 * SECOND_US);
	EXPECT_INT(named, cluster_primary(1));
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT(deliver_uid() > before);
	EXPECT(check_all());
}

/* Its store is of a branch that was cut off while it could not be opened. */
TEST(an_index_that_is_opened_late_is_compared_with_the_log_then)
{
	start();
	unsigned first = cluster_primary(1), other = 1 - first;
	(void)deliver_uid();
	world_set_link(0, 1, false);
	for (unsigned i = 0; i < 3; i++)
		(void)cluster_deliver(1, MAILBOX, DURABILITY_LOCAL);
	run_us(20 * SECOND_US); /* and a checkpoint */
	uint64_t tail_end = volume_log_end(cluster_volume(first, 1)->log);
	EXPECT_INT(tail_end, cluster_volume(first, 1)->index.saved_lsn);
	cluster_promote(1, other);
	cluster_crash(first);
	run_us(5 * SECOND_US);
	uint32_t last = 0;
	while (volume_log_end(cluster_volume(other, 1)->log) < 2 * tail_end)
		last = deliver_uid();
	world_refuse_call(first, DISK_STORE_OPEN, -EIO, 0);
	cluster_restart(first);
	EXPECT(world_has_refused(first));
	world_set_link(0, 1, true);
	run_us(20 * SECOND_US);
	cluster_promote(1, first);
	run_us(10 * SECOND_US);
	EXPECT_INT(first, cluster_primary(1));
	EXPECT(deliver_uid() > last);
	EXPECT(check_all());
}

/* It was being filled, and the file that said so has rotted: nobody moves to it for less. */
TEST(a_replica_whose_file_of_epochs_was_lost_is_not_whole_until_it_follows)
{
	start();
	unsigned primary = cluster_primary(1), replica = 1 - primary;
	(void)deliver_uid();
	cluster_crash(replica);
	world_rot(replica, "/volumes/1/epochs", 12);
	world_set_link(0, 1, false);
	cluster_restart(replica);
	cluster_crash(primary);
	run_us(2 * SECOND_US);
	struct question question = { .machine = replica, .hold_epoch = 1 };
	ask(&question);
	run_us(SECOND_US);
	EXPECT(question.answered && question.status == 0);
	struct volume *volume = cluster_volume(replica, 1);
	EXPECT(volume->log != NULL && volume_log_whole_from(volume->log) == UINT64_MAX);
	/* With its leader it is again. */
	world_set_link(0, 1, true);
	cluster_restart(primary);
	run_us(40 * SECOND_US);
	(void)deliver_uid();
	cluster_crash(primary);
	question = (struct question){ .machine = replica,
		.hold_epoch = volume->desired.epoch };
	ask(&question);
	run_us(SECOND_US);
	EXPECT(question.answered && question.status == 0);
	EXPECT(volume->log != NULL &&
		volume_log_whole_from(volume->log) <= volume_log_end(volume->log));
}

/* Who served in the epoch that it has forgotten was started anew, and believes it; who is named has
 * heard of that epoch, and would follow for ever. */
TEST(a_directory_that_was_put_back_while_who_serves_is_away_is_believed_in_the_end)
{
	start();
	unsigned first = cluster_primary(1), second = 1 - first;
	uint32_t uid = deliver_uid();
	cluster_keep_directory();
	cluster_promote(1, second);
	run_us(5 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT(deliver_uid() > uid);
	cluster_crash(second);
	cluster_put_back_directory();
	run_us(SECOND_US);
	EXPECT_INT(first, cluster_primary(1));
	cluster_restart(second);
	run_us(60 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, primary_of_1()->state);
	EXPECT(deliver_uid() > uid + 1);
	EXPECT(check_all());
}
