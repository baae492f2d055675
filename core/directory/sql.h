#ifndef PANDO_CORE_DIRECTORY_SQL_H
#define PANDO_CORE_DIRECTORY_SQL_H

/*
 * One SQL dialect over two databases, synchronously: PostgreSQL (libpq) for the operator's command
 * line, a SQLite file for snapshots and the standalone directory. Statements keep to what both
 * understand: $1 placeholders, text values, RETURNING, ON CONFLICT. Never used for PostgreSQL on a
 * loop's thread.
 */

#include "core/bytes.h"
#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

struct sql;
struct sql_result;

/* The right server of those that `conninfo` names (servers.h; `memory_path` as there). Unqualified
 * names are looked up in the schema `pando`. Where none may be written: without `refusal_out` the
 * code of servers_check_writable; with it, one that can be read and the sentence there, which is
 * empty for one that may be written. */
int sql_open_postgres(const char *conninfo, const char *memory_path, struct sql **sql_out,
	struct error *refusal_out, struct error *error) must_check;
/* With `create` the file is made when missing; without, -ENOENT says that it is. Else as sql_query.
 * A writer waits up to 5 seconds for another one. */
int sql_open_file(
	const char *path, bool create, struct sql **sql_out, struct error *error) must_check;
/* To read one that nobody writes meanwhile, without room on its disk: where sql_open_file would
 * make files beside it, this one takes memory. */
int sql_open_file_to_read(const char *path, struct sql **sql_out, struct error *error) must_check;
/* As a file that nothing but this process's memory holds. */
int sql_open_memory(struct sql **sql_out, struct error *error) must_check;
/* What such a one would be as a file, outside of a transaction; the caller's reference. -ENOMEM.
 */
int sql_serialize(struct sql *sql, struct bytes **bytes_out, struct error *error) must_check;
/* Sets *sql to NULL; NULL is accepted. */
void sql_close(struct sql **sql);
bool sql_is_postgres(const struct sql *sql);
/* The server is gone, or has ended this connection: every further statement fails. */
bool sql_is_lost(const struct sql *sql);

/* Several statements without values. */
int sql_script(struct sql *sql, const char *text, struct error *error) must_check;
/* One statement. `result_out` may be NULL. -EEXIST for a violated uniqueness, -EBUSY for a
 * reference still in use, -EAGAIN when another process holds a file or lock for too long,
 * -ETIMEDOUT when the caller did, -ECONNRESET when the connection is lost, -EIO else. What tells
 * damage of a file from a refusal: -EUCLEAN for one that is damaged or no database at all,
 * -EPROTONOSUPPORT for one whose tables are not those that the statement means; against that
 * -ENOSPC, -ENOMEM. */
int sql_query(struct sql *sql, const char *text, const char *const *values, unsigned value_count,
	struct sql_result **result_out, struct error *error) must_check;
#define SQL_VALUES(...) \
	(const char *const[]){ __VA_ARGS__ }, \
		(unsigned)(sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

unsigned sql_rows(const struct sql_result *result);
unsigned sql_columns(const struct sql_result *result);
const char *sql_column_name(const struct sql_result *result, unsigned column);
/* NULL for an SQL null. */
const char *sql_value(const struct sql_result *result, unsigned row, unsigned column);
uint64_t sql_value_u64(const struct sql_result *result, unsigned row, unsigned column);
/* As either database writes a boolean; NULL is false. */
bool sql_is_true(const char *value);
/* Sets *result to NULL; NULL is accepted. */
void sql_result_free(struct sql_result **result);

#endif
