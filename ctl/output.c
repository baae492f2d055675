#include "ctl/output.h"

#include "core/encode.h"
#include "proto/mail/legible.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void table_add_str(struct table *table, struct str text)
{
	char *cell = str_to_heap(text);
	buf_append(&table->cells, &cell, sizeof(cell));
}

void table_add(struct table *table, const char *text)
{
	table_add_str(table, str_from(text ? text : ""));
}

void table_addf(struct table *table, const char *format, ...)
{
	struct buf text = { 0 };
	va_list arguments;
	va_start(arguments, format);
	buf_vprintf(&text, format, arguments);
	va_end(arguments);
	table_add_str(table, buf_str(&text));
	buf_deinit(&text);
}

void table_add_bool(struct table *table, bool value)
{
	table_add(table, value ? "yes" : "no");
}

unsigned table_rows(const struct table *table)
{
	return (unsigned)(buf_length(&table->cells) / sizeof(char *) / table->column_count);
}

static const char *cell(const struct table *table, unsigned row, unsigned column)
{
	const char *text;
	size_t index = (size_t)row * table->column_count + column;
	memcpy(&text, buf_str(&table->cells).bytes + index * sizeof(text), sizeof(text));
	return text;
}

static bool is_number(const struct table *table, unsigned column)
{
	return table->columns[column][0] == '#';
}

const char *table_column_name(const char *column)
{
	return column + (column[0] == '#' || column[0] == '?');
}

static const char *column_name(const struct table *table, unsigned column)
{
	return table_column_name(table->columns[column]);
}

/* Characters, not bytes: addresses may be UTF-8. */
static size_t width_of(const char *text)
{
	size_t width = 0;
	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void append_padded(struct buf *line, const char *text, size_t width, bool right)
{
	size_t own = width_of(text), fill = width > own ? width - own : 0;
	for (size_t i = 0; right && i < fill; i++)
		buf_append_byte(line, ' ');
	buf_append_str(line, str_from(text));
	for (size_t i = 0; !right && i < fill; i++)
		buf_append_byte(line, ' ');
}

/* What has no number, or is neither yes nor no, is told from what has not been filled in. */
static const char *shown(const struct table *table, unsigned row, unsigned column)
{
	const char *text = cell(table, row, column), mark = table->columns[column][0];
	return text[0] == '\0' && (mark == '#' || mark == '?') ? "-" : text;
}

static void print_line(const struct table *table, const size_t *widths, unsigned row, bool header)
{
	struct buf line = { 0 };
	for (unsigned i = 0; i < table->column_count; i++) {
		char name[64];
		snprintf(name, sizeof(name), "%s", column_name(table, i));
		for (char *c = name; *c; c++)
			*c = *c == '_' ? ' ' : ascii_upper(*c);
		append_padded(&line, header ? name : shown(table, row, i), widths[i],
			is_number(table, i));
		buf_append_literal(&line, "  ");
	}
	struct str text = buf_str(&line);
	while (text.length && text.bytes[text.length - 1] == ' ')
		text.length--;
	printf(STR_FORMAT "\n", STR_ARG(text));
	buf_deinit(&line);
}

static void append_value(struct buf *out, char mark, struct str text)
{
	bool is_plain = mark == '#' || mark == '?';
	if (is_plain && text.length == 0)
		buf_append_literal(out, "null");
	else if (mark == '?')
		buf_append_str(out, str_equal(text, STR("yes")) ? STR("true") : STR("false"));
	else if (mark == '#')
		buf_append_str(out, text);
	else
		encode_json(out, text);
}

void table_append_json(const struct table *table, struct buf *out)
{
	buf_append_literal(out, "[");
	for (unsigned row = 0; row < table_rows(table); row++) {
		buf_append_str(out, row ? STR(",\n {") : STR("\n {"));
		for (unsigned i = 0; i < table->column_count; i++) {
			if (i)
				buf_append_literal(out, ", ");
			encode_json(out, str_from(column_name(table, i)));
			buf_append_literal(out, ": ");
			append_value(out, table->columns[i][0], str_from(cell(table, row, i)));
		}
		buf_append_literal(out, "}");
	}
	buf_append_literal(out, "\n]");
}

/* What came from a peer or an old directory may hold anything: nothing of it acts on a terminal. */
static void make_legible(const struct table *table, struct table *shown_out)
{
	*shown_out = *table;
	shown_out->cells = (struct buf){ 0 };
	for (unsigned row = 0; row < table_rows(table); row++)
		for (unsigned i = 0; i < table->column_count; i++) {
			struct buf text = { 0 };
			legible_append(&text, str_from(cell(table, row, i)), false);
			table_add_str(shown_out, buf_str(&text));
			buf_deinit(&text);
		}
}

static void print_rows(const struct table *table)
{
	size_t widths[TABLE_COLUMNS_MAX];
	for (unsigned i = 0; i < table->column_count; i++) {
		widths[i] = width_of(column_name(table, i));
		for (unsigned row = 0; row < table_rows(table); row++) {
			size_t width = width_of(shown(table, row, i));
			widths[i] = width > widths[i] ? width : widths[i];
		}
	}
	print_line(table, widths, 0, true);
	for (unsigned row = 0; row < table_rows(table); row++)
		print_line(table, widths, row, false);
}

void table_print(const struct table *table, bool json, const char *empty)
{
	struct table shown;
	if (json) {
		struct buf out = { 0 };
		table_append_json(table, &out);
		printf("%s\n", buf_terminated(&out));
		buf_deinit(&out);
	} else if (table_rows(table) == 0) {
		printf("%s\n", empty);
	} else {
		make_legible(table, &shown);
		print_rows(&shown);
		table_deinit(&shown);
	}
}

static void print_single(const struct table *table)
{
	struct table shown;
	make_legible(table, &shown);
	for (unsigned i = 0; i < shown.column_count; i++)
		printf("%-16s %s\n", column_name(&shown, i), cell(&shown, 0, i));
	table_deinit(&shown);
}

void table_deinit(struct table *table)
{
	struct str all = buf_str(&table->cells);
	for (size_t i = 0; i < all.length; i += sizeof(char *)) {
		char *text;
		memcpy(&text, all.bytes + i, sizeof(text));
		free(text);
	}
	buf_deinit(&table->cells);
}

/* The listings' columns that hold something else than text. */
static const char *const typed_columns[] = {
	"#id",
	"#nodes",
	"#routers",
	"#primary_volumes",
	"#copies",
	"#epoch",
	"#epoch_start_lsn",
	"#mailboxes",
	"#keep_expunged_days",
	"#quota_bytes",
	"?enabled",
	"?purged_now",
	"?password",
	"?unclean",
};

void print_listing(const struct sql_result *result, bool json, bool single, const char *empty)
{
	struct table table = { .column_count = sql_columns(result) };
	for (unsigned i = 0; i < table.column_count; i++) {
		table.columns[i] = sql_column_name(result, i);
		for (unsigned k = 0; k < array_length(typed_columns); k++)
			if (strcmp(table_column_name(typed_columns[k]), table.columns[i]) == 0)
				table.columns[i] = typed_columns[k];
	}
	for (unsigned row = 0; row < sql_rows(result); row++)
		for (unsigned i = 0; i < table.column_count; i++)
			table_add(&table, sql_value(result, row, i));
	if (single && json && table_rows(&table) == 1) {
		struct buf out = { 0 };
		table_append_json(&table, &out);
		struct str all = str_trim(buf_str(&out));
		printf(STR_FORMAT "\n", STR_ARG(str_trim(str_of(all.bytes + 1, all.length - 2))));
		buf_deinit(&out);
	} else if (single && table_rows(&table) == 1) {
		print_single(&table);
	} else {
		table_print(&table, json, empty);
	}
	table_deinit(&table);
}
