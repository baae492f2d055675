#include "node/mailbox/deliver_part.h"
#include "node/mailbox/rate.h"

#include "core/clock.h"
#include "node/index/ahead.h"
#include "node/mailbox/operation.h"

#include <errno.h>

/*
 * One delivery's recipients on one volume: the body once, one change for all mailboxes. Targets
 * that are refused or were delivered before do not hold up the others.
 */

static struct delivery_target *target_of(const struct delivery_part *part, unsigned i)
{
	return &part->delivery->targets[part->target_indices[i]];
}

static struct mailbox_identity identity_of(const struct delivery_target *target)
{
	struct mailbox_identity who = { .id = target->mailbox_id, .address = target->address };
	memcpy(who.mark, target->mark, sizeof(who.mark));
	return who;
}

/* The ADD of this part that stores a target's mailbox; -1: none. */
static int action_of(const struct delivery_part *part, uint64_t mailbox_id)
{
	const struct change *change = &part->pending.change;
	for (size_t i = 0; i < change->action_count; i++)
		if (change->actions[i].kind == ACTION_ADD &&
			change->actions[i].mailbox_id == mailbox_id)
			return (int)i;
	return -1;
}

/* What became of a target that was on its way: the only place where a delivery is called a success.
 * Its message is in the folder, or was when this id was delivered before. */
static int outcome(
	const struct delivery_part *part, const struct delivery_target *target, int status)
{
	/* A target with `local` or `remote` is satisfied where one with `strict` is not. */
	if (status == -EAGAIN && target->durability != DURABILITY_STRICT)
		status = 0;
	int action = action_of(part, target->mailbox_id);
	if (status < 0 || action < 0)
		return status;
	CHECK(part->pending.result.action_statuses != NULL);
	/* Its folder never came to be: the next attempt makes it. */
	return part->pending.result.action_statuses[action] < 0 ? -EAGAIN : 0;
}

static void note_written(const struct delivery_part *part, const struct delivery_target *target)
{
	struct mailbox *mailbox =
		index_find_mailbox(&part->volume->index, target->mailbox_id);
	if (mailbox != NULL)
		rate_note(mailbox, part->delivery->body->length);
}

static void on_delivered(struct pending_change *pending, int status, bool at_risk)
{
	struct delivery_part *part = container_of(pending, struct delivery_part, pending);
	for (unsigned i = 0; i < part->target_count; i++) {
		struct delivery_target *target = target_of(part, i);
		if (target->status != -EINPROGRESS)
			continue;
		target->status = outcome(part, target, status);
		if (target->status != 0)
			target->uid = 0;
		if (target->uid != 0)
			note_written(part, target);
		if (target->status == 0 && at_risk && target->uid != 0 &&
			target->durability != DURABILITY_LOCAL) {
			struct at_risk entry = { .lsn = pending->append.end_lsn,
				.mailbox_id = target->mailbox_id,
				.uid = target->uid,
				.since_us = clock_wall_us() };
			memcpy(entry.delivery_id, part->delivery->id, sizeof(entry.delivery_id));
			volume_add_at_risk(part->volume, &entry);
		}
	}
	part->done(part);
}

/* Whether this target needs to be stored; else its status says why not (0: it was before). */
static bool is_wanted(struct delivery_part *part, struct delivery_target *target)
{
	uint8_t key[16];
	struct volume *volume = part->volume;
	struct mailbox_identity who = identity_of(target);
	if (mailbox_of_mark(volume, &who) == NULL) {
		target->status = -EKEYREJECTED; /* what came before came for somebody else */
		return false;
	}
	dedupe_key(part->delivery->id, target->mailbox_id, key);
	if (dedupe_has(&volume->index.dedupe, key)) {
		target->status =
			-EINPROGRESS; /* stored; its durability is waited for with the others */
		return false;
	}
	if (action_of(part, target->mailbox_id) >= 0) {
		target->status = -EINPROGRESS; /* the same mailbox by another address */
		return false;
	}
	if (volume_has_pending_delivery(volume, key)) {
		target->status = -EAGAIN; /* on its way on another connection: ask again */
		return false;
	}
	if (target->durability == DURABILITY_STRICT && !volume_has_live_replica(volume)) {
		target->status = -EAGAIN;
		return false;
	}
	return true;
}

static enum durability strongest(enum durability a, enum durability b)
{
	static const int strength[] = { [DURABILITY_LOCAL] = 0, [DURABILITY_REMOTE] = 1,
		[DURABILITY_STRICT] = 2 };
	return strength[a] > strength[b] ? a : b;
}

static void add_target(struct delivery_part *part, struct delivery_target *target)
{
	struct volume *volume = part->volume;
	struct change *change = &part->pending.change;
	struct pool *pool = part->pending.pool;
	struct mailbox *mailbox = index_find_mailbox(&volume->index, target->mailbox_id);
	if (!mailbox_has_room(mailbox, target->quota_bytes, part->delivery->body->length)) {
		target->status = -EDQUOT;
		return;
	}
	if (!rate_allows(mailbox, target->quota_bytes, volume->options.write_quotas_per_day,
		    part->delivery->body->length)) {
		target->status = -ENOBUFS;
		return;
	}
	struct folder *inbox =
		mailbox->folder_count > 0 ? mailbox_find_folder(mailbox, STR("INBOX")) : NULL;
	if (inbox != NULL &&
		(folder_load(inbox) < 0 || volume_is_uid_slack_used(volume, inbox, 1))) {
		target->status = -EAGAIN;
		return;
	}
	if (inbox == NULL && !ahead_is_being_made(mailbox)) {
		struct mailbox_identity who = identity_of(target);
		mailbox_first_folders(
			mailbox, &who, pool, &change->actions[change->action_count++]);
	}
	struct action *action = &change->actions[change->action_count++];
	*action = (struct action){ .kind = ACTION_ADD,
		.mailbox_id = target->mailbox_id,
		.modseq = volume_next_modseq(volume, mailbox),
		.folder_id = inbox ? inbox->id : ahead_inbox_id(mailbox),
		.delivery_id = str_of(part->delivery->id, DELIVERY_ID_LENGTH),
		.added_count = 1 };
	target->uid = inbox ? ahead_take_uid(inbox) : ahead_take_inbox_uid(mailbox);
	target->status = -EINPROGRESS;
	size_t length = part->delivery->body->length,
	       summary = buf_length(&part->delivery->summary);
	action->added = pool_alloc(pool, sizeof(*action->added));
	action->added[0] = (struct added_message){ .uid = target->uid,
		.size = (uint32_t)length,
		.body_back = volume_body_back(length, summary),
		.internal_date_s = clock_wall_us() / 1000000,
		.summary_length = (uint32_t)summary };
}

static void on_refused(void *arg)
{
	struct delivery_part *part = arg;
	pool_destroy(&part->pending.pool);
	part->done(part);
}

void volume_deliver(struct volume *volume, struct delivery_part *part)
{
	struct pending_change *pending = &part->pending;
	bool needs_wait = false;
	part->volume = volume;
	*pending = (struct pending_change){ .pool = pool_create(),
		.done = on_delivered,
		.durability = DURABILITY_LOCAL,
		.waits_for_replica = true };
	volume_reserve(volume);
	pending->change.actions =
		pool_alloc(pending->pool, 2 * part->target_count * sizeof(struct action));
	for (unsigned i = 0; i < part->target_count; i++) {
		struct delivery_target *target = target_of(part, i);
		target->uid = 0;
		if (volume->state != VOLUME_PRIMARY)
			target->status = -EROFS;
		else if (is_wanted(part, target))
			add_target(part, target);
		if (target->status == -EINPROGRESS) {
			needs_wait = true;
			pending->durability = strongest(pending->durability, target->durability);
		}
	}
	if (!needs_wait) {
		part->task = (struct task){ .run = on_refused, .arg = part };
		loop_defer(volume->options.loop, &part->task);
		return;
	}
	bool stores = pending->change.action_count > 0;
	/* With duplicates only, an empty change behind them in the log stands
	 * for their durability. */
	volume_submit(volume, pending, stores ? bytes_str(part->delivery->body) : STR(""),
		stores ? buf_str(&part->delivery->summary) : STR(""));
}
