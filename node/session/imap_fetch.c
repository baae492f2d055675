#include "node/session/imap_fetch.h"

static bool is_header_section(const struct imap_section *section)
{
	return section->number_count == 0 && (section->kind == IMAP_SECTION_HEADER ||
		section->kind == IMAP_SECTION_FIELDS || section->kind == IMAP_SECTION_FIELDS_NOT);
}

void fetch_plan(struct fetch *fetch)
{
	const struct imap_fetch *attributes = &fetch->attributes;

	fetch->needs_summary = attributes->items &
		(IMAP_FETCH_ENVELOPE | IMAP_FETCH_BODY | IMAP_FETCH_BODYSTRUCTURE);
	for (unsigned i = 0; i < attributes->section_count; i++) {
		const struct imap_section *section = &attributes->sections[i];
		if (is_header_section(section))
			fetch->needs_header = true;
		else
			fetch->needs_body = true;
		fetch->needs_summary |= section->number_count != 0;
		fetch->sets_seen |= section->sets_seen;
	}
}

static struct str range_of(struct str message, uint32_t offset, uint32_t length)
{
	return str_first(str_from_index(message, offset), length);
}

static bool has_field(const struct imap_section *section, struct str name)
{
	for (unsigned i = 0; i < section->field_count; i++)
		if (str_equal_ignore_case(section->fields[i], name))
			return true;
	return false;
}

/* The chosen fields, with the empty line that ends every header (RFC 3501 section 6.4.5). */
static struct str filter_fields(const struct imap_section *section, struct str header,
	struct buf *scratch)
{
	struct mime_header_field field;
	bool wanted = section->kind == IMAP_SECTION_FIELDS;

	while (mime_next_field(&header, &field))
		if (has_field(section, field.name) == wanted)
			buf_append_str(scratch, field.raw);
	buf_append_literal(scratch, "\r\n");
	return buf_str(scratch);
}

static bool section_of_message(const struct imap_section *section, struct str whole,
	struct str header, struct buf *scratch, struct str *text_out)
{
	switch (section->kind) {
	case IMAP_SECTION_WHOLE: *text_out = whole; break;
	case IMAP_SECTION_HEADER: *text_out = header; break;
	case IMAP_SECTION_TEXT: *text_out = str_from_index(whole, header.length); break;
	case IMAP_SECTION_FIELDS:
	case IMAP_SECTION_FIELDS_NOT: *text_out = filter_fields(section, header, scratch); break;
	case IMAP_SECTION_MIME: return false;
	}
	return true;
}

bool fetch_section_text(const struct imap_section *section, const struct fetch_source *source,
	struct buf *scratch, struct str *text_out)
{
	struct summary_part part;

	if (!section->number_count) {
		struct str whole = source->body ? bytes_str(source->body) : str_of("", 0);
		struct str header = source->body ? mime_header_of(whole) : source->summary.header;
		return section_of_message(section, whole, header, scratch, text_out);
	}
	if (!source->has_summary || !source->body ||
		source->summary.message_length != source->body->length)
		return false;
	struct str message = bytes_str(source->body);
	int index = summary_find_part(&source->summary, section->numbers, section->number_count);
	if (index < 0)
		return false;
	if (section->kind == IMAP_SECTION_WHOLE || section->kind == IMAP_SECTION_MIME) {
		summary_part(&source->summary, (unsigned)index, &part);
		*text_out = section->kind == IMAP_SECTION_MIME ?
			range_of(message, part.header_offset, part.header_length) :
			range_of(message, part.body_offset, part.body_length);
		return true;
	}
	/* HEADER and TEXT of a part mean those of the message in it. */
	index = summary_inner_message(&source->summary, (unsigned)index);
	if (index < 0)
		return false;
	summary_part(&source->summary, (unsigned)index, &part);
	struct str header = range_of(message, part.header_offset, part.header_length);
	struct str whole =
		range_of(message, part.header_offset, part.header_length + part.body_length);
	return section_of_message(section, whole, header, scratch, text_out);
}
