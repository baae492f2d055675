/* For whom a message was accepted, whatever became of the address since. */

#include "router/resolve.h"
#include "unit/directory_world.h"

#include <string.h>

static bool knows_bert(struct world *world)
{
	return directory_find_login(world->directory, STR("bert@example.org")) != NULL;
}

static bool anna_is_another(struct world *world)
{
	const struct directory_mailbox *anna =
		directory_find_login(world->directory, STR("anna@example.org"));
	return knows_bert(world) && anna && anna->id != world->access;
}

static bool knows_no_bert(struct world *world)
{
	return !knows_bert(world);
}

static uint64_t accepted_by(struct world *world, uint64_t id, const uint8_t *mark)
{
	const struct directory_mailbox *mailbox =
		resolve_accepted(world->directory, STR("anna@example.org"), id, mark);
	return mailbox ? mailbox->id : 0;
}

static bool knows_anna(struct world *world)
{
	return directory_find_login(world->directory, STR("anna@example.org")) != NULL;
}

TEST(a_message_goes_to_the_mailbox_for_which_it_was_accepted)
{
	struct mailbox_description newcomer = { .address = "anna@example.org" };
	uint8_t mark[MAILBOX_MARK_LENGTH], other[MAILBOX_MARK_LENGTH] = { 1 };
	struct error error = { 0 };
	struct world world;

	open_world(&world, NULL);
	fill(world.writer);
	open_directory(&world);
	EXPECT(wait_until(&world, knows_anna));
	const struct directory_mailbox *anna =
		directory_find_login(world.directory, STR("anna@example.org"));
	uint64_t id = world.access = anna->id;
	memcpy(mark, anna->mark, sizeof(mark));
	EXPECT_INT(id, accepted_by(&world, id, mark));
	EXPECT_INT(id, accepted_by(&world, id, NULL));
	/* A restored directory has given her number to another one. */
	EXPECT_INT(0, accepted_by(&world, id, other));
	/* She has another address, and somebody has hers. */
	expect_done(directory_rename_mailbox(
			    world.writer, "anna@example.org", "bert@example.org", false, &error),
		&error);
	expect_done(directory_add_mailbox(world.writer, &newcomer, &error), &error);
	EXPECT(wait_until(&world, anna_is_another));
	EXPECT_INT(id, accepted_by(&world, id, mark));
	/* What was accepted by a version without marks goes by its address. */
	EXPECT(accepted_by(&world, id, NULL) != id && accepted_by(&world, id, NULL) != 0);
	/* She is gone: it is nobody's. */
	expect_done(directory_remove_mailbox(world.writer, "bert@example.org", 0, &error), &error);
	EXPECT(wait_until(&world, knows_no_bert));
	EXPECT_INT(0, accepted_by(&world, id, mark));
	close_world(&world);
}
