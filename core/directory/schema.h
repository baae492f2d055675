#ifndef PANDO_CORE_DIRECTORY_SCHEMA_H
#define PANDO_CORE_DIRECTORY_SCHEMA_H

/*
 * The tables of the directory as rows of text: which columns of each a daemon knows, the statements
 * that read them all or what has changed, and the numbered migrations.
 *
 * A read returns rows (kind, id, c1 ... c10) of one consistent moment: first one row
 * ('revision', r, mark of r, mark of the asked revision), for a delta one row ('changed', id, kind)
 * for each changed row, then the rows themselves. A changed row that does not follow has been
 * removed.
 */

#include "core/buf.h"
#include "core/directory/sql.h"

enum {
	/* What the widest table has beside its id; schema.c fails to compile beyond. */
	DIRECTORY_COLUMNS_MAX = 13,
	/* kind and id before the columns. */
	DIRECTORY_CELLS = DIRECTORY_COLUMNS_MAX + 2,
};

enum directory_kind {
	KIND_SITE,
	KIND_NODE,
	KIND_ROUTER,
	KIND_VOLUME,
	KIND_VOLUME_COPY,
	KIND_DOMAIN,
	KIND_MAILBOX,
	KIND_ALIAS,
	KIND_CREDENTIAL,
	KIND_POLICY,
	KIND_COUNT,
};

struct directory_table {
	const char *name;
	unsigned column_count;
	const char *columns[DIRECTORY_COLUMNS_MAX];
};

/* By enum directory_kind, in an order that satisfies references. */
extern const struct directory_table directory_tables[KIND_COUNT];

/* KIND_COUNT when unknown (a newer schema's table). */
enum directory_kind directory_kind_of(const char *name);

/* Appends the statement; no placeholders when full, $1 = revision for a delta. */
void schema_full_statement(struct buf *out);
void schema_delta_statement(struct buf *out);
/* As full, but only what comes before KIND_DOMAIN: sites, nodes, routers, volumes and their copies.
 */
void schema_places_statement(struct buf *out);
/* As full, from a snapshot file. */
void schema_snapshot_statement(struct buf *out);

/* Taken first in every writing transaction, so that writers never deadlock over it in the feed's
 * trigger, which takes it too (migrations/postgres/002_feed.sql). */
#define FEED_LOCK "select pg_advisory_xact_lock(707166543)"
/* For each lock: an import holds the feed's for seconds; a failover that waited longer would decide
 * on what is no longer so. SQLite's own bound is the same. */
#define LOCK_TIMEOUT "set local lock_timeout = '5s'"
/* A command that is stopped, or whose machine is, holds the lock that everybody's writing needs:
 * the server ends it. Longer than a busy machine lets a command wait between two statements; with
 * the 10 seconds in which a failover decides it stays below FENCE_MS_MAX. */
#define IDLE_TIMEOUT "10s"
/* A daemon says again what was refused, and nothing stands still for it: one that hangs may not
 * refuse a failover, which waits for LOCK_TIMEOUT. */
#define IDLE_TIMEOUT_OF_DAEMONS "2s"
/* Of PostgreSQL. After an error the caller rolls back. */
#define SCHEMA_BEGIN_WRITING(idle_timeout) \
	"begin; " LOCK_TIMEOUT "; set local idle_in_transaction_session_timeout = '" idle_timeout \
	"'; " FEED_LOCK

struct migration {
	int number;
	const char *name;
	const char *text;
};

/* Ended by a row with number 0. */
extern const struct migration migrations_postgres[], migrations_sqlite[];

/* Creates the schema where missing and applies what is not applied yet, each migration in a
 * transaction. `tables_only`: without the feed (a snapshot). */
int schema_migrate(
	struct sql *sql, bool tables_only, unsigned *applied_out, struct error *error) must_check;

#endif
