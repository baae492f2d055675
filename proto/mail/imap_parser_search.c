#include "proto/mail/imap_parser.h"

/* A parenthesis, NOT or OR whose operands are being read. */
struct frame {
	enum imap_search_op op; /* AND: a list of any length */
	unsigned operands;
};

struct search_parser {
	struct imap_parser *parser;
	struct imap_search *search;
	struct frame *frames;
	unsigned depth;
	unsigned frame_capacity, key_capacity;
};

enum argument {
	ARG_NONE,
	ARG_TEXT,
	ARG_DATE,
	ARG_NUMBER,
	ARG_SET,
	ARG_ATOM,
	ARG_FIELD,
	ARG_MODSEQ
};

static const struct key_name {
	struct str name;
	enum imap_search_op op;
	enum argument argument;
	uint64_t flag;
	bool negates;
	const char *field;
} key_names[] = {
	{ { "ALL", 3 }, IMAP_SEARCH_ALL, ARG_NONE, 0, false, NULL },
	{ { "ANSWERED", 8 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_ANSWERED, false, NULL },
	{ { "BCC", 3 }, IMAP_SEARCH_HEADER, ARG_TEXT, 0, false, "Bcc" },
	{ { "BEFORE", 6 }, IMAP_SEARCH_BEFORE, ARG_DATE, 0, false, NULL },
	{ { "BODY", 4 }, IMAP_SEARCH_BODY, ARG_TEXT, 0, false, NULL },
	{ { "CC", 2 }, IMAP_SEARCH_HEADER, ARG_TEXT, 0, false, "Cc" },
	{ { "DELETED", 7 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_DELETED, false, NULL },
	{ { "DRAFT", 5 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_DRAFT, false, NULL },
	{ { "FLAGGED", 7 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_FLAGGED, false, NULL },
	{ { "FROM", 4 }, IMAP_SEARCH_HEADER, ARG_TEXT, 0, false, "From" },
	{ { "HEADER", 6 }, IMAP_SEARCH_HEADER, ARG_FIELD, 0, false, NULL },
	{ { "KEYWORD", 7 }, IMAP_SEARCH_KEYWORD, ARG_ATOM, 0, false, NULL },
	{ { "LARGER", 6 }, IMAP_SEARCH_LARGER, ARG_NUMBER, 0, false, NULL },
	{ { "MODSEQ", 6 }, IMAP_SEARCH_MODSEQ, ARG_MODSEQ, 0, false, NULL },
	{ { "NEW", 3 }, IMAP_SEARCH_NEW, ARG_NONE, 0, false, NULL },
	{ { "OLD", 3 }, IMAP_SEARCH_RECENT, ARG_NONE, 0, true, NULL },
	{ { "OLDER", 5 }, IMAP_SEARCH_OLDER, ARG_NUMBER, 0, false, NULL },
	{ { "ON", 2 }, IMAP_SEARCH_ON, ARG_DATE, 0, false, NULL },
	{ { "RECENT", 6 }, IMAP_SEARCH_RECENT, ARG_NONE, 0, false, NULL },
	{ { "SEEN", 4 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_SEEN, false, NULL },
	{ { "SENTBEFORE", 10 }, IMAP_SEARCH_SENTBEFORE, ARG_DATE, 0, false, NULL },
	{ { "SENTON", 6 }, IMAP_SEARCH_SENTON, ARG_DATE, 0, false, NULL },
	{ { "SENTSINCE", 9 }, IMAP_SEARCH_SENTSINCE, ARG_DATE, 0, false, NULL },
	{ { "SINCE", 5 }, IMAP_SEARCH_SINCE, ARG_DATE, 0, false, NULL },
	{ { "SMALLER", 7 }, IMAP_SEARCH_SMALLER, ARG_NUMBER, 0, false, NULL },
	{ { "SUBJECT", 7 }, IMAP_SEARCH_HEADER, ARG_TEXT, 0, false, "Subject" },
	{ { "TEXT", 4 }, IMAP_SEARCH_TEXT, ARG_TEXT, 0, false, NULL },
	{ { "TO", 2 }, IMAP_SEARCH_HEADER, ARG_TEXT, 0, false, "To" },
	{ { "UID", 3 }, IMAP_SEARCH_UID, ARG_SET, 0, false, NULL },
	{ { "UNANSWERED", 10 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_ANSWERED, true, NULL },
	{ { "UNDELETED", 9 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_DELETED, true, NULL },
	{ { "UNDRAFT", 7 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_DRAFT, true, NULL },
	{ { "UNFLAGGED", 9 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_FLAGGED, true, NULL },
	{ { "UNKEYWORD", 9 }, IMAP_SEARCH_KEYWORD, ARG_ATOM, 0, true, NULL },
	{ { "UNSEEN", 6 }, IMAP_SEARCH_FLAG, ARG_NONE, IMAP_FLAG_SEEN, true, NULL },
	{ { "YOUNGER", 7 }, IMAP_SEARCH_YOUNGER, ARG_NUMBER, 0, false, NULL },
};

static bool fail(struct imap_parser *parser, const char *error)
{
	parser->error = error;
	return false;
}

/* Room for one more entry in a pool array that doubles. */
static void *grow(struct pool *pool, void *entries, unsigned count, unsigned *capacity, size_t size)
{
	if (count < *capacity)
		return entries;
	*capacity = *capacity ? *capacity * 2 : 8;
	void *larger = pool_alloc(pool, *capacity * size);
	if (count)
		memcpy(larger, entries, count * size);
	return larger;
}

static struct imap_search_key *emit(struct search_parser *state, enum imap_search_op op)
{
	struct imap_search *search = state->search;
	if (search->key_count == IMAP_SEARCH_KEYS_MAX) {
		fail(state->parser, "Too many search keys");
		return NULL;
	}
	search->keys = grow(state->parser->pool, search->keys, search->key_count,
		&state->key_capacity, sizeof(*search->keys));
	struct imap_search_key *key = &search->keys[search->key_count++];
	*key = (struct imap_search_key){ .op = op };
	return key;
}

static bool push(struct search_parser *state, enum imap_search_op op)
{
	if (state->depth == IMAP_SEARCH_DEPTH_MAX)
		return fail(state->parser, "Search too deep");
	state->frames = grow(state->parser->pool, state->frames, state->depth,
		&state->frame_capacity, sizeof(*state->frames));
	state->frames[state->depth++] = (struct frame){ .op = op };
	return true;
}

/* MODSEQ ["/flags/name" all|priv|shared] number (RFC 7162 section 3.1.5). The per-flag form may be
 * answered with the message's one mod-sequence. */
static bool modseq_argument(struct imap_parser *parser, struct imap_search_key *key)
{
	struct str entry;
	if (parser->at < parser->text.length && parser->text.bytes[parser->at] == '"') {
		if (!imap_string(parser, &entry) || !imap_space(parser) ||
			!(imap_try_word(parser, STR("all")) || imap_try_word(parser, STR("priv")) ||
				imap_try_word(parser, STR("shared"))) || !imap_space(parser))
			return fail(parser, "Invalid MODSEQ search key");
	}
	return imap_number(parser, INT64_MAX, &key->number);
}

static bool argument_of(struct search_parser *state, const struct key_name *name,
	struct imap_search_key *key)
{
	struct imap_parser *parser = state->parser;
	if (name->argument != ARG_NONE && !imap_space(parser))
		return false;
	switch (name->argument) {
	case ARG_NONE: return true;
	case ARG_TEXT: return imap_astring(parser, &key->text);
	case ARG_DATE: return imap_date(parser, &key->days);
	case ARG_NUMBER: return imap_number(parser, UINT32_MAX, &key->number);
	case ARG_SET: return imap_sequence_set(parser, &key->set);
	case ARG_ATOM: return imap_atom(parser, &key->text);
	case ARG_FIELD:
		return imap_astring(parser, &key->field) && imap_space(parser) &&
			imap_astring(parser, &key->text);
	case ARG_MODSEQ:
		state->search->uses_modseq = true;
		return modseq_argument(parser, key);
	}
	return false;
}

static bool named_key(struct search_parser *state)
{
	for (size_t i = 0; i < array_length(key_names); i++) {
		const struct key_name *name = &key_names[i];
		if (!imap_try_word(state->parser, name->name))
			continue;
		struct imap_search_key *key = emit(state, name->op);
		if (!key || !argument_of(state, name, key))
			return false;
		if (name->flag)
			key->number = name->flag;
		if (name->field)
			key->field = str_from(name->field);
		return !name->negates || emit(state, IMAP_SEARCH_NOT);
	}
	char first = state->parser->at < state->parser->text.length ?
		state->parser->text.bytes[state->parser->at] : 0;
	if (first != '*' && !ascii_is_digit(first))
		return fail(state->parser, "Unknown search key");
	struct imap_search_key *key = emit(state, IMAP_SEARCH_SEQUENCE);
	return key && imap_sequence_set(state->parser, &key->set);
}

/* Opens frames until a key is complete. */
static bool read_key(struct search_parser *state)
{
	struct imap_parser *parser = state->parser;
	for (;;) {
		if (imap_try_byte(parser, '(')) {
			if (!push(state, IMAP_SEARCH_AND))
				return false;
		} else if (imap_try_word(parser, STR("NOT"))) {
			if (!imap_space(parser) || !push(state, IMAP_SEARCH_NOT))
				return false;
		} else if (imap_try_word(parser, STR("OR"))) {
			if (!imap_space(parser) || !push(state, IMAP_SEARCH_OR))
				return false;
		} else {
			return named_key(state);
		}
	}
}

/* Hands a completed operand to the frames around it. True with *more_out: another key follows. */
static bool finish_key(struct search_parser *state, bool *more_out)
{
	struct imap_parser *parser = state->parser;
	*more_out = true;
	for (;;) {
		struct frame *frame = &state->frames[state->depth - 1];
		frame->operands++;
		if (frame->op == IMAP_SEARCH_NOT) {
			if (!emit(state, IMAP_SEARCH_NOT))
				return false;
		} else if (frame->op == IMAP_SEARCH_OR) {
			if (frame->operands == 1)
				return imap_space(parser);
			if (!emit(state, IMAP_SEARCH_OR))
				return false;
		} else {
			if (frame->operands > 1 && !emit(state, IMAP_SEARCH_AND))
				return false;
			if (state->depth == 1) {
				while (imap_try_byte(parser, ' '))
					continue;
				*more_out = !imap_at_end(parser);
				return true;
			}
			if (imap_try_byte(parser, ' '))
				return true;
			if (!imap_try_byte(parser, ')'))
				return fail(parser, "Search list without an end");
		}
		state->depth--;
	}
}

static bool return_options(struct imap_parser *parser, struct imap_search *search)
{
	static const struct {
		struct str name;
		unsigned option;
	} options[] = {
		{ { "MIN", 3 }, IMAP_RETURN_MIN }, { { "MAX", 3 }, IMAP_RETURN_MAX },
		{ { "ALL", 3 }, IMAP_RETURN_ALL }, { { "COUNT", 5 }, IMAP_RETURN_COUNT },
	};
	search->is_extended = true;
	if (!imap_space(parser) || !imap_try_byte(parser, '('))
		return fail(parser, "Expected return options");
	while (!imap_try_byte(parser, ')')) {
		size_t i = 0;
		while (i < array_length(options) && !imap_try_word(parser, options[i].name))
			i++;
		if (i == array_length(options))
			return fail(parser, "Unknown return option");
		search->returns |= options[i].option;
		imap_try_byte(parser, ' ');
	}
	if (!search->returns)
		search->returns = IMAP_RETURN_ALL;
	return imap_space(parser);
}

bool imap_search_program(struct imap_parser *parser, struct imap_search *search_out)
{
	struct search_parser state = { .parser = parser, .search = search_out };
	bool more = true;

	*search_out = (struct imap_search){ 0 };
	if (imap_try_word(parser, STR("RETURN")) && !return_options(parser, search_out))
		return false;
	if (imap_try_word(parser, STR("CHARSET")) && (!imap_space(parser) ||
		!imap_astring(parser, &search_out->charset) || !imap_space(parser)))
		return false;
	if (!push(&state, IMAP_SEARCH_AND))
		return false;
	while (more)
		if (!read_key(&state) || !finish_key(&state, &more))
			return false;
	return true;
}
