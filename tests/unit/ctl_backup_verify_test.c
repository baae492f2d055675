/* What `pando backup verify` finds in a folder of two sets, and what it counts where all is well.
 */

#include "ctl/backup/verify.h"

#include "core/cipher.h"
#include "unit/backup_fixture.h"
#include "unit/test.h"

#include <unistd.h>

#define FIRST "20261127T101400Z-00000001"
#define SECOND "20261127T101500Z-00000002"

/* "SET/FILE: why", a line each. */
static struct buf found;
static unsigned asked, asked_max;

void verify_fault(struct verify *verify, const char *set, const char *file, const char *format, ...)
{
	va_list arguments;
	(void)verify;
	buf_printf(&found, "%s/%s: ", set, file);
	va_start(arguments, format);
	buf_vprintf(&found, format, arguments);
	va_end(arguments);
	buf_append_byte(&found, '\n');
}

bool filling_is_interrupted(void)
{
	return asked > asked_max;
}

bool verify_go_on(struct verify *verify, uint64_t bytes)
{
	verify->filling.has += bytes;
	return ++asked <= asked_max;
}

struct world {
	struct backup_fixture f;
	struct backup_set *first, *second;
	struct verify verify;
};

/* Two sets, each with a volume in three files and one in a file. */
static void setup(struct world *world)
{
	struct made_log one = { .volume = 1, .epoch = 3 }, two = { .volume = 2, .epoch = 3 };
	struct error error = { 0 };
	*world = (struct world){ 0 };
	backup_fixture_setup(&world->f);
	world->first = fixture_set(&world->f, FIRST, NULL);
	fixture_add_volume(&world->f, world->first, &one, 12, 5 * 8192);
	fixture_add_volume(&world->f, world->first, &two, 4, 1 << 30);
	EXPECT_INT(0, backup_set_write(world->first, &error));
	world->second = fixture_set(&world->f, SECOND, world->first);
	fixture_add_volume(&world->f, world->second, &one, 12, 5 * 8192);
	EXPECT_INT(0, backup_set_write(world->second, &error));
	asked = 0;
	asked_max = UINT32_MAX;
}

static struct str run(struct world *world, bool with_key)
{
	struct verify *verify = &world->verify;
	struct error error = { 0 };
	buf_clear(&found);
	*verify = (struct verify){ .pool = world->f.pool,
		.secret = with_key ? &world->f.secret : NULL };
	EXPECT_INT(0, backup_sets_read(world->f.folder, world->f.pool, &verify->sets, &error));
	verify->chosen = verify->sets.sets;
	verify->chosen_count = verify->sets.count;
	verify_files(verify);
	if (with_key)
		verify_logs(verify);
	return buf_str(&found);
}

static void teardown(struct world *world)
{
	buf_deinit(&found);
	backup_fixture_teardown(&world->f);
}

static void expect_found(struct world *world, bool with_key, const char *what)
{
	struct str text = run(world, with_key);
	if (str_find(text, str_from(what)) < 0)
		test_fail(__FILE__, __LINE__, "`" STR_FORMAT "` does not say `%s`", STR_ARG(text),
			what);
}

TEST(all_is_well_and_each_volume_is_walked_once)
{
	struct world world;
	setup(&world);
	EXPECT_STR(STR(""), run(&world, true));
	EXPECT_INT(13, world.verify.files);
	EXPECT_INT(2, world.verify.volumes);
	EXPECT_INT(28, world.verify.groups);
	EXPECT_INT(28, world.verify.messages);
	EXPECT(world.verify.bytes > world.first->directory.sealed.bytes);
	teardown(&world);
}

TEST(each_fault_names_its_set_and_file)
{
	static const struct row {
		const char *name, *file;
		size_t cut; /* bytes from the end; 0: the file goes */
		const char *said;
	} rows[] = {
		{ "a file that is gone", FIRST "/volume-1-0002.pbk", 0,
			FIRST "/volume-1-0002.pbk: it is missing\n" },
		{ "a file that is cut", SECOND "/volume-1-0001.pbk", 1,
			SECOND "/volume-1-0001.pbk: it has " },
		{ "a directory that is gone", SECOND "/directory.pbk", 0,
			SECOND "/directory.pbk: it is missing\n" },
	};
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct world world;
		test_row(rows[i].name);
		setup(&world);
		struct str bytes = fixture_read(&world.f, rows[i].file);
		if (rows[i].cut)
			fixture_write(&world.f, rows[i].file,
				str_first(bytes, bytes.length - rows[i].cut));
		else
			EXPECT_INT(0, unlink(fixture_path(&world.f, rows[i].file)));
		expect_found(&world, false, rows[i].said);
		/* And with the key the same file is named once more, by who reads it. */
		expect_found(&world, true, rows[i].file);
		teardown(&world);
	}
	test_row(NULL);
}

TEST(a_byte_that_changed_is_found_without_the_key)
{
	struct world world;
	setup(&world);
	struct str bytes = fixture_read(&world.f, FIRST "/volume-1-0003.pbk");
	char *changed = pool_copy_terminated(world.f.pool, bytes);
	changed[bytes.length / 2] ^= 1;
	fixture_write(&world.f, FIRST "/volume-1-0003.pbk", str_of(changed, bytes.length));
	EXPECT_STR(
		STR(FIRST "/volume-1-0003.pbk: its digest is another one\n"), run(&world, false));
	teardown(&world);
}

/* It has gone since it was read. */
TEST(a_folder_that_cannot_be_read_is_named_with_the_reason)
{
	struct world world;
	setup(&world);
	struct verify *verify = &world.verify;
	EXPECT_STR(STR(""), run(&world, false));
	EXPECT_INT(0, rename(fixture_path(&world.f, SECOND), fixture_path(&world.f, "away")));
	verify_files(verify);
	EXPECT(str_find(buf_str(&found),
		       STR(SECOND "/: its folder cannot be read: No such file or directory\n")) >=
		0);
	EXPECT_INT(0, rename(fixture_path(&world.f, "away"), fixture_path(&world.f, SECOND)));
	teardown(&world);
}

TEST(what_does_not_belong_to_a_set_is_named)
{
	struct world world;
	setup(&world);
	fixture_write(&world.f, SECOND "/notes.txt", STR("x"));
	EXPECT_STR(STR(SECOND "/notes.txt: it does not belong to the set\n"), run(&world, true));
	teardown(&world);
}

TEST(a_parent_that_is_gone_is_a_fault_of_its_child)
{
	struct world world;
	setup(&world);
	EXPECT_INT(0, unlink(fixture_path(&world.f, FIRST "/SHA256SUMS")));
	expect_found(&world, true,
		SECOND "/manifest.json: the set " FIRST ", on which " SECOND
		       " stands, does not count");
	EXPECT_INT(0, world.verify.groups);
	teardown(&world);
}

/* A set is written again with what the case changed, and what stands on it left as it was. */
static void write_again(struct world *world, struct backup_set *set)
{
	struct error error = { 0 };
	EXPECT_INT(0, unlink(pool_printf(world->f.pool, "%s/SHA256SUMS", set->folder).bytes));
	EXPECT_INT(0, unlink(pool_printf(world->f.pool, "%s/manifest.json", set->folder).bytes));
	EXPECT_INT(0, backup_set_write(set, &error));
}

TEST(a_parent_that_is_another_than_it_was_is_a_fault_of_its_child)
{
	struct world world;
	setup(&world);
	world.first->cluster = "another cluster";
	write_again(&world, world.first);
	EXPECT_STR(
		STR(SECOND "/manifest.json: the set " FIRST " is another than it was when " SECOND
			   " was made, which stands on it\n"),
		run(&world, false));
	teardown(&world);
}

TEST(a_volume_that_does_not_go_on_from_the_parent_is_named)
{
	struct world world;
	setup(&world);
	world.second->volumes[0].from_chain++;
	write_again(&world, world.second);
	EXPECT_STR(STR(SECOND "/manifest.json: volume volume1 does not go on from where it ends in "
			      "the set " FIRST "\n"),
		run(&world, false));
	teardown(&world);
}

TEST(a_log_that_is_another_than_its_manifest_says_is_found_with_the_key)
{
	struct world world;
	setup(&world);
	world.second->volumes[0].to_chain++;
	write_again(&world, world.second);
	EXPECT_STR(STR(""), run(&world, false));
	EXPECT_STR(STR(SECOND "/manifest.json: volume volume1 does not end in the set " SECOND
			      " with what its manifest says\n"),
		run(&world, true));
	teardown(&world);
}

TEST(another_key_opens_nothing)
{
	struct world world;
	setup(&world);
	x25519_draw(world.f.secret.bytes, world.f.secret.public.bytes);
	expect_found(&world, true, FIRST "/directory.pbk: ");
	expect_found(&world, true, FIRST "/volume-1-0001.pbk: ");
	EXPECT_INT(0, world.verify.groups);
	teardown(&world);
}

TEST(whoever_has_had_enough_is_not_kept)
{
	struct world world;
	setup(&world);
	asked_max = 3;
	EXPECT_STR(STR(""), run(&world, true));
	EXPECT_INT(0, world.verify.groups);
	teardown(&world);
}
