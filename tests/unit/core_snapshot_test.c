/* The file from which a daemon starts when its directory is away, and what becomes of it. */

#include "core/directory/directory.h"
#include "core/directory/snapshot_writer.h"
#include "core/timer.h"
#include "unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A batch of revision `revision` with the mailbox `id`, as a source would give it. */
static struct directory_batch *make_batch(unsigned revision, unsigned id, const char *address)
{
	char number[16], mark[16], base[16], row[16];
	struct directory_batch *batch = batch_create(revision == 1);

	snprintf(number, sizeof(number), "%u", revision);
	snprintf(mark, sizeof(mark), "mark-%u", revision);
	snprintf(base, sizeof(base), "mark-%u", revision - 1);
	snprintf(row, sizeof(row), "%u", id);
	batch_add(batch,
		(const char *const[DIRECTORY_CELLS]){
			"revision", number, mark, revision == 1 ? NULL : base },
		base);
	batch_add(batch, (const char *const[DIRECTORY_CELLS]){ "changed", row, "mailbox" }, base);
	batch_add(batch,
		(const char *const[DIRECTORY_CELLS]){
			"mailbox", row, address, "1", "1", "", "t", "0",
			"000102030405060708090a0b0c0d0e0f" },
		base);
	return batch;
}

enum {
	/* A write of one row, on a machine that is busy. */
	SETTLED_MS = 400,
	/* The writer tries again after a second. */
	RETRIED_MS = 2500,
};

struct snapshot_world {
	struct loop *loop;
	struct timer *timer;
	struct snapshot_writer *writer;
	struct directory_batch *read;
	unsigned behind;
	char folder[64], path[80];
};

static void on_behind(void *arg)
{
	((struct snapshot_world *)arg)->behind++;
}

static void on_snapshot_timer(void *arg)
{
	loop_stop(((struct snapshot_world *)arg)->loop);
}

static void run_for(struct snapshot_world *world, unsigned ms)
{
	timer_start(world->timer, ms);
	loop_run(world->loop);
}

static void open_snapshot(struct snapshot_world *world)
{
	batch_destroy(&world->read);
	world->writer =
		snapshot_writer_open(world->loop, world->path, on_behind, world, &world->read);
}

static void reopen_snapshot(struct snapshot_world *world)
{
	snapshot_writer_close(&world->writer);
	open_snapshot(world);
}

static void setup_snapshot(struct snapshot_world *world)
{
	*world = (struct snapshot_world){ .folder = "/tmp/pando-snapshot-XXXXXX" };
	EXPECT(mkdtemp(world->folder) != NULL);
	snprintf(world->path, sizeof(world->path), "%s/file", world->folder);
	world->loop = loop_create();
	world->timer = timer_new(world->loop, on_snapshot_timer, world);
	open_snapshot(world);
	EXPECT(world->read == NULL);
	snapshot_writer_put(world->writer, make_batch(1, 1, "one@example.org"));
	run_for(world, SETTLED_MS);
}

static void teardown_snapshot(struct snapshot_world *world)
{
	char command[128];

	snapshot_writer_close(&world->writer);
	batch_destroy(&world->read);
	timer_destroy(&world->timer);
	loop_destroy(&world->loop);
	snprintf(command, sizeof(command), "rm -r %s", world->folder);
	EXPECT_INT(0, system(command));
}

/* What another process does to the file. */
static void meddle(struct snapshot_world *world, const char *statement)
{
	struct error error = { 0 };
	struct sql *sql = NULL;
	int code = sql_open_file(world->path, false, &sql, &error);

	if (code == 0)
		code = sql_script(sql, statement, &error);
	if (code < 0)
		test_fail(__FILE__, __LINE__, "%s", error.text);
	sql_close(&sql);
}

TEST(snapshot_batch_that_cannot_be_written_is_written_before_the_next)
{
	struct snapshot_world world;
	setup_snapshot(&world);
	meddle(&world, "alter table snapshot rename to hidden");
	snapshot_writer_put(world.writer, make_batch(2, 2, "two@example.org"));
	run_for(&world, SETTLED_MS);
	meddle(&world, "alter table hidden rename to snapshot");
	snapshot_writer_put(world.writer, make_batch(3, 3, "three@example.org"));
	run_for(&world, RETRIED_MS);
	reopen_snapshot(&world);
	EXPECT(world.read && world.read->revision == 3 && batch_row_count(world.read) == 3);
	EXPECT_INT(0, world.behind);
	teardown_snapshot(&world);
}

TEST(snapshot_that_lacks_a_batch_takes_none_behind_it_and_asks_for_everything)
{
	struct snapshot_world world;
	setup_snapshot(&world);
	snapshot_writer_put(world.writer, make_batch(3, 3, "three@example.org"));
	run_for(&world, SETTLED_MS);
	EXPECT_INT(1, world.behind);
	snapshot_writer_put(world.writer, make_batch(4, 4, "four@example.org"));
	run_for(&world, SETTLED_MS);
	reopen_snapshot(&world);
	EXPECT(world.read && world.read->revision == 1 && batch_row_count(world.read) == 1);
	/* The answer to the question. */
	snapshot_writer_put(world.writer, make_batch(1, 5, "five@example.org"));
	run_for(&world, SETTLED_MS);
	snapshot_writer_put(world.writer, make_batch(2, 6, "six@example.org"));
	run_for(&world, SETTLED_MS);
	reopen_snapshot(&world);
	EXPECT(world.read && world.read->revision == 2 && batch_row_count(world.read) == 2);
	teardown_snapshot(&world);
}

TEST(snapshot_with_a_changed_row_is_set_aside_and_not_used)
{
	static const char *const damages[] = {
		"update mailbox set address = 'ond@example.org'",
		"update snapshot set revision = 9",
		"delete from mailbox",
		"insert into domain (id, name) values (1, 'example.org')",
	};
	for (unsigned i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
		struct snapshot_world world;
		char kept[96];
		setup_snapshot(&world);
		reopen_snapshot(&world);
		EXPECT(world.read && world.read->revision == 1);
		meddle(&world, damages[i]);
		reopen_snapshot(&world);
		EXPECT(world.read == NULL);
		snprintf(kept, sizeof(kept), "%s.unusable", world.path);
		EXPECT(access(kept, F_OK) == 0);
		snapshot_writer_put(world.writer, make_batch(1, 1, "one@example.org"));
		run_for(&world, SETTLED_MS);
		reopen_snapshot(&world);
		EXPECT(world.read && world.read->revision == 1);
		teardown_snapshot(&world);
	}
}
