#include "proto/mail/imap_parser.h"

#include "proto/mail/imap_write.h"

static bool fail(struct imap_parser *parser, const char *error)
{
	parser->error = error;
	return false;
}

static bool section_fields(struct imap_parser *parser, struct imap_section *section)
{
	unsigned capacity = 1;
	struct str rest = str_from_index(parser->text, parser->at);

	if (!imap_space(parser) || !imap_try_byte(parser, '('))
		return fail(parser, "Expected a list of header fields");
	for (size_t i = 0; i < rest.length && rest.bytes[i] != ')'; i++)
		capacity += rest.bytes[i] == ' ';
	section->fields = pool_alloc(parser->pool, capacity * sizeof(struct str));
	do {
		if (section->field_count == capacity)
			return fail(parser, "Invalid list of header fields");
		if (!imap_astring(parser, &section->fields[section->field_count++]))
			return false;
	} while (imap_try_byte(parser, ' '));
	return imap_try_byte(parser, ')') || fail(parser, "Invalid list of header fields");
}

static bool section_numbers(struct imap_parser *parser, struct imap_section *section)
{
	uint64_t number;
	section->numbers = pool_alloc(parser->pool, IMAP_SECTION_DEPTH_MAX * sizeof(uint32_t));
	do {
		if (!ascii_is_digit(parser->at < parser->text.length ?
				parser->text.bytes[parser->at] : 0))
			return true;
		if (section->number_count == IMAP_SECTION_DEPTH_MAX)
			return fail(parser, "Section too deep");
		if (!imap_number(parser, UINT32_MAX, &number) || !number)
			return fail(parser, "Invalid section");
		section->numbers[section->number_count++] = (uint32_t)number;
	} while (imap_try_byte(parser, '.'));
	section->kind = IMAP_SECTION_WHOLE;
	return true;
}

/* What stands between the brackets. */
static bool section_text(struct imap_parser *parser, struct imap_section *section)
{
	if (imap_try_byte(parser, ']'))
		return true;
	bool needs_kind = true;
	if (!section_numbers(parser, section))
		return false;
	if (section->number_count)
		needs_kind = parser->text.bytes[parser->at - 1] == '.';
	if (needs_kind) {
		if (imap_try_word(parser, STR("HEADER.FIELDS.NOT")))
			section->kind = IMAP_SECTION_FIELDS_NOT;
		else if (imap_try_word(parser, STR("HEADER.FIELDS")))
			section->kind = IMAP_SECTION_FIELDS;
		else if (imap_try_word(parser, STR("HEADER")))
			section->kind = IMAP_SECTION_HEADER;
		else if (imap_try_word(parser, STR("TEXT")))
			section->kind = IMAP_SECTION_TEXT;
		else if (section->number_count && imap_try_word(parser, STR("MIME")))
			section->kind = IMAP_SECTION_MIME;
		else
			return fail(parser, "Invalid section");
		if ((section->kind == IMAP_SECTION_FIELDS ||
			    section->kind == IMAP_SECTION_FIELDS_NOT) &&
			!section_fields(parser, section))
			return false;
	}
	return imap_try_byte(parser, ']') || fail(parser, "Section without an end");
}

static void write_label(struct imap_parser *parser, struct imap_section *section)
{
	static const char *const kinds[] = {
		[IMAP_SECTION_WHOLE] = "",
		[IMAP_SECTION_HEADER] = "HEADER",
		[IMAP_SECTION_FIELDS] = "HEADER.FIELDS",
		[IMAP_SECTION_FIELDS_NOT] = "HEADER.FIELDS.NOT",
		[IMAP_SECTION_TEXT] = "TEXT",
		[IMAP_SECTION_MIME] = "MIME",
	};
	struct buf label = { 0 };

	buf_append_literal(&label, "BODY[");
	for (unsigned i = 0; i < section->number_count; i++)
		buf_printf(&label, i ? ".%u" : "%u", section->numbers[i]);
	if (section->number_count && section->kind != IMAP_SECTION_WHOLE)
		buf_append_byte(&label, '.');
	buf_append_str(&label, str_from(kinds[section->kind]));
	for (unsigned i = 0; i < section->field_count; i++) {
		buf_append_str(&label, i ? STR(" ") : STR(" ("));
		imap_write_astring(&label, section->fields[i]);
	}
	if (section->field_count)
		buf_append_byte(&label, ')');
	buf_append_byte(&label, ']');
	if (section->is_partial)
		buf_printf(&label, "<%llu>", (unsigned long long)section->partial_offset);
	section->label = pool_copy(parser->pool, buf_str(&label));
	buf_deinit(&label);
}

static struct imap_section *section_add(struct imap_parser *parser, struct imap_fetch *fetch)
{
	if (fetch->section_count == IMAP_SECTIONS_MAX) {
		fail(parser, "Too many sections");
		return NULL;
	}
	return &fetch->sections[fetch->section_count++];
}

static bool body_section(struct imap_parser *parser, struct imap_fetch *fetch, bool peeks)
{
	struct imap_section *section = section_add(parser, fetch);
	if (!section || !section_text(parser, section))
		return false;
	section->sets_seen = !peeks;
	if (imap_try_byte(parser, '<')) {
		section->is_partial = true;
		if (!imap_number(parser, UINT32_MAX, &section->partial_offset) ||
			!imap_try_byte(parser, '.') ||
			!imap_number(parser, UINT32_MAX, &section->partial_length) ||
			!section->partial_length || !imap_try_byte(parser, '>'))
			return fail(parser, "Invalid partial range");
	}
	write_label(parser, section);
	return true;
}

static const struct {
	struct str name;
	unsigned items;
} plain_items[] = {
	{ { "FLAGS", 5 }, IMAP_FETCH_FLAGS },
	{ { "UID", 3 }, IMAP_FETCH_UID },
	{ { "INTERNALDATE", 12 }, IMAP_FETCH_INTERNALDATE },
	{ { "RFC822.SIZE", 11 }, IMAP_FETCH_SIZE },
	{ { "ENVELOPE", 8 }, IMAP_FETCH_ENVELOPE },
	{ { "BODYSTRUCTURE", 13 }, IMAP_FETCH_BODYSTRUCTURE },
	{ { "MODSEQ", 6 }, IMAP_FETCH_MODSEQ },
};

static const struct {
	struct str name;
	enum imap_section_kind kind;
	bool sets_seen;
} old_sections[] = {
	{ { "RFC822.HEADER", 13 }, IMAP_SECTION_HEADER, false },
	{ { "RFC822.TEXT", 11 }, IMAP_SECTION_TEXT, true },
	{ { "RFC822", 6 }, IMAP_SECTION_WHOLE, true },
};

static bool attribute(struct imap_parser *parser, struct imap_fetch *fetch)
{
	for (size_t i = 0; i < array_length(plain_items); i++) {
		if (imap_try_word(parser, plain_items[i].name)) {
			fetch->items |= plain_items[i].items;
			return true;
		}
	}
	for (size_t i = 0; i < array_length(old_sections); i++) {
		if (!imap_try_word(parser, old_sections[i].name))
			continue;
		struct imap_section *section = section_add(parser, fetch);
		if (!section)
			return false;
		section->kind = old_sections[i].kind;
		section->sets_seen = old_sections[i].sets_seen;
		section->label = old_sections[i].name;
		return true;
	}
	bool peeks = imap_try_word(parser, STR("BODY.PEEK"));
	if (!peeks && !imap_try_word(parser, STR("BODY")))
		return fail(parser, "Unknown fetch attribute");
	if (imap_try_byte(parser, '['))
		return body_section(parser, fetch, peeks);
	if (peeks)
		return fail(parser, "Expected a section");
	fetch->items |= IMAP_FETCH_BODY;
	return true;
}

bool imap_fetch_attributes(struct imap_parser *parser, struct imap_fetch *fetch_out)
{
	const unsigned fast = IMAP_FETCH_FLAGS | IMAP_FETCH_INTERNALDATE | IMAP_FETCH_SIZE;

	*fetch_out = (struct imap_fetch){ 0 };
	fetch_out->sections =
		pool_alloc(parser->pool, IMAP_SECTIONS_MAX * sizeof(*fetch_out->sections));
	if (imap_try_word(parser, STR("ALL"))) {
		fetch_out->items = fast | IMAP_FETCH_ENVELOPE;
		return true;
	}
	if (imap_try_word(parser, STR("FULL"))) {
		fetch_out->items = fast | IMAP_FETCH_ENVELOPE | IMAP_FETCH_BODY;
		return true;
	}
	if (imap_try_word(parser, STR("FAST"))) {
		fetch_out->items = fast;
		return true;
	}
	if (!imap_try_byte(parser, '('))
		return attribute(parser, fetch_out);
	while (attribute(parser, fetch_out)) {
		if (imap_try_byte(parser, ')'))
			return true;
		if (!imap_try_byte(parser, ' '))
			return fail(parser, "Fetch attributes without an end");
		/* Some clients leave more space than the grammar has. */
		while (imap_try_byte(parser, ' '))
			continue;
		if (imap_try_byte(parser, ')'))
			return true;
	}
	return false;
}
