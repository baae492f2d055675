#include "node/mailbox/operation.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>

/* Opening a mailbox: its first folders, its sessions, what they select. */

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

uint32_t mailbox_next_uidvalidity(struct mailbox *mailbox)
{
	int64_t now = clock_wall_us() / 1000000;
	uint32_t wanted = now > 0 && now < UINT32_MAX ? (uint32_t)now : 1;
	if (wanted <= mailbox->allocated_uidvalidity)
		wanted = mailbox->allocated_uidvalidity + 1;
	mailbox->allocated_uidvalidity = wanted;
	return wanted;
}

void mailbox_first_folders(struct mailbox *mailbox, struct pool *pool, struct action *action_out)
{
	*action_out = (struct action){ .kind = ACTION_FOLDERS,
		.mailbox_id = mailbox->id,
		.modseq = volume_next_modseq(operation_volume(mailbox), mailbox),
		.folder_count = array_length(first_folders) };
	action_out->folders =
		pool_alloc(pool, sizeof(*action_out->folders) * array_length(first_folders));
	for (size_t i = 0; i < array_length(first_folders); i++)
		action_out->folders[i] = (struct action_folder){ mailbox->allocated_folder_id++,
			str_from(first_folders[i].name), mailbox_next_uidvalidity(mailbox),
			first_folders[i].special_use };
	mailbox->is_being_made = true;
	mailbox->making_inbox_id = action_out->folders[0].id;
	mailbox->making_inbox_uidnext = mailbox->index->slack_count * UID_SLACK + 1;
}

/* ---- sessions ---- */

static void on_attach_done(struct pending_change *pending, int status, bool at_risk)
{
	struct mailbox_change *change = container_of(pending, struct mailbox_change, pending);
	struct mailbox_op *op = change->op;
	struct mailbox *mailbox = change->mailbox;
	(void)at_risk;
	op->status = status;
	if (status == 0)
		mailbox_register(mailbox, change->attaching);
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
		operation_answer(volume, op, -EROFS);
		return;
	}
	struct mailbox *mailbox = index_find_mailbox(&volume->index, mailbox_id);
	if (mailbox != NULL && mailbox->folder_count > 0) {
		mailbox_register(mailbox, session);
		operation_answer(volume, op, 0);
		return;
	}
	if (mailbox == NULL)
		mailbox = index_make_mailbox(&volume->index, mailbox_id);
	if (mailbox->is_being_made) {
		/* A delivery or another session makes the folders: this change only waits behind
		 * it. */
		struct mailbox_change *change = operation_create(mailbox, op, 0);
		change->attaching = session;
		change->pending.done = on_attach_done;
		operation_submit(change);
		return;
	}
	struct mailbox_change *change = operation_create(mailbox, op, 1);
	mailbox_first_folders(mailbox, change->pending.pool, operation_action(change));
	change->attaching = session;
	change->pending.done = on_attach_done;
	operation_submit(change);
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
