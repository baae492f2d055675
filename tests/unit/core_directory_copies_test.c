/* The copies of a volume, as the directory gives and takes them. */

#include "unit/directory_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_node(struct directory_writer *writer, unsigned number)
{
	struct error error = { 0 };
	char name[16], addresses[4][24];
	for (unsigned i = 0; i < 4; i++)
		snprintf(addresses[i], sizeof(addresses[i]), "127.0.1.%u:%u", number, i + 1);
	snprintf(name, sizeof(name), "node-c%u", number);
	struct node_description node = { name, "site-b", addresses[0], addresses[1], addresses[2],
		addresses[3] };
	expect_done(directory_add_node(writer, &node, &error), &error);
}

/* The volume as its row and its copies are now; `at` of the replica at the node. */
static struct directory_volume read_volume(
	struct directory_writer *writer, const char *node, unsigned *at_out)
{
	struct error error = { 0 };
	struct directory *places = NULL;
	expect_done(directory_read_places(writer, "/nonexistent/copy", &places, &error), &error);
	struct directory_volume volume = *directory_find_volume(places, 1);
	uint32_t node_id = directory_find_node_by_name(places, str_from(node))->id;
	for (*at_out = 0; *at_out < volume.replica_count; ++*at_out)
		if (volume.replica_node_ids[*at_out] == node_id)
			break;
	directory_free_places(&places);
	return volume;
}

static void check_copies(struct world *world)
{
	struct error error = { 0 };
	struct directory_writer *writer = world->writer;
	unsigned at;
	fill(writer);
	add_node(writer, 1);
	struct copy_change change = { .volume = "v1", .node = "node-c1", .uid_slacks = 3 };
	EXPECT_INT(-ENOENT, directory_remove_copy(writer, &change, &error));
	expect_done(directory_add_copy(writer, &change, &error), &error);
	EXPECT_INT(-EALREADY, directory_add_copy(writer, &change, &error));
	struct directory_volume volume = read_volume(writer, "node-c1", &at);
	EXPECT_INT(2, volume.replica_count);
	EXPECT_INT(3, volume.replica_slots[at]);
	EXPECT_INT(3, volume.uid_slacks);
	EXPECT(volume.replica_seeding[at] && !volume.replica_seeding[1 - at]);
	uint64_t first = volume.replica_copies[at];
	/* The primary says that it is in step; not in an epoch that is over. */
	struct volume_service service = { .volume_id = 1, .epoch = 2, .filled_copies = { first } };
	expect_done(directory_note_service(writer, &service, &error), &error);
	EXPECT(read_volume(writer, "node-c1", &at).replica_seeding[at]);
	service.epoch = 1;
	expect_done(directory_note_service(writer, &service, &error), &error);
	EXPECT(!read_volume(writer, "node-c1", &at).replica_seeding[at]);
	/* Thrown away: another copy in the same slot, and the word about the first says nothing. */
	expect_done(directory_reseed_copy(writer, &change, &error), &error);
	expect_done(directory_note_service(writer, &service, &error), &error);
	volume = read_volume(writer, "node-c1", &at);
	EXPECT(volume.replica_seeding[at] && volume.replica_copies[at] > first);
	EXPECT_INT(3, volume.replica_slots[at]);
	change.node = "node-a1";
	EXPECT_INT(-EBUSY, directory_remove_copy(writer, &change, &error));
	EXPECT_INT(-EBUSY, directory_reseed_copy(writer, &change, &error));
	/* Removed and added again: its own slot. */
	change.node = "node-c1";
	expect_done(directory_remove_copy(writer, &change, &error), &error);
	EXPECT_INT(1, read_volume(writer, "node-c1", &at).replica_count);
	expect_done(directory_add_copy(writer, &change, &error), &error);
	EXPECT_INT(3, read_volume(writer, "node-c1", &at).replica_slots[at]);
	expect_done(directory_remove_copy(writer, &change, &error), &error);
}

/* However many copies come and go, none gets a slot that another node had. */
static void check_slots(struct world *world)
{
	struct error error = { 0 };
	unsigned at;
	for (unsigned i = 2; i <= 7; i++) {
		char name[16];
		snprintf(name, sizeof(name), "node-c%u", i);
		struct copy_change change = { .volume = "v1", .node = name };
		add_node(world->writer, i);
		int code = directory_add_copy(world->writer, &change, &error);
		if (i == 7) {
			EXPECT_INT(-ENOSPC, code);
			break;
		}
		expect_done(code, &error);
		EXPECT_INT((i + 2) % VOLUME_COPIES_MAX,
			read_volume(world->writer, name, &at).replica_slots[at]);
		expect_done(directory_remove_copy(world->writer, &change, &error), &error);
	}
	/* Whoever asks for a copy can know it before. */
	struct sql_result *result = NULL;
	expect_done(directory_list(world->writer, LIST_NUMBERS, NULL, &result, &error), &error);
	EXPECT_INT(VOLUME_COPIES_MAX, sql_rows(result));
	for (unsigned i = 0; i < sql_rows(result); i++) {
		EXPECT_INT(1, sql_value_u64(result, i, 0));
		EXPECT_INT(i, sql_value_u64(result, i, 1));
		EXPECT(sql_value_u64(result, i, 2) > 0);
	}
	sql_result_free(&result);
}

/* To a node that has no copy of the volume, which gets one with the epoch or not at all. */
static void check_restored(struct world *world)
{
	struct error error = { 0 };
	struct directory_writer *writer = world->writer;
	bool is_there = true;
	unsigned at, slot = 0;
	fill(writer);
	add_node(writer, 1);
	struct copy_change change = { .volume = "v1", .node = "node-c1" };
	struct directory_volume volume = read_volume(writer, "node-a1", &at);
	struct restoration restoration = { .volume = "v1",
		.promotion = { .volume_id = 1,
			.expected_epoch = volume.epoch,
			.epoch = volume.epoch + 255,
			.reign = { 7 },
			.primary_node_id = 3,
			.from_epoch = PROMOTE_STALE } };
	memcpy(restoration.promotion.expected_reign, volume.reign, REIGN_LENGTH);
	expect_done(directory_note_service(writer,
			    &(struct volume_service){ .volume_id = 1,
				    .epoch = volume.epoch,
				    .freed_epoch = volume.epoch,
				    .freed_lsn = 4096 },
			    &error),
		&error);
	EXPECT_INT(4096, read_volume(writer, "node-a1", &at).freed_lsn);
	for (unsigned i = 0; i < 2; i++) {
		EXPECT_INT(-ENOENT, directory_read_slot(writer, &change, &slot, &error));
		expect_done(directory_begin(writer, &error), &error);
		expect_done(directory_add_copy(writer, &change, &error), &error);
		expect_done(directory_read_slot(writer, &change, &slot, &error), &error);
		EXPECT_INT(3, slot);
		expect_done(directory_restore_volume(writer, &restoration, &error), &error);
		if (i == 0)
			directory_rollback(writer);
		else
			expect_done(directory_commit(writer, &error), &error);
		expect_done(
			directory_find_restored(writer, &restoration, &is_there, &error), &error);
		EXPECT_INT(i, is_there);
		EXPECT_INT(1 + i, read_volume(writer, "node-c1", &at).replica_count);
	}
	/* What was freed since is nothing to a log that is older. */
	EXPECT_INT(0, read_volume(writer, "node-c1", &at).freed_lsn);
}

TEST(a_volume_that_is_restored_elsewhere_is_there_with_its_copy_or_not_at_all)
{
	struct world world;
	open_world(&world, NULL);
	check_restored(&world);
	close_world(&world);
}

TEST(a_copy_that_is_added_or_made_anew_counts_when_its_primary_says_so)
{
	struct world world;
	open_world(&world, NULL);
	check_copies(&world);
	check_slots(&world);
	close_world(&world);
}

TEST(the_same_holds_in_postgresql)
{
	struct world world;
	const char *postgres = getenv("PANDO_TEST_POSTGRES");
	if (!postgres)
		return;
	open_world(&world, postgres);
	check_copies(&world);
	check_slots(&world);
	close_world(&world);
}

static void end_session(struct directory_writer *other, struct directory_writer *writer)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	expect_done(sql_query(directory_writer_sql(writer), "select pg_backend_pid()", NULL, 0,
			    &result, &error),
		&error);
	/* Ended when it is out of the list. */
	expect_done(sql_query(directory_writer_sql(other), "select pg_terminate_backend($1, 5000)",
			    SQL_VALUES(sql_value(result, 0, 0)), NULL, &error),
		&error);
	sql_result_free(&result);
}

/* Who has lost the volume with the session, and takes it again, finds its copies as they were, or
 * as he has left them himself. */
TEST(a_session_that_is_lost_does_not_go_on_where_a_copy_has_come_or_gone)
{
	static const struct volume_seen seen = { 1, 1 };
	struct world world;
	struct error error = { 0 };
	struct directory_writer *other = NULL;
	struct copy_change own = { .volume = "v1", .node = "node-c1" },
			   others = { .volume = "v1", .node = "node-b1" };
	const char *postgres = getenv("PANDO_TEST_POSTGRES");
	if (!postgres)
		return;
	open_world(&world, postgres);
	fill(world.writer);
	add_node(world.writer, 1);
	expect_done(directory_writer_open(&world.config, &other, &error), &error);
	expect_done(
		directory_begin_moves(world.writer, "pando node drain node-c1", &seen, 1, &error),
		&error);
	expect_done(directory_add_copy(world.writer, &own, &error), &error);
	end_session(other, world.writer);
	expect_done(directory_remove_copy(world.writer, &own, &error), &error);
	end_session(other, world.writer);
	/* The same node, and another copy. */
	expect_done(directory_reseed_copy(other, &others, &error), &error);
	EXPECT_INT(-ESTALE, directory_add_copy(world.writer, &own, &error));
	EXPECT(strstr(error.text, "a copy of volume v1 came, went or was made anew") != NULL);
	EXPECT_INT(-ESTALE, directory_remove_copy(world.writer, &others, &error));
	directory_writer_close(&other);
	close_world(&world);
}

/* What stands on something keeps it, and is named. */
static void check_removals(struct world *world)
{
	struct error error = { 0 };
	struct directory_writer *writer = world->writer;
	unsigned at;
	fill(writer);
	EXPECT_INT(-EBUSY, directory_remove_site(writer, "site-a", &error));
	EXPECT(strstr(error.text, "node-a1") != NULL);
	EXPECT_INT(-EBUSY, directory_remove_node(writer, "node-b1", &error));
	EXPECT(strstr(error.text, "v1") != NULL);
	EXPECT_INT(-EBUSY, directory_remove_domain(writer, "example.org", &error));
	EXPECT(strstr(error.text, "Anna@example.org") != NULL);
	EXPECT_INT(-EBUSY, directory_remove_volume(writer, "v1", true, &error));
	EXPECT(strstr(error.text, "Anna@example.org") != NULL);
	EXPECT_INT(-ENOENT, directory_remove_volume(writer, "v2", true, &error));
	expect_done(directory_rename_volume(writer, "v1", "first", &error), &error);
	expect_done(directory_set_volume(writer, "first", "strict", &error), &error);
	EXPECT_INT(DURABILITY_STRICT, read_volume(writer, "node-b1", &at).durability);
	struct node_description moved = { .name = "node-b1", .lmtp = "127.0.0.1:1" };
	EXPECT_INT(-EEXIST, directory_set_node(writer, &moved, &error)); /* another one's */
	moved.lmtp = "127.0.0.1:5";                                      /* its own */
	moved.imap = "127.0.0.1:66";
	expect_done(directory_set_node(writer, &moved, &error), &error);
	/* The mailbox is gone, and its mail is kept. */
	expect_done(directory_add_alias(writer, "post@example.org", "anna@example.org", &error),
		&error);
	expect_done(directory_remove_mailbox(writer, "anna@example.org", 60, &error), &error);
	EXPECT_INT(-EBUSY, directory_remove_volume(writer, "first", false, &error));
	EXPECT(strstr(error.text, "--forget-removed") != NULL);
	expect_done(directory_remove_volume(writer, "first", true, &error), &error);
	expect_done(directory_remove_node(writer, "node-b1", &error), &error);
	expect_done(directory_remove_site(writer, "site-b", &error), &error);
	EXPECT_INT(-EBUSY, directory_remove_site(writer, "site-a", &error));
	expect_done(directory_remove_router(writer, "router-a", &error), &error);
	expect_done(directory_remove_node(writer, "node-a1", &error), &error);
	expect_done(directory_remove_site(writer, "site-a", &error), &error);
	EXPECT_INT(-ENOENT, directory_remove_site(writer, "site-a", &error));
	expect_done(directory_remove_domain(writer, "EXAMPLE.org", &error), &error);
}

TEST(nothing_is_removed_that_something_stands_on)
{
	struct world world;
	open_world(&world, NULL);
	check_removals(&world);
	close_world(&world);
}

TEST(nor_in_postgresql)
{
	struct world world;
	const char *postgres = getenv("PANDO_TEST_POSTGRES");
	if (!postgres)
		return;
	open_world(&world, postgres);
	check_removals(&world);
	close_world(&world);
}
