#include "core/clock.h"
#include "node/volume/volume_internal.h"
#include "unit/node_fixture.h"
#include "unit/test.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Expunged messages that are kept: what the log and the index know of them, how they come back, and
 * when their room does. */

enum { DOMAIN = 5, DAYS = 3, DAY_S = 86400, LARGE = 60000 };

static void set_days(struct fixture *f, unsigned days)
{
	struct directory_keeping keeping = { DOMAIN, days };
	volume_set_keeping(f->volume, &keeping, days > 0, true);
	if (fixture_mailbox(f) != NULL)
		fixture_mailbox(f)->domain_id = DOMAIN;
}

static const struct kept_message *kept_of(struct fixture *f, uint64_t lsn)
{
	const struct kept_message *kept = NULL;
	int result = bodies_find_kept(&f->volume->index, lsn, MAILBOX,
		mailbox_mark_number(fixture_mailbox(f)), &kept);
	return result == 0 ? kept : NULL;
}

static const struct message *last_of(struct fixture *f, const char *name)
{
	struct folder *folder = fixture_folder(f, name);
	EXPECT_INT(0, folder_load(folder));
	return folder->message_count > 0 ? &folder->messages[folder->message_count - 1] : NULL;
}

/* A mailbox with a message in its INBOX, in a domain that keeps. */
static void begin(struct fixture *f)
{
	fixture_setup(f);
	EXPECT_INT(0, fixture_deliver(f, 1, 100));
	set_days(f, DAYS);
}

/* The body of a message of Archive that is \Flagged, \Deleted and $Key, and has been expunged. */
static uint64_t lose(struct fixture *f)
{
	struct mailbox_op op;
	struct folder *archive = fixture_folder(f, "Archive");
	EXPECT_INT(0, fixture_append(f, archive, "$Key", 0, &op));
	uint64_t lsn = last_of(f, "Archive")->body_lsn;
	EXPECT_INT(0, fixture_store(f, archive, op.first_uid, MESSAGE_DELETED, "$Key"));
	EXPECT_INT(0, fixture_expunge(f, archive, op.first_uid));
	return lsn;
}

static int recover(struct fixture *f, const char *folder, uint64_t lsn, uint64_t quota)
{
	struct recovered one = { .body_lsn = lsn };
	struct mailbox_op op = fixture_op(f);
	mailbox_recover(fixture_folder(f, folder), &one, 1,
		&(struct mailbox_policy){ DURABILITY_LOCAL, quota }, &op);
	loop_run(f->loop);
	return one.status;
}

/* A checkpoint, and a replay from the log's start, say the same as the index does now. */
static void expect_same_everywhere(struct fixture *f)
{
	uint64_t digest = index_digest(&f->volume->index);
	EXPECT(digest != 0);
	for (unsigned from_log = 0; from_log < 2; from_log++) {
		fixture_stop(f);
		if (from_log)
			EXPECT_INT(0, unlink(f->index_path));
		fixture_restart(f);
		EXPECT_INT(digest, index_digest(&f->volume->index));
	}
	set_days(f, DAYS);
}

TEST(a_change_says_when_its_messages_went_and_that_others_come_back)
{
	struct pool *pool = pool_create();
	struct action actions[] = { { .kind = ACTION_EXPUNGE,
					    .kept_at_s = INT64_C(5000000000),
					    .kept_domain = 7 },
		{ .kind = ACTION_ADD, .recovers = true }, { .kind = ACTION_EXPUNGE } };
	struct change change = { actions, array_length(actions) }, read;
	struct buf bytes = { 0 };
	change_encode(&change, &bytes);
	EXPECT(change_decode(buf_str(&bytes), pool, &read));
	EXPECT(read.actions[0].kept_at_s == INT64_C(5000000000));
	EXPECT(read.actions[0].kept_domain == 7 && !read.actions[0].recovers);
	EXPECT(read.actions[1].recovers && read.actions[1].kept_at_s == 0);
	EXPECT(read.actions[2].kept_at_s == 0 && !read.actions[2].recovers);
	buf_deinit(&bytes);
	pool_destroy(&pool);
}

TEST(what_a_domain_keeps_is_known_with_all_that_it_had_in_every_replay_alike)
{
	struct fixture f;
	begin(&f);
	uint64_t live = f.volume->index.bodies.live_bytes;
	int64_t now = clock_wall_us() / 1000000;
	uint64_t lsn = lose(&f);
	EXPECT_INT(live, f.volume->index.bodies.live_bytes);
	EXPECT(f.volume->index.bodies.kept_bytes > 500 && f.volume->index.bodies.dead_bytes == 0);
	for (unsigned again = 0; again < 2; again++) {
		const struct kept_message *kept = kept_of(&f, lsn);
		EXPECT(kept != NULL);
		struct str rest = kept_keywords(kept), keyword;
		EXPECT(str_equal(kept_folder(kept), STR("Archive")));
		EXPECT(kept_next_keyword(&rest, &keyword) && str_equal(keyword, STR("$Key")));
		EXPECT(!kept_next_keyword(&rest, &keyword));
		EXPECT_INT(MESSAGE_FLAGGED | MESSAGE_DELETED,
			kept->flags & MESSAGE_SYSTEM_FLAGS);
		EXPECT(kept->domain_id == DOMAIN && kept->size == 500);
		EXPECT(kept->expunged_s >= now && kept->expunged_s <= now + 60);
		EXPECT_INT(kept->expunged_s + DAYS * DAY_S, volume_kept_until(f.volume, kept));
		expect_same_everywhere(&f);
	}
	/* By a domain that keeps nothing, and by none, it is only dead. */
	const struct bodies *bodies = &f.volume->index.bodies;
	uint64_t kept_bytes = bodies->kept_bytes;
	set_days(&f, 0);
	EXPECT(kept_of(&f, lose(&f)) == NULL);
	EXPECT_INT(kept_bytes, bodies->kept_bytes);
	EXPECT(bodies->dead_bytes > 500);
	fixture_teardown(&f);
}

TEST(a_message_comes_back_once_with_its_flags_but_deleted_and_without_a_second_body)
{
	struct fixture f;
	begin(&f);
	uint64_t lsn = lose(&f);
	struct folder *archive = fixture_folder(&f, "Archive");
	uint32_t lost_uid = archive->uidnext - 1;
	EXPECT_INT(-EDQUOT, recover(&f, "Archive", lsn, 300));
	EXPECT_INT(0, recover(&f, "Archive", lsn, 0));
	const struct message *message = last_of(&f, "Archive");
	int bit = folder_find_keyword(archive, STR("$Key"));
	EXPECT(message->body_lsn == lsn && message->uid > lost_uid && message->size == 500);
	EXPECT_INT(MESSAGE_FLAGGED | 1ull << (MESSAGE_KEYWORD_SHIFT + bit), message->flags);
	EXPECT_INT(0, f.volume->index.bodies.kept_bytes);
	EXPECT(kept_of(&f, lsn) == NULL);
	EXPECT_INT(-ENOENT, recover(&f, "Archive", lsn, 0));
	EXPECT_INT(1, archive->message_count);
	expect_same_everywhere(&f);
	/* Two who ask at once, and one who asks twice. */
	EXPECT_INT(0, fixture_expunge(&f, fixture_folder(&f, "Archive"),
			      last_of(&f, "Archive")->uid));
	struct recovered first[2] = { { .body_lsn = lsn }, { .body_lsn = lsn } };
	struct recovered second = { .body_lsn = lsn };
	struct mailbox_op ops[2] = { fixture_op(&f), fixture_op(&f) };
	mailbox_recover(fixture_folder(&f, "Archive"), first, 2, &unlimited, &ops[0]);
	mailbox_recover(fixture_folder(&f, "Trash"), &second, 1, &unlimited, &ops[1]);
	loop_run(f.loop);
	while (second.status == -EINPROGRESS)
		loop_run(f.loop);
	EXPECT_INT(0, first[0].status);
	EXPECT_INT(-ENOENT, first[1].status);
	EXPECT_INT(-ENOENT, second.status);
	EXPECT_INT(1, fixture_folder(&f, "Archive")->message_count);
	EXPECT_INT(0, fixture_folder(&f, "Trash")->message_count);
	fixture_teardown(&f);
}

TEST(what_another_mailbox_or_folder_shows_is_kept_and_comes_back_all_the_same)
{
	struct fixture f;
	struct mailbox_op op;
	begin(&f);
	struct folder *archive = fixture_folder(&f, "Archive");
	EXPECT_INT(0, fixture_append(&f, archive, NULL, 0, &op));
	EXPECT_INT(0, fixture_copy(&f, archive, op.first_uid, fixture_folder(&f, "Sent")));
	uint64_t lsn = last_of(&f, "Sent")->body_lsn;
	EXPECT_INT(0, fixture_expunge(&f, archive, op.first_uid));
	EXPECT(kept_of(&f, lsn) != NULL);
	EXPECT_INT(0, f.volume->index.bodies.kept_bytes);
	/* A copy of what its mailbox shows again is nothing that is kept. */
	EXPECT_INT(0, fixture_copy(&f, fixture_folder(&f, "Sent"), last_of(&f, "Sent")->uid,
			      fixture_folder(&f, "Junk")));
	EXPECT(kept_of(&f, lsn) == NULL);
	/* A folder that goes takes its messages along: they are kept, the last to go with its
	 * folder's name. */
	EXPECT_INT(0, fixture_expunge(&f, fixture_folder(&f, "Junk"), last_of(&f, "Junk")->uid));
	op = fixture_op(&f);
	mailbox_delete_folder(fixture_folder(&f, "Sent"), &op);
	loop_run(f.loop);
	EXPECT_INT(0, op.status);
	EXPECT(str_equal(kept_folder(kept_of(&f, lsn)), STR("Sent")));
	EXPECT(f.volume->index.bodies.kept_bytes > 0);
	expect_same_everywhere(&f);
	EXPECT_INT(0, recover(&f, "Archive", lsn, 0));
	fixture_teardown(&f);
}

/* ---- room ---- */

/* A large message of INBOX that is expunged, in a segment that is not the last. */
static uint64_t lose_large(struct fixture *f)
{
	static unsigned id = 100;
	EXPECT_INT(0, fixture_deliver(f, id++, LARGE));
	const struct message *message = last_of(f, "INBOX");
	uint64_t lsn = message->body_lsn;
	EXPECT_INT(0, fixture_expunge(f, fixture_folder(f, "INBOX"), message->uid));
	for (unsigned i = 0; i < 6; i++)
		EXPECT_INT(0, fixture_deliver(f, id++, LARGE));
	return lsn;
}

static void on_moment(void *arg)
{
	loop_stop(arg);
}

static void run_for_ms(struct fixture *f, unsigned ms)
{
	struct timer *timer = timer_new(f->loop, on_moment, f->loop);
	timer_start(timer, ms);
	loop_run(f->loop);
	timer_destroy(&timer);
}

/* A few looks: a pass, a list, the record, the punch. */
static bool is_freed(struct fixture *f, uint64_t lsn)
{
	for (unsigned i = 0; i < 5 && !bodies_is_free(&f->volume->index, lsn); i++) {
		volume_look_at_space(f->volume);
		run_for_ms(f, 20);
	}
	return bodies_is_free(&f->volume->index, lsn);
}

TEST(room_comes_back_when_the_domain_keeps_no_longer_and_not_before)
{
	struct fixture f;
	begin(&f);
	uint64_t lsn = lose_large(&f);
	EXPECT(!is_freed(&f, lsn));
	set_days(&f, 1);
	EXPECT(!is_freed(&f, lsn));
	/* The copy on disk may be of before the domain kept anything. */
	f.volume->keeping.is_fresh = false;
	volume_set_keeping(f.volume, NULL, 0, false);
	EXPECT(!is_freed(&f, lsn));
	set_days(&f, 0);
	EXPECT(is_freed(&f, lsn));
	EXPECT_INT(0, f.volume->index.bodies.kept_bytes);
	EXPECT_INT(0, f.volume->index.bodies.kept_range_count);
	EXPECT_INT(-ENOENT, recover(&f, "INBOX", lsn, 0));
	set_days(&f, DAYS);
	expect_same_everywhere(&f);
	fixture_teardown(&f);
}

TEST(room_comes_back_of_a_mailbox_that_is_purged)
{
	struct fixture f;
	begin(&f);
	uint64_t lsn = lose_large(&f);
	EXPECT(!is_freed(&f, lsn));
	struct action purge = { .kind = ACTION_PURGE,
		.mailbox_id = MAILBOX,
		.mark = str_of(fixture_mailbox(&f)->mark, CHANGE_MARK_LENGTH) };
	struct change change = { &purge, 1 };
	EXPECT_INT(0, index_apply(&f.volume->index, &change, 0, NULL));
	EXPECT(is_freed(&f, lsn));
	EXPECT_INT(0, f.volume->index.bodies.kept_bytes);
	EXPECT_INT(0, f.volume->index.bodies.kept_range_count);
	fixture_teardown(&f);
}

TEST(what_is_shown_again_before_it_is_said_free_stays_and_is_kept_anew_when_it_goes)
{
	struct fixture f;
	begin(&f);
	uint64_t lsn = lose_large(&f);
	set_days(&f, 0);
	/* It is on the list of what is to be free. */
	for (unsigned i = 0; i < 3 && f.volume->space.dead_count == 0; i++)
		volume_look_at_space(f.volume);
	EXPECT_INT(1, f.volume->space.dead_count);
	size_t count = f.volume->space.dead_count;
	set_days(&f, DAYS);
	EXPECT_INT(0, f.volume->space.dead_count);
	EXPECT_INT(0, recover(&f, "INBOX", lsn, 0));
	EXPECT(!is_freed(&f, lsn));
	EXPECT_INT(0, fixture_expunge(&f, fixture_folder(&f, "INBOX"), last_of(&f, "INBOX")->uid));
	/* The same list, had nobody looked at it since. */
	f.volume->space.dead = mem_alloc(count * sizeof(*f.volume->space.dead));
	f.volume->space.dead[0] = lsn;
	f.volume->space.dead_count = count;
	f.volume->space.revived = f.volume->index.bodies.revived - 1;
	EXPECT(!is_freed(&f, lsn));
	EXPECT_INT(0, recover(&f, "INBOX", lsn, 0));
	fixture_teardown(&f);
}

struct freeing {
	struct pending_change pending;
	struct action action;
	bool is_done;
};

static void on_freed(struct pending_change *pending, int status, bool at_risk)
{
	(void)at_risk;
	EXPECT_INT(0, status);
	container_of(pending, struct freeing, pending)->is_done = true;
}

TEST(of_a_recovery_and_a_word_that_the_body_is_free_the_first_in_the_log_wins)
{
	for (unsigned frees_first = 0; frees_first < 2; frees_first++) {
		struct fixture f;
		begin(&f);
		uint64_t lsn = lose(&f);
		struct freeing freeing = { .action = { .kind = ACTION_FREE,
						   .bodies = &lsn,
						   .body_count = 1 } };
		freeing.pending = (struct pending_change){ .pool = pool_create(),
			.change = { &freeing.action, 1 },
			.done = on_freed,
			.durability = DURABILITY_LOCAL };
		struct recovered one = { .body_lsn = lsn };
		struct mailbox_op op = fixture_op(&f);
		if (frees_first)
			volume_submit(f.volume, &freeing.pending, STR(""), STR(""));
		mailbox_recover(fixture_folder(&f, "Archive"), &one, 1, &unlimited, &op);
		if (!frees_first)
			volume_submit(f.volume, &freeing.pending, STR(""), STR(""));
		loop_run(f.loop);
		run_for_ms(&f, 20);
		EXPECT(freeing.is_done);
		EXPECT_INT(frees_first ? -ENOENT : 0, one.status);
		EXPECT_INT(!frees_first, fixture_folder(&f, "Archive")->message_count);
		EXPECT_INT(frees_first, bodies_is_free(&f.volume->index, lsn));
		fixture_teardown(&f);
	}
}
