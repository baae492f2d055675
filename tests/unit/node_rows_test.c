#include "unit/node_fixture.h"
#include "unit/test.h"

#include "node/scrub/rows.h"

#include <stdlib.h>

/* The index beside its log: node/scrub/rows.h. */

/* Mail that came in every way, some of it gone again. */
static void fill(struct fixture *f)
{
	struct mailbox_op op;
	fixture_setup(f);
	for (unsigned i = 1; i <= 40; i++)
		EXPECT_INT(0, fixture_deliver(f, i, i * 3000 % 90000 + 10));
	EXPECT_INT(0, fixture_deliver(f, OTHERS_ID, 20000));
	struct folder *inbox = fixture_folder(f, "INBOX");
	EXPECT_INT(0, fixture_append(f, inbox, "work", 0, &op));
	EXPECT_INT(0, fixture_copy(f, inbox, inbox->messages[3].uid, inbox));
	EXPECT_INT(0, fixture_expunge(f, inbox, inbox->messages[3].uid));
	EXPECT_INT(0, fixture_expunge(f, inbox, inbox->messages[7].uid));
}

/* A pass over all of the log. */
static struct rows_faults compare_bodies(struct fixture *f)
{
	struct rows_faults faults = { 0 };
	struct walk walk = { .disk = f->disk, .directory = f->log_directory, .volume = 7 };
	uint64_t end = volume_log_end(f->volume->log);
	walk.messages = mem_alloc(WALK_MESSAGES_MAX * sizeof(*walk.messages));
	walk_rewind(&walk);
	while (walk.lsn < end) {
		uint64_t from = walk.lsn;
		EXPECT_INT(0, walk_step(&walk, from + (100 << 10), end));
		EXPECT_INT(0, walk.damage_count);
		EXPECT_INT(0, rows_compare_bodies(&f->volume->index, &walk, from, &faults));
		if (walk.lsn == from)
			break;
	}
	free(walk.messages);
	return faults;
}

static struct rows_faults compare_rows(struct fixture *f)
{
	struct rows_faults faults = { 0 };
	struct rows rows = { 0 };
	int result;
	while ((result = rows_compare_next(&rows, &f->volume->index, &faults)) > 0)
		;
	EXPECT_INT(0, result);
	rows_deinit(&rows);
	return faults;
}

TEST(an_index_agrees_with_its_log_also_where_it_is_not_loaded)
{
	struct fixture f;
	fill(&f);
	EXPECT_INT(0, compare_bodies(&f).count);
	EXPECT_INT(0, compare_rows(&f).count);
	fixture_stop(&f);
	fixture_restart(&f);
	const struct folder *inbox = fixture_folder(&f, "INBOX");
	EXPECT(inbox->messages == NULL && inbox->message_count == 40);
	EXPECT_INT(0, compare_bodies(&f).count);
	EXPECT_INT(0, compare_rows(&f).count);
	/* And it stays so. */
	EXPECT(inbox->messages == NULL);
	fixture_teardown(&f);
}

TEST(a_row_that_shows_another_length_or_no_body_is_a_fault)
{
	struct fixture f;
	fill(&f);
	struct folder *inbox = fixture_folder(&f, "INBOX");
	struct message *message = &inbox->messages[5];
	struct message before = *message;
	message->size += 16;
	EXPECT_INT(1, compare_rows(&f).count);
	*message = before;
	message->body_lsn += 8;
	struct rows_faults faults = compare_rows(&f);
	EXPECT_INT(1, faults.count);
	EXPECT_INT(before.body_lsn + 8, faults.first_lsn);
	*message = before;
	EXPECT_INT(0, compare_rows(&f).count);
	fixture_teardown(&f);
}

TEST(a_body_that_is_not_in_the_log_is_a_fault)
{
	struct fixture f;
	fill(&f);
	struct index *index = &f.volume->index;
	uint64_t lsn = fixture_folder(&f, "INBOX")->messages[5].body_lsn;
	/* Between two records there is none. */
	EXPECT_INT(0, bodies_store(index, lsn + 16, 48, MAILBOX));
	EXPECT_INT(1, compare_bodies(&f).count);
	EXPECT_INT(0, bodies_release(index, lsn + 16, NULL));
	EXPECT_INT(0, compare_bodies(&f).count);
	fixture_teardown(&f);
}

TEST(those_who_show_a_body_in_a_range_are_counted)
{
	struct fixture f;
	fill(&f);
	struct index *index = &f.volume->index;
	struct folder *inbox = fixture_folder(&f, "INBOX");
	uint64_t lsn = inbox->messages[5].body_lsn;
	EXPECT_INT(1, bodies_count_shown(index, lsn, lsn + 1));
	EXPECT_INT(0, bodies_count_shown(index, lsn + 1, lsn + 2));
	EXPECT_INT(0, fixture_copy(&f, inbox, inbox->messages[5].uid, inbox));
	EXPECT_INT(2, bodies_count_shown(index, lsn, lsn + 1));
	/* 40 deliveries and one of another mailbox, an append; two copies, two expunged. */
	EXPECT_INT(42, bodies_count_shown(index, 0, volume_log_end(f.volume->log)));
	fixture_teardown(&f);
}
