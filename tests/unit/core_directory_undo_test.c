/* What an operator can undo: a mailbox that was removed, or has another address. */

#include "unit/directory_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool knows_anna(struct world *world)
{
	return directory_resolve(world->directory, STR("anna@example.org"), NULL, NULL) ==
		DIRECTORY_FOUND;
}

static bool does_not_know_anna(struct world *world)
{
	return !knows_anna(world);
}

/* Removed, restored under another address, renamed back: the same mailbox, and what led to it. */
static void check_undo(struct world *world)
{
	struct error error = { 0 };
	fill(world->writer);
	open_directory(world);
	EXPECT(wait_until(world, knows_anna));
	struct buf left_out = { 0 };
	uint64_t id = directory_find_login(world->directory, STR("anna@example.org"))->id;
	uint64_t access = directory_access(world->directory, id);
	expect_done(directory_add_alias(
			    world->writer, "post@example.org", "anna@example.org", &error),
		&error);
	expect_done(directory_add_domain(world->writer, "former.example", &error), &error);
	expect_done(directory_add_alias(
			    world->writer, "anna@former.example", "anna@example.org", &error),
		&error);
	expect_done(directory_remove_mailbox(world->writer, "anna@example.org", 60, &error),
		&error);
	EXPECT(wait_until(world, does_not_know_anna));
	expect_done(directory_remove_domain(world->writer, "former.example", &error), &error);
	EXPECT_INT(-ENOENT, directory_restore_mailbox(world->writer, "anna@example.org", id + 1,
				    NULL, &left_out, &error));
	EXPECT_INT(-ENOENT, directory_restore_mailbox(world->writer, "bert@example.org", 0, NULL,
				    &left_out, &error));
	/* Its address is free: whoever has it meanwhile keeps it. */
	struct mailbox_description other = { .address = "anna@example.org" };
	expect_done(directory_add_mailbox(world->writer, &other, &error), &error);
	EXPECT_INT(-EEXIST, directory_restore_mailbox(world->writer, "anna@example.org", 0, NULL,
				    &left_out, &error));
	expect_done(directory_restore_mailbox(world->writer, "ANNA@example.org", id,
			    "old@example.org", &left_out, &error),
		&error);
	EXPECT(strcmp(buf_terminated(&left_out), "anna@former.example\n") == 0);
	EXPECT_INT(-EEXIST, directory_rename_mailbox(world->writer, "old@example.org",
				    "anna@example.org", false, &error));
	EXPECT_INT(-EEXIST, directory_rename_mailbox(world->writer, "old@example.org",
				    "post@example.org", false, &error));
	/* Two that were removed from one address: the last, or by number. */
	expect_done(directory_remove_mailbox(world->writer, "anna@example.org", 60, &error),
		&error);
	expect_done(directory_rename_mailbox(world->writer, "old@example.org", "Anna@example.org",
			    true, &error),
		&error);
	EXPECT(wait_until(world, knows_anna));
	EXPECT(directory_find_login(world->directory, STR("anna@example.org"))->id == id);
	EXPECT(directory_access(world->directory, id) == access);
	expect_done(directory_rename_mailbox(world->writer, "anna@example.org", "anna@example.org",
			    false, &error),
		&error);
	struct sql_result *aliases = NULL;
	expect_done(directory_list(world->writer, LIST_ALIASES, "%", &aliases, &error), &error);
	unsigned found = 0;
	for (unsigned i = 0; i < sql_rows(aliases); i++)
		found += strcasecmp(sql_value(aliases, i, 1), "anna@example.org") == 0 &&
			(strcmp(sql_value(aliases, i, 0), "post@example.org") == 0 ||
				strcmp(sql_value(aliases, i, 0), "old@example.org") == 0);
	EXPECT_INT(2, found);
	sql_result_free(&aliases);
	buf_deinit(&left_out);
}

TEST(a_removed_mailbox_is_restored_and_a_renamed_one_is_the_same)
{
	struct world world;
	open_world(&world, NULL);
	check_undo(&world);
	close_world(&world);
}

TEST(the_same_on_postgres)
{
	const char *postgres = getenv("PANDO_TEST_POSTGRES");
	struct world world;
	if (postgres == NULL || !postgres[0])
		return;
	open_world(&world, postgres);
	check_undo(&world);
	close_world(&world);
}
