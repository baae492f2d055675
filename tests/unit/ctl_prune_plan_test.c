/* Which sets of a folder may go, and how they go. */

#include "ctl/backup/prune_plan.h"
#include "ctl/backup/remove.h"

#include "unit/backup_fixture.h"
#include "unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* "a b<a": b stands on a; the moment of each is its place, from 0 on, and that of those in capitals
 * a year ahead. "a@k" is of another cluster, "a#k" for another key, k. Each has more of volume 1
 * than the one before; "c!" could not get all, and has least. */
static void make_sets(struct pool *pool, const char *text, struct backup_sets *sets_out)
{
	struct str rest = str_from(text), word;
	*sets_out = (struct backup_sets){ .sets = pool_alloc(pool, 16 * sizeof(void *)) };
	while (rest.length > 0 && str_next(&rest, ' ', &word)) {
		struct backup_set *set = pool_alloc(pool, sizeof(*set));
		set->name[0] = word.bytes[0];
		char what = word.length > 2 ? word.bytes[1] : '\0';
		set->parent[0] = what == '<' ? word.bytes[2] : '\0';
		set->cluster = what == '@' ? "another" : "a cluster";
		set->recipient.bytes[0] = what == '#' ? (uint8_t)word.bytes[2] : 0;
		set->moment_s = sets_out->count + (set->name[0] < 'a' ? 365 * 24 * 60 * 60 : 0);
		set->volumes = pool_alloc(pool, sizeof(*set->volumes));
		bool is_short = word.length == 2;
		set->volumes[0] = (struct backup_volume){ .id = 1,
			.to = is_short ? 1 : 8192 * (sets_out->count + 1),
			.problem = is_short ? "its log is damaged" : "" };
		set->volume_count = 1;
		sets_out->sets[sets_out->count++] = set;
	}
}

TEST(sets_on_which_no_wanted_one_stands_may_go)
{
	static const struct row {
		const char *name, *sets;
		struct prune_wish wish;
		const char *unfinished, *kept;
	} rows[] = {
		{ "the newest of whole ones", "a b c", { 1, INT64_MAX }, NULL, "c" },
		{ "two of them", "a b c", { 2, INT64_MAX }, NULL, "bc" },
		{ "more than there are", "a b c", { 9, INT64_MAX }, NULL, "abc" },
		{ "a chain is kept whole", "a b<a c<b", { 1, INT64_MAX }, NULL, "abc" },
		{ "the chain before goes", "a b<a c d<c", { 1, INT64_MAX }, NULL, "cd" },
		{ "the chain before is still reached", "a b<a c d<c", { 3, INT64_MAX }, NULL,
			"abcd" },
		{ "its whole one is enough of it", "a b<a c d<a", { 1, INT64_MAX }, NULL, "ad" },
		{ "a fork that is not wanted", "a b<a c<a d<c", { 1, INT64_MAX }, NULL, "acd" },
		{ "by age", "a b c d", { 0, 2 }, NULL, "cd" },
		{ "by age, with what they stand on", "a b c<a d", { 0, 2 }, NULL, "acd" },
		{ "all are too old: the newest stays", "a b c<b", { 0, 99 }, NULL, "bc" },
		{ "a parent that is gone", "b<a c<b d", { 2, INT64_MAX }, NULL, "bcd" },
		{ "a cycle ends", "a<b b<a", { 1, INT64_MAX }, NULL, "ab" },
		{ "no set", "", { 1, INT64_MAX }, NULL, "" },
		{ "a backup that runs may go on from the one before it", "a c e", { 1, INT64_MAX },
			"d", "ce" },
		{ "those ahead stay and count not", "a b c D E", { 2, INT64_MAX }, NULL, "bcDE" },
		{ "nor by age", "a b c D", { 0, 99 }, NULL, "cD" },
		{ "what they stand on stays", "a b c D<a", { 1, INT64_MAX }, NULL, "acD" },
		{ "all are ahead", "A B", { 1, INT64_MAX }, NULL, "AB" },
		{ "and from what that stands on", "a b c<b e", { 1, INT64_MAX }, "d", "bce" },
		{ "an older one has more of a volume", "a b c!", { 1, INT64_MAX }, NULL, "bc" },
		{ "with what it stands on", "a b<a c!", { 1, INT64_MAX }, NULL, "abc" },
		{ "of a newer one there is more", "a b! c", { 1, INT64_MAX }, NULL, "c" },
		{ "none has more of it", "a!", { 1, INT64_MAX }, NULL, "a" },
		{ "nor one that has as little", "a! b!", { 1, INT64_MAX }, NULL, "b" },
		{ "each cluster's newest", "a b@k c", { 1, INT64_MAX }, NULL, "bc" },
		{ "and is counted by itself", "a b@k c@k d@k", { 2, INT64_MAX }, NULL, "acd" },
		{ "each key's newest", "a b c#k", { 1, INT64_MAX }, NULL, "bc" },
		{ "which counts in its cluster", "a b c#k d#k", { 2, INT64_MAX }, NULL, "bcd" },
		{ "also by age", "a b@k c#k d", { 0, 99 }, NULL, "bcd" },
		{ "another cluster's has more", "a@k b!", { 1, INT64_MAX }, NULL, "ab" },
		{ "only its own cluster's is kept for it", "a b@k c@k d!", { 1, INT64_MAX }, NULL,
			"acd" },
		{ "one that was begun before all", "b c", { 1, INT64_MAX }, "a", "c" },
	};
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct pool *pool = pool_create();
		struct backup_sets sets;
		struct backup_broken broken = { .name = rows[i].unfinished };
		bool kept[16];
		char text[17] = "";
		size_t length = 0;
		test_row(rows[i].name);
		make_sets(pool, rows[i].sets, &sets);
		sets.broken = &broken;
		sets.broken_count = rows[i].unfinished != NULL;
		prune_plan(&sets, &rows[i].wish, kept);
		for (unsigned k = 0; k < sets.count; k++)
			if (kept[k])
				text[length++] = sets.sets[k]->name[0];
		EXPECT_STR(str_from(rows[i].kept), str_of(text, length));
		pool_destroy(&pool);
	}
	test_row(NULL);
}

TEST(nothing_goes_while_it_is_not_known_what_stands_on_what)
{
	static const struct row {
		const char *name, *sets, *broken;
		bool is_unfinished;
		int code;
	} rows[] = {
		{ "nothing is broken", "a b<a", NULL, false, 0 },
		{ "one that cannot be read", "a b<a", "c", false, -EUCLEAN },
		{ "one that is not finished", "a b<a", "c", true, 0 },
		{ "on which a finished one stands", "a c<b", "b", true, -EUCLEAN },
		{ "in the middle of a chain", "a c<b d<c", "b", true, -EUCLEAN },
	};
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct pool *pool = pool_create();
		struct backup_sets sets;
		struct backup_broken broken = { .name = rows[i].broken,
			.why = "it is broken",
			.is_unfinished = rows[i].is_unfinished };
		struct error error = { 0 };
		test_row(rows[i].name);
		make_sets(pool, rows[i].sets, &sets);
		sets.broken = &broken;
		sets.broken_count = rows[i].broken != NULL;
		EXPECT_INT(rows[i].code, prune_check(&sets, &error));
		EXPECT_INT(rows[i].code < 0, strstr(error.text, broken.why) != NULL);
		pool_destroy(&pool);
	}
	test_row(NULL);
}

static int open_target(const struct backup_fixture *f)
{
	int target = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(target >= 0);
	return target;
}

TEST(a_set_goes_with_all_of_its_files)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 3 };
	struct removable removable;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	int target = open_target(&f);
	struct backup_set *set = fixture_set(&f, "20261127T101400Z-00000001", NULL);
	fixture_add_volume(&f, set, &log, 12, 5 * 8192);
	EXPECT_INT(0, backup_set_write(set, &error));
	EXPECT_INT(0, backup_folder_look(target, set->name, &removable, &error));
	EXPECT(removable.bytes > set->directory.sealed.bytes && removable.written_s > 0);
	EXPECT_INT(0, backup_folder_remove(target, set->name, &error));
	EXPECT(access(set->folder, F_OK) != 0);
	EXPECT_INT(-ENOENT, backup_folder_remove(target, set->name, &error));
	close(target);
	backup_fixture_teardown(&f);
}

TEST(a_folder_with_anything_else_in_it_stays_whole)
{
	static const char *const others[] = { "notes.txt", "folder.pbk", "link.pbk" };
	for (unsigned i = 0; i < array_length(others); i++) {
		struct backup_fixture f;
		struct error error = { 0 };
		test_row(others[i]);
		backup_fixture_setup(&f);
		int target = open_target(&f);
		struct backup_set *set = fixture_set(&f, "20261127T101400Z-00000001", NULL);
		EXPECT_INT(0, backup_set_write(set, &error));
		const char *other = pool_printf(f.pool, "%s/%s", set->folder, others[i]).bytes;
		if (i == 0)
			EXPECT_INT(0, mknod(other, S_IFREG | 0600, 0));
		else if (i == 1)
			EXPECT_INT(0, mkdir(other, 0700));
		else
			EXPECT_INT(0, symlink("directory.pbk", other));
		EXPECT_INT(-ENOTEMPTY, backup_folder_remove(target, set->name, &error));
		EXPECT(strstr(error.text, others[i]) != NULL);
		EXPECT(access(fixture_path(&f, "20261127T101400Z-00000001/SHA256SUMS"), F_OK) == 0);
		close(target);
		backup_fixture_teardown(&f);
	}
	test_row(NULL);
}

TEST(what_a_link_of_a_sets_name_leads_to_is_not_touched)
{
	static const char link[] = "20261127T101500Z-00000002";
	static const char *const places[] = { "elsewhere", "20261127T101400Z-00000001" };
	for (unsigned i = 0; i < array_length(places); i++) {
		struct backup_fixture f;
		struct removable removable;
		struct error error = { 0 };
		test_row(places[i]);
		backup_fixture_setup(&f);
		int target = open_target(&f);
		struct backup_set *set = fixture_set(&f, places[1], NULL);
		EXPECT_INT(0, backup_set_write(set, &error));
		EXPECT_INT(0, renameat(target, places[1], target, places[i]));
		EXPECT_INT(0, symlinkat(places[i], target, link));
		EXPECT_INT(-ENOTDIR, backup_folder_look(target, link, &removable, &error));
		EXPECT_INT(-ENOTDIR, backup_folder_remove(target, link, &error));
		EXPECT(strstr(error.text, link) != NULL);
		EXPECT(faccessat(target, link, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
		const char *sums = pool_printf(f.pool, "%s/SHA256SUMS", places[i]).bytes;
		EXPECT(access(fixture_path(&f, sums), F_OK) == 0);
		close(target);
		backup_fixture_teardown(&f);
	}
	test_row(NULL);
}
