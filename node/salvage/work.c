#include "core/log.h"
#include "node/salvage/carried.h"
#include "node/salvage/carry.h"
#include "node/salvage/home.h"
#include "node/salvage/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum outcome { OUTCOME_STORED, OUTCOME_PRESENT, OUTCOME_FAILED };

/* The tail that is worked off. One pool job or one command at a time. */
struct work {
	struct salvage *salvage;
	struct found tail_of;
	char directory[512];
	struct tail *tail; /* NULL until it is read */
	uint64_t log_end;  /* here, when the pool job began */
	size_t mailbox;    /* of the tail's */
	uint32_t message;  /* of the mailbox' */
	struct home *home;
	struct carry *carry; /* what stood before is at it; else a message */
	struct carried done; /* which mailboxes have been carried before */
	bool has_done, is_counted; /* it has been read; the tail too */
	/* Of the mailbox: what was carried and left, and messages that could not come home. */
	uint64_t carried, left, failed;
	uint64_t left_of_kept;
	char refused[256]; /* why a mailbox was passed over; empty: none was */
	bool is_in;          /* the login has been answered */
	bool has_folders;    /* those have been carried */
	bool is_creating;    /* the folder, which the home lacks */
	bool is_to_inbox;    /* the folder cannot be */
	uint64_t end, chain; /* of the home's log at the login */
	unsigned waited;     /* for the log here to have that */
	bool is_in_pool;     /* what stands below is a pool thread's */
	struct bytes *body;
	int status;
	struct error error;
};

/* ---- the end of a try ---- */

static void run_write(void *arg)
{
	struct work *work = arg;
	work->status = salvage_report_write(
		work->salvage->disk, work->directory, &work->tail_of.name, &work->tail_of.report);
}

static void on_ended(void *arg)
{
	struct work *work = arg;
	struct salvage *salvage = work->salvage;
	const struct salvage_report *report = &work->tail_of.report;
	const struct tail_name *name = &work->tail_of.name;
	if (work->status < 0)
		log_error("salvage_report_failed", "volume=%u folder=%s reason=%s",
			work->tail_of.volume_id, work->directory,
			log_quote(str_from(strerror(-work->status))));
	log_info("salvage_tried",
		"volume=%u epoch=%llu from=%llu to=%llu state=%s messages=%llu stored=%llu "
		"present=%llu kept=%llu failed=%llu reason=%s",
		work->tail_of.volume_id, (unsigned long long)name->epoch,
		(unsigned long long)name->from, (unsigned long long)name->to,
		salvage_state_name(report->state), (unsigned long long)report->messages,
		(unsigned long long)report->stored, (unsigned long long)report->present,
		(unsigned long long)report->kept, (unsigned long long)report->failed,
		log_quote(str_from(report->reason)));
	/* What was written down of it is not: it seems to be due at once, again and again. */
	unsigned wait_ms = work->status < 0 ? SALVAGE_RETRY_S_MIN * 1000 : 0;
	free(work);
	salvage->work = NULL;
	timer_start(salvage->look_timer, wait_ms);
}

/* `why` NULL: it has been worked off as far as it can be. */
static void work_end(struct work *work, const char *why)
{
	struct salvage_report *report = &work->tail_of.report;
	uint64_t wait_s = SALVAGE_RETRY_S_MIN;
	timer_stop(work->salvage->behind_timer);
	carry_destroy(&work->carry);
	home_close(&work->home);
	bytes_unref(&work->body);
	tail_destroy(&work->tail);
	if (work->is_counted) {
		report->carried = work->done.carried;
		report->left = work->done.left + work->left_of_kept;
	}
	if (work->has_done)
		carried_end(&work->done);
	report->reason[0] = '\0';
	if (why != NULL)
		snprintf(report->reason, sizeof(report->reason), "%s", why);
	else if (work->refused[0] != '\0')
		snprintf(report->reason, sizeof(report->reason), "%s", work->refused);
	else if (report->failed > 0)
		snprintf(report->reason, sizeof(report->reason),
			"%llu messages could not be read here or were refused by their home: the "
			"log of this node names them",
			(unsigned long long)report->failed);
	else if (report->damaged_at != 0)
		snprintf(report->reason, sizeof(report->reason),
			"what the file has from address %llu on cannot be read",
			(unsigned long long)report->damaged_at);
	report->state = report->reason[0] == '\0' ? SALVAGE_DONE : SALVAGE_OPEN;
	for (uint64_t i = 1; i < report->tries && wait_s < SALVAGE_RETRY_S_MAX; i++)
		wait_s *= 2;
	if (wait_s > SALVAGE_RETRY_S_MAX)
		wait_s = SALVAGE_RETRY_S_MAX;
	report->next_s = salvage_now_s() + (int64_t)wait_s;
	report->ended_s = report->state == SALVAGE_DONE ? salvage_now_s() : 0;
	loop_work(work->salvage->loop, run_write, on_ended, work);
}

/* ---- one message after the other ---- */

static struct tail_mailbox *current_mailbox(const struct work *work)
{
	return work->tail->mailboxes[work->mailbox];
}

static const struct tail_message *current_message(const struct work *work)
{
	return &current_mailbox(work)->messages[work->message];
}

static void next_message(struct work *work);
static void next_mailbox(struct work *work);
static void say_refused(struct work *work, struct str text);

static void message_end(struct work *work, enum outcome outcome, const char *why)
{
	struct salvage_report *report = &work->tail_of.report;
	const struct tail_message *message = current_message(work);
	bytes_unref(&work->body);
	report->stored += outcome == OUTCOME_STORED;
	report->present += outcome == OUTCOME_PRESENT;
	report->failed += outcome == OUTCOME_FAILED;
	work->failed += outcome == OUTCOME_FAILED;
	if (outcome == OUTCOME_FAILED)
		log_error("salvage_message_failed",
			"volume=%u mailbox=%s folder=%s uid=%u lsn=%llu reason=%s",
			work->tail_of.volume_id, log_quote(current_mailbox(work)->address),
			log_quote(message->folder), message->uid, (unsigned long long)message->lsn,
			log_quote(str_from(why)));
	work->message++;
	work->is_creating = work->is_to_inbox = false;
	next_message(work);
}

static void run_body(void *arg)
{
	struct work *work = arg;
	work->status = tail_body(work->tail, current_message(work), &work->body);
}

static void append(struct work *work)
{
	const struct tail_message *message = current_message(work);
	home_append(work->home, work->is_to_inbox ? STR("INBOX") : message->folder, message,
		work->body);
}

static void on_body(void *arg)
{
	struct work *work = arg;
	work->is_in_pool = false;
	if (work->home == NULL)
		work_end(work, work->error.text);
	else if (work->status < 0)
		message_end(work, OUTCOME_FAILED,
			work->status == -ENODATA ? "its room was given back"
						 : "it is damaged in the file or the log");
	else
		append(work);
}

static void mailbox_end(struct work *work)
{
	home_close(&work->home);
	work->mailbox++;
	next_mailbox(work);
}

static void run_note(void *arg)
{
	struct work *work = arg;
	work->status = carried_add(work->salvage->disk, work->directory, &work->tail_of.name,
		&work->done, current_mailbox(work)->id, work->carried, work->left);
}

static void on_noted(void *arg)
{
	struct work *work = arg;
	if (work->status < 0) {
		work_end(work, strerror(-work->status));
		return;
	}
	mailbox_end(work);
}

/* Of what stood before: then the messages, or the mailbox is done. */
static void on_carried(void *arg, uint64_t carried, uint64_t left)
{
	struct work *work = arg;
	bool was_first = !work->has_folders;
	carry_destroy(&work->carry);
	work->carried += carried;
	work->left += left;
	work->has_folders = true;
	if (was_first) {
		next_message(work);
		return;
	}
	home_close(&work->home);
	loop_work(work->salvage->loop, run_note, on_noted, work);
}

/* The other mailboxes do not wait for it. */
static void on_carry_refused(void *arg, struct str text)
{
	struct work *work = arg;
	carry_destroy(&work->carry);
	snprintf(work->refused, sizeof(work->refused), STR_FORMAT ": " STR_FORMAT,
		STR_ARG(current_mailbox(work)->address), STR_ARG(text));
	mailbox_end(work);
}

static const struct carry_handler carry_handler = { on_carried, on_carry_refused };

static bool is_to_be_carried(const struct work *work, const struct tail_mailbox *mailbox)
{
	return carry_count(mailbox) > 0 && !carried_has(&work->done, mailbox->id);
}

static void carry(struct work *work, enum carry_part part)
{
	bool is_all_home = work->failed == 0 && work->tail->damaged_at == 0;
	work->carry = carry_create(work->home, current_mailbox(work), part, is_all_home,
		&carry_handler, work);
	carry_run(work->carry);
}

static void next_message(struct work *work)
{
	struct tail_mailbox *mailbox = current_mailbox(work);
	while (work->message < mailbox->message_count &&
		tail_is_present(work->tail, mailbox, current_message(work))) {
		work->tail_of.report.present++;
		work->message++;
	}
	if (work->message < mailbox->message_count) {
		work->is_in_pool = true;
		loop_work(work->salvage->loop, run_body, on_body, work);
		return;
	}
	if (is_to_be_carried(work, mailbox))
		carry(work, CARRY_REST);
	else
		mailbox_end(work);
}

/* ---- what the present branch has ---- */

static void run_tail_look(void *arg)
{
	struct work *work = arg;
	work->status = tail_look(work->tail, work->end, work->chain, work->log_end);
}

static void on_tail_look(void *arg);

void work_look_again(void *arg)
{
	struct salvage *salvage = arg;
	struct work *work = salvage->work;
	work->log_end = volumes_log_end(salvage->volumes, work->tail_of.volume_id);
	work->is_in_pool = true;
	loop_work(salvage->loop, run_tail_look, on_tail_look, work);
}

static void on_tail_look(void *arg)
{
	struct work *work = arg;
	work->is_in_pool = false;
	if (work->home == NULL)
		work_end(work, work->error.text);
	else if (work->status == -EAGAIN && ++work->waited < SALVAGE_BEHIND_TRIES)
		timer_start(work->salvage->behind_timer, SALVAGE_BEHIND_MS);
	else if (work->status == -EAGAIN)
		work_end(work, "the copy of the volume here is behind its home");
	else if (work->status == -ESTALE)
		work_end(work, "the copy of the volume here is just becoming that of its home");
	else if (work->status < 0)
		work_end(work, strerror(-work->status));
	else if (is_to_be_carried(work, current_mailbox(work)))
		carry(work, CARRY_FOLDERS);
	else
		next_message(work);
}

/* ---- what the home says ---- */

static bool read_end(struct work *work, struct str text)
{
	unsigned long long end, chain;
	char copy[80];
	snprintf(copy, sizeof(copy), STR_FORMAT, STR_ARG(text));
	if (sscanf(copy, "[XPANDOEND %llu %16llx]", &end, &chain) != 2)
		return false;
	work->end = end;
	work->chain = chain;
	return true;
}

static void say_refused(struct work *work, struct str text)
{
	error_set(&work->error, -EIO, STR_FORMAT ": " STR_FORMAT,
		STR_ARG(current_mailbox(work)->address), STR_ARG(text));
	work_end(work, work->error.text);
}

static void on_answer(void *arg, enum home_answer answer, struct str text)
{
	struct work *work = arg;
	if (work->carry != NULL) {
		carry_on_answer(work->carry, answer, text);
	} else if (!work->is_in) {
		work->is_in = answer == HOME_OK && read_end(work, text);
		work->waited = 0;
		if (work->is_in)
			work_look_again(work->salvage);
		else
			say_refused(work, text);
	} else if (work->is_creating) {
		/* Somebody else may have made it; where it cannot be, INBOX takes the mail. */
		work->is_creating = false;
		work->is_to_inbox =
			answer != HOME_OK && !str_starts_with(text, STR("[ALREADYEXISTS]"));
		append(work);
	} else if (answer == HOME_OK) {
		message_end(work,
			str_starts_with(text, STR("[XPANDOSTORED]")) ? OUTCOME_PRESENT
								     : OUTCOME_STORED,
			"");
	} else if (str_starts_with(text, STR("[TRYCREATE]")) && !work->is_to_inbox) {
		work->is_creating = true;
		home_create_folder(work->home, current_message(work)->folder);
	} else if (answer == HOME_BAD || str_starts_with(text, STR("[TOOBIG]")) ||
		str_starts_with(text, STR("[CANNOT]"))) {
		char why[128];
		snprintf(why, sizeof(why), STR_FORMAT, STR_ARG(text));
		message_end(work, OUTCOME_FAILED, why);
	} else {
		say_refused(work, text);
	}
}

static void on_gone(void *arg, const char *why)
{
	struct work *work = arg;
	work->home = NULL;
	error_set(&work->error, -EIO, STR_FORMAT ": %s", STR_ARG(current_mailbox(work)->address),
		why);
	/* A pool job that is under way ends the try when it comes back. */
	if (!work->is_in_pool)
		work_end(work, work->error.text);
}

static void on_untagged(void *arg, struct str line)
{
	struct work *work = arg;
	if (work->carry != NULL)
		carry_on_untagged(work->carry, line);
}

static const struct home_handler home_handler = {
	.on_untagged = on_untagged, .on_answer = on_answer, .on_gone = on_gone
};

/* ---- one mailbox after the other ---- */

/* Of the site's own routers one after the other. */
static const struct directory_router *choose_router(struct salvage *salvage)
{
	const struct directory_node *node =
		directory_find_node_by_name(salvage->directory, str_from(salvage->config->node));
	const struct directory_router *router, *chosen = NULL;
	unsigned count = 0;
	for (size_t at = 0; (router = directory_next_router(salvage->directory, &at)) != NULL;)
		count += node && router->site_id == node->site_id && router->queue[0] != '\0';
	unsigned wanted = count > 0 ? salvage->router++ % count : 0;
	for (size_t at = 0;
		count > 0 && (router = directory_next_router(salvage->directory, &at)) != NULL;)
		if (router->site_id == node->site_id && router->queue[0] != '\0' && wanted-- == 0)
			chosen = router;
	return chosen;
}

static const struct directory_mailbox *find_present(
	const struct work *work, const struct tail_mailbox *mailbox)
{
	const struct directory_mailbox *present =
		directory_find_mailbox(work->salvage->directory, mailbox->id);
	return present && memcmp(present->mark, mailbox->mark, sizeof(mailbox->mark)) == 0 ? present
											   : NULL;
}

static void next_mailbox(struct work *work)
{
	struct salvage *salvage = work->salvage;
	const struct directory_mailbox *present = NULL;
	for (; work->mailbox < work->tail->mailbox_count; work->mailbox++) {
		const struct tail_mailbox *mailbox = current_mailbox(work);
		bool is_wanted = mailbox->message_count > 0 || is_to_be_carried(work, mailbox);
		present = is_wanted ? find_present(work, mailbox) : NULL;
		if (present != NULL)
			break;
		if (mailbox->message_count > 0)
			log_warn("salvage_mailbox_kept", "volume=%u mailbox=%s messages=%u",
				work->tail_of.volume_id, log_quote(mailbox->address),
				mailbox->message_count);
		work->tail_of.report.kept += mailbox->message_count;
		if (!carried_has(&work->done, mailbox->id))
			work->left_of_kept += carry_count(mailbox);
	}
	if (present == NULL) {
		work_end(work, NULL);
		return;
	}
	const struct directory_router *router = choose_router(salvage);
	if (router == NULL) {
		work_end(work, "this site has no router with an address for queue copies");
		return;
	}
	work->message = 0;
	work->carried = work->left = work->failed = 0;
	work->is_in = work->is_creating = work->is_to_inbox = work->has_folders = false;
	work->home = home_open(salvage->loop, salvage->tls, router->queue, present->mark,
		present->address, SALVAGE_STEP_MS, &home_handler, work);
}

/* ---- one tail after the other ---- */

static void note_counts(const struct tail *tail, struct salvage_report *report)
{
	report->messages = tail->message_count;
	report->damaged_at = tail->damaged_at;
	report->stored = report->present = report->kept = report->failed = 0;
	report->flags = report->expunges = report->moves = 0;
	report->folders = report->subscriptions = 0;
	for (size_t i = 0; i < tail->mailbox_count; i++) {
		const struct tail_mailbox *mailbox = tail->mailboxes[i];
		report->folders += mailbox->folder_count;
		report->subscriptions += mailbox->subscription_count;
		for (uint32_t k = 0; k < mailbox->older_count; k++) {
			const struct tail_older *older = mailbox->older[k];
			report->expunges += older->is_expunged;
			report->moves += older->moved_to.length > 0;
			report->flags += !older->is_expunged &&
				!tail_flags_equal(&older->before, &older->end);
		}
	}
}

static void run_read(void *arg)
{
	struct work *work = arg;
	run_write(work);
	if (work->status < 0) {
		error_set(&work->error, work->status, "its report cannot be written: %s",
			strerror(-work->status));
		return;
	}
	work->status = carried_load(
		work->salvage->disk, work->directory, &work->tail_of.name, &work->done);
	work->has_done = true;
	if (work->status < 0) {
		error_set(&work->error, work->status, "what was carried cannot be read: %s",
			strerror(-work->status));
		return;
	}
	work->status = tail_read(work->salvage->disk, work->directory, work->tail_of.volume_id,
		&work->tail_of.name, work->log_end, &work->salvage->stop, &work->tail,
		&work->error);
}

static void on_read(void *arg)
{
	struct work *work = arg;
	if (work->status < 0) {
		work_end(work, work->error.text);
		return;
	}
	note_counts(work->tail, &work->tail_of.report);
	work->is_counted = true;
	next_mailbox(work);
}

void work_begin(struct salvage *salvage, const struct found *found)
{
	struct work *work = salvage->work = mem_alloc(sizeof(*work));
	*work = (struct work){ .salvage = salvage,
		.tail_of = *found,
		.log_end = volumes_log_end(salvage->volumes, found->volume_id) };
	struct salvage_report *report = &work->tail_of.report;
	salvage_folder_of(salvage, found->volume_id, work->directory);
	report->tries++;
	if (report->since_s == 0)
		report->since_s = salvage_now_s();
	loop_work(salvage->loop, run_read, on_read, work);
}

bool work_is_on(const struct salvage *salvage, const struct found *found)
{
	const struct work *work = salvage->work;
	return work != NULL && work->tail_of.volume_id == found->volume_id &&
		memcmp(&work->tail_of.name, &found->name, sizeof(found->name)) == 0;
}
