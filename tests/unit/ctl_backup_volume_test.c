/* A volume's log in a chain of sets: it comes back group by group, or it is said where it breaks.
 */

#include "ctl/backup/volume_file.h"

#include "core/encode.h"
#include "unit/backup_fixture.h"
#include "unit/test.h"

#include <errno.h>
#include <unistd.h>

#define FIRST "20261127T101400Z-00000001"
#define SECOND "20261127T101500Z-00000002"
#define THIRD "20261127T101600Z-00000003"

/* Reads to the end; 0 where that is what the manifests say. */
static int read_all(struct backup_fixture *f, struct backup_set *const *chain, unsigned count,
	struct volume_walk *walk_out, struct error *error)
{
	struct volume_source *source = NULL;
	struct bytes *bytes;
	uint64_t lsn;
	int code = volume_source_open(chain, count, 1, &f->secret, &source, error);
	while (code == 0) {
		code = volume_source_next(source, &bytes, &lsn, error);
		if (code == 0)
			bytes_unref(&bytes);
	}
	if (source)
		*walk_out = *volume_source_walk(source);
	volume_source_close(&source);
	return code == -ENODATA ? 0 : code;
}

static void expect_broken(
	struct backup_fixture *f, struct backup_set *const *chain, unsigned count, const char *why)
{
	struct volume_walk walk;
	struct error error = { 0 };
	EXPECT_INT(-EUCLEAN, read_all(f, chain, count, &walk, &error));
	if (!strstr(error.text, why))
		test_fail(__FILE__, __LINE__, "`%s` does not say `%s`", error.text, why);
}

/* Three sets of 70 groups each in files of ten: across boundaries of segments, files and sets. */
static void make_chain(
	struct backup_fixture *f, struct made_log *log, struct backup_set *chain_out[3])
{
	static const char *const names[] = { FIRST, SECOND, THIRD };
	*log = (struct made_log){ .volume = 1, .epoch = 3 };
	for (unsigned i = 0; i < 3; i++) {
		chain_out[i] = fixture_set(f, names[i], i ? chain_out[i - 1] : NULL);
		fixture_add_volume(f, chain_out[i], log, 70, 10 * 8192);
		/* A failover between the sets. */
		log->epoch++;
		log->reign[0]++;
	}
}

TEST(a_log_in_three_sets_comes_back_whole)
{
	struct backup_fixture f;
	struct made_log log;
	struct backup_set *chain[3];
	struct volume_walk walk;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	make_chain(&f, &log, chain);
	EXPECT_INT(7, chain[0]->volumes[0].file_count);
	EXPECT_INT(0, read_all(&f, chain, 3, &walk, &error));
	EXPECT_INT(210, walk.groups);
	EXPECT_INT(210, walk.messages);
	EXPECT_INT(log.end, walk.end);
	EXPECT_INT(log.chain, walk.chain);
	EXPECT_INT(0, read_all(&f, chain, 1, &walk, &error));
	EXPECT_INT(70, walk.groups);
	backup_fixture_teardown(&f);
}

TEST(bytes_come_back_as_they_were_and_where_they_were)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 1 }, again = log;
	struct volume_source *source;
	struct bytes *bytes;
	struct buf group = { 0 };
	struct error error = { 0 };
	uint64_t lsn;
	backup_fixture_setup(&f);
	struct backup_set *set = fixture_set(&f, FIRST, NULL);
	fixture_add_volume(&f, set, &log, 100, 1 << 30);
	CHECK(volume_source_open(&set, 1, 1, &f.secret, &source, &error) == 0);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t wanted = made_log_add(&again, 5000, &group);
		EXPECT_INT(0, volume_source_next(source, &bytes, &lsn, &error));
		EXPECT_INT(wanted, lsn);
		EXPECT_STR(buf_str(&group), bytes_str(bytes));
		bytes_unref(&bytes);
	}
	EXPECT_INT(-ENODATA, volume_source_next(source, &bytes, &lsn, &error));
	EXPECT(bytes == NULL);
	EXPECT_INT(-ENODATA, volume_source_next(source, &bytes, &lsn, &error));
	volume_source_close(&source);
	buf_deinit(&group);
	backup_fixture_teardown(&f);
}

TEST(a_group_may_be_as_long_as_a_segment)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 1 };
	struct volume_sink *sink;
	struct buf group = { 0 };
	struct error error = { 0 };
	struct volume_walk walk;
	backup_fixture_setup(&f);
	struct backup_set *set = fixture_set(&f, FIRST, NULL);
	struct backup_volume volume = { .id = 1, .name = "volume1", .epoch = 1 };
	CHECK(volume_sink_create(set->folder, 1, 0, &set->recipient, &sink, &error) == 0);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t lsn = made_log_add(&log,
			(size_t)segment_length - GROUP_HEADER_LENGTH - RECORD_HEADER_LENGTH,
			&group);
		EXPECT_INT(segment_length, buf_length(&group));
		EXPECT_INT(0, volume_sink_write(sink, lsn, buf_str(&group), log.end, &error));
	}
	EXPECT_INT(0, volume_sink_finish(&sink, f.pool, &volume.files, &volume.file_count, &error));
	volume.to = log.end;
	volume.to_chain = log.chain;
	set->volumes = &volume;
	set->volume_count = 1;
	EXPECT_INT(0, read_all(&f, &set, 1, &walk, &error));
	EXPECT_INT(3, walk.groups);
	buf_deinit(&group);
	backup_fixture_teardown(&f);
}

TEST(a_volume_with_nothing_in_it_is_read)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 1 };
	struct volume_walk walk;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	struct backup_set *chain[2] = { fixture_set(&f, FIRST, NULL) };
	fixture_add_volume(&f, chain[0], &log, 0, 1 << 30);
	EXPECT_INT(0, chain[0]->volumes[0].file_count);
	EXPECT_INT(0, read_all(&f, chain, 1, &walk, &error));
	EXPECT_INT(0, walk.groups);
	/* It gets its first mail later. */
	chain[1] = fixture_set(&f, SECOND, chain[0]);
	fixture_add_volume(&f, chain[1], &log, 5, 1 << 30);
	EXPECT_INT(0, read_all(&f, chain, 2, &walk, &error));
	EXPECT_INT(5, walk.groups);
	backup_fixture_teardown(&f);
}

TEST(a_set_that_has_nothing_new_is_passed_through)
{
	struct backup_fixture f;
	struct made_log log = { .volume = 1, .epoch = 1 };
	struct volume_walk walk;
	struct error error = { 0 };
	struct backup_set *chain[3] = { 0 };
	static const char *const names[] = { FIRST, SECOND, THIRD };
	backup_fixture_setup(&f);
	for (unsigned i = 0; i < 3; i++) {
		chain[i] = fixture_set(&f, names[i], i ? chain[i - 1] : NULL);
		fixture_add_volume(&f, chain[i], &log, i == 1 ? 0 : 4, 1 << 30);
	}
	EXPECT_INT(0, read_all(&f, chain, 3, &walk, &error));
	EXPECT_INT(8, walk.groups);
	backup_fixture_teardown(&f);
}

TEST(a_volume_begins_anew_where_its_log_is_another)
{
	struct backup_fixture f;
	struct made_log log, other = { .volume = 1, .epoch = 9 };
	struct backup_set *chain[3];
	struct volume_walk walk;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	make_chain(&f, &log, chain);
	chain[2] = fixture_set(&f, "20261127T101700Z-00000004", chain[1]);
	fixture_add_volume(&f, chain[2], &other, 2, 1 << 30);
	EXPECT_INT(0, read_all(&f, chain, 3, &walk, &error));
	EXPECT_INT(2, walk.groups);
	EXPECT_INT(9, walk.epoch);
	backup_fixture_teardown(&f);
}

TEST(a_volume_that_the_last_set_lacks_is_not_found)
{
	struct backup_fixture f;
	struct made_log log;
	struct backup_set *chain[3];
	struct volume_walk walk;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	make_chain(&f, &log, chain);
	chain[2]->volume_count = 0;
	EXPECT_INT(-ENOENT, read_all(&f, chain, 3, &walk, &error));
	EXPECT_INT(0, read_all(&f, chain, 2, &walk, &error));
	backup_fixture_teardown(&f);
}

TEST(sets_that_do_not_go_on_from_each_other_are_refused)
{
	struct backup_fixture f;
	struct made_log log;
	struct backup_set *chain[3];
	backup_fixture_setup(&f);
	make_chain(&f, &log, chain);
	struct backup_set *gap[] = { chain[0], chain[2] };
	expect_broken(&f, gap, 2, "from elsewhere");
	expect_broken(&f, chain + 1, 2, "no set holds the begin");
	chain[1]->volumes[0].to_chain++;
	expect_broken(&f, chain, 3, "from elsewhere");
	chain[1]->volumes[0].to_chain--;
	chain[1]->volume_count = 0;
	expect_broken(&f, chain, 3, "has no volume 1, from which");
	backup_fixture_teardown(&f);
}

TEST(a_manifest_that_says_something_else_than_the_log_is_noticed)
{
	struct backup_fixture f;
	struct made_log log;
	struct backup_set *chain[3];
	backup_fixture_setup(&f);
	make_chain(&f, &log, chain);
	struct backup_volume *last = &chain[2]->volumes[0];
	last->to_chain++;
	expect_broken(&f, chain, 3, "does not end in the set " THIRD);
	last->to_chain--;
	last->epoch++;
	expect_broken(&f, chain, 3, "does not end in the set " THIRD);
	last->epoch--;
	last->reign[3]++;
	expect_broken(&f, chain, 3, "does not end in the set " THIRD);
	last->reign[3]--;
	last->files[2].to += GROUP_ALIGNMENT;
	expect_broken(&f, chain, 3, "it does not end where its manifest says");
	last->files[2].to -= GROUP_ALIGNMENT;
	last->to += GROUP_ALIGNMENT;
	expect_broken(&f, chain, 3, "does not end in the set " THIRD);
	/* One file less, and the manifest in step with that but for the chain. */
	last->file_count--;
	last->to = last->files[last->file_count - 1].to;
	expect_broken(&f, chain, 3, "does not end in the set " THIRD);
	backup_fixture_teardown(&f);
}

TEST(files_that_changed_places_are_noticed)
{
	struct backup_fixture f;
	struct made_log log;
	struct backup_set *chain[3];
	char one[160], two[160], three[160];
	backup_fixture_setup(&f);
	make_chain(&f, &log, chain);
	snprintf(one, sizeof(one), "%s/volume-1-0002.pbk", chain[0]->folder);
	snprintf(two, sizeof(two), "%s/volume-1-0003.pbk", chain[0]->folder);
	snprintf(three, sizeof(three), "%s/volume-1-0004.pbk", chain[0]->folder);
	EXPECT_INT(0, rename(one, three));
	EXPECT_INT(0, rename(two, one));
	EXPECT_INT(0, rename(three, two));
	expect_broken(&f, chain, 3, "goes on at");
	/* The same file twice. */
	EXPECT_INT(0, unlink(two));
	EXPECT_INT(0, link(one, two));
	expect_broken(&f, chain, 3, "goes on at");
	backup_fixture_teardown(&f);
}

/* One file with what the case puts into it, as a volume of one set. */
static struct backup_set *odd_set(struct backup_fixture *f, struct str bytes, uint64_t to)
{
	struct seal_writer *writer;
	struct error error;
	struct backup_set *set = pool_alloc(f->pool, sizeof(*set));
	struct backup_volume *volume = pool_alloc(f->pool, sizeof(*volume));
	struct backup_file *file = pool_alloc(f->pool, sizeof(*file));
	set->folder = f->folder;
	(void)unlink(fixture_path(f, "odd.pbk"));
	CHECK(seal_create(fixture_path(f, "odd.pbk"), &f->secret.public, &writer, &error) == 0);
	EXPECT_INT(0, seal_write(writer, bytes, &error));
	EXPECT_INT(0, seal_finish(&writer, &file->sealed, &error));
	file->name = "odd.pbk";
	file->to = to;
	*volume = (struct backup_volume){
		.id = 1, .name = "volume1", .to = to, .files = file, .file_count = 1
	};
	set->volumes = volume;
	set->volume_count = 1;
	return set;
}

static void append_entry(struct buf *out, uint64_t lsn, size_t length, struct str bytes)
{
	append_le64(out, lsn);
	append_le32(out, (uint32_t)length);
	buf_append_str(out, bytes);
}

TEST(what_is_no_sequence_of_groups_is_refused_before_memory_is_taken)
{
	struct backup_fixture f;
	struct buf group = { 0 };
	struct made_log log = { .volume = 1, .epoch = 1 };
	backup_fixture_setup(&f);
	made_log_add(&log, 5000, &group);
	struct str good = buf_str(&group);
	const struct row {
		const char *name, *why;
		uint64_t lsn;
		size_t length;
		struct str bytes;
	} rows[] = {
		{ "longer than a segment", "where groups should begin", 0,
			(size_t)segment_length + GROUP_ALIGNMENT, good },
		{ "4 GiB", "where groups should begin", 0, 0xfffff000, good },
		{ "no length", "where groups should begin", 0, 0, good },
		{ "no multiple of 4096", "where groups should begin", 0, good.length - 1, good },
		{ "cut", "ends within a group", 0, good.length, str_first(good, 5000) },
		{ "half a group", "no valid group", 0, 4096, str_first(good, 4096) },
		{ "no padding", "no valid group", 0, 4096, str_first(good, 4096) },
		{ "another address", "goes on at", 8192, good.length, good },
		{ "an address that is none", "goes on at", 77, good.length, good },
	};
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct buf file = { 0 };
		test_row(rows[i].name);
		append_entry(&file, rows[i].lsn, rows[i].length, rows[i].bytes);
		struct backup_set *set = odd_set(&f, buf_str(&file), good.length);
		expect_broken(&f, &set, 1, rows[i].why);
		buf_deinit(&file);
	}
	test_row(NULL);
	struct backup_set *set = odd_set(&f, str_of("\0\0\0\0\0\0\0", 7), good.length);
	expect_broken(&f, &set, 1, "where groups should begin");
	buf_deinit(&group);
	backup_fixture_teardown(&f);
}

/* A log of three groups, the second one made with `change`. */
static struct backup_set *log_with(struct backup_fixture *f, void (*change)(struct made_log *log))
{
	struct made_log log = { .volume = 1, .epoch = 5 };
	struct buf group = { 0 }, file = { 0 };
	for (unsigned i = 0; i < 3; i++) {
		if (i == 1)
			change(&log);
		uint64_t lsn = made_log_add(&log, 5000, &group);
		append_entry(&file, lsn, buf_length(&group), buf_str(&group));
	}
	struct backup_set *set = odd_set(f, buf_str(&file), log.end);
	buf_deinit(&group);
	buf_deinit(&file);
	return set;
}

static void skip_a_block(struct made_log *log)
{
	log->end += GROUP_ALIGNMENT;
}

static void go_back(struct made_log *log)
{
	log->end -= GROUP_ALIGNMENT;
}

static void skip_a_segment(struct made_log *log)
{
	log->end = 2 * segment_length;
}

static void take_another_chain(struct made_log *log)
{
	log->chain++;
}

static void name_another_before(struct made_log *log)
{
	log->last += GROUP_ALIGNMENT;
}

static void lower_the_epoch(struct made_log *log)
{
	log->epoch--;
}

static void change_the_reign(struct made_log *log)
{
	log->reign[0]++;
}

static void become_another_volume(struct made_log *log)
{
	log->volume++;
}

TEST(a_log_that_breaks_is_refused)
{
	static const struct row {
		void (*change)(struct made_log *log);
		const char *why;
	} rows[] = {
		{ skip_a_block, "ends at 8192 and goes on at 12288" },
		{ go_back, "ends at 8192 and goes on at 4096" },
		{ skip_a_segment, "ends at 8192 and goes on at 524288" },
		{ take_another_chain, "another log goes on there" },
		{ name_another_before, "names another group as the one before" },
		{ lower_the_epoch, "its epoch is lower" },
		{ change_the_reign, "an epoch has two reigns" },
		{ become_another_volume, "there is no valid group" },
	};
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct backup_fixture f;
		test_row(rows[i].why);
		backup_fixture_setup(&f);
		struct backup_set *set = log_with(&f, rows[i].change);
		expect_broken(&f, &set, 1, rows[i].why);
		backup_fixture_teardown(&f);
	}
	test_row(NULL);
}

TEST(a_walk_may_begin_where_a_parent_ends)
{
	struct made_log log = { .volume = 1, .epoch = 5 };
	struct buf group = { 0 };
	struct error error = { 0 };
	for (unsigned i = 0; i < 3; i++)
		made_log_add(&log, 5000, &group);
	struct volume_walk walk = { .volume = 1, .end = log.end, .chain = log.chain }, other;
	uint64_t lsn = made_log_add(&log, 5000, &group);
	other = walk;
	other.chain++;
	EXPECT_INT(-EUCLEAN,
		volume_walk_groups(&other, lsn, group.memory, buf_length(&group), &error));
	EXPECT_INT(0, volume_walk_groups(&walk, lsn, group.memory, buf_length(&group), &error));
	EXPECT(walk.chain == log.chain && walk.end == log.end && walk.epoch == 5);
	buf_deinit(&group);
}

TEST(what_no_checksum_covers_comes_back_as_zeroes)
{
	struct made_log log = { .volume = 1, .epoch = 5 };
	struct volume_walk walk = { .volume = 1 };
	struct buf group = { 0 };
	struct error error = { 0 };
	struct group found;
	made_log_add(&log, 5000, &group);
	group.memory[buf_length(&group) - 1] = 1;
	EXPECT_INT(0, volume_walk_groups(&walk, 0, group.memory, buf_length(&group), &error));
	EXPECT(group_verify(buf_str(&group), 0, 1, &found));
	EXPECT(group_gaps_are_clear(buf_str(&group), &found));
	buf_deinit(&group);
}

TEST(a_sink_takes_groups_in_their_order_alone)
{
	struct backup_fixture f;
	struct volume_sink *sink;
	struct error error = { 0 };
	struct str bytes;
	backup_fixture_setup(&f);
	bytes = str_of(pool_alloc(f.pool, 8192), 8192);
	CHECK(volume_sink_create(f.folder, 1, 8192, &f.secret.public, &sink, &error) == 0);
	EXPECT_INT(-EINVAL, volume_sink_write(sink, 4096, bytes, 12288, &error));
	EXPECT_INT(-EINVAL, volume_sink_write(sink, 8192, bytes, 12288, &error));
	EXPECT_INT(-EINVAL, volume_sink_write(sink, 8192, STR(""), 8192, &error));
	EXPECT_INT(-EINVAL,
		volume_sink_write(sink, 8192, str_of(bytes.bytes, (size_t)segment_length + 4096),
			1 << 20, &error));
	EXPECT_INT(0, volume_sink_write(sink, 8192, bytes, 16384, &error));
	EXPECT_INT(-EINVAL, volume_sink_write(sink, 8192, bytes, 16384, &error));
	volume_sink_abandon(&sink);
	backup_fixture_teardown(&f);
}
