#include "node/mailbox/operation.h"

#include "core/clock.h"
#include "core/encode.h"
#include "core/log.h"
#include "node/index/ahead.h"

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
	return ahead_take_uidvalidity(mailbox, wanted);
}

void mailbox_first_folders(struct mailbox *mailbox, const struct mailbox_identity *who,
	struct pool *pool, struct action *action_out)
{
	*action_out = (struct action){ .kind = ACTION_FOLDERS,
		.mailbox_id = mailbox->id,
		.modseq = volume_next_modseq(operation_volume(mailbox), mailbox),
		.folder_count = array_length(first_folders),
		.mark = pool_copy(pool, str_of(who->mark, MAILBOX_MARK_LENGTH)),
		.name = pool_copy(pool, who->address) };
	action_out->folders =
		pool_alloc(pool, sizeof(*action_out->folders) * array_length(first_folders));
	for (size_t i = 0; i < array_length(first_folders); i++)
		action_out->folders[i] = (struct action_folder){ ahead_take_folder_id(mailbox),
			str_from(first_folders[i].name), mailbox_next_uidvalidity(mailbox),
			first_folders[i].special_use };
	ahead_make_inbox(mailbox, action_out->folders[0].id, who->mark);
}

/* ---- which mailbox ---- */

/* Once: its owner's clients, and routers with mail for it, come again and again. */
static void tell_another(
	struct volume *volume, struct mailbox *mailbox, const struct mailbox_identity *who)
{
	struct buf stored = { 0 }, wanted = { 0 };
	if (mailbox->told_another)
		return;
	mailbox->told_another = true;
	encode_hex(&stored, mailbox->mark, MAILBOX_MARK_LENGTH);
	encode_hex(&wanted, who->mark, MAILBOX_MARK_LENGTH);
	log_error("mailbox_is_another",
		"volume=%u mailbox=%llu mark=%s made_for=%s directory_mark=%s address=%s "
		"effect=\"nobody is served\" action=\"run `pando check`\"",
		volume->options.id, (unsigned long long)mailbox->id, buf_terminated(&stored),
		log_quote(mailbox->made_for), buf_terminated(&wanted), log_quote(who->address));
	buf_deinit(&stored);
	buf_deinit(&wanted);
}

struct mailbox *mailbox_of_mark(struct volume *volume, const struct mailbox_identity *who)
{
	struct mailbox *mailbox = index_find_mailbox(&volume->index, who->id);
	if (mailbox == NULL)
		return index_make_mailbox(&volume->index, who->id);
	if (!ahead_fits_mark(mailbox, who->mark)) {
		tell_another(volume, mailbox, who);
		return NULL;
	}
	mailbox->told_another = false;
	return mailbox;
}

/* ---- sessions ---- */

static void on_attach_done(struct pending_change *pending, int status, bool at_risk)
{
	struct mailbox_change *change = container_of(pending, struct mailbox_change, pending);
	struct mailbox_op *op = change->op;
	struct mailbox_session *session = change->attaching;
	struct volume *volume = pending->volume;
	struct mailbox_identity who = change->who;
	struct mailbox *mailbox = index_find_mailbox(&volume->index, who.id);
	(void)at_risk;
	free(change);
	if (status == 0 && (mailbox == NULL || mailbox->folder_count == 0 ||
				   !ahead_fits_mark(mailbox, who.mark))) {
		/* Whoever was to make the folders was refused. */
		mailbox_attach(volume, &who, session, op);
		return;
	}
	/* Those who wait here are in no list yet. */
	if (status == 0 && !mailbox_allows(mailbox, session->access))
		status = -EACCES;
	op->status = status;
	if (status == 0)
		mailbox_register(mailbox, session);
	op->done(op);
}

void mailbox_attach(struct volume *volume, const struct mailbox_identity *who,
	struct mailbox_session *session, struct mailbox_op *op)
{
	session->mailbox = NULL;
	session->folder = NULL;
	if (volume->state != VOLUME_PRIMARY) {
		operation_answer(volume, op, -EROFS);
		return;
	}
	struct mailbox *mailbox = mailbox_of_mark(volume, who);
	if (mailbox == NULL) {
		operation_answer(volume, op, -EKEYREJECTED);
		return;
	}
	mailbox->domain_id = who->domain_id ? who->domain_id : mailbox->domain_id;
	if (mailbox->folder_count > 0) {
		mailbox_register(mailbox, session);
		operation_answer(volume, op, 0);
		return;
	}
	struct mailbox_change *change = operation_create(mailbox, op, 1);
	/* When a delivery or another session makes the folders, this only waits behind it. */
	if (ahead_is_being_made(mailbox))
		change->pending.change.action_count = 0;
	else
		mailbox_first_folders(
			mailbox, who, change->pending.pool, operation_action(change));
	change->who = *who;
	change->attaching = session;
	change->pending.done = on_attach_done;
	operation_submit(change);
}

int mailbox_prepare(struct folder *folder)
{
	return folder_load(folder);
}

uint32_t mailbox_select(struct mailbox_session *session, struct folder *folder, bool read_only)
{
	list_remove(&session->folder_link);
	session->folder = folder;
	if (folder == NULL)
		return 0;
	CHECK(folder->private->loaded);
	list_append(&folder->sessions, &session->folder_link);
	uint32_t first_recent = folder->first_recent_uid;
	if (!read_only && first_recent != folder->uidnext) {
		folder->first_recent_uid = folder->uidnext;
		folder->recent_count = 0;
		folder_mark_header_dirty(folder);
	}
	return first_recent;
}
