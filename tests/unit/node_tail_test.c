#include "unit/node_fixture.h"
#include "unit/test.h"

#include "node/salvage/tail.h"
#include "spool/volume_log_internal.h"

#include <errno.h>
#include <stdio.h>

/* What a branch that was cut off had more. */

static atomic_bool stop;

struct cut {
	struct tail_name name;
	struct log_files files;
};

/* The volume is stopped, and its log cut at `lsn`, as a follower's is whose leader went on there.
 */
static void cut_at(struct fixture *f, uint64_t lsn, struct cut *cut)
{
	cut->name = (struct tail_name){ 1, lsn, volume_log_end(f->volume->log) };
	fixture_stop(f);
	log_files_init(&cut->files, f->disk, f->log_directory);
	EXPECT_INT(0, log_save_range(&cut->files, 7, 1, lsn, cut->name.to));
	EXPECT_INT(0, log_cut_files(&cut->files, lsn));
}

static struct tail *read_tail(struct fixture *f, const struct cut *cut, uint64_t present_end)
{
	struct tail *tail;
	struct error error;
	int result = tail_read(
		f->disk, f->log_directory, 7, &cut->name, present_end, &stop, &tail, &error);
	if (result < 0)
		fprintf(stderr, "%s\n", error.text);
	EXPECT_INT(0, result);
	return tail;
}

static void tear_down(struct fixture *f, struct cut *cut)
{
	log_files_deinit(&cut->files);
	fixture_teardown(f);
}

static void run(struct fixture *f, struct mailbox_op *op)
{
	loop_run(f->loop);
	EXPECT_INT(0, op->status);
}

/* What the branch did to what stood before. */
static void check_older(const struct tail_mailbox *mine, uint32_t moved, uint32_t expunged)
{
	EXPECT_INT(2, mine->older_count);
	const struct tail_older *first = mine->older[0], *second = mine->older[1];
	EXPECT_INT(moved, first->uid);
	EXPECT_STR(STR("INBOX"), first->folder);
	EXPECT_STR(STR("renamed"), first->moved_to);
	EXPECT_INT(0, first->before.system);
	EXPECT_INT(MESSAGE_FLAGGED, first->end.system);
	EXPECT_INT(1, first->end.keyword_count);
	EXPECT_STR(STR("work"), first->end.keywords[0]);
	EXPECT(!first->is_expunged && first->uidvalidity != 0);
	EXPECT_INT(expunged, second->uid);
	EXPECT(second->is_expunged && !second->may_go);
	EXPECT_INT(1, mine->folder_count);
	EXPECT_INT(0, mine->folders[0].before.length);
	EXPECT_STR(STR("renamed"), mine->folders[0].end);
	EXPECT_INT(1, mine->subscription_count);
	EXPECT(mine->subscriptions[0].end && !mine->subscriptions[0].before);
}

TEST(a_tail_lists_what_its_branch_added_and_still_had)
{
	struct fixture f;
	struct cut cut;
	struct mailbox_op op;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 1000));
	EXPECT_INT(0, fixture_deliver(&f, 2, 1000));
	struct folder *inbox = fixture_folder(&f, "INBOX");
	uint32_t old = inbox->messages[0].uid, older = inbox->messages[1].uid;
	uint64_t parting = volume_log_end(f.volume->log);

	EXPECT_INT(0, fixture_deliver(&f, 3, 100000));
	uint32_t delivered = inbox->messages[2].uid;
	EXPECT_INT(0, fixture_store(&f, inbox, delivered, MESSAGE_SEEN, "work"));
	EXPECT_INT(0, fixture_deliver(&f, 4, 1000));
	EXPECT_INT(0, fixture_expunge(&f, inbox, inbox->messages[3].uid));
	EXPECT_INT(0, fixture_append(&f, inbox, "$Key", 0, &op));
	EXPECT_INT(0, fixture_deliver(&f, OTHERS_ID, 300));
	EXPECT_INT(0, fixture_copy(&f, inbox, old, fixture_folder(&f, "Archive")));
	EXPECT_INT(0, fixture_store(&f, inbox, old, MESSAGE_FLAGGED, "work"));
	EXPECT_INT(0, fixture_expunge(&f, inbox, older));
	op = fixture_op(&f);
	mailbox_create_folder(fixture_mailbox(&f), STR("new"), SPECIAL_NONE, &op);
	run(&f, &op);
	op = fixture_op(&f);
	mailbox_subscribe(fixture_mailbox(&f), STR("new"), true, &op);
	run(&f, &op);
	/* What came with the tail and what stood before move to the new folder, which gets another
	 * name: the one under which the branch ended. */
	uint32_t uids[] = { old, delivered };
	op = fixture_op(&f);
	mailbox_copy(inbox, uids, 2, fixture_folder(&f, "new"), true, &unlimited, &op);
	run(&f, &op);
	uint32_t moved = op.first_uid + 1;
	op = fixture_op(&f);
	mailbox_rename_folder(fixture_folder(&f, "new"), STR("renamed"), &op);
	run(&f, &op);
	cut_at(&f, parting, &cut);

	struct tail *tail = read_tail(&f, &cut, parting);
	EXPECT_INT(2, tail->mailbox_count);
	EXPECT_INT(4, tail->message_count);
	EXPECT_INT(0, tail->damaged_at);
	const struct tail_mailbox *mine = tail->mailboxes[0], *other = tail->mailboxes[1];
	EXPECT_INT(MAILBOX, mine->id);
	EXPECT_STR(f.who.address, mine->address);
	EXPECT_INT(0, memcmp(mine->mark, f.who.mark, sizeof(mine->mark)));
	EXPECT_INT(3, mine->message_count);
	EXPECT_INT(1, mine->gone);
	check_older(mine, old, older);

	const struct tail_message *message = &mine->messages[0];
	EXPECT_INT(0, strcmp("id 3", (const char *)message->delivery_id));
	EXPECT_STR(STR("renamed"), message->folder);
	EXPECT_INT(moved, message->uid);
	EXPECT_INT(MESSAGE_SEEN, message->flags.system);
	EXPECT_INT(1, message->flags.keyword_count);
	EXPECT_STR(STR("work"), message->flags.keywords[0]);
	EXPECT_STR(STR("INBOX"), mine->messages[1].folder);
	EXPECT_INT(MESSAGE_FLAGGED, mine->messages[1].flags.system);
	EXPECT_STR(STR("Archive"), mine->messages[2].folder);
	EXPECT_INT(1, other->message_count);

	/* Bodies of the tail, and of a copy what stands below. */
	static const uint32_t sizes[] = { 100000, 500, 1000 };
	for (unsigned i = 0; i < 3; i++) {
		struct bytes *body;
		EXPECT_INT(0, tail_body(tail, &mine->messages[i], &body));
		EXPECT_INT(sizes[i], body->length);
		EXPECT_INT(i == 1 ? 'a' : 'x', body->data[body->length - 1]);
		bytes_unref(&body);
	}

	/* Read again, every message has the id that it had, and no two the same. */
	struct tail *again = read_tail(&f, &cut, parting);
	for (unsigned i = 0; i < 3; i++) {
		EXPECT_INT(0,
			memcmp(&mine->messages[i].delivery_id,
				&again->mailboxes[0]->messages[i].delivery_id, 16));
		for (unsigned k = 0; k < i; k++)
			EXPECT(memcmp(&mine->messages[i].delivery_id,
				       &mine->messages[k].delivery_id, 16) != 0);
	}
	tail_destroy(&again);
	tail_destroy(&tail);
	tear_down(&f, &cut);
}

TEST(what_the_present_log_has_too_is_not_of_the_tail)
{
	struct fixture f;
	struct cut cut;
	struct mailbox_op op;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 1000));
	uint64_t parting = volume_log_end(f.volume->log);
	EXPECT_INT(0, fixture_append(&f, fixture_folder(&f, "INBOX"), NULL, 0, &op));
	uint64_t shared = volume_log_end(f.volume->log);
	EXPECT_INT(0, fixture_append(&f, fixture_folder(&f, "INBOX"), NULL, 0, &op));
	cut.name = (struct tail_name){ 1, parting, volume_log_end(f.volume->log) };
	fixture_stop(&f);
	log_files_init(&cut.files, f.disk, f.log_directory);
	EXPECT_INT(0, log_save_range(&cut.files, 7, 1, parting, cut.name.to));

	/* A copy that was filled again after a cut at damage: all of it, or some. */
	struct tail *tail = read_tail(&f, &cut, cut.name.to);
	EXPECT_INT(0, tail->message_count);
	EXPECT_INT(cut.name.to, tail->parts_at);
	tail_destroy(&tail);
	EXPECT_INT(0, log_cut_files(&cut.files, shared));
	tail = read_tail(&f, &cut, shared);
	EXPECT_INT(1, tail->message_count);
	EXPECT_INT(shared, tail->parts_at);
	tail_destroy(&tail);
	tear_down(&f, &cut);
}

static void damage(struct fixture *f, const struct cut *cut, uint64_t lsn)
{
	char path[200];
	struct disk_file *file;
	snprintf(path, sizeof(path), "%s/salvage-1-%016llx-%016llx.log", f->log_directory,
		(unsigned long long)cut->name.from, (unsigned long long)cut->name.to);
	EXPECT_INT(0, disk_file_open(f->disk, path, false, &file));
	EXPECT_INT(0, disk_write_now(file, "damaged", 7, lsn - cut->name.from + 200));
	disk_file_close(&file);
}

TEST(a_tail_is_read_as_far_as_it_is_sound_and_follows_its_log)
{
	struct fixture f;
	struct cut cut;
	struct tail *tail;
	struct error error;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 1000));
	uint64_t below = volume_log_end(f.volume->log);
	EXPECT_INT(0, fixture_deliver(&f, 2, 1000));
	uint64_t parting = volume_log_end(f.volume->log);
	EXPECT_INT(0, fixture_deliver(&f, 3, 1000));
	uint64_t second = volume_log_end(f.volume->log);
	EXPECT_INT(0, fixture_deliver(&f, 4, 1000));
	cut_at(&f, parting, &cut);
	damage(&f, &cut, second);
	tail = read_tail(&f, &cut, parting);
	EXPECT_INT(1, tail->message_count);
	EXPECT_INT(second, tail->damaged_at);
	tail_destroy(&tail);
	stop = true;
	EXPECT_INT(-ECANCELED,
		tail_read(f.disk, f.log_directory, 7, &cut.name, parting, &stop, &tail, &error));
	stop = false;
	/* What is below it is another log by now. */
	EXPECT_INT(0, log_cut_files(&cut.files, below));
	EXPECT_INT(-EUCLEAN,
		tail_read(f.disk, f.log_directory, 7, &cut.name, below, &stop, &tail, &error));
	EXPECT(tail == NULL);
	tear_down(&f, &cut);
}

/* A replica that rotted, was cut there and filled again; something sound stands behind the damage,
 * or nothing. */
TEST(a_damaged_tail_of_a_log_that_was_filled_again_lacks_nothing)
{
	/* The first, the first two, all three, the first and the last of three. */
	static const unsigned damaged[] = { 1, 3, 7, 5 };
	for (unsigned row = 0; row < array_length(damaged); row++) {
		struct fixture f;
		struct cut cut;
		struct error error;
		fixture_setup(&f);
		EXPECT_INT(0, fixture_deliver(&f, 1, 1000));
		uint64_t parting = volume_log_end(f.volume->log);
		EXPECT_INT(0, fixture_deliver(&f, 2, 1000));
		uint64_t second = volume_log_end(f.volume->log);
		EXPECT_INT(0, fixture_deliver(&f, 3, 1000));
		uint64_t third = volume_log_end(f.volume->log);
		EXPECT_INT(0, fixture_deliver(&f, 4, 1000));
		cut.name = (struct tail_name){ 1, parting, volume_log_end(f.volume->log) };
		fixture_stop(&f);
		log_files_init(&cut.files, f.disk, f.log_directory);
		EXPECT_INT(0, log_save_range(&cut.files, 7, 1, parting, cut.name.to));
		const uint64_t groups[] = { parting, second, third };
		for (unsigned i = 0; i < 3; i++)
			if (damaged[row] & 1u << i)
				damage(&f, &cut, groups[i]);
		struct tail *tail = read_tail(&f, &cut, cut.name.to);
		EXPECT_INT(0, tail->message_count);
		EXPECT_INT(cut.name.to, tail->parts_at);
		EXPECT_INT(0, tail->damaged_at);
		tail_destroy(&tail);
		/* It has not all been filled: nobody can tell what stood there. */
		EXPECT_INT(0, log_cut_files(&cut.files, parting));
		EXPECT_INT(-EUCLEAN,
			tail_read(f.disk, f.log_directory, 7, &cut.name, parting, &stop, &tail,
				&error));
		tear_down(&f, &cut);
	}
}

/* As an old disk has it: whole, and of another branch than what stands behind it. */
TEST(a_tail_that_begins_with_a_foreign_group_lacks_nothing_either)
{
	struct fixture f;
	struct cut cut;
	struct group group;
	struct disk_file *file;
	uint8_t header[GROUP_HEADER_LENGTH];
	char path[200];
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 1000));
	uint64_t parting = volume_log_end(f.volume->log);
	for (unsigned id = 2; id <= 4; id++)
		EXPECT_INT(0, fixture_deliver(&f, id, 1000));
	cut.name = (struct tail_name){ 1, parting, volume_log_end(f.volume->log) };
	fixture_stop(&f);
	log_files_init(&cut.files, f.disk, f.log_directory);
	EXPECT_INT(0, log_files_read_header(&cut.files, 7, parting, &group));
	EXPECT_INT(0, log_save_range(&cut.files, 7, 1, parting, cut.name.to));
	group.incarnation ^= 1;
	group.chain++;
	group_header_encode(&group, header);
	snprintf(path, sizeof(path), "%s/salvage-1-%016llx-%016llx.log", f.log_directory,
		(unsigned long long)parting, (unsigned long long)cut.name.to);
	EXPECT_INT(0, disk_file_open(f.disk, path, false, &file));
	EXPECT_INT(0, disk_write_now(file, header, sizeof(header), 0));
	disk_file_close(&file);
	struct tail *tail = read_tail(&f, &cut, cut.name.to);
	EXPECT_INT(0, tail->message_count);
	EXPECT_INT(cut.name.to, tail->parts_at);
	tail_destroy(&tail);
	tear_down(&f, &cut);
}

TEST(only_whole_names_are_tails)
{
	struct tail_name name;
	EXPECT(tail_parse_name("salvage-12-0000000000001000-0000000000003000.log", &name));
	EXPECT_INT(12, name.epoch);
	EXPECT_INT(0x1000, name.from);
	EXPECT_INT(0x3000, name.to);
	EXPECT(!tail_parse_name("salvage-12-0000000000001000-0000000000003000.log.new", &name));
	EXPECT(!tail_parse_name("salvage-12-0000000000003000-0000000000001000.log", &name));
	EXPECT(!tail_parse_name("salvage.new", &name));
}

/* Of a message that is brought home, under this id. */
static int bring(
	struct fixture *f, const uint8_t id[16], uint64_t ids_before, struct mailbox_op *op)
{
	struct append_request request = { .body = bytes_create(500),
		.summary = STR("summary"),
		.policy = { DURABILITY_LOCAL, 0 },
		.delivery_id = id,
		.ids_before = ids_before };
	memset(request.body->data, 'a', 500);
	*op = fixture_op(f);
	mailbox_append(fixture_folder(f, "Archive"), &request, op);
	loop_run(f->loop);
	bytes_unref(&request.body);
	return op->status;
}

TEST(what_is_stored_under_an_id_is_not_appended_again)
{
	struct fixture f;
	struct mailbox_op op;
	uint8_t id[16] = "id 1";
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 1000));
	struct salvage_point point = mailbox_salvage_point(fixture_mailbox(&f));
	EXPECT_INT(volume_log_end(f.volume->log), point.end);
	/* A delivery's, then one that was appended, over a restart and from the log alone too. */
	EXPECT_INT(0, bring(&f, id, point.ids_before, &op));
	EXPECT_INT(0, op.count);
	id[0] = 'x';
	EXPECT_INT(0, bring(&f, id, point.ids_before, &op));
	EXPECT_INT(1, op.count);
	EXPECT_INT(0, bring(&f, id, point.ids_before, &op));
	EXPECT_INT(0, op.count);
	for (unsigned i = 0; i < 2; i++) {
		fixture_stop(&f);
		if (i == 1)
			EXPECT_INT(0, remove(f.index_path));
		fixture_restart(&f);
		point = mailbox_salvage_point(fixture_mailbox(&f));
		EXPECT_INT(0, bring(&f, id, point.ids_before, &op));
		EXPECT_INT(0, op.count);
	}
	EXPECT_INT(1, fixture_folder(&f, "Archive")->message_count);
	/* More has come than is remembered: what is not found may have been stored all the same. */
	id[1] = 'x';
	f.volume->index.dedupe.added += DEDUPE_IDS_MAX;
	EXPECT_INT(-ESTALE, bring(&f, id, point.ids_before, &op));
	point = mailbox_salvage_point(fixture_mailbox(&f));
	EXPECT_INT(0, bring(&f, id, point.ids_before, &op));
	EXPECT_INT(1, op.count);
	fixture_teardown(&f);
}

TEST(what_the_present_branch_has_by_its_id_is_found_in_its_log)
{
	struct fixture f;
	struct cut cut;
	struct mailbox_op op;
	uint8_t id[16] = "id 4";
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 1000));
	uint64_t parting = volume_log_end(f.volume->log);
	for (unsigned i = 2; i <= 4; i++)
		EXPECT_INT(0, fixture_deliver(&f, i, 1000));
	cut_at(&f, parting, &cut);
	/* Index, witness and what was told are of the branch that is gone. */
	char told[100];
	snprintf(told, sizeof(told), "%s/told", f.log_directory);
	EXPECT_INT(0, remove(told));
	EXPECT_INT(0, remove(f.witness_path));
	EXPECT_INT(0, remove(f.index_path));
	fixture_restart(&f);
	EXPECT_INT(0, fixture_deliver(&f, 3, 100000));
	struct salvage_point point = mailbox_salvage_point(fixture_mailbox(&f));
	struct tail *tail = read_tail(&f, &cut, parting);
	const struct tail_mailbox *mine = tail->mailboxes[0];
	EXPECT_INT(3, mine->message_count);
	EXPECT_INT(-EAGAIN, tail_look(tail, point.end, point.chain, point.end - 4096));
	EXPECT_INT(-ESTALE, tail_look(tail, point.end, point.chain + 1, point.end));
	EXPECT_INT(0, tail_look(tail, point.end, point.chain, point.end));
	EXPECT(!tail_is_present(tail, mine, &mine->messages[0]));
	EXPECT(tail_is_present(tail, mine, &mine->messages[1]));
	EXPECT(!tail_is_present(tail, mine, &mine->messages[2]));
	/* What is brought home meanwhile is found when it is looked on. */
	EXPECT_INT(0, bring(&f, id, point.ids_before, &op));
	point = mailbox_salvage_point(fixture_mailbox(&f));
	EXPECT_INT(0, tail_look(tail, point.end, point.chain, point.end));
	EXPECT(tail_is_present(tail, mine, &mine->messages[2]));
	EXPECT(!tail_is_present(tail, mine, &mine->messages[0]));
	tail_destroy(&tail);
	tear_down(&f, &cut);
}
