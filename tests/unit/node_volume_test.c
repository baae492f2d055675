#include "core/log.h"
#include "core/loop.h"
#include "core/store.h"
#include "node/index/ahead.h"
#include "node/mailbox/deliver_part.h"
#include "node/mailbox/mailbox.h"
#include "unit/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* One volume that is primary, on a real loop and a real disk: what refusals leave behind, what
 * becomes of an index that is damaged, and what a log's word is worth. */

enum { MAILBOX = 1, OTHERS_ID = 5000, PATIENCE_MS = 8000 };

static const struct mailbox_policy unlimited = { DURABILITY_LOCAL, 0 };

struct fixture {
	struct loop *loop;
	struct disk *disk;
	struct volume *volume;
	char directory[64], log_directory[80], index_path[80];
	struct task release;
	enum volume_state awaited;
	bool waiting;
	bool is_small; /* a tmpfs is mounted at log_directory */
};

static void run_release(void *arg)
{
	struct fixture *f = arg;
	volume_released(f->volume);
}

static void on_release(void *arg, struct volume *volume)
{
	struct fixture *f = arg;
	(void)volume;
	f->release = (struct task){ .run = run_release, .arg = f };
	loop_defer(f->loop, &f->release);
}

static void on_changed(void *arg, struct volume *volume)
{
	struct fixture *f = arg;
	if (!f->waiting || volume->state != f->awaited)
		return;
	f->waiting = false;
	loop_stop(f->loop);
}

static void on_patience(void *arg)
{
	loop_stop(arg);
}

/* Whether the volume comes to this state in time. */
static bool await(struct fixture *f, enum volume_state state)
{
	struct timer *patience = timer_new(f->loop, on_patience, f->loop);
	f->awaited = state;
	f->waiting = f->volume->state != state;
	timer_start(patience, PATIENCE_MS);
	if (f->waiting)
		loop_run(f->loop);
	timer_destroy(&patience);
	bool came = !f->waiting;
	f->waiting = false;
	return came;
}

static void open_volume(struct fixture *f)
{
	f->volume = volume_create(&(struct volume_options){ .loop = f->loop,
		.disk = f->disk,
		.id = 7,
		.log_directory = f->log_directory,
		.index_path = f->index_path,
		.remote_wait_ms_max = 2000,
		.events = { on_release, on_changed, f } });
}

static void name_primary(struct fixture *f)
{
	struct volume_desired desired = { .primary = true, .epoch = 1 };
	memcpy(desired.reign, "reign one.......", sizeof(desired.reign));
	volume_set_desired(f->volume, &desired);
}

static void setup_at(struct fixture *f, const char *log_directory)
{
	struct error error;
	log_setup("test", LOG_LEVEL_ERROR);
	*f = (struct fixture){ .loop = loop_create() };
	snprintf(f->directory, sizeof(f->directory), "/tmp/pando-volume-XXXXXX");
	EXPECT(mkdtemp(f->directory) != NULL);
	snprintf(f->log_directory, sizeof(f->log_directory), "%s/%s", f->directory, log_directory);
	snprintf(f->index_path, sizeof(f->index_path), "%s/index", f->directory);
	EXPECT_INT(0, disk_create(f->loop, IO_BACKEND_POSIX, &f->disk, &error));
	open_volume(f);
}

static void setup(struct fixture *f)
{
	setup_at(f, "log");
	name_primary(f);
	EXPECT(await(f, VOLUME_PRIMARY));
}

/* On a disk of this size; false where only root can make one. */
static bool setup_small(struct fixture *f, const char *size)
{
	setup_at(f, "log");
	EXPECT_INT(0, mkdir(f->log_directory, 0700));
	f->is_small = mount("tmpfs", f->log_directory, "tmpfs", 0, size) == 0;
	if (!f->is_small)
		return false;
	name_primary(f);
	EXPECT(await(f, VOLUME_PRIMARY));
	return true;
}

/* What is on its way ends first. */
static void stop(struct fixture *f)
{
	volume_fence(f->volume, false, NULL);
	volume_destroy(&f->volume);
}

static void restart(struct fixture *f)
{
	open_volume(f);
	name_primary(f);
	EXPECT(await(f, VOLUME_PRIMARY));
}

static void teardown(struct fixture *f)
{
	char command[128];
	if (f->volume != NULL)
		stop(f);
	disk_destroy(&f->disk);
	loop_destroy(&f->loop);
	if (f->is_small)
		EXPECT_INT(0, umount(f->log_directory));
	snprintf(command, sizeof(command), "rm -r %s", f->directory);
	EXPECT_INT(0, system(command));
}

static struct mailbox *the_mailbox(struct fixture *f)
{
	return index_find_mailbox(&f->volume->index, MAILBOX);
}

static struct folder *folder_of(struct fixture *f, const char *name)
{
	struct mailbox *mailbox = the_mailbox(f);
	return mailbox ? mailbox_find_folder(mailbox, str_from(name)) : NULL;
}

/* ---- deliveries ---- */

struct one_delivery {
	struct fixture *f;
	struct delivery delivery;
	struct delivery_target target;
	struct delivery_part part;
	unsigned index;
	unsigned *left;
	struct one_delivery *then; /* begins when this one is answered */
};

static void begin_delivery(
	struct fixture *f, struct one_delivery *one, unsigned id, size_t length, unsigned *left);

static void on_delivered(struct delivery_part *part)
{
	struct one_delivery *one = container_of(part, struct one_delivery, part);
	if (one->then != NULL)
		begin_delivery(one->f, one->then, 1000, 100, one->left);
	bytes_unref(&one->delivery.body);
	buf_deinit(&one->delivery.summary);
	if (--*one->left == 0)
		loop_stop(one->f->loop);
}

static void begin_delivery(
	struct fixture *f, struct one_delivery *one, unsigned id, size_t length, unsigned *left)
{
	*one = (struct one_delivery){ .f = f, .left = left };
	/* Ids from here on are of another mailbox. */
	uint64_t mailbox_id = id >= OTHERS_ID ? MAILBOX + 1 : MAILBOX;
	one->target = (struct delivery_target){ .mailbox_id = mailbox_id,
		.volume_id = 7,
		.durability = DURABILITY_LOCAL };
	one->delivery.targets = &one->target;
	one->delivery.target_count = 1;
	snprintf((char *)one->delivery.id, sizeof(one->delivery.id), "id %u", id);
	one->delivery.body = bytes_create(length);
	memset(one->delivery.body->data, 'x', length);
	buf_append_literal(&one->delivery.summary, "summary");
	one->part = (struct delivery_part){ .delivery = &one->delivery,
		.target_indices = &one->index,
		.target_count = 1,
		.done = on_delivered };
	++*left;
	volume_deliver(f->volume, &one->part);
}

static int deliver(struct fixture *f, unsigned id, size_t length)
{
	struct one_delivery one;
	unsigned left = 0;
	begin_delivery(f, &one, id, length, &left);
	loop_run(f->loop);
	return one.target.status;
}

/* ---- operations ---- */

static void on_op_done(struct mailbox_op *op)
{
	struct fixture *f = op->arg;
	loop_stop(f->loop);
}

static struct mailbox_op op_of(struct fixture *f)
{
	return (struct mailbox_op){ .done = on_op_done, .arg = f };
}

static int append(struct fixture *f, struct folder *folder, const char *keyword, uint64_t quota,
	struct mailbox_op *op)
{
	struct str name = keyword ? str_from(keyword) : STR("");
	struct append_request request = { .body = bytes_create(500),
		.summary = STR("summary"),
		.keywords = &name,
		.keyword_count = keyword != NULL,
		.system_flags = MESSAGE_FLAGGED,
		.policy = { DURABILITY_LOCAL, quota } };
	memset(request.body->data, 'a', 500);
	*op = op_of(f);
	mailbox_append(folder, &request, op);
	loop_run(f->loop);
	bytes_unref(&request.body);
	return op->status;
}

static int store(struct fixture *f, struct folder *folder, uint32_t uid, uint64_t system_flags,
	const char *keyword)
{
	struct str name = str_from(keyword);
	struct mailbox_op op = op_of(f);
	mailbox_store(folder, &(struct store_request){ .uids = &uid,
				      .count = 1,
				      .mode = STORE_ADD,
				      .system_flags = system_flags,
				      .keywords = &name,
				      .keyword_count = 1 }, &op);
	loop_run(f->loop);
	return op.status;
}

static int copy_one(struct fixture *f, struct folder *from, uint32_t uid, struct folder *to)
{
	struct mailbox_op op = op_of(f);
	mailbox_copy(from, &uid, 1, to, false, &unlimited, &op);
	loop_run(f->loop);
	return op.status;
}

static int expunge(struct fixture *f, struct folder *folder, uint32_t uid)
{
	struct mailbox_op op = op_of(f);
	mailbox_expunge(folder, &uid, 1, &op);
	loop_run(f->loop);
	return op.status;
}

/* Longer than a segment of the log: refused alone, while others around it are taken. */
enum { TOO_LONG = SEGMENT_LENGTH + 1 };

/* ---- refusals ---- */

TEST(a_first_message_that_a_full_disk_refused_leaves_a_mailbox_that_takes_mail)
{
	struct fixture f;
	if (!setup_small(&f, "size=12m")) {
		teardown(&f);
		return;
	}
	struct bytes *filler = bytes_create(64 << 10);
	char path[128];
	/* Whatever the log has not taken yet. */
	snprintf(path, sizeof(path), "%s/filler", f.log_directory);
	FILE *file = fopen(path, "w");
	while (fwrite(filler->data, 1, filler->length, file) == filler->length)
		continue;
	fclose(file);
	bytes_unref(&filler);
	unsigned id = 1;
	int status = 0;
	while (id < 40 && (status = deliver(&f, id, 4 << 20)) == 0)
		id++;
	EXPECT_INT(-ENOSPC, status);
	stop(&f);
	EXPECT_INT(0, unlink(f.index_path));
	teardown(&f);

	/* The same as the first of a mailbox, with and without room. */
	EXPECT(setup_small(&f, "size=12m"));
	EXPECT_INT(-ENOSPC, deliver(&f, 1, 20 << 20));
	EXPECT_INT(0, mount("tmpfs", f.log_directory, "tmpfs", MS_REMOUNT, "size=100m"));
	EXPECT_INT(0, deliver(&f, 1, 1000));
	EXPECT_INT(0, deliver(&f, 2, 1000));
	EXPECT_INT(2, folder_of(&f, "INBOX")->message_count);
	EXPECT_INT(1, folder_of(&f, "INBOX")->messages[0].uid);
	teardown(&f);
}

TEST(a_delivery_behind_first_folders_that_were_refused_is_no_success)
{
	struct fixture f;
	struct one_delivery first, second, third;
	unsigned left = 0;
	setup(&f);
	begin_delivery(&f, &first, 1, TOO_LONG, &left);
	first.then = &third;
	begin_delivery(&f, &second, 2, 1000, &left);
	loop_run(f.loop);
	EXPECT_INT(-EFBIG, first.target.status);
	EXPECT_INT(-EAGAIN, second.target.status);
	/* While the second is on its way, it is known that nobody makes them. */
	EXPECT_INT(0, third.target.status);
	/* Nobody takes it for stored before. */
	EXPECT_INT(0, deliver(&f, 2, 1000));
	EXPECT_INT(0, deliver(&f, 2, 1000));
	EXPECT_INT(2, folder_of(&f, "INBOX")->message_count);
	teardown(&f);
}

struct attach {
	struct mailbox_session session;
	struct mailbox_op op;
	bool is_done;
	uint32_t folder_count; /* then */
};

static void on_attached(struct mailbox_op *op)
{
	struct attach *attach = op->arg;
	attach->is_done = true;
	attach->folder_count = attach->session.mailbox ? attach->session.mailbox->folder_count : 0;
}

static void on_session_change(struct mailbox_session *session)
{
	(void)session;
}

static void on_session_gone(struct mailbox_session *session, bool folder_only)
{
	(void)session;
	(void)folder_only;
}

TEST(a_session_behind_first_folders_that_were_refused_makes_them)
{
	struct fixture f;
	struct one_delivery refused;
	unsigned left = 0;
	struct attach attach = { .session = { .on_change = on_session_change,
					 .on_gone = on_session_gone } };
	attach.op = (struct mailbox_op){ .done = on_attached, .arg = &attach };
	setup(&f);
	begin_delivery(&f, &refused, 1, TOO_LONG, &left);
	mailbox_attach(f.volume, MAILBOX, &attach.session, &attach.op);
	loop_run(f.loop);
	EXPECT_INT(-EFBIG, refused.target.status);
	EXPECT_INT(0, deliver(&f, 2, 100));
	EXPECT(attach.is_done);
	EXPECT_INT(0, attach.op.status);
	EXPECT_INT(6, attach.folder_count);
	mailbox_detach(&attach.session);
	teardown(&f);
}

TEST(copies_past_the_quota_use_up_no_uids)
{
	struct fixture f;
	setup(&f);
	EXPECT_INT(0, deliver(&f, 1, 200));
	struct folder *inbox = folder_of(&f, "INBOX");
	uint32_t uid = inbox->messages[0].uid;
	struct mailbox_policy full = { DURABILITY_LOCAL, inbox->total_bytes };
	for (unsigned i = 0; i < UID_SLACK; i++) {
		struct mailbox_op op = op_of(&f);
		mailbox_copy(inbox, &uid, 1, inbox, false, &full, &op);
		loop_run(f.loop);
		if (op.status != -EDQUOT) {
			EXPECT_INT(-EDQUOT, op.status);
			break;
		}
	}
	EXPECT_INT(0, deliver(&f, 2, 200));
	EXPECT_INT(uid + 1, inbox->messages[1].uid);
	teardown(&f);
}

TEST(a_uid_that_a_later_change_has_passed_stays_a_gap_and_no_uid_is_given_twice)
{
	struct fixture f;
	struct one_delivery parts[4];
	unsigned left = 0;
	setup(&f);
	EXPECT_INT(0, deliver(&f, 1, 100));
	begin_delivery(&f, &parts[0], 2, 100, &left);
	begin_delivery(&f, &parts[1], 3, TOO_LONG, &left);
	begin_delivery(&f, &parts[2], 4, 100, &left);
	begin_delivery(&f, &parts[3], 5, TOO_LONG, &left);
	loop_run(f.loop);
	EXPECT_INT(0, parts[0].target.status);
	EXPECT_INT(-EFBIG, parts[1].target.status);
	EXPECT_INT(0, parts[2].target.status);
	EXPECT_INT(-EFBIG, parts[3].target.status);
	EXPECT_INT(0, deliver(&f, 6, 100));
	const struct folder *inbox = folder_of(&f, "INBOX");
	static const uint32_t uids[] = { 1, 2, 4, 5 };
	EXPECT_INT(array_length(uids), inbox->message_count);
	for (size_t i = 0; i < array_length(uids) && i < inbox->message_count; i++)
		EXPECT_INT(uids[i], inbox->messages[i].uid);
	EXPECT_INT(6, ahead_uidnext(inbox));
	teardown(&f);
}

TEST(a_refused_uid_is_given_again_while_changes_of_others_are_on_their_way)
{
	struct fixture f;
	struct one_delivery refused, other, next;
	unsigned left = 0;
	setup(&f);
	EXPECT_INT(0, deliver(&f, 1, 100));
	begin_delivery(&f, &refused, 2, TOO_LONG, &left);
	refused.then = &next;
	begin_delivery(&f, &other, OTHERS_ID, 100, &left);
	loop_run(f.loop);
	EXPECT_INT(-EFBIG, refused.target.status);
	EXPECT_INT(0, other.target.status);
	EXPECT_INT(0, next.target.status);
	EXPECT_INT(2, next.target.uid);
	teardown(&f);
}

TEST(messages_on_their_way_to_a_new_inbox_keep_their_uids_when_it_is_made)
{
	struct fixture f;
	struct one_delivery first, second, third;
	unsigned left = 0;
	setup(&f);
	begin_delivery(&f, &first, 1, 100, &left);
	first.then = &third;
	begin_delivery(&f, &second, 2, 100, &left);
	loop_run(f.loop);
	EXPECT_INT(1, first.target.uid);
	EXPECT_INT(2, second.target.uid);
	EXPECT_INT(0, third.target.status);
	EXPECT_INT(3, third.target.uid);
	EXPECT_INT(3, folder_of(&f, "INBOX")->message_count);
	teardown(&f);
}

/* ---- keywords ---- */

TEST(a_keyword_of_a_refused_append_takes_no_bit)
{
	struct fixture f;
	struct mailbox_op op;
	setup(&f);
	EXPECT_INT(0, deliver(&f, 1, 100));
	struct folder *inbox = folder_of(&f, "INBOX");
	EXPECT_INT(-EDQUOT, append(&f, inbox, "$Foo", 10, &op));
	EXPECT_INT(0, append(&f, inbox, "$Bar", 0, &op));
	EXPECT_INT(1, inbox->keyword_count);
	EXPECT_STR(STR("$Bar"), inbox->keywords[0]);
	teardown(&f);
}

TEST(the_logs_word_on_a_keyword_overwrites)
{
	struct fixture f;
	struct mailbox_op op;
	setup(&f);
	EXPECT_INT(0, deliver(&f, 1, 100));
	struct folder *inbox = folder_of(&f, "INBOX");
	EXPECT_INT(0, append(&f, inbox, "$Foo", 0, &op));
	uint64_t before = inbox->messages[1].modseq;
	struct action_keyword keyword = { 0, STR("$Bar") };
	struct uid_range range = { inbox->messages[0].uid, inbox->messages[0].uid };
	struct action action = { .kind = ACTION_FLAGS,
		.mailbox_id = MAILBOX,
		.modseq = before + 1,
		.folder_id = inbox->id,
		.keywords = &keyword,
		.keyword_count = 1,
		.uids = &range,
		.uid_range_count = 1,
		.mode = STORE_ADD,
		.flags = 1ull << MESSAGE_KEYWORD_SHIFT };
	struct change change = { &action, 1 };
	EXPECT_INT(0, index_apply(&f.volume->index, &change, 1 << 20, NULL));
	EXPECT_STR(STR("$Bar"), inbox->keywords[0]);
	EXPECT_INT(1ull << MESSAGE_KEYWORD_SHIFT, inbox->messages[0].flags);
	/* Nobody is shown $Bar who was marked $Foo. */
	EXPECT_INT(MESSAGE_FLAGGED, inbox->messages[1].flags);
	EXPECT_INT(before + 1, inbox->messages[1].modseq);
	teardown(&f);
}

/* k0 .. k55 on the first message of INBOX, by one STORE each. */
static struct folder *fill_keywords(struct fixture *f)
{
	char name[8];
	EXPECT_INT(0, deliver(f, 1, 100));
	struct folder *inbox = folder_of(f, "INBOX");
	for (unsigned i = 0; i < FOLDER_KEYWORDS_MAX; i++) {
		snprintf(name, sizeof(name), "k%u", i);
		EXPECT_INT(0, store(f, inbox, 1, 0, name));
	}
	return inbox;
}

TEST(with_too_many_keywords_a_message_is_kept_and_the_new_keyword_is_not)
{
	struct fixture f;
	struct mailbox_op op;
	setup(&f);
	struct folder *inbox = fill_keywords(&f);
	struct folder *archive = folder_of(&f, "Archive");
	EXPECT(!folder_has_keyword_room(inbox));
	EXPECT_INT(0, append(&f, inbox, "new", 0, &op));
	EXPECT_INT(1, op.keywords_dropped);
	EXPECT_INT(MESSAGE_FLAGGED, inbox->messages[1].flags);
	EXPECT_INT(-E2BIG, store(&f, inbox, 2, 0, "new"));
	EXPECT_INT(0, store(&f, inbox, 2, MESSAGE_SEEN, "new"));
	EXPECT_INT(MESSAGE_FLAGGED | MESSAGE_SEEN, inbox->messages[1].flags);
	EXPECT_INT(0, append(&f, archive, "new", 0, &op));
	EXPECT_INT(0, copy_one(&f, archive, op.first_uid, inbox));
	EXPECT_INT(3, inbox->message_count);
	EXPECT_INT(MESSAGE_FLAGGED, inbox->messages[2].flags);
	teardown(&f);
}

TEST(a_keyword_bit_that_no_message_has_is_given_again_in_every_replay_alike)
{
	struct fixture f;
	struct mailbox_op op;
	setup(&f);
	struct folder *inbox = fill_keywords(&f);
	EXPECT_INT(0, append(&f, inbox, "k7", 0, &op));
	EXPECT_INT(0, expunge(&f, inbox, 1));
	EXPECT(folder_has_keyword_room(inbox));
	EXPECT_INT(0, append(&f, inbox, "new", 0, &op));
	EXPECT_INT(0, op.keywords_dropped);
	EXPECT_STR(STR("new"), inbox->keywords[0]);
	EXPECT_INT(7, folder_find_keyword(inbox, STR("K7")));
	EXPECT_INT(MESSAGE_FLAGGED | 1ull << (MESSAGE_KEYWORD_SHIFT + 7), inbox->messages[0].flags);
	EXPECT_INT(MESSAGE_FLAGGED | 1ull << MESSAGE_KEYWORD_SHIFT, inbox->messages[1].flags);
	uint64_t digest = index_digest(&f.volume->index);
	stop(&f);
	restart(&f);
	EXPECT_INT(digest, index_digest(&f.volume->index));
	stop(&f);
	EXPECT_INT(0, unlink(f.index_path));
	restart(&f);
	EXPECT_INT(digest, index_digest(&f.volume->index));
	teardown(&f);
}

/* ---- a damaged index ---- */

struct row {
	struct buf key, value;
};

static struct row rows[64];
static unsigned row_count;

static int keep_row(void *arg, struct str key, struct str value)
{
	(void)arg;
	CHECK(row_count < array_length(rows));
	buf_append_str(&rows[row_count].key, key);
	buf_append_str(&rows[row_count++].value, value);
	return 0;
}

static void read_rows(struct fixture *f)
{
	struct store *store;
	struct error error;
	for (unsigned i = 0; i < row_count; i++) {
		buf_deinit(&rows[i].key);
		buf_deinit(&rows[i].value);
	}
	row_count = 0;
	EXPECT_INT(0, store_open(f->index_path, &store, &error));
	EXPECT_INT(0, store_each(store, STR(""), keep_row, NULL));
	store_close(&store);
}

/* One row of the store becomes another, or goes. */
static void change_row(struct fixture *f, struct str key, struct str value)
{
	struct store *store;
	struct error error;
	EXPECT_INT(0, store_open(f->index_path, &store, &error));
	EXPECT_INT(0, store_begin(store));
	EXPECT_INT(0, value.length > 0 ? store_put(store, key, value) : store_remove(store, key));
	EXPECT_INT(0, store_commit(store));
	store_close(&store);
}

/* A mailbox with messages in two folders, keywords and a subscription. Returns the digest; the
 * volume is stopped. */
static uint64_t make_mail(struct fixture *f)
{
	struct mailbox_op op;
	for (unsigned id = 1; id <= 3; id++)
		EXPECT_INT(0, deliver(f, id, 100 * id));
	struct folder *inbox = folder_of(f, "INBOX");
	EXPECT_INT(0, append(f, inbox, "$Key", 0, &op));
	EXPECT_INT(0, copy_one(f, inbox, op.first_uid, folder_of(f, "Archive")));
	uint64_t digest = index_digest(&f->volume->index);
	stop(f);
	read_rows(f);
	return digest;
}

/* Reads everything, which may find damage; the volume comes back with what the log says. */
static void expect_healed(struct fixture *f, uint64_t digest)
{
	restart(f);
	index_digest(&f->volume->index);
	struct mailbox_op op = op_of(f);
	if (f->volume->index.is_broken) {
		/* Nothing is given out of it any more. */
		mailbox_subscribe(the_mailbox(f), STR("x"), true, &op);
		loop_run(f->loop);
		EXPECT_INT(-EROFS, op.status);
		EXPECT(await(f, VOLUME_PRIMARY));
	}
	EXPECT_INT(digest, index_digest(&f->volume->index));
	EXPECT(!f->volume->index.is_broken);
	stop(f);
}

TEST(a_flipped_bit_in_any_row_of_the_index_is_noticed_and_the_log_replayed)
{
	struct fixture f;
	setup(&f);
	uint64_t digest = make_mail(&f);
	EXPECT(row_count >= 6); /* volume, dedupe, mailbox, folders, chunks */
	unsigned count = row_count;
	for (unsigned i = 0; i < count; i++) {
		char name[32];
		snprintf(name, sizeof(name), "row %u, kind %c", i, *buf_str(&rows[i].key).bytes);
		test_row(name);
		struct str key = buf_str(&rows[i].key), value = buf_str(&rows[i].value);
		size_t at = (i * 7 + 3) % value.length;
		((char *)(uintptr_t)value.bytes)[at] ^= (char)(1 << i % 8);
		change_row(&f, key, value);
		expect_healed(&f, digest);
		read_rows(&f);
		EXPECT_INT(count, row_count);
	}
	test_row(NULL);
	teardown(&f);
}

TEST(a_row_of_the_index_that_is_lost_or_another_folders_is_noticed)
{
	struct fixture f;
	setup(&f);
	uint64_t digest = make_mail(&f);
	unsigned count = row_count;
	for (unsigned i = 0; i < count; i++) {
		char name[32];
		snprintf(name, sizeof(name), "row %u, kind %c", i, *buf_str(&rows[i].key).bytes);
		test_row(name);
		change_row(&f, buf_str(&rows[i].key), STR(""));
		expect_healed(&f, digest);
		read_rows(&f);
		EXPECT_INT(count, row_count);
	}
	unsigned first = 0;
	while (*buf_str(&rows[first].key).bytes != 'c')
		first++;
	test_row("the chunk of another folder");
	change_row(&f, buf_str(&rows[first].key), buf_str(&rows[first + 1].value));
	expect_healed(&f, digest);
	test_row(NULL);
	teardown(&f);
}

/* ---- applying ---- */

struct crafted {
	struct pending_change pending;
	struct fixture *f;
	int status;
};

static void on_crafted(struct pending_change *pending, int status, bool at_risk)
{
	struct crafted *crafted = container_of(pending, struct crafted, pending);
	(void)at_risk;
	crafted->status = status;
	loop_stop(crafted->f->loop);
}

/* A message under a uid that is taken: no node writes such a change. */
static void write_contradiction(struct fixture *f, struct crafted *crafted)
{
	struct folder *inbox = folder_of(f, "INBOX");
	*crafted = (struct crafted){ .f = f };
	struct pending_change *pending = &crafted->pending;
	pending->pool = pool_create();
	pending->done = on_crafted;
	pending->durability = DURABILITY_LOCAL;
	pending->change.action_count = 1;
	pending->change.actions = pool_alloc(pending->pool, sizeof(struct action));
	struct action *action = pending->change.actions;
	*action = (struct action){ .kind = ACTION_ADD,
		.mailbox_id = MAILBOX,
		.modseq = volume_next_modseq(f->volume, the_mailbox(f)),
		.folder_id = inbox->id,
		.added_count = 1 };
	action->added = pool_alloc(pending->pool, sizeof(*action->added));
	action->added[0] = (struct added_message){ .uid = 1, .size = 1, .body_lsn = 1 };
	volume_submit(f->volume, pending, STR(""), STR(""));
	loop_run(f->loop);
}

TEST(a_log_that_contradicts_itself_makes_the_volume_unusable_and_is_noted_nowhere_as_applied)
{
	struct fixture f;
	struct crafted crafted;
	setup(&f);
	EXPECT_INT(0, deliver(&f, 1, 100));
	EXPECT_INT(0, index_checkpoint(&f.volume->index));
	uint64_t applied = f.volume->index.applied_lsn;
	write_contradiction(&f, &crafted);
	EXPECT_INT(-EROFS, crafted.status);
	EXPECT(await(&f, VOLUME_REPLICA));
	EXPECT_INT(applied, f.volume->index.applied_lsn);
	EXPECT(f.volume->contradicts_log);
	EXPECT_INT(-EUCLEAN, index_checkpoint(&f.volume->index));
	/* It is tried again, later and later. */
	uint64_t first = f.volume->retry_ms;
	EXPECT(await(&f, VOLUME_OPENING));
	EXPECT(await(&f, VOLUME_REPLICA));
	EXPECT(first > 0 && f.volume->retry_ms > first);
	volume_destroy(&f.volume);
	teardown(&f);
}

TEST(an_opening_that_failed_is_tried_again)
{
	struct fixture f;
	setup_at(&f, "away/log");
	name_primary(&f);
	EXPECT(await(&f, VOLUME_REPLICA));
	EXPECT_INT(OPEN_RETRY_MS_MIN, f.volume->retry_ms);
	char parent[80];
	snprintf(parent, sizeof(parent), "%s/away", f.directory);
	EXPECT_INT(0, mkdir(parent, 0700));
	EXPECT(await(&f, VOLUME_PRIMARY));
	EXPECT_INT(0, f.volume->retry_ms);
	EXPECT_INT(0, deliver(&f, 1, 100));
	teardown(&f);
}

TEST(a_second_folder_below_a_parent_that_is_being_made_is_made)
{
	struct fixture f;
	setup(&f);
	EXPECT_INT(0, deliver(&f, 1, 100));
	struct mailbox_op left = op_of(&f), right = op_of(&f);
	mailbox_create_folder(the_mailbox(&f), STR("a/left"), SPECIAL_NONE, &left);
	mailbox_create_folder(the_mailbox(&f), STR("a/right"), SPECIAL_NONE, &right);
	loop_run(f.loop);
	EXPECT_INT(0, deliver(&f, 2, 100));
	EXPECT_INT(0, left.status);
	EXPECT_INT(0, right.status);
	EXPECT(folder_of(&f, "a") && folder_of(&f, "a/left") && folder_of(&f, "a/right"));
	teardown(&f);
}

/* ---- an unclean promotion ---- */

TEST(after_an_unclean_promotion_every_message_has_a_modseq_above_all_that_were_issued)
{
	struct fixture f;
	struct mailbox_op op;
	setup(&f);
	EXPECT_INT(0, deliver(&f, 1, 100));
	EXPECT_INT(0, append(&f, folder_of(&f, "INBOX"), "$Key", 0, &op));
	EXPECT_INT(0, append(&f, folder_of(&f, "Archive"), NULL, 0, &op));
	stop(&f);
	/* The reign of another epoch, whose log did not end in a fence. */
	open_volume(&f);
	struct volume_desired desired = { .primary = true, .epoch = 2 };
	memcpy(desired.reign, "reign two.......", sizeof(desired.reign));
	volume_set_desired(f.volume, &desired);
	EXPECT(await(&f, VOLUME_PRIMARY));
	/* Whatever a branch that is lost may have told. */
	uint64_t told = (2ull << 40) - 1;
	struct folder *inbox = folder_of(&f, "INBOX"), *archive = folder_of(&f, "Archive");
	EXPECT(inbox->highest_modseq > told && archive->highest_modseq > told);
	EXPECT_INT(0, folder_load(archive));
	EXPECT_INT(0, folder_load(inbox));
	EXPECT(archive->messages[0].modseq > told);
	for (uint32_t i = 0; i < inbox->message_count; i++)
		EXPECT(inbox->messages[i].modseq > told);
	/* What changes now stands above these. */
	EXPECT_INT(0, store(&f, inbox, 1, MESSAGE_SEEN, "$Key"));
	EXPECT(inbox->messages[0].modseq > inbox->messages[1].modseq);
	uint64_t digest = index_digest(&f.volume->index);
	stop(&f);
	for (unsigned replay = 0; replay < 2; replay++) {
		if (replay > 0)
			EXPECT_INT(0, unlink(f.index_path));
		open_volume(&f);
		volume_set_desired(f.volume, &desired);
		EXPECT(await(&f, VOLUME_PRIMARY));
		EXPECT_INT(digest, index_digest(&f.volume->index));
		stop(&f);
	}
	teardown(&f);
}
