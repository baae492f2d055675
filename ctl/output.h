#ifndef PANDO_CTL_OUTPUT_H
#define PANDO_CTL_OUTPUT_H

/* Rows for people (an aligned table) or for scripts (a JSON array of objects with the column
 * names). */

#include "core/buf.h"
#include "core/directory/sql.h"

/* A terminal shows no more. */
enum { TABLE_COLUMNS_MAX = 16 };

struct table {
	unsigned column_count;
	/* A leading '#': numbers; '?': "yes" or "no", in JSON true or false. An empty cell of
	 * either is null there, and "-" for people. */
	const char *columns[TABLE_COLUMNS_MAX];
	struct buf cells; /* char * each, owned */
};

void table_add(struct table *table, const char *text);
void table_add_str(struct table *table, struct str text);
void table_addf(struct table *table, const char *format, ...) printf_like(2, 3);
/* "yes" or "no", for a '?' column. */
void table_add_bool(struct table *table, bool value);
unsigned table_rows(const struct table *table);
/* A column's name without its mark. */
const char *table_column_name(const char *column);
/* `empty` is said to people when there are no rows. */
void table_print(const struct table *table, bool json, const char *empty);
void table_append_json(const struct table *table, struct buf *out);
void table_deinit(struct table *table);

/* The answer of directory_list. `single`: one object, one `name: value` line per column. */
void print_listing(const struct sql_result *result, bool json, bool single, const char *empty);

#endif
