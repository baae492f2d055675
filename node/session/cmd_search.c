/* SEARCH and UID SEARCH: RFC 3501 section 6.4.4, RFC 4731 (ESEARCH), RFC 5032
 * (WITHIN), RFC 7162. */

#include "core/clock.h"
#include "node/session/imap_view.h"
#include "proto/mail/imap_write.h"
#include "proto/mail/search.h"

enum {
	/* Messages decided by the index between two looks at the clock; one that was read may be
	 * large. */
	MESSAGES_PER_SLICE = 64,
};

struct search_command {
	struct imap_search program;
	struct search *search;
	uint64_t keyword_counter; /* of the folder, when its keywords were looked up */
	uint32_t sequence;  /* the next to look at */
	bool has_verdict_of_index;
	enum search_verdict verdict;
	uint32_t *found;    /* sequence numbers or UIDs, rising */
	uint32_t found_count;
	/* Of all that were found, of the first, of the last. */
	uint64_t highest_modseq, first_modseq, last_modseq;
	bool failed;        /* some message could not be read */
};

static void resolve_keys(struct imap_session *session, struct imap_search *program)
{
	const struct imap_view *view = &session->view;

	for (unsigned i = 0; i < program->key_count; i++) {
		struct imap_search_key *key = &program->keys[i];
		if (key->op == IMAP_SEARCH_UID)
			imap_set_resolve(&key->set, view->count ? view->uids[view->count - 1] : 0);
		else if (key->op == IMAP_SEARCH_SEQUENCE)
			imap_set_resolve(&key->set, view->count);
	}
}

/* Again when the folder's keywords have changed on the way: a bit may stand for another then. */
static void resolve_keywords(struct imap_session *session, struct search_command *state)
{
	const struct folder *folder = session->mailbox.folder;

	for (unsigned i = 0; i < state->program.key_count; i++) {
		struct imap_search_key *key = &state->program.keys[i];
		if (key->op != IMAP_SEARCH_KEYWORD)
			continue;
		key->number = 0;
		for (unsigned k = 0; k < folder->keyword_count; k++)
			if (str_equal_ignore_case(folder->keywords[k], key->text))
				key->number = 1ull << (MESSAGE_KEYWORD_SHIFT + k);
	}
	state->keyword_counter = folder->keyword_counter;
}

/* MODSEQ tells of what is returned: of the first and last message when only these are (RFC 4731
 * section 3.2). */
static uint64_t returned_modseq(const struct search_command *state)
{
	unsigned returns = state->program.returns;
	uint64_t modseq = 0;

	if (returns & (IMAP_RETURN_ALL | IMAP_RETURN_COUNT))
		return state->highest_modseq;
	if (returns & IMAP_RETURN_MIN)
		modseq = state->first_modseq;
	if ((returns & IMAP_RETURN_MAX) && state->last_modseq > modseq)
		modseq = state->last_modseq;
	return modseq;
}

static void write_esearch(struct imap_session *session, struct imap_command *command,
	const struct search_command *state)
{
	struct buf *out = &session->out;
	unsigned returns = state->program.returns;

	buf_append_literal(out, "* ESEARCH (TAG ");
	imap_write_string(out, command->tag);
	buf_append_byte(out, ')');
	if (command->by_uid)
		buf_append_literal(out, " UID");
	if (state->found_count) {
		if (returns & IMAP_RETURN_MIN)
			buf_printf(out, " MIN %u", state->found[0]);
		if (returns & IMAP_RETURN_MAX)
			buf_printf(out, " MAX %u", state->found[state->found_count - 1]);
		if (returns & IMAP_RETURN_ALL) {
			struct imap_set_writer writer = { .out = out };
			buf_append_literal(out, " ALL ");
			for (uint32_t i = 0; i < state->found_count; i++)
				imap_write_set_add(&writer, state->found[i]);
			imap_write_set_end(&writer);
		}
	}
	if (returns & IMAP_RETURN_COUNT)
		buf_printf(out, " COUNT %u", state->found_count);
	if (state->program.uses_modseq && state->found_count)
		buf_printf(out, " MODSEQ %llu", (unsigned long long)returned_modseq(state));
	buf_append_literal(out, "\r\n");
}

static void write_search(struct imap_session *session, const struct search_command *state)
{
	struct buf *out = &session->out;

	buf_append_literal(out, "* SEARCH");
	for (uint32_t i = 0; i < state->found_count; i++) {
		buf_append_byte(out, ' ');
		imap_write_number(out, state->found[i]);
	}
	if (state->program.uses_modseq && state->found_count)
		buf_printf(out, " (MODSEQ %llu)", (unsigned long long)state->highest_modseq);
	buf_append_literal(out, "\r\n");
}

static enum imap_wait finish(struct imap_session *session, struct imap_command *command,
	const struct search_command *state)
{
	if (state->program.is_extended)
		write_esearch(session, command, state);
	else
		write_search(session, state);
	if (state->failed)
		return imap_reply(command, "NO [CORRUPTION] Some messages could not be read");
	return imap_reply(command, "OK Done");
}

/* The header where it is cheapest: the whole small message, or the summary of a large one. False
 * while a read is under way. */
static bool decide_by_header(struct imap_session *session, struct search_command *state,
	const struct message *message)
{
	struct summary summary;

	if (message->size > SUMMARY_WHOLE_READ_MAX) {
		if (!imap_read_summary(session, message))
			return false;
		if (session->summary_read.bytes &&
			summary_decode(bytes_str(session->summary_read.bytes), &summary) &&
			summary.has_header) {
			state->verdict = search_header(state->search, summary.header);
			return true;
		}
	}
	if (!imap_read_body(session, message))
		return false;
	state->failed |= !session->body_read.bytes;
	state->verdict = !session->body_read.bytes ? SEARCH_NO :
		search_header(state->search, mime_header_of(bytes_str(session->body_read.bytes)));
	return true;
}

static bool decide_by_body(struct imap_session *session, struct search_command *state,
	const struct message *message)
{
	struct summary summary;
	struct buf made = { 0 };

	if (!imap_read_body(session, message) || !imap_read_summary(session, message))
		return false;
	if (!session->body_read.bytes) {
		state->failed = true;
		state->verdict = SEARCH_NO;
		return true;
	}
	struct str body = bytes_str(session->body_read.bytes);
	if (!session->summary_read.bytes ||
		!summary_decode(bytes_str(session->summary_read.bytes), &summary) ||
		summary.message_length != body.length) {
		/* A damaged summary costs the parsing that it was to save. */
		summary_encode(body, &made);
		CHECK(summary_decode(buf_str(&made), &summary));
	}
	state->verdict = search_body(state->search, &summary, body);
	buf_deinit(&made);
	return true;
}

/* The message's verdict from what must be read; false while a read is under way. */
static bool decide(struct imap_session *session, struct search_command *state,
	const struct message *message)
{
	if (state->verdict == SEARCH_NEEDS_HEADER && !decide_by_header(session, state, message))
		return false;
	return state->verdict != SEARCH_NEEDS_BODY || decide_by_body(session, state, message);
}

static enum search_verdict ask_index(struct imap_session *session, struct search_command *state,
	const struct message *message)
{
	struct search_facts facts = {
		.sequence = state->sequence,
		.uid = message->uid,
		.size = message->size,
		.flags = message->flags,
		.modseq = message->modseq,
		.internal_date_s = message->internal_date_s,
		.is_recent = imap_view_is_recent(&session->view, message->uid),
	};
	if (state->keyword_counter != session->mailbox.folder->keyword_counter)
		resolve_keywords(session, state);
	return search_index(state->search, &facts);
}

static void note_modseq(struct search_command *state, uint64_t modseq)
{
	if (state->found_count == 1)
		state->first_modseq = modseq;
	state->last_modseq = modseq;
	if (modseq > state->highest_modseq)
		state->highest_modseq = modseq;
}

static enum imap_wait search_on(struct imap_session *session, struct imap_command *command)
{
	struct search_command *state = command->state;

	for (unsigned looked = 1; state->sequence <= session->view.count; looked++) {
		const struct message *message = imap_view_message(session, state->sequence);
		bool reads = false;
		if (message) {
			if (!state->has_verdict_of_index)
				state->verdict = ask_index(session, state, message);
			state->has_verdict_of_index = true;
			reads = state->verdict == SEARCH_NEEDS_HEADER ||
				state->verdict == SEARCH_NEEDS_BODY;
			if (reads && !decide(session, state, message))
				return IMAP_WAIT_READ;
			if (reads)
				imap_reads_release(session);
			if (state->verdict == SEARCH_YES) {
				state->found[state->found_count++] =
					command->by_uid ? message->uid : state->sequence;
				note_modseq(state, message->modseq);
			}
		}
		state->has_verdict_of_index = false;
		state->sequence++;
		if (reads || looked % MESSAGES_PER_SLICE == 0) {
			enum imap_wait wait = imap_pause(session, command);
			if (wait != IMAP_DONE)
				return wait;
		}
	}
	return finish(session, command, state);
}

static void search_release(struct imap_session *session, struct imap_command *command)
{
	(void)command;
	imap_reads_release(session);
}

enum imap_wait cmd_search(struct imap_session *session, struct imap_command *command)
{
	struct imap_parser *parser = &command->parser;
	struct search_command *state = pool_alloc(command->pool, sizeof(*state));

	if (!imap_space(parser) || !imap_search_program(parser, &state->program) ||
		!imap_end(parser))
		return imap_bad(command);
	resolve_keys(session, &state->program);
	resolve_keywords(session, state);
	state->search = search_create(command->pool, &state->program, clock_wall_us() / 1000000);
	if (!state->search)
		return imap_reply(command, "NO [BADCHARSET] Unknown charset");
	if (state->program.uses_modseq)
		imap_condstore_enable(session);
	state->sequence = 1;
	state->found = pool_alloc(command->pool, (session->view.count + 1) * sizeof(*state->found));
	command->state = state;
	command->resume = search_on;
	command->release = search_release;
	return search_on(session, command);
}
