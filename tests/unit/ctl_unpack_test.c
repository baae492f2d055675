/* What comes out of a backup is the log that went in, and the mail that it holds. */

#include "ctl/backup/place.h"
#include "ctl/backup/unpack.h"
#include "ctl/backup/view.h"
#include "ctl/backup/volume_file.h"
#include "spool/log_reader.h"
#include "unit/backup_fixture.h"
#include "unit/node_fixture.h"
#include "unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VOLUME = 7 };

/* A volume with mail, and a backup of its log in sets of a chain. */
struct world {
	struct fixture node;
	struct backup_fixture backup;
	struct backup_set *sets[2];
	unsigned set_count;
	uint64_t end, chain;
};

static void note_last(struct backup_volume *volume, struct str groups, uint64_t lsn)
{
	struct group group;
	while (group_header_decode(groups, lsn, VOLUME, &group)) {
		volume->epoch = group.epoch;
		memcpy(volume->reign, group.reign, sizeof(volume->reign));
		lsn += group_padded(group.used);
		groups = str_from_index(groups, group_padded(group.used));
	}
}

/* What the log has more than the sets so far becomes one more of them. */
static void take(struct world *w)
{
	static const char *const names[] = { "20261127T101500Z-00000001",
		"20261127T101600Z-00000002" };
	struct backup_set *parent = w->set_count > 0 ? w->sets[w->set_count - 1] : NULL;
	struct backup_set *set = fixture_set(&w->backup, names[w->set_count], parent);
	struct backup_volume *volume = pool_alloc(w->backup.pool, sizeof(*volume));
	struct volume_sink *sink;
	struct log_reader *reader;
	struct bytes *bytes;
	struct error error = { 0 };
	uint64_t lsn, next = w->end;
	*volume = (struct backup_volume){ .id = VOLUME,
		.name = "mail",
		.from = w->end,
		.from_chain = w->chain,
		.source = "a node",
		.problem = "" };
	CHECK(volume_sink_create(set->folder, VOLUME, w->end, &set->recipient, &sink, &error) == 0);
	EXPECT_INT(0, log_reader_open(w->node.disk, w->node.log_directory, VOLUME, &reader));
	fixture_stop(&w->node);
	while (log_reader_next(reader, next, UINT64_MAX, 64 << 10, true, &bytes, &lsn, &next) ==
		0) {
		EXPECT_INT(0, volume_sink_write(sink, lsn, bytes_str(bytes), next, &error));
		note_last(volume, bytes_str(bytes), lsn);
		w->end = lsn + bytes->length;
		w->chain = log_reader_chain_behind(reader, bytes_str(bytes));
		bytes_unref(&bytes);
	}
	log_reader_close(&reader);
	EXPECT_INT(0,
		volume_sink_finish(
			&sink, w->backup.pool, &volume->files, &volume->file_count, &error));
	volume->to = w->end;
	volume->to_chain = w->chain;
	set->volumes = volume;
	set->volume_count = 1;
	w->sets[w->set_count++] = set;
	fixture_restart(&w->node);
}

static void setup(struct world *w)
{
	*w = (struct world){ 0 };
	fixture_setup(&w->node);
	backup_fixture_setup(&w->backup);
}

static void teardown(struct world *w)
{
	fixture_teardown(&w->node);
	backup_fixture_teardown(&w->backup);
}

static int unpack(struct world *w, const char *name, struct error *error)
{
	*error = (struct error){ 0 };
	return unpack_volume(w->sets, w->set_count, VOLUME, &w->backup.secret,
		fixture_path(&w->backup, name), NULL, NULL, error);
}

/* Of the one mailbox. */
static bool find_folder(struct view *view, const char *name, struct view_folder *folder_out)
{
	struct view_mailbox mailbox;
	for (size_t at = 0; view_next_mailbox(view, &at, &mailbox);)
		for (uint32_t position = 0;
			mailbox.id == MAILBOX && view_next_folder(&mailbox, &position, folder_out);)
			if (str_equal(folder_out->name, str_from(name)))
				return true;
	return false;
}

TEST(mail_comes_out_of_a_chain_as_it_was_when_the_last_set_was_made)
{
	struct world w;
	struct error error;
	struct view *view = NULL;
	struct view_folder inbox;
	struct view_mailbox mailbox;
	struct mailbox_op op;
	struct buf flags = { 0 };
	uint8_t mark[CHANGE_MARK_LENGTH];
	setup(&w);
	for (unsigned id = 1; id <= 20; id++)
		EXPECT_INT(0, fixture_deliver(&w.node, id, 60000));
	take(&w);
	struct folder *folder = fixture_folder(&w.node, "INBOX");
	EXPECT_INT(0, fixture_append(&w.node, folder, "$Work", 0, &op));
	EXPECT_INT(0, fixture_expunge(&w.node, folder, folder->messages[0].uid));
	take(&w);
	folder = fixture_folder(&w.node, "INBOX");
	EXPECT_INT(0, fixture_deliver(&w.node, 30, 1000)); /* not in it */
	EXPECT_INT(0, unpack(&w, "log", &error));
	EXPECT_STR(STR(""), str_from(error.text));
	EXPECT_INT(0,
		view_open(
			fixture_path(&w.backup, "log"), VOLUME, w.end, NULL, NULL, &view, &error));
	EXPECT(find_folder(view, "INBOX", &inbox));
	EXPECT_INT(folder->uidvalidity, inbox.uidvalidity);
	EXPECT_INT(20, inbox.message_count);
	for (uint32_t i = 0; i < inbox.message_count; i++) {
		struct view_message message = view_message(&inbox, i);
		struct bytes *body;
		EXPECT_INT(folder->messages[i].uid, message.uid);
		EXPECT_INT(folder->messages[i].internal_date_s, message.internal_date_s);
		EXPECT_INT(0, view_body(view, &message, &body));
		EXPECT_INT(folder->messages[i].size, body->length);
		bytes_unref(&body);
	}
	struct view_message last = view_message(&inbox, 19);
	view_append_flags(&inbox, &last, &flags);
	EXPECT_STR(STR("(\\Flagged $Work)"), buf_str(&flags));
	memcpy(mark, fixture_mailbox(&w.node)->mark, sizeof(mark));
	EXPECT(view_find_mailbox(view, MAILBOX, mark, &mailbox));
	mark[0] ^= 1;
	EXPECT(!view_find_mailbox(view, MAILBOX, mark, &mailbox));
	buf_deinit(&flags);
	view_close(&view);
	teardown(&w);
}

TEST(a_keyword_that_is_no_atom_stays_out_of_a_command)
{
	static const char *const keywords[] = { "a)", "two words", "{9}", "\r\nS DELETE x",
		"\\Seen", "\"", "k\x7f", "k\xc3\xa9", "*", "$Work" };
	struct world w;
	struct error error;
	struct view *view = NULL;
	struct view_folder inbox;
	struct mailbox_op op;
	setup(&w);
	EXPECT_INT(0, fixture_deliver(&w.node, 1, 1000));
	for (size_t i = 0; i < array_length(keywords); i++)
		EXPECT_INT(0,
			fixture_append(
				&w.node, fixture_folder(&w.node, "INBOX"), keywords[i], 0, &op));
	take(&w);
	EXPECT_INT(0, unpack(&w, "log", &error));
	EXPECT_INT(0,
		view_open(
			fixture_path(&w.backup, "log"), VOLUME, w.end, NULL, NULL, &view, &error));
	EXPECT(find_folder(view, "INBOX", &inbox));
	EXPECT_INT(array_length(keywords) + 1, inbox.message_count);
	for (size_t i = 0; i < array_length(keywords); i++) {
		struct view_message message = view_message(&inbox, (uint32_t)i + 1);
		struct buf flags = { 0 };
		bool is_good = i + 1 == array_length(keywords);
		test_row(keywords[i]);
		view_append_flags(&inbox, &message, &flags);
		EXPECT_STR(
			is_good ? STR("(\\Flagged $Work)") : STR("(\\Flagged)"), buf_str(&flags));
		buf_deinit(&flags);
	}
	test_row(NULL);
	view_close(&view);
	teardown(&w);
}

TEST(a_log_goes_into_an_empty_folder_only)
{
	struct world w;
	struct error error;
	setup(&w);
	EXPECT_INT(0, fixture_deliver(&w.node, 1, 1000));
	take(&w);
	EXPECT_INT(0, unpack(&w, "log", &error));
	EXPECT_INT(-ENOTEMPTY, unpack(&w, "log", &error));
	EXPECT_INT(-ENOENT,
		unpack_volume(w.sets, 1, VOLUME + 1, &w.backup.secret,
			fixture_path(&w.backup, "other"), NULL, NULL, &error));
	teardown(&w);
}

/* One byte in the middle of the only file. */
static void damage(struct world *w, const char *name)
{
	struct str bytes = fixture_read(&w->backup, name);
	struct buf changed = { 0 };
	buf_append_str(&changed, bytes);
	changed.memory[changed.start + bytes.length / 2] ^= 1;
	fixture_write(&w->backup, name, buf_str(&changed));
	buf_deinit(&changed);
}

TEST(a_damaged_file_is_named_and_gives_no_log)
{
	struct world w;
	struct error error;
	setup(&w);
	EXPECT_INT(0, fixture_deliver(&w.node, 1, 50000));
	take(&w);
	struct str name = pool_printf(
		w.backup.pool, "%s/%s", w.sets[0]->name, w.sets[0]->volumes[0].files[0].name);
	damage(&w, pool_copy_terminated(w.backup.pool, name));
	EXPECT_INT(-EUCLEAN, unpack(&w, "log", &error));
	EXPECT(error.text[0] != '\0');
	teardown(&w);
}

TEST(a_body_that_rots_after_it_was_unpacked_is_told_from_one_that_is_whole)
{
	struct world w;
	struct error error;
	struct view *view = NULL;
	struct view_folder inbox;
	struct bytes *body;
	char path[256];
	setup(&w);
	EXPECT_INT(0, fixture_deliver(&w.node, 1, 50000));
	EXPECT_INT(0, fixture_deliver(&w.node, 2, 50000));
	take(&w);
	EXPECT_INT(0, unpack(&w, "log", &error));
	EXPECT_INT(0,
		view_open(
			fixture_path(&w.backup, "log"), VOLUME, w.end, NULL, NULL, &view, &error));
	EXPECT(find_folder(view, "INBOX", &inbox));
	struct view_message one = view_message(&inbox, 0), two = view_message(&inbox, 1);
	snprintf(path, sizeof(path), "%s/log/%016llx.log", w.backup.folder,
		(unsigned long long)segment_of(one.lsn));
	int file = open(path, O_WRONLY);
	EXPECT(pwrite(file, "XX", 2, (off_t)(one.lsn % segment_length + 20000)) == 2);
	close(file);
	EXPECT_INT(-EBADMSG, view_body(view, &one, &body));
	EXPECT(body == NULL);
	EXPECT_INT(0, view_body(view, &two, &body));
	bytes_unref(&body);
	view_close(&view);
	teardown(&w);
}

TEST(the_directory_comes_out_for_its_owner_alone)
{
	struct backup_fixture f;
	struct error error;
	struct stat found;
	backup_fixture_setup(&f);
	struct backup_set *set = fixture_set(&f, "20261127T101500Z-00000001", NULL);
	const char *path = fixture_path(&f, "directory.sqlite");
	EXPECT_INT(0, unpack_directory(set, &f.secret, path, &error));
	EXPECT_INT(0, stat(path, &found));
	EXPECT_INT(0600, found.st_mode & 07777);
	EXPECT_STR(STR("all of it"), fixture_read(&f, "directory.sqlite"));
	EXPECT_INT(-EEXIST, unpack_directory(set, &f.secret, path, &error));
	backup_fixture_teardown(&f);
}

/* Sealed to the same key, and not what this set's manifest names. */
TEST(the_directory_of_another_set_is_not_taken)
{
	struct backup_fixture f;
	struct error error;
	struct stat found;
	backup_fixture_setup(&f);
	struct backup_set *set = fixture_set(&f, "20261127T101500Z-00000001", NULL);
	struct backup_set *other = fixture_set(&f, "20261127T101600Z-00000002", NULL);
	const char *path = fixture_path(&f, "directory.sqlite");
	set->folder = other->folder;
	EXPECT_INT(-EUCLEAN, unpack_directory(set, &f.secret, path, &error));
	EXPECT(strstr(error.text, "directory.pbk is not the one") != NULL);
	EXPECT(stat(path, &found) < 0);
	EXPECT_INT(0, unpack_directory(other, &f.secret, path, &error));
	backup_fixture_teardown(&f);
}

static bool stop_at_once(void *arg, uint64_t done, uint64_t total)
{
	unsigned *calls = arg;
	(*calls)++;
	EXPECT(done <= total);
	return false;
}

TEST(unpacking_ends_where_it_is_told_to)
{
	struct world w;
	unsigned calls = 0;
	struct error error = { 0 };
	setup(&w);
	for (unsigned id = 1; id <= 80; id++)
		EXPECT_INT(0, fixture_deliver(&w.node, id, 60000));
	take(&w);
	EXPECT_INT(-EINTR,
		unpack_volume(w.sets, w.set_count, VOLUME, &w.backup.secret,
			fixture_path(&w.backup, "log"), stop_at_once, &calls, &error));
	EXPECT_INT(1, calls);
	teardown(&w);
}

/* ---- where a log stands on a machine (place.h) ---- */

enum { DAEMONS = 65534 };

static struct config config_of(struct world *w)
{
	return (struct config){ .data_dir = (char *)(uintptr_t)fixture_path(&w->backup, "data"),
		.run_dir = (char *)(uintptr_t)fixture_path(&w->backup, "run") };
}

/* A log as a backup has it becomes that of the volume, owned by the daemons' account. */
static void put_in_place(struct world *w, const struct config *config)
{
	struct place place;
	struct error error = { 0 };
	EXPECT_INT(0, mkdir(config->data_dir, 0755));
	EXPECT_INT(0, chown(config->data_dir, DAEMONS, DAEMONS));
	EXPECT_INT(0, place_open(&place, config, VOLUME, &error));
	EXPECT_INT(0,
		unpack_volume(w->sets, w->set_count, VOLUME, &w->backup.secret,
			buf_terminated(&place.unpacked), NULL, NULL, &error));
	EXPECT_INT(0, place_set_aside(&place, &error));
	EXPECT_INT(0, place_take(&place, 3, &error));
	place_close(&place);
}

static unsigned count_foreign(const char *folder)
{
	unsigned count = 0;
	struct stat found;
	DIR *listing = opendir(folder);
	for (struct dirent *entry; listing && (entry = readdir(listing)) != NULL;)
		if (strcmp(entry->d_name, "..") != 0 &&
			fstatat(dirfd(listing), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0)
			count += found.st_uid != DAEMONS || found.st_gid != DAEMONS;
	EXPECT(listing != NULL);
	if (listing)
		closedir(listing);
	return count;
}

TEST(a_log_that_is_judged_stays_its_owners)
{
	struct world w;
	struct place place;
	uint64_t end = 0;
	struct error error = { 0 };
	struct config config;
	if (geteuid() != 0)
		return;
	setup(&w);
	EXPECT_INT(0, fixture_deliver(&w.node, 1, 60000));
	take(&w);
	config = config_of(&w);
	put_in_place(&w, &config);
	/* As somebody else leaves it: what is missing is written when it is opened. */
	const char *folder = fixture_path(&w.backup, "data/volumes/7");
	EXPECT_INT(0, unlink(fixture_path(&w.backup, "data/volumes/7/told")));
	EXPECT_INT(0, unlink(fixture_path(&w.backup, "data/volumes/7/copy")));
	EXPECT_INT(0, count_foreign(folder));
	EXPECT_INT(0, place_open(&place, &config, VOLUME, &error));
	EXPECT_INT(0, place_judge(&place, w.end, w.chain, &end, &error));
	EXPECT_INT(w.end, end);
	EXPECT_INT(0, access(fixture_path(&w.backup, "data/volumes/7/copy"), F_OK));
	EXPECT_INT(0, count_foreign(folder));
	place_close(&place);
	teardown(&w);
}

TEST(what_was_set_aside_comes_back_or_is_named)
{
	struct world w;
	struct place place;
	struct error error = { 0 };
	struct config config;
	if (geteuid() != 0)
		return;
	setup(&w);
	EXPECT_INT(0, fixture_deliver(&w.node, 1, 60000));
	take(&w);
	config = config_of(&w);
	put_in_place(&w, &config);
	const char *folder = fixture_path(&w.backup, "data/volumes/7");
	EXPECT_INT(0, place_open(&place, &config, VOLUME, &error));
	EXPECT_INT(0, place_set_aside(&place, &error));
	EXPECT_INT(-1, access(folder, F_OK));
	EXPECT_INT(0, place_put_back(&place, &error));
	EXPECT_INT(0, access(folder, F_OK));
	EXPECT_INT(0, place_set_aside(&place, &error));
	EXPECT_INT(0, mkdir(folder, 0755));
	EXPECT_INT(0, mkdir(fixture_path(&w.backup, "data/volumes/7/in-the-way"), 0755));
	EXPECT(place_put_back(&place, &error) < 0);
	EXPECT(strstr(error.text, buf_terminated(&place.aside)) != NULL);
	place_close(&place);
	teardown(&w);
}
