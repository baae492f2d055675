/* Single stories on the simulated cluster, where the time that something takes is exact. */

#include "sim/routers.h"
#include "sim/scenario.h"

#include <errno.h>
#include <stdlib.h>

TEST(a_hung_replica_is_waited_for_once_and_not_by_every_message)
{
	start();
	unsigned replica = replica_of(1);
	world_freeze_machine(replica, 4 * SECOND_US);
	size_t first = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(SECOND_US);
	EXPECT(entry(first)->answered_ok && !entry(first)->safe);
	EXPECT(took_ms(first) >= CLUSTER_REMOTE_WAIT_MS);
	size_t second = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	size_t strict = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(100000);
	EXPECT(entry(second)->answered_ok && !entry(second)->safe);
	EXPECT(took_ms(second) < CLUSTER_REMOTE_WAIT_MS / 2);
	EXPECT(!entry(strict)->answered_ok);
	EXPECT(cluster_volume(cluster_primary(1), 1)->at_risk_count == 2);
	/* It wakes, catches up, and counts again. */
	run_us(5 * SECOND_US);
	EXPECT(cluster_volume(cluster_primary(1), 1)->at_risk_count == 0);
	size_t third = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	strict = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US);
	EXPECT(entry(third)->answered_ok && entry(strict)->answered_ok);
	EXPECT(cluster_volume(cluster_primary(1), 1)->at_risk_count == 0);
}

TEST(an_answer_outlives_a_cut_of_the_line_that_is_shorter_than_the_wait)
{
	start();
	world_set_link(0, 1, false);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(CLUSTER_REMOTE_WAIT_MS * 1000 / 2);
	EXPECT(!entry(delivery)->answered_ok);
	world_set_link(0, 1, true);
	run_us(10 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok);
}

TEST(a_primary_that_is_deposed_claims_no_success_for_what_it_has_in_flight)
{
	start();
	unsigned primary = cluster_primary(1);
	/* Nothing reaches the replica, and the directory names it. */
	world_set_link(0, 1, false);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(1000);
	cluster_promote(1, replica_of(1));
	run_us(CLUSTER_REMOTE_WAIT_MS * 1000 / 2);
	EXPECT(cluster_volume(primary, 1)->state == VOLUME_REPLICA);
	EXPECT(!was_answered_in(delivery, 1));
	/* The next try, under the same id, reaches the new primary. */
	world_set_link(0, 1, true);
	run_us(20 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok && entry(delivery)->answered_epoch == 2);
	EXPECT(check_all());
}

/* Frozen for a little more than the wait: the time is hardly past when it wakes. */
static void freeze_and_depose(uint64_t frozen_us)
{
	start();
	unsigned primary = cluster_primary(1);
	world_set_link(0, 1, false);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(10000);
	world_freeze_machine(primary, frozen_us);
	run_us(frozen_us / 2);
	cluster_promote(1, replica_of(1));
	run_us(frozen_us / 2 + CLUSTER_REMOTE_WAIT_MS * 1000 / 2);
	EXPECT(cluster_volume(primary, 1)->state == VOLUME_REPLICA);
	EXPECT(!was_answered_in(delivery, 1));
}

TEST(a_primary_that_was_frozen_hears_what_happened_before_it_gives_up_waiting)
{
	freeze_and_depose(CLUSTER_REMOTE_WAIT_MS * 1000);
	freeze_and_depose(3 * SECOND_US);
}

TEST(a_held_replica_acknowledges_nothing_until_the_hold_is_over)
{
	start();
	struct question hold = { .machine = replica_of(1), .hold_epoch = 1 };
	const struct volume *replica = cluster_volume(hold.machine, 1);
	ask(&hold);
	run_us(100000);
	EXPECT(hold.answered && hold.status == 0);
	size_t held = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(SECOND_US);
	EXPECT(entry(held)->answered_ok && !entry(held)->safe);
	EXPECT(replica->state == VOLUME_HELD && replica->numbers.durable_lsn == hold.end);
	run_us((FENCE_MS_MAX + 2000) * 1000ull);
	EXPECT(replica->state == VOLUME_REPLICA);
	size_t later = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US);
	EXPECT(entry(later)->answered_ok);
	EXPECT(check_all());
}

TEST(a_held_replica_that_is_named_primary_serves_and_one_that_is_not_follows)
{
	for (int named = 0; named < 2; named++) {
		start();
		struct question hold = { .machine = replica_of(1), .hold_epoch = 1 };
		ask(&hold);
		run_us(100000);
		EXPECT(hold.answered && hold.status == 0);
		cluster_promote(1, named ? hold.machine : 1 - hold.machine);
		run_us(SECOND_US);
		size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
		run_us(5 * SECOND_US);
		/* The next epoch of that copy's class. */
		EXPECT(was_answered_in(delivery, named ? 2 : 9));
		EXPECT(check_all());
	}
}

TEST(a_hold_of_a_primary_or_of_a_past_epoch_is_refused)
{
	start();
	struct question primary = { .machine = cluster_primary(1), .hold_epoch = 1 };
	ask(&primary);
	cluster_promote(1, replica_of(1));
	run_us(5 * SECOND_US);
	EXPECT(primary.answered && primary.status == -ESTALE);
	struct question past = { .machine = replica_of(1), .hold_epoch = 1 };
	ask(&past);
	run_us(1000);
	EXPECT(past.answered && past.status == -ESTALE);
}

TEST(two_fences_of_one_volume_are_both_answered)
{
	start();
	struct question first = { .machine = cluster_primary(1) }, second = first;
	cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(150);
	ask(&first);
	ask(&second);
	run_us(SECOND_US);
	EXPECT(first.answered && first.status == 0);
	EXPECT(second.answered && second.status == 0 && second.end == first.end);
}

TEST(a_large_folder_takes_mail_after_an_unclean_failover_with_no_replica_left)
{
	start();
	cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(SECOND_US);
	EXPECT_INT(0, grow_inbox(2 * UID_SLACK).status);
	run_us(5 * SECOND_US);
	unsigned primary = cluster_primary(1);
	world_set_link(0, 1, false);
	cluster_cut_off(primary, true);
	cluster_promote(1, 1 - primary);
	run_us(SECOND_US);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(10 * SECOND_US);
	EXPECT(was_answered_in(delivery, 2));
	EXPECT(entry(delivery)->uid > 3 * UID_SLACK);
}

TEST(copies_run_no_further_ahead_of_a_lost_replica_than_deliveries)
{
	start();
	cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(SECOND_US);
	EXPECT_INT(0, grow_inbox(GROWTH_CHUNK).status);
	run_us(5 * SECOND_US);
	uint32_t known = inbox_of(cluster_primary(1))->uidnext;
	world_set_link(0, 1, false);
	EXPECT_INT(-EAGAIN, grow_inbox(2 * UID_SLACK).status);
	uint32_t ahead = inbox_of(cluster_primary(1))->uidnext - known;
	EXPECT(ahead > UID_SLACK / 4 && ahead <= UID_SLACK / 2);
	/* The replica is back: on it goes. */
	world_set_link(0, 1, true);
	run_us(10 * SECOND_US);
	EXPECT_INT(0, grow_inbox(2 * UID_SLACK).status);
	EXPECT(check_all());
}

/* ---- disks of replicas ---- */

TEST(a_replica_with_an_empty_disk_is_filled_again)
{
	start();
	unsigned replica = replica_of(1);
	for (unsigned i = 0; i < 5; i++)
		cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US);
	cluster_crash(replica);
	world_empty_disk(replica);
	cluster_restart(replica);
	cluster_promote(2, 1 - replica); /* of which that machine had been the primary */
	run_us(10 * SECOND_US);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(5 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok);
	EXPECT(check_all());
}

TEST(a_damaged_file_of_epochs_beside_a_primarys_log_is_written_again)
{
	start();
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US);
	world_rot(primary, "/volumes/1/epochs", 12);
	cluster_crash(replica);
	cluster_restart(replica);
	run_us(20 * SECOND_US);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(5 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok);
	EXPECT(check_all());
}

TEST(a_rotten_byte_of_one_volume_stops_no_other_on_the_same_line)
{
	start();
	cluster_promote(2, 0);
	run_us(5 * SECOND_US);
	EXPECT_INT(0, cluster_primary(1));
	EXPECT_INT(0, cluster_primary(2));
	for (unsigned i = 0; i < 20; i++)
		cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(5 * SECOND_US);
	cluster_crash(1);
	world_empty_disk(1);
	/* In the middle of what the other machine is to be sent anew. */
	uint64_t end = volume_log_end(cluster_volume(0, 1)->log);
	world_rot(0, "/volumes/1/0000000000000000.log", end / 2 + 200);
	cluster_restart(1);
	run_us(5 * SECOND_US);
	for (unsigned i = 0; i < 10; i++) {
		size_t delivery = cluster_deliver(2, 201, DURABILITY_STRICT);
		run_us(SECOND_US);
		EXPECT(entry(delivery)->answered_ok);
		EXPECT(took_ms(delivery) < 100);
	}
	/* What stands in front of the rot is there, and nothing behind it was confirmed. */
	EXPECT(cluster_volume(1, 1)->reader_end > 0);
	EXPECT(cluster_volume(1, 1)->reader_end <= end / 2 + 200);
}

/* ---- what was heard of a later epoch ---- */

TEST(a_replica_that_has_heard_of_a_later_epoch_confirms_no_earlier_one)
{
	log_setup("scenario", getenv("SL") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	world_reset(7);
	cluster_start(3);
	run_us(3 * SECOND_US);
	EXPECT_INT(0, cluster_primary(1));
	/* 0 and 2 are cut off from the directory, 0 and 1 from each other; 2 hears both. */
	cluster_cut_off(0, true);
	cluster_cut_off(2, true);
	world_set_link(0, 1, false);
	run_us(SECOND_US);
	cluster_promote(1, 1);
	run_us(5 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(1, 1)->state);
	/* The news has gone round: the old primary writes nothing that anybody could confirm. */
	EXPECT(cluster_volume(0, 1)->state != VOLUME_PRIMARY);
	world_set_link(0, 1, true);
	cluster_cut_off(0, false);
	cluster_cut_off(2, false);
	run_us(20 * SECOND_US);
	EXPECT(check_all());
}

TEST(a_replica_that_refused_a_cut_asks_again_when_the_directory_has_spoken)
{
	start();
	unsigned old = cluster_primary(1), next = replica_of(1);
	world_set_link(0, 1, false);
	run_us(SECOND_US);
	for (unsigned i = 0; i < 5; i++)
		/* a tail that the other never gets */
		cluster_deliver(1, MAILBOX, DURABILITY_LOCAL);
	run_us(SECOND_US);
	cluster_promote(1, next);
	run_us(2 * SECOND_US);
	EXPECT_INT(VOLUME_REPLICA, cluster_volume(old, 1)->state);
	cluster_cut_off(old, true);
	cluster_promote(1, next);
	run_us(2 * SECOND_US);
	/* Told to cut in an epoch that its directory has not named, it refuses. */
	world_set_link(0, 1, true);
	run_us(5 * SECOND_US);
	cluster_cut_off(old, false);
	run_us(20 * SECOND_US);
	EXPECT(check_all());
}

/* ---- at risk ---- */

static bool is_at_risk(unsigned machine, size_t delivery)
{
	const struct volume *volume = cluster_volume(machine, 1);
	for (size_t i = 0; i < volume->at_risk_count; i++)
		if (memcmp(volume->at_risk[volume->at_risk_first + i].delivery_id,
			    entry(delivery)->delivery_id, DELIVERY_ID_LENGTH) == 0)
			return true;
	return false;
}

TEST(what_is_at_risk_is_listed_after_the_volume_was_given_back_and_a_restart)
{
	start();
	unsigned primary = cluster_primary(1);
	size_t shipped = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(SECOND_US);
	world_set_link(0, 1, false);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(2 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok && is_at_risk(primary, delivery));
	cluster_promote(1, primary);
	run_us(7 * SECOND_US);
	/* And two checkpoints: the cut of the power may take the last one. */
	cluster_deliver(1, MAILBOX, DURABILITY_LOCAL);
	run_us(6 * SECOND_US);
	EXPECT(is_at_risk(primary, delivery));
	cluster_crash(primary);
	cluster_restart(primary);
	/* The other copy is silent: an epoch of its own, after a while. */
	run_us(20 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	EXPECT(is_at_risk(primary, delivery));
	EXPECT(!is_at_risk(primary, shipped));
	world_set_link(0, 1, true);
	run_us(10 * SECOND_US);
	EXPECT(!is_at_risk(primary, delivery));
	EXPECT(check_all());
}

TEST(what_only_one_site_has_stays_at_risk_when_the_volume_moves_within_that_site)
{
	log_setup("scenario", LOG_LEVEL_ERROR);
	world_reset(7);
	cluster_start(3);
	unsigned primary = cluster_primary(1), beside = (primary + 1) % 3;
	unsigned elsewhere = (primary + 2) % 3;
	cluster_put_together(primary, beside);
	run_us(SECOND_US);
	size_t shipped = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US);
	EXPECT(entry(shipped)->answered_ok);
	world_set_link(primary, elsewhere, false);
	world_set_link(beside, elsewhere, false);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(2 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok && is_at_risk(primary, delivery));
	cluster_promote(1, beside);
	run_us(5 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(beside, 1)->state);
	EXPECT(is_at_risk(beside, delivery));
	EXPECT(volume_shipped_end(cluster_volume(beside, 1)) <
		volume_log_end(cluster_volume(beside, 1)->log));
	/* The other site says where it stands. */
	world_set_link(beside, elsewhere, true);
	run_us(5 * SECOND_US);
	EXPECT(!is_at_risk(beside, delivery) && !is_at_risk(beside, shipped));
	EXPECT_INT(volume_log_end(cluster_volume(beside, 1)->log),
		volume_shipped_end(cluster_volume(beside, 1)));
	EXPECT(check_all());
}

TEST(what_was_written_at_another_site_is_not_at_risk_after_a_move)
{
	start();
	unsigned replica = replica_of(1);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US);
	world_set_link(0, 1, false);
	cluster_promote(1, replica);
	run_us(5 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok && !is_at_risk(replica, delivery));
	EXPECT_INT(0, cluster_volume(replica, 1)->at_risk_total);
	world_set_link(0, 1, true);
	run_us(5 * SECOND_US);
	EXPECT(check_all());
}

/* ---- a replica that is far behind ---- */

enum { OTHER_MAILBOX = 201 }; /* of volume 2 */

/* 25 MB that it lacks, in two epochs: more than may be queued on a line. */
static unsigned leave_replica_behind(void)
{
	start();
	unsigned replica = replica_of(1);
	cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(SECOND_US);
	cluster_crash(replica);
	cluster_promote(1, 1 - replica);
	run_us(3 * SECOND_US);
	for (unsigned i = 0; i < 8000; i++) {
		cluster_deliver(1, MAILBOX, DURABILITY_LOCAL);
		if (i % 100 == 0)
			run_us(SECOND_US / 10);
	}
	run_us(20 * SECOND_US);
	EXPECT(volume_log_end(cluster_volume(1 - replica, 1)->log) > 20 << 20);
	cluster_promote(1, 1 - replica);
	run_us(SECOND_US);
	return replica;
}

static bool has_all(unsigned replica)
{
	return cluster_volume(replica, 1)->reader_end ==
		volume_log_end(cluster_volume(1 - replica, 1)->log);
}

TEST(a_replica_is_filled_through_earlier_epochs_without_a_pause)
{
	unsigned replica = leave_replica_behind();
	cluster_restart(replica);
	run_us(3 * SECOND_US);
	EXPECT(has_all(replica));
}

TEST(a_copy_is_filled_no_faster_than_it_may_be)
{
	enum { RATE = 2 << 20 };
	unsigned replica = leave_replica_behind();
	cluster_limit_filling(RATE);
	cluster_crash(1 - replica);
	cluster_restart(1 - replica);
	run_us(2 * SECOND_US);
	cluster_restart(replica);
	run_us(SECOND_US);
	uint64_t before = cluster_volume(replica, 1)->reader_end;
	run_us(4 * SECOND_US);
	uint64_t got = cluster_volume(replica, 1)->reader_end - before;
	EXPECT(got > 3 * RATE && got < 5 * RATE);
	run_us(20 * SECOND_US);
	EXPECT(has_all(replica));
}

TEST(what_is_committed_passes_a_copy_that_is_filled)
{
	unsigned replica = leave_replica_behind();
	cluster_promote(2, 1 - replica);
	run_us(SECOND_US);
	/* Its disk takes less than the line brings. */
	world_slow_disk(replica, 3 * SECOND_US / 10);
	cluster_restart(replica);
	run_us(6 * SECOND_US);
	EXPECT(!has_all(replica));
	for (unsigned i = 0; i < 5; i++) {
		size_t delivery = cluster_deliver(2, OTHER_MAILBOX, DURABILITY_STRICT);
		run_us(3 * SECOND_US);
		/* Within one wait: the other machine has it. */
		EXPECT(entry(delivery)->answered_ok);
		EXPECT(took_ms(delivery) < CLUSTER_REMOTE_WAIT_MS);
	}
	world_slow_disk(replica, 0);
	run_us(40 * SECOND_US);
	EXPECT(has_all(replica));
	EXPECT(check_all());
}

TEST(a_full_disk_of_a_replica_leaves_no_line_unread)
{
	unsigned replica = leave_replica_behind();
	world_slow_disk(replica, SECOND_US);
	cluster_restart(replica);
	/* Chunks wait for the slow disk until the line is not read any more; then one is
	 * refused. */
	run_us(3 * SECOND_US);
	world_take_descriptors(replica, true);
	run_us(10 * SECOND_US);
	world_take_descriptors(replica, false);
	world_slow_disk(replica, 0);
	run_us(20 * SECOND_US);
	EXPECT(has_all(replica));
	EXPECT(check_all());
}

/* ---- dying inside a disk call ---- */

static void bring_back(unsigned machine)
{
	cluster_restart(machine);
	run_us(2 * SECOND_US);
}

/* What happens to one of the calls that a machine makes, when it is new or when it starts again. */
struct trouble {
	void (*arm)(const struct trouble *trouble, unsigned machine);
	enum disk_call call;
	enum disk_moment moment;
	bool of_power, when_new;
	int refusal;
	unsigned skips;
};

/* Everything a copy does with its disk: it is opened, written, deposed with a tail of its own, cut,
 * filled again and promoted. */
static void live_through(const struct trouble *trouble)
{
	unsigned machine = 0, other = 1;
	log_setup("scenario", LOG_LEVEL_ERROR + 1);
	world_reset(7);
	if (trouble->when_new)
		trouble->arm(trouble, machine);
	cluster_start(2);
	EXPECT_INT(machine, cluster_primary(1));
	run_us(SECOND_US);
	if (world_is_on(machine))
		cluster_crash(machine);
	if (!trouble->when_new)
		trouble->arm(trouble, machine);
	bring_back(machine);
	for (unsigned i = 0; i < 10; i++) {
		cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
		run_us(SECOND_US / 4);
	}
	bring_back(machine);
	world_set_link(0, 1, false);
	for (unsigned i = 0; i < 20; i++)
		cluster_deliver(1, MAILBOX, DURABILITY_LOCAL);
	run_us(2 * SECOND_US);
	bring_back(machine);
	cluster_promote(1, other);
	run_us(SECOND_US);
	world_set_link(0, 1, true);
	run_us(6 * SECOND_US);
	bring_back(machine);
	cluster_promote(1, machine);
	run_us(6 * SECOND_US);
	bring_back(machine);
	/* A reign that could not begin is begun again soon. */
	run_us(5 * SECOND_US);
	size_t last = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(5 * SECOND_US);
	EXPECT(entry(last)->answered_ok || trouble->refusal == -EIO);
	if (trouble->refusal != 0)
		cluster_crash(machine);
	bring_back(machine);
	run_us(60 * SECOND_US);
	EXPECT(check_all());
}

static void arm_death(const struct trouble *trouble, unsigned machine)
{
	world_crash_in_call(
		machine, trouble->call, trouble->moment, trouble->of_power, trouble->skips);
}

static void die_in(enum disk_call call, enum disk_moment moment, unsigned i)
{
	live_through(&(struct trouble){ .arm = arm_death, .call = call, .moment = moment,
		.of_power = i % 2 == 0, .when_new = i / 2 % 2 == 0, .skips = i / 4 });
}

static void arm_refusal(const struct trouble *trouble, unsigned machine)
{
	world_refuse_call(machine, trouble->call, trouble->refusal, trouble->skips);
}

TEST(a_machine_that_dies_in_any_disk_call_comes_back_with_all_that_it_confirmed)
{
	for (unsigned call = 0; call < DISK_CALLS; call++) {
		for (unsigned moment = 0; moment < MOMENTS; moment++) {
			uint64_t before = world_disk_tally()->deaths[call][moment];
			for (unsigned i = 0; i < 8 && call != DISK_ZERO; i++)
				die_in(call, moment, i);
			EXPECT(call == DISK_ZERO ||
				world_disk_tally()->deaths[call][moment] - before >= 2);
		}
	}
}

TEST(a_disk_call_that_is_refused_or_fails_leaves_a_log_that_opens)
{
	static const int refusals[] = { -ENOSPC, -EMFILE, -EIO };
	for (unsigned call = 0; call < DISK_CALLS; call++) {
		unsigned refused = 0;
		for (unsigned i = 0; i < 12 && call != DISK_ZERO && call != DISK_SUBMIT; i++) {
			live_through(&(struct trouble){ .arm = arm_refusal, .call = call,
				.refusal = refusals[i % 3], .when_new = i / 3 % 2 == 0,
				.skips = i / 6 });
			refused += world_has_refused(0);
		}
		EXPECT(call == DISK_ZERO || call == DISK_SUBMIT || refused >= 3);
	}
}

TEST(a_full_disk_refuses_what_is_asked_then_and_nothing_afterwards)
{
	start();
	unsigned primary = cluster_primary(1);
	size_t deliveries[60];
	for (unsigned i = 0; i < array_length(deliveries); i++) {
		/* 6 tries in 3 seconds each: some are given up while it is full. */
		world_fill_disk(primary, i >= 10 && i < 40);
		world_take_descriptors(primary, i >= 20 && i < 50);
		deliveries[i] = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
		run_us(SECOND_US / 2);
	}
	run_us(5 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	EXPECT(entry(deliveries[9])->answered_ok);
	EXPECT(entry(deliveries[59])->answered_ok);
	EXPECT(check_all());
}

/* ---- routers ---- */

TEST(a_file_system_s_quota_at_the_home_bounces_nothing)
{
	start();
	unsigned primary = cluster_primary(1);
	size_t first = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(SECOND_US);
	EXPECT(entry(first)->answered_ok);
	world_refuse_call(primary, DISK_WRITE, -EDQUOT, 0);
	size_t queued = history_add(1, MAILBOX, DURABILITY_REMOTE);
	routers_accept(queued);
	run_us(10 * SECOND_US);
	EXPECT(world_has_refused(primary));
	EXPECT(entry(queued)->queued && entry(queued)->handed_over);
	EXPECT_INT(1, history_count_in_index(primary, entry(queued)));
}

TEST(a_router_without_descriptors_loses_no_message_that_only_it_has)
{
	enum { COUNT = 400, BEFORE = 60, ROUTER = CLUSTER_ROUTER_FIRST };
	size_t entries[COUNT];
	unsigned taken = 0;
	start();
	unsigned primary = cluster_primary(1);
	/* The other one answers, and has no room for copies. */
	world_fill_disk(ROUTER + 1, true);
	cluster_crash(primary);
	for (unsigned i = 0; i < COUNT; i++) {
		if (i == BEFORE)
			world_take_descriptors(ROUTER, true);
		entries[i] = history_add(1, MAILBOX, DURABILITY_REMOTE);
		routers_accept(entries[i]);
		run_us(100000);
	}
	run_us(10 * SECOND_US);
	world_take_descriptors(ROUTER, false);
	world_fill_disk(ROUTER + 1, false);
	cluster_restart(primary);
	run_us(40 * SECOND_US);
	for (unsigned i = 0; i < COUNT; i++) {
		if (!entry(entries[i])->queued)
			continue;
		taken++;
		EXPECT(entry(entries[i])->handed_over);
		EXPECT_INT(1, history_count_in_index(primary, entry(entries[i])));
	}
	EXPECT(taken > BEFORE / 2);
}

TEST(a_second_line_that_cannot_be_opened_does_not_make_a_home_unreachable)
{
	enum { COUNT = 300, ROUTER = CLUSTER_ROUTER_FIRST };
	start();
	unsigned primary = cluster_primary(1);
	cluster_crash(ROUTER + 1);
	for (unsigned i = 0; i < 10; i++)
		routers_accept(history_add(1, MAILBOX, DURABILITY_LOCAL));
	run_us(5 * SECOND_US);
	/* More than one line takes; another one is refused. */
	world_take_descriptors(primary, true);
	for (unsigned i = 0; i < COUNT; i++)
		routers_accept(history_add(1, MAILBOX, DURABILITY_LOCAL));
	run_us(5 * SECOND_US);
	world_take_descriptors(primary, false);
	/* The line that worked is idle, and closed. */
	run_us(100 * SECOND_US);
	size_t late[8];
	for (unsigned i = 0; i < array_length(late); i++) {
		late[i] = history_add(1, MAILBOX, DURABILITY_LOCAL);
		routers_accept(late[i]);
	}
	/* What is handed over is seen when both can be asked. */
	router_restart(ROUTER + 1);
	run_us(5 * SECOND_US);
	unsigned taken = 0;
	for (unsigned i = 0; i < array_length(late); i++) {
		taken += entry(late[i])->queued;
		EXPECT(entry(late[i])->handed_over == entry(late[i])->queued);
	}
	EXPECT(taken > 0);
}

/* What was held is not what is there: the primary, which has it, is asked and not cut. */
TEST(a_copy_whose_files_went_after_it_was_held_does_not_begin_with_nothing)
{
	enum { COUNT = 6 };
	size_t deliveries[COUNT];
	start();
	unsigned primary = cluster_primary(1), replica = 1 - primary;
	for (unsigned i = 0; i < COUNT; i++) {
		deliveries[i] = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
		run_us(SECOND_US / 4);
	}
	const struct volume *target = cluster_volume(replica, 1);
	cluster_fail_over(1);
	for (unsigned i = 0; i < 100000 && target->token == 0; i++)
		run_us(100);
	EXPECT(target->state == VOLUME_HELD && target->token != 0);
	world_remove_files(replica, "/volumes/1/");
	run_us(40 * SECOND_US);
	expect_in_mailbox(deliveries, COUNT);
	EXPECT(check_all());
}
