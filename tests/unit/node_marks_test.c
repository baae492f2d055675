#include "core/loop.h"
#include "unit/node_fixture.h"
#include "unit/test.h"

#include <errno.h>
#include <unistd.h>

/* Which mailbox is meant: the same id with another mark is somebody else's. */

struct attach {
	struct mailbox_session session;
	struct mailbox_op op;
};

static void on_session_change(struct mailbox_session *session)
{
	(void)session;
}

static void on_session_gone(struct mailbox_session *session, bool folder_only)
{
	(void)session;
	(void)folder_only;
}

/* What an opening with the fixture's mark is answered. */
static int attach(struct fixture *f)
{
	struct attach attach = { .session = { .on_change = on_session_change,
					 .on_gone = on_session_gone },
		.op = fixture_op(f) };
	mailbox_attach(f->volume, &f->who, &attach.session, &attach.op);
	loop_run(f->loop);
	EXPECT_INT(attach.op.status == 0, attach.session.mailbox != NULL);
	mailbox_detach(&attach.session);
	return attach.op.status;
}

static void use_mark(struct fixture *f, const char *mark)
{
	memset(f->who.mark, mark[0], sizeof(f->who.mark));
	f->who.address = str_from(mark);
}

/* One message of Alice's; Bob has her number and gets nothing. */
static void expect_alices(struct fixture *f)
{
	use_mark(f, "bob");
	EXPECT_INT(-EKEYREJECTED, fixture_deliver(f, 100, 100));
	/* Not even what had been delivered to Alice counts as delivered to Bob. */
	EXPECT_INT(-EKEYREJECTED, fixture_deliver(f, 1, 100));
	EXPECT_INT(-EKEYREJECTED, attach(f));
	EXPECT(fixture_mailbox(f)->told_another);
	EXPECT_INT(1, fixture_folder(f, "INBOX")->message_count);
	use_mark(f, "alice");
	EXPECT_INT(0, attach(f));
	EXPECT(!fixture_mailbox(f)->told_another);
	EXPECT(str_equal(STR("alice"), fixture_mailbox(f)->made_for));
	EXPECT_INT(MAILBOX, f->volume->index.highest_mailbox_id);
}

TEST(a_mailbox_is_served_to_its_own_mark_alone_over_restarts_and_replays)
{
	struct fixture f;
	fixture_setup(&f);
	use_mark(&f, "alice");
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	expect_alices(&f);
	uint64_t digest = index_digest(&f.volume->index);
	fixture_stop(&f);
	fixture_restart(&f); /* from the checkpoint */
	EXPECT_INT(digest, index_digest(&f.volume->index));
	expect_alices(&f);
	fixture_stop(&f);
	EXPECT_INT(0, unlink(f.index_path));
	fixture_restart(&f); /* from the log */
	EXPECT_INT(digest, index_digest(&f.volume->index));
	expect_alices(&f);
	fixture_teardown(&f);
}

TEST(an_opening_makes_the_mailbox_for_its_mark)
{
	struct fixture f;
	fixture_setup(&f);
	use_mark(&f, "alice");
	EXPECT_INT(0, attach(&f));
	use_mark(&f, "bob");
	EXPECT_INT(-EKEYREJECTED, attach(&f));
	EXPECT_INT(-EKEYREJECTED, fixture_deliver(&f, 1, 100));
	fixture_teardown(&f);
}

TEST(a_mailbox_on_its_way_to_the_log_is_nobody_elses)
{
	struct fixture f;
	struct one_delivery first, second, third;
	unsigned left = 0;
	fixture_setup(&f);
	use_mark(&f, "alice");
	fixture_begin_delivery(&f, &first, 1, 100, &left);
	use_mark(&f, "bob");
	fixture_begin_delivery(&f, &second, 2, 100, &left);
	use_mark(&f, "alice");
	fixture_begin_delivery(&f, &third, 3, 100, &left);
	loop_run(f.loop);
	EXPECT_INT(0, first.target.status);
	EXPECT_INT(-EKEYREJECTED, second.target.status);
	EXPECT_INT(0, third.target.status);
	EXPECT_INT(2, fixture_folder(&f, "INBOX")->message_count);
	fixture_teardown(&f);
}

TEST(a_mailbox_that_never_came_to_be_takes_the_next_mark)
{
	struct fixture f;
	fixture_setup(&f);
	use_mark(&f, "alice");
	EXPECT_INT(-EFBIG, fixture_deliver(&f, 1, TOO_LONG));
	EXPECT_INT(0, f.volume->index.highest_mailbox_id);
	use_mark(&f, "bob");
	EXPECT_INT(0, fixture_deliver(&f, 2, 100));
	EXPECT_INT(0, attach(&f));
	fixture_teardown(&f);
}

TEST(folders_that_make_a_mailbox_without_a_mark_contradict_the_log)
{
	struct index index;
	struct action_folder inbox = { 1, STR("INBOX"), 1, 0 };
	struct action action = { .kind = ACTION_FOLDERS,
		.mailbox_id = 1,
		.modseq = 1,
		.folders = &inbox,
		.folder_count = 1 };
	struct change change = { &action, 1 };
	index_init(&index, NULL, 7, "/nonexistent");
	EXPECT_INT(-EUCLEAN, index_apply(&index, &change, 4096, NULL));
	EXPECT(index.is_broken);
	index_deinit(&index);
}

/* ---- who may go on ---- */

struct watched {
	struct mailbox_session session;
	struct mailbox_op op;
	const char *reason;
};

static void on_denied(struct mailbox_session *session, const char *reason)
{
	container_of(session, struct watched, session)->reason = reason;
	EXPECT(session->mailbox == NULL);
}

static void watch(struct fixture *f, struct watched *watched, uint64_t access)
{
	*watched = (struct watched){ .session = { .on_change = on_session_change,
					     .on_gone = on_session_gone,
					     .on_denied = on_denied,
					     .access = access },
		.op = fixture_op(f) };
	mailbox_attach(f->volume, &f->who, &watched->session, &watched->op);
}

TEST(sessions_end_that_began_with_another_access_and_no_others)
{
	struct fixture f;
	struct watched before, after;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	watch(&f, &before, 7);
	loop_run(f.loop);
	watch(&f, &after, 8);
	loop_run(f.loop);
	mailbox_tell_access(fixture_mailbox(&f), 8, "over");
	EXPECT(before.reason != NULL && strcmp(before.reason, "over") == 0);
	EXPECT(after.reason == NULL && after.session.mailbox != NULL);
	mailbox_tell_access(fixture_mailbox(&f), 8, "over");
	EXPECT(after.reason == NULL);
	mailbox_detach(&after.session);
	fixture_teardown(&f);
}

TEST(a_session_whose_access_is_over_while_its_mailbox_is_made_does_not_begin)
{
	struct fixture f;
	struct watched late;
	fixture_setup(&f);
	watch(&f, &late, 7);
	mailbox_tell_access(fixture_mailbox(&f), 8, "over");
	loop_run(f.loop);
	EXPECT_INT(-EACCES, late.op.status);
	EXPECT(late.session.mailbox == NULL);
	fixture_teardown(&f);
}
