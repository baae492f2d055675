/* What becomes of a daemon's snapshot when the disk refuses it, or has damaged it, while PostgreSQL
 * is away. */

#include "core/directory/snapshot_file.h"
#include "core/directory/snapshot_writer.h"
#include "unit/directory_world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/* As many as are kept (snapshot_file.c). */
	KEPT_MAX = 8,
};

struct disk_world {
	struct world world; /* first: is_set_aside finds the rest */
	char folder[128], path[160], full[160];
	bool is_mounted;
};

static bool knows_anna(struct world *world)
{
	return directory_resolve(world->directory, STR("anna@example.org"), NULL, NULL) ==
		DIRECTORY_FOUND;
}

static bool has_settled(struct world *world)
{
	return world->polls > 300;
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static void start(struct disk_world *w)
{
	w->world.directory =
		directory_open(w->world.loop, &w->world.config, w->path, on_nothing, w);
}

static void stop(struct disk_world *w)
{
	directory_close(&w->world.directory);
}

static bool is_there(const struct disk_world *w, const char *suffix)
{
	char path[192];
	snprintf(path, sizeof(path), "%s%s", w->path, suffix);
	return access(path, F_OK) == 0;
}

static void write_file(const struct disk_world *w, const char *suffix, const char *content)
{
	char path[192];
	snprintf(path, sizeof(path), "%s%s", w->path, suffix);
	FILE *file = fopen(path, "w");
	EXPECT(file != NULL && fputs(content, file) >= 0 && fclose(file) == 0);
}

static void expect_file(const struct disk_world *w, const char *suffix, const char *content)
{
	char path[192], found[64] = "";
	snprintf(path, sizeof(path), "%s%s", w->path, suffix);
	FILE *file = fopen(path, "r");
	EXPECT(file != NULL);
	if (file == NULL)
		return;
	EXPECT(fgets(found, sizeof(found), file) != NULL);
	fclose(file);
	EXPECT_STR(str_from(content), str_from(found));
}

static bool is_set_aside(struct world *world)
{
	/* Its first member. */
	return is_there((const struct disk_world *)(const void *)world, ".unusable");
}

/* Of all that the directory has; it stays open, as a daemon's does. */
static struct sql *write_snapshot(struct disk_world *w)
{
	struct error error = { 0 };
	struct directory_batch *batch = NULL;
	struct sql *snapshot = NULL;
	expect_done(snapshot_open(w->path, &snapshot, &error), &error);
	expect_done(batch_read(directory_writer_sql(w->world.writer), BATCH_FULL, 0, "", &batch,
			    &error),
		&error);
	expect_done(snapshot_apply(snapshot, batch, &error), &error);
	batch_destroy(&batch);
	return snapshot;
}

/* A directory with Anna, and a daemon's folder on a small disk; PostgreSQL is away. */
static bool setup(struct disk_world *w)
{
	memset(w, 0, sizeof(*w));
	open_world(&w->world, NULL);
	fill(w->world.writer);
	free(w->world.config.directory);
	w->world.config.directory = str_to_heap(STR("host=127.0.0.1 port=1 dbname=pando"));
	snprintf(w->folder, sizeof(w->folder), "%s/node", w->world.folder);
	snprintf(w->path, sizeof(w->path), "%s/directory.db", w->folder);
	snprintf(w->full, sizeof(w->full), "%s/full", w->folder);
	EXPECT_INT(0, mkdir(w->folder, 0700));
	w->is_mounted = mount("tmpfs", w->folder, "tmpfs", 0, "size=2m") == 0;
	return w->is_mounted;
}

static void teardown(struct disk_world *w)
{
	stop(w);
	if (w->is_mounted)
		EXPECT_INT(0, umount(w->folder));
	close_world(&w->world);
}

static void fill_disk(const struct disk_world *w)
{
	static const char bytes[4096];
	int file = open(w->full, O_WRONLY | O_CREAT, 0600);
	while (write(file, bytes, sizeof(bytes)) > 0)
		;
	EXPECT_INT(ENOSPC, errno);
	close(file);
}

/* What a crash leaves: the log of SQLite, of which nothing is in the file yet, and not its index.
 */
static void crash(struct disk_world *w, struct sql **snapshot)
{
	char command[1024];
	snprintf(command, sizeof(command), "cp %s %s.was && cp %s-wal %s.was-wal", w->path, w->path,
		w->path, w->path);
	EXPECT_INT(0, system(command));
	sql_close(snapshot);
	snprintf(command, sizeof(command), "mv %s.was %s && mv %s.was-wal %s-wal", w->path, w->path,
		w->path, w->path);
	EXPECT_INT(0, system(command));
}

static void check_full_disk(bool has_crashed)
{
	struct disk_world w;
	if (setup(&w)) {
		struct sql *snapshot = write_snapshot(&w);
		if (has_crashed)
			crash(&w, &snapshot);
		sql_close(&snapshot);
		EXPECT(is_there(&w, "-wal") == has_crashed);
		fill_disk(&w);
		for (int i = 0; i < 2; i++) {
			start(&w);
			EXPECT(directory_is_loaded(w.world.directory));
			EXPECT(knows_anna(&w.world));
			EXPECT(!is_there(&w, ".unusable"));
			stop(&w);
		}
		EXPECT_INT(0, unlink(w.full));
		start(&w);
		EXPECT(knows_anna(&w.world));
		EXPECT(!is_there(&w, ".unusable"));
	}
	teardown(&w);
}

TEST(daemon_that_starts_on_a_full_disk_serves_what_its_snapshot_holds)
{
	check_full_disk(false);
}

TEST(daemon_that_starts_on_a_full_disk_serves_what_a_crash_has_left_in_the_log)
{
	check_full_disk(true);
}

/* A batch that comes while the disk is full is written when there is room. */
TEST(snapshot_that_was_refused_is_written_again_when_there_is_room)
{
	struct disk_world w;
	if (setup(&w)) {
		struct directory_batch *batch = NULL;
		struct sql *snapshot = write_snapshot(&w);
		sql_close(&snapshot);
		fill_disk(&w);
		struct snapshot_writer *writer =
			snapshot_writer_open(w.world.loop, w.path, on_nothing, NULL, &batch);
		EXPECT(batch != NULL);
		uint64_t revision = batch ? batch->revision : 0;
		if (batch)
			batch->revision = revision + 1;
		if (batch)
			snapshot_writer_put(writer, batch);
		wait_until(&w.world, has_settled);
		EXPECT_INT(0, unlink(w.full));
		/* As it is closed. */
		snapshot_writer_close(&writer);
		batch = NULL;
		writer = snapshot_writer_open(w.world.loop, w.path, on_nothing, NULL, &batch);
		EXPECT(batch != NULL && batch->revision == revision + 1);
		batch_destroy(&batch);
		snapshot_writer_close(&writer);
	}
	teardown(&w);
}

/* Writes over the page on which a table begins; all else of the file stays good. */
static void damage_table(const struct disk_world *w, struct sql *snapshot, const char *table)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	char garbage[512];
	memset(garbage, 0xee, sizeof(garbage));
	expect_done(sql_query(snapshot,
			    "select (rootpage - 1) * (select page_size from pragma_page_size) from "
			    "sqlite_master where type = 'table' and name = $1",
			    SQL_VALUES(table), &result, &error),
		&error);
	off_t at = (off_t)sql_value_u64(result, 0, 0);
	sql_result_free(&result);
	sql_close(&snapshot);
	int file = open(w->path, O_WRONLY);
	EXPECT(at > 0);
	EXPECT_INT(sizeof(garbage), pwrite(file, garbage, sizeof(garbage), at));
	close(file);
}

/* It stays until there is room to begin a new one. */
TEST(damaged_snapshot_on_a_full_disk_is_set_aside_when_it_is_written)
{
	struct disk_world w;
	if (setup(&w)) {
		struct directory_batch *batch = NULL;
		struct error error = { 0 };
		damage_table(&w, write_snapshot(&w), "mailbox");
		fill_disk(&w);
		struct snapshot_writer *writer =
			snapshot_writer_open(w.world.loop, w.path, on_nothing, NULL, &batch);
		EXPECT(batch == NULL);
		EXPECT(!is_there(&w, ".unusable"));
		EXPECT_INT(0, unlink(w.full));
		expect_done(batch_read(directory_writer_sql(w.world.writer), BATCH_FULL, 0, "",
				    &batch, &error),
			&error);
		snapshot_writer_put(writer, batch);
		EXPECT(wait_until(&w.world, is_set_aside));
		wait_until(&w.world, has_settled); /* the new one is written */
		snapshot_writer_close(&writer);
		start(&w);
		EXPECT(knows_anna(&w.world));
	}
	teardown(&w);
}

/* Not even to be read. */
TEST(snapshot_without_a_descriptor_stays_and_is_served_as_soon_as_it_can_be_read)
{
	struct disk_world w;
	struct rlimit limit, none;
	if (setup(&w)) {
		struct sql *snapshot = write_snapshot(&w);
		sql_close(&snapshot);
		EXPECT_INT(0, getrlimit(RLIMIT_NOFILE, &limit));
		none = (struct rlimit){ 0, limit.rlim_max };
		EXPECT_INT(0, setrlimit(RLIMIT_NOFILE, &none));
		start(&w);
		EXPECT(!knows_anna(&w.world));
		EXPECT_INT(0, setrlimit(RLIMIT_NOFILE, &limit));
		EXPECT(!is_there(&w, ".unusable"));
		EXPECT(wait_until(&w.world, knows_anna));
	}
	teardown(&w);
}

TEST(what_was_set_aside_before_stays_as_it_is)
{
	struct disk_world w;
	setup(&w);
	write_file(&w, "", "the first is no database\n");
	start(&w);
	stop(&w);
	expect_file(&w, ".unusable", "the first is no database\n");
	write_file(&w, "", "the second is no database\n");
	start(&w);
	EXPECT(!directory_is_loaded(w.world.directory));
	stop(&w);
	expect_file(&w, ".unusable", "the first is no database\n");
	expect_file(&w, ".unusable-2", "the second is no database\n");
	/* The log of one whose file somebody has taken away. */
	write_file(&w, ".unusable-3-wal", "a log\n");
	write_file(&w, "", "the third is no database\n");
	start(&w);
	stop(&w);
	expect_file(&w, ".unusable-3-wal", "a log\n");
	expect_file(&w, ".unusable-4", "the third is no database\n");
	teardown(&w);
}

TEST(unusable_snapshot_stays_where_it_is_when_too_many_are_kept)
{
	struct disk_world w;
	char suffix[32];
	setup(&w);
	for (unsigned i = 1; i <= KEPT_MAX + 1; i++) {
		write_file(&w, "", "no database\n");
		start(&w);
		EXPECT(!directory_is_loaded(w.world.directory));
		stop(&w);
	}
	expect_file(&w, "", "no database\n");
	snprintf(suffix, sizeof(suffix), ".unusable-%u", (unsigned)KEPT_MAX);
	EXPECT(is_there(&w, suffix));
	snprintf(suffix, sizeof(suffix), ".unusable-%u", (unsigned)KEPT_MAX + 1);
	EXPECT(!is_there(&w, suffix));
	teardown(&w);
}
