/* Sets in a folder: what is written is read again, and what contradicts itself does not count. */

#include "ctl/backup/set.h"

#include "unit/backup_fixture.h"
#include "unit/test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST "20261127T101400Z-00000001"
#define SECOND "20261127T101500Z-00000002"
#define THIRD "20261127T101600Z-00000003"

static struct backup_set *made_set(struct backup_fixture *f, const char *name,
	const struct backup_set *parent, struct made_log *log)
{
	struct error error = { 0 };
	struct backup_set *set = fixture_set(f, name, parent);
	fixture_add_volume(f, set, log, 12, 5 * 8192);
	EXPECT_INT(0, backup_set_write(set, &error));
	return set;
}

static void expect_same_volume(const struct backup_volume *a, const struct backup_volume *b)
{
	EXPECT_INT(a->id, b->id);
	EXPECT_STR(str_from(a->name), str_from(b->name));
	EXPECT_STR(str_from(a->source), str_from(b->source));
	EXPECT_STR(str_from(a->problem), str_from(b->problem));
	EXPECT(a->from == b->from && a->to == b->to && a->epoch == b->epoch);
	EXPECT(a->from_chain == b->from_chain && a->to_chain == b->to_chain);
	EXPECT(memcmp(a->reign, b->reign, sizeof(a->reign)) == 0);
	EXPECT_INT(a->file_count, b->file_count);
	for (unsigned i = 0; i < a->file_count && i < b->file_count; i++) {
		EXPECT_STR(str_from(a->files[i].name), str_from(b->files[i].name));
		EXPECT(a->files[i].from == b->files[i].from && a->files[i].to == b->files[i].to);
		EXPECT(memcmp(&a->files[i].sealed, &b->files[i].sealed, sizeof(struct sealed)) ==
			0);
	}
}

TEST(a_set_is_read_as_it_was_written)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3, .reign = { 1, 2, 3 } };
	struct made_log other = { .volume = 7, .epoch = UINT64_MAX };
	struct backup_set *read;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	struct backup_set *parent = made_set(&f, FIRST, NULL, &log);
	struct backup_set *set = fixture_set(&f, SECOND, parent);
	set->cluster = "\xc3\xa9t\xc3\xa9 \"quoted\"\n";
	fixture_add_volume(&f, set, &log, 12, 5 * 8192);
	fixture_add_volume(&f, set, &other, 0, 1);
	set->volumes[1].problem = "its node is silent:\nnobody answers";
	EXPECT_INT(0, backup_set_write(set, &error));
	CHECK(backup_set_read(set->folder, f.pool, &read, &error) == 0);
	EXPECT_STR(str_from(set->name), str_from(read->name));
	EXPECT_STR(str_from(set->folder), str_from(read->folder));
	EXPECT_STR(str_from(set->cluster), str_from(read->cluster));
	EXPECT_STR(str_from(FIRST), str_from(read->parent));
	EXPECT(memcmp(parent->sums, read->parent_sums, sizeof(read->parent_sums)) == 0);
	EXPECT(memcmp(set->sums, read->sums, sizeof(read->sums)) == 0);
	EXPECT(memcmp(&set->recipient, &read->recipient, sizeof(set->recipient)) == 0);
	EXPECT_INT(set->moment_s, read->moment_s);
	EXPECT_INT(12, read->directory_revision);
	EXPECT_STR(STR("directory.pbk"), str_from(read->directory.name));
	EXPECT_INT(2, read->volume_count);
	for (unsigned i = 0; i < 2 && i < read->volume_count; i++)
		expect_same_volume(&set->volumes[i], &read->volumes[i]);
	backup_fixture_teardown(&f);
}

TEST(sums_are_those_of_sha256sum)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	char command[200];
	backup_fixture_setup(&f);
	struct backup_set *set = made_set(&f, FIRST, NULL, &log);
	snprintf(command, sizeof(command), "cd %s && sha256sum --check --quiet --strict SHA256SUMS",
		set->folder);
	EXPECT_INT(0, system(command));
	backup_fixture_teardown(&f);
}

TEST(a_set_is_written_once)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	struct error error = { 0 };
	backup_fixture_setup(&f);
	struct backup_set *set = made_set(&f, FIRST, NULL, &log);
	EXPECT_INT(-EEXIST, backup_set_write(set, &error));
	backup_fixture_teardown(&f);
}

TEST(what_could_not_be_read_again_is_not_written)
{
	struct backup_fixture f;
	struct error error = { 0 };
	struct made_log log = { .volume = 1, .epoch = 3 };
	backup_fixture_setup(&f);
	struct backup_set *set = fixture_set(&f, FIRST, NULL);
	fixture_add_volume(&f, set, &log, 12, 5 * 8192);
	set->volumes[0].to += GROUP_ALIGNMENT;
	EXPECT_INT(-EINVAL, backup_set_write(set, &error));
	EXPECT(strstr(error.text, "do not end where it does") != NULL);
	EXPECT(access(fixture_path(&f, FIRST "/manifest.json"), F_OK) != 0);
	backup_fixture_teardown(&f);
}

TEST(a_set_without_its_sums_was_never_finished)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	struct backup_set *read;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	struct backup_set *set = made_set(&f, FIRST, NULL, &log);
	EXPECT_INT(0, unlink(fixture_path(&f, FIRST "/SHA256SUMS")));
	EXPECT_INT(-ENOENT, backup_set_read(set->folder, f.pool, &read, &error));
	EXPECT(strstr(error.text, "never finished") != NULL);
	backup_fixture_teardown(&f);
}

TEST(a_set_whose_sums_were_not_written_to_their_end_was_never_finished)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	struct backup_set *read;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	struct backup_set *set = made_set(&f, FIRST, NULL, &log);
	struct str whole = fixture_read(&f, FIRST "/SHA256SUMS");
	for (size_t length = 0; length < whole.length; length += 7) {
		fixture_write(&f, FIRST "/SHA256SUMS", str_first(whole, length));
		EXPECT_INT(-ENOENT, backup_set_read(set->folder, f.pool, &read, &error));
		EXPECT(strstr(error.text, "never finished") != NULL);
	}
	fixture_write(&f, FIRST "/SHA256SUMS", whole);
	EXPECT_INT(0, backup_set_read(set->folder, f.pool, &read, &error));
	backup_fixture_teardown(&f);
}

TEST(manifest_and_sums_that_contradict_each_other_are_refused)
{
	static const char *const changed[] = { FIRST "/manifest.json", FIRST "/SHA256SUMS" };
	for (unsigned i = 0; i < array_length(changed); i++) {
		struct backup_fixture f;
		struct made_log log = { .volume = 1, .epoch = 3 };
		struct backup_set *read;
		struct error error = { 0 };
		test_row(changed[i]);
		backup_fixture_setup(&f);
		struct backup_set *set = made_set(&f, FIRST, NULL, &log);
		struct str whole = fixture_read(&f, changed[i]);
		/* Its end, and a byte that changes nothing of what it says. */
		fixture_write(&f, changed[i], str_from_index(whole, 1));
		EXPECT_INT(-EUCLEAN, backup_set_read(set->folder, f.pool, &read, &error));
		fixture_write(&f, changed[i], pool_printf(f.pool, STR_FORMAT "\n", STR_ARG(whole)));
		EXPECT_INT(-EUCLEAN, backup_set_read(set->folder, f.pool, &read, &error));
		fixture_write(&f, changed[i], whole);
		EXPECT_INT(0, backup_set_read(set->folder, f.pool, &read, &error));
		EXPECT_INT(0, unlink(fixture_path(&f, FIRST "/manifest.json")));
		EXPECT_INT(-EUCLEAN, backup_set_read(set->folder, f.pool, &read, &error));
		backup_fixture_teardown(&f);
	}
	test_row(NULL);
}

TEST(a_set_in_a_folder_of_another_name_is_refused)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	struct backup_set *read;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	(void)made_set(&f, FIRST, NULL, &log);
	EXPECT_INT(0, rename(fixture_path(&f, FIRST), fixture_path(&f, SECOND)));
	EXPECT_INT(-EUCLEAN, backup_set_read(fixture_path(&f, SECOND), f.pool, &read, &error));
	EXPECT_INT(0, rename(fixture_path(&f, SECOND), fixture_path(&f, FIRST)));
	EXPECT_INT(0, backup_set_read(fixture_path(&f, FIRST "/"), f.pool, &read, &error));
	backup_fixture_teardown(&f);
}

TEST(a_manifest_that_is_too_long_is_not_looked_at)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	struct backup_set *read;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	struct backup_set *set = made_set(&f, FIRST, NULL, &log);
	/* A hole: nothing of it is on the disk. */
	EXPECT_INT(0, truncate(fixture_path(&f, FIRST "/manifest.json"), (off_t)1 << 40));
	EXPECT_INT(-EUCLEAN, backup_set_read(set->folder, f.pool, &read, &error));
	EXPECT(strstr(error.text, "more than") != NULL);
	EXPECT_INT(0, truncate(fixture_path(&f, FIRST "/SHA256SUMS"), (off_t)1 << 40));
	EXPECT_INT(-EUCLEAN, backup_set_read(set->folder, f.pool, &read, &error));
	backup_fixture_teardown(&f);
}

TEST(a_folder_of_sets_is_read_oldest_first)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	struct backup_sets sets;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	struct backup_set *first = made_set(&f, FIRST, NULL, &log);
	(void)made_set(&f, THIRD, first, &log);
	EXPECT_INT(0, mkdir(fixture_path(&f, SECOND), 0700));
	EXPECT_INT(0, mkdir(fixture_path(&f, "20261127T101700Z-00000004"), 0700));
	fixture_write(&f, "20261127T101700Z-00000004/SHA256SUMS", STR(""));
	fixture_write(&f, "20261127T101800Z-00000005", STR("no folder"));
	EXPECT_INT(0, mkdir(fixture_path(&f, "lost+found"), 0700));
	CHECK(backup_sets_read(f.folder, f.pool, &sets, &error) == 0);
	EXPECT_INT(2, sets.count);
	EXPECT_STR(STR(FIRST), str_from(sets.sets[0]->name));
	EXPECT_STR(STR(THIRD), str_from(sets.sets[1]->name));
	EXPECT_INT(3, sets.broken_count);
	EXPECT_STR(STR(SECOND), str_from(sets.broken[0].name));
	EXPECT(sets.broken[0].is_unfinished);
	EXPECT(!sets.broken[1].is_unfinished && !sets.broken[2].is_unfinished);
	EXPECT_INT(-ENOENT, backup_sets_read(fixture_path(&f, "none"), f.pool, &sets, &error));
	backup_fixture_teardown(&f);
}

/* Sets that stand nowhere but here; "a" stands on "b" where the texts say "a<b". */
static void make_sets(struct pool *pool, const char *text, struct backup_sets *sets_out)
{
	struct str rest = str_from(text), word;
	*sets_out = (struct backup_sets){ .sets = pool_alloc(pool, 16 * sizeof(void *)) };
	while (rest.length > 0 && str_next(&rest, ' ', &word)) {
		struct backup_set *set = pool_alloc(pool, sizeof(*set));
		set->name[0] = word.bytes[0];
		set->sums[0] = (uint8_t)word.bytes[0];
		if (word.length > 2) {
			set->parent[0] = word.bytes[2];
			set->parent_sums[0] = (uint8_t)word.bytes[2];
		}
		set->moment_s = sets_out->count;
		sets_out->sets[sets_out->count++] = set;
	}
}

/* "abc", or the sentence. */
static struct str chain_text(
	struct pool *pool, const struct backup_sets *sets, const char *name, struct error *error)
{
	struct backup_set **chain;
	unsigned count;
	struct buf text = { 0 };
	if (backup_sets_chain(sets, name, pool, &chain, &count, error) < 0)
		return str_from(error->text);
	for (unsigned i = 0; i < count; i++)
		buf_append_str(&text, str_from(chain[i]->name));
	struct str copy = pool_copy(pool, buf_str(&text));
	buf_deinit(&text);
	return copy;
}

TEST(a_chain_leads_from_the_whole_set_to_the_one_that_is_wanted)
{
	static const struct chain_row {
		const char *name, *sets, *wanted, *chain;
	} chains[] = {
		{ "newest", "a b<a c<b", NULL, "abc" },
		{ "one in the middle", "a b<a c<b", "b", "ab" },
		{ "the whole one", "a b<a c<b", "a", "a" },
		{ "two bases", "a b<a c d<c", NULL, "cd" },
		{ "two bases, the older one", "a b<a c d<c", "b", "ab" },
		{ "a fork", "a b<a c<a", NULL, "ac" },
		{ "a parent that is gone", "b<a c<b", NULL,
			"the set a, on which b stands, is not there: `pando backup list` names "
			"those "
			"that are" },
		{ "a cycle", "a<b b<a", NULL, "the set b stands on itself" },
		{ "a set on itself", "a<a", NULL, "the set a stands on itself" },
		{ "no such set", "a b<a", "x",
			"the set x is not there: `pando backup list` names those that are" },
		{ "no set", "", NULL, "there is no finished set" },
	};
	for (unsigned i = 0; i < array_length(chains); i++) {
		struct pool *pool = pool_create();
		struct backup_sets sets;
		struct error error = { 0 };
		test_row(chains[i].name);
		make_sets(pool, chains[i].sets, &sets);
		EXPECT_STR(str_from(chains[i].chain),
			chain_text(pool, &sets, chains[i].wanted, &error));
		pool_destroy(&pool);
	}
	test_row(NULL);
}

TEST(a_parent_that_is_another_than_it_was_is_refused)
{
	struct pool *pool = pool_create();
	struct backup_sets sets;
	struct backup_set **chain;
	unsigned count;
	struct error error = { 0 };
	make_sets(pool, "a b<a", &sets);
	sets.sets[0]->sums[31] = 1;
	EXPECT_INT(-EUCLEAN, backup_sets_chain(&sets, NULL, pool, &chain, &count, &error));
	EXPECT_STR(STR("the set a is another than it was when b was made, which stands on it"),
		str_from(error.text));
	EXPECT_INT(0, backup_sets_chain(&sets, "a", pool, &chain, &count, &error));
	pool_destroy(&pool);
}

TEST(a_parent_that_does_not_count_is_said_to_be_there)
{
	struct pool *pool = pool_create();
	struct backup_sets sets;
	struct backup_set **chain;
	struct backup_broken broken = { .name = "a", .why = "it is cut", .is_unfinished = true };
	unsigned count;
	struct error error = { 0 };
	make_sets(pool, "b<a", &sets);
	sets.broken = &broken;
	sets.broken_count = 1;
	EXPECT_INT(-ENOENT, backup_sets_chain(&sets, NULL, pool, &chain, &count, &error));
	EXPECT_STR(STR("the set a, on which b stands, does not count: it is cut"),
		str_from(error.text));
	broken.is_unfinished = false;
	EXPECT_INT(-EUCLEAN, backup_sets_chain(&sets, NULL, pool, &chain, &count, &error));
	pool_destroy(&pool);
}

TEST(a_set_is_named_by_its_moment_and_eight_digits)
{
	static const char *const bad[] = { "", "20261127T101500Z", "20261127T101500Z-1f3a9c0",
		"20261127T101500Z-1f3a9c022", "20261127T101500Z-1F3A9C02",
		"20261127 101500Z-1f3a9c02", "2026112aT101500Z-1f3a9c02",
		"20261127T101500Z/1f3a9c02", "lost+found" };
	EXPECT(backup_set_name_is_valid(STR("20261127T101500Z-1f3a9c02")));
	for (unsigned i = 0; i < array_length(bad); i++) {
		test_row(bad[i]);
		EXPECT(!backup_set_name_is_valid(str_from(bad[i])));
	}
	test_row(NULL);
}

TEST(a_newest_set_whose_moment_has_not_come_has_to_be_named)
{
	static const struct row {
		const char *name;
		int64_t ahead_s;
		int code;
	} rows[] = { { "long ago", -1000000, 0 }, { "clocks differ", BACKUP_AHEAD_S, 0 },
		{ "ahead", BACKUP_AHEAD_S + 1, -ERANGE }, { "far ahead", 1000000000, -ERANGE } };
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	struct backup_sets sets = { 0 };
	struct error error = { 0 };
	backup_fixture_setup(&f);
	EXPECT_INT(0, backup_sets_check_newest(&sets, 0, &error));
	made_set(&f, FIRST, made_set(&f, SECOND, NULL, &log), &log);
	EXPECT_INT(0, backup_sets_read(f.folder, f.pool, &sets, &error));
	EXPECT_INT(2, sets.count);
	const struct backup_set *newest = sets.sets[sets.count - 1];
	for (size_t i = 0; i < array_length(rows); i++) {
		int64_t now_s = newest->moment_s - rows[i].ahead_s;
		error.text[0] = '\0';
		test_row(rows[i].name);
		EXPECT_INT(rows[i].code, backup_sets_check_newest(&sets, now_s, &error));
		EXPECT(backup_set_is_ahead(newest, now_s) == (rows[i].code < 0));
		EXPECT((strstr(error.text, newest->name) != NULL) == (rows[i].code < 0));
		EXPECT((strstr(error.text, "--set NAME") != NULL) == (rows[i].code < 0));
	}
	test_row(NULL);
	backup_fixture_teardown(&f);
}

TEST(a_set_that_has_lost_a_file_or_a_part_of_one_is_known_without_reading_it)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	struct error error = { 0 };
	backup_fixture_setup(&f);
	struct backup_set *set = fixture_set(&f, "20261127T101400Z-00000001", NULL);
	fixture_add_volume(&f, set, &log, 3, 5 * 8192);
	EXPECT_INT(0, backup_set_write(set, &error));
	EXPECT_INT(0, backup_set_check_files(set, &error));
	const char *name =
		pool_printf(f.pool, "%s/%s", set->name, set->volumes[0].files[0].name).bytes;
	struct str whole = fixture_read(&f, name);
	fixture_write(&f, name, str_first(whole, whole.length - 1));
	EXPECT_INT(-EUCLEAN, backup_set_check_files(set, &error));
	EXPECT(strstr(error.text, name) != NULL);
	EXPECT_INT(0, unlink(fixture_path(&f, name)));
	EXPECT_INT(-ENOENT, backup_set_check_files(set, &error));
	EXPECT(strstr(error.text, name) != NULL);
	fixture_write(&f, name, whole);
	EXPECT_INT(0, backup_set_check_files(set, &error));
	EXPECT_INT(0, unlink(fixture_path(&f, "20261127T101400Z-00000001/directory.pbk")));
	EXPECT_INT(-ENOENT, backup_set_check_files(set, &error));
	backup_fixture_teardown(&f);
}
