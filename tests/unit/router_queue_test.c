/* The queue's log on a real disk: what comes back, what is moved, and what a crash leaves. */

#include "core/clock.h"
#include "core/log.h"
#include "core/timer.h"
#include "router/queue_item.h"
#include "unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

/* Seven bodies fill a segment. */
enum { BODY_LENGTH = 28 << 10, MORE_THAN_ONE_SEGMENT = 8, MORE_THAN_THREE_SEGMENTS = 24 };

struct fixture {
	struct config config;
	struct router router;
	struct queue *queue;
	struct bytes *body;
	struct timer *timer;
	char directory[64];
	int status;
	unsigned waiting;
};

static void on_timer(void *arg)
{
	struct fixture *f = arg;
	loop_stop(f->router.loop);
}

static void open_queue(struct fixture *f)
{
	struct error error;
	EXPECT_INT(0, queue_open(&f->router, &f->queue, &error));
}

static void setup(struct fixture *f)
{
	static char nothing;
	char path[128];

	*f = (struct fixture){ 0 };
	snprintf(f->directory, sizeof(f->directory), "/tmp/pando-queue-XXXXXX");
	EXPECT(mkdtemp(f->directory) != NULL);
	snprintf(path, sizeof(path), "%s/none.db", f->directory);
	f->config.data_dir = f->directory;
	f->config.directory = (char *)"standalone";
	f->config.queue_retry_ms_min = 1000;
	f->config.queue_retry_ms_max = 900000;
	f->config.site = f->config.node = f->config.hostname = &nothing;
	f->router.config = &f->config;
	f->router.loop = loop_create();
	f->timer = timer_new(f->router.loop, on_timer, f);
	/* Nothing is loaded, so the queue delivers nothing: the test says what is finished. */
	f->router.directory = directory_open(f->router.loop, &f->config, path, NULL, NULL);
	EXPECT_INT(0, disk_make_directory(f->directory));
	snprintf(path, sizeof(path), "%s/router", f->directory);
	EXPECT_INT(0, disk_make_directory(path));
	f->body = bytes_create(BODY_LENGTH);
	memset(f->body->data, 'x', BODY_LENGTH);
	open_queue(f);
}

static void teardown(struct fixture *f)
{
	char command[128];

	queue_close(&f->queue);
	bytes_unref(&f->body);
	timer_destroy(&f->timer);
	directory_close(&f->router.directory);
	loop_destroy(&f->router.loop);
	snprintf(command, sizeof(command), "rm -r %s", f->directory);
	EXPECT_INT(0, system(command));
}

static void on_added(void *arg, int status)
{
	struct fixture *f = arg;
	f->status |= status;
	if (--f->waiting == 0)
		loop_stop(f->router.loop);
}

/* Messages of a megabyte with the delivery ids first, first + 1, ... The first status that is not
 * 0 ends it. */
static int try_add(struct fixture *f, unsigned first, unsigned count)
{
	const struct queue_recipient recipients[] = {
		{ .address = "a@b", .original = "a@b", .orcpt = "", .reply = "" },
		{ .address = "c@d", .original = "c@d", .orcpt = "", .reply = "" },
	};

	f->status = 0;
	for (unsigned i = 0; i < count && f->status == 0; i++) {
		struct queue_entry entry = {
			.delivery_id = { (uint8_t)((first + i) >> 8), (uint8_t)(first + i) },
			.accepted_wall_us = clock_wall_us(),
			.sender = "s@b",
			.envid = "",
			.body = f->body,
			.recipients = recipients,
			.recipient_count = 2,
		};
		f->waiting = 1;
		queue_add(f->queue, &entry, on_added, f);
		loop_run(f->router.loop);
	}
	return f->status;
}

static void add(struct fixture *f, unsigned first, unsigned count)
{
	EXPECT_INT(0, try_add(f, first, count));
}

static struct queue_item *find(struct fixture *f, unsigned number)
{
	char id[33];
	snprintf(id, sizeof(id), "%04x%028x", number, 0);
	return queue_find(f->queue, str_from(id));
}

static void on_changed(struct queue_write *write)
{
	struct fixture *f = write->arg;
	f->status |= write->append.status;
	loop_stop(f->router.loop);
}

/* What an attempt writes that has delivered to the first `recipients`. */
static void deliver(struct fixture *f, unsigned number, unsigned recipients)
{
	struct queue_item *item = find(f, number);
	struct queue_record_change changes[2];
	struct queue_record change = { .is_change = true, .changes = changes };
	struct queue_write write = { .done = on_changed, .arg = f };

	memcpy(change.delivery_id, item->record.delivery_id, sizeof(change.delivery_id));
	for (unsigned i = 0; i < recipients; i++)
		changes[change.change_count++] = (struct queue_record_change){
			.recipient = i, .state = QUEUE_DELIVERED, .reply = "250 2.0.0 stored"
		};
	change.finished = recipients == 2;
	for (unsigned i = 0; change.finished && i < item->record.holder_count; i++)
		EXPECT(queue_record_add_holder(&change, item->record.holders[i]));
	queue_write_record(&write, &change);
	queue_log_write(f->queue->log, &write);
	loop_run(f->router.loop);
	queue_item_apply(item, &change);
	if (item_is_finished(item))
		queue_item_finish(item, write.append.records[0].lsn);
	queue_write_deinit(&write);
	EXPECT_INT(0, f->status);
}

/* Gives a move time to end: as long as there is one, a second at most. */
static void wait_for_moves(struct fixture *f)
{
	for (unsigned i = 0; i < 100 && f->queue->move; i++) {
		timer_start(f->timer, 10);
		loop_run(f->router.loop);
	}
	EXPECT(f->queue->move == NULL);
}

static unsigned segment_files(const struct fixture *f)
{
	char path[160];
	unsigned count = 0;
	for (unsigned i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "%s/router/queue/%016x.log", f->directory, i);
		count += access(path, F_OK) == 0;
	}
	return count;
}

/* The segment's file under another name: what a crash leaves when it is removed a moment later. */
static void keep_segment(const struct fixture *f, unsigned segment, bool restore)
{
	char file[160], kept[160];
	snprintf(file, sizeof(file), "%s/router/queue/%016x.log", f->directory, segment);
	snprintf(kept, sizeof(kept), "%s/kept-%u", f->directory, segment);
	if (restore)
		(void)!unlink(file);
	EXPECT_INT(0, restore ? link(kept, file) : link(file, kept));
}

TEST(space_comes_back_when_nothing_is_alive)
{
	struct fixture f;
	setup(&f);
	add(&f, 0, MORE_THAN_ONE_SEGMENT);
	EXPECT(segment_files(&f) >= 2);
	for (unsigned i = 0; i < MORE_THAN_ONE_SEGMENT; i++)
		deliver(&f, i, 2);
	EXPECT(queue_log_length(f.queue->log) <= segment_length);
	queue_close(&f.queue);
	open_queue(&f);
	EXPECT_INT(0, queue_count(f.queue));
	/* Addresses go on where they were, also over a restart. */
	add(&f, 100, 1);
	EXPECT(find(&f, 100)->body_lsn > segment_length);
	teardown(&f);
}

TEST(one_message_that_stays_does_not_keep_what_is_behind_it)
{
	struct fixture f;
	setup(&f);
	add(&f, 0, 1);
	deliver(&f, 0, 1);
	add(&f, 1, MORE_THAN_THREE_SEGMENTS - 1);
	for (unsigned i = 1; i < MORE_THAN_THREE_SEGMENTS; i++)
		deliver(&f, i, 2);
	wait_for_moves(&f);
	EXPECT(find(&f, 0)->body_lsn > 3 * segment_length);
	EXPECT(queue_log_length(f.queue->log) <= segment_length);
	queue_close(&f.queue);
	open_queue(&f);
	EXPECT_INT(1, queue_count(f.queue));
	const struct queue_item *item = find(&f, 0);
	EXPECT_INT(QUEUE_DELIVERED, item->record.recipients[0].state);
	EXPECT_INT(QUEUE_PENDING, item->record.recipients[1].state);
	teardown(&f);
}

TEST(a_crash_between_moving_and_freeing_leaves_one_message)
{
	struct fixture f;
	setup(&f);
	add(&f, 0, MORE_THAN_THREE_SEGMENTS);
	for (unsigned i = 0; i < 4; i++)
		keep_segment(&f, i, false);
	deliver(&f, 0, 1);
	for (unsigned i = 1; i < MORE_THAN_THREE_SEGMENTS; i++)
		deliver(&f, i, 2);
	wait_for_moves(&f);
	EXPECT(find(&f, 0)->body_lsn > 3 * segment_length);
	queue_close(&f.queue);
	/* Nothing was removed yet: the old record, every change, and the record that was moved. */
	for (unsigned i = 0; i < 4; i++)
		keep_segment(&f, i, true);
	open_queue(&f);
	EXPECT_INT(1, queue_count(f.queue));
	const struct queue_item *item = find(&f, 0);
	EXPECT(item && item->body_lsn > 3 * segment_length);
	EXPECT_INT(QUEUE_DELIVERED, item->record.recipients[0].state);
	EXPECT_INT(QUEUE_PENDING, item->record.recipients[1].state);
	/* What the crash has left is given back with the next that goes. */
	deliver(&f, 0, 2);
	EXPECT(segment_files(&f) <= 2);
	teardown(&f);
}

static void path_of_segment(const struct fixture *f, unsigned segment, char path[160])
{
	snprintf(path, 160, "%s/router/queue/%016x.log", f->directory, segment);
}

/* Until it is open again, some seconds at most: it is tried after one. */
static void wait_until_known(struct fixture *f)
{
	for (unsigned i = 0; i < 500 && !queue_is_known(f->queue); i++) {
		timer_start(f->timer, 10);
		loop_run(f->router.loop);
	}
	EXPECT(queue_is_known(f->queue));
}

TEST(a_segment_that_cannot_be_opened_for_now_is_not_what_the_log_begins_behind)
{
	struct fixture f;
	char path[160], kept[160];
	setup(&f);
	add(&f, 0, MORE_THAN_THREE_SEGMENTS);
	uint64_t second = find(&f, MORE_THAN_ONE_SEGMENT)->body_lsn;
	EXPECT_INT(1, segment_of(second));
	queue_close(&f.queue);
	/* Opening it fails with neither ENOENT nor anything that says what stands in it. */
	path_of_segment(&f, 1, path);
	snprintf(kept, sizeof(kept), "%s/aside", f.directory);
	EXPECT_INT(0, rename(path, kept));
	EXPECT_INT(0, symlink(path, path));
	open_queue(&f);
	EXPECT(!queue_is_known(f.queue));
	EXPECT_INT(0, queue_count(f.queue));
	EXPECT(queue_log_refusal(f.queue->log) < 0);
	EXPECT_INT(0, unlink(path));
	EXPECT_INT(0, rename(kept, path));
	wait_until_known(&f);
	EXPECT_INT(MORE_THAN_THREE_SEGMENTS, queue_count(f.queue));
	/* Nothing was set aside. */
	const struct queue_item *item = find(&f, MORE_THAN_ONE_SEGMENT);
	EXPECT(item && item->body_lsn == second);
	add(&f, 100, 1);
	teardown(&f);
}

/* Until what stands in a log that was set aside has been written to the new one. */
static void wait_for_strays(struct fixture *f)
{
	for (unsigned i = 0; i < 500 && !list_is_empty(&f->queue->strays); i++) {
		timer_start(f->timer, 10);
		loop_run(f->router.loop);
	}
	EXPECT(list_is_empty(&f->queue->strays));
	wait_for_moves(f);
}

TEST(a_segment_that_is_missing_in_the_middle_is_damage_and_what_stands_below_it_is_served)
{
	struct fixture f;
	char path[160];
	unsigned below = 0, above = 0;
	setup(&f);
	add(&f, 0, MORE_THAN_THREE_SEGMENTS);
	deliver(&f, 0, 1);
	for (unsigned i = 0; i < MORE_THAN_THREE_SEGMENTS; i++) {
		below += segment_of(find(&f, i)->body_lsn) < 1;
		above += segment_of(find(&f, i)->body_lsn) > 1;
	}
	EXPECT(below > 0 && above > 0);
	queue_close(&f.queue);
	path_of_segment(&f, 1, path);
	EXPECT_INT(0, unlink(path));
	open_queue(&f);
	EXPECT_INT(below + above, queue_count(f.queue));
	const struct queue_item *lowest = find(&f, 0);
	EXPECT(lowest && lowest->record.recipients[0].state == QUEUE_DELIVERED);
	wait_for_strays(&f);
	/* Deliveries give nothing back in which something stands that nobody has read. */
	for (unsigned i = MORE_THAN_THREE_SEGMENTS - above; i < MORE_THAN_THREE_SEGMENTS; i++)
		deliver(&f, i, 2);
	wait_for_moves(&f);
	EXPECT_INT(below, queue_count(f.queue));
	queue_close(&f.queue);
	open_queue(&f);
	EXPECT_INT(below, queue_count(f.queue));
	EXPECT(find(&f, 0) && find(&f, below - 1));
	teardown(&f);
}

TEST(a_full_disk_has_room_left_for_what_became_of_messages)
{
	struct fixture f;
	char path[128];
	setup(&f);
	snprintf(path, sizeof(path), "%s/router/queue", f.directory);
	queue_close(&f.queue);
	if (mount("tmpfs", path, "tmpfs", 0, "size=66m") < 0) {
		/* Only root can make a small disk. */
		open_queue(&f);
		teardown(&f);
		return;
	}
	open_queue(&f);
	EXPECT_INT(-ENOSPC, try_add(&f, 0, 90));
	unsigned taken = queue_count(f.queue);
	EXPECT(taken >= 20 && taken < 80);
	f.status = 0;
	for (unsigned i = 0; i < taken; i++)
		deliver(&f, i, 2);
	EXPECT_INT(0, queue_count(f.queue));
	EXPECT_INT(0, mount("tmpfs", path, "tmpfs", MS_REMOUNT, "size=200m"));
	add(&f, 100, 1);
	queue_close(&f.queue);
	open_queue(&f);
	EXPECT_INT(1, queue_count(f.queue));
	queue_close(&f.queue);
	EXPECT_INT(0, umount(path));
	open_queue(&f);
	teardown(&f);
}

TEST(a_message_that_was_dropped_from_memory_stays_in_the_log)
{
	struct fixture f;
	setup(&f);
	add(&f, 0, 3);
	deliver(&f, 1, 2);
	queue_close(&f.queue);
	open_queue(&f);
	EXPECT_INT(2, queue_count(f.queue));
	EXPECT(find(&f, 0) && !find(&f, 1) && find(&f, 2));
	teardown(&f);
}

/* What is written before a copy is left. */
static void note_holder(struct fixture *f, unsigned number)
{
	struct queue_record note = { .is_change = true };
	struct queue_write write = { .done = on_changed, .arg = f };

	memcpy(note.delivery_id, find(f, number)->record.delivery_id, sizeof(note.delivery_id));
	EXPECT(queue_record_add_holder(&note, "router-b"));
	queue_write_record(&write, &note);
	queue_log_write(f->queue->log, &write);
	loop_run(f->router.loop);
	queue_item_apply(find(f, number), &note);
	queue_write_deinit(&write);
	EXPECT_INT(0, f->status);
}

static enum queue_answer ask(struct fixture *f, const uint8_t *identity, unsigned number)
{
	char id[33];
	snprintf(id, sizeof(id), "%04x%028x", number, 0);
	return queue_answer_of(f->queue, identity, str_from(id));
}

TEST(finished_is_known_over_restarts_and_is_not_unknown)
{
	static const uint8_t another[QUEUE_IDENTITY_LENGTH] = { 1 };
	uint8_t identity[QUEUE_IDENTITY_LENGTH];
	struct fixture f;
	setup(&f);
	add(&f, 0, 3);
	memcpy(identity, queue_identity(f.queue), sizeof(identity));
	note_holder(&f, 0);
	note_holder(&f, 1);
	deliver(&f, 0, 2);
	deliver(&f, 2, 2);
	for (unsigned i = 0; i < 2; i++) {
		EXPECT_INT(QUEUE_FINISHED, ask(&f, identity, 0));
		EXPECT_INT(QUEUE_HELD, ask(&f, identity, 1));
		EXPECT_INT(QUEUE_UNKNOWN, ask(&f, identity, 2)); /* nobody may hold a copy */
		EXPECT_INT(QUEUE_UNKNOWN, ask(&f, identity, 9));
		EXPECT_INT(QUEUE_UNKNOWN, ask(&f, another, 1));
		queue_close(&f.queue);
		open_queue(&f);
		EXPECT(memcmp(identity, queue_identity(f.queue), sizeof(identity)) == 0);
	}
	const struct queue_item *item = find(&f, 1);
	EXPECT(item && queue_record_has_holder(&item->record, "router-b"));
	teardown(&f);
}

static void on_fetched(void *arg, int status, struct bytes *body)
{
	*(int *)arg = status;
	bytes_unref(&body);
}

static int fetch(struct fixture *f, unsigned number)
{
	char id[33];
	int status = 0;
	snprintf(id, sizeof(id), "%04x%028x", number, 0);
	queue_fetch(f->queue, str_from(id), on_fetched, &status);
	return status;
}

TEST(a_message_that_is_being_written_is_not_said_to_be_nowhere)
{
	static const struct queue_recipient recipient = {
		.address = "a@b", .original = "a@b", .orcpt = "", .reply = ""
	};
	struct fixture f;
	setup(&f);
	struct queue_entry entry = { .delivery_id = { 0, 1 },
		.sender = "",
		.envid = "",
		.body = f.body,
		.recipients = &recipient,
		.recipient_count = 1 };
	f.waiting = 1;
	queue_add(f.queue, &entry, on_added, &f);
	/* Its owner would bounce it. */
	EXPECT_INT(-EAGAIN, fetch(&f, 1));
	EXPECT_INT(-ENODATA, fetch(&f, 2));
	loop_run(f.router.loop);
	EXPECT_INT(1, queue_count(f.queue));
	teardown(&f);
}

TEST(what_is_known_as_finished_does_not_keep_the_log)
{
	struct fixture f;
	setup(&f);
	add(&f, 0, 1);
	note_holder(&f, 0);
	deliver(&f, 0, 2);
	add(&f, 1, 200);
	for (unsigned i = 1; i <= 200; i++)
		deliver(&f, i, 2);
	timer_start(f.timer, 200);
	loop_run(f.router.loop);
	EXPECT(queue_log_length(f.queue->log) <= 2 * segment_length);
	queue_close(&f.queue);
	open_queue(&f);
	EXPECT_INT(QUEUE_FINISHED, ask(&f, queue_identity(f.queue), 0));
	teardown(&f);
}

/* One byte of the n-th message in the first segment, while nobody has it open. */
static void damage(const struct fixture *f, uint64_t lsn)
{
	char path[160], byte;
	snprintf(path, sizeof(path), "%s/router/queue/%016x.log", f->directory, 0);
	FILE *file = fopen(path, "r+");
	EXPECT(file != NULL);
	EXPECT_INT(0, fseek(file, (long)lsn + 5000, SEEK_SET));
	EXPECT_INT(1, (long long)fread(&byte, 1, 1, file));
	byte ^= 1;
	EXPECT_INT(0, fseek(file, (long)lsn + 5000, SEEK_SET));
	EXPECT_INT(1, (long long)fwrite(&byte, 1, 1, file));
	EXPECT_INT(0, fclose(file));
}

TEST(a_damaged_log_is_set_aside_and_what_can_be_read_of_it_is_served)
{
	struct fixture f;
	char path[128];
	setup(&f);
	add(&f, 0, 10);
	deliver(&f, 0, 2);
	deliver(&f, 7, 1);
	uint64_t lsn = find(&f, 4)->body_lsn;
	queue_close(&f.queue);
	damage(&f, lsn);
	open_queue(&f);
	EXPECT_INT(8, queue_count(f.queue));
	EXPECT(!find(&f, 0) && !find(&f, 4) && find(&f, 5));
	EXPECT_INT(QUEUE_DELIVERED, find(&f, 7)->record.recipients[0].state);
	/* A change of what still stands there only. */
	deliver(&f, 9, 2);
	wait_for_moves(&f);
	EXPECT(!find(&f, 9));
	EXPECT(list_is_empty(&f.queue->strays));
	EXPECT_INT(7, queue_count(f.queue));
	snprintf(path, sizeof(path), "%s/router/queue/kept-1", f.directory);
	EXPECT(access(path, F_OK) == 0);
	queue_close(&f.queue);
	open_queue(&f);
	EXPECT_INT(7, queue_count(f.queue));
	teardown(&f);
}
