/* Copies that are thrown away and filled anew: stories on the simulated cluster. */

#include "sim/scenario.h"

#include "sim/cluster_internal.h"
#include "sim/silent_copy.h"

#include <errno.h>

enum { FEW = 20 };

static const struct truth *row(void)
{
	return &truths[0];
}

static void deliver_some(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
		run_us(SECOND_US / 50);
	}
}

static size_t deliver(enum durability durability, uint64_t for_us)
{
	size_t delivery = cluster_deliver(1, MAILBOX, durability);
	run_us(for_us);
	return delivery;
}

/* Until it counts; false: it does not within half a minute. */
static bool is_filled(unsigned machine)
{
	for (unsigned i = 0; i < 300 && row()->is_seeding[machine]; i++)
		run_us(SECOND_US / 10);
	run_us(SECOND_US / 2);
	return !row()->is_seeding[machine];
}

TEST(a_copy_that_is_being_filled_counts_as_none_and_then_as_one)
{
	start();
	deliver_some(FEW);
	EXPECT(entry(deliver(DURABILITY_STRICT, SECOND_US))->answered_ok);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	cluster_crash(replica);
	cluster_reseed(1, replica);
	run_us(SECOND_US);
	/* Nobody waits for it: `strict` is refused, `remote` answered at once and at risk. */
	EXPECT(!entry(deliver(DURABILITY_STRICT, SECOND_US / 2))->answered_ok);
	size_t alone = deliver(DURABILITY_REMOTE, SECOND_US / 2);
	EXPECT(entry(alone)->answered_ok && took_ms(alone) < CLUSTER_REMOTE_WAIT_MS / 2);
	EXPECT(!volume_has_replica(cluster_volume(primary, 1)));
	cluster_restart(replica);
	EXPECT(is_filled(replica));
	EXPECT(volume_has_replica(cluster_volume(primary, 1)));
	EXPECT(entry(deliver(DURABILITY_STRICT, SECOND_US))->answered_ok);
	EXPECT(check_all());
}

TEST(what_the_copy_had_before_it_was_thrown_away_makes_it_no_copy)
{
	start();
	deliver_some(FEW);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	uint64_t end = cluster_volume(primary, 1)->numbers.durable_lsn;
	/* It follows on, in step, and has not heard of it. */
	cluster_cut_off(replica, true);
	cluster_reseed(1, replica);
	run_us(5 * SECOND_US);
	EXPECT(cluster_volume(replica, 1)->reader_end >= end);
	EXPECT(row()->is_seeding[replica]);
	EXPECT(!entry(deliver(DURABILITY_STRICT, SECOND_US))->answered_ok);
	cluster_cut_off(replica, false);
	EXPECT(is_filled(replica));
	EXPECT(entry(deliver(DURABILITY_STRICT, SECOND_US))->answered_ok);
	EXPECT(check_all());
}

TEST(a_filling_goes_on_whoever_dies_and_whenever)
{
	for (unsigned turn = 0; turn < 12; turn++) {
		start();
		deliver_some(FEW);
		unsigned primary = cluster_primary(1), replica = replica_of(1);
		unsigned victim = turn % 3 == 2 ? primary : replica;
		cluster_reseed(1, replica);
		run_us(turn * SECOND_US / 100);
		cluster_crash(victim);
		run_us(SECOND_US / 2);
		cluster_restart(victim);
		if (turn % 2) {
			run_us(turn * SECOND_US / 200);
			cluster_crash(replica);
			run_us(SECOND_US / 10);
			cluster_restart(replica);
		}
		EXPECT(is_filled(replica));
		deliver_some(2);
		run_us(6 * SECOND_US);
		EXPECT(entry(deliver(DURABILITY_STRICT, SECOND_US))->answered_ok);
		EXPECT(check_all());
	}
}

/* What the other process has heard of the copy, it is not told again by itself. */
TEST(a_filling_goes_on_whichever_process_of_a_machine_dies)
{
	for (unsigned turn = 0; turn < 16; turn++) {
		start();
		deliver_some(FEW);
		unsigned primary = cluster_primary(1), replica = replica_of(1);
		unsigned victim = turn % 4 < 2 ? primary : replica;
		cluster_reseed(1, replica);
		run_us(turn * SECOND_US / 100);
		world_kill_process(victim, turn % PROCESSES_MAX);
		run_us(SECOND_US / 2);
		cluster_restart(victim);
		EXPECT(is_filled(replica));
		run_us(6 * SECOND_US);
		EXPECT(entry(deliver(DURABILITY_STRICT, SECOND_US))->answered_ok);
		EXPECT(check_all());
	}
}

/* It was in step, and the directory was away; the replicator has nothing to say of it any more. */
TEST(a_copy_that_was_filled_while_nobody_could_be_told_counts_though_the_node_has_died)
{
	start();
	deliver_some(FEW);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	world_set_link(primary, replica, false);
	cluster_reseed(1, replica);
	run_us(SECOND_US);
	cluster_cut_off(primary, true);
	world_set_link(primary, replica, true);
	run_us(10 * SECOND_US);
	EXPECT(row()->is_seeding[replica]);
	world_kill_process(primary, NODE_PROCESS);
	cluster_cut_off(primary, false);
	cluster_restart(primary);
	EXPECT(is_filled(replica));
	EXPECT(entry(deliver(DURABILITY_STRICT, SECOND_US))->answered_ok);
	EXPECT(check_all());
}

TEST(an_opening_does_not_wait_for_a_copy_that_is_being_filled)
{
	start_three();
	deliver_some(FEW);
	unsigned primary = cluster_primary(1), other = (primary + 1) % 3;
	cluster_crash(other);
	cluster_reseed(1, other);
	run_us(SECOND_US);
	/* Its memory of this boot is gone with its machine: it asks the others, and one is away. */
	cluster_crash(primary);
	run_us(SECOND_US);
	cluster_restart(primary);
	run_us(CLUSTER_ALONE_AFTER_MS * 1000 / 2);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	EXPECT_INT(1, cluster_volume(primary, 1)->row_epoch);
	cluster_restart(other);
	EXPECT(is_filled(other));
	EXPECT(check_all());
}

/* Each try leaves a folder that was begun, without a number. */
TEST(a_copy_that_cannot_be_begun_several_times_is_begun_when_there_is_room)
{
	start();
	deliver_some(FEW);
	unsigned replica = replica_of(1), refused = 0;
	world_refuse_call(replica, DISK_RENAME, -ENOSPC, 1);
	cluster_reseed(1, replica);
	for (unsigned i = 0; i < 600 && refused < 4; i++) {
		run_us(SECOND_US / 10);
		if (!world_has_refused(replica))
			continue;
		refused++;
		world_refuse_call(replica, DISK_RENAME, -ENOSPC, 1);
	}
	EXPECT_INT(4, refused);
	world_spare(replica);
	EXPECT(is_filled(replica));
	EXPECT(entry(deliver(DURABILITY_STRICT, SECOND_US))->answered_ok);
	EXPECT(check_all());
}

/* What another site has is not less because a copy that counts as none has less. */
TEST(a_copy_that_is_being_filled_puts_nothing_at_risk)
{
	start_three();
	deliver_some(FEW);
	/* The index has been written meanwhile, and what another site has. */
	run_us(40 * SECOND_US);
	unsigned primary = cluster_primary(1), away = (primary + 1) % 3;
	unsigned other = (primary + 2) % 3;
	cluster_crash(other);
	cluster_crash(away);
	cluster_reseed(1, other);
	run_us(SECOND_US);
	world_kill_machine(primary);
	cluster_restart(primary);
	run_us(10 * SECOND_US);
	const struct volume *volume = cluster_volume(primary, 1);
	EXPECT_INT(VOLUME_PRIMARY, volume->state);
	uint64_t at_risk = volume->numbers.at_risk, acked = volume->index.acked_lsn;
	EXPECT_INT(0, at_risk);
	EXPECT(acked > 0);
	/* It connects and has nothing yet. */
	world_slow_disk(other, 3 * SECOND_US);
	cluster_restart(other);
	for (unsigned i = 0; i < 50; i++) {
		run_us(SECOND_US / 10);
		EXPECT(volume->index.acked_lsn >= acked);
		EXPECT(volume->numbers.at_risk <= at_risk);
	}
	world_slow_disk(other, 0);
	cluster_restart(away);
	EXPECT(is_filled(other));
	run_us(5 * SECOND_US);
	EXPECT_INT(0, volume->numbers.at_risk);
	EXPECT(check_all());
}

/* Whoever is left has less than it had. */
TEST(what_only_the_copy_had_that_is_thrown_away_is_at_risk_again)
{
	start_three();
	deliver_some(FEW);
	unsigned primary = cluster_primary(1), away = (primary + 1) % 3;
	unsigned other = (primary + 2) % 3;
	const struct volume *volume = cluster_volume(primary, 1);
	cluster_crash(away);
	run_us(3 * SECOND_US);
	deliver_some(5);
	run_us(SECOND_US);
	EXPECT_INT(0, volume->numbers.at_risk);
	cluster_crash(other);
	cluster_reseed(1, other);
	run_us(SECOND_US);
	EXPECT_INT(5, volume->numbers.at_risk);
	cluster_restart(other);
	cluster_restart(away);
	EXPECT(is_filled(other));
	run_us(5 * SECOND_US);
	EXPECT_INT(0, volume->numbers.at_risk);
	EXPECT(check_all());
}

/* Its answer waited when the list was made anew, and got no copy after all. */
TEST(mail_that_waits_while_the_list_is_made_anew_is_listed_once)
{
	start();
	deliver_some(FEW);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	const struct volume *volume = cluster_volume(primary, 1);
	EXPECT_INT(0, volume->numbers.at_risk);
	cluster_crash(replica);
	world_empty_disk(replica);
	world_slow_disk(replica, 5 * SECOND_US);
	size_t waiting = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	cluster_restart(replica);
	run_us(CLUSTER_REMOTE_WAIT_MS * 1000 / 2);
	EXPECT(!entry(waiting)->answered_ok);
	EXPECT_INT(FEW + 1, volume->numbers.at_risk);
	run_us(CLUSTER_REMOTE_WAIT_MS * 1000);
	EXPECT(entry(waiting)->answered_ok);
	EXPECT_INT(FEW + 1, volume->numbers.at_risk);
	world_slow_disk(replica, 0);
	run_us(20 * SECOND_US);
	EXPECT_INT(0, volume->numbers.at_risk);
	EXPECT(check_all());
}

TEST(a_restart_while_the_only_copy_is_being_filled_forgets_nothing_that_is_at_risk)
{
	start();
	deliver_some(FEW);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	cluster_crash(replica);
	cluster_reseed(1, replica);
	run_us(SECOND_US);
	size_t alone = deliver(DURABILITY_REMOTE, SECOND_US / 2);
	EXPECT(entry(alone)->answered_ok);
	uint64_t at_risk = cluster_volume(primary, 1)->numbers.at_risk;
	EXPECT_INT(FEW + 1, at_risk);
	cluster_crash(primary);
	cluster_restart(primary);
	run_us(10 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	EXPECT_INT(at_risk, cluster_volume(primary, 1)->numbers.at_risk);
	cluster_restart(replica);
	EXPECT(is_filled(replica));
	EXPECT_INT(0, cluster_volume(primary, 1)->numbers.at_risk);
	EXPECT(check_all());
}

/* What was known before was of the copy that is thrown away; the one that is left has said nothing
 * to this process. */
TEST(what_is_left_has_no_more_than_it_was_heard_to_have)
{
	start_three();
	deliver_some(FEW);
	unsigned primary = cluster_primary(1), away = (primary + 1) % 3;
	unsigned other = (primary + 2) % 3;
	cluster_crash(away);
	run_us(3 * SECOND_US);
	deliver_some(5);
	run_us(SECOND_US);
	cluster_crash(primary);
	cluster_restart(primary);
	run_us(10 * SECOND_US);
	const struct volume *volume = cluster_volume(primary, 1);
	EXPECT_INT(VOLUME_PRIMARY, volume->state);
	EXPECT_INT(0, volume->numbers.at_risk);
	cluster_crash(other);
	cluster_reseed(1, other);
	run_us(SECOND_US);
	EXPECT(volume->numbers.at_risk >= 5);
	cluster_restart(other);
	cluster_restart(away);
	EXPECT(is_filled(other));
	run_us(5 * SECOND_US);
	EXPECT_INT(0, volume->numbers.at_risk);
	EXPECT(check_all());
}

/* ---- several that are filled over one connection ---- */

static bool is_in_step(unsigned machine, uint32_t volume_id)
{
	unsigned primary = cluster_primary(volume_id);
	return cluster_volume(machine, volume_id)->reader_end ==
		volume_log_end(cluster_volume(primary, volume_id)->log);
}

static void on_fall_silent(void *arg)
{
	copy_fall_silent(arg, 1);
}

static void on_ask_anew(void *arg)
{
	copy_ask_anew(arg, 1);
}

TEST(a_copy_that_stops_receiving_without_a_word_holds_up_no_other_filling)
{
	enum { MANY = 250 };
	start();
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	cluster_promote(2, primary);
	run_us(5 * SECOND_US);
	EXPECT_INT(primary, cluster_primary(2));
	cluster_crash(replica);
	for (unsigned i = 0; i < MANY; i++) {
		cluster_deliver(1, MAILBOX, DURABILITY_LOCAL);
		cluster_deliver(2, MAILBOX + 100, DURABILITY_LOCAL);
		run_us(SECOND_US / 100);
	}
	/* Slowly enough that the directory's word has come to all before. */
	cluster_limit_filling(400000);
	world_kill_process(primary, REPLICATOR_PROCESS);
	cluster_restart(primary);
	cluster_restart(replica);
	run_us(2 * SECOND_US);
	EXPECT(!is_in_step(replica, 1) && !is_in_step(replica, 2));
	struct replicator *replicator = machines[replica]->replicator;
	for (unsigned i = 0; i < 500000 && !copy_awaits_more(replicator, 1); i++)
		run_us(10);
	EXPECT(copy_awaits_more(replicator, 1));
	world_call_in(replicator_loops[replica], 0, on_fall_silent, replicator);
	run_us(25 * SECOND_US);
	EXPECT(!is_in_step(replica, 1));
	EXPECT(is_in_step(replica, 2));
	world_call_in(replicator_loops[replica], 0, on_ask_anew, replicator);
	run_us(10 * SECOND_US);
	EXPECT(is_in_step(replica, 1));
	EXPECT(check_all());
}
