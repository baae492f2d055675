/*
 * FETCH and UID FETCH: RFC 3501 section 6.4.5, RFC 7162 section 3.1.4. A state machine that stops
 * between messages: for a read from disk, for a slow client, or to give other sessions their turn.
 */

#include "node/session/imap_fetch.h"
#include "proto/mail/imap_write.h"

#include <errno.h>

enum {
	/* Between two looks at the clock: some hundred microseconds of flags, or one large body. */
	MESSAGES_PER_SLICE = 32,
	/* Shorter pieces of a body are copied behind what stands in the output; longer ones are
	 * sent from where they are. */
	COPY_LENGTH_MAX = 8 << 10,
};

/* Marks what a non-peeking section reads; runs beside the sending. */
static void mark_seen(struct imap_session *session, struct imap_command *command,
	const struct fetch *fetch)
{
	uint32_t *uids =
		pool_alloc(command->pool, (imap_set_size(&fetch->set) + 1) * sizeof(*uids));
	uint32_t count = 0;

	for (unsigned i = 0; i < fetch->set.count; i++) {
		for (uint32_t n = fetch->set.ranges[i].first; n <= fetch->set.ranges[i].last; n++) {
			const struct message *message = imap_view_message(session, n);
			if (message && !(message->flags & MESSAGE_SEEN) &&
				message->modseq > fetch->changed_since)
				uids[count++] = message->uid;
		}
	}
	if (!count)
		return;
	struct store_request request = {
		.uids = uids, .count = count, .mode = STORE_ADD, .system_flags = MESSAGE_SEEN,
	};
	mailbox_store(session->mailbox.folder, &request, imap_change(session));
}

/* Between the items of a response. */
static void separate(struct buf *out, bool *any)
{
	if (*any)
		buf_append_byte(out, ' ');
	*any = true;
}

static void write_number_item(struct buf *out, bool *any, struct str name, uint64_t number)
{
	separate(out, any);
	buf_append_str(out, name);
	buf_append_byte(out, ' ');
	imap_write_number(out, number);
}

static void write_items(struct imap_session *session, const struct fetch *fetch,
	const struct message *message, bool *any)
{
	struct buf *out = &session->out;
	unsigned items = fetch->attributes.items;

	buf_append_literal(out, "* ");
	imap_write_number(out, fetch->sequence);
	buf_append_literal(out, " FETCH (");
	if (items & IMAP_FETCH_UID)
		write_number_item(out, any, STR("UID"), message->uid);
	if (items & IMAP_FETCH_FLAGS) {
		separate(out, any);
		buf_append_literal(out, "FLAGS ");
		imap_write_flags(out, session->mailbox.folder, message->flags,
			imap_view_is_recent(&session->view, message->uid));
	}
	if (items & IMAP_FETCH_INTERNALDATE) {
		separate(out, any);
		buf_append_literal(out, "INTERNALDATE ");
		imap_write_date_time(out, message->internal_date_s);
	}
	if (items & IMAP_FETCH_SIZE)
		write_number_item(out, any, STR("RFC822.SIZE"), message->size);
	if (items & IMAP_FETCH_MODSEQ) {
		separate(out, any);
		buf_append_literal(out, "MODSEQ (");
		imap_write_number(out, message->modseq);
		buf_append_byte(out, ')');
	}
}

static void write_structure_items(struct buf *out, unsigned items, const struct summary *summary,
	bool *any)
{
	if (items & IMAP_FETCH_ENVELOPE) {
		separate(out, any);
		buf_append_literal(out, "ENVELOPE ");
		buf_append_str(out, summary->envelope);
	}
	if (items & IMAP_FETCH_BODY) {
		separate(out, any);
		buf_append_literal(out, "BODY ");
		summary_write_body(summary, out);
	}
	if (items & IMAP_FETCH_BODYSTRUCTURE) {
		separate(out, any);
		buf_append_literal(out, "BODYSTRUCTURE ");
		buf_append_str(out, summary->structure);
	}
}

/* One section as a literal; bytes of the body go out without being copied when they are many. */
static void write_section(struct imap_session *session, const struct imap_section *section,
	const struct fetch_source *source)
{
	struct buf *out = &session->out;
	struct buf scratch = { 0 };
	struct str text;

	buf_append_str(out, section->label);
	if (!fetch_section_text(section, source, &scratch, &text)) {
		buf_append_literal(out, " NIL");
		return;
	}
	if (section->is_partial)
		text = str_first(str_from_index(text, (size_t)section->partial_offset),
			(size_t)section->partial_length);
	buf_append_literal(out, " {");
	imap_write_number(out, text.length);
	buf_append_literal(out, "}\r\n");
	if (text.length <= COPY_LENGTH_MAX || buf_length(&scratch) || !source->body) {
		buf_append_str(out, text);
	} else {
		imap_flush(session);
		stream_write_bytes(session->stream, source->body,
			(size_t)(text.bytes - source->body->data), text.length);
	}
	buf_deinit(&scratch);
}

/* Sends one message, all reads for it being done. */
static void write_message(struct imap_session *session, struct fetch *fetch,
	const struct message *message)
{
	struct fetch_source source = { .body = session->body_read.bytes };
	struct bytes *encoded = session->summary_read.bytes;
	struct buf made = { 0 };
	bool any = false;

	source.has_summary = encoded && summary_decode(bytes_str(encoded), &source.summary);
	if (fetch->needs_summary && !source.has_summary && source.body) {
		/* A damaged summary costs the parsing that it was to save. */
		summary_encode(bytes_str(source.body), &made);
		source.has_summary = summary_decode(buf_str(&made), &source.summary);
	}
	write_items(session, fetch, message, &any);
	if (source.has_summary)
		write_structure_items(
			&session->out, fetch->attributes.items, &source.summary, &any);
	for (unsigned i = 0; i < fetch->attributes.section_count; i++) {
		separate(&session->out, &any);
		write_section(session, &fetch->attributes.sections[i], &source);
	}
	buf_append_literal(&session->out, ")\r\n");
	buf_deinit(&made);
}

/* Sees to it that what this message needs is read; false while a read is under way. *failed_out: it
 * cannot be read. */
static bool read_needed(struct imap_session *session, struct fetch *fetch,
	const struct message *message, bool *failed_out)
{
	bool needs_body = fetch->needs_body;
	struct summary summary;

	*failed_out = false;
	if (fetch->needs_summary ||
		(fetch->needs_header && !needs_body && message->size > SUMMARY_WHOLE_READ_MAX)) {
		if (!imap_read_summary(session, message))
			return false;
		bool is_valid = session->summary_read.bytes &&
			summary_decode(bytes_str(session->summary_read.bytes), &summary);
		needs_body |= !is_valid || (fetch->needs_header && !summary.has_header);
	} else {
		needs_body |= fetch->needs_header;
	}
	if (!needs_body)
		return true;
	if (!imap_read_body(session, message))
		return false;
	*failed_out = !session->body_read.bytes;
	return true;
}

static enum imap_wait finish(struct imap_session *session, struct imap_command *command,
	const struct fetch *fetch)
{
	(void)session;
	if (fetch->failed)
		return imap_reply(command, "NO [CORRUPTION] Some messages could not be read");
	if (fetch->skipped)
		return imap_reply(command, "OK [EXPUNGEISSUED] Some messages no longer exist");
	return imap_reply(command, "OK Done");
}

/* After the last message: the \Seen flags must be stored before the client is told all is done. */
static enum imap_wait wait_for_seen(struct imap_session *session, struct imap_command *command)
{
	if (session->change_in_flight)
		return IMAP_WAIT_CHANGE;
	return finish(session, command, command->state);
}

static bool next_sequence(struct fetch *fetch)
{
	if (fetch->range < fetch->set.count &&
		fetch->sequence < fetch->set.ranges[fetch->range].last) {
		fetch->sequence++;
		return true;
	}
	if (++fetch->range >= fetch->set.count)
		return false;
	fetch->sequence = fetch->set.ranges[fetch->range].first;
	return true;
}

static enum imap_wait fetch_on(struct imap_session *session, struct imap_command *command)
{
	struct fetch *fetch = command->state;
	bool more = fetch->range < fetch->set.count;

	for (unsigned done = 1; more; done++) {
		const struct message *message = imap_view_message(session, fetch->sequence);
		bool failed = false;
		if (!message) {
			fetch->skipped = true;
		} else if (message->modseq > fetch->changed_since) {
			if (!read_needed(session, fetch, message, &failed))
				return IMAP_WAIT_READ;
			fetch->failed |= failed;
			if (!failed)
				write_message(session, fetch, message);
			imap_reads_release(session);
		}
		more = next_sequence(fetch);
		if (more &&
			(fetch->needs_body || fetch->needs_header ||
				done % MESSAGES_PER_SLICE == 0)) {
			enum imap_wait wait = imap_pause(session, command);
			if (wait != IMAP_DONE)
				return wait;
		}
	}
	command->resume = wait_for_seen;
	return wait_for_seen(session, command);
}

static bool parse_modifiers(struct imap_session *session, struct imap_parser *parser,
	struct fetch *fetch)
{
	if (!imap_try_byte(parser, ' '))
		return true;
	if (!imap_try_byte(parser, '(') || !imap_try_word(parser, STR("CHANGEDSINCE")) ||
		!imap_space(parser) || !imap_number(parser, INT64_MAX, &fetch->changed_since) ||
		!imap_try_byte(parser, ')')) {
		parser->error = "Expected (CHANGEDSINCE mod-sequence) or nothing";
		return false;
	}
	fetch->attributes.items |= IMAP_FETCH_MODSEQ;
	imap_condstore_enable(session);
	return true;
}

static void fetch_release(struct imap_session *session, struct imap_command *command)
{
	(void)command;
	imap_reads_release(session);
}

enum imap_wait cmd_fetch(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct fetch *fetch = pool_alloc(command->pool, sizeof(*fetch));

	if (!imap_space(parser) || !imap_sequence_set(parser, &fetch->set) || !imap_space(parser) ||
		!imap_fetch_attributes(parser, &fetch->attributes) ||
		!parse_modifiers(session, parser, fetch) || !imap_end(parser) ||
		!imap_view_resolve(session, command, &fetch->set))
		return imap_bad(command);
	if (command->by_uid)
		fetch->attributes.items |= IMAP_FETCH_UID;
	if (fetch->attributes.items & IMAP_FETCH_MODSEQ)
		imap_condstore_enable(session);
	fetch_plan(fetch);
	if (fetch->set.count)
		fetch->sequence = fetch->set.ranges[0].first;
	if (fetch->sets_seen && !session->is_read_only)
		mark_seen(session, command, fetch);
	command->state = fetch;
	command->resume = fetch_on;
	command->release = fetch_release;
	return fetch_on(session, command);
}
