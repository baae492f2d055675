#include "core/config.h"
#include "core/directory/directory.h"
#include "core/directory/directory_write.h"
#include "core/directory/sql.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/timer.h"
#include "node/volume/volumes_internal.h"
#include "unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a node writes in the directory, and when. The directory is a file; the volume is the test.
 */

enum { TURN_MS = 5, LOOKS_MAX = 1000 };

struct office {
	struct loop *loop;
	struct timer *timer;
	struct config config;
	struct directory *directory;
	struct directory_writer *writer;
	struct volumes volumes;
	struct slot slot;
	struct volume volume;
	char folder[64], snapshot[128];
	unsigned looks;
	uint64_t awaited_slacks; /* 0: it is fresh */
	uint64_t awaited_epoch;  /* 0: whichever */
};

static void on_change(void *arg)
{
	(void)arg;
}

static const struct directory_volume *row(const struct office *office)
{
	return directory_find_volume(office->directory, 1);
}

static bool has_come(const struct office *office)
{
	if (office->awaited_epoch != 0)
		return row(office)->epoch == office->awaited_epoch && !office->slot.is_claiming;
	return office->awaited_slacks == 0
		? directory_is_fresh(office->directory) && row(office) != NULL
		: row(office)->uid_slacks == office->awaited_slacks;
}

static void on_look(void *arg)
{
	struct office *office = arg;
	if (has_come(office) || ++office->looks > LOOKS_MAX)
		loop_stop(office->loop);
	else
		timer_start(office->timer, TURN_MS);
}

/* False: it did not come. */
static bool await(struct office *office, uint64_t slacks)
{
	office->awaited_slacks = slacks;
	office->looks = 0;
	timer_start(office->timer, TURN_MS);
	loop_run(office->loop);
	return has_come(office);
}

static bool await_epoch(struct office *office, uint64_t epoch)
{
	office->awaited_epoch = epoch;
	bool came = await(office, 0);
	office->awaited_epoch = 0;
	return came;
}

static void fill(struct directory_writer *writer)
{
	struct error error = { 0 };
	const struct node_description node = { "node-a1", "site-a", "127.0.0.1:1", "127.0.0.1:2",
		"127.0.0.1:3", "127.0.0.1:4" };
	const struct volume_description volume = { .name = "v1", .primary_node = "node-a1" };
	EXPECT_INT(0, directory_add_site(writer, "site-a", &error));
	EXPECT_INT(0, directory_add_node(writer, &node, &error));
	EXPECT_INT(0, directory_add_volume(writer, &volume, &error));
}

static void open_office(struct office *office)
{
	struct error error = { 0 };
	char path[128];
	memset(office, 0, sizeof(*office));
	log_setup("test", LOG_LEVEL_ERROR + 1);
	snprintf(office->folder, sizeof(office->folder), "/tmp/pando-claims-XXXXXX");
	EXPECT(mkdtemp(office->folder) != NULL);
	snprintf(path, sizeof(path), "%s/directory", office->folder);
	EXPECT_INT(0, mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/directory/directory.sqlite", office->folder);
	snprintf(office->snapshot, sizeof(office->snapshot), "%s/snapshot.db", office->folder);
	office->config.data_dir = office->folder;
	office->config.directory = str_to_heap(STR("standalone"));
	office->loop = loop_create();
	office->timer = timer_new(office->loop, on_look, office);
	EXPECT_INT(0, directory_init_file(path, NULL, &error));
	EXPECT_INT(0, directory_writer_open(&office->config, &office->writer, &error));
	fill(office->writer);
	office->directory =
		directory_open(office->loop, &office->config, office->snapshot, on_change, office);
	EXPECT(await(office, 0));
	office->volumes = (struct volumes){ .front = office->loop,
		.config = &office->config,
		.directory = office->directory,
		.slots = map_create(),
		.node_id = row(office)->primary_node_id };
	office->volumes.tell_timer = timer_new(office->loop, volumes_tell_again, &office->volumes);
	office->slot = (struct slot){ .volumes = &office->volumes,
		.id = 1,
		.volume = &office->volume,
		.epoch = 1,
		.wants_primary = true };
	map_set(office->volumes.slots, map_key_u64(&(uint64_t){ 1 }), &office->slot);
	atomic_store(&office->volume.numbers.state, VOLUME_PRIMARY);
	atomic_store(&office->volume.numbers.epoch, row(office)->epoch);
}

static void close_office(struct office *office)
{
	char command[128];
	directory_close(&office->directory);
	directory_writer_close(&office->writer);
	timer_destroy(&office->volumes.tell_timer);
	timer_destroy(&office->timer);
	map_destroy(&office->volumes.slots);
	loop_destroy(&office->loop);
	free(office->config.directory);
	snprintf(command, sizeof(command), "rm -rf %s", office->folder);
	EXPECT_INT(0, system(command));
}

/* The volume says something once, and is idle then. */
static void tell(struct office *office, uint64_t incarnation, uint64_t slacks)
{
	atomic_store(&office->volume.numbers.incarnation, incarnation);
	atomic_store(&office->volume.numbers.uid_slacks, slacks);
	slot_tell_directory(&office->slot);
}

TEST(an_opening_and_the_slacks_are_told_in_one_write)
{
	struct office office;
	open_office(&office);
	tell(&office, 5, 3);
	EXPECT(await(&office, 3));
	EXPECT_INT(5, row(&office)->incarnation);
	close_office(&office);
}

TEST(what_an_idle_volume_has_to_tell_while_the_directory_is_written_is_told_by_the_clock)
{
	struct office office;
	open_office(&office);
	tell(&office, 5, 0);
	EXPECT(office.slot.is_claiming);
	tell(&office, 5, 4);
	EXPECT(await(&office, 4));
	EXPECT(!office.slot.told_untold);
	close_office(&office);
}

/* Another process of the node had found it, and the row is all that this one has of it. */
TEST(a_directory_that_is_put_back_hears_the_freed_place_again)
{
	struct office office;
	struct error error = { 0 };
	open_office(&office);
	uint64_t epoch = row(&office)->epoch;
	atomic_store(&office.volume.numbers.freed_lsn, 8192);
	tell(&office, 5, 3);
	EXPECT(await(&office, 3));
	EXPECT(row(&office)->freed_epoch == epoch && row(&office)->freed_lsn == 8192);
	atomic_store(&office.volume.numbers.freed_lsn, 0);
	office.slot.freed_epoch = office.slot.freed_lsn = 0;
	tell(&office, 5, 3);
	EXPECT(!office.slot.is_claiming);
	EXPECT_INT(0,
		sql_script(directory_writer_sql(office.writer),
			"update volume set freed_epoch = 0, freed_lsn = 0, uid_slacks = 2",
			&error));
	EXPECT(await(&office, 2));
	EXPECT_INT(0, row(&office)->freed_lsn);
	tell(&office, 5, 3);
	EXPECT(await(&office, 3));
	EXPECT(row(&office)->freed_epoch == epoch && row(&office)->freed_lsn == 8192);
	/* As one that is served here in a later epoch is named anew. */
	EXPECT_INT(0,
		sql_script(directory_writer_sql(office.writer),
			"update volume set freed_epoch = 0, freed_lsn = 0, uid_slacks = 2",
			&error));
	EXPECT(await(&office, 2));
	atomic_store(&office.volume.numbers.writes, true);
	atomic_store(&office.volume.numbers.epoch, ++epoch);
	atomic_store(&office.volume.numbers.reign[0], 77);
	tell(&office, 5, 3);
	EXPECT(await_epoch(&office, epoch));
	tell(&office, 5, 4);
	EXPECT(await(&office, 4));
	EXPECT(row(&office)->epoch == epoch && row(&office)->freed_lsn == 8192);
	/* A volume that was restored from a backup has none. */
	EXPECT_INT(0,
		sql_script(directory_writer_sql(office.writer),
			"update volume set freed_epoch = 0, freed_lsn = 0, uid_slacks = 2, "
			"epoch = epoch + 1",
			&error));
	EXPECT(await(&office, 2));
	atomic_store(&office.volume.numbers.epoch, epoch + 1);
	tell(&office, 6, 5);
	EXPECT(await(&office, 5));
	EXPECT_INT(0, row(&office)->freed_lsn);
	close_office(&office);
}
