#include "node/mailbox/foreseen.h"
#include "node/mailbox/operation.h"

#include "node/index/ahead.h"

#include <errno.h>

/* What sessions ask of folders and subscriptions, turned into changes. */

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
			(struct action_folder){ ahead_take_folder_id(mailbox),
				pool_copy(pool, level), mailbox_next_uidvalidity(mailbox),
				i == name.length ? special_use : SPECIAL_NONE };
	}
}

void mailbox_create_folder(struct mailbox *mailbox, struct str name, enum special_use special_use,
	struct mailbox_op *op)
{
	struct mailbox_change *change = operation_create(mailbox, op, 1);
	struct action *action = operation_action(change);
	int status = check_name(name);
	if (status == 0 && mailbox_find_folder(mailbox, name) != NULL)
		status = -EEXIST;
	if (status == 0 &&
		mailbox->folder_count + count_missing(mailbox, name) > MAILBOX_FOLDERS_MAX)
		status = -E2BIG;
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	action->kind = ACTION_FOLDERS;
	action->modseq = volume_next_modseq(operation_volume(mailbox), mailbox);
	add_missing(mailbox, name, special_use, change->pending.pool, action);
	change->folder_id = action->folders[action->folder_count - 1].id;
	operation_submit(change);
}

void mailbox_delete_folder(struct folder *folder, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	struct mailbox_change *change = operation_create(mailbox, op, 1);
	struct action *action = operation_action(change);
	if (str_equal_ignore_case(folder->name, STR("INBOX"))) {
		operation_refuse(change, -EINVAL);
		return;
	}
	action->kind = ACTION_DELETE;
	action->folder_id = folder->id;
	volume_keep(operation_volume(mailbox), mailbox, action);
	action->modseq = volume_next_modseq(operation_volume(mailbox), mailbox);
	operation_submit(change);
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
		operation_refuse(change, status);
		return;
	}
	actions[0].kind = ACTION_FOLDERS;
	actions[0].modseq = volume_next_modseq(operation_volume(mailbox), mailbox);
	add_missing(mailbox, name, SPECIAL_NONE, pool, &actions[0]);
	actions[1].kind = ACTION_MOVE;
	actions[1].modseq = volume_next_modseq(operation_volume(mailbox), mailbox);
	actions[1].folder_id = actions[0].folders[actions[0].folder_count - 1].id;
	actions[1].source_folder_id = inbox->id;
	actions[1].added = pool_alloc(pool, inbox->message_count * sizeof(*actions[1].added));
	actions[1].uids = pool_alloc(pool, sizeof(*actions[1].uids));
	actions[1].keywords = pool_alloc(pool, FOLDER_KEYWORDS_MAX * sizeof(*actions[1].keywords));
	for (unsigned i = 0; i < FOLDER_KEYWORDS_MAX; i++) {
		struct str keyword = ahead_keyword(inbox, i);
		if (keyword.length > 0)
			actions[1].keywords[actions[1].keyword_count++] =
				(struct action_keyword){ i, pool_copy(pool, keyword) };
	}
	struct foreseen foreseen;
	uint32_t uid = index_first_uid(mailbox->index);
	foresee(operation_volume(mailbox), inbox, pool, &foreseen);
	for (uint32_t i = 0; i < inbox->message_count; i++) {
		const struct message *message = &inbox->messages[i];
		uint64_t flags;
		if (!foreseen_flags(&foreseen, message, &flags))
			continue;
		actions[1].added[actions[1].added_count++] = (struct added_message){ .uid = uid++,
			.size = message->size,
			.flags = flags,
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
	operation_submit(change);
}

void mailbox_rename_folder(struct folder *folder, struct str name, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	bool inbox = str_equal_ignore_case(folder->name, STR("INBOX"));
	struct mailbox_change *change = operation_create(mailbox, op, 2);
	struct pool *pool = change->pending.pool;
	struct action *actions = change->pending.change.actions;
	int status = check_name(name);
	if (status == 0 && mailbox_find_folder(mailbox, name) != NULL)
		status = -EEXIST;
	if (status == 0 && is_child(name, folder->name) && !inbox)
		status = -EINVAL;
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	if (inbox) {
		rename_inbox(folder, name, change);
		return;
	}
	ptrdiff_t slash = str_find_last_byte(name, '/');
	actions[0].kind = ACTION_FOLDERS;
	actions[0].modseq = volume_next_modseq(operation_volume(mailbox), mailbox);
	if (slash > 0)
		add_missing(
			mailbox, str_first(name, (size_t)slash), SPECIAL_NONE, pool, &actions[0]);
	actions[1].kind = ACTION_RENAME;
	actions[1].modseq = volume_next_modseq(operation_volume(mailbox), mailbox);
	add_renames(folder, name, pool, &actions[1]);
	change->folder_id = folder->id;
	operation_submit(change);
}

void mailbox_subscribe(
	struct mailbox *mailbox, struct str name, bool subscribed, struct mailbox_op *op)
{
	struct mailbox_change *change = operation_create(mailbox, op, 1);
	struct action *action = operation_action(change);
	int status = subscribed ? check_name(name) : 0;
	if (status == 0 && subscribed && map_count(mailbox->subscriptions) >= MAILBOX_FOLDERS_MAX)
		status = -E2BIG;
	if (status < 0) {
		operation_refuse(change, status);
		return;
	}
	action->kind = ACTION_SUBSCRIBE;
	action->modseq = volume_next_modseq(operation_volume(mailbox), mailbox);
	action->name = pool_copy(change->pending.pool, name);
	action->subscribed = subscribed;
	operation_submit(change);
}
