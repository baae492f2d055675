#include "node/session/imap_view.h"

#include "proto/mail/imap_write.h"

#include <stdlib.h>

static const struct {
	uint64_t flag;
	struct str name;
} system_flags[] = {
	{ MESSAGE_ANSWERED, { "\\Answered", 9 } }, { MESSAGE_FLAGGED, { "\\Flagged", 8 } },
	{ MESSAGE_DELETED, { "\\Deleted", 8 } },   { MESSAGE_SEEN, { "\\Seen", 5 } },
	{ MESSAGE_DRAFT, { "\\Draft", 6 } },
};

_Static_assert((int)IMAP_FLAG_SEEN == (int)MESSAGE_SEEN &&
		(int)IMAP_FLAG_ANSWERED == (int)MESSAGE_ANSWERED &&
		(int)IMAP_FLAG_FLAGGED == (int)MESSAGE_FLAGGED &&
		(int)IMAP_FLAG_DELETED == (int)MESSAGE_DELETED &&
		(int)IMAP_FLAG_DRAFT == (int)MESSAGE_DRAFT,
	"the grammar's flags are the mailbox's");

void imap_write_flags(struct buf *out, const struct folder *folder, uint64_t flags, bool is_recent)
{
	bool any = false;
	buf_append_byte(out, '(');
	for (size_t i = 0; i < array_length(system_flags); i++) {
		if (!(flags & system_flags[i].flag))
			continue;
		if (any)
			buf_append_byte(out, ' ');
		buf_append_str(out, system_flags[i].name);
		any = true;
	}
	if (is_recent) {
		buf_append_str(out, any ? STR(" \\Recent") : STR("\\Recent"));
		any = true;
	}
	for (unsigned i = 0; flags >> MESSAGE_KEYWORD_SHIFT && i < folder->keyword_count; i++) {
		if (!(flags >> (MESSAGE_KEYWORD_SHIFT + i) & 1) || !folder->keywords[i].length)
			continue;
		if (any)
			buf_append_byte(out, ' ');
		buf_append_str(out, folder->keywords[i]);
		any = true;
	}
	buf_append_byte(out, ')');
}

void imap_write_flag_update(struct imap_session *session, uint32_t sequence,
	const struct message *message, bool with_uid, bool with_flags)
{
	struct buf *out = &session->out;
	const char *separator = "";

	buf_append_literal(out, "* ");
	imap_write_number(out, sequence);
	buf_append_literal(out, " FETCH (");
	if (with_uid) {
		buf_append_literal(out, "UID ");
		imap_write_number(out, message->uid);
		separator = " ";
	}
	if (with_flags) {
		buf_append_str(out, str_from(separator));
		buf_append_literal(out, "FLAGS ");
		imap_write_flags(out, session->mailbox.folder, message->flags,
			imap_view_is_recent(&session->view, message->uid));
		separator = " ";
	}
	if (session->is_condstore) {
		buf_append_str(out, str_from(separator));
		buf_append_literal(out, "MODSEQ (");
		imap_write_number(out, message->modseq);
		buf_append_byte(out, ')');
	}
	buf_append_literal(out, ")\r\n");
}

static void write_keywords(struct buf *out, const struct folder *folder)
{
	for (unsigned i = 0; i < folder->keyword_count; i++)
		if (folder->keywords[i].length)
			buf_printf(out, " " STR_FORMAT, STR_ARG(folder->keywords[i]));
}

void imap_write_folder_flags(struct imap_session *session, const struct folder *folder)
{
	struct buf *out = &session->out;
	const struct str all = STR("\\Answered \\Flagged \\Deleted \\Seen \\Draft");

	buf_append_literal(out, "* FLAGS (");
	buf_append_str(out, all);
	write_keywords(out, folder);
	buf_append_literal(out, ")\r\n* OK [PERMANENTFLAGS (");
	if (!session->is_read_only) {
		buf_append_str(out, all);
		write_keywords(out, folder);
		if (folder_has_keyword_room(folder))
			buf_append_literal(out, " \\*");
	}
	buf_append_literal(out, ")] Flags permitted\r\n");
}

void imap_view_clear(struct imap_view *view)
{
	free(view->uids);
	free(view->recent);
	*view = (struct imap_view){ 0 };
}

static void view_reserve(struct imap_view *view, uint32_t count)
{
	if (count <= view->capacity)
		return;
	view->capacity = count + count / 8 + 16;
	view->uids = mem_resize(view->uids, view->capacity * sizeof(*view->uids));
}

static void remember(struct imap_view *view, const struct folder *folder)
{
	view->seen_modseq = folder->highest_modseq;
	view->seen_flag = folder->flag_counter;
	view->seen_append = folder->append_counter;
	view->seen_keyword = folder->keyword_counter;
}

/* The folder's recent messages become the session's, or with EXAMINE are seen as such. */
static void take_recent(struct imap_session *session, struct folder *folder, bool read_only)
{
	struct imap_view *view = &session->view;
	uint32_t first = mailbox_select(&session->mailbox, folder, read_only);
	struct imap_recent *last =
		view->recent_count ? &view->recent[view->recent_count - 1] : NULL;

	if (first >= folder->uidnext)
		return;
	if (last && first <= last->behind) {
		last->behind = folder->uidnext;
		return;
	}
	if (view->recent_count == view->recent_capacity) {
		view->recent_capacity = view->recent_capacity ? view->recent_capacity * 2 : 1;
		view->recent = mem_resize(
			view->recent, view->recent_capacity * sizeof(*view->recent));
	}
	view->recent[view->recent_count++] = (struct imap_recent){ first, folder->uidnext };
}

void imap_view_select(struct imap_session *session, struct folder *folder, bool read_only)
{
	struct imap_view *view = &session->view;

	imap_view_clear(view);
	take_recent(session, folder, read_only);
	session->is_read_only = read_only;
	session->state = IMAP_SELECTED;
	view_reserve(view, folder->message_count);
	for (uint32_t i = 0; i < folder->message_count; i++)
		view->uids[i] = folder->messages[i].uid;
	view->count = folder->message_count;
	view->seen_expunge = folder->expunge_counter;
	remember(view, folder);
}

void imap_view_deselect(struct imap_session *session)
{
	if (session->state != IMAP_SELECTED)
		return;
	mailbox_select(&session->mailbox, NULL, true);
	imap_view_clear(&session->view);
	session->state = IMAP_AUTHENTICATED;
	session->is_read_only = false;
}

/* The number of uids in the view below `uid`. */
static uint32_t view_rank(const struct imap_view *view, uint64_t uid)
{
	uint32_t low = 0, high = view->count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (view->uids[middle] < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool imap_view_is_recent(const struct imap_view *view, uint32_t uid)
{
	uint32_t low = 0, high = view->recent_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (view->recent[middle].behind <= uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < view->recent_count && view->recent[low].first <= uid;
}

uint32_t imap_view_recent(const struct imap_view *view)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < view->recent_count; i++)
		count += view_rank(view, view->recent[i].behind) -
			view_rank(view, view->recent[i].first);
	return count;
}

static void sync_expunges(struct imap_session *session, const struct folder *folder)
{
	struct imap_view *view = &session->view;
	uint32_t kept = 0, at = 0;

	for (uint32_t i = 0; i < view->count; i++) {
		uint32_t uid = view->uids[i];
		while (at < folder->message_count && folder->messages[at].uid < uid)
			at++;
		if (at < folder->message_count && folder->messages[at].uid == uid) {
			view->uids[kept++] = uid;
			continue;
		}
		/* Those before it that went are gone from the client's count already. */
		buf_append_literal(&session->out, "* ");
		imap_write_number(&session->out, kept + 1);
		buf_append_literal(&session->out, " EXPUNGE\r\n");
	}
	view->count = kept;
	view->seen_expunge = folder->expunge_counter;
}

static void sync_flags(struct imap_session *session, const struct folder *folder)
{
	struct imap_view *view = &session->view;
	uint32_t at = 0;

	for (uint32_t i = 0; i < view->count; i++) {
		while (at < folder->message_count && folder->messages[at].uid < view->uids[i])
			at++;
		if (at == folder->message_count)
			break;
		const struct message *message = &folder->messages[at];
		if (message->uid == view->uids[i] && message->modseq > view->seen_modseq &&
			message->modseq != view->own_modseq)
			imap_write_flag_update(session, i + 1, message, true, true);
	}
}

static void sync_appends(struct imap_session *session, const struct folder *folder)
{
	struct imap_view *view = &session->view;
	uint32_t last = view->count ? view->uids[view->count - 1] : 0;
	uint32_t first_new = folder_find_uid(folder, last + 1);

	if (first_new < folder->message_count) {
		view_reserve(view, view->count + (folder->message_count - first_new));
		for (uint32_t i = first_new; i < folder->message_count; i++)
			view->uids[view->count++] = folder->messages[i].uid;
		take_recent(session, session->mailbox.folder, session->is_read_only);
	}
}

void imap_view_sync(struct imap_session *session, bool expunge_allowed)
{
	struct imap_view *view = &session->view;
	const struct folder *folder = session->mailbox.folder;
	uint32_t count_before = view->count;

	if (view->seen_append == folder->append_counter &&
		view->seen_flag == folder->flag_counter &&
		view->seen_expunge == folder->expunge_counter &&
		view->seen_keyword == folder->keyword_counter)
		return;
	if (view->seen_keyword != folder->keyword_counter)
		imap_write_folder_flags(session, folder);
	if (expunge_allowed && view->seen_expunge != folder->expunge_counter)
		sync_expunges(session, folder);
	count_before = view->count;
	if (view->seen_flag != folder->flag_counter)
		sync_flags(session, folder);
	if (view->seen_append != folder->append_counter)
		sync_appends(session, folder);
	if (view->count != count_before)
		buf_printf(&session->out, "* %u EXISTS\r\n* %u RECENT\r\n", view->count,
			imap_view_recent(view));
	remember(view, folder);
	view->own_modseq = 0;
}

const struct message *imap_view_message(const struct imap_session *session, uint32_t sequence)
{
	const struct folder *folder = session->mailbox.folder;
	uint32_t uid = session->view.uids[sequence - 1];
	uint32_t index = sequence - 1;

	/* Without unseen expunges the positions are the same. */
	if (index >= folder->message_count || folder->messages[index].uid != uid)
		index = folder_find_uid(folder, uid);
	if (index >= folder->message_count || folder->messages[index].uid != uid)
		return NULL;
	return &folder->messages[index];
}

bool imap_view_resolve(const struct imap_session *session, struct imap_command *command,
	struct imap_set *set)
{
	const struct imap_view *view = &session->view;
	unsigned count = 0;

	if (!command->by_uid) {
		for (unsigned i = 0; i < set->count; i++) {
			struct imap_range *range = &set->ranges[i];
			/* In an empty folder "1:*" is taken for what it means. */
			bool is_open = !range->first || !range->last;
			if ((range->first > view->count || range->last > view->count) &&
				!(is_open && !view->count)) {
				command->parser.error = "Sequence number out of range";
				return false;
			}
		}
		imap_set_resolve(set, view->count);
		if (!view->count)
			set->count = 0;
		return true;
	}
	imap_set_resolve(set, view->count ? view->uids[view->count - 1] : 0);
	for (unsigned i = 0; i < set->count; i++) {
		uint32_t first = view_rank(view, set->ranges[i].first);
		uint32_t behind = view_rank(view, (uint64_t)set->ranges[i].last + 1);
		if (first < behind)
			set->ranges[count++] = (struct imap_range){ first + 1, behind };
	}
	set->count = count;
	return true;
}

uint32_t imap_set_size(const struct imap_set *set)
{
	uint32_t size = 0;
	for (unsigned i = 0; i < set->count; i++)
		size += set->ranges[i].last - set->ranges[i].first + 1;
	return size;
}

uint32_t *imap_view_uids(const struct imap_session *session, struct imap_command *command,
	const struct imap_set *set, uint32_t *count_out)
{
	uint32_t *uids = pool_alloc(command->pool, (imap_set_size(set) + 1) * sizeof(*uids));
	uint32_t count = 0;

	for (unsigned i = 0; i < set->count; i++)
		for (uint32_t n = set->ranges[i].first; n <= set->ranges[i].last; n++)
			if (imap_view_message(session, n))
				uids[count++] = session->view.uids[n - 1];
	*count_out = count;
	return uids;
}

void imap_condstore_enable(struct imap_session *session)
{
	if (!session->is_condstore && session->state == IMAP_SELECTED)
		buf_printf(&session->out, "* OK [HIGHESTMODSEQ %llu] Highest mod-sequence\r\n",
			(unsigned long long)session->mailbox.folder->highest_modseq);
	session->is_condstore = true;
}
