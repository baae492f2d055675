/* What a scrub finds in a log that is damaged by hand, and what it remembers. */

#include "node/scrub/sender.h"
#include "node/scrub/state.h"
#include "node/scrub/walk.h"
#include "spool/log_punch.h"
#include "spool_fixture.h"

#include <fcntl.h>
#include <stdalign.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	GROUPS = 18,
	BODY = 60 << 10,
	STEP = 100 << 10,
	FOUND_MAX = 64,
	/* Of the append's MESSAGE, in the groups that begin no segment. */
	BODY_AT = GROUP_HEADER_LENGTH + RECORD_HEADER_LENGTH,
};

/* A log of some segments, every second group with a large body. */
struct logged {
	struct fixture f;
	uint64_t end, groups[GROUPS + 1];
	struct walk walk;
	struct walk_damage found[FOUND_MAX];
	unsigned found_count, steps;
	uint64_t bytes;
};

static void begin(struct logged *l)
{
	struct error error;
	struct bytes *body = bytes_create_zeroed(BODY);
	*l = (struct logged){ 0 };
	setup(&l->f);
	memset(body->data, 'm', body->length);
	EXPECT_INT(0, reopen(&l->f, &error));
	EXPECT_INT(0, reign(&l->f, 1, reign_one));
	for (unsigned i = 0; i < GROUPS; i++) {
		EXPECT_INT(0, append(&l->f, 1, i % 2 ? STR("small") : bytes_str(body)));
		l->groups[i] = volume_log_last_group(l->f.log);
	}
	bytes_unref(&body);
	l->end = l->groups[GROUPS] = volume_log_end(l->f.log);
	EXPECT(segment_of(l->end) >= 2);
}

static void end(struct logged *l)
{
	teardown(&l->f);
}

/* A whole pass, in steps. */
static unsigned pass(struct logged *l)
{
	l->walk = (struct walk){ .disk = l->f.disk, .directory = l->f.directory, .volume = 7 };
	walk_rewind(&l->walk);
	l->found_count = l->steps = 0;
	l->bytes = 0;
	while (l->walk.lsn < l->end && l->steps++ < 1000) {
		uint64_t before = l->walk.lsn;
		EXPECT_INT(0, walk_step(&l->walk, before + STEP, l->end));
		EXPECT(l->walk.lsn > before);
		l->bytes += l->walk.bytes;
		for (unsigned i = 0; i < l->walk.damage_count && l->found_count < FOUND_MAX; i++)
			l->found[l->found_count++] = l->walk.damages[i];
	}
	EXPECT_INT(l->end, l->walk.lsn);
	return l->found_count;
}

static void expect_one(struct logged *l, enum walk_fault fault, uint64_t from, uint64_t to)
{
	EXPECT_INT(1, pass(l));
	EXPECT_INT(fault, l->found[0].fault);
	EXPECT_INT(from, l->found[0].from);
	EXPECT_INT(to, l->found[0].to);
	EXPECT_INT(1, walk_look_again(&l->walk, &l->found[0], l->end));
}

static char *read_block(struct logged *l, uint64_t lsn, size_t length)
{
	char path[128], *bytes = mem_alloc(length);
	snprintf(path, sizeof(path), "%s/%016llx.log", l->f.directory,
		(unsigned long long)segment_of(lsn));
	int fd = open(path, O_RDONLY);
	EXPECT(pread(fd, bytes, length, (off_t)(lsn % segment_length)) == (ssize_t)length);
	close(fd);
	return bytes;
}

static void write_block(struct logged *l, uint64_t lsn, const char *bytes, size_t length)
{
	char name[32];
	snprintf(name, sizeof(name), "%016llx.log", (unsigned long long)segment_of(lsn));
	overwrite(&l->f, name, lsn % segment_length, bytes, length);
}

TEST(a_sound_log_is_read_whole_and_nothing_is_found)
{
	struct logged l;
	begin(&l);
	EXPECT_INT(0, pass(&l));
	EXPECT(l.steps > 3);
	EXPECT(l.bytes >= (uint64_t)GROUPS / 2 * BODY);
	/* It goes on where it was left, and ends where the log did when it was asked. */
	EXPECT_INT(0, append(&l.f, 1, STR("more")));
	EXPECT_INT(0, walk_step(&l.walk, UINT64_MAX, volume_log_end(l.f.log)));
	EXPECT_INT(0, l.walk.damage_count);
	EXPECT_INT(volume_log_end(l.f.log), l.walk.lsn);
	end(&l);
}

TEST(a_flipped_bit_in_a_body_names_that_record_alone)
{
	struct logged l;
	begin(&l);
	uint64_t record = l.groups[4] + GROUP_HEADER_LENGTH;
	damage(&l.f, record + RECORD_HEADER_LENGTH + BODY / 2);
	expect_one(&l, FAULT_BODY, record, record + record_padded(BODY));
	EXPECT_INT(l.groups[4], l.found[0].group);
	end(&l);
}

TEST(a_flipped_bit_in_a_header_names_the_group_and_the_walk_goes_on_behind_it)
{
	struct logged l;
	static const unsigned offsets[] = { 4, 20, GROUP_HEADER_LENGTH + 12 };
	for (unsigned i = 0; i < array_length(offsets); i++) {
		begin(&l);
		damage(&l.f, l.groups[4] + offsets[i]);
		damage(&l.f, l.groups[10] + BODY_AT + 7);
		EXPECT_INT(2, pass(&l));
		EXPECT_INT(FAULT_HEADER, l.found[0].fault);
		EXPECT_INT(l.groups[4], l.found[0].from);
		EXPECT_INT(l.groups[5], l.found[0].to);
		EXPECT_INT(FAULT_BODY, l.found[1].fault);
		EXPECT_INT(l.groups[10], l.found[1].group);
		end(&l);
	}
}

TEST(a_zeroed_block_is_found_wherever_it_stands)
{
	struct logged l;
	static const char zeroes[GROUP_ALIGNMENT];
	begin(&l);
	for (uint64_t at = 0; at < l.end; at += GROUP_ALIGNMENT) {
		/* Of the room between a segment's last group and the next segment nothing is read.
		 */
		unsigned in_group = 0;
		while (in_group < GROUPS && l.groups[in_group + 1] <= at)
			in_group++;
		char *before = read_block(&l, at, GROUP_ALIGNMENT);
		bool is_zero = memcmp(before, zeroes, GROUP_ALIGNMENT) == 0;
		write_block(&l, at, zeroes, GROUP_ALIGNMENT);
		bool is_found = pass(&l) > 0;
		if (is_found == is_zero)
			test_fail(__FILE__, __LINE__, "block at %llu", (unsigned long long)at);
		/* With the first group of a segment goes how one knows where the one before ends.
		 */
		const struct walk_damage *last = &l.found[is_found ? l.found_count - 1 : 0];
		EXPECT(!is_found || (last->from < at + GROUP_ALIGNMENT && last->to > at));
		EXPECT(l.found_count <= (at % segment_length == 0 && at > 0 ? 2u : 1u));
		write_block(&l, at, before, GROUP_ALIGNMENT);
		free(before);
	}
	EXPECT_INT(0, pass(&l));
	end(&l);
}

TEST(a_segment_that_was_deleted_is_missing)
{
	struct logged l;
	char path[128], aside[128];
	for (unsigned segment = 0; segment < 2; segment++) {
		begin(&l);
		snprintf(path, sizeof(path), "%s/%016x.log", l.f.directory, segment);
		snprintf(aside, sizeof(aside), "%s/aside", l.f.directory);
		EXPECT_INT(0, rename(path, aside));
		/* Nothing says where the segment before it ends: what may have stood there may be
		 * lost too. */
		EXPECT_INT(1 + segment, pass(&l));
		const struct walk_damage *missing = &l.found[segment];
		EXPECT_INT(FAULT_MISSING, missing->fault);
		EXPECT_INT(segment * segment_length, missing->from);
		EXPECT_INT((segment + 1) * segment_length, missing->to);
		EXPECT_INT(1, walk_look_again(&l.walk, missing, l.end));
		EXPECT_INT(0, rename(aside, path));
		for (unsigned i = 0; i < l.found_count; i++)
			EXPECT_INT(0, walk_look_again(&l.walk, &l.found[i], l.end));
		EXPECT_INT(0, pass(&l));
		end(&l);
	}
}

TEST(damage_that_has_been_mended_or_was_cut_off_stands_no_more)
{
	struct logged l;
	begin(&l);
	uint64_t at = l.groups[4] + BODY_AT + 100;
	char *before = read_block(&l, at, 2);
	damage(&l.f, at);
	EXPECT_INT(1, pass(&l));
	write_block(&l, at, before, 2);
	EXPECT_INT(0, walk_look_again(&l.walk, &l.found[0], l.end));
	damage(&l.f, at);
	EXPECT_INT(1, walk_look_again(&l.walk, &l.found[0], l.end));
	EXPECT_INT(0, walk_look_again(&l.walk, &l.found[0], l.groups[4]));
	free(before);
	end(&l);
}

/* A write that a disk has never made: what stood there before is whole in itself. */
TEST(groups_of_another_history_do_not_follow)
{
	struct logged l, other;
	begin(&l);
	begin(&other);
	/* As long as the log is the same in length, a group of the other one fits. */
	size_t length = (size_t)(l.groups[5] - l.groups[4]);
	EXPECT_INT(l.groups[4], other.groups[4]);
	char *group = read_block(&other, l.groups[4], length);
	write_block(&l, l.groups[4], group, length);
	/* The one behind it does not name it, and is none the worse for it. */
	EXPECT_INT(1, pass(&l));
	EXPECT_INT(FAULT_CHAIN, l.found[0].fault);
	EXPECT_INT(l.groups[4], l.found[0].from);
	EXPECT_INT(l.groups[5], l.found[0].to);
	EXPECT_INT(1, walk_look_again(&l.walk, &l.found[0], l.end));
	free(group);
	end(&other);
	end(&l);
}

static int punch_first(struct logged *l)
{
	struct punch punch = { .lsn = l->groups[0] + GROUP_HEADER_LENGTH,
		.length = (uint32_t)record_padded(BODY) };
	volume_log_punch(l->f.log, &punch, 1, on_reign, &l->f);
	loop_run(l->f.loop);
	return l->f.status;
}

TEST(what_was_given_back_is_no_damage)
{
	struct logged l;
	begin(&l);
	int result = punch_first(&l);
	EXPECT(result == 0 || result == -EOPNOTSUPP);
	EXPECT_INT(0, pass(&l));
	/* Its header is looked at as ever. */
	damage(&l.f, l.groups[0] + GROUP_HEADER_LENGTH + 12);
	expect_one(&l, FAULT_HEADER, l.groups[0], l.groups[1]);
	end(&l);
}

TEST(what_stands_behind_the_end_is_not_looked_at)
{
	struct logged l;
	begin(&l);
	write_block(&l, l.end, "torn", 4);
	EXPECT_INT(0, pass(&l));
	/* Nor is a group that was on its way when the end was asked for. */
	l.end = l.groups[GROUPS - 1];
	damage(&l.f, l.end + 4);
	EXPECT_INT(0, pass(&l));
	end(&l);
}

TEST(more_damage_than_a_step_can_say_is_said_by_the_next)
{
	struct logged l;
	struct error error;
	*(&l) = (struct logged){ 0 };
	setup(&l.f);
	EXPECT_INT(0, reopen(&l.f, &error));
	EXPECT_INT(0, reign(&l.f, 1, reign_one));
	for (unsigned i = 0; i < 50; i++) {
		EXPECT_INT(0, append(&l.f, 1, STR("one of many")));
		damage(&l.f, volume_log_last_group(l.f.log) + BODY_AT + 2);
	}
	l.end = volume_log_end(l.f.log);
	EXPECT_INT(50, pass(&l));
	end(&l);
}

/* Without a read, which would begin to fetch it. */
static bool is_in_memory(const char *path)
{
	unsigned char state = 0;
	int fd = open(path, O_RDONLY);
	void *page = mmap(NULL, DISK_BLOCK_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(fd >= 0 && page != MAP_FAILED && mincore(page, DISK_BLOCK_BYTES, &state) == 0);
	munmap(page, DISK_BLOCK_BYTES);
	close(fd);
	return state & 1;
}

/* What this process has read of disks until now (proc(5)), or 0. */
static uint64_t bytes_from_disks(void)
{
	unsigned long long bytes = 0;
	char line[64];
	FILE *file = fopen("/proc/self/io", "r");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "read_bytes: %llu", &bytes) == 1)
			break;
	if (file != NULL)
		fclose(file);
	return bytes;
}

TEST(a_look_at_the_disk_leaves_memory_as_it_is)
{
	enum { END = WALK_WINDOW_BYTES + 100 };
	static alignas(DISK_BLOCK_BYTES) char bytes[2 * WALK_WINDOW_BYTES];
	struct logged l;
	struct disk_file *file;
	char path[128];
	begin(&l);
	snprintf(path, sizeof(path), "%s/file", l.f.directory);
	memset(bytes, 'b', sizeof(bytes));
	EXPECT_INT(0, disk_file_open(l.f.disk, path, true, &file));
	EXPECT_INT(0, disk_write_now(file, bytes, END, 0));
	/* A file system in memory lets go of nothing. */
	EXPECT_INT(0, disk_file_drop_cache(file));
	bool is_on_disk = !is_in_memory(path);
	disk_file_close(&file);
	EXPECT_INT(0, disk_file_open(l.f.disk, path, false, &file));
	memset(bytes, 0, sizeof(bytes));
	EXPECT_INT(0, disk_read_stored(file, bytes, WALK_WINDOW_BYTES, 0));
	EXPECT(bytes[0] == 'b' && bytes[WALK_WINDOW_BYTES - 1] == 'b');
	EXPECT(!is_on_disk || !is_in_memory(path));
	/* And what is in memory is not what it answers. */
	struct disk_file *reader;
	EXPECT_INT(0, disk_file_open(l.f.disk, path, false, &reader));
	EXPECT_INT(0, disk_read_now(reader, bytes, WALK_WINDOW_BYTES, 0));
	uint64_t before = bytes_from_disks();
	EXPECT_INT(0, disk_read_stored(file, bytes, WALK_WINDOW_BYTES, 0));
	EXPECT(!is_on_disk || before == 0 || bytes_from_disks() >= before + WALK_WINDOW_BYTES);
	EXPECT(is_in_memory(path));
	disk_file_close(&reader);
	/* The end of a file stands within a block. */
	EXPECT_INT(0, disk_read_stored(file, bytes, END - WALK_WINDOW_BYTES, WALK_WINDOW_BYTES));
	EXPECT_INT('b', bytes[END - WALK_WINDOW_BYTES - 1]);
	EXPECT_INT(-ENODATA,
		disk_read_stored(file, bytes, END - WALK_WINDOW_BYTES + 1, WALK_WINDOW_BYTES));
	EXPECT_INT(-ENODATA, disk_read_stored(file, bytes, 2 * WALK_WINDOW_BYTES, 0));
	disk_file_close(&file);
	end(&l);
}

/* ---- what is remembered ---- */

static void write_text(struct logged *l, const char *text)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/scrub", l->f.directory);
	FILE *file = fopen(path, "w");
	fputs(text, file);
	fclose(file);
}

TEST(a_state_is_read_as_it_was_written)
{
	struct logged l;
	struct scrub_state state, read;
	struct scrub_stain stains[SCRUB_DAMAGES_MAX] = { 0 };
	begin(&l);
	EXPECT_INT(0, scrub_state_read(l.f.disk, l.f.directory, &read));
	EXPECT_INT(0, read.since_s);
	scrub_state_deinit(&read);
	state = (struct scrub_state){ .since_s = 1,
		.began_s = 2,
		.last_began_s = 3,
		.last_ended_s = 4,
		.is_now = 1,
		.lsn = UINT64_MAX,
		.last = 6,
		.end = 7,
		.chain = UINT64_MAX - 1,
		.follows = 1,
		.found = 8,
		.mended = 9,
		.unlisted = 10,
		.stains = stains,
		.stain_count = SCRUB_DAMAGES_MAX };
	for (unsigned i = 0; i < SCRUB_DAMAGES_MAX; i++)
		stains[i] = (struct scrub_stain){
			.at = { i * 8, i * 8 + 8, i, (enum walk_fault)(i % WALK_FAULTS) },
			.since_s = i,
			.is_found = i % 2,
			.is_told = i % 3 == 0,
		};
	EXPECT_INT(0, scrub_state_write(l.f.disk, l.f.directory, &state));
	EXPECT_INT(0, scrub_state_read(l.f.disk, l.f.directory, &read));
	EXPECT(memcmp(&state, &read, offsetof(struct scrub_state, stains)) == 0);
	EXPECT_INT(SCRUB_DAMAGES_MAX, read.stain_count);
	for (unsigned i = 0; i < SCRUB_DAMAGES_MAX; i++)
		EXPECT(stains[i].at.from == read.stains[i].at.from &&
			stains[i].at.to == read.stains[i].at.to &&
			stains[i].at.group == read.stains[i].at.group &&
			stains[i].at.fault == read.stains[i].at.fault &&
			stains[i].since_s == read.stains[i].since_s &&
			stains[i].is_found == read.stains[i].is_found &&
			stains[i].is_told == read.stains[i].is_told);
	scrub_state_deinit(&read);
	end(&l);
}

TEST(a_state_that_is_not_valid_is_none)
{
	static const char *const texts[] = { "", "pando-scrub 2\nlsn 1\n", "pando-scrub 1\nlsn x\n",
		"pando-scrub 1\nunknown 1\n", "pando-scrub 1\nlsn\n",
		"pando-scrub 1\ndamage 1 2 3 0 5 1\n", "pando-scrub 1\ndamage 2 2 2 0 5 1 1\n",
		"pando-scrub 1\ndamage 1 2 1 4 5 1 1\n", "pando-scrub 1\nlsn 1\n\n" };
	struct logged l;
	struct scrub_state state;
	begin(&l);
	for (unsigned i = 0; i < array_length(texts); i++) {
		test_row(texts[i]);
		write_text(&l, texts[i]);
		EXPECT_INT(-EBADMSG, scrub_state_read(l.f.disk, l.f.directory, &state));
		EXPECT(state.lsn == 0 && state.stains == NULL && state.stain_count == 0);
	}
	test_row(NULL);
	end(&l);
}

/* ---- who has sent it ---- */

TEST(the_sender_of_an_envelope_is_the_first_address_of_from)
{
	static const struct {
		const char *envelope, *sender;
	} rows[] = {
		{ "(\"date\" \"subject\" ((\"A \\\"B\\\"\" NIL \"a\" \"example.org\")) NIL)",
			"a@example.org" },
		{ "(NIL {8}\r\nsu)\"bj(( ((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")))", "a@b" },
		{ "(NIL NIL NIL NIL NIL)", "" },
		{ "(NIL NIL ((NIL NIL NIL NIL)))", "" },
		{ "(NIL NIL ((NIL NIL \"local\" NIL)))", "local" },
		{ "(NIL {9999}\r\nx ((NIL NIL \"a\" \"b\")))", "" },
		{ "(NIL \"never ends ((NIL NIL ", "" },
		{ "(NIL \"ends so \\", "" },
		{ "{", "" },
		{ "", "" },
	};
	char sender[64];
	for (unsigned i = 0; i < array_length(rows); i++) {
		test_row(rows[i].envelope);
		sender_of_envelope(str_from(rows[i].envelope), sender, sizeof(sender));
		EXPECT_STR(str_from(rows[i].sender), str_from(sender));
	}
	test_row(NULL);
}
