#include "unit/node_fixture.h"
#include "unit/test.h"

#include <stdlib.h>

/* Several sessions at one message: what comes later in the log is made of what comes before it,
 * though none of it is applied yet. */

enum { WISHES_MAX = 8 };

struct race {
	struct fixture f;
	struct folder *inbox, *archive;
	struct mailbox_op ops[WISHES_MAX];
	unsigned count, left;
	uint32_t uid; /* of the one message */
};

static void on_done(struct mailbox_op *op)
{
	struct race *race = op->arg;
	if (--race->left == 0)
		loop_stop(race->f.loop);
}

static struct mailbox_op *wish(struct race *race)
{
	CHECK(race->count < WISHES_MAX);
	struct mailbox_op *op = &race->ops[race->count++];
	*op = (struct mailbox_op){ .done = on_done, .arg = race };
	race->left++;
	return op;
}

static void begin(struct race *race)
{
	*race = (struct race){ 0 };
	fixture_setup(&race->f);
	EXPECT_INT(0, fixture_deliver(&race->f, 1, 200));
	race->inbox = fixture_folder(&race->f, "INBOX");
	race->archive = fixture_folder(&race->f, "Archive");
	race->uid = race->inbox->messages[0].uid;
}

static void store(struct race *race, enum store_mode mode, uint64_t flags, const char *keyword)
{
	struct str name = keyword ? str_from(keyword) : STR("");
	mailbox_store(race->inbox,
		&(struct store_request){ .uids = &race->uid,
			.count = 1,
			.mode = mode,
			.system_flags = flags,
			.keywords = &name,
			.keyword_count = keyword != NULL },
		wish(race));
}

static void copy(struct race *race, bool move)
{
	mailbox_copy(
		race->inbox, &race->uid, 1, race->archive, move, &unlimited, wish(race));
}

/* All that was wished for has come true, in one batch. */
static void settle(struct race *race)
{
	EXPECT_INT(race->count, race->left);
	loop_run(race->f.loop);
	for (unsigned i = 0; i < race->count; i++)
		EXPECT_INT(0, race->ops[i].status);
	race->count = 0;
}

/* Of the message at this place in the archive. */
static bool has_keyword(const struct race *race, uint32_t at, const char *name)
{
	for (unsigned bit = 0; bit < race->archive->keyword_count; bit++)
		if (str_equal(race->archive->keywords[bit], str_from(name)))
			return race->archive->messages[at].flags >>
				(MESSAGE_KEYWORD_SHIFT + bit) & 1;
	return false;
}

static uint64_t system_flags(const struct race *race, uint32_t at)
{
	return race->archive->messages[at].flags & MESSAGE_SYSTEM_FLAGS;
}

TEST(flags_that_are_on_their_way_go_along_with_a_message_that_is_moved)
{
	struct race race;
	begin(&race);
	store(&race, STORE_ADD, MESSAGE_SEEN | MESSAGE_FLAGGED, "new");
	store(&race, STORE_REMOVE, MESSAGE_FLAGGED, NULL);
	copy(&race, true);
	settle(&race);
	EXPECT_INT(0, race.inbox->message_count);
	EXPECT_INT(1, race.archive->message_count);
	EXPECT_INT(MESSAGE_SEEN, system_flags(&race, 0));
	EXPECT(has_keyword(&race, 0, "new"));
	/* It is so in what is stored, too. */
	fixture_stop(&race.f);
	fixture_restart(&race.f);
	race.archive = fixture_folder(&race.f, "Archive");
	EXPECT_INT(0, folder_load(race.archive));
	EXPECT_INT(MESSAGE_SEEN, system_flags(&race, 0));
	EXPECT(has_keyword(&race, 0, "new"));
	fixture_teardown(&race.f);
}

TEST(flags_that_come_behind_a_copy_stay_with_the_original)
{
	struct race race;
	begin(&race);
	copy(&race, false);
	store(&race, STORE_REPLACE, MESSAGE_ANSWERED, "later");
	copy(&race, false);
	settle(&race);
	EXPECT_INT(2, race.archive->message_count);
	EXPECT_INT(0, system_flags(&race, 0));
	EXPECT(!has_keyword(&race, 0, "later"));
	EXPECT_INT(MESSAGE_ANSWERED, system_flags(&race, 1));
	EXPECT(has_keyword(&race, 1, "later"));
	fixture_teardown(&race.f);
}

/* One that another STORE has come before is refused, and says so; what a copy is made of knows. */
TEST(a_conditional_store_that_will_be_refused_changes_no_copy)
{
	struct race race;
	begin(&race);
	uint64_t modseq = race.inbox->messages[0].modseq;
	store(&race, STORE_ADD, MESSAGE_SEEN, NULL);
	mailbox_store(race.inbox,
		&(struct store_request){ .uids = &race.uid,
			.count = 1,
			.mode = STORE_ADD,
			.system_flags = MESSAGE_DELETED,
			.conditional = true,
			.unchanged_since = modseq },
		wish(&race));
	struct mailbox_op *refused = &race.ops[1];
	copy(&race, false);
	settle(&race);
	EXPECT_INT(1, refused->failed_count);
	free(refused->failed_uids);
	EXPECT_INT(MESSAGE_SEEN, system_flags(&race, 0));
	fixture_teardown(&race.f);
}

TEST(a_message_that_two_sessions_move_is_there_once)
{
	struct race race;
	begin(&race);
	copy(&race, true);
	copy(&race, true);
	settle(&race);
	EXPECT_INT(1, race.ops[0].count);
	EXPECT_INT(0, race.ops[1].count);
	EXPECT_INT(0, race.inbox->message_count);
	EXPECT_INT(1, race.archive->message_count);
	fixture_teardown(&race.f);
}

TEST(what_is_on_its_way_out_is_not_copied)
{
	struct race race;
	begin(&race);
	mailbox_expunge(race.inbox, &race.uid, 1, wish(&race));
	copy(&race, false);
	copy(&race, true);
	settle(&race);
	EXPECT_INT(0, race.inbox->message_count);
	EXPECT_INT(0, race.archive->message_count);
	fixture_teardown(&race.f);
}

TEST(what_is_on_its_way_out_of_inbox_is_not_renamed_with_it)
{
	struct race race;
	begin(&race);
	EXPECT_INT(0, fixture_deliver(&race.f, 2, 200));
	mailbox_expunge(race.inbox, &race.uid, 1, wish(&race));
	race.uid = race.inbox->messages[1].uid;
	store(&race, STORE_ADD, MESSAGE_SEEN, "new");
	mailbox_rename_folder(race.inbox, STR("Old"), wish(&race));
	settle(&race);
	race.archive = fixture_folder(&race.f, "Old");
	EXPECT_INT(0, race.inbox->message_count);
	EXPECT_INT(1, race.archive->message_count);
	EXPECT_INT(MESSAGE_SEEN, system_flags(&race, 0));
	EXPECT(has_keyword(&race, 0, "new"));
	fixture_teardown(&race.f);
}

TEST(a_move_to_a_folder_that_goes_takes_nothing_from_a_copy)
{
	struct race race;
	begin(&race);
	struct folder *junk = fixture_folder(&race.f, "Junk");
	mailbox_delete_folder(race.archive, wish(&race));
	struct mailbox_op *in_vain = wish(&race);
	mailbox_copy(race.inbox, &race.uid, 1, race.archive, true, &unlimited, in_vain);
	mailbox_copy(race.inbox, &race.uid, 1, junk, false, &unlimited, wish(&race));
	loop_run(race.f.loop);
	EXPECT_INT(0, race.ops[0].status);
	EXPECT(in_vain->status < 0);
	EXPECT_INT(0, race.ops[2].status);
	EXPECT_INT(1, race.inbox->message_count);
	EXPECT_INT(1, fixture_folder(&race.f, "Junk")->message_count);
	fixture_teardown(&race.f);
}
