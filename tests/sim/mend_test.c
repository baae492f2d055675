/* Rot that another copy mends: stories on the simulated cluster. */

#include "sim/rot.h"
#include "sim/scenario.h"

#include <errno.h>

enum { COUNT = 12 };

/* ---- reading a message, as a session does ---- */

struct reading {
	struct message_read read;
	unsigned machine;
	uint32_t uid;
	bool is_over;
	int status;
	size_t length;
};

static void note(struct reading *reading)
{
	reading->is_over = true;
	reading->status = reading->read.status;
	reading->length = reading->read.bytes ? reading->read.bytes->length : 0;
	bytes_unref(&reading->read.bytes);
}

static void on_read(struct message_read *read)
{
	note(container_of(read, struct reading, read));
}

static void on_reading(void *arg)
{
	struct reading *reading = arg;
	struct folder *inbox = inbox_of(reading->machine);
	CHECK(folder_load(inbox) == 0);
	uint32_t at = folder_find_uid(inbox, reading->uid);
	CHECK(at < inbox->message_count);
	reading->read.done = on_read;
	if (message_read_body(inbox, &inbox->messages[at], &reading->read))
		note(reading);
}

static struct reading read_mail(unsigned machine, size_t delivery)
{
	struct reading reading = { .machine = machine, .uid = entry(delivery)->uid };
	world_call_on(machine, 0, on_reading, &reading);
	for (unsigned i = 0; i < 80 && !reading.is_over; i++)
		run_us(SECOND_US / 10);
	EXPECT(reading.is_over);
	return reading;
}

static uint64_t body_lsn_of(unsigned machine, size_t delivery)
{
	struct folder *inbox = inbox_of(machine);
	CHECK(folder_load(inbox) == 0);
	return inbox->messages[folder_find_uid(inbox, entry(delivery)->uid)].body_lsn;
}

static void rot_at(unsigned machine, uint64_t lsn)
{
	char path[64];
	snprintf(path, sizeof(path), "/volumes/1/%016llx.log", (unsigned long long)segment_of(lsn));
	world_rot(machine, path, lsn % segment_length);
}

static void make_foreign(void *arg, uint8_t *bytes)
{
	struct group group;
	uint64_t lsn = *(uint64_t *)arg;
	CHECK(group_header_decode(str_of(bytes, GROUP_HEADER_LENGTH), lsn, 1, &group));
	group.chain++;
	group_header_encode(&group, bytes);
}

static void deliver(size_t deliveries[COUNT])
{
	rot_reset();
	for (unsigned i = 0; i < COUNT; i++) {
		deliveries[i] = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
		run_us(SECOND_US / 4);
	}
	run_us(SECOND_US);
}

static void expect_equal_and_readable(const size_t deliveries[COUNT])
{
	unsigned primary = cluster_primary(1);
	for (unsigned i = 0; i < COUNT; i++) {
		struct reading reading = read_mail(primary, deliveries[i]);
		EXPECT_INT(0, reading.status);
		EXPECT(reading.length > 0);
	}
	/* No rot is excused: the files are equal to the last byte. */
	EXPECT(check_all());
}

TEST(a_reader_gets_what_another_copy_has_and_the_files_are_equal_again)
{
	/* In the header of its record, and in the body. */
	static const unsigned offsets[] = { 12, RECORD_HEADER_LENGTH + 3 };
	size_t deliveries[COUNT];
	start();
	deliver(deliveries);
	unsigned primary = cluster_primary(1);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t lsn = body_lsn_of(primary, deliveries[2 * i + 1]);
		rot_at(primary, lsn + offsets[i]);
		struct reading reading = read_mail(primary, deliveries[2 * i + 1]);
		EXPECT_INT(0, reading.status);
		EXPECT(reading.length > 0);
		EXPECT_INT(i + 1, cluster_volume(primary, 1)->numbers.mended);
	}
	expect_equal_and_readable(deliveries);
}

/* As a disk has it that was put back: whole, and of another log. Nothing is wrong with it by
 * itself. */
static void open_with_foreign(bool is_first)
{
	size_t deliveries[COUNT];
	char path[64];
	start();
	/* Into the second segment. */
	for (unsigned i = 0; i < 70; i++) {
		cluster_deliver(1, MAILBOX, DURABILITY_LOCAL);
		run_us(SECOND_US / 50);
	}
	deliver(deliveries);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	uint64_t lsn = body_lsn_of(primary, deliveries[5]) - GROUP_HEADER_LENGTH;
	EXPECT(segment_of(lsn) > 0);
	lsn -= is_first ? lsn % segment_length : 0;
	uint64_t end = cluster_volume(replica, 1)->reader_end;
	cluster_crash(replica);
	snprintf(path, sizeof(path), "/volumes/1/%016llx.log", (unsigned long long)segment_of(lsn));
	world_forge(replica, path, lsn % segment_length, make_foreign, &lsn);
	cluster_restart(replica);
	run_us(20 * SECOND_US);
	EXPECT_INT(end, cluster_volume(replica, 1)->reader_end);
	expect_equal_and_readable(deliveries);
}

TEST(a_replica_that_opens_with_a_foreign_group_is_mended)
{
	open_with_foreign(false);
}

TEST(a_replica_that_opens_with_a_foreign_group_at_the_start_of_a_segment_is_mended)
{
	open_with_foreign(true);
}

static uint64_t mistaken_lsn;

static void on_mistake(void *arg)
{
	struct volume *volume = arg;
	atomic_store(&volume->numbers.damaged, 1 + mistaken_lsn);
	volume->options.events.changed(volume->options.events.arg, volume);
}

/* It has read what was just being cut, and its line to the replicator came up again later. */
TEST(a_sound_replica_is_not_cut_at_the_word_of_its_node)
{
	size_t deliveries[COUNT];
	start();
	deliver(deliveries);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	uint64_t end = volume_log_end(cluster_volume(primary, 1)->log);
	mistaken_lsn = volume_log_last_group(cluster_volume(primary, 1)->log);
	EXPECT_INT(end, cluster_volume(replica, 1)->reader_end);
	world_call_on(replica, 0, on_mistake, cluster_volume(replica, 1));
	for (unsigned i = 0; i < 100; i++) {
		run_us(SECOND_US / 100);
		EXPECT(cluster_volume(replica, 1)->reader_end >= end);
	}
	EXPECT_INT(0, cluster_volume(replica, 1)->numbers.damaged);
	expect_equal_and_readable(deliveries);
}

TEST(who_reads_what_no_copy_in_reach_has_is_told_so_and_reads_it_when_one_is_back)
{
	size_t deliveries[COUNT];
	start();
	deliver(deliveries);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	cluster_crash(replica);
	rot_at(primary, body_lsn_of(primary, deliveries[3]) + 60);
	run_us(SECOND_US);
	uint64_t began = world_now_us();
	EXPECT_INT(-EIO, read_mail(primary, deliveries[3]).status);
	EXPECT(world_now_us() - began < (MEND_WAIT_MS_MAX + 1000) * 1000u);
	/* The others are no slower for it. */
	EXPECT_INT(0, read_mail(primary, deliveries[4]).status);
	cluster_restart(replica);
	run_us((MEND_AGAIN_MS + 5000) * 1000u);
	expect_equal_and_readable(deliveries);
}

TEST(both_copies_are_damaged_in_other_places_and_mend_each_other)
{
	size_t deliveries[COUNT];
	start();
	deliver(deliveries);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	rot_at(primary, body_lsn_of(primary, deliveries[3]) + 60);
	rot_at(replica, body_lsn_of(primary, deliveries[7]) + 60);
	EXPECT_INT(0, read_mail(primary, deliveries[3]).status);
	cluster_promote(1, replica);
	run_us(10 * SECOND_US);
	EXPECT_INT(replica, cluster_primary(1));
	expect_equal_and_readable(deliveries);
}

/* The index is lost, and the replay meets the rot. */
TEST(a_replay_that_meets_rot_goes_on_when_it_is_mended)
{
	size_t deliveries[COUNT];
	start();
	deliver(deliveries);
	unsigned primary = cluster_primary(1);
	uint64_t lsn = body_lsn_of(primary, deliveries[1]);
	cluster_crash(primary);
	world_copy_store(primary, NULL, primary, "/index/1"); /* empty */
	rot_at(primary, lsn - GROUP_HEADER_LENGTH + 20);
	cluster_restart(primary);
	run_us(30 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(cluster_primary(1), 1)->state);
	expect_equal_and_readable(deliveries);
}

/* A third copy is to be filled from where the leader's log is damaged. */
TEST(shipping_that_meets_rot_goes_on_when_it_is_mended)
{
	size_t deliveries[COUNT];
	start_three();
	deliver(deliveries);
	unsigned primary = cluster_primary(1), empty = (primary + 1) % 3;
	cluster_crash(empty);
	world_empty_disk(empty);
	rot_at(primary, body_lsn_of(primary, deliveries[5]) + 60);
	cluster_restart(empty);
	run_us(40 * SECOND_US);
	EXPECT_INT(volume_log_end(cluster_volume(primary, 1)->log),
		cluster_volume(empty, 1)->reader_end);
	expect_equal_and_readable(deliveries);
}

/* Nobody else is left: what can be read is served, and mended by whoever comes back. */
TEST(the_only_copy_left_serves_what_it_can_read_of_a_damaged_log)
{
	size_t deliveries[COUNT];
	start();
	deliver(deliveries);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	uint64_t lsn = body_lsn_of(primary, deliveries[4]);
	uint64_t end = cluster_volume(replica, 1)->reader_end;
	cluster_crash(primary);
	/* Its index is behind the damage: nothing is replayed through that. */
	run_us(5 * SECOND_US);
	world_kill_machine(replica);
	rot_at(replica, lsn + 60);
	cluster_restart(replica);
	run_us(5 * SECOND_US);
	cluster_promote(1, replica);
	run_us(30 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(replica, 1)->state);
	EXPECT(volume_log_end(cluster_volume(replica, 1)->log) >= end);
	for (unsigned i = 0; i < COUNT; i++)
		EXPECT_INT(i == 4 ? -EIO : 0, read_mail(replica, deliveries[i]).status);
	cluster_restart(primary);
	run_us((MEND_AGAIN_MS + 10000) * 1000u);
	expect_equal_and_readable(deliveries);
}

/* The only copy, behind damage that nobody mends: nobody can list it, and it is at risk all the
 * same. */
TEST(what_cannot_be_listed_is_counted_as_at_risk_when_a_copy_went_back)
{
	size_t deliveries[COUNT];
	start();
	deliver(deliveries);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	const struct volume *volume = cluster_volume(primary, 1);
	EXPECT_INT(0, volume->numbers.at_risk);
	cluster_crash(replica);
	world_empty_disk(replica);
	rot_at(primary, body_lsn_of(primary, deliveries[4]) - GROUP_HEADER_LENGTH + 20);
	cluster_restart(replica);
	run_us(20 * SECOND_US);
	EXPECT(cluster_volume(replica, 1)->reader_end < volume_log_end(volume->log));
	EXPECT(volume->numbers.at_risk > volume->at_risk_count);
}

/* What the replica's own disk refuses says nothing of the other copy, and is no reason to cut. */
/* A node that begins to read asks the file to which branch its index belongs. */
TEST(the_vector_beside_a_replica_is_written_anew_when_its_node_cannot_read_it)
{
	size_t deliveries[COUNT];
	start();
	deliver(deliveries);
	unsigned replica = replica_of(1);
	world_rot(replica, "/volumes/1/epochs", 12);
	world_kill_process(replica, NODE_PROCESS);
	cluster_restart(replica);
	run_us(2 * SECOND_US);
	deliver(deliveries);
	run_us(10 * SECOND_US);
	const struct volume *volume = cluster_volume(replica, 1);
	EXPECT_INT(volume->reader_end, volume->index.applied_lsn);
	expect_equal_and_readable(deliveries);
}

/* What it has behind the damage may be on no other disk by the time that somebody can be asked. */
TEST(a_damaged_replica_is_not_cut_before_a_copy_could_be_asked)
{
	size_t deliveries[COUNT];
	char path[WORLD_PATH_MAX];
	uint64_t size;
	start();
	deliver(deliveries);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	uint64_t lsn = body_lsn_of(primary, deliveries[COUNT - 3]);
	cluster_crash(replica);
	rot_at(replica, lsn + 60);
	world_set_link(primary, replica, false);
	cluster_restart(replica);
	run_us(4 * SECOND_US);
	world_set_link(primary, replica, true);
	run_us(20 * SECOND_US);
	expect_equal_and_readable(deliveries);
	EXPECT(!world_pick_file(replica, "/volumes/1/salvage-", path, &size));
}

TEST(a_replica_whose_disk_is_full_for_a_while_is_mended_and_not_cut)
{
	size_t deliveries[COUNT];
	start();
	deliver(deliveries);
	unsigned primary = cluster_primary(1), replica = replica_of(1);
	uint64_t lsn = body_lsn_of(primary, deliveries[1]);
	uint64_t end = cluster_volume(replica, 1)->reader_end;
	cluster_crash(replica);
	world_copy_store(replica, NULL, replica, "/index/1"); /* empty */
	rot_at(replica, lsn + 60);
	world_fill_disk(replica, true);
	cluster_restart(replica);
	run_us(5 * SECOND_US);
	EXPECT_INT(end, cluster_volume(replica, 1)->reader_end);
	world_fill_disk(replica, false);
	run_us(20 * SECOND_US);
	expect_equal_and_readable(deliveries);
}
