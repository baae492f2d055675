/* Damage in the middle of a log, and the groups of another copy that are written over it. */

#include "core/encode.h"
#include "spool/log_aside.h"
#include "spool/log_mend.h"
#include "spool_fixture.h"

enum { LENGTH_MAX = 2 << 20 };

/* Two copies of a log of some segments, and what its files hold. */
struct copies {
	struct fixture here, other;
	uint64_t end, groups[APPENDS_MAX];
	unsigned count;
	char *bytes;
};

static char *contents_of(const struct fixture *f, uint64_t end)
{
	char *bytes = mem_alloc(LENGTH_MAX);
	for (uint64_t lsn = 0; lsn < end; lsn += segment_length) {
		char path[128];
		size_t length = end - lsn < segment_length ? end - lsn : segment_length;
		snprintf(path, sizeof(path), "%s/%016llx.log", f->directory,
			(unsigned long long)segment_of(lsn));
		int fd = open(path, O_RDONLY);
		EXPECT(fd < 0 || pread(fd, bytes + lsn, length, 0) >= 0);
		if (fd >= 0)
			close(fd);
	}
	return bytes;
}

static void begin(struct copies *c)
{
	struct error error;
	struct bytes *body = bytes_create_zeroed(60 << 10);
	*c = (struct copies){ 0 };
	setup(&c->here);
	setup(&c->other);
	memset(body->data, 'm', body->length);
	EXPECT_INT(0, reopen(&c->here, &error));
	EXPECT_INT(0, reopen(&c->other, &error));
	EXPECT_INT(0, reign(&c->here, 1, reign_one));
	for (unsigned i = 0; i < 18; i++) {
		EXPECT_INT(0, append(&c->here, 1, i % 2 ? STR("small") : bytes_str(body)));
		c->groups[c->count++] = volume_log_last_group(c->here.log);
	}
	bytes_unref(&body);
	c->end = volume_log_end(c->here.log);
	EXPECT(segment_of(c->end) >= 2 && c->end < LENGTH_MAX);
	ship_all(&c->here, &c->other);
	c->bytes = contents_of(&c->here, c->end);
}

static void end(struct copies *c)
{
	free(c->bytes);
	teardown(&c->here);
	teardown(&c->other);
}

static bool is_as_before(const struct copies *c)
{
	char *bytes = contents_of(&c->here, c->end);
	bool same = memcmp(bytes, c->bytes, LENGTH_MAX) == 0;
	free(bytes);
	return same;
}

static bool is_there(const struct copies *c, const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", c->here.directory, name);
	return access(path, F_OK) == 0;
}

static void on_located(struct log_locate *locate, int status)
{
	on_reign(locate->arg, status);
}

static int locate(struct copies *c, uint64_t lsn, struct log_damage *damage_out)
{
	struct log_locate locate = { .done = on_located, .arg = &c->here };
	volume_log_locate(c->here.log, lsn, &locate);
	loop_run(c->here.loop);
	*damage_out = locate.damage;
	return c->here.status;
}

/* What the other copy has from there on, at most a segment. */
static struct bytes *groups_of(struct copies *c, uint64_t from, size_t target)
{
	struct log_reader *reader;
	struct bytes *bytes = NULL;
	uint64_t at, next;
	EXPECT_INT(0, log_reader_open(c->other.disk, c->other.directory, 7, &reader));
	EXPECT_INT(0, log_reader_next(reader, from, c->end, target, true, &bytes, &at, &next));
	EXPECT_INT(from, at);
	log_reader_close(&reader);
	return bytes;
}

static int mend_with(struct copies *c, uint64_t from, struct bytes *bytes)
{
	volume_log_mend(c->here.log, from, bytes, on_reign, &c->here);
	loop_run(c->here.loop);
	return c->here.status;
}

static int mend(struct copies *c, uint64_t from, uint64_t to)
{
	return mend_with(c, from, groups_of(c, from, to - from));
}

TEST(damage_is_located_and_written_over_and_the_files_are_equal_again)
{
	struct copies c;
	struct log_damage found;
	/* A header, a record's header, a body; of the first, a middle and the last group. */
	static const unsigned offsets[] = { 4, GROUP_HEADER_LENGTH + 12, 170 };
	begin(&c);
	const unsigned groups[] = { 0, 5, c.count - 1 };
	for (unsigned i = 0; i < 9; i++) {
		uint64_t lsn = c.groups[groups[i / 3]];
		EXPECT_INT(-ENOENT, locate(&c, lsn, &found));
		damage(&c.here, lsn + offsets[i % 3]);
		EXPECT(!is_as_before(&c));
		EXPECT_INT(0, locate(&c, lsn + 200, &found));
		EXPECT_INT(lsn, found.from);
		EXPECT_INT(0, mend(&c, found.from, found.to));
		EXPECT(is_as_before(&c));
		EXPECT(!is_there(&c, "mend"));
	}
	/* It goes on, and opens. */
	struct error error;
	EXPECT_INT(0, append(&c.here, 1, STR("goes on")));
	EXPECT_INT(0, reopen(&c.here, &error));
	EXPECT(volume_log_end(c.here.log) > c.end);
	end(&c);
}

TEST(a_run_of_damaged_groups_is_mended_whole_or_not_at_all)
{
	struct copies c;
	struct log_damage found;
	begin(&c);
	damage(&c.here, c.groups[2] + 4);
	damage(&c.here, c.groups[3] + 4);
	EXPECT_INT(0, locate(&c, c.groups[3], &found));
	EXPECT_INT(c.groups[2], found.from);
	EXPECT_INT(c.groups[4], found.to);
	/* What follows it here is damaged: nothing says that it is right. */
	EXPECT_INT(-ENOLINK, mend(&c, c.groups[2], c.groups[2] + 1));
	EXPECT(!is_as_before(&c) && !is_there(&c, "mend"));
	EXPECT_INT(0, mend(&c, found.from, found.to));
	EXPECT(is_as_before(&c));
	end(&c);
}

TEST(a_segment_that_is_missing_is_made_anew_from_its_first_group)
{
	struct copies c;
	struct log_damage found;
	begin(&c);
	remove_segment(&c.here, 0);
	EXPECT_INT(-EINVAL, mend(&c, c.groups[1], segment_length));
	EXPECT(!is_there(&c, "0000000000000000.log"));
	EXPECT_INT(0, locate(&c, c.groups[1], &found));
	EXPECT_INT(0, found.from);
	EXPECT_INT(segment_length, found.to);
	EXPECT_INT(0, mend(&c, found.from, found.to));
	EXPECT(is_as_before(&c));
	end(&c);
}

/* The first group of a segment names what stands before: with it goes how one knows. */
TEST(damage_over_the_end_of_a_segment_is_mended_from_behind)
{
	struct copies c;
	struct log_damage found;
	uint64_t last = 0;
	begin(&c);
	for (unsigned i = 0; i < c.count && segment_of(c.groups[i]) == 0; i++)
		last = c.groups[i];
	damage(&c.here, last + 4);
	damage(&c.here, segment_length + 4);
	EXPECT_INT(-ENOLINK, mend(&c, last, segment_length));
	EXPECT_INT(0, locate(&c, segment_length, &found));
	EXPECT_INT(segment_length, found.from);
	EXPECT_INT(0, mend(&c, found.from, found.to));
	EXPECT_INT(0, locate(&c, last, &found));
	EXPECT_INT(0, mend(&c, found.from, found.to));
	EXPECT(is_as_before(&c));
	end(&c);
}

TEST(what_is_not_of_this_log_or_not_sound_is_not_written)
{
	struct copies c;
	struct fixture stranger;
	struct error error;
	begin(&c);
	/* Not sound. */
	damage(&c.here, c.groups[3] + 4);
	struct bytes *bytes = groups_of(&c, c.groups[3], 1);
	bytes->data[GROUP_HEADER_LENGTH + RECORD_HEADER_LENGTH]++;
	EXPECT_INT(-EBADMSG, mend_with(&c, c.groups[3], bytes));
	/* Sound, and at another address. */
	EXPECT_INT(-EBADMSG, mend_with(&c, c.groups[3], groups_of(&c, c.groups[4], 1)));
	/* Of another branch, at the same address. */
	setup(&stranger);
	EXPECT_INT(0, reopen(&stranger, &error));
	EXPECT_INT(0, reign(&stranger, 1, reign_two));
	damage(&c.here, 4);
	struct fixture other = c.other;
	uint64_t log_end = c.end;
	c.other = stranger;
	c.end = volume_log_end(stranger.log);
	struct bytes *foreign = groups_of(&c, 0, 1);
	c.other = other;
	c.end = log_end;
	EXPECT_INT(-EXDEV, mend_with(&c, 0, foreign));
	EXPECT(!is_there(&c, "mend"));
	EXPECT_INT(0, mend(&c, 0, 1));
	EXPECT_INT(0, mend(&c, c.groups[3], c.groups[4]));
	EXPECT(is_as_before(&c));
	teardown(&stranger);
	end(&c);
}

/* Writes a group's header anew: whole, and another's. Returns the chain that it had. */
/* Of an incarnation that is `by` beside its own, or 0: of a chain that does not lead there. */
static uint64_t forge(struct copies *c, uint64_t lsn, int by)
{
	struct group group;
	uint8_t header[GROUP_HEADER_LENGTH];
	char name[32];
	EXPECT(group_header_decode(str_of(c->bytes + lsn, GROUP_HEADER_LENGTH), lsn, 7, &group));
	uint64_t chain = group.chain;
	group.incarnation += (uint64_t)by;
	group.chain += by == 0;
	group_header_encode(&group, header);
	snprintf(name, sizeof(name), "%016llx.log", (unsigned long long)segment_of(lsn));
	overwrite(&c->here, name, lsn % segment_length, (char *)header, sizeof(header));
	return chain;
}

/* As a disk has it that was put back. */
TEST(a_group_that_is_whole_and_does_not_follow_is_damage)
{
	struct copies c;
	struct log_damage found;
	begin(&c);
	/* In the middle of a segment, and at its beginning. */
	unsigned first = 0;
	while (c.groups[first] < segment_length)
		first++;
	const unsigned groups[] = { 3, first };
	for (unsigned i = 0; i < array_length(groups); i++) {
		uint64_t lsn = c.groups[groups[i]], next = c.groups[groups[i] + 1];
		forge(&c, lsn, 0);
		for (uint64_t at = lsn; at <= next; at += next - lsn) {
			EXPECT_INT(at == lsn ? 0 : -ENOENT, locate(&c, at, &found));
			if (at == lsn) {
				EXPECT_INT(lsn, found.from);
				EXPECT_INT(next, found.to);
			}
		}
		EXPECT_INT(0, mend(&c, lsn, next));
		EXPECT(is_as_before(&c));
		EXPECT_INT(-ENOENT, locate(&c, lsn, &found));
	}
	end(&c);
}

TEST(a_foreign_group_at_the_end_of_a_segment_is_the_damage_and_not_the_one_behind_it)
{
	struct copies c;
	struct log_damage found;
	unsigned first = 1;
	begin(&c);
	while (c.groups[first] < segment_length)
		first++;
	uint64_t lsn = c.groups[first - 1], next = c.groups[first];
	forge(&c, lsn, -1);
	EXPECT_INT(-ENOENT, locate(&c, next, &found));
	EXPECT_INT(0, locate(&c, lsn, &found));
	EXPECT_INT(lsn, found.from);
	EXPECT(found.to <= next);
	EXPECT_INT(0, mend(&c, found.from, found.to));
	EXPECT(is_as_before(&c));
	end(&c);
}

TEST(a_log_that_is_cut_in_front_of_a_foreign_group_ends_with_its_own_chain)
{
	struct copies c;
	begin(&c);
	uint64_t lsn = c.groups[3];
	uint64_t chain = forge(&c, lsn, 0);
	EXPECT_INT(0, cut(&c.here, lsn));
	EXPECT_INT(lsn, volume_log_end(c.here.log));
	EXPECT(volume_log_chain(c.here.log) == chain);
	end(&c);
}

TEST(a_log_whose_front_is_missing_is_cut_to_nothing)
{
	struct copies c;
	struct error error;
	begin(&c);
	for (unsigned i = 0; i < 2; i++)
		remove_segment(&c.here, i);
	EXPECT_INT(0, reopen(&c.here, &error));
	EXPECT_INT(0, cut(&c.here, c.groups[2]));
	EXPECT_INT(0, volume_log_end(c.here.log));
	ship_all(&c.other, &c.here);
	EXPECT(is_as_before(&c));
	end(&c);
}

TEST(a_log_is_cut_where_it_is_asked_whatever_a_foreign_group_names)
{
	struct copies c;
	struct group group;
	uint8_t header[GROUP_HEADER_LENGTH];
	begin(&c);
	uint64_t lsn = c.groups[3];
	EXPECT(segment_of(lsn) == segment_of(c.groups[1]));
	EXPECT(group_header_decode(str_of(c.bytes + lsn, GROUP_HEADER_LENGTH), lsn, 7, &group));
	group.previous_lsn = c.groups[1];
	group_header_encode(&group, header);
	overwrite(&c.here, "0000000000000000.log", lsn, (char *)header, sizeof(header));
	EXPECT_INT(0, cut(&c.here, lsn));
	EXPECT_INT(lsn, volume_log_end(c.here.log));
	EXPECT_INT(c.groups[2], volume_log_last_group(c.here.log));
	end(&c);
}

TEST(a_sound_group_is_not_written_over)
{
	struct copies c;
	begin(&c);
	/* Between two records: no checksum is of it, and so what was there is seen to stay. */
	uint64_t gap = c.groups[3] + 4000;
	damage(&c.here, gap);
	EXPECT_INT(0, mend(&c, c.groups[3], c.groups[4]));
	EXPECT(!is_as_before(&c));
	end(&c);
}

/* The child mends, killed in front of some call that changes the disk; then the log is opened. */
TEST(killed_at_any_step_it_is_damaged_as_before_or_mended_and_never_worse)
{
	bool was_killed = true;
	unsigned mended = 0, finished = 0;
	for (int at = 0; was_killed && at < 60; at++) {
		struct copies c;
		struct error error;
		struct log_damage found;
		int how;
		begin(&c);
		/* In turn: a run of groups, and a whole segment. */
		if (at % 2) {
			damage(&c.here, c.groups[1] + 4);
			damage(&c.here, c.groups[2] + 4);
		} else {
			remove_segment(&c.here, 0);
		}
		volume_log_close(&c.here.log);
		pid_t child = fork();
		if (child == 0) {
			struct copies k = c;
			k.here.loop = loop_create();
			if (disk_create(k.here.loop, IO_BACKEND_POSIX, &k.here.disk, &error) < 0 ||
				reopen(&k.here, &error) < 0 || locate(&k, c.groups[1], &found) < 0)
				_exit(2);
			struct bytes *bytes = groups_of(&k, found.from, found.to - found.from);
			kill_at = at / 2;
			_exit(mend_with(&k, found.from, bytes) == 0 ? 0 : 1);
		}
		EXPECT(waitpid(child, &how, 0) == child);
		was_killed = WIFSIGNALED(how);
		EXPECT(was_killed || WEXITSTATUS(how) == 0);
		bool has_file = is_there(&c, "mend");
		EXPECT_INT(0, reopen(&c.here, &error));
		EXPECT_INT(c.end, volume_log_end(c.here.log));
		EXPECT(!is_there(&c, "mend"));
		bool is_whole = is_as_before(&c);
		mended += is_whole;
		finished += is_whole && has_file;
		EXPECT(is_whole || was_killed);
		if (!is_whole) {
			EXPECT_INT(0, locate(&c, c.groups[1], &found));
			EXPECT_INT(0, mend(&c, found.from, found.to));
			EXPECT(is_as_before(&c));
		}
		end(&c);
	}
	EXPECT(!was_killed);
	EXPECT(mended > 2 && finished > 0);
}

TEST(a_log_that_is_cut_is_not_mended_by_what_was_begun_before)
{
	struct copies c;
	begin(&c);
	damage(&c.here, c.groups[c.count - 2] + 4);
	damage(&c.here, c.groups[1] + 4);
	/* As one that failed in the middle of its writing leaves it. */
	struct bytes *bytes = groups_of(&c, c.groups[1], 1);
	struct log_files files;
	struct buf body = { 0 };
	put_le64(buf_reserve(&body, 8), c.groups[1]);
	buf_commit(&body, 8);
	buf_append(&body, bytes->data, bytes->length);
	log_files_init(&files, c.here.disk, c.here.directory);
	EXPECT_INT(0, log_aside_write(&files, "mend", 0x31444d50, 7, buf_str(&body)));
	EXPECT_INT(0, cut(&c.here, c.groups[3]));
	EXPECT(!is_there(&c, "mend"));
	log_files_deinit(&files);
	buf_deinit(&body);
	bytes_unref(&bytes);
	end(&c);
}

static int open_over(struct copies *c, bool passes_over)
{
	struct error error;
	volume_log_close(&c->here.log);
	return volume_log_open(c->here.loop, c->here.disk, c->here.directory, 7,
		&(struct log_told){ .passes_over = passes_over }, &c->here.log, NULL, &error);
}

TEST(a_log_is_opened_over_damage_in_its_middle_and_mended)
{
	struct copies c;
	struct log_damage found;
	uint64_t first = 0, chain;
	begin(&c);
	chain = volume_log_chain(c.here.log);
	while (segment_of(c.groups[first]) < segment_of(c.groups[c.count - 1]))
		first++;
	/* The first group of the last segment, and one behind it. */
	const uint64_t lsns[] = { c.groups[first], c.groups[first + 2] };
	EXPECT(first + 3 < c.count);
	damage(&c.here, lsns[0] + 4);
	damage(&c.here, lsns[1] + 170);
	EXPECT_INT(-EUCLEAN, open_over(&c, false));
	EXPECT_INT(0, open_over(&c, true));
	EXPECT_INT(c.end, volume_log_end(c.here.log));
	EXPECT(chain == volume_log_chain(c.here.log));
	EXPECT(volume_log_passed_over(c.here.log) <= lsns[0]);
	EXPECT_INT(1, volume_log_epochs(c.here.log)->count);
	for (unsigned i = 0; i < 2; i++) {
		EXPECT_INT(0, locate(&c, lsns[i], &found));
		EXPECT_INT(0, mend(&c, found.from, found.to));
	}
	EXPECT(is_as_before(&c));
	EXPECT_INT(0, open_over(&c, false));
	EXPECT(volume_log_passed_over(c.here.log) == UINT64_MAX);
	end(&c);
}

/* The first group of a branch follows what both branches have. */
TEST(a_log_is_opened_over_a_group_of_another_branch_though_it_follows)
{
	/* Which of two incarnations is later their numbers do not say. */
	for (int by = -1; by <= 1; by += 2) {
		struct copies c;
		struct log_damage found;
		begin(&c);
		unsigned at = c.count - 2;
		uint64_t lsn = c.groups[at];
		EXPECT(segment_of(lsn) == segment_of(c.groups[at + 1]) && lsn % segment_length > 0);
		forge(&c, lsn, by);
		EXPECT_INT(0, open_over(&c, true));
		EXPECT_INT(lsn, volume_log_passed_over(c.here.log));
		EXPECT_INT(c.end, volume_log_end(c.here.log));
		EXPECT_INT(0, locate(&c, lsn, &found));
		EXPECT_INT(lsn, found.from);
		EXPECT_INT(0, mend(&c, found.from, found.to));
		EXPECT(is_as_before(&c));
		end(&c);
	}
}

/* Of an incarnation that the vector knows, further down: what was cut there once. */
TEST(a_log_is_opened_over_several_groups_that_came_back)
{
	struct fixture f;
	struct error error;
	char old[3 << 12];
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 1, STR("stays")));
	uint64_t lsn = volume_log_end(f.log);
	for (unsigned i = 0; i < 3; i++)
		EXPECT_INT(0, append(&f, 1, STR("goes")));
	EXPECT_INT(sizeof(old), volume_log_end(f.log) - lsn);
	char *bytes = contents_of(&f, lsn + sizeof(old));
	memcpy(old, bytes + lsn, sizeof(old));
	free(bytes);
	EXPECT_INT(0, cut(&f, lsn));
	EXPECT_INT(0, reign(&f, 2, reign_two));
	for (unsigned i = 0; i < 10; i++)
		EXPECT_INT(0, append(&f, 1, STR("another")));
	uint64_t end = volume_log_end(f.log);
	for (unsigned count = 1; count <= 3; count++) {
		overwrite(&f, "0000000000000000.log", lsn, old, count << 12);
		volume_log_close(&f.log);
		EXPECT_INT(0,
			volume_log_open(f.loop, f.disk, f.directory, 7,
				&(struct log_told){ .passes_over = true }, &f.log, NULL, &error));
		EXPECT_INT(lsn, volume_log_passed_over(f.log));
		EXPECT_INT(end, volume_log_end(f.log));
	}
	teardown(&f);
}

/* What was told of and is not there is no damage that anything follows. */
TEST(a_log_that_lacks_its_end_is_not_opened_over_that)
{
	struct copies c;
	begin(&c);
	damage(&c.here, c.groups[c.count - 1] + 4);
	EXPECT_INT(-EUCLEAN, open_over(&c, true));
	EXPECT_INT(0, repair(&c.here, true));
	EXPECT_INT(c.groups[c.count - 1], volume_log_end(c.here.log));
	end(&c);
}

/* A replica's last write holds many groups, and after a power cut nothing is told. */
TEST(rot_in_what_a_replica_received_last_is_not_taken_for_a_torn_write)
{
	struct copies c;
	struct log_damage found;
	begin(&c);
	struct copies r = c;
	r.here = c.other;
	r.other = c.here;
	uint64_t lsn = c.groups[c.count - 3];
	damage(&r.here, lsn + 170);
	cut_power(&r.here);
	EXPECT_INT(0, open_over(&r, true));
	EXPECT_INT(c.end, volume_log_end(r.here.log));
	EXPECT_INT(lsn, volume_log_passed_over(r.here.log));
	EXPECT_INT(0, locate(&r, lsn, &found));
	EXPECT_INT(0, mend(&r, found.from, found.to));
	EXPECT(is_as_before(&r));
	/* A sector that was not written yet, in a body that has none that is zero: torn. */
	lsn = c.groups[c.count - 4];
	char zeroes[512] = { 0 }, name[32];
	snprintf(name, sizeof(name), "%016llx.log", (unsigned long long)segment_of(lsn));
	overwrite(&r.here, name, lsn % segment_length + 1024, zeroes, sizeof(zeroes));
	cut_power(&r.here);
	EXPECT_INT(0, open_over(&r, true));
	EXPECT_INT(lsn, volume_log_end(r.here.log));
	EXPECT(volume_log_passed_over(r.here.log) == UINT64_MAX);
	c.here = r.other;
	c.other = r.here;
	end(&c);
}

/* Not although a bit has turned where nothing was written yet, in the next segment. */
TEST(a_torn_write_of_a_replica_is_cut_whatever_has_rotted_in_the_zeroes_behind)
{
	struct copies c;
	begin(&c);
	struct copies r = c;
	r.here = c.other;
	r.other = c.here;
	uint64_t lsn = c.groups[c.count - 4], next = segment_of(c.end) + 1;
	char zeroes[512] = { 0 }, name[32], path[160];
	snprintf(name, sizeof(name), "%016llx.log", (unsigned long long)segment_of(lsn));
	overwrite(&r.here, name, lsn % segment_length + 1024, zeroes, sizeof(zeroes));
	snprintf(path, sizeof(path), "%s/%016llx.log", r.here.directory, (unsigned long long)next);
	FILE *file = fopen(path, "w");
	EXPECT(file != NULL && fseek(file, 70000, SEEK_SET) == 0 && fputc('X', file) == 'X');
	EXPECT(file != NULL && fclose(file) == 0);
	cut_power(&r.here);
	EXPECT_INT(0, open_over(&r, true));
	EXPECT_INT(lsn, volume_log_end(r.here.log));
	EXPECT(volume_log_passed_over(r.here.log) == UINT64_MAX);
	c.here = r.other;
	c.other = r.here;
	end(&c);
}
