/* STORE and UID STORE: RFC 3501 section 6.4.6, RFC 7162 section 3.1.3. */

#include "node/session/imap_view.h"
#include "proto/mail/imap_write.h"

#include <errno.h>

struct store {
	struct imap_set set;
	bool is_silent;
	bool misses_some; /* some of the messages were expunged meanwhile */
	struct store_request request;
};

static bool parse(struct imap_session *session, struct imap_parser *parser, struct store *store)
{
	struct imap_flags flags;

	if (!imap_space(parser) || !imap_sequence_set(parser, &store->set) || !imap_space(parser))
		return false;
	if (imap_try_byte(parser, '(')) {
		if (!imap_try_word(parser, STR("UNCHANGEDSINCE")) || !imap_space(parser) ||
			!imap_number(parser, INT64_MAX, &store->request.unchanged_since) ||
			!imap_try_byte(parser, ')') || !imap_space(parser)) {
			parser->error = "Expected (UNCHANGEDSINCE mod-sequence) or flags";
			return false;
		}
		store->request.conditional = true;
		imap_condstore_enable(session);
	}
	store->request.mode = STORE_REPLACE;
	if (imap_try_byte(parser, '+'))
		store->request.mode = STORE_ADD;
	else if (imap_try_byte(parser, '-'))
		store->request.mode = STORE_REMOVE;
	store->is_silent = imap_try_word(parser, STR("FLAGS.SILENT"));
	if (!store->is_silent && !imap_try_word(parser, STR("FLAGS"))) {
		parser->error = "Expected FLAGS";
		return false;
	}
	if (!imap_space(parser) || !imap_flag_list(parser, true, &flags) || !imap_end(parser))
		return false;
	store->request.system_flags = flags.system;
	store->request.keywords = flags.keywords;
	store->request.keyword_count = flags.keyword_count;
	return true;
}

static bool has_failed(const struct mailbox_op *change, uint32_t uid, uint32_t *at)
{
	while (*at < change->failed_count && change->failed_uids[*at] < uid)
		(*at)++;
	return *at < change->failed_count && change->failed_uids[*at] == uid;
}

/* The new flags of every message of the set; of a silent store only the mod-sequences, where the
 * client has asked for such. */
static void write_results(struct imap_session *session, struct imap_command *command,
	const struct store *store)
{
	uint32_t failed_at = 0;
	for (unsigned i = 0; i < store->set.count; i++) {
		for (uint32_t n = store->set.ranges[i].first; n <= store->set.ranges[i].last; n++) {
			const struct message *message = imap_view_message(session, n);
			if (message && !has_failed(&session->change, message->uid, &failed_at))
				imap_write_flag_update(session, n, message, command->by_uid,
					!store->is_silent);
		}
	}
}

/* "NO/OK [MODIFIED set]": the failed ones, by UID or by sequence number. */
static enum imap_wait reply_modified(struct imap_session *session, struct imap_command *command,
	const struct store *store)
{
	const struct mailbox_op *change = &session->change;
	struct imap_set_writer writer = { .out = &command->reply };
	uint32_t failed_at = 0;

	imap_reply(command, "OK [MODIFIED ");
	for (unsigned i = 0; i < store->set.count; i++) {
		for (uint32_t n = store->set.ranges[i].first; n <= store->set.ranges[i].last; n++) {
			uint32_t uid = session->view.uids[n - 1];
			if (has_failed(change, uid, &failed_at))
				imap_write_set_add(&writer, command->by_uid ? uid : n);
		}
	}
	imap_write_set_end(&writer);
	buf_append_literal(&command->reply, "] Some messages were changed meanwhile");
	return IMAP_DONE;
}

static enum imap_wait store_done(struct imap_session *session, struct imap_command *command)
{
	struct store *store = command->state;
	const struct mailbox_op *change = &session->change;

	if (change->status == -E2BIG)
		return imap_reply(command, "NO [LIMIT] The folder's messages have %d keywords",
			FOLDER_KEYWORDS_MAX);
	if (change->status)
		return imap_no_status(command, change->status);
	const struct folder *folder = session->mailbox.folder;
	if (session->view.seen_keyword != folder->keyword_counter) {
		imap_write_folder_flags(session, folder);
		session->view.seen_keyword = folder->keyword_counter;
	}
	/* What the client believes is not what is stored. */
	if (change->keywords_dropped)
		store->is_silent = false;
	if (!store->is_silent || session->is_condstore)
		write_results(session, command, store);
	/* Told already, or not wanted. */
	session->view.own_modseq = change->modseq;
	if (change->failed_count)
		return reply_modified(session, command, store);
	if (change->keywords_dropped)
		return imap_reply(command, "OK Stored but for new keywords: the folder's messages "
			"have %d already", FOLDER_KEYWORDS_MAX);
	return imap_reply(command, store->misses_some ?
		"OK [EXPUNGEISSUED] Some of the messages no longer exist" : "OK Stored");
}

enum imap_wait cmd_store(struct imap_session *session, struct imap_command *command)
{
	struct store *store = pool_alloc(command->pool, sizeof(*store));

	if (!parse(session, &command->parser, store) ||
		!imap_view_resolve(session, command, &store->set))
		return imap_bad(command);
	if (session->is_read_only)
		return imap_reply(command, "NO [READ-ONLY] The folder is selected read-only");
	store->request.uids = imap_view_uids(session, command, &store->set, &store->request.count);
	/* RFC 2180 section 4.2: those that are left get their flags. */
	store->misses_some =
		!command->by_uid && store->request.count != imap_set_size(&store->set);
	if (!store->request.count && store->misses_some)
		return imap_reply(command, "%s [EXPUNGEISSUED] The messages no longer exist",
			store->is_silent ? "OK" : "NO");
	if (!store->request.count)
		return imap_reply(command, "OK No messages found");
	command->state = store;
	command->resume = store_done;
	mailbox_store(session->mailbox.folder, &store->request, imap_change(session));
	return IMAP_WAIT_CHANGE;
}
