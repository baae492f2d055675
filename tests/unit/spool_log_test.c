#include "unit/spool_fixture.h"

TEST(an_append_longer_than_a_segment_is_refused_and_the_log_goes_on)
{
	struct fixture f;
	struct error error;
	char *bytes = mem_alloc(segment_length);
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 1, STR("before")));
	EXPECT_INT(-EFBIG, append(&f, 1, str_of(bytes, segment_length)));
	EXPECT_INT(-EFBIG, append(&f, 3, str_of(bytes, record_body_max())));
	/* The longest that a segment holds goes into the next one. */
	EXPECT_INT(0, append(&f, 1, str_of(bytes, record_body_max() - 48)));
	EXPECT_INT(0, append(&f, 1, STR("behind")));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(3, count_records(&f, RECORD_MESSAGE));
	teardown(&f);
	free(bytes);
}

TEST(what_was_appended_is_there_after_reopening)
{
	struct fixture f;
	struct error error;
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(-EROFS, append(&f, 1, STR("too early")));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, APPENDS_MAX, STR("a message")));
	uint64_t end = volume_log_end(f.log), lsn = appends[77].records[0].lsn;
	struct record_read read = { 0 };
	EXPECT(volume_log_read(f.log, lsn, 9, &read));
	EXPECT_INT(0, read.status);
	EXPECT_STR(STR("a message"), bytes_str(read.bytes));
	bytes_unref(&read.bytes);
	EXPECT(volume_log_read(f.log, lsn + 8, 9, &read));
	EXPECT_INT(-EBADMSG, read.status);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(end, volume_log_end(f.log));
	EXPECT_INT(APPENDS_MAX, count_records(&f, RECORD_MESSAGE));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 1, STR("more")));
	EXPECT_INT(APPENDS_MAX + 1, count_records(&f, RECORD_MESSAGE));
	EXPECT_INT(2, count_records(&f, RECORD_BARRIER));
	teardown(&f);
}

static void on_read(struct record_read *read)
{
	struct fixture *f = read->arg;
	f->status = read->status;
	loop_stop(f->loop);
}

/* What is not in the page cache comes later; clean pages can be dropped from it. */
TEST(a_log_is_not_idle_while_a_record_is_being_read)
{
	struct fixture f;
	struct error error;
	char path[128];
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 1, STR("a message")));
	snprintf(path, sizeof(path), "%s/0000000000000000.log", f.directory);
	int fd = open(path, O_RDONLY);
	EXPECT(fd >= 0);
	EXPECT(fdatasync(fd) == 0);
	EXPECT_INT(0, posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	close(fd);
	struct record_read read = { .done = on_read, .arg = &f };
	EXPECT(volume_log_is_idle(f.log));
	/* A file system in memory has it at once, and nothing is on its way. */
	if (!volume_log_read(f.log, appends[0].records[0].lsn, 9, &read)) {
		EXPECT(!volume_log_is_idle(f.log));
		loop_run(f.loop);
		EXPECT_INT(0, f.status);
	}
	EXPECT(volume_log_is_idle(f.log));
	EXPECT_STR(STR("a message"), bytes_str(read.bytes));
	bytes_unref(&read.bytes);
	teardown(&f);
}

TEST(a_second_writer_is_refused)
{
	struct fixture f;
	struct error error;
	struct volume_log *second;
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(-EAGAIN,
		volume_log_open(f.loop, f.disk, f.directory, 7, &(struct log_told){ 0 }, &second,
			NULL, &error));
	EXPECT(strstr(error.text, "another process") != NULL);
	teardown(&f);
}

TEST(a_lower_epoch_or_a_second_reign_of_the_epoch_is_refused)
{
	struct fixture f;
	struct error error;
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 5, reign_one));
	EXPECT_INT(-ESTALE, reign(&f, 4, reign_one));
	EXPECT_INT(-ESTALE, reign(&f, 5, reign_two));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(-ESTALE, reign(&f, 5, reign_two));
	EXPECT_INT(0, reign(&f, 6, reign_two));
	teardown(&f);
}

TEST(a_torn_tail_is_cut_off_and_the_log_goes_on)
{
	struct fixture f;
	struct error error;
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 1, STR("whole")));
	uint64_t end = volume_log_end(f.log);
	EXPECT_INT(0, append(&f, 1, STR("torn")));
	cut_power(&f);
	overwrite(&f, "0000000000000000.log", end + GROUP_HEADER_LENGTH + 35, "XX", 2);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(end, volume_log_end(f.log));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 1, STR("after")));
	EXPECT_INT(2, count_records(&f, RECORD_MESSAGE));
	teardown(&f);
}

TEST(a_corrupt_middle_is_reported_and_nothing_is_cut)
{
	struct fixture f;
	struct error error;
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 1, STR("first")));
	uint64_t at = volume_log_last_group(f.log);
	EXPECT_INT(0, append(&f, 1, STR("second")));
	uint64_t end = volume_log_end(f.log);
	cut_power(&f);
	overwrite(&f, "0000000000000000.log", at + 150, "XX", 2);
	EXPECT_INT(-EUCLEAN, reopen(&f, &error));
	EXPECT(strstr(error.text, "corrupt at address") != NULL);
	overwrite(&f, "0000000000000000.log", at + 150, "\0\0", 2);
	(void)end;
	teardown(&f);
}

static void lose_epochs(bool is_damaged)
{
	struct fixture f;
	struct error error;
	char path[128];
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 3, STR("x")));
	EXPECT_INT(0, reign(&f, 2, reign_two));
	snprintf(path, sizeof(path), "%s/epochs", f.directory);
	EXPECT_INT(0, is_damaged ? truncate(path, 7) : unlink(path));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(2, volume_log_epochs(f.log)->count);
	EXPECT_INT(-ESTALE, reign(&f, 2, reign_one));
	struct log_state saved;
	EXPECT_INT(0, log_state_read(f.disk, f.directory, &saved));
	EXPECT_INT(2, saved.epochs.count);
	log_state_deinit(&saved);
	teardown(&f);
}

TEST(a_lost_or_damaged_epochs_file_is_rebuilt_from_the_barriers)
{
	lose_epochs(false);
	lose_epochs(true);
}

TEST(truncation_saves_the_tail_and_leaves_a_prefix)
{
	struct fixture f;
	struct error error;
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	EXPECT_INT(0, append(&f, 2, STR("kept")));
	uint64_t end = volume_log_end(f.log);
	EXPECT_INT(0, append(&f, 2, STR("diverged")));
	EXPECT_INT(0, cut(&f, end));
	EXPECT_INT(end, volume_log_end(f.log));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(end, volume_log_end(f.log));
	EXPECT_INT(2, count_records(&f, RECORD_MESSAGE));
	char command[200];
	snprintf(command, sizeof(command), "grep -q diverged %s/salvage-1-*.log", f.directory);
	EXPECT_INT(0, system(command));
	teardown(&f);
}

/* ---- a follower that receives what a leader wrote ---- */

TEST(a_follower_becomes_identical_and_refuses_what_does_not_follow)
{
	struct fixture leader, follower;
	struct error error;
	setup(&leader);
	setup(&follower);
	EXPECT_INT(0, reopen(&leader, &error));
	EXPECT_INT(0, reopen(&follower, &error));
	EXPECT_INT(0, reign(&leader, 1, reign_one));
	EXPECT_INT(0, append(&leader, APPENDS_MAX, STR("shipped")));
	EXPECT_INT(0, reign(&leader, 3, reign_two));
	EXPECT_INT(0, append(&leader, 3, STR("shipped in the new reign")));
	/* Large enough for the end of a segment to be met. */
	struct bytes *large = bytes_create(100 << 10);
	memset(large->data, 'L', large->length);
	EXPECT_INT(0, append(&leader, 4, bytes_str(large)));
	bytes_unref(&large);
	ship_all(&leader, &follower);
	EXPECT_INT(volume_log_end(leader.log), volume_log_end(follower.log));
	EXPECT_INT(2, volume_log_epochs(follower.log)->count);
	EXPECT_INT(APPENDS_MAX + 7, count_records(&follower, RECORD_MESSAGE));
	EXPECT_INT(0, reopen(&follower, &error));
	EXPECT_INT(volume_log_end(leader.log), volume_log_end(follower.log));
	/* Bytes that were changed on the way. */
	uint64_t at = volume_log_end(leader.log), next;
	struct log_reader *reader;
	struct bytes *bytes;
	EXPECT_INT(0, append(&leader, 1, STR("one more")));
	EXPECT_INT(0, log_reader_open(leader.disk, leader.directory, 7, &reader));
	EXPECT_INT(0,
		log_reader_next(
			reader, at, volume_log_end(leader.log), 4096, false, &bytes, &at, &next));
	bytes->data[130] ^= 1;
	EXPECT_INT(-EBADMSG, receive(&follower, bytes, at));
	bytes->data[130] ^= 1;
	EXPECT_INT(0, receive(&follower, bytes, at));
	bytes_unref(&bytes);
	log_reader_close(&reader);
	teardown(&leader);
	teardown(&follower);
}

/* ---- a full disk ---- */

TEST(a_full_disk_refuses_appends_loses_nothing_and_goes_on_when_there_is_room)
{
	struct fixture f;
	struct error error;
	setup(&f);
	if (mount("tmpfs", f.directory, "tmpfs", 0, "size=1m") < 0) {
		/* Only root can make a small disk. */
		teardown(&f);
		return;
	}
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	struct bytes *body = bytes_create(100 << 10);
	memset(body->data, 'M', body->length);
	unsigned written = 0;
	while (written < 20 && append(&f, 1, bytes_str(body)) == 0)
		written++;
	EXPECT(written >= 4 && written < 20);
	EXPECT_INT(-ENOSPC, f.status);
	EXPECT(!volume_log_is_fenced(f.log));
	EXPECT_INT(written, count_records(&f, RECORD_MESSAGE));
	EXPECT_INT(0, mount("tmpfs", f.directory, "tmpfs", MS_REMOUNT, "size=64m"));
	EXPECT_INT(0, append(&f, 1, bytes_str(body)));
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(written + 1, count_records(&f, RECORD_MESSAGE));
	bytes_unref(&body);
	volume_log_close(&f.log);
	EXPECT_INT(0, umount(f.directory));
	teardown(&f);
}

/* ---- the place of its files ---- */

static void on_asked(void *arg, int status)
{
	(void)status;
	*(bool *)arg = true;
}

TEST(a_log_is_closed_and_its_disk_given_back_while_the_disk_is_asked)
{
	struct fixture f;
	struct error error;
	bool was_told = false;
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	volume_log_probe(f.log, on_asked, &was_told);
	volume_log_close(&f.log);
	disk_destroy(&f.disk);
	EXPECT(!was_told);
	teardown(&f);
}

TEST(a_log_whose_files_are_moved_away_or_covered_writes_nothing_more)
{
	static const char *const scripts[] = { "mv $1 $2; mkdir $1", "rm $1/lock",
		"mkdir $2; cp -r $1 $2/; rm -r $1; mv $2/* $1" };
	for (size_t i = 0; i < array_length(scripts); i++) {
		struct fixture f;
		struct error error;
		char away[96], command[256];
		setup(&f);
		snprintf(away, sizeof(away), "%s.away", f.directory);
		EXPECT_INT(0, reopen(&f, &error));
		EXPECT_INT(0, reign(&f, 1, reign_one));
		EXPECT_INT(0, append(&f, 1, STR("a message")));
		EXPECT(volume_log_look(f.log));
		snprintf(command, sizeof(command), "set -- %s %s; %s", f.directory, away,
			scripts[i]);
		EXPECT_INT(0, system(command));
		EXPECT(!volume_log_look(f.log));
		EXPECT(volume_log_is_fenced(f.log));
		EXPECT_INT(-EIO, append(&f, 1, STR("lost")));
		EXPECT(!volume_log_look(f.log));
		teardown(&f);
		snprintf(command, sizeof(command), "rm -rf %s", away);
		EXPECT_INT(0, system(command));
	}
}

/* ---- rot ---- */

/* How far a log can be read; EBADMSG is how it ends but at its end. */
static uint64_t read_up_to(struct fixture *f, int *result_out)
{
	struct log_reader *reader;
	struct bytes *bytes;
	uint64_t at, next = 0;
	EXPECT_INT(0, log_reader_open(f->disk, f->directory, 7, &reader));
	while ((*result_out = log_reader_next(
			reader, next, volume_log_end(f->log), 4096, true, &bytes, &at, &next)) == 0)
		bytes_unref(&bytes);
	log_reader_close(&reader);
	return at;
}

TEST(a_rotten_header_within_a_segment_is_not_taken_for_the_segment_s_end)
{
	struct fixture f;
	struct error error;
	int result;
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	/* A group each, over several segments. */
	for (unsigned i = 0; i < 150; i++)
		EXPECT_INT(0, append(&f, 1, STR("a message")));
	EXPECT(volume_log_end(f.log) > 2 * segment_length);
	EXPECT_INT(volume_log_end(f.log), read_up_to(&f, &result));
	EXPECT_INT(-ENODATA, result);
	/* One byte, in the middle and in the last block of the first segment. */
	overwrite(&f, "0000000000000000.log", 10 * 4096 + 20, "!", 1);
	EXPECT_INT(10 * 4096, read_up_to(&f, &result));
	EXPECT_INT(-EBADMSG, result);
	teardown(&f);
}

TEST(rot_between_records_is_not_shipped)
{
	struct fixture leader, follower;
	struct error error;
	setup(&leader);
	setup(&follower);
	EXPECT_INT(0, reopen(&leader, &error));
	EXPECT_INT(0, reopen(&follower, &error));
	EXPECT_INT(0, reign(&leader, 1, reign_one));
	uint64_t lsn = volume_log_end(leader.log);
	EXPECT_INT(0, append(&leader, 1, STR("shipped")));
	/* Behind the message of 7 bytes, and behind all. */
	const size_t at[] = { GROUP_HEADER_LENGTH + RECORD_HEADER_LENGTH + 7, 4000 };
	for (size_t i = 0; i < array_length(at); i++)
		overwrite(&leader, "0000000000000000.log", lsn + at[i], "!", 1);
	ship_all(&leader, &follower);
	EXPECT_INT(volume_log_end(leader.log), volume_log_end(follower.log));
	char path[128], bytes[4096];
	snprintf(path, sizeof(path), "%s/0000000000000000.log", follower.directory);
	int fd = open(path, O_RDONLY);
	EXPECT_INT((int)sizeof(bytes), (int)pread(fd, bytes, sizeof(bytes), (off_t)lsn));
	close(fd);
	for (size_t i = 0; i < array_length(at); i++)
		EXPECT_INT(0, bytes[at[i]]);
	/* Nor is it taken. */
	EXPECT_INT(0, append(&leader, 1, STR("shipped")));
	struct log_reader *reader;
	struct bytes *groups;
	uint64_t next, from = volume_log_end(follower.log);
	EXPECT_INT(0, log_reader_open(leader.disk, leader.directory, 7, &reader));
	EXPECT_INT(0,
		log_reader_next(reader, from, volume_log_end(leader.log), 4096, true, &groups,
			&from, &next));
	groups->data[4000] = '!';
	EXPECT_INT(-EBADMSG, receive(&follower, groups, from));
	bytes_unref(&groups);
	log_reader_close(&reader);
	teardown(&leader);
	teardown(&follower);
}

/* ---- reading without mail ---- */

struct skimmed {
	unsigned changes, whole, passed;
};

static int skim_all(struct fixture *f, struct skimmed *out)
{
	struct log_reader *reader;
	struct bytes *bytes;
	uint64_t at, next = 0, chain = 0;
	int result;
	*out = (struct skimmed){ 0 };
	EXPECT_INT(0, log_reader_open(f->disk, f->directory, 7, &reader));
	while ((result = log_reader_skim(reader, next, volume_log_end(f->log), 200 << 10, &bytes,
			&at, &next)) == 0) {
		struct str rest = bytes_str(bytes);
		struct group group;
		while (rest.length > 0) {
			struct record record;
			size_t position = GROUP_HEADER_LENGTH;
			EXPECT(group_verify(rest, at, 7, &group));
			EXPECT_INT(chain, group.chain);
			while (group_next_record(&group, rest, &position, &record)) {
				bool is_passed = record.state == RECORD_PUNCHED;
				out->changes += record.type == RECORD_CHANGE;
				out->whole += record.type == RECORD_MESSAGE && !is_passed;
				out->passed += is_passed;
				EXPECT(!is_passed || record.body.bytes[0] == 0);
			}
			chain = group_chain_after(rest, &group);
			at += group_padded(group.used);
			rest = str_from_index(rest, group_padded(group.used));
		}
		bytes_unref(&bytes);
	}
	log_reader_close(&reader);
	EXPECT(result != -ENODATA || chain == volume_log_chain(f->log));
	return result;
}

TEST(a_replay_passes_over_long_bodies_and_walks_the_same_chain)
{
	struct fixture f;
	struct error error;
	struct skimmed found;
	setup(&f);
	EXPECT_INT(0, reopen(&f, &error));
	EXPECT_INT(0, reign(&f, 1, reign_one));
	struct bytes *large = bytes_create(LOG_SKIM_BODY_MAX + 1);
	memset(large->data, 'L', large->length);
	EXPECT_INT(0, append(&f, 30, STR("short")));
	EXPECT_INT(0, append(&f, 5, bytes_str(large)));
	uint64_t last = volume_log_last_group(f.log);
	EXPECT_INT(0, append(&f, 2, str_first(bytes_str(large), LOG_SKIM_BODY_MAX)));
	EXPECT_INT(-ENODATA, skim_all(&f, &found));
	EXPECT_INT(37, found.changes);
	EXPECT_INT(32, found.whole);
	EXPECT_INT(5, found.passed);
	/* Damage in a body that is passed over is not for a replay to find; elsewhere it is. */
	damage(&f, last + 60000);
	EXPECT_INT(-ENODATA, skim_all(&f, &found));
	damage(&f, volume_log_last_group(f.log) + 200);
	EXPECT_INT(-EBADMSG, skim_all(&f, &found));
	EXPECT_INT(5, found.passed);
	damage(&f, last + GROUP_HEADER_LENGTH + 26);
	EXPECT_INT(-EBADMSG, skim_all(&f, &found));
	EXPECT(found.passed < 5);
	bytes_unref(&large);
	teardown(&f);
}

TEST(the_common_end_of_two_epoch_vectors)
{
	static const struct {
		const char *name;
		uint64_t follower[3], leader[3]; /* start of epoch 1, 2, 3; UINT64_MAX: none */
		uint64_t follower_end, leader_end, expected;
	} rows[] = {
		{ "a lagging follower is a prefix", { 0, -1, -1 }, { 0, -1, -1 }, 100, 900, 100 },
		{ "an old primary with a tail", { 0, -1, -1 }, { 0, 500, -1 }, 800, 900, 500 },
		{ "an old primary without a tail", { 0, -1, -1 }, { 0, 500, -1 }, 500, 900, 500 },
		{ "two reigns of which one was never seen", { 0, 300, -1 }, { 0, 500, 700 }, 800,
			900, 300 },
		{ "an empty follower", { -1, -1, -1 }, { 0, 500, -1 }, 0, 900, 0 },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct epochs follower = { 0 }, leader = { 0 };
		test_row(rows[i].name);
		for (uint64_t k = 0; k < 3; k++) {
			struct epoch_entry a = { k + 1, rows[i].follower[k], k + 1, { 1 } };
			struct epoch_entry b = { k + 1, rows[i].leader[k], k + 1, { 1 } };
			if (a.start_lsn != UINT64_MAX)
				EXPECT(epochs_add(&follower, &a));
			if (b.start_lsn != UINT64_MAX)
				EXPECT(epochs_add(&leader, &b));
		}
		uint64_t common;
		EXPECT_INT(0,
			epochs_common_end(&follower, rows[i].follower_end, &leader,
				rows[i].leader_end, &common));
		EXPECT_INT(rows[i].expected, common);
		epochs_deinit(&follower);
		epochs_deinit(&leader);
	}
}
