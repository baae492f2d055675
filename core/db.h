#ifndef PANDO_CORE_DB_H
#define PANDO_CORE_DB_H

/*
 * One PostgreSQL connection on a loop that never waits for it (libpq inside). Connecting runs on a
 * pool thread, because libpq resolves names synchronously; from then on everything is readiness.
 *
 * Invariants:
 * 1. Callbacks run on the loop, never from inside a call of this header.
 * 2. Every query's done is called exactly once, unless db_destroy comes first.
 * 3. After on_close the connection is dead: the owner destroys it and makes another one.
 */

#include "core/loop.h"

struct db;

struct db_handler {
	void (*on_open)(void *arg);
	/* A notification on a channel listened to. */
	void (*on_notify)(void *arg);
	/* Could not connect, or lost; `reason` is one line. */
	void (*on_close)(void *arg, const char *reason);
};

/* Rows as text. Valid during done. */
struct db_result;

/* `conninfo` is a libpq connection string or URL, several hosts allowed. `session` is what
 * target_session_attrs becomes ("read-write", "any"). */
struct db *db_create(struct loop *loop, const char *conninfo, const char *session,
	const struct db_handler *handler, void *arg);
/* Sets *db to NULL; NULL is accepted. No callback comes afterwards. */
void db_destroy(struct db **db);

/* Queries are answered in the order of asking. `values` are copied. On failure `result` is NULL and
 * `error` says why; the connection may still be good. */
void db_query(struct db *db, const char *sql, const char *const *values, unsigned value_count,
	void (*done)(void *arg, struct db_result *result, const char *error), void *arg);

unsigned db_result_rows(const struct db_result *result);
unsigned db_result_columns(const struct db_result *result);
/* NULL for an SQL null. */
const char *db_result_value(const struct db_result *result, unsigned row, unsigned column);

#endif
