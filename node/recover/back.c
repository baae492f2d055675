#include "node/recover/internal.h"

#include "core/encode.h"

#include <errno.h>

/* Folder by folder: what is asked for and was in one, or goes to it, is one change in the log. */

/* ---- the answer ---- */

static const char *result_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{ 0, "recovered" },
		{ -ENOENT, "it is kept no longer, or is back already" },
		{ -EDQUOT, "it would be past the mailbox' quota: `pando mailbox set` raises it" },
		{ -EAGAIN,
			"no other site has confirmed it, as the mailbox' durability wants: list "
			"what is expunged once more, and try what is there again" },
		{ -ENOSPC, "there is no room on the disk" },
		{ -EROFS, "the volume is not served here any more" },
		{ -E2BIG, "its folder cannot be made: there are too many" },
		{ -EINVAL, "its folder cannot be made: it has no name that a folder may have" },
	};
	for (size_t i = 0; i < array_length(texts); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return strerror(-status);
}

static void answer(struct recover *recover)
{
	struct buf *json = &recover->json;
	buf_append_literal(json, "{\"messages\": [");
	for (uint32_t i = 0; i < recover->wanted_count; i++) {
		const struct recovered *one = &recover->wanted[i];
		buf_printf(json, "%s{\"lsn\": %llu, \"uid\": %u, \"folder\": ", i > 0 ? ", " : "",
			(unsigned long long)one->body_lsn, one->status == 0 ? one->uid : 0);
		encode_json(json, recover->folders[i]);
		buf_append_literal(json, ", \"result\": ");
		encode_json(json, str_from(result_text(one->status)));
		buf_append_byte(json, '}');
	}
	buf_append_literal(json, "]}");
	recover_end(recover);
}

/* ---- one part ---- */

static void next_part(void *arg);

static void end_part(struct recover *recover, int status)
{
	for (uint32_t i = 0; i < recover->part_count; i++) {
		struct recovered *one = &recover->wanted[recover->part_of[i]];
		one->uid = recover->part[i].uid;
		one->status = status < 0 ? status : recover->part[i].status;
		recover->folders[recover->part_of[i]] = recover->part_to;
	}
	recover_later(recover, next_part);
}

static void on_back(struct mailbox_op *op)
{
	end_part(op->arg, 0);
}

static void bring_back(struct recover *recover, struct folder *folder)
{
	recover->part_to = pool_copy(recover->pool, folder->name);
	recover->op = (struct mailbox_op){ .done = on_back, .arg = recover };
	mailbox_recover(folder, recover->part, recover->part_count, &recover->policy, &recover->op);
}

static void on_folder(struct mailbox_op *op)
{
	struct recover *recover = op->arg;
	/* Somebody else may have made it meanwhile. */
	int status = op->status == -EEXIST ? 0 : op->status;
	struct mailbox *mailbox =
		index_find_mailbox(&recover->volume->index, recover->mailbox_id);
	struct folder *folder =
		mailbox && status == 0 ? mailbox_find_folder(mailbox, recover->part_to) : NULL;
	if (folder != NULL)
		bring_back(recover, folder);
	else
		end_part(recover, status < 0 ? status : -EAGAIN);
}

static void make_folder(struct recover *recover, struct mailbox *mailbox)
{
	recover->op = (struct mailbox_op){ .done = on_folder, .arg = recover };
	mailbox_create_folder(mailbox, recover->part_to, SPECIAL_NONE, &recover->op);
}

/* ---- which go together ---- */

/* Where it goes, with the name in `name_out`; NULL: to a folder that is to be made. */
static struct folder *target_of(const struct recover *recover, struct mailbox *mailbox,
	const struct kept_message *kept, struct str *name_out)
{
	struct folder *folder = NULL;
	if (recover->to.length == 0)
		folder = recover_folder_of(mailbox, kept);
	*name_out = recover->to.length > 0 ? recover->to : kept_folder(kept);
	if (folder == NULL)
		folder = mailbox_find_folder(mailbox, *name_out);
	*name_out = folder ? folder->name : *name_out;
	return folder;
}

/* Whether the message belongs to the part, which the first one begins. */
static bool is_of_part(struct recover *recover, struct mailbox *mailbox, uint32_t index,
	struct folder **folder)
{
	struct recovered *one = &recover->wanted[index];
	const struct kept_message *kept;
	struct str name;
	if (one->status != -EINPROGRESS)
		return false;
	int status = bodies_find_kept(mailbox->index, one->body_lsn, mailbox->id,
		mailbox_mark_number(mailbox), &kept);
	if (status < 0) {
		one->status = status;
		return false;
	}
	struct folder *target = target_of(recover, mailbox, kept, &name);
	if (recover->part_count > 0)
		return target == *folder && str_equal(name, recover->part_to);
	*folder = target;
	recover->part_to = pool_copy(recover->pool, name);
	return true;
}

static void next_part(void *arg)
{
	struct recover *recover = arg;
	struct mailbox *mailbox = recover_mailbox(recover);
	struct folder *folder = NULL;
	if (mailbox == NULL)
		return;
	recover->part_count = 0;
	for (uint32_t i = 0; i < recover->wanted_count; i++) {
		if (!is_of_part(recover, mailbox, i, &folder))
			continue;
		recover->part_of[recover->part_count] = i;
		recover->part[recover->part_count++] =
			(struct recovered){ .body_lsn = recover->wanted[i].body_lsn };
	}
	if (recover->part_count == 0)
		answer(recover);
	else if (folder == NULL)
		make_folder(recover, mailbox);
	else
		bring_back(recover, folder);
}

void recover_begin_back(struct recover *recover)
{
	uint32_t count = recover->wanted_count;
	recover->part = pool_alloc(recover->pool, count * sizeof(*recover->part));
	recover->part_of = pool_alloc(recover->pool, count * sizeof(*recover->part_of));
	recover->folders = pool_alloc(recover->pool, count * sizeof(*recover->folders));
	for (uint32_t i = 0; i < count; i++) {
		recover->wanted[i].status = -EINPROGRESS;
		recover->folders[i] = STR("");
	}
	next_part(recover);
}
