#include "core/clock.h"
#include "core/timer.h"
#include "node/mailbox/rate.h"
#include "node/volume/volume_internal.h"
#include "unit/node_fixture.h"
#include "unit/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* What refusals leave behind, keywords, openings, an unclean promotion. */

/* ---- refusals ---- */

TEST(a_first_message_that_a_full_disk_refused_leaves_a_mailbox_that_takes_mail)
{
	struct fixture f;
	if (!fixture_setup_small(&f, "size=12m")) {
		fixture_teardown(&f);
		return;
	}
	unsigned id = 1;
	int status = 0;
	while (id < 400 && (status = fixture_deliver(&f, id, 100000)) == 0)
		id++;
	EXPECT_INT(-ENOSPC, status);
	EXPECT_INT(-ENOSPC, fixture_deliver(&f, OTHERS_ID, 100000));
	/* Nobody takes the uids of copies that came to nothing for those of messages. */
	struct folder *copied = fixture_folder(&f, "INBOX");
	struct mailbox_op op = { 0 };
	for (unsigned i = 0; i < 4000 && op.status == 0; i++) {
		op = fixture_op(&f);
		mailbox_copy(copied, &copied->messages[0].uid, 1, copied, false, &unlimited, &op);
		loop_run(f.loop);
	}
	EXPECT_INT(-ENOSPC, op.status);
	EXPECT_INT(0, op.count);
	uint32_t count = copied->message_count;
	EXPECT_INT(copied->messages[count - 1].uid + 1, ahead_uidnext(copied));
	EXPECT_INT(0, mount("tmpfs", f.log_directory, "tmpfs", MS_REMOUNT, "size=100m"));
	EXPECT_INT(0, fixture_deliver(&f, OTHERS_ID, 1000));
	EXPECT_INT(0, fixture_deliver(&f, OTHERS_ID + 1, 1000));
	struct mailbox *other = index_find_mailbox(&f.volume->index, MAILBOX + 1);
	const struct folder *inbox = mailbox_find_folder(other, STR("INBOX"));
	EXPECT_INT(2, inbox->message_count);
	EXPECT_INT(1, inbox->messages[0].uid);
	EXPECT_INT(2, inbox->messages[1].uid);
	EXPECT_INT(0, fixture_deliver(&f, id, 1000));
	EXPECT_INT(count + 1, copied->message_count);
	fixture_teardown(&f);
}

TEST(a_delivery_behind_first_folders_that_were_refused_is_no_success)
{
	struct fixture f;
	struct one_delivery first, second, third;
	unsigned left = 0;
	fixture_setup(&f);
	fixture_begin_delivery(&f, &first, 1, TOO_LONG, &left);
	first.then = &third;
	fixture_begin_delivery(&f, &second, 2, 1000, &left);
	loop_run(f.loop);
	EXPECT_INT(-EFBIG, first.target.status);
	EXPECT_INT(-EAGAIN, second.target.status);
	/* While the second is on its way, it is known that nobody makes them. */
	EXPECT_INT(0, third.target.status);
	/* Nobody takes it for stored before. */
	EXPECT_INT(0, fixture_deliver(&f, 2, 1000));
	EXPECT_INT(0, fixture_deliver(&f, 2, 1000));
	EXPECT_INT(2, fixture_folder(&f, "INBOX")->message_count);
	fixture_teardown(&f);
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
	fixture_setup(&f);
	fixture_begin_delivery(&f, &refused, 1, TOO_LONG, &left);
	mailbox_attach(f.volume, &f.who, &attach.session, &attach.op);
	loop_run(f.loop);
	EXPECT_INT(-EFBIG, refused.target.status);
	EXPECT_INT(0, fixture_deliver(&f, 2, 100));
	EXPECT(attach.is_done);
	EXPECT_INT(0, attach.op.status);
	EXPECT_INT(6, attach.folder_count);
	mailbox_detach(&attach.session);
	fixture_teardown(&f);
}

TEST(copies_past_the_quota_use_up_no_uids)
{
	struct fixture f;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 200));
	struct folder *inbox = fixture_folder(&f, "INBOX");
	uint32_t uid = inbox->messages[0].uid;
	struct mailbox_policy full = { DURABILITY_LOCAL, inbox->total_bytes };
	for (unsigned i = 0; i < UID_SLACK; i++) {
		struct mailbox_op op = fixture_op(&f);
		mailbox_copy(inbox, &uid, 1, inbox, false, &full, &op);
		loop_run(f.loop);
		if (op.status != -EDQUOT) {
			EXPECT_INT(-EDQUOT, op.status);
			break;
		}
	}
	EXPECT_INT(0, fixture_deliver(&f, 2, 200));
	EXPECT_INT(uid + 1, inbox->messages[1].uid);
	fixture_teardown(&f);
}

TEST(a_uid_that_a_later_change_has_passed_stays_a_gap_and_no_uid_is_given_twice)
{
	struct fixture f;
	struct one_delivery parts[4];
	unsigned left = 0;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	fixture_begin_delivery(&f, &parts[0], 2, 100, &left);
	fixture_begin_delivery(&f, &parts[1], 3, TOO_LONG, &left);
	fixture_begin_delivery(&f, &parts[2], 4, 100, &left);
	fixture_begin_delivery(&f, &parts[3], 5, TOO_LONG, &left);
	loop_run(f.loop);
	EXPECT_INT(0, parts[0].target.status);
	EXPECT_INT(-EFBIG, parts[1].target.status);
	EXPECT_INT(0, parts[2].target.status);
	EXPECT_INT(-EFBIG, parts[3].target.status);
	EXPECT_INT(0, fixture_deliver(&f, 6, 100));
	const struct folder *inbox = fixture_folder(&f, "INBOX");
	static const uint32_t uids[] = { 1, 2, 4, 5 };
	EXPECT_INT(array_length(uids), inbox->message_count);
	for (size_t i = 0; i < array_length(uids) && i < inbox->message_count; i++)
		EXPECT_INT(uids[i], inbox->messages[i].uid);
	EXPECT_INT(6, ahead_uidnext(inbox));
	fixture_teardown(&f);
}

TEST(a_refused_uid_is_given_again_while_changes_of_others_are_on_their_way)
{
	struct fixture f;
	struct one_delivery refused, other, next;
	unsigned left = 0;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	fixture_begin_delivery(&f, &refused, 2, TOO_LONG, &left);
	refused.then = &next;
	fixture_begin_delivery(&f, &other, OTHERS_ID, 100, &left);
	loop_run(f.loop);
	EXPECT_INT(-EFBIG, refused.target.status);
	EXPECT_INT(0, other.target.status);
	EXPECT_INT(0, next.target.status);
	EXPECT_INT(2, next.target.uid);
	fixture_teardown(&f);
}

TEST(messages_on_their_way_to_a_new_inbox_keep_their_uids_when_it_is_made)
{
	struct fixture f;
	struct one_delivery first, second, third;
	unsigned left = 0;
	fixture_setup(&f);
	fixture_begin_delivery(&f, &first, 1, 100, &left);
	first.then = &third;
	fixture_begin_delivery(&f, &second, 2, 100, &left);
	loop_run(f.loop);
	EXPECT_INT(1, first.target.uid);
	EXPECT_INT(2, second.target.uid);
	EXPECT_INT(0, third.target.status);
	EXPECT_INT(3, third.target.uid);
	EXPECT_INT(3, fixture_folder(&f, "INBOX")->message_count);
	fixture_teardown(&f);
}

/* ---- keywords ---- */

TEST(a_keyword_of_a_refused_append_takes_no_bit)
{
	struct fixture f;
	struct mailbox_op op;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	struct folder *inbox = fixture_folder(&f, "INBOX");
	EXPECT_INT(-EDQUOT, fixture_append(&f, inbox, "$Foo", 10, &op));
	EXPECT_INT(0, fixture_append(&f, inbox, "$Bar", 0, &op));
	EXPECT_INT(1, inbox->keyword_count);
	EXPECT_STR(STR("$Bar"), inbox->keywords[0]);
	fixture_teardown(&f);
}

TEST(the_logs_word_on_a_keyword_overwrites)
{
	struct fixture f;
	struct mailbox_op op;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	struct folder *inbox = fixture_folder(&f, "INBOX");
	EXPECT_INT(0, fixture_append(&f, inbox, "$Foo", 0, &op));
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
	fixture_teardown(&f);
}

/* k0 .. k55 on the first message of INBOX, by one STORE each. */
static struct folder *fill_keywords(struct fixture *f)
{
	char name[8];
	EXPECT_INT(0, fixture_deliver(f, 1, 100));
	struct folder *inbox = fixture_folder(f, "INBOX");
	for (unsigned i = 0; i < FOLDER_KEYWORDS_MAX; i++) {
		snprintf(name, sizeof(name), "k%u", i);
		EXPECT_INT(0, fixture_store(f, inbox, 1, 0, name));
	}
	return inbox;
}

TEST(with_too_many_keywords_a_message_is_kept_and_the_new_keyword_is_not)
{
	struct fixture f;
	struct mailbox_op op;
	fixture_setup(&f);
	struct folder *inbox = fill_keywords(&f);
	struct folder *archive = fixture_folder(&f, "Archive");
	EXPECT(!folder_has_keyword_room(inbox));
	EXPECT_INT(0, fixture_append(&f, inbox, "new", 0, &op));
	EXPECT_INT(1, op.keywords_dropped);
	EXPECT_INT(MESSAGE_FLAGGED, inbox->messages[1].flags);
	EXPECT_INT(-E2BIG, fixture_store(&f, inbox, 2, 0, "new"));
	EXPECT_INT(0, fixture_store(&f, inbox, 2, MESSAGE_SEEN, "new"));
	EXPECT_INT(MESSAGE_FLAGGED | MESSAGE_SEEN, inbox->messages[1].flags);
	EXPECT_INT(0, fixture_append(&f, archive, "new", 0, &op));
	EXPECT_INT(0, fixture_copy(&f, archive, op.first_uid, inbox));
	EXPECT_INT(3, inbox->message_count);
	EXPECT_INT(MESSAGE_FLAGGED, inbox->messages[2].flags);
	fixture_teardown(&f);
}

TEST(a_keyword_bit_that_no_message_has_is_given_again_in_every_replay_alike)
{
	struct fixture f;
	struct mailbox_op op;
	fixture_setup(&f);
	struct folder *inbox = fill_keywords(&f);
	EXPECT_INT(0, fixture_append(&f, inbox, "k7", 0, &op));
	EXPECT_INT(0, fixture_expunge(&f, inbox, 1));
	EXPECT(folder_has_keyword_room(inbox));
	EXPECT_INT(0, fixture_append(&f, inbox, "new", 0, &op));
	EXPECT_INT(0, op.keywords_dropped);
	EXPECT_STR(STR("new"), inbox->keywords[0]);
	EXPECT_INT(7, folder_find_keyword(inbox, STR("K7")));
	EXPECT_INT(MESSAGE_FLAGGED | 1ull << (MESSAGE_KEYWORD_SHIFT + 7), inbox->messages[0].flags);
	EXPECT_INT(MESSAGE_FLAGGED | 1ull << MESSAGE_KEYWORD_SHIFT, inbox->messages[1].flags);
	uint64_t digest = index_digest(&f.volume->index);
	fixture_stop(&f);
	fixture_restart(&f);
	EXPECT_INT(digest, index_digest(&f.volume->index));
	fixture_stop(&f);
	EXPECT_INT(0, unlink(f.index_path));
	fixture_restart(&f);
	EXPECT_INT(digest, index_digest(&f.volume->index));
	fixture_teardown(&f);
}

TEST(an_opening_that_failed_is_tried_again)
{
	struct fixture f;
	fixture_setup_at(&f, "away/log");
	fixture_name_primary(&f);
	EXPECT(fixture_await(&f, VOLUME_REPLICA));
	EXPECT_INT(OPEN_RETRY_MS_MIN, f.volume->retry_ms);
	char parent[80];
	snprintf(parent, sizeof(parent), "%s/away", f.directory);
	EXPECT_INT(0, mkdir(parent, 0700));
	EXPECT(fixture_await(&f, VOLUME_PRIMARY));
	EXPECT_INT(0, f.volume->retry_ms);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	fixture_teardown(&f);
}

/* Every turn of the loop that meets the volume between two steps of its replay. */
struct turns {
	struct fixture *f;
	struct timer *timer;
	unsigned between, stop_at;
};

static void on_turn(void *arg)
{
	struct turns *turns = arg;
	const struct volume *volume = turns->f->volume;
	timer_start(turns->timer, 1);
	turns->between += volume->state == VOLUME_OPENING && volume->opening.is_applying &&
		volume->index.applied_lsn > 0;
	if (turns->stop_at > 0 &&
		(turns->between >= turns->stop_at || volume->state == VOLUME_PRIMARY))
		loop_stop(turns->f->loop);
}

TEST(a_long_log_is_read_in_steps_and_may_be_left_between_two)
{
	struct fixture f;
	struct turns turns = { .f = &f, .stop_at = 2 };
	fixture_setup(&f);
	for (unsigned id = 1; id <= 200; id++)
		EXPECT_INT(0, fixture_deliver(&f, id, 2000));
	uint64_t digest = index_digest(&f.volume->index);
	fixture_stop(&f);
	EXPECT_INT(0, unlink(f.index_path));
	turns.timer = timer_new(f.loop, on_turn, &turns);
	timer_start(turns.timer, 1);
	fixture_open(&f);
	fixture_name_primary(&f);
	loop_run(f.loop);
	EXPECT_INT(2, turns.between);
	fixture_stop(&f);
	turns.between = turns.stop_at = 0;
	fixture_restart(&f);
	EXPECT(turns.between > 2);
	EXPECT_INT(digest, index_digest(&f.volume->index));
	timer_destroy(&turns.timer);
	fixture_teardown(&f);
}

TEST(a_second_folder_below_a_parent_that_is_being_made_is_made)
{
	struct fixture f;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	struct mailbox_op left = fixture_op(&f), right = fixture_op(&f);
	mailbox_create_folder(fixture_mailbox(&f), STR("a/left"), SPECIAL_NONE, &left);
	mailbox_create_folder(fixture_mailbox(&f), STR("a/right"), SPECIAL_NONE, &right);
	loop_run(f.loop);
	EXPECT_INT(0, fixture_deliver(&f, 2, 100));
	EXPECT_INT(0, left.status);
	EXPECT_INT(0, right.status);
	EXPECT(fixture_folder(&f, "a") != NULL);
	EXPECT(fixture_folder(&f, "a/left") && fixture_folder(&f, "a/right"));
	fixture_teardown(&f);
}

/* ---- an unclean promotion ---- */

TEST(after_an_unclean_promotion_every_message_has_a_modseq_above_all_that_were_issued)
{
	struct fixture f;
	struct mailbox_op op;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 100));
	EXPECT_INT(0, fixture_append(&f, fixture_folder(&f, "INBOX"), "$Key", 0, &op));
	EXPECT_INT(0, fixture_append(&f, fixture_folder(&f, "Archive"), NULL, 0, &op));
	fixture_stop(&f);
	/* The reign of another epoch, whose log did not end in a fence. */
	fixture_open(&f);
	struct volume_desired desired = { .primary = true, .epoch = 2 };
	memcpy(desired.reign, "reign two.......", sizeof(desired.reign));
	volume_set_desired(f.volume, &desired);
	EXPECT(fixture_await(&f, VOLUME_PRIMARY));
	/* Whatever a branch that is lost may have told. */
	uint64_t told = (2ull << 40) - 1;
	struct folder *inbox = fixture_folder(&f, "INBOX");
	struct folder *archive = fixture_folder(&f, "Archive");
	EXPECT(inbox->highest_modseq > told && archive->highest_modseq > told);
	EXPECT_INT(0, folder_load(archive));
	EXPECT_INT(0, folder_load(inbox));
	EXPECT(archive->messages[0].modseq > told);
	for (uint32_t i = 0; i < inbox->message_count; i++)
		EXPECT(inbox->messages[i].modseq > told);
	/* What changes now stands above these. */
	EXPECT_INT(0, fixture_store(&f, inbox, 1, MESSAGE_SEEN, "$Key"));
	EXPECT(inbox->messages[0].modseq > inbox->messages[1].modseq);
	uint64_t digest = index_digest(&f.volume->index);
	fixture_stop(&f);
	for (unsigned replay = 0; replay < 2; replay++) {
		if (replay > 0)
			EXPECT_INT(0, unlink(f.index_path));
		fixture_open(&f);
		volume_set_desired(f.volume, &desired);
		EXPECT(fixture_await(&f, VOLUME_PRIMARY));
		EXPECT_INT(digest, index_digest(&f.volume->index));
		fixture_stop(&f);
	}
	fixture_teardown(&f);
}

TEST(each_epoch_that_is_unexplained_is_waited_for_from_its_own_time_on)
{
	struct fixture f;
	fixture_setup(&f);
	volume_higher_epoch(f.volume, 2);
	EXPECT(fixture_await(&f, VOLUME_REPLICA));
	EXPECT(f.volume->unexplained_since_us > 0);
	/* The directory comes to know it. */
	struct volume_desired desired = { .primary = true, .epoch = 2 };
	memcpy(desired.reign, "reign two.......", sizeof(desired.reign));
	volume_set_desired(f.volume, &desired);
	EXPECT(fixture_await(&f, VOLUME_PRIMARY));
	EXPECT_INT(0, f.volume->unexplained_since_us);
	fixture_teardown(&f);
}

struct end {
	struct end_wait wait;
	bool answered;
	int status;
};

static void on_end(struct end_wait *wait, int status, uint64_t lsn)
{
	struct end *end = container_of(wait, struct end, wait);
	(void)lsn;
	end->answered = true;
	end->status = status;
}

static void on_moment(void *arg)
{
	loop_stop(arg);
}

/* Its FENCE is written, and more than that would have come. */
static void run_for_a_moment(struct fixture *f)
{
	struct timer *timer = timer_new(f->loop, on_moment, f->loop);
	timer_start(timer, 500);
	loop_run(f->loop);
	timer_destroy(&timer);
}

TEST(a_fence_that_somebody_decides_by_does_not_hold_up_the_end_of_the_process)
{
	struct fixture f;
	struct end fence = { .wait.done = on_end }, stop = fence;
	fixture_setup(&f);
	volume_fence(f.volume, true, &fence.wait);
	/* Its own new epoch, perhaps: the directory's word is waited for. */
	volume_higher_epoch(f.volume, 9);
	run_for_a_moment(&f);
	EXPECT_INT(VOLUME_FENCED, f.volume->state);
	EXPECT(!fence.answered);
	volume_stop(f.volume, &stop.wait);
	EXPECT(stop.answered && fence.answered && fence.status < 0);
	EXPECT_INT(VOLUME_FENCED, f.volume->state);
	EXPECT_INT(0, f.volume->token);
	volume_destroy(&f.volume);
	fixture_teardown(&f);
}

/* Otherwise a disk that fails just then leaves copies behind that lack nothing of anybody's. */
TEST(what_a_volume_writes_for_itself_was_answered_to_nobody)
{
	struct fixture f;
	struct end fence = { .wait.done = on_end };
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, OTHERS_ID, 1000));
	uint64_t end = volume_log_end(f.volume->log);
	EXPECT_INT(end, f.volume->answered_end);
	volume_fence(f.volume, true, &fence.wait);
	run_for_a_moment(&f);
	EXPECT(fence.answered);
	EXPECT(volume_log_end(f.volume->log) > end);
	EXPECT_INT(end, f.volume->answered_end);
	fixture_teardown(&f);
}

static void name_primary_again(struct fixture *f, uint64_t epoch)
{
	struct volume_desired desired = f->volume->desired;
	desired.epoch = epoch;
	memcpy(desired.reign, "another reign...", sizeof(desired.reign));
	volume_set_desired(f->volume, &desired);
}

/* Else the copies, which have all that was ever confirmed, seem to have less than this one. */
TEST(a_reign_whose_disk_fails_before_its_first_group_has_answered_nothing)
{
	struct fixture f;
	struct rlimit before, low;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, OTHERS_ID, 100 << 10));
	uint64_t end = volume_log_end(f.volume->log);
	/* Vectors are small enough to be written below this place, and the log is beyond it. */
	EXPECT_INT(0, getrlimit(RLIMIT_FSIZE, &before));
	low = (struct rlimit){ .rlim_cur = 64 << 10, .rlim_max = before.rlim_max };
	EXPECT(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	EXPECT_INT(0, setrlimit(RLIMIT_FSIZE, &low));
	name_primary_again(&f, 2);
	run_for_a_moment(&f);
	EXPECT_INT(0, setrlimit(RLIMIT_FSIZE, &before));
	EXPECT_INT(VOLUME_FENCED, f.volume->state);
	EXPECT(volume_has_failed(f.volume));
	EXPECT(epochs_last(volume_log_epochs(f.volume->log))->epoch > 1);
	volume_publish(f.volume);
	EXPECT_INT(1, f.volume->numbers.answered_epoch);
	EXPECT_INT(end, f.volume->numbers.answered_lsn);
	fixture_teardown(&f);
}

/* What made it was lost with a tail, maybe, and clients were told what it had then. */
TEST(a_mailbox_that_is_made_anew_begins_above_all_that_openings_before_have_given_out)
{
	struct fixture f;
	struct epoch_entry *last;
	fixture_setup(&f);
	last = (struct epoch_entry *)(uintptr_t)epochs_last(volume_log_epochs(f.volume->log));
	last->opening = 3;
	EXPECT_INT(0, fixture_deliver(&f, OTHERS_ID, 1000));
	const struct mailbox *made = index_find_mailbox(&f.volume->index, MAILBOX + 1);
	EXPECT(made != NULL && made->modseq > ((uint64_t)1 << 40 | (uint64_t)3 << 28));
	last->opening = 0;
	fixture_teardown(&f);
}

TEST(a_volume_that_has_its_log_stands_still_without_a_word_of_its_replicator)
{
	struct fixture f;
	struct end end = { .wait.done = on_end };
	fixture_setup(&f);
	/* It is opened anew; the replicator, which is asked, has not answered yet. */
	volume_rebuild(f.volume);
	EXPECT_INT(VOLUME_OPENING, f.volume->state);
	EXPECT(f.volume->is_releasing && f.volume->log != NULL);
	volume_fence(f.volume, true, &end.wait);
	EXPECT_INT(VOLUME_FENCED, f.volume->state);
	EXPECT(end.answered);
	EXPECT_INT(0, end.status);
	loop_cancel_deferred(f.loop, &f.release);
	fixture_teardown(&f);
}

/* Whoever adds and expunges in turn is told to wait; what has come leaks away. */
TEST(a_mailbox_with_a_quota_takes_so_many_quotas_in_a_day)
{
	enum { QUOTA = 100000, PER_DAY = 1000 };
	struct fixture f;
	struct mailbox_op op;
	fixture_setup(&f);
	EXPECT_INT(0, fixture_deliver(&f, 1, 1000));
	f.volume->options.write_quotas_per_day = PER_DAY;
	struct mailbox *mailbox = fixture_mailbox(&f);
	struct folder *inbox = fixture_folder(&f, "INBOX");
	EXPECT_INT(0, fixture_append(&f, inbox, NULL, QUOTA, &op));
	EXPECT_INT(1500, mailbox->rate.bytes);
	mailbox->rate.bytes = (uint64_t)QUOTA * PER_DAY - 499;
	mailbox->rate.at_us = clock_mono_us();
	EXPECT_INT(-ENOBUFS, fixture_append(&f, inbox, NULL, QUOTA, &op));
	EXPECT_INT(2, inbox->message_count);
	/* Nobody's matter but those with a quota. */
	EXPECT_INT(0, fixture_append(&f, inbox, NULL, 0, &op));
	/* An hour, as if the clock had stood elsewhere when it came. */
	mailbox->rate.at_us -= 3600u * 1000000;
	EXPECT_INT(0, fixture_append(&f, inbox, NULL, QUOTA, &op));
	EXPECT(mailbox->rate.bytes < (uint64_t)QUOTA * PER_DAY / 24 * 23 + 2000);
	/* A small quota is filled up many times before anybody minds. */
	mailbox->rate.bytes = RATE_BYTES_MIN - 500;
	EXPECT_INT(0, fixture_append(&f, inbox, NULL, 10000, &op));
	EXPECT_INT(-ENOBUFS, fixture_append(&f, inbox, NULL, 10000, &op));
	fixture_teardown(&f);
}

TEST(mail_at_risk_beyond_what_is_listed_counts_until_it_is_elsewhere)
{
	enum { MORE = 1000, REPLICA = 2 };
	struct fixture f;
	fixture_setup(&f);
	struct volume_desired desired = { .primary = true,
		.epoch = 1,
		.replicas = { { .node_id = REPLICA, .counted = true } },
		.replica_count = 1 };
	volume_set_desired(f.volume, &desired);
	uint64_t first = volume_log_end(f.volume->log) + 1, count = AT_RISK_LISTED_MAX + MORE;
	for (uint64_t i = 0; i < count; i++)
		volume_add_at_risk(f.volume, &(struct at_risk){ .lsn = first + i });
	EXPECT_INT(count, f.volume->numbers.at_risk);
	/* The listed half comes to be elsewhere, then all that is listed, then the rest. */
	volume_acked(f.volume, REPLICA, first + AT_RISK_LISTED_MAX / 2 - 1, true);
	EXPECT_INT(count - AT_RISK_LISTED_MAX / 2, f.volume->numbers.at_risk);
	volume_acked(f.volume, REPLICA, first + AT_RISK_LISTED_MAX - 1, true);
	EXPECT_INT(MORE, f.volume->numbers.at_risk);
	volume_acked(f.volume, REPLICA, first + count - 1, true);
	EXPECT_INT(0, f.volume->numbers.at_risk);
	fixture_teardown(&f);
}
