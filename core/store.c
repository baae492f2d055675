#include "core/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>

enum {
	/* Another process (a backup, a curious operator) may hold the file this long. */
	BUSY_MS_MAX = 5000,
};

enum statement { STATEMENT_PUT, STATEMENT_REMOVE, STATEMENT_GET, STATEMENT_EACH, STATEMENTS };

static const char *const statement_texts[STATEMENTS] = {
	[STATEMENT_PUT] = ("INSERT INTO pair(key, value) VALUES(?1, ?2) "
			   "ON CONFLICT(key) DO UPDATE SET value = excluded.value"),
	[STATEMENT_REMOVE] = "DELETE FROM pair WHERE key = ?1",
	[STATEMENT_GET] = "SELECT value FROM pair WHERE key = ?1",
	[STATEMENT_EACH] = "SELECT key, value FROM pair WHERE key >= ?1 ORDER BY key",
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
};

static int to_errno(int code)
{
	switch (code & 0xff) {
	case SQLITE_FULL: return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED: return -EBUSY;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: return -EUCLEAN;
	case SQLITE_NOMEM: return -ENOMEM;
	case SQLITE_READONLY:
	case SQLITE_PERM: return -EACCES;
	default: return -EIO;
	}
}

static int run(struct store *store, const char *sql)
{
	int code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : to_errno(code);
}

int store_open(const char *path, struct store **store_out, struct error *error)
{
	struct store *store = mem_alloc(sizeof(*store));
	int code = sqlite3_open_v2(path, &store->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	int result = code == SQLITE_OK ? 0 : to_errno(code);
	if (result == 0) {
		sqlite3_busy_timeout(store->db, BUSY_MS_MAX);
		result = run(store,
			"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
			"CREATE TABLE IF NOT EXISTS pair(key BLOB PRIMARY KEY, value BLOB NOT "
			"NULL) WITHOUT ROWID");
	}
	for (int i = 0; result == 0 && i < STATEMENTS; i++) {
		code = sqlite3_prepare_v3(store->db, statement_texts[i], -1,
			SQLITE_PREPARE_PERSISTENT, &store->statements[i], NULL);
		if (code != SQLITE_OK)
			result = to_errno(code);
	}
	if (result < 0) {
		error_set(error, result, "cannot open %s: %s", path, sqlite3_errmsg(store->db));
		store_close(&store);
		return result;
	}
	*store_out = store;
	return 0;
}

void store_close(struct store **store)
{
	if (*store == NULL)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize((*store)->statements[i]);
	sqlite3_close((*store)->db);
	free(*store);
	*store = NULL;
}

int store_begin(struct store *store)
{
	return run(store, "BEGIN IMMEDIATE");
}

int store_commit(struct store *store)
{
	return run(store, "COMMIT");
}

void store_rollback(struct store *store)
{
	(void)!run(store, "ROLLBACK");
}

static sqlite3_stmt *bind_key(struct store *store, enum statement which, struct str key)
{
	sqlite3_stmt *statement = store->statements[which];
	CHECK(key.length <= INT32_MAX);
	sqlite3_bind_blob(statement, 1, key.bytes, (int)key.length, SQLITE_STATIC);
	return statement;
}

/* Runs a statement without rows and leaves it ready for the next use. */
static int finish(sqlite3_stmt *statement)
{
	int code = sqlite3_step(statement);
	sqlite3_reset(statement);
	sqlite3_clear_bindings(statement);
	return code == SQLITE_DONE ? 0 : to_errno(code);
}

int store_put(struct store *store, struct str key, struct str value)
{
	sqlite3_stmt *statement = bind_key(store, STATEMENT_PUT, key);
	/* A zero-length blob must not become NULL. */
	sqlite3_bind_blob64(
		statement, 2, value.length ? value.bytes : "", value.length, SQLITE_STATIC);
	return finish(statement);
}

int store_remove(struct store *store, struct str key)
{
	return finish(bind_key(store, STATEMENT_REMOVE, key));
}

static struct str column(sqlite3_stmt *statement, int index)
{
	return str_of(sqlite3_column_blob(statement, index),
		(size_t)sqlite3_column_bytes(statement, index));
}

int store_get(struct store *store, struct str key, struct buf *out)
{
	sqlite3_stmt *statement = bind_key(store, STATEMENT_GET, key);
	int code = sqlite3_step(statement);
	if (code == SQLITE_ROW)
		buf_append_str(out, column(statement, 0));
	sqlite3_reset(statement);
	return code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : to_errno(code);
}

int store_each(struct store *store, struct str prefix,
	int (*fn)(void *arg, struct str key, struct str value), void *arg)
{
	sqlite3_stmt *statement = bind_key(store, STATEMENT_EACH, prefix);
	int result = 0, code = SQLITE_DONE;
	while (result == 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		struct str key = column(statement, 0);
		if (!str_starts_with(key, prefix))
			break;
		result = fn(arg, key, column(statement, 1));
	}
	sqlite3_reset(statement);
	if (result == 0 && code != SQLITE_ROW && code != SQLITE_DONE)
		result = to_errno(code);
	return result;
}
