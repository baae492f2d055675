#include "unit/spool_fixture.h"

#include "spool/copy_number.h"

#include <sys/stat.h>

/* Logs that are torn, rotten, cut, without room: what is found when they are opened. */

static int reopen_told(struct fixture *f, uint64_t lsn, uint64_t *rotten, struct error *error)
{
	volume_log_close(&f->log);
	return volume_log_open(f->loop, f->disk, f->directory, 7, &(struct log_told){ .lsn = lsn },
		&f->log, rotten, error);
}

static struct bytes *large_body(void)
{
	struct bytes *bytes = bytes_create(100 << 10);
	memset(bytes->data, 'B', bytes->length);
	return bytes;
}

/* The log begins, with `count` bodies of which two fill a segment. */
static void begin(struct fixture *f, unsigned count)
{
	struct error error;
	struct bytes *body = large_body();
	setup(f);
	EXPECT_INT(0, reopen(f, &error));
	EXPECT_INT(0, reign(f, 1, reign_one));
	for (unsigned i = 0; i < count; i++)
		EXPECT_INT(0, append(f, 1, bytes_str(body)));
	bytes_unref(&body);
}

TEST(a_torn_first_group_of_a_segment_is_a_torn_tail)
{
	struct fixture f;
	struct error error;
	static const char nothing[64 << 10];
	begin(&f, 2);
	uint64_t end = volume_log_end(f.log), chain = volume_log_chain(f.log);
	struct bytes *body = large_body();
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	EXPECT_INT(1, segment_of(volume_log_last_group(f.log)));
	uint64_t told = volume_log_end(f.log), rotten;
	cut_power(&f);
	overwrite(&f, "0000000000000001.log", GROUP_ALIGNMENT, nothing, sizeof(nothing));
	/* Whoever was told of it knows better. */
	EXPECT_INT(-EUCLEAN, reopen_told(&f, told, &rotten, &error));
	EXPECT_INT(end, rotten);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(end, volume_log_end(f.log));
	EXPECT_INT(chain, volume_log_chain(f.log));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	EXPECT_INT(3, count_records(&f, RECORD_MESSAGE));
	bytes_unref(&body);
	teardown(&f);
}

/* Its power has failed, so nobody knows what it had told: but what was written whole is no torn
 * write. */
TEST(rot_in_the_last_group_is_not_taken_for_a_torn_write)
{
	static const uint64_t places[] = { 30, GROUP_HEADER_LENGTH + RECORD_HEADER_LENGTH };
	for (size_t i = 0; i < array_length(places); i++) {
		struct fixture f;
		struct error error;
		uint64_t rotten = 0;
		begin(&f, 1);
		EXPECT_INT(0, append(&f, 1, STR("confirmed")));
		uint64_t last = volume_log_last_group(f.log);
		cut_power(&f);
		damage(&f, last + places[i]);
		EXPECT_INT(-EUCLEAN, reopen_told(&f, 0, &rotten, &error));
		EXPECT_INT(last, rotten);
		teardown(&f);
	}
}

TEST(what_was_told_is_never_torn_and_is_repaired_on_request_only)
{
	struct fixture f;
	struct error error;
	uint64_t rotten = 0;
	char command[200];
	begin(&f, 3);
	uint64_t last = volume_log_last_group(f.log);
	/* A clean end: the last group was told of. */
	volume_log_close(&f.log);
	overwrite(&f, "0000000000000001.log", last % segment_length + 60000, "XX", 2);
	EXPECT_INT(-EUCLEAN, reopen_told(&f, 0, &rotten, &error));
	EXPECT(rotten <= last && rotten > 0);
	uint64_t where = rotten;
	EXPECT_INT(-EUCLEAN, reopen(&f, &error));
	EXPECT_INT(0, repair(&f, false));
	EXPECT_INT(where, volume_log_end(f.log));
	snprintf(command, sizeof(command), "grep -q BBXXBB %s/salvage-1-*.log", f.directory);
	EXPECT_INT(0, system(command));
	/* That it had more stays known, until a reign begins in it. */
	EXPECT(volume_log_whole_from(f.log) > where);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT(volume_log_whole_from(f.log) > where);
	EXPECT_INT(2, count_records(&f, RECORD_MESSAGE));
	EXPECT_INT(0, reign(&f, 2, reign_two));
	EXPECT_INT(0, volume_log_whole_from(f.log));
	teardown(&f);
}

TEST(a_cut_that_is_killed_anywhere_leaves_a_prefix)
{
	bool was_killed = true;
	for (int at = 0; was_killed && at < 200; at++) {
		struct fixture f;
		struct error error;
		begin(&f, 1);
		uint64_t to = volume_log_end(f.log);
		struct bytes *body = large_body();
		for (int i = 0; i < 6; i++)
			EXPECT_INT(0, append(&f, 1, bytes_str(body)));
		uint64_t end = volume_log_end(f.log);
		bytes_unref(&body);
		volume_log_close(&f.log);
		pid_t child = fork();
		if (child == 0) {
			struct fixture c = { .loop = loop_create() };
			memcpy(c.directory, f.directory, sizeof(c.directory));
			if (disk_create(c.loop, IO_BACKEND_POSIX, &c.disk, &error) < 0 ||
				reopen(&c, &error) < 0)
				_exit(2);
			kill_at = at;
			_exit(cut(&c, to) == 0 && volume_log_end(c.log) == to ? 0 : 1);
		}
		int how;
		EXPECT(waitpid(child, &how, 0) == child);
		was_killed = WIFSIGNALED(how);
		EXPECT(was_killed || WEXITSTATUS(how) == 0);
		EXPECT_INT(0, reopen(&f, &error));
		EXPECT(volume_log_end(f.log) >= to && volume_log_end(f.log) <= end);
		EXPECT(was_killed || volume_log_end(f.log) == to);
		EXPECT_INT(0, reign(&f, 1, reign_one));
		EXPECT_INT(0, append(&f, 1, STR("goes on")));
		EXPECT(count_records(&f, RECORD_MESSAGE) >= 2);
		teardown(&f);
	}
	EXPECT(!was_killed);
}

/* The child's part: appends bodies, and says so through the pipe after each. */
static void write_and_say(const struct fixture *f, int at, int to)
{
	struct error error;
	struct fixture c = { .loop = loop_create() };
	struct bytes *body = large_body();
	memcpy(c.directory, f->directory, sizeof(c.directory));
	if (disk_create(c.loop, IO_BACKEND_POSIX, &c.disk, &error) < 0 || reopen(&c, &error) < 0)
		_exit(2);
	kill_at = at;
	if (reign(&c, 1, reign_one) < 0)
		_exit(2);
	for (int i = 0; i < 5; i++)
		if (append(&c, 1, bytes_str(body)) < 0 || write(to, "+", 1) != 1)
			_exit(2);
	volume_log_close(&c.log);
	_exit(0);
}

/* Zero-filling, first groups of segments and the mark of what was told among it. */
TEST(a_writer_that_is_killed_anywhere_keeps_what_it_acknowledged)
{
	bool was_killed = true;
	for (int at = 0; was_killed && at < 300; at++) {
		struct fixture f;
		struct error error;
		int ends[2], how;
		char said[8];
		begin(&f, 1);
		volume_log_close(&f.log);
		EXPECT_INT(0, pipe(ends));
		pid_t child = fork();
		if (child == 0)
			write_and_say(&f, at, ends[1]);
		close(ends[1]);
		EXPECT(waitpid(child, &how, 0) == child);
		ssize_t told = read(ends[0], said, sizeof(said));
		close(ends[0]);
		was_killed = WIFSIGNALED(how);
		EXPECT(was_killed || WEXITSTATUS(how) == 0);
		EXPECT_INT(0, reopen(&f, &error));
		unsigned there = count_records(&f, RECORD_MESSAGE);
		EXPECT(there >= 1 + told && there <= 2 + told);
		EXPECT(was_killed || there == 6);
		EXPECT_INT(0, reign(&f, 1, reign_one));
		EXPECT_INT(0, append(&f, 1, STR("goes on")));
		EXPECT_INT(there + 1, count_records(&f, RECORD_MESSAGE));
		teardown(&f);
	}
	EXPECT(!was_killed);
}

static void stop(void *arg)
{
	struct fixture *f = arg;
	loop_stop(f->loop);
}

/* The last of several appends in a row is named too, once it is quiet. */
TEST(a_log_that_is_quiet_for_a_moment_knows_what_was_told)
{
	struct fixture f;
	struct error error;
	char command[160];
	uint64_t rotten = 0;
	begin(&f, 0);
	struct timer *timer = timer_new(f.loop, stop, &f);
	for (int i = 0; i < 5; i++)
		EXPECT_INT(0, append(&f, 1, STR("told")));
	uint64_t last = volume_log_last_group(f.log);
	timer_start(timer, 100);
	loop_run(f.loop);
	timer_destroy(&timer);
	/* As it is when the process dies here. */
	snprintf(command, sizeof(command), "cp %s/told %s/told.then", f.directory, f.directory);
	EXPECT_INT(0, system(command));
	volume_log_close(&f.log);
	snprintf(command, sizeof(command), "mv %s/told.then %s/told", f.directory, f.directory);
	EXPECT_INT(0, system(command));
	overwrite(&f, "0000000000000000.log", last + 200, "XX", 2);
	EXPECT_INT(-EUCLEAN, reopen_told(&f, 0, &rotten, &error));
	EXPECT_INT(last, rotten);
	teardown(&f);
}

/* A process that died inside a write may have left it in memory only. */
TEST(what_an_opening_finds_is_made_durable)
{
	struct fixture f;
	struct error error;
	begin(&f, 1);
	volume_log_close(&f.log);
	unsigned before = segment_syncs;
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT(segment_syncs > before);
	teardown(&f);
}

TEST(a_failed_write_fences_and_the_next_opening_reads_the_disk)
{
	struct fixture f;
	struct error error;
	begin(&f, 1);
	if (strcmp(disk_backend_name(f.disk), "posix") != 0) {
		teardown(&f);
		return;
	}
	disk_fails = true;
	EXPECT_INT(-EIO, append(&f, 1, STR("on no disk")));
	disk_fails = false;
	EXPECT(volume_log_is_fenced(f.log));
	EXPECT_INT(-EIO, append(&f, 1, STR("refused")));
	unsigned drops = cache_drops;
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT(cache_drops > drops);
	/* Once is enough. */
	drops = cache_drops;
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(drops, cache_drops);
	EXPECT(!volume_log_is_fenced(f.log));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	teardown(&f);
}

TEST(want_of_descriptors_refuses_and_changes_nothing)
{
	struct fixture f;
	struct rlimit before, none = { 0 };
	begin(&f, 2);
	struct bytes *body = large_body();
	EXPECT_INT(0, getrlimit(RLIMIT_NOFILE, &before));
	none = before;
	none.rlim_cur = 3;
	EXPECT_INT(0, setrlimit(RLIMIT_NOFILE, &none));
	int status = 0;
	for (int i = 0; status == 0 && i < 10; i++)
		status = append(&f, 1, bytes_str(body));
	EXPECT_INT(0, setrlimit(RLIMIT_NOFILE, &before));
	EXPECT_INT(-EMFILE, status);
	EXPECT(!volume_log_is_fenced(f.log));
	unsigned there = count_records(&f, RECORD_MESSAGE);
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	EXPECT_INT(there + 1, count_records(&f, RECORD_MESSAGE));
	bytes_unref(&body);
	teardown(&f);
}

/* Else the log would be set aside as an earlier copy's. */
TEST(number_of_a_copy_is_not_taken_for_none_for_want_of_descriptors)
{
	struct fixture f;
	struct rlimit before, none;
	uint64_t number = 0;
	setup(&f);
	EXPECT_INT(0, copy_number_read(f.disk, f.directory, &number));
	EXPECT_INT(0, number);
	EXPECT_INT(0, copy_number_write(f.disk, f.directory, 12));
	EXPECT_INT(0, getrlimit(RLIMIT_NOFILE, &before));
	none = before;
	none.rlim_cur = 3;
	EXPECT_INT(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_INT(-EMFILE, copy_number_read(f.disk, f.directory, &number));
	EXPECT_INT(0, setrlimit(RLIMIT_NOFILE, &before));
	EXPECT_INT(0, copy_number_read(f.disk, f.directory, &number));
	EXPECT_INT(12, number);
	teardown(&f);
}

TEST(want_of_inodes_refuses_and_changes_nothing)
{
	struct fixture f;
	struct error error;
	setup(&f);
	if (mount("tmpfs", f.directory, "tmpfs", 0, "size=8m,nr_inodes=9") < 0) {
		/* Only root can make a small disk. */
		teardown(&f);
		return;
	}
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	struct bytes *body = large_body();
	int status = 0;
	unsigned written = 0;
	for (; status == 0 && written < 30; written += status == 0)
		status = append(&f, 1, bytes_str(body));
	EXPECT_INT(-ENOSPC, status);
	EXPECT(!volume_log_is_fenced(f.log));
	EXPECT_INT(0, mount("tmpfs", f.directory, "tmpfs", MS_REMOUNT, "nr_inodes=20"));
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(written + 1, count_records(&f, RECORD_MESSAGE));
	bytes_unref(&body);
	volume_log_close(&f.log);
	EXPECT_INT(0, umount(f.directory));
	teardown(&f);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;
	DIR *directory = opendir("/proc/self/fd");
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

/* An address where no header can be read is told from one where none ever stood. */
TEST(a_damaged_header_hides_its_chain_and_is_no_other_log)
{
	struct fixture f;
	struct log_reader *reader;
	uint64_t starts[4], chain;
	begin(&f, 0);
	for (unsigned i = 0; i < 4; i++) {
		starts[i] = volume_log_end(f.log);
		EXPECT_INT(0, append(&f, 1, STR("a message of some bytes")));
	}
	struct bytes *body = large_body();
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	uint64_t inside = volume_log_last_group(f.log) + GROUP_ALIGNMENT;
	uint64_t filled = volume_log_end(f.log);
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	uint64_t end = volume_log_end(f.log);
	EXPECT_INT(1, segment_of(end));
	EXPECT_INT(0, log_reader_open(f.disk, f.directory, 7, &reader));
	EXPECT_INT(0, log_reader_chain(reader, starts[2], end, &chain));
	EXPECT_INT(-EINVAL, log_reader_chain(reader, inside, end, &chain));
	overwrite(&f, "0000000000000000.log", starts[2] + 12, "XX", 2);
	EXPECT_INT(0, log_reader_chain(reader, starts[1], end, &chain));
	EXPECT_INT(-EBADMSG, log_reader_chain(reader, starts[2], end, &chain));
	EXPECT_INT(0, log_reader_chain(reader, starts[3], end, &chain));
	/* What lies behind the damage: nobody knows where groups begin there. */
	EXPECT_INT(-EBADMSG, log_reader_chain(reader, inside, end, &chain));
	EXPECT_INT(0, log_reader_chain(reader, filled, end, &chain));
	log_reader_close(&reader);
	bytes_unref(&body);
	teardown(&f);
}

/* The numbers of incarnations are random: which of two is later the vectors say that the log has.
 */
TEST(a_log_whose_vector_was_lost_or_is_older_is_whole_whichever_number_a_restart_has)
{
	static const uint64_t numbers[] = { 500, 700, 300, 600 };
	for (unsigned before = 0; before < 4; before++) {
		for (unsigned first = 0; first < 2; first++) {
			struct fixture f;
			struct error error;
			char path[128], kept[128];
			setup(&f);
			snprintf(path, sizeof(path), "%s/epochs", f.directory);
			snprintf(kept, sizeof(kept), "%s/kept", f.directory);
			for (unsigned i = 0; i < 3; i++) {
				EXPECT_INT(0, reopen(&f, &error));
				EXPECT_INT(0, reign_as(&f, 1, reign_one, numbers[first + i]));
				EXPECT_INT(0, append(&f, 3, STR("a message")));
				if (i + 1 == before)
					EXPECT_INT(0, link(path, kept));
			}
			uint64_t end = volume_log_end(f.log);
			volume_log_close(&f.log);
			/* 0: lost; else as it was after so many openings. */
			EXPECT_INT(0, before ? rename(kept, path) : unlink(path));
			EXPECT_INT(0, reopen(&f, &error));
			EXPECT_INT(end, volume_log_end(f.log));
			EXPECT_INT(3, volume_log_epochs(f.log)->count);
			teardown(&f);
		}
	}
}

TEST(a_log_over_fifty_segments_has_few_descriptors_and_one_chain)
{
	struct fixture f;
	struct error error;
	begin(&f, 0);
	unsigned before = open_descriptors();
	struct bytes *body = large_body();
	for (int i = 0; i < 102; i++)
		EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	bytes_unref(&body);
	EXPECT(segment_of(volume_log_end(f.log)) >= 50);
	EXPECT_INT(102, count_records(&f, RECORD_MESSAGE));
	EXPECT(count_records(&f, RECORD_SEGMENT) >= 50);
	EXPECT(open_descriptors() <= before + 20);
	uint64_t end = volume_log_end(f.log), chain = volume_log_chain(f.log), middle;
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(end, volume_log_end(f.log));
	EXPECT_INT(chain, volume_log_chain(f.log));
	struct log_reader *reader;
	EXPECT_INT(0, log_reader_open(f.disk, f.directory, 7, &reader));
	EXPECT_INT(0, log_reader_chain(reader, 0, end, &middle));
	EXPECT_INT(0, middle);
	EXPECT_INT(0, log_reader_chain(reader, 20 * segment_length, end, &middle));
	EXPECT(middle != 0);
	EXPECT_INT(-EINVAL, log_reader_chain(reader, 20 * segment_length + 4096, end, &middle));
	EXPECT_INT(-ENODATA, log_reader_chain(reader, end, end, &middle));
	log_reader_close(&reader);
	/* What is left is understood without what was before, and without the vector's file. */
	char path[128];
	EXPECT_INT(0, volume_log_free(f.log, 30 * segment_length));
	volume_log_close(&f.log);
	snprintf(path, sizeof(path), "%s/epochs", f.directory);
	EXPECT_INT(0, truncate(path, 9));
	EXPECT_INT(0, reopen(&f, &error));
	uint64_t start;
	EXPECT_INT(0, volume_log_start(f.log, &start));
	EXPECT_INT(30 * segment_length, start);
	/* Without one in between nobody says where it begins. */
	remove_segment(&f, 35);
	EXPECT_INT(-EUCLEAN, volume_log_start(f.log, &start));
	EXPECT_INT(30 * segment_length, start);
	EXPECT_INT(1, volume_log_epochs(f.log)->count);
	EXPECT_INT(chain, volume_log_chain(f.log));
	teardown(&f);
}

TEST(another_format_is_refused_with_a_sentence)
{
	struct fixture f;
	struct error error;
	begin(&f, 1);
	volume_log_close(&f.log);
	overwrite(&f, "0000000000000000.log", 0, "PGR1", 4);
	EXPECT_INT(-EPROTONOSUPPORT, reopen(&f, &error));
	EXPECT(strstr(error.text, "is of log format 1, which this version does not read") != NULL);
	teardown(&f);
}

static void on_held(void *arg, int status)
{
	struct fixture *f = arg;
	f->status = status;
	loop_stop(f->loop);
}

static int hold(struct fixture *f, uint64_t epoch)
{
	volume_log_hold(f->log, epoch, on_held, f);
	loop_run(f->loop);
	return f->status;
}

TEST(what_a_copy_knows_outlives_a_restart)
{
	struct fixture f, other;
	struct error error;
	uint8_t id[COPY_ID_LENGTH], again[COPY_ID_LENGTH];
	begin(&f, 0);
	begin(&other, 0);
	volume_log_copy_id(f.log, id);
	volume_log_copy_id(other.log, again);
	EXPECT(memcmp(id, again, sizeof(id)) != 0);
	EXPECT_INT(0, volume_log_note_seen(f.log, 9));
	EXPECT_INT(0, volume_log_note_seen(f.log, 4));
	EXPECT_INT(0, hold(&f, 5));
	EXPECT_INT(0, reopen(&f, &error));
	volume_log_copy_id(f.log, again);
	EXPECT(memcmp(id, again, sizeof(id)) == 0);
	EXPECT_INT(9, volume_log_seen(f.log));
	EXPECT_INT(5, volume_log_held(f.log));
	/* One that is closed while it is written is written, or not at all. */
	volume_log_hold(f.log, 7, on_held, &f);
	EXPECT(!volume_log_is_idle(f.log));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(7, volume_log_held(f.log));
	EXPECT_INT(0, volume_log_unhold(f.log));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, volume_log_held(f.log));
	EXPECT_INT(-ESTALE, reign(&f, 8, reign_two));
	EXPECT_INT(0, reign(&f, 9, reign_two));
	teardown(&f);
	teardown(&other);
}

TEST(a_copy_that_comes_to_another_node_is_another_copy_from_then_on)
{
	struct fixture f;
	struct copy_id id, again;
	uint32_t moved_from;
	begin(&f, 0);
	EXPECT_INT(0, copy_id_read(f.disk, f.directory, &id));
	EXPECT_INT(0, id.owner);
	/* Whoever is the first to say whose it is has made it. */
	EXPECT_INT(0, copy_id_take(f.disk, f.directory, 3, &again, &moved_from));
	EXPECT_INT(0, moved_from);
	EXPECT(memcmp(id.bytes, again.bytes, COPY_ID_LENGTH) == 0);
	EXPECT_INT(0, copy_id_take(f.disk, f.directory, 0, &again, &moved_from));
	EXPECT_INT(3, again.owner);
	EXPECT_INT(0, copy_id_take(f.disk, f.directory, 4, &again, &moved_from));
	EXPECT_INT(3, moved_from);
	EXPECT(memcmp(id.bytes, again.bytes, COPY_ID_LENGTH) != 0);
	EXPECT_INT(0, copy_id_read(f.disk, f.directory, &id));
	EXPECT_INT(4, id.owner);
	EXPECT(memcmp(id.bytes, again.bytes, COPY_ID_LENGTH) == 0);
	teardown(&f);
}

/* ---- single groups ---- */

/* The one group behind `lsn`. */
static struct bytes *read_last(struct fixture *f, uint64_t lsn)
{
	struct log_reader *reader;
	struct bytes *bytes;
	uint64_t at, next;
	EXPECT_INT(0, log_reader_open(f->disk, f->directory, 7, &reader));
	EXPECT_INT(0,
		log_reader_next(reader, lsn, volume_log_end(f->log), 0, true, &bytes, &at, &next));
	EXPECT_INT(lsn, at);
	log_reader_close(&reader);
	return bytes;
}

TEST(every_bit_of_a_group_is_guarded)
{
	struct fixture f;
	struct group group;
	begin(&f, 0);
	uint64_t lsn = volume_log_end(f.log);
	EXPECT_INT(0, append(&f, 1, STR("a body of some length")));
	struct bytes *bytes = read_last(&f, lsn);
	EXPECT(group_verify(bytes_str(bytes), lsn, 7, &group));
	EXPECT_INT(volume_log_chain(f.log), group_chain_after(bytes_str(bytes), &group));
	/* The zeroes between a body and the next record guard nothing. */
	size_t first = GROUP_HEADER_LENGTH + RECORD_HEADER_LENGTH + 21;
	for (size_t i = 0; i < first * 8; i++) {
		bytes->data[i / 8] ^= 1 << i % 8;
		EXPECT(!group_verify(bytes_str(bytes), lsn, 7, &group));
		bytes->data[i / 8] ^= 1 << i % 8;
	}
	EXPECT(!group_verify(bytes_str(bytes), lsn, 8, &group));
	EXPECT(!group_verify(bytes_str(bytes), lsn + 4096, 7, &group));
	bytes_unref(&bytes);
	teardown(&f);
}

TEST(a_punched_record_is_received_and_changes_nothing_of_the_chain)
{
	struct fixture leader, follower;
	struct error error;
	begin(&leader, 0);
	setup(&follower);
	EXPECT_INT(0, reopen(&follower, &error));
	ship_all(&leader, &follower);
	uint64_t lsn = volume_log_end(leader.log);
	EXPECT_INT(0, append(&leader, 1, STR("gone")));
	struct bytes *bytes = read_last(&leader, lsn);
	struct group group;
	record_header_punch((uint8_t *)bytes->data + GROUP_HEADER_LENGTH);
	memset(bytes->data + GROUP_HEADER_LENGTH + RECORD_HEADER_LENGTH, 0, 4);
	EXPECT(group_verify(bytes_str(bytes), lsn, 7, &group));
	/* Another history below: the addresses fit and the chain does not. */
	struct group wrong = group;
	wrong.chain ^= 1;
	group_header_encode(&wrong, (uint8_t *)bytes->data);
	EXPECT_INT(-EXDEV, receive(&follower, bytes, lsn));
	wrong = group;
	wrong.incarnation ^= 1;
	group_header_encode(&wrong, (uint8_t *)bytes->data);
	EXPECT_INT(-EINVAL, receive(&follower, bytes, lsn));
	group_header_encode(&group, (uint8_t *)bytes->data);
	/* Of an epoch that is nobody's, whatever it follows. */
	follower.epoch_max = group.epoch - 1;
	EXPECT_INT(-EINVAL, receive(&follower, bytes, lsn));
	follower.epoch_max = group.epoch;
	EXPECT_INT(0, receive(&follower, bytes, lsn));
	EXPECT_INT(volume_log_chain(leader.log), volume_log_chain(follower.log));
	struct record_read read = { 0 };
	EXPECT(volume_log_read(follower.log, lsn + GROUP_HEADER_LENGTH, 4, &read));
	EXPECT_INT(-ENODATA, read.status);
	EXPECT_INT(0, reopen(&follower, &error));
	EXPECT_INT(volume_log_end(leader.log), volume_log_end(follower.log));
	bytes_unref(&bytes);
	teardown(&leader);
	teardown(&follower);
}

TEST(an_opening_that_was_announced_and_never_wrote_stops_no_replica)
{
	struct fixture leader, follower;
	struct error error;
	struct log_state state;
	begin(&leader, 0);
	setup(&follower);
	EXPECT_INT(0, reopen(&follower, &error));
	ship_all(&leader, &follower);
	uint64_t lsn = volume_log_end(follower.log);
	volume_log_close(&follower.log);
	EXPECT_INT(0, log_state_read(follower.disk, follower.directory, &state));
	EXPECT(epochs_add(&state.epochs,
		&(struct epoch_entry){ .epoch = 2, .start_lsn = lsn, .incarnation = 2 }));
	EXPECT_INT(0, log_state_save(follower.disk, follower.directory, &state));
	log_state_deinit(&state);
	EXPECT_INT(0, reopen(&follower, &error));
	EXPECT_INT(2, volume_log_epochs(follower.log)->count);
	EXPECT_INT(0, append(&leader, 1, STR("goes on")));
	struct bytes *bytes = read_last(&leader, lsn);
	EXPECT_INT(0, receive(&follower, bytes, lsn));
	EXPECT_INT(1, volume_log_epochs(follower.log)->count);
	EXPECT_INT(2, volume_log_seen(follower.log));
	bytes_unref(&bytes);
	teardown(&leader);
	teardown(&follower);
}

TEST(a_log_is_cut_at_a_group_that_is_damaged)
{
	static const struct {
		const char *name;
		unsigned rotten; /* which body: two fill a segment */
		uint64_t at;     /* in its group */
	} rows[] = {
		{ "a header inside a segment", 1, 20 },
		{ "a body inside a segment", 1, 5000 },
		{ "the first header of a segment", 2, 20 },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct fixture f;
		struct error error;
		test_row(rows[i].name);
		begin(&f, rows[i].rotten);
		uint64_t end = volume_log_end(f.log), chain = volume_log_chain(f.log);
		struct bytes *body = large_body();
		EXPECT_INT(0, append(&f, 1, bytes_str(body)));
		uint64_t lsn = volume_log_last_group(f.log);
		for (int k = 0; k < 4; k++)
			EXPECT_INT(0, append(&f, 1, bytes_str(body)));
		bytes_unref(&body);
		damage(&f, lsn + rows[i].at);
		if (rows[i].at > GROUP_HEADER_LENGTH)
			EXPECT_INT(-EINVAL, cut(&f, lsn + GROUP_ALIGNMENT));
		EXPECT_INT(0, cut(&f, lsn));
		EXPECT_INT(end, volume_log_end(f.log));
		EXPECT_INT(chain, volume_log_chain(f.log));
		EXPECT_INT(0, reopen(&f, &error));
		EXPECT_INT(end, volume_log_end(f.log));
		EXPECT_INT(rows[i].rotten, count_records(&f, RECORD_MESSAGE));
		teardown(&f);
	}
}

TEST(a_log_is_cut_behind_a_group_that_is_damaged_and_ends_before_it)
{
	struct fixture f;
	struct error error;
	begin(&f, 1);
	uint64_t end = volume_log_end(f.log), chain = volume_log_chain(f.log);
	struct bytes *body = large_body();
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	uint64_t lsn = volume_log_last_group(f.log), behind = volume_log_end(f.log);
	for (int k = 0; k < 4; k++)
		EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	bytes_unref(&body);
	damage(&f, lsn + 20);
	/* What is to stay can no longer be the last: what follows in its place is filled again. */
	EXPECT_INT(0, cut(&f, behind));
	EXPECT_INT(end, volume_log_end(f.log));
	EXPECT_INT(chain, volume_log_chain(f.log));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(end, volume_log_end(f.log));
	EXPECT_INT(1, count_records(&f, RECORD_MESSAGE));
	teardown(&f);
}

TEST(a_log_whose_first_group_is_damaged_is_cut_to_nothing)
{
	struct fixture f;
	struct error error;
	begin(&f, 1);
	uint64_t end = volume_log_end(f.log);
	struct bytes *body = large_body();
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	bytes_unref(&body);
	uint64_t lsn = volume_log_last_group(f.log);
	EXPECT(lsn >= end);
	damage(&f, 20);
	/* The damaged group before the new end leads to it, and is the first. */
	damage(&f, lsn + 20);
	EXPECT_INT(0, cut(&f, lsn));
	EXPECT_INT(0, volume_log_end(f.log));
	EXPECT_INT(0, volume_log_epochs(f.log)->count);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, volume_log_end(f.log));
	teardown(&f);
}

TEST(a_repaired_log_forgets_on_disk_what_began_behind_its_end)
{
	struct fixture f;
	begin(&f, 1);
	uint64_t end = volume_log_end(f.log);
	EXPECT_INT(0, append(&f, 1, STR("damaged")));
	uint64_t lsn = volume_log_last_group(f.log);
	EXPECT_INT(0, append(&f, 3, STR("behind it")));
	EXPECT_INT(0, reign(&f, 2, reign_two));
	EXPECT_INT(0, append(&f, 1, STR("of the next epoch")));
	damage(&f, lsn + 20);
	EXPECT_INT(0, repair(&f, false));
	EXPECT_INT(end, volume_log_end(f.log));
	EXPECT_INT(1, volume_log_epochs(f.log)->count);
	/* The same for who reads the file, and when the log is longer again. */
	struct log_state saved;
	EXPECT_INT(0, log_state_read(f.disk, f.directory, &saved));
	EXPECT_INT(1, saved.epochs.count);
	EXPECT_INT(2, saved.seen);
	log_state_deinit(&saved);
	teardown(&f);
}

/* What is torn depends on who wrote last: a log where that cannot be read is not opened. */
TEST(a_log_whose_mark_of_a_replica_cannot_be_opened_stays_closed)
{
	struct fixture f;
	struct error error;
	char path[160];
	begin(&f, 1);
	snprintf(path, sizeof(path), "%s/replica", f.directory);
	EXPECT_INT(0, mkdir(path, 0700));
	EXPECT(reopen(&f, &error) < 0);
	EXPECT(strstr(error.text, "/replica: ") != NULL);
	EXPECT_INT(0, rmdir(path));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(1, count_records(&f, RECORD_MESSAGE));
	teardown(&f);
}
