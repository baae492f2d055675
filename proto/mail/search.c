#include "proto/mail/search.h"

#include "proto/mail/charset.h"
#include "proto/mail/mime_address.h"

enum value { VALUE_NO, VALUE_YES, VALUE_OPEN };

struct search {
	const struct imap_search *program;
	struct pool *pool;
	int64_t now_s;
	uint8_t *values; /* of each key; operators unused */
	uint8_t *stack;
	struct text_needle **needles;
	bool has_text_key; /* TEXT, which looks into every header */
};

static bool is_header_key(enum imap_search_op op)
{
	return op == IMAP_SEARCH_HEADER || op == IMAP_SEARCH_SENTBEFORE ||
		op == IMAP_SEARCH_SENTON || op == IMAP_SEARCH_SENTSINCE;
}

static bool is_body_key(enum imap_search_op op)
{
	return op == IMAP_SEARCH_BODY || op == IMAP_SEARCH_TEXT;
}

struct search *search_create(struct pool *pool, const struct imap_search *program, int64_t now_s)
{
	struct search *search = pool_alloc(pool, sizeof(*search));

	if (program->charset.length && !charset_is_known(program->charset))
		return NULL;
	search->program = program;
	search->pool = pool;
	search->now_s = now_s;
	search->values = pool_alloc(pool, program->key_count + 1);
	search->stack = pool_alloc(pool, program->key_count + 1);
	search->needles = pool_alloc(pool, (program->key_count + 1) * sizeof(*search->needles));
	for (unsigned i = 0; i < program->key_count; i++) {
		const struct imap_search_key *key = &program->keys[i];
		if (key->op != IMAP_SEARCH_HEADER && !is_body_key(key->op))
			continue;
		search->has_text_key |= key->op == IMAP_SEARCH_TEXT;
		struct buf text = { 0 };
		charset_to_utf8(program->charset, key->text, &text);
		search->needles[i] = text_needle_create(pool, buf_str(&text));
		buf_deinit(&text);
	}
	return search;
}

static enum value and_of(enum value a, enum value b)
{
	if (a == VALUE_NO || b == VALUE_NO)
		return VALUE_NO;
	return a == VALUE_YES && b == VALUE_YES ? VALUE_YES : VALUE_OPEN;
}

static enum value not_of(enum value a)
{
	return a == VALUE_OPEN ? VALUE_OPEN : a == VALUE_YES ? VALUE_NO : VALUE_YES;
}

/* The program's value with what is known of the keys. */
static enum value run(const struct search *search)
{
	const struct imap_search *program = search->program;
	uint8_t *stack = search->stack;
	unsigned depth = 0;

	for (unsigned i = 0; i < program->key_count; i++) {
		switch (program->keys[i].op) {
		case IMAP_SEARCH_AND:
			depth--;
			stack[depth - 1] = (uint8_t)and_of(stack[depth - 1], stack[depth]);
			break;
		case IMAP_SEARCH_OR:
			depth--;
			stack[depth - 1] = (uint8_t)not_of(
				and_of(not_of(stack[depth - 1]), not_of(stack[depth])));
			break;
		case IMAP_SEARCH_NOT:
			stack[depth - 1] = (uint8_t)not_of(stack[depth - 1]);
			break;
		default:
			stack[depth++] = search->values[i];
			break;
		}
	}
	return stack[0];
}

static enum search_verdict verdict(const struct search *search, enum search_verdict open)
{
	switch (run(search)) {
	case VALUE_NO: return SEARCH_NO;
	case VALUE_YES: return SEARCH_YES;
	case VALUE_OPEN: break;
	}
	return open;
}

static int64_t day_of(int64_t seconds)
{
	return seconds >= 0 ? seconds / 86400 : -((86399 - seconds) / 86400);
}

static bool index_value(const struct search *search, const struct imap_search_key *key,
	const struct search_facts *facts)
{
	int64_t day = day_of(facts->internal_date_s);
	switch (key->op) {
	case IMAP_SEARCH_ALL: return true;
	case IMAP_SEARCH_FLAG:
	case IMAP_SEARCH_KEYWORD: return facts->flags & key->number;
	case IMAP_SEARCH_RECENT: return facts->is_recent;
	case IMAP_SEARCH_NEW: return facts->is_recent && !(facts->flags & IMAP_FLAG_SEEN);
	case IMAP_SEARCH_BEFORE: return day < key->days;
	case IMAP_SEARCH_ON: return day == key->days;
	case IMAP_SEARCH_SINCE: return day >= key->days;
	case IMAP_SEARCH_LARGER: return facts->size > key->number;
	case IMAP_SEARCH_SMALLER: return facts->size < key->number;
	case IMAP_SEARCH_OLDER:
		return facts->internal_date_s <= search->now_s - (int64_t)key->number;
	case IMAP_SEARCH_YOUNGER:
		return facts->internal_date_s >= search->now_s - (int64_t)key->number;
	case IMAP_SEARCH_UID: return imap_set_contains(&key->set, facts->uid);
	case IMAP_SEARCH_SEQUENCE: return imap_set_contains(&key->set, facts->sequence);
	case IMAP_SEARCH_MODSEQ: return facts->modseq >= key->number;
	default: return false;
	}
}

enum search_verdict search_index(struct search *search, const struct search_facts *facts)
{
	const struct imap_search *program = search->program;
	bool asks_header = false;

	for (unsigned i = 0; i < program->key_count; i++) {
		const struct imap_search_key *key = &program->keys[i];
		if (is_header_key(key->op) || is_body_key(key->op)) {
			search->values[i] = VALUE_OPEN;
			asks_header |= key->op != IMAP_SEARCH_BODY;
		} else {
			search->values[i] = index_value(search, key, facts) ? VALUE_YES : VALUE_NO;
		}
	}
	return verdict(search, asks_header ? SEARCH_NEEDS_HEADER : SEARCH_NEEDS_BODY);
}

static bool sent_value(const struct imap_search_key *key, bool has_date, int64_t day)
{
	if (!has_date)
		return false;
	switch (key->op) {
	case IMAP_SEARCH_SENTBEFORE: return day < key->days;
	case IMAP_SEARCH_SENTON: return day == key->days;
	default: return day >= key->days;
	}
}

/* One text of a field against the keys for its value that are still open. */
static void match_value(struct search *search, struct str name, struct str value)
{
	const struct imap_search *program = search->program;
	for (unsigned i = 0; i < program->key_count; i++) {
		const struct imap_search_key *key = &program->keys[i];
		if (key->op == IMAP_SEARCH_HEADER && search->values[i] != VALUE_YES &&
			str_equal_ignore_case(key->field, name) &&
			text_needle_is_in(search->needles[i], value))
			search->values[i] = VALUE_YES;
	}
}

static bool is_address_field(struct str name)
{
	static const struct str names[] = { { "From", 4 }, { "To", 2 }, { "Cc", 2 }, { "Bcc", 3 },
		{ "Sender", 6 }, { "Reply-To", 8 } };
	for (size_t i = 0; i < array_length(names); i++)
		if (str_equal_ignore_case(name, names[i]))
			return true;
	return false;
}

/* Addresses as ENVELOPE has them, which is what RFC 3501 searches: without comments and quotes. */
static void append_addresses(struct str value, struct buf *out)
{
	struct mime_addresses list = { .rest = value };
	struct mime_address address;

	while (mime_next_address(&list, &address)) {
		if (address.kind == MIME_GROUP_END)
			continue;
		charset_decode_header(address.name, out);
		if (address.kind == MIME_MAILBOX) {
			buf_append_literal(out, " <");
			buf_append_str(out, address.mailbox);
			buf_append_byte(out, '@');
			buf_append_str(out, address.domain);
			buf_append_byte(out, '>');
		}
		buf_append_literal(out, ", ");
	}
	mime_addresses_deinit(&list);
}

/* One field, and decoded, against the keys that are still open. TEXT sees its name too. */
static void match_field(struct search *search, const struct mime_header_field *field,
	struct str text)
{
	const struct imap_search *program = search->program;

	for (unsigned i = 0; i < program->key_count; i++)
		if (program->keys[i].op == IMAP_SEARCH_TEXT && search->values[i] != VALUE_YES &&
			text_needle_is_in(search->needles[i], text))
			search->values[i] = VALUE_YES;
	match_value(search, field->name,
		str_trim(str_from_index(text, (size_t)str_find_byte(text, ':') + 1)));
	if (!is_address_field(field->name) || (str_find_byte(field->value, '(') < 0 &&
		str_find_byte(field->value, '"') < 0 && str_find_byte(field->value, '\n') < 0))
		return;
	struct buf addresses = { 0 };
	append_addresses(field->value, &addresses);
	match_value(search, field->name, buf_str(&addresses));
	buf_deinit(&addresses);
}

static bool is_wanted(const struct search *search, struct str name)
{
	const struct imap_search *program = search->program;
	for (unsigned i = 0; i < program->key_count && !search->has_text_key; i++) {
		const struct imap_search_key *key = &program->keys[i];
		if (key->op == IMAP_SEARCH_HEADER && str_equal_ignore_case(key->field, name))
			return true;
	}
	return search->has_text_key;
}

enum search_verdict search_header(struct search *search, struct str header)
{
	const struct imap_search *program = search->program;
	struct mime_header_field field;
	struct buf text = { 0 };
	bool has_date = false;
	int64_t sent_s = 0;
	int zone = 0;

	while (mime_next_field(&header, &field)) {
		if (!has_date && str_equal_ignore_case(field.name, STR("Date")))
			has_date = mime_parse_date(field.value, &sent_s, &zone);
		if (!is_wanted(search, field.name))
			continue;
		buf_clear(&text);
		charset_decode_header(str_trim(field.raw), &text);
		match_field(search, &field, buf_str(&text));
	}
	buf_deinit(&text);
	int64_t day = day_of(sent_s + (int64_t)zone * 60);
	for (unsigned i = 0; i < program->key_count; i++) {
		const struct imap_search_key *key = &program->keys[i];
		if (key->op == IMAP_SEARCH_HEADER && search->values[i] == VALUE_OPEN)
			search->values[i] = VALUE_NO;
		else if (is_header_key(key->op) && key->op != IMAP_SEARCH_HEADER)
			search->values[i] = sent_value(key, has_date, day) ? VALUE_YES : VALUE_NO;
	}
	return verdict(search, SEARCH_NEEDS_BODY);
}

static void match_text(struct search *search, bool only_text_keys, struct str text)
{
	const struct imap_search *program = search->program;
	for (unsigned i = 0; i < program->key_count; i++) {
		bool applies = only_text_keys ? program->keys[i].op == IMAP_SEARCH_TEXT :
			is_body_key(program->keys[i].op);
		if (applies && search->values[i] == VALUE_OPEN &&
			text_needle_is_in(search->needles[i], text))
			search->values[i] = VALUE_YES;
	}
}

/* The header of a message inside is text that its reader is shown: BODY sees it. That of another
 * part, with the names of attachments, is for TEXT. */
static void match_part(struct search *search, const struct summary_part *part,
	bool is_inner_message, struct str message)
{
	struct buf decoded = { 0 }, text = { 0 };

	if (is_inner_message || (part->parent != MIME_NONE && search->has_text_key)) {
		charset_decode_header(str_first(str_from_index(message, part->header_offset),
			part->header_length), &text);
		match_text(search, !is_inner_message, buf_str(&text));
		buf_clear(&text);
	}
	if (part->is_text && part->kind == MIME_LEAF) {
		struct str body =
			str_first(str_from_index(message, part->body_offset), part->body_length);
		mime_decode(part->encoding, body, &decoded);
		charset_to_utf8(part->charset, buf_str(&decoded), &text);
		match_text(search, false, buf_str(&text));
	}
	buf_deinit(&decoded);
	buf_deinit(&text);
}

enum search_verdict search_body(
	struct search *search, const struct summary *summary, struct str message)
{
	const struct imap_search *program = search->program;

	for (unsigned i = 0; i < summary->part_count; i++) {
		struct summary_part part, parent;
		bool is_inner_message = false;
		summary_part(summary, i, &part);
		if (part.parent != MIME_NONE) {
			summary_part(summary, part.parent, &parent);
			is_inner_message = parent.kind == MIME_MESSAGE;
		}
		match_part(search, &part, is_inner_message, message);
	}
	for (unsigned i = 0; i < program->key_count; i++)
		if (is_body_key(program->keys[i].op) && search->values[i] == VALUE_OPEN)
			search->values[i] = VALUE_NO;
	return verdict(search, SEARCH_NO);
}
