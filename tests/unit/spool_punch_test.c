/* Room of bodies that comes back: what stays, what goes, and what a death within leaves. */

#include "unit/spool_fixture.h"

#include "proto/disk/record.h"
#include "spool/log_punch.h"

#include <sys/stat.h>

enum { BODY = 40000, BODIES = 5 };

static char letter = 'L'; /* of which they are */

/* Five messages of 40 KB in the first segment, and one behind them in the second. */
static uint64_t fill(struct fixture *f, uint64_t lsns[BODIES])
{
	struct error error;
	struct bytes *large = bytes_create(BODY);
	memset(large->data, letter, BODY);
	EXPECT_INT(0, reopen(f, &error));
	EXPECT_INT(0, reign(f, 1, reign_one));
	for (unsigned i = 0; i < BODIES; i++) {
		EXPECT_INT(0, append(f, 1, bytes_str(large)));
		lsns[i] = appends[0].records[0].lsn;
		EXPECT_INT(0, (int)segment_of(lsns[i]));
	}
	while (segment_of(volume_log_end(f->log)) == 0)
		EXPECT_INT(0, append(f, 1, bytes_str(large)));
	EXPECT_INT(0, append(f, 1, STR("behind")));
	bytes_unref(&large);
	return (uint64_t)record_padded(BODY);
}

static int punch(struct fixture *f, const uint64_t *lsns, unsigned count, uint64_t length)
{
	struct punch punches[BODIES];
	for (unsigned i = 0; i < count; i++)
		punches[i] = (struct punch){ lsns[i], (uint32_t)length };
	volume_log_punch(f->log, punches, count, on_reign, f);
	EXPECT(volume_log_is_punching(f->log));
	loop_run(f->loop);
	return f->status;
}

/* 1: it is there, byte for byte; 0: its room has come back; -1: neither. */
static int look_at(struct fixture *f, uint64_t lsn)
{
	struct record_read read = { .done = NULL };
	int found = -1;
	EXPECT(volume_log_read(f->log, lsn, BODY, &read));
	if (read.status == -ENODATA)
		found = 0;
	for (size_t i = 0; read.status == 0 && i < BODY; i++)
		found = i == 0 || found == 1 ? read.bytes->data[i] == letter : -1;
	bytes_unref(&read.bytes);
	return found;
}

static uint64_t blocks_of(const struct fixture *f)
{
	char path[128];
	struct stat stat_of = { 0 };
	snprintf(path, sizeof(path), "%s/0000000000000000.log", f->directory);
	EXPECT_INT(0, stat(path, &stat_of));
	return (uint64_t)stat_of.st_blocks * 512;
}

TEST(what_is_punched_gives_its_room_back_and_leaves_all_else)
{
	struct fixture f;
	struct error error;
	uint64_t lsns[BODIES];
	setup(&f);
	uint64_t length = fill(&f, lsns);
	uint64_t chain = volume_log_chain(f.log), end = volume_log_end(f.log);
	unsigned messages = count_records(&f, RECORD_MESSAGE);
	uint64_t before = blocks_of(&f);
	uint64_t gone[] = { lsns[1], lsns[3] };
	EXPECT(volume_log_may_punch(f.log, lsns[1]) && !volume_log_may_punch(f.log, end - 1));
	EXPECT_INT(0, punch(&f, gone, 2, length));
	for (unsigned twice = 0; twice < 2; twice++) {
		for (unsigned i = 0; i < BODIES; i++)
			EXPECT_INT(i != 1 && i != 3, look_at(&f, lsns[i]));
		EXPECT_INT(messages, count_records(&f, RECORD_MESSAGE));
		EXPECT(chain == volume_log_chain(f.log) && end == volume_log_end(f.log));
		EXPECT_INT(0, reopen(&f, &error));
	}
	/* Whole blocks only. */
	EXPECT(blocks_of(&f) + 2 * (BODY - 2 * 4096) <= before);
	/* Again, and with one that is gone already among them. */
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, punch(&f, lsns, 3, length));
	EXPECT_INT(0, look_at(&f, lsns[0]));
	EXPECT_INT(0, look_at(&f, lsns[2]));
	EXPECT_INT(1, look_at(&f, lsns[4]));
	EXPECT_INT(0, append(&f, 1, STR("goes on")));
	teardown(&f);
}

TEST(what_is_another_record_than_is_meant_is_left_alone)
{
	struct fixture f;
	uint64_t lsns[BODIES];
	setup(&f);
	uint64_t length = fill(&f, lsns);
	uint64_t wrong[] = { lsns[0] + 8, lsns[1] + length, lsns[2] };
	/* In the middle of a body, a CHANGE, and one of another length. */
	EXPECT_INT(0, punch(&f, wrong, 2, length));
	EXPECT_INT(0, punch(&f, wrong + 2, 1, length + 8));
	for (unsigned i = 0; i < BODIES; i++)
		EXPECT_INT(1, look_at(&f, lsns[i]));
	teardown(&f);
}

/* The follower takes what is punched at its leader, and can be punched itself. */
TEST(a_log_with_holes_is_shipped)
{
	struct fixture leader, follower;
	struct error error;
	uint64_t lsns[BODIES];
	setup(&leader);
	setup(&follower);
	uint64_t length = fill(&leader, lsns);
	EXPECT_INT(0, punch(&leader, lsns, 2, length));
	EXPECT_INT(0, reopen(&follower, &error));
	ship_all(&leader, &follower);
	EXPECT(volume_log_chain(leader.log) == volume_log_chain(follower.log));
	for (unsigned i = 0; i < BODIES; i++)
		EXPECT_INT(i >= 2, look_at(&follower, lsns[i]));
	uint64_t before = blocks_of(&follower);
	EXPECT_INT(0, punch(&follower, lsns, BODIES, length));
	EXPECT(blocks_of(&follower) + BODIES * (BODY - 2 * 4096) <= before);
	teardown(&leader);
	teardown(&follower);
}

/* ---- death within ---- */

static void punch_and_die(struct fixture *f, const uint64_t *lsns, uint64_t length, int at)
{
	pid_t pid = fork();
	if (pid == 0) {
		/* What threads the parent had are not here. */
		struct fixture child = *f;
		struct error error;
		child.loop = loop_create();
		child.log = NULL;
		if (disk_create(child.loop, IO_BACKEND_POSIX, &child.disk, &error) < 0 ||
			reopen(&child, &error) < 0)
			_exit(2);
		kill_at = at;
		punch(&child, lsns, 3, length);
		_exit(0);
	}
	int status;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	EXPECT(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
}

TEST(a_process_that_dies_anywhere_within_leaves_a_log_that_is_whole)
{
	enum { CALLS = 16 };
	for (int at = 0; at < CALLS; at++) {
		struct fixture f;
		struct error error;
		uint64_t lsns[BODIES];
		setup(&f);
		uint64_t length = fill(&f, lsns), chain = volume_log_chain(f.log);
		unsigned messages = count_records(&f, RECORD_MESSAGE);
		volume_log_close(&f.log);
		punch_and_die(&f, lsns, length, at);
		EXPECT_INT(0, reopen(&f, &error));
		EXPECT(chain == volume_log_chain(f.log));
		EXPECT_INT(messages, count_records(&f, RECORD_MESSAGE));
		for (unsigned i = 0; i < BODIES; i++)
			EXPECT(look_at(&f, lsns[i]) >= (i >= 3));
		EXPECT_INT(0, punch(&f, lsns, 3, length));
		for (unsigned i = 0; i < BODIES; i++)
			EXPECT_INT(i >= 3, look_at(&f, lsns[i]));
		teardown(&f);
	}
}

/* The file says what the headers will be; a header that was torn by the power is whole again. */
TEST(headers_that_were_torn_are_written_again_and_nothing_is_that_the_file_does_not_name)
{
	struct fixture f;
	struct error error;
	uint64_t lsns[BODIES];
	char from[128], to[128], command[300];
	setup(&f);
	uint64_t length = fill(&f, lsns);
	/* Dies when the file is durable: the calls before are its making, writing and flushing. */
	volume_log_close(&f.log);
	snprintf(from, sizeof(from), "%s/punch", f.directory);
	snprintf(to, sizeof(to), "%s.kept", f.directory);
	int at = 0;
	while (access(from, F_OK) != 0 && at < 8)
		punch_and_die(&f, lsns, length, at++);
	punch_and_die(&f, lsns, length, at + 1);
	snprintf(command, sizeof(command), "cp %s %s", from, to);
	EXPECT_INT(0, system(command));
	damage(&f, lsns[0] + 20);
	EXPECT_INT(0, reopen(&f, &error));
	for (unsigned i = 0; i < BODIES; i++)
		EXPECT_INT(i >= 3, look_at(&f, lsns[i]));
	EXPECT(access(from, F_OK) != 0);
	teardown(&f);
	/* The same file beside another log, or not whole, changes nothing. */
	letter = 'M';
	struct fixture other;
	setup(&other);
	(void)fill(&other, lsns);
	for (unsigned part = 0; part < 2; part++) {
		volume_log_close(&other.log);
		snprintf(from, sizeof(from), "%s/punch", other.directory);
		snprintf(command, sizeof(command), "head -c %s %s > %s", part ? "50" : "1000",
			to, from);
		EXPECT_INT(0, system(command));
		EXPECT_INT(0, reopen(&other, &error));
		EXPECT(access(from, F_OK) != 0);
		for (unsigned i = 0; i < BODIES; i++)
			EXPECT_INT(1, look_at(&other, lsns[i]));
	}
	letter = 'L';
	EXPECT_INT(0, unlink(to));
	teardown(&other);
}
