#include "core/loop.h"
#include "core/store.h"
#include "core/timer.h"
#include "unit/node_fixture.h"
#include "unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* What becomes of an index whose store is damaged, or whose log contradicts it. */

struct row {
	struct buf key, value;
};

static struct row rows[64];
static unsigned row_count;

static int keep_row(void *arg, struct str key, struct str value)
{
	(void)arg;
	CHECK(row_count < array_length(rows));
	buf_append_str(&rows[row_count].key, key);
	buf_append_str(&rows[row_count++].value, value);
	return 0;
}

static void read_rows(struct fixture *f)
{
	struct store *store;
	struct error error;
	for (unsigned i = 0; i < row_count; i++) {
		buf_deinit(&rows[i].key);
		buf_deinit(&rows[i].value);
	}
	row_count = 0;
	EXPECT_INT(0, store_open(f->index_path, &store, &error));
	EXPECT_INT(0, store_each(store, STR(""), keep_row, NULL));
	store_close(&store);
}

/* One row of the store becomes another, or goes. */
static void change_row(struct fixture *f, struct str key, struct str value)
{
	struct store *store;
	struct error error;
	EXPECT_INT(0, store_open(f->index_path, &store, &error));
	EXPECT_INT(0, store_begin(store));
	EXPECT_INT(0, value.length > 0 ? store_put(store, key, value) : store_remove(store, key));
	EXPECT_INT(0, store_commit(store));
	store_close(&store);
}

/* A mailbox with messages in two folders, keywords and a subscription. Returns the digest; the
 * volume is stopped. */
static uint64_t make_mail(struct fixture *f)
{
	struct mailbox_op op;
	for (unsigned id = 1; id <= 3; id++)
		EXPECT_INT(0, fixture_deliver(f, id, 100 * id));
	struct folder *inbox = fixture_folder(f, "INBOX");
	EXPECT_INT(0, fixture_append(f, inbox, "$Key", 0, &op));
	EXPECT_INT(0, fixture_copy(f, inbox, op.first_uid, fixture_folder(f, "Archive")));
	/* One that was expunged and is kept. */
	volume_set_keeping(f->volume, &(struct directory_keeping){ 5, 30 }, 1, true);
	fixture_mailbox(f)->domain_id = 5;
	EXPECT_INT(0, fixture_append(f, inbox, "$Other", 0, &op));
	EXPECT_INT(0, fixture_expunge(f, inbox, op.first_uid));
	EXPECT(f->volume->index.bodies.kept_bytes > 0);
	uint64_t digest = index_digest(&f->volume->index);
	fixture_stop(f);
	read_rows(f);
	return digest;
}

/* Reads everything, which may find damage; the volume comes back with what the log says. */
static void expect_healed(struct fixture *f, uint64_t digest)
{
	fixture_restart(f);
	index_digest(&f->volume->index);
	struct mailbox_op op = fixture_op(f);
	if (f->volume->index.is_broken) {
		/* Nothing is given out of it any more. */
		mailbox_subscribe(fixture_mailbox(f), STR("x"), true, &op);
		loop_run(f->loop);
		EXPECT_INT(-EROFS, op.status);
		EXPECT(fixture_await(f, VOLUME_PRIMARY));
	}
	EXPECT_INT(digest, index_digest(&f->volume->index));
	EXPECT(!f->volume->index.is_broken);
	fixture_stop(f);
}

TEST(a_flipped_bit_in_any_row_of_the_index_is_noticed_and_the_log_replayed)
{
	struct fixture f;
	fixture_setup(&f);
	uint64_t digest = make_mail(&f);
	EXPECT(row_count >= 6); /* volume, dedupe, mailbox, folders, chunks */
	unsigned count = row_count;
	for (unsigned i = 0; i < count; i++) {
		char name[32];
		snprintf(name, sizeof(name), "row %u, kind %c", i, *buf_str(&rows[i].key).bytes);
		test_row(name);
		struct str key = buf_str(&rows[i].key), value = buf_str(&rows[i].value);
		size_t at = (i * 7 + 3) % value.length;
		((char *)(uintptr_t)value.bytes)[at] ^= (char)(1 << i % 8);
		change_row(&f, key, value);
		expect_healed(&f, digest);
		read_rows(&f);
		EXPECT_INT(count, row_count);
	}
	test_row(NULL);
	fixture_teardown(&f);
}

TEST(a_row_of_the_index_that_is_lost_or_another_folders_is_noticed)
{
	struct fixture f;
	fixture_setup(&f);
	uint64_t digest = make_mail(&f);
	unsigned count = row_count;
	for (unsigned i = 0; i < count; i++) {
		char name[32];
		snprintf(name, sizeof(name), "row %u, kind %c", i, *buf_str(&rows[i].key).bytes);
		test_row(name);
		change_row(&f, buf_str(&rows[i].key), STR(""));
		expect_healed(&f, digest);
		read_rows(&f);
		EXPECT_INT(count, row_count);
	}
	unsigned first = 0;
	while (*buf_str(&rows[first].key).bytes != 'c')
		first++;
	test_row("the chunk of another folder");
	change_row(&f, buf_str(&rows[first].key), buf_str(&rows[first + 1].value));
	expect_healed(&f, digest);
	test_row(NULL);
	fixture_teardown(&f);
}

static void overwrite(struct fixture *f, long from, long to)
{
	FILE *file = fopen(f->index_path, "r+");
	EXPECT(file != NULL && fseek(file, from, SEEK_SET) == 0);
	for (long at = from; at < to; at++)
		fputc(0xa5, file);
	EXPECT_INT(0, fclose(file));
}

TEST(an_index_file_that_is_garbage_is_set_aside)
{
	static const struct {
		const char *name;
		long from, to;
	} parts[] = { { "header", 0, 100 }, { "behind the header", 100, 4096 },
		{ "second page", 4096, 8192 } };
	struct fixture f;
	fixture_setup(&f);
	uint64_t digest = make_mail(&f);
	for (size_t i = 0; i < array_length(parts); i++) {
		test_row(parts[i].name);
		overwrite(&f, parts[i].from, parts[i].to);
		expect_healed(&f, digest);
		/* What was made anew has been saved. */
		read_rows(&f);
		EXPECT(row_count > 6);
	}
	test_row(NULL);
	fixture_teardown(&f);
}

TEST(an_index_whose_store_is_damaged_while_it_serves_is_made_anew)
{
	struct fixture f;
	struct error error;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	EXPECT_INT(0, index_checkpoint(&f.volume->index));
	store_close(&f.volume->index.store);
	overwrite(&f, 4096, 8192);
	EXPECT_INT(0, store_open(f.index_path, &f.volume->index.store, &error));
	EXPECT_INT(0, fixture_deliver(&f, 2, 100));
	uint64_t digest = index_digest(&f.volume->index);
	EXPECT_INT(-EUCLEAN, index_checkpoint(&f.volume->index));
	EXPECT(fixture_await(&f, VOLUME_FENCED));
	EXPECT(fixture_await(&f, VOLUME_PRIMARY));
	EXPECT_INT(digest, index_digest(&f.volume->index));
	EXPECT_INT(0, index_checkpoint(&f.volume->index));
	fixture_stop(&f);
	fixture_restart(&f);
	EXPECT_INT(digest, index_digest(&f.volume->index));
	fixture_teardown(&f);
}

/* ---- applying ---- */

struct crafted {
	struct pending_change pending;
	struct fixture *f;
	int status;
};

static void on_crafted(struct pending_change *pending, int status, bool at_risk)
{
	struct crafted *crafted = container_of(pending, struct crafted, pending);
	(void)at_risk;
	crafted->status = status;
	loop_stop(crafted->f->loop);
}

/* A change of one action, which is to be filled; then it is submitted. */
static struct action *craft(struct fixture *f, struct crafted *crafted)
{
	*crafted = (struct crafted){ .f = f };
	struct pending_change *pending = &crafted->pending;
	pending->pool = pool_create();
	pending->done = on_crafted;
	pending->durability = DURABILITY_LOCAL;
	pending->change.action_count = 1;
	pending->change.actions = pool_alloc(pending->pool, sizeof(struct action));
	return pending->change.actions;
}

static void submit(struct fixture *f, struct crafted *crafted)
{
	volume_submit(f->volume, &crafted->pending, STR(""), STR(""));
	loop_run(f->loop);
}

/* A message under a uid that is taken: no node writes such a change. */
static void write_contradiction(struct fixture *f, struct crafted *crafted)
{
	struct folder *inbox = fixture_folder(f, "INBOX");
	struct action *action = craft(f, crafted);
	*action = (struct action){ .kind = ACTION_ADD,
		.mailbox_id = MAILBOX,
		.modseq = volume_next_modseq(f->volume, fixture_mailbox(f)),
		.folder_id = inbox->id,
		.added_count = 1 };
	action->added = pool_alloc(crafted->pending.pool, sizeof(*action->added));
	action->added[0] = (struct added_message){ .uid = 1, .size = 1, .body_lsn = 1 };
	submit(f, crafted);
}

struct fence {
	struct end_wait wait;
	bool is_answered;
	int status;
	uint64_t end;
};

static void on_fenced(struct end_wait *wait, int status, uint64_t end)
{
	struct fence *fence = container_of(wait, struct fence, wait);
	fence->is_answered = true;
	fence->status = status;
	fence->end = end;
}

static void on_time(void *arg)
{
	loop_stop(arg);
}

static void run_for_ms(struct fixture *f, uint64_t ms)
{
	struct timer *timer = timer_new(f->loop, on_time, f->loop);
	timer_start(timer, ms);
	loop_run(f->loop);
	timer_destroy(&timer);
}

TEST(a_volume_whose_index_breaks_goes_on_but_not_over_a_fence_that_was_asked_for)
{
	struct fixture f;
	struct fence fence = { .wait.done = on_fenced };
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	index_break(&f.volume->index, "test");
	EXPECT(fixture_await(&f, VOLUME_FENCED));
	EXPECT(fixture_await(&f, VOLUME_PRIMARY));
	EXPECT_INT(0, fixture_deliver(&f, 2, 100));
	uint64_t end = volume_log_end(f.volume->log);
	index_break(&f.volume->index, "test");
	volume_fence(f.volume, true, &fence.wait);
	run_for_ms(&f, 300);
	EXPECT(fence.is_answered);
	EXPECT_INT(0, fence.status);
	EXPECT_INT(VOLUME_FENCED, f.volume->state);
	EXPECT(volume_log_ends_fenced(f.volume->log) && fence.end > end);
	fixture_teardown(&f);
}

TEST(a_fence_that_a_new_reign_ends_is_not_answered_as_standing_still)
{
	struct fixture f;
	struct fence fence = { .wait.done = on_fenced };
	struct volume_desired next = { .primary = true, .epoch = 2 };
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	volume_fence(f.volume, true, &fence.wait);
	memcpy(next.reign, "reign two.......", sizeof(next.reign));
	volume_set_desired(f.volume, &next);
	run_for_ms(&f, 300);
	EXPECT(fence.is_answered);
	EXPECT_INT(-ESTALE, fence.status);
	EXPECT_INT(VOLUME_PRIMARY, f.volume->state);
	fixture_teardown(&f);
}

TEST(a_log_that_contradicts_itself_makes_the_volume_unusable_and_is_noted_nowhere_as_applied)
{
	struct fixture f;
	struct crafted crafted;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	EXPECT_INT(0, index_checkpoint(&f.volume->index));
	uint64_t applied = f.volume->index.applied_lsn;
	write_contradiction(&f, &crafted);
	EXPECT_INT(-EROFS, crafted.status);
	EXPECT(fixture_await(&f, VOLUME_REPLICA));
	EXPECT_INT(applied, f.volume->index.applied_lsn);
	EXPECT(f.volume->contradicts_log);
	EXPECT_INT(-EUCLEAN, index_checkpoint(&f.volume->index));
	/* It is tried again, later and later. */
	uint64_t first = f.volume->retry_ms;
	EXPECT(fixture_await(&f, VOLUME_OPENING));
	EXPECT(fixture_await(&f, VOLUME_REPLICA));
	EXPECT(first > 0 && f.volume->retry_ms > first);
	volume_destroy(&f.volume);
	fixture_teardown(&f);
}

static void purge(struct fixture *f, const uint8_t mark[CHANGE_MARK_LENGTH], int status)
{
	struct crafted crafted;
	struct action *action = craft(f, &crafted);
	*action = (struct action){ .kind = ACTION_PURGE,
		.mailbox_id = MAILBOX,
		.mark = str_of(mark, CHANGE_MARK_LENGTH) };
	submit(f, &crafted);
	EXPECT_INT(status, crafted.status);
}

TEST(a_mailbox_that_is_purged_leaves_its_number_and_dead_bodies)
{
	struct fixture f;
	uint8_t mark[CHANGE_MARK_LENGTH], other[CHANGE_MARK_LENGTH] = "another mailbox";
	fixture_setup(&f);
	(void)make_mail(&f);
	fixture_restart(&f);
	const struct index *index = &f.volume->index;
	uint64_t live = index->bodies.live_bytes, highest = index->highest_mailbox_id;
	memcpy(mark, fixture_mailbox(&f)->mark, sizeof(mark));
	EXPECT(live > 0);
	purge(&f, other, 0);
	EXPECT_INT(live, index->bodies.live_bytes);
	purge(&f, mark, 0);
	EXPECT(index_find_mailbox(index, MAILBOX) == NULL);
	EXPECT_INT(0, index->message_count);
	EXPECT_INT(0, index->folder_count);
	EXPECT_INT(0, index->bodies.live_bytes);
	EXPECT_INT(live, index->bodies.dead_bytes);
	purge(&f, mark, 0);
	/* A checkpoint, and a replay from the start, say the same. */
	uint64_t digest = index_digest(&f.volume->index);
	for (unsigned from_log = 0; from_log < 2; from_log++) {
		fixture_stop(&f);
		if (from_log)
			EXPECT_INT(0, unlink(f.index_path));
		fixture_restart(&f);
		EXPECT_INT(digest, index_digest(&f.volume->index));
		EXPECT_INT(0, f.volume->index.folder_count);
		EXPECT_INT(highest, f.volume->index.highest_mailbox_id);
	}
	/* Whoever has the number next begins with nothing. */
	EXPECT_INT(0, fixture_deliver(&f, 77, 100));
	EXPECT_INT(1, f.volume->index.message_count);
	fixture_teardown(&f);
}
