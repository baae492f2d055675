#include "unit/node_fixture.h"
#include "unit/test.h"

#include "node/volume/unshipped.h"

/* What a copy that ends at some address lacks, by mailbox. */

static void look(struct fixture *f, struct unshipped *unshipped, uint64_t from)
{
	unshipped_init(
		unshipped, f->disk, f->log_directory, 7, from, volume_log_end(f->volume->log));
	while (unshipped_look(unshipped))
		;
	EXPECT_INT(0, unshipped->status);
	EXPECT_INT(unshipped->end, unshipped->next);
}

static const struct unshipped_mailbox *of(const struct unshipped *unshipped, uint64_t id)
{
	return map_get(unshipped->mailboxes, map_key_u64(&id));
}

static void run(struct fixture *f, struct mailbox_op *op)
{
	loop_run(f->loop);
	EXPECT_INT(0, op->status);
}

TEST(changes_above_an_address_are_counted_by_mailbox_and_kind)
{
	struct fixture f;
	struct unshipped unshipped;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100000));
	struct folder *inbox = fixture_folder(&f, "INBOX");
	uint32_t uid = inbox->messages[0].uid;
	uint64_t shipped = volume_log_end(f.volume->log);
	look(&f, &unshipped, shipped);
	EXPECT_INT(0, map_count(unshipped.mailboxes));
	unshipped_deinit(&unshipped);

	struct mailbox_op op;
	EXPECT_INT(0, fixture_deliver(&f, 2, 1000));
	EXPECT_INT(0, fixture_append(&f, inbox, NULL, 0, &op));
	EXPECT_INT(0, fixture_deliver(&f, OTHERS_ID, 200000));
	EXPECT_INT(0, fixture_store(&f, inbox, uid, MESSAGE_SEEN, "work"));
	EXPECT_INT(0, fixture_copy(&f, inbox, uid, inbox));
	EXPECT_INT(0, fixture_expunge(&f, inbox, uid));
	op = fixture_op(&f);
	mailbox_create_folder(fixture_mailbox(&f), STR("a/b"), SPECIAL_NONE, &op);
	run(&f, &op);
	op = fixture_op(&f);
	mailbox_subscribe(fixture_mailbox(&f), STR("a/b"), true, &op);
	run(&f, &op);

	look(&f, &unshipped, shipped);
	EXPECT_INT(2, map_count(unshipped.mailboxes));
	const struct unshipped_mailbox *mine = of(&unshipped, MAILBOX);
	EXPECT_INT(2, mine->messages);
	EXPECT_INT(1, mine->copies);
	EXPECT_INT(1, mine->flags);
	EXPECT_INT(1, mine->expunges);
	EXPECT_INT(2, mine->folders);
	EXPECT_INT(1, mine->subscriptions);
	EXPECT_INT(unshipped.end, mine->end_lsn);
	const struct unshipped_mailbox *other = of(&unshipped, MAILBOX + 1);
	EXPECT_INT(1, other->messages);
	EXPECT_INT(0, other->flags);
	unshipped_deinit(&unshipped);
	fixture_teardown(&f);
}

static void name_with_copy(struct fixture *f)
{
	struct volume_desired desired = f->volume->desired;
	desired.replica_count = 1;
	desired.replicas[0] = (struct volume_replica){ .node_id = 2, .slot = 2, .counted = true };
	volume_set_desired(f->volume, &desired);
}

TEST(what_a_copy_had_and_has_no_more_is_at_risk_again)
{
	struct fixture f;
	uint64_t ends[4];
	fixture_setup(&f);
	name_with_copy(&f);
	for (unsigned i = 0; i < 4; i++) {
		EXPECT_INT(0, fixture_deliver(&f, i + 1, 1000));
		ends[i] = volume_log_end(f.volume->log);
	}
	volume_acked(f.volume, 2, ends[3], true);
	EXPECT_INT(0, f.volume->at_risk_total);
	EXPECT_INT(ends[3], volume_shipped_end(f.volume));
	/* It was cut, and is filled again: what it lacks now. */
	volume_acked(f.volume, 2, ends[0], true);
	EXPECT(f.volume->listing != NULL);
	EXPECT_INT(0, fixture_deliver(&f, 5, 1000));
	while (f.volume->listing != NULL)
		EXPECT_INT(0, fixture_deliver(&f, 5, 1000));
	EXPECT_INT(3, f.volume->at_risk_total);
	EXPECT_INT(ends[1], f.volume->at_risk[f.volume->at_risk_first].lsn);
	EXPECT_INT(ends[0], volume_shipped_end(f.volume));
	volume_acked(f.volume, 2, ends[2], true);
	EXPECT_INT(1, f.volume->at_risk_total);
	/* It is another than was believed: nothing is anywhere else. */
	volume_diverged(f.volume, 2);
	while (f.volume->listing != NULL)
		EXPECT_INT(0, fixture_deliver(&f, 5, 1000));
	EXPECT(f.volume->at_risk_total >= 4);
	EXPECT_INT(0, volume_shipped_end(f.volume));
	fixture_teardown(&f);
}

TEST(a_long_log_is_looked_at_in_slices_and_over_segments)
{
	struct fixture f;
	struct unshipped unshipped;
	unsigned looks = 1;
	fixture_setup(&f);
	for (unsigned i = 1; i <= 100; i++)
		EXPECT_INT(0, fixture_deliver(&f, i, 200000));
	unshipped_init(&unshipped, f.disk, f.log_directory, 7, 0, volume_log_end(f.volume->log));
	while (unshipped_look(&unshipped))
		looks++;
	EXPECT(looks > 2);
	EXPECT_INT(0, unshipped.status);
	EXPECT_INT(100, of(&unshipped, MAILBOX)->messages);
	unshipped_deinit(&unshipped);

	/* What is past the bound is said in bytes. */
	unshipped_init(&unshipped, f.disk, f.log_directory, 7, 0, volume_log_end(f.volume->log));
	unshipped.bytes_left = 1 << 20;
	EXPECT(!unshipped_look(&unshipped));
	EXPECT(unshipped.status == 0 && unshipped.next < unshipped.end);
	EXPECT(of(&unshipped, MAILBOX)->messages < 100);
	unshipped_deinit(&unshipped);
	fixture_teardown(&f);
}
