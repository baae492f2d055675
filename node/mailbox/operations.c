#include "node/mailbox/index.h"

#include "core/clock.h"
#include "core/log.h"
#include "node/volume/volume.h"

#include <errno.h>
#include <stdlib.h>

/*
 * What sessions ask for, turned into changes. Numbers (uid, modseq, folder id, uidvalidity) are
 * given out here, ahead of the applied state and in the order of the log.
 */

struct mailbox_change {
	struct pending_change pending;
	struct mailbox_op *op;
	struct mailbox *mailbox;
	struct mailbox_session *attaching; /* of mailbox_attach */
	uint32_t folder_id;
	struct bytes *body;
	struct at_risk risk;
};

static struct volume *volume_of(const struct mailbox *mailbox)
{
	return mailbox->index->owner;
}

/* ---- answers ---- */

struct refused_op {
	struct task task;
	struct mailbox_op *op;
};

static void on_refused_op(void *arg)
{
	struct refused_op *refused = arg;
	refused->op->done(refused->op);
	free(refused);
}

/* An answer that needs no log: from the loop all the same. */
static void answer_later(struct volume *volume, struct mailbox_op *op, int status)
{
	struct refused_op *refused = mem_alloc(sizeof(*refused));
	op->status = status;
	*refused = (struct refused_op){ { .run = on_refused_op, .arg = refused }, op };
	loop_defer(volume->options.loop, &refused->task);
}

static void on_change_done(struct pending_change *pending, int status, bool at_risk)
{
	struct mailbox_change *change = container_of(pending, struct mailbox_change, pending);
	struct mailbox_op *op = change->op;
	op->status = status < 0 ? status : pending->result.status;
	op->failed_uids = pending->result.failed_uids;
	op->failed_count = pending->result.failed_count;
	/* The folder may have been deleted while the change was on its way. */
	struct mailbox *mailbox = index_find_mailbox(
		&pending->volume->index, pending->change.actions[0].mailbox_id);
	op->folder = mailbox ? mailbox_folder_by_id(mailbox, change->folder_id) : NULL;
	if (status == 0 && at_risk && change->risk.uid != 0) {
		change->risk.lsn = pending->append.end_lsn;
		change->risk.since_us = clock_wall_us();
		volume_add_at_risk(pending->volume, &change->risk);
	}
	bytes_unref(&change->body);
	free(change);
	op->done(op);
}

/* A change with room for `action_count` actions, each zeroed. */
static struct mailbox_change *change_create(
	struct mailbox *mailbox, struct mailbox_op *op, size_t action_count)
{
	struct mailbox_change *change = mem_alloc(sizeof(*change));
	op->failed_uids = NULL;
	op->failed_count = 0;
	change->op = op;
	change->mailbox = mailbox;
	change->pending.pool = pool_create();
	change->pending.change.action_count = action_count;
	change->pending.change.actions =
		pool_alloc(change->pending.pool, action_count * sizeof(struct action));
	change->pending.done = on_change_done;
	for (size_t i = 0; i < action_count; i++)
		change->pending.change.actions[i].mailbox_id = mailbox->id;
	return change;
}

static struct action *first_action(struct mailbox_change *change)
{
	return &change->pending.change.actions[0];
}

static void submit(struct mailbox_change *change)
{
	volume_submit(volume_of(change->mailbox), &change->pending, STR(""), STR(""));
}

static void discard(struct mailbox_change *change, int status)
{
	struct mailbox_op *op = change->op;
	struct volume *volume = volume_of(change->mailbox);
	pool_destroy(&change->pending.pool);
	bytes_unref(&change->body);
	free(change);
	answer_later(volume, op, status);
}

/* ---- the first folders ---- */

static const struct {
	const char *name;
	enum special_use special_use;
} first_folders[] = {
	{ "INBOX", SPECIAL_NONE },
	{ "Archive", SPECIAL_ARCHIVE },
	{ "Drafts", SPECIAL_DRAFTS },
	{ "Junk", SPECIAL_JUNK },
	{ "Sent", SPECIAL_SENT },
	{ "Trash", SPECIAL_TRASH },
};

static uint32_t next_uidvalidity(struct mailbox *mailbox)
{
	int64_t now = clock_wall_us() / 1000000;
	uint32_t wanted = now > 0 && now < UINT32_MAX ? (uint32_t)now : 1;
	if (wanted <= mailbox->allocated_uidvalidity)
		wanted = mailbox->allocated_uidvalidity + 1;
	mailbox->allocated_uidvalidity = wanted;
	return wanted;
}

void volume_first_folders(struct volume *volume, struct mailbox *mailbox, struct pool *pool,
	struct action *action_out)
{
	*action_out = (struct action){ .kind = ACTION_FOLDERS,
		.mailbox_id = mailbox->id,
		.modseq = volume_next_modseq(volume, mailbox),
		.folder_count = array_length(first_folders) };
	action_out->folders =
		pool_alloc(pool, sizeof(*action_out->folders) * array_length(first_folders));
	for (size_t i = 0; i < array_length(first_folders); i++)
		action_out->folders[i] = (struct action_folder){ mailbox->allocated_folder_id++,
			str_from(first_folders[i].name), next_uidvalidity(mailbox),
			first_folders[i].special_use };
	mailbox->is_being_made = true;
	mailbox->making_inbox_id = action_out->folders[0].id;
	mailbox->making_inbox_uidnext = volume->index.slack_count * UID_SLACK + 1;
}

/* ---- sessions ---- */

static void attach_now(struct mailbox *mailbox, struct mailbox_session *session)
{
	session->mailbox = mailbox;
	list_append(&mailbox->sessions, &session->mailbox_link);
	list_init(&session->folder_link);
}

static void on_attach_done(struct pending_change *pending, int status, bool at_risk)
{
	struct mailbox_change *change = container_of(pending, struct mailbox_change, pending);
	struct mailbox_op *op = change->op;
	struct mailbox *mailbox = change->mailbox;
	(void)at_risk;
	op->status = status;
	if (status == 0)
		attach_now(mailbox, change->attaching);
	else
		mailbox->is_being_made = false;
	free(change);
	op->done(op);
}

void mailbox_attach(struct volume *volume, uint64_t mailbox_id, struct mailbox_session *session,
	struct mailbox_op *op)
{
	session->mailbox = NULL;
	session->folder = NULL;
	if (volume->state != VOLUME_PRIMARY) {
		answer_later(volume, op, -EROFS);
		return;
	}
	struct mailbox *mailbox = index_find_mailbox(&volume->index, mailbox_id);
	if (mailbox != NULL && mailbox->folder_count > 0) {
		attach_now(mailbox, session);
		answer_later(volume, op, 0);
		return;
	}
	if (mailbox == NULL)
		mailbox = index_make_mailbox(&volume->index, mailbox_id);
	if (mailbox->is_being_made) {
		/* A delivery or another session makes the folders: this change only waits behind
		 * it. */
		struct mailbox_change *change = change_create(mailbox, op, 0);
		change->attaching = session;
		change->pending.done = on_attach_done;
		submit(change);
		return;
	}
	struct mailbox_change *change = change_create(mailbox, op, 1);
	volume_first_folders(volume, mailbox, change->pending.pool, first_action(change));
	change->attaching = session;
	change->pending.done = on_attach_done;
	submit(change);
}

void mailbox_detach(struct mailbox_session *session)
{
	if (session->mailbox == NULL)
		return;
	list_remove(&session->folder_link);
	list_remove(&session->mailbox_link);
	session->mailbox = NULL;
	session->folder = NULL;
}

uint32_t mailbox_select(struct mailbox_session *session, struct folder *folder, bool read_only)
{
	list_remove(&session->folder_link);
	session->folder = folder;
	if (folder == NULL)
		return 0;
	if (folder_load(folder) < 0)
		log_warn("folder_shown_empty", "mailbox=%llu folder=%u",
			(unsigned long long)folder->mailbox->id, folder->id);
	list_append(&folder->sessions, &session->folder_link);
	uint32_t first_recent = folder->first_recent_uid;
	if (!read_only && first_recent != folder->uidnext) {
		folder->first_recent_uid = folder->uidnext;
		folder->recent_count = 0;
		folder_mark_header_dirty(folder);
	}
	return first_recent;
}

/* ---- looking ---- */

bool mailbox_is_subscribed(struct mailbox *mailbox, struct str name)
{
	return map_get(mailbox->subscriptions, name) != NULL;
}

bool mailbox_next_subscription(struct mailbox *mailbox, size_t *position, struct str *name_out)
{
	return map_next(mailbox->subscriptions, position, name_out, NULL);
}

/* ---- keywords and uid ranges of an action ---- */

static int add_keywords(struct folder *folder, const struct str *names, unsigned count,
	struct pool *pool, struct action *action, uint64_t *flags)
{
	action->keywords = pool_alloc(pool, count * sizeof(*action->keywords));
	for (unsigned i = 0; i < count; i++) {
		int bit = folder_take_keyword(folder, names[i]);
		if (bit < 0)
			return bit;
		action->keywords[action->keyword_count++] =
			(struct action_keyword){ (uint32_t)bit, pool_copy(pool, names[i]) };
		*flags |= 1ull << (MESSAGE_KEYWORD_SHIFT + bit);
	}
	return 0;
}

/* The message with this uid, or message_count. `*next`: where the one after the last was found,
 * since callers come with rising uids. */
static uint32_t find_message(const struct folder *folder, uint32_t uid, uint32_t *next)
{
	uint32_t at = *next;
	if (at >= folder->message_count || folder->messages[at].uid != uid)
		at = folder_find_uid(folder, uid);
	if (at < folder->message_count && folder->messages[at].uid != uid)
		return folder->message_count;
	*next = at + 1;
	return at;
}

/* Neighbouring messages become one range, whatever uids are missing between them. */
static void add_uids(struct folder *folder, const uint32_t *uids, uint32_t count, struct pool *pool,
	struct action *action)
{
	action->uids = pool_alloc(pool, count * sizeof(*action->uids));
	uint32_t previous_index = UINT32_MAX, next = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = find_message(folder, uids[i], &next);
		if (at == folder->message_count)
			continue;
		if (action->uid_range_count > 0 && at == previous_index + 1)
			action->uids[action->uid_range_count - 1].last = uids[i];
		else
			action->uids[action->uid_range_count++] =
				(struct uid_range){ uids[i], uids[i] };
		previous_index = at;
	}
}

/* ---- messages ---- */

void mailbox_append(
	struct folder *folder, const struct append_request *request, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	struct volume *volume = volume_of(mailbox);
	struct mailbox_change *change = change_create(mailbox, op, 1);
	struct action *action = first_action(change);
	uint64_t flags = request->system_flags & MESSAGE_SYSTEM_FLAGS;
	change->body = bytes_ref(request->body);
	change->folder_id = folder->id;
	int status = folder_load(folder);
	if (status == 0)
		status = add_keywords(folder, request->keywords, request->keyword_count,
			change->pending.pool, action, &flags);
	if (status == 0 && volume_is_uid_slack_used(volume, folder, 1))
		status = -EAGAIN;
	if (status == 0 && !mailbox_has_room(mailbox, request->policy.quota_bytes,
				   request->body->length))
		status = -EDQUOT;
	change->pending.durability = request->policy.durability;
	if (status == 0 && change->pending.durability == DURABILITY_STRICT &&
		volume_has_replica(volume) && !volume_has_live_replica(volume))
		status = -EAGAIN;
	if (status < 0) {
		discard(change, status);
		return;
	}
	struct str summary = pool_copy(change->pending.pool, request->summary);
	action->kind = ACTION_ADD;
	action->folder_id = folder->id;
	action->modseq = volume_next_modseq(volume, mailbox);
	action->added_count = 1;
	action->added = pool_alloc(change->pending.pool, sizeof(*action->added));
	action->added[0] = (struct added_message){ .uid = folder->private->allocated_uidnext++,
		.size = (uint32_t)request->body->length,
		.flags = flags,
		.body_back = volume_body_back(request->body->length, summary.length),
		.internal_date_s = request->internal_date_s,
		.summary_length = (uint32_t)summary.length };
	op->uidvalidity = folder->uidvalidity;
	op->first_uid = action->added[0].uid;
	op->count = 1;
	op->modseq = action->modseq;
	change->risk = (struct at_risk){ .mailbox_id = mailbox->id, .uid = op->first_uid };
	change->pending.waits_for_replica = true;
	volume_submit(volume, &change->pending, bytes_str(request->body), summary);
}

void mailbox_store(
	struct folder *folder, const struct store_request *request, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	struct mailbox_change *change = change_create(mailbox, op, 1);
	struct action *action = first_action(change);
	uint64_t flags = request->system_flags & MESSAGE_SYSTEM_FLAGS;
	change->folder_id = folder->id;
	int status = folder_load(folder);
	if (status == 0)
		status = add_keywords(folder, request->keywords, request->keyword_count,
			change->pending.pool, action, &flags);
	if (status < 0) {
		discard(change, status);
		return;
	}
	action->kind = ACTION_FLAGS;
	action->folder_id = folder->id;
	action->modseq = volume_next_modseq(volume_of(mailbox), mailbox);
	action->mode = request->mode;
	action->flags = flags;
	action->conditional = request->conditional;
	action->unchanged_since = request->unchanged_since;
	add_uids(folder, request->uids, request->count, change->pending.pool, action);
	op->modseq = action->modseq;
	submit(change);
}

void mailbox_expunge(
	struct folder *folder, const uint32_t *uids, uint32_t count, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	struct mailbox_change *change = change_create(mailbox, op, 1);
	struct action *action = first_action(change);
	change->folder_id = folder->id;
	int status = folder_load(folder);
	if (status < 0) {
		discard(change, status);
		return;
	}
	action->kind = ACTION_EXPUNGE;
	action->folder_id = folder->id;
	action->modseq = volume_next_modseq(volume_of(mailbox), mailbox);
	add_uids(folder, uids, count, change->pending.pool, action);
	op->modseq = action->modseq;
	submit(change);
}

/* The flags of `message` as bits of another folder's keyword table. */
static int translate_flags(const struct folder *from, const struct message *message,
	struct folder *to, struct pool *pool, struct action *action, uint64_t *flags_out)
{
	*flags_out = message->flags & MESSAGE_SYSTEM_FLAGS;
	for (unsigned bit = 0; bit < from->keyword_count; bit++) {
		if (!(message->flags >> (MESSAGE_KEYWORD_SHIFT + bit) & 1))
			continue;
		int target = folder_take_keyword(to, from->keywords[bit]);
		if (target < 0)
			return target;
		*flags_out |= 1ull << (MESSAGE_KEYWORD_SHIFT + target);
		bool known = false;
		for (size_t i = 0; i < action->keyword_count && !known; i++)
			known = action->keywords[i].index == (uint32_t)target;
		if (known)
			continue;
		if (action->keywords == NULL)
			action->keywords =
				pool_alloc(pool, FOLDER_KEYWORDS_MAX * sizeof(*action->keywords));
		action->keywords[action->keyword_count++] =
			(struct action_keyword){ (uint32_t)target,
				pool_copy(pool, from->keywords[bit]) };
	}
	return 0;
}

/* Fills an ADD or MOVE with copies of these messages. */
static int copy_messages(struct folder *from, const uint32_t *uids, uint32_t count,
	struct folder *to, struct pool *pool, struct action *action)
{
	uint32_t next = 0;
	action->added = pool_alloc(pool, count * sizeof(*action->added));
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = find_message(from, uids[i], &next);
		uint64_t flags;
		if (at == from->message_count)
			continue;
		const struct message *message = &from->messages[at];
		int status = translate_flags(from, message, to, pool, action, &flags);
		if (status < 0)
			return status;
		action->added[action->added_count++] =
			(struct added_message){ .uid = to->private->allocated_uidnext++,
				.size = message->size,
				.flags = flags,
				.body_lsn = message->body_lsn,
				.internal_date_s = message->internal_date_s,
				.summary_length = message->summary_length };
	}
	return 0;
}

static uint64_t added_bytes(const struct action *action)
{
	uint64_t bytes = 0;
	for (size_t i = 0; i < action->added_count; i++)
		bytes += action->added[i].size;
	return bytes;
}

void mailbox_copy(struct folder *from, const uint32_t *uids, uint32_t count, struct folder *to,
	bool move, const struct mailbox_policy *policy, struct mailbox_op *op)
{
	struct mailbox *mailbox = from->mailbox;
	struct volume *volume = volume_of(mailbox);
	struct mailbox_change *change = change_create(mailbox, op, 1);
	struct action *action = first_action(change);
	change->folder_id = to->id;
	int status = folder_load(from);
	if (status == 0)
		status = folder_load(to);
	if (status == 0 && volume_is_uid_slack_used(volume, to, count))
		status = -EAGAIN;
	if (status == 0 && policy->durability == DURABILITY_STRICT && volume_has_replica(volume) &&
		!volume_has_live_replica(volume))
		status = -EAGAIN;
	uint32_t first_uid = to->private->allocated_uidnext;
	if (status == 0)
		status = copy_messages(from, uids, count, to, change->pending.pool, action);
	if (status == 0 && !move &&
		!mailbox_has_room(mailbox, policy->quota_bytes, added_bytes(action)))
		status = -EDQUOT;
	if (status < 0) {
		discard(change, status);
		return;
	}
	action->kind = move ? ACTION_MOVE : ACTION_ADD;
	action->folder_id = to->id;
	action->source_folder_id = from->id;
	action->modseq = volume_next_modseq(volume, mailbox);
	if (move)
		add_uids(from, uids, count, change->pending.pool, action);
	change->pending.durability = policy->durability;
	change->pending.waits_for_replica = true;
	op->uidvalidity = to->uidvalidity;
	op->first_uid = first_uid;
	op->count = (uint32_t)action->added_count;
	op->modseq = action->modseq;
	submit(change);
}

/* ---- folders ---- */

static int check_name(struct str name)
{
	if (name.length == 0 || name.length > FOLDER_NAME_MAX || name.bytes[0] == '/' ||
		name.bytes[name.length - 1] == '/' || str_find(name, STR("//")) >= 0)
		return name.length > FOLDER_NAME_MAX ? -E2BIG : -EINVAL;
	return 0;
}

/* Counts the levels of `name` that are missing, itself included. */
static size_t count_missing(struct mailbox *mailbox, struct str name)
{
	size_t missing = 0;
	for (size_t i = 1; i <= name.length; i++)
		if ((i == name.length || name.bytes[i] == '/') &&
			mailbox_find_folder(mailbox, str_first(name, i)) == NULL)
			missing++;
	return missing;
}

static void add_missing(struct mailbox *mailbox, struct str name, enum special_use special_use,
	struct pool *pool, struct action *action)
{
	action->folders = pool_alloc(pool, count_missing(mailbox, name) * sizeof(*action->folders));
	for (size_t i = 1; i <= name.length; i++) {
		struct str level = str_first(name, i);
		if ((i < name.length && name.bytes[i] != '/') ||
			mailbox_find_folder(mailbox, level))
			continue;
		action->folders[action->folder_count++] =
			(struct action_folder){ mailbox->allocated_folder_id++,
				pool_copy(pool, level), next_uidvalidity(mailbox),
				i == name.length ? special_use : SPECIAL_NONE };
	}
}

void mailbox_create_folder(struct mailbox *mailbox, struct str name, enum special_use special_use,
	struct mailbox_op *op)
{
	struct mailbox_change *change = change_create(mailbox, op, 1);
	struct action *action = first_action(change);
	int status = check_name(name);
	if (status == 0 && mailbox_find_folder(mailbox, name) != NULL)
		status = -EEXIST;
	if (status == 0 &&
		mailbox->folder_count + count_missing(mailbox, name) > MAILBOX_FOLDERS_MAX)
		status = -E2BIG;
	if (status < 0) {
		discard(change, status);
		return;
	}
	action->kind = ACTION_FOLDERS;
	action->modseq = volume_next_modseq(volume_of(mailbox), mailbox);
	add_missing(mailbox, name, special_use, change->pending.pool, action);
	change->folder_id = action->folders[action->folder_count - 1].id;
	submit(change);
}

void mailbox_delete_folder(struct folder *folder, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	struct mailbox_change *change = change_create(mailbox, op, 1);
	struct action *action = first_action(change);
	if (str_equal_ignore_case(folder->name, STR("INBOX"))) {
		discard(change, -EINVAL);
		return;
	}
	action->kind = ACTION_DELETE;
	action->folder_id = folder->id;
	action->modseq = volume_next_modseq(volume_of(mailbox), mailbox);
	submit(change);
}

static bool is_child(struct str name, struct str parent)
{
	return name.length > parent.length && str_starts_with(name, parent) &&
		name.bytes[parent.length] == '/';
}

/* The renames of a folder and all below it. */
static void add_renames(
	struct folder *folder, struct str name, struct pool *pool, struct action *action)
{
	struct mailbox *mailbox = folder->mailbox;
	action->folders = pool_alloc(pool, mailbox->folder_count * sizeof(*action->folders));
	for (uint32_t i = 0; i < mailbox->folder_count; i++) {
		struct folder *other = mailbox->folders[i];
		if (other != folder && !is_child(other->name, folder->name))
			continue;
		struct str rest = str_from_index(other->name, folder->name.length);
		action->folders[action->folder_count++] = (struct action_folder){ .id = other->id,
			.name = pool_printf(
				pool, STR_FORMAT STR_FORMAT, STR_ARG(name), STR_ARG(rest)) };
	}
}

/* INBOX stays and is emptied into a new folder. */
static void rename_inbox(
	struct folder *inbox, struct str name, struct mailbox_change *change)
{
	struct mailbox *mailbox = inbox->mailbox;
	struct pool *pool = change->pending.pool;
	struct action *actions = change->pending.change.actions;
	int status = folder_load(inbox);
	if (status < 0) {
		discard(change, status);
		return;
	}
	actions[0].kind = ACTION_FOLDERS;
	actions[0].modseq = volume_next_modseq(volume_of(mailbox), mailbox);
	add_missing(mailbox, name, SPECIAL_NONE, pool, &actions[0]);
	actions[1].kind = ACTION_MOVE;
	actions[1].modseq = volume_next_modseq(volume_of(mailbox), mailbox);
	actions[1].folder_id = actions[0].folders[actions[0].folder_count - 1].id;
	actions[1].source_folder_id = inbox->id;
	actions[1].added = pool_alloc(pool, inbox->message_count * sizeof(*actions[1].added));
	actions[1].uids = pool_alloc(pool, sizeof(*actions[1].uids));
	for (unsigned i = 0; i < inbox->keyword_count; i++) {
		if (actions[1].keywords == NULL)
			actions[1].keywords = pool_alloc(
				pool, inbox->keyword_count * sizeof(*actions[1].keywords));
		actions[1].keywords[actions[1].keyword_count++] =
			(struct action_keyword){ i, pool_copy(pool, inbox->keywords[i]) };
	}
	uint32_t first_uid = mailbox->index->slack_count * UID_SLACK + 1;
	for (uint32_t i = 0; i < inbox->message_count; i++) {
		const struct message *message = &inbox->messages[i];
		actions[1].added[actions[1].added_count++] =
			(struct added_message){ .uid = first_uid + i,
				.size = message->size,
				.flags = message->flags,
				.body_lsn = message->body_lsn,
				.internal_date_s = message->internal_date_s,
				.summary_length = message->summary_length };
	}
	if (inbox->message_count > 0) {
		actions[1].uids[0] = (struct uid_range){ inbox->messages[0].uid,
			inbox->messages[inbox->message_count - 1].uid };
		actions[1].uid_range_count = 1;
	}
	change->folder_id = actions[1].folder_id;
	submit(change);
}

void mailbox_rename_folder(struct folder *folder, struct str name, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	bool inbox = str_equal_ignore_case(folder->name, STR("INBOX"));
	struct mailbox_change *change = change_create(mailbox, op, 2);
	struct pool *pool = change->pending.pool;
	struct action *actions = change->pending.change.actions;
	int status = check_name(name);
	if (status == 0 && mailbox_find_folder(mailbox, name) != NULL)
		status = -EEXIST;
	if (status == 0 && is_child(name, folder->name) && !inbox)
		status = -EINVAL;
	if (status < 0) {
		discard(change, status);
		return;
	}
	if (inbox) {
		rename_inbox(folder, name, change);
		return;
	}
	ptrdiff_t slash = str_find_last_byte(name, '/');
	actions[0].kind = ACTION_FOLDERS;
	actions[0].modseq = volume_next_modseq(volume_of(mailbox), mailbox);
	if (slash > 0)
		add_missing(
			mailbox, str_first(name, (size_t)slash), SPECIAL_NONE, pool, &actions[0]);
	actions[1].kind = ACTION_RENAME;
	actions[1].modseq = volume_next_modseq(volume_of(mailbox), mailbox);
	add_renames(folder, name, pool, &actions[1]);
	change->folder_id = folder->id;
	submit(change);
}

void mailbox_subscribe(
	struct mailbox *mailbox, struct str name, bool subscribed, struct mailbox_op *op)
{
	struct mailbox_change *change = change_create(mailbox, op, 1);
	struct action *action = first_action(change);
	int status = subscribed ? check_name(name) : 0;
	if (status == 0 && subscribed && map_count(mailbox->subscriptions) >= MAILBOX_FOLDERS_MAX)
		status = -E2BIG;
	if (status < 0) {
		discard(change, status);
		return;
	}
	action->kind = ACTION_SUBSCRIBE;
	action->modseq = volume_next_modseq(volume_of(mailbox), mailbox);
	action->name = pool_copy(change->pending.pool, name);
	action->subscribed = subscribed;
	submit(change);
}
