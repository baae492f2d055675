#include "replay/world_mailbox.h"

#include "core/clock.h"
#include "proto/mail/summary.h"
#include "replay/world.h"

#include <errno.h>
#include <stdlib.h>

enum { FOLDERS_MAX = 4096, SUBSCRIPTIONS_MAX = 64 };

struct stored {
	struct bytes *body, *summary;
};

struct mailbox {
	struct folder *folders[FOLDERS_MAX];
	struct stored *stored; /* body_lsn is the index */
	uint32_t stored_count;
	unsigned folder_count, next_id;
	struct str subscriptions[SUBSCRIPTIONS_MAX];
	unsigned subscription_count;
	uint64_t modseq;
	struct list sessions;
	int failure;
	int second_failure;       /* of the change after the next one, alone */
	unsigned until_failure;
	bool reads_slowly;
};

static struct mailbox the_mailbox;

struct mailbox *world_mailbox(void)
{
	return &the_mailbox;
}

/* ---- folders ---- */

static struct str heap_copy(struct str s)
{
	return str_of(str_to_heap(s), s.length);
}

static struct folder *folder_add(struct str name, enum special_use use)
{
	struct mailbox *mailbox = &the_mailbox;
	struct folder *folder = mem_alloc(sizeof(*folder));
	unsigned at = mailbox->folder_count++;

	CHECK(at < FOLDERS_MAX);
	folder->mailbox = mailbox;
	folder->id = ++mailbox->next_id;
	folder->uidvalidity = 1000 + folder->id;
	folder->uidnext = folder->first_recent_uid = 1;
	folder->highest_modseq = 1;
	folder->name = heap_copy(name);
	folder->special_use = use;
	folder->messages = mem_alloc(sizeof(struct message));
	folder->keywords = mem_alloc(FOLDER_KEYWORDS_MAX * sizeof(struct str));
	list_init(&folder->sessions);
	while (at > 1 && str_compare(mailbox->folders[at - 1]->name, name) > 0) {
		mailbox->folders[at] = mailbox->folders[at - 1];
		at--;
	}
	mailbox->folders[at] = folder;
	return folder;
}

static void folder_free(struct folder *folder)
{
	for (unsigned i = 0; i < folder->keyword_count; i++)
		free((void *)folder->keywords[i].bytes);
	free((void *)folder->name.bytes);
	free(folder->keywords);
	free(folder->messages);
	free(folder);
}

static void folder_touch(struct folder *folder)
{
	list_for_each_safe(entry, following, &folder->sessions) {
		struct mailbox_session *session =
			list_entry(entry, struct mailbox_session, folder_link);
		session->on_change(session);
	}
}

static void recount(struct folder *folder)
{
	folder->unseen_count = 0;
	folder->total_bytes = 0;
	folder->recent_count = 0;
	for (uint32_t i = 0; i < folder->message_count; i++) {
		folder->unseen_count += !(folder->messages[i].flags & MESSAGE_SEEN);
		folder->total_bytes += folder->messages[i].size;
		folder->recent_count += folder->messages[i].uid >= folder->first_recent_uid;
	}
}

/* Room for one more entry of an array that is doubled whenever its length is a power of two. */
static void *grow(void *entries, uint32_t count, size_t size)
{
	return (count & (count - 1)) == 0 ? mem_resize(entries, (count ? count * 2 : 1) * size)
					  : entries;
}

static struct message *message_add(struct folder *folder)
{
	folder->messages = grow(folder->messages, folder->message_count, sizeof(struct message));
	struct message *message = &folder->messages[folder->message_count++];
	*message = (struct message){ .uid = folder->uidnext++, .modseq = ++the_mailbox.modseq };
	folder->highest_modseq = the_mailbox.modseq;
	folder->append_counter++;
	folder->recent_count++;
	return message;
}

static uint64_t keyword_bits(struct folder *folder, const struct str *keywords, unsigned count,
	bool adds, unsigned *dropped)
{
	uint64_t bits = 0;
	for (unsigned k = 0; k < count; k++) {
		unsigned i = 0;
		while (i < folder->keyword_count &&
			!str_equal_ignore_case(folder->keywords[i], keywords[k]))
			i++;
		if (i == folder->keyword_count && adds) {
			if (i == FOLDER_KEYWORDS_MAX) {
				++*dropped;
				continue;
			}
			folder->keywords[folder->keyword_count++] = heap_copy(keywords[k]);
			folder->keyword_counter++;
		}
		if (i < folder->keyword_count)
			bits |= 1ull << (MESSAGE_KEYWORD_SHIFT + i);
	}
	return bits;
}

static void message_store_text(struct message *message, struct str text)
{
	struct mailbox *mailbox = &the_mailbox;
	struct buf summary = { 0 };

	summary_encode(text, &summary);
	mailbox->stored = grow(mailbox->stored, mailbox->stored_count, sizeof(struct stored));
	mailbox->stored[mailbox->stored_count] =
		(struct stored){ bytes_create_copy(text), bytes_create_copy(buf_str(&summary)) };
	message->body_lsn = mailbox->stored_count++;
	message->size = (uint32_t)text.length;
	message->summary_length = (uint32_t)buf_length(&summary);
	buf_deinit(&summary);
}

void world_mailbox_reset(void)
{
	struct mailbox *mailbox = &the_mailbox;
	static const struct {
		const char *name;
		enum special_use use;
	} folders[] = { { "INBOX", SPECIAL_NONE }, { "Archive", SPECIAL_ARCHIVE },
		{ "Drafts", SPECIAL_DRAFTS }, { "Junk", SPECIAL_JUNK }, { "Sent", SPECIAL_SENT },
		{ "Trash", SPECIAL_TRASH } };

	for (unsigned i = 0; i < mailbox->folder_count; i++)
		folder_free(mailbox->folders[i]);
	for (unsigned i = 0; i < mailbox->subscription_count; i++)
		free((void *)mailbox->subscriptions[i].bytes);
	for (uint32_t i = 0; i < mailbox->stored_count; i++) {
		bytes_unref(&mailbox->stored[i].body);
		bytes_unref(&mailbox->stored[i].summary);
	}
	free(mailbox->stored);
	*mailbox = (struct mailbox){ .modseq = 1 };
	list_init(&mailbox->sessions);
	for (size_t i = 0; i < array_length(folders); i++)
		folder_add(str_from(folders[i].name), folders[i].use);
}

void world_mailbox_add_folder(struct str name)
{
	folder_add(name, SPECIAL_NONE);
}

void world_mailbox_deliver(struct str name, struct str text)
{
	struct folder *folder = mailbox_find_folder(&the_mailbox, name);
	CHECK(folder);
	struct message *message = message_add(folder);
	message->internal_date_s = clock_wall_us() / 1000000;
	message_store_text(message, text);
	folder->unseen_count++;
	folder->total_bytes += message->size;
	folder_touch(folder);
}

void world_mailbox_fail(int status)
{
	the_mailbox.failure = status;
}

void world_mailbox_fail_second(int status)
{
	the_mailbox.second_failure = status;
	the_mailbox.until_failure = 2;
}

void world_mailbox_read_slowly(void)
{
	the_mailbox.reads_slowly = true;
}

void world_mailbox_lose(void)
{
	list_for_each_safe(entry, following, &the_mailbox.sessions) {
		struct mailbox_session *session =
			list_entry(entry, struct mailbox_session, mailbox_link);
		mailbox_detach(session);
		session->on_gone(session, false);
	}
}

void world_mailbox_deny(void)
{
	list_for_each_safe(entry, following, &the_mailbox.sessions) {
		struct mailbox_session *session =
			list_entry(entry, struct mailbox_session, mailbox_link);
		mailbox_detach(session);
		session->on_denied(session, "The mailbox has been disabled");
	}
}

/* ---- looking ---- */

struct folder *mailbox_find_folder(struct mailbox *mailbox, struct str name)
{
	for (unsigned i = 0; i < mailbox->folder_count; i++)
		if (str_equal(mailbox->folders[i]->name, name))
			return mailbox->folders[i];
	return NULL;
}

struct folder *mailbox_next_folder(struct mailbox *mailbox, struct folder *previous)
{
	unsigned i = 0;
	while (previous && mailbox->folders[i++] != previous)
		continue;
	return i < mailbox->folder_count ? mailbox->folders[i] : NULL;
}

bool mailbox_is_subscribed(struct mailbox *mailbox, struct str name)
{
	for (unsigned i = 0; i < mailbox->subscription_count; i++)
		if (str_equal(mailbox->subscriptions[i], name))
			return true;
	return false;
}

bool mailbox_next_subscription(struct mailbox *mailbox, size_t *position, struct str *name_out)
{
	if (*position >= mailbox->subscription_count)
		return false;
	*name_out = mailbox->subscriptions[(*position)++];
	return true;
}

bool folder_has_keyword_room(const struct folder *folder)
{
	return folder->keyword_count < FOLDER_KEYWORDS_MAX;
}

int mailbox_prepare(struct folder *folder)
{
	(void)folder;
	return the_mailbox.failure;
}

uint32_t folder_find_uid(const struct folder *folder, uint32_t uid)
{
	uint32_t low = 0, high = folder->message_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (folder->messages[middle].uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- sessions ---- */

struct pending {
	struct task task;
	struct mailbox_op *op;
	struct message_read *read;
};

static void on_pending(void *arg)
{
	struct pending *pending = arg;
	if (pending->op)
		pending->op->done(pending->op);
	else if (pending->read)
		pending->read->done(pending->read);
	free(pending);
}

static struct pending *later(struct mailbox_op *op, struct message_read *read)
{
	struct pending *pending = mem_alloc(sizeof(*pending));
	*pending = (struct pending){ .op = op, .read = read };
	pending->task.run = on_pending;
	pending->task.arg = pending;
	loop_post(world_loop(), &pending->task);
	return pending;
}

static bool begin(struct mailbox_op *op)
{
	op->status = the_mailbox.failure;
	op->keywords_dropped = 0;
	op->first_uid = op->count = 0;
	if (the_mailbox.until_failure && --the_mailbox.until_failure == 0)
		op->status = the_mailbox.second_failure;
	later(op, NULL);
	return op->status == 0;
}

void mailbox_attach(struct volume *volume, const struct mailbox_identity *who,
	struct mailbox_session *session, struct mailbox_op *op)
{
	(void)volume;
	(void)who;
	if (!begin(op))
		return;
	session->mailbox = &the_mailbox;
	list_append(&the_mailbox.sessions, &session->mailbox_link);
	list_init(&session->folder_link);
}

void mailbox_detach(struct mailbox_session *session)
{
	list_remove(&session->mailbox_link);
	list_remove(&session->folder_link);
	session->mailbox = NULL;
	session->folder = NULL;
}

uint32_t mailbox_select(struct mailbox_session *session, struct folder *folder, bool read_only)
{
	list_remove(&session->folder_link);
	session->folder = folder;
	if (!folder)
		return 0;
	list_append(&folder->sessions, &session->folder_link);
	uint32_t recent = folder->first_recent_uid;
	if (!read_only) {
		folder->first_recent_uid = folder->uidnext;
		folder->recent_count = 0;
	}
	return recent;
}

/* ---- changes ---- */

struct salvage_point mailbox_salvage_point(const struct mailbox *mailbox)
{
	(void)mailbox;
	return (struct salvage_point){ .end = 4096, .chain = 0xabc };
}

/* Whether the last one had this id, which is remembered. */
static bool is_stored(const uint8_t id[16])
{
	static uint8_t last[16];
	bool stored = memcmp(last, id, sizeof(last)) == 0;
	memcpy(last, id, sizeof(last));
	return stored;
}

void mailbox_append(struct folder *folder, const struct append_request *request,
	struct mailbox_op *op)
{
	if (!begin(op))
		return;
	if (request->delivery_id && is_stored(request->delivery_id))
		return;
	uint64_t bits =
		keyword_bits(folder, request->keywords, request->keyword_count, true,
			&op->keywords_dropped);
	struct message *message = message_add(folder);
	message->flags = request->system_flags | bits;
	message->internal_date_s = request->internal_date_s;
	message_store_text(message, bytes_str(request->body));
	op->uidvalidity = folder->uidvalidity;
	op->first_uid = message->uid;
	op->count = 1;
	op->modseq = message->modseq;
	recount(folder);
	folder_touch(folder);
}

void mailbox_store(struct folder *folder, const struct store_request *request,
	struct mailbox_op *op)
{
	if (!begin(op))
		return;
	uint64_t bits = request->system_flags | keyword_bits(folder, request->keywords,
		request->keyword_count, request->mode != STORE_REMOVE, &op->keywords_dropped);
	if (op->keywords_dropped && !bits) {
		op->status = -E2BIG;
		return;
	}
	op->failed_uids = mem_alloc((request->count + 1) * sizeof(uint32_t));
	uint64_t modseq = the_mailbox.modseq + 1;
	bool changed = false;
	for (uint32_t i = 0; i < request->count; i++) {
		uint32_t at = folder_find_uid(folder, request->uids[i]);
		if (at == folder->message_count || folder->messages[at].uid != request->uids[i])
			continue;
		struct message *message = &folder->messages[at];
		if (request->conditional && message->modseq > request->unchanged_since) {
			op->failed_uids[op->failed_count++] = message->uid;
			continue;
		}
		uint64_t flags = request->mode == STORE_ADD ? message->flags | bits :
			request->mode == STORE_REMOVE ? message->flags & ~bits : bits;
		if (flags == message->flags)
			continue;
		message->flags = flags;
		message->modseq = modseq;
		changed = true;
	}
	if (!changed)
		return;
	the_mailbox.modseq = folder->highest_modseq = op->modseq = modseq;
	folder->flag_counter++;
	recount(folder);
	folder_touch(folder);
}

void mailbox_expunge(struct folder *folder, const uint32_t *uids, uint32_t count,
	struct mailbox_op *op)
{
	uint32_t kept = 0, at = 0;
	if (!begin(op))
		return;
	for (uint32_t i = 0; i < folder->message_count; i++) {
		while (at < count && uids[at] < folder->messages[i].uid)
			at++;
		if (at == count || uids[at] != folder->messages[i].uid)
			folder->messages[kept++] = folder->messages[i];
	}
	op->count = folder->message_count - kept;
	folder->message_count = kept;
	folder->highest_modseq = op->modseq = ++the_mailbox.modseq;
	folder->expunge_counter++;
	recount(folder);
	folder_touch(folder);
}

void mailbox_copy(struct folder *from, const uint32_t *uids, uint32_t count, struct folder *to,
	bool move, const struct mailbox_policy *policy, struct mailbox_op *op)
{
	(void)policy;
	if (!begin(op))
		return;
	op->uidvalidity = to->uidvalidity;
	op->first_uid = to->uidnext;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = folder_find_uid(from, uids[i]);
		if (at == from->message_count || from->messages[at].uid != uids[i])
			continue;
		struct message *message = message_add(to);
		struct message copied = from->messages[at];
		copied.uid = message->uid;
		copied.modseq = message->modseq;
		copied.flags &= MESSAGE_SYSTEM_FLAGS;
		for (unsigned k = 0; k < from->keyword_count; k++)
			if (from->messages[at].flags >> (MESSAGE_KEYWORD_SHIFT + k) & 1)
				copied.flags |=
					keyword_bits(to, &from->keywords[k], 1, true,
						&op->keywords_dropped);
		*message = copied;
		op->count++;
	}
	recount(to);
	folder_touch(to);
	if (move) {
		uint32_t kept = 0, at = 0;
		for (uint32_t i = 0; i < from->message_count; i++) {
			while (at < count && uids[at] < from->messages[i].uid)
				at++;
			if (at == count || uids[at] != from->messages[i].uid)
				from->messages[kept++] = from->messages[i];
		}
		from->message_count = kept;
		from->highest_modseq = ++the_mailbox.modseq;
		from->expunge_counter++;
		recount(from);
		folder_touch(from);
	}
}

void mailbox_create_folder(struct mailbox *mailbox, struct str name, enum special_use special_use,
	struct mailbox_op *op)
{
	if (!begin(op))
		return;
	if (mailbox_find_folder(mailbox, name)) {
		op->status = -EEXIST;
		return;
	}
	for (size_t i = 1; i < name.length; i++)
		if (name.bytes[i] == '/' && !mailbox_find_folder(mailbox, str_first(name, i)))
			folder_add(str_first(name, i), SPECIAL_NONE);
	folder_add(name, special_use);
}

void mailbox_delete_folder(struct folder *folder, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	if (!begin(op))
		return;
	list_for_each_safe(entry, following, &folder->sessions) {
		struct mailbox_session *session =
			list_entry(entry, struct mailbox_session, folder_link);
		list_remove(entry);
		session->folder = NULL;
		session->on_gone(session, true);
	}
	unsigned kept = 0;
	for (unsigned i = 0; i < mailbox->folder_count; i++)
		if (mailbox->folders[i] != folder)
			mailbox->folders[kept++] = mailbox->folders[i];
	mailbox->folder_count = kept;
	folder_free(folder);
}

static void rename_one(struct folder *folder, struct str name)
{
	free((void *)folder->name.bytes);
	folder->name = heap_copy(name);
}

void mailbox_rename_folder(struct folder *folder, struct str name, struct mailbox_op *op)
{
	struct mailbox *mailbox = folder->mailbox;
	struct buf renamed = { 0 };
	if (!begin(op))
		return;
	struct str old = heap_copy(folder->name);
	if (str_equal(old, STR("INBOX"))) {
		struct folder *target = folder_add(name, SPECIAL_NONE);
		for (uint32_t i = 0; i < folder->message_count; i++) {
			struct message *message = message_add(target);
			struct message moved = folder->messages[i];
			moved.uid = message->uid;
			moved.modseq = message->modseq;
			*message = moved;
		}
		folder->message_count = 0;
		folder->expunge_counter++;
		folder_touch(folder);
	} else {
		for (unsigned i = 0; i < mailbox->folder_count; i++) {
			struct str at = mailbox->folders[i]->name;
			bool is_below = at.length > old.length && at.bytes[old.length] == '/' &&
				str_starts_with(at, old);
			if (!is_below && mailbox->folders[i] != folder)
				continue;
			buf_clear(&renamed);
			buf_append_str(&renamed, name);
			buf_append_str(&renamed, str_from_index(at, old.length));
			rename_one(mailbox->folders[i], buf_str(&renamed));
		}
	}
	free((void *)old.bytes);
	buf_deinit(&renamed);
}

void mailbox_subscribe(struct mailbox *mailbox, struct str name, bool subscribed,
	struct mailbox_op *op)
{
	unsigned kept = 0;
	if (!begin(op))
		return;
	for (unsigned i = 0; i < mailbox->subscription_count; i++) {
		if (str_equal(mailbox->subscriptions[i], name))
			free((void *)mailbox->subscriptions[i].bytes);
		else
			mailbox->subscriptions[kept++] = mailbox->subscriptions[i];
	}
	mailbox->subscription_count = kept;
	if (subscribed)
		mailbox->subscriptions[mailbox->subscription_count++] = heap_copy(name);
}

/* ---- reading ---- */

static bool read_now(struct message_read *read, struct bytes *bytes)
{
	read->status = 0;
	read->bytes = bytes_ref(bytes);
	if (the_mailbox.reads_slowly)
		read->pending = later(NULL, read);
	return !the_mailbox.reads_slowly;
}

bool message_read_body(struct folder *folder, const struct message *message,
	struct message_read *read)
{
	(void)folder;
	return read_now(read, the_mailbox.stored[message->body_lsn].body);
}

bool message_read_summary(struct folder *folder, const struct message *message,
	struct message_read *read)
{
	(void)folder;
	return read_now(read, the_mailbox.stored[message->body_lsn].summary);
}

void message_read_cancel(struct message_read *read)
{
	struct pending *pending = read->pending;
	pending->read = NULL;
	bytes_unref(&read->bytes);
}
