#include "core/directory/sql.h"

#include "core/buf.h"
#include "core/directory/servers.h"
#include "core/pool.h"

#include <errno.h>
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* How long a writer of the file waits for another: an import of 100,000 mailboxes takes about 2 s.
 */
enum { FILE_BUSY_TIMEOUT_MS = 5000 };

/* SQLSTATE of idle_in_transaction_session_timeout. */
#define IDLE_IN_TRANSACTION "25P03"
#define UNDEFINED_TABLE "42P01"

struct sql {
	PGconn *postgres; /* one of the two is set */
	sqlite3 *file;
	bool ended_as_idle;
	/* The statement prepared last: imports and snapshots run one again and again. */
	sqlite3_stmt *statement;
	char *statement_text;
};

struct sql_result {
	PGresult *postgres; /* or the cells of a file's answer: */
	struct pool *pool;
	unsigned rows, columns;
	struct buf cells; /* const char * each, column names first */
};

/* A server says why it ends a connection before the next statement finds it ended. */
static void on_notice(void *arg, const PGresult *notice)
{
	struct sql *sql = arg;
	const char *state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
	if (state && strcmp(state, IDLE_IN_TRANSACTION) == 0)
		sql->ended_as_idle = true;
}

int sql_open_postgres(const char *conninfo, const char *memory_path, struct sql **sql_out,
	struct error *refusal_out, struct error *error)
{
	struct servers servers;
	struct error refusal = { 0 };
	*sql_out = NULL;
	int code = servers_ask(conninfo, memory_path, &servers, error);
	if (code < 0)
		return code;
	code = servers_check_writable(&servers, &refusal);
	if (code < 0 && (!refusal_out || servers.chosen < 0)) {
		servers_release(&servers);
		return error_set(error, code, "%s", refusal.text);
	}
	if (refusal_out)
		*refusal_out = refusal;
	struct sql *sql = mem_alloc(sizeof(*sql));
	sql->postgres = servers_take(&servers);
	servers_release(&servers);
	PQsetNoticeReceiver(sql->postgres, on_notice, sql);
	code = sql_script(sql, "set client_min_messages = warning; set search_path = pando", error);
	if (code < 0)
		sql_close(&sql);
	*sql_out = sql;
	return code;
}

static bool is_system_refusal(sqlite3 *file)
{
	int kind = sqlite3_extended_errcode(file) & 0xff;
	return kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN;
}

static int file_code(sqlite3 *file)
{
	int extended = sqlite3_extended_errcode(file), system = sqlite3_system_errno(file);
	/* Any other number of the system's would be taken for one of ours. */
	if (is_system_refusal(file))
		return system == ENOSPC || system == EDQUOT ? -ENOSPC : -EIO;
	switch (extended) {
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY: return -EEXIST;
	case SQLITE_CONSTRAINT_FOREIGNKEY: return -EBUSY;
	default: break;
	}
	switch (extended & 0xff) {
	case SQLITE_BUSY: return -EAGAIN;
	case SQLITE_FULL: return -ENOSPC;
	case SQLITE_NOMEM: return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: return -EUCLEAN;
	case SQLITE_ERROR:
	case SQLITE_CONSTRAINT: return -EPROTONOSUPPORT;
	default: return -EIO;
	}
}

/* With the system's own word, where SQLite has only "disk I/O error". */
static int refuse(sqlite3 *file, const char *what, int code, struct error *error)
{
	int system = is_system_refusal(file) ? sqlite3_system_errno(file) : 0;
	return error_set(error, code, "%s: %s%s%s", what, sqlite3_errmsg(file), system ? ": " : "",
		system ? strerror(system) : "");
}

static int file_error(sqlite3 *file, struct error *error)
{
	return refuse(file, "the directory file refused", file_code(file), error);
}

static int open_database(const char *name, int flags, struct sql **sql_out, struct error *error)
{
	struct sql *sql = *sql_out = mem_alloc(sizeof(*sql));
	if (sqlite3_open_v2(name, &sql->file, flags | SQLITE_OPEN_FULLMUTEX, NULL) == SQLITE_OK) {
		sqlite3_busy_timeout(sql->file, FILE_BUSY_TIMEOUT_MS);
		return 0;
	}
	bool is_missing = sqlite3_system_errno(sql->file) == ENOENT;
	struct buf what = { 0 };
	buf_printf(&what, "%s cannot be opened", name);
	int code = refuse(sql->file, buf_terminated(&what),
		is_missing ? -ENOENT : file_code(sql->file), error);
	buf_deinit(&what);
	sql_close(sql_out);
	return code;
}

int sql_open_file(const char *path, bool create, struct sql **sql_out, struct error *error)
{
	int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0);
	int code = open_database(path, flags, sql_out, error);
	if (code < 0)
		return code;
	code = sql_script(*sql_out, "pragma journal_mode = wal; pragma synchronous = full", error);
	if (code < 0)
		sql_close(sql_out);
	return code;
}

/* As SQLite's URI; what it says holds of a file that nobody writes, and has no log to be read. */
static void append_immutable(struct buf *out, const char *path)
{
	buf_append_literal(out, "file:");
	/* Two slashes would begin a host's name. */
	if (path[0] == '/')
		buf_append_literal(out, "//");
	for (; *path; path++)
		if (strchr("%?#", *path))
			buf_printf(out, "%%%02x", (unsigned)(unsigned char)*path);
		else
			buf_append_byte(out, *path);
	buf_append_literal(out, "?immutable=1");
}

/* Whether SQLite's log may hold what is not in the file yet. */
static int look_for_log(const char *path, bool *has_log_out, struct error *error)
{
	struct stat status = { 0 };
	struct buf log = { 0 };
	int code = 0;
	buf_printf(&log, "%s-wal", path);
	if (stat(buf_terminated(&log), &status) != 0 && errno != ENOENT)
		code = error_set(error, -EIO, "%s cannot be looked at: %s", buf_terminated(&log),
			strerror(errno));
	*has_log_out = status.st_size > 0;
	buf_deinit(&log);
	return code;
}

/* The index of a log is a file beside it, for which a full disk has no room, unless one connection
 * alone holds the file: then it is memory. Closing must not write the log back either. Without a
 * log SQLite needs nothing beside the file, and can be told so; it then takes no lock. */
int sql_open_file_to_read(const char *path, struct sql **sql_out, struct error *error)
{
	struct buf name = { 0 };
	bool has_log;
	int code = look_for_log(path, &has_log, error);
	if (code < 0)
		return code;
	if (!has_log)
		append_immutable(&name, path);
	code = has_log ? open_database(path, SQLITE_OPEN_READWRITE, sql_out, error)
		       : open_database(buf_terminated(&name),
				 SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, sql_out, error);
	buf_deinit(&name);
	if (code < 0)
		return code;
	sqlite3_db_config((*sql_out)->file, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	code = sql_script(*sql_out,
		"pragma query_only = on; pragma temp_store = memory; "
		"pragma locking_mode = exclusive",
		error);
	if (code < 0)
		sql_close(sql_out);
	return code;
}

int sql_open_memory(struct sql **sql_out, struct error *error)
{
	/* The name is SQLite's. */
	return sql_open_file(":memory:", true, sql_out, error);
}

int sql_serialize(struct sql *sql, struct bytes **bytes_out, struct error *error)
{
	sqlite3_int64 size = 0;
	unsigned char *image = sqlite3_serialize(sql->file, "main", &size, 0);
	if (!image)
		return error_set(
			error, -ENOMEM, "there is no memory for the directory's file as a whole");
	*bytes_out = bytes_create_copy(str_of(image, (size_t)size));
	sqlite3_free(image);
	return 0;
}

void sql_close(struct sql **sql_pointer)
{
	struct sql *sql = *sql_pointer;
	if (!sql)
		return;
	*sql_pointer = NULL;
	if (sql->postgres)
		PQfinish(sql->postgres);
	sqlite3_finalize(sql->statement);
	sqlite3_close(sql->file);
	free(sql->statement_text);
	free(sql);
}

bool sql_is_postgres(const struct sql *sql)
{
	return sql->postgres != NULL;
}

bool sql_is_lost(const struct sql *sql)
{
	return sql->postgres && PQstatus(sql->postgres) == CONNECTION_BAD;
}

static int postgres_error(struct sql *sql, const PGresult *rows, struct error *error)
{
	PGconn *connection = sql->postgres;
	const char *state = PQresultErrorField(rows, PG_DIAG_SQLSTATE);
	struct str reason = str_trim(str_from(PQerrorMessage(connection))), line = { 0 }, rest;
	int code = -EIO;
	if (state && strcmp(state, "23505") == 0)
		code = -EEXIST;
	else if (state && strcmp(state, "23503") == 0)
		code = -EBUSY;
	else if (state && strcmp(state, UNDEFINED_TABLE) == 0)
		code = -EPROTONOSUPPORT;
	else if (state && strcmp(state, "55P03") == 0)
		return error_set(error, -EAGAIN,
			"the directory is being written by somebody else, who takes long: nothing "
			"was changed, run the command again");
	else if (sql->ended_as_idle || (state && strcmp(state, IDLE_IN_TRANSACTION) == 0))
		return error_set(error, -ETIMEDOUT,
			"this command stood still for too long while others waited to write in the "
			"directory: nothing was changed, run the command again");
	rest = reason;
	if (PQstatus(connection) == CONNECTION_BAD && str_next(&rest, '\n', &line))
		return error_set(error, -ECONNRESET,
			"the connection to the directory was lost (" STR_FORMAT
			"): run the command again, which completes or repeats what it was writing",
			STR_ARG(line));
	/* A message is one line. */
	struct buf joined = { 0 };
	while (str_next(&rest, '\n', &line))
		buf_printf(&joined, "%s" STR_FORMAT, buf_length(&joined) ? "; " : "",
			STR_ARG(str_trim(line)));
	error_set(error, code, "the directory refused: %s", buf_terminated(&joined));
	buf_deinit(&joined);
	return code;
}

int sql_script(struct sql *sql, const char *text, struct error *error)
{
	if (!sql->postgres) {
		if (sqlite3_exec(sql->file, text, NULL, NULL, NULL) != SQLITE_OK)
			return file_error(sql->file, error);
		return 0;
	}
	PGresult *rows = PQexec(sql->postgres, text);
	ExecStatusType status = PQresultStatus(rows);
	int code = 0;
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		code = postgres_error(sql, rows, error);
	PQclear(rows);
	return code;
}

static int prepare(struct sql *sql, const char *text, struct error *error)
{
	if (sql->statement_text && strcmp(sql->statement_text, text) == 0) {
		sqlite3_reset(sql->statement);
		sqlite3_clear_bindings(sql->statement);
		return 0;
	}
	sqlite3_finalize(sql->statement);
	sql->statement = NULL;
	free(sql->statement_text);
	sql->statement_text = NULL;
	if (sqlite3_prepare_v2(sql->file, text, -1, &sql->statement, NULL) != SQLITE_OK)
		return file_error(sql->file, error);
	sql->statement_text = mem_copy(text, strlen(text) + 1);
	return 0;
}

static void put_cell(struct sql_result *result, const char *text)
{
	const char *copy = text ? pool_copy_terminated(result->pool, str_from(text)) : NULL;
	buf_append(&result->cells, &copy, sizeof(copy));
}

static int file_query(struct sql *sql, const char *text, const char *const *values,
	unsigned value_count, struct sql_result **result_out, struct error *error)
{
	int code = prepare(sql, text, error);
	if (code < 0)
		return code;
	for (unsigned i = 0; i < value_count; i++) {
		char name[16];
		snprintf(name, sizeof(name), "$%u", i + 1);
		int index = sqlite3_bind_parameter_index(sql->statement, name);
		if (index > 0 && values[i])
			sqlite3_bind_text(sql->statement, index, values[i], -1, SQLITE_STATIC);
	}
	struct sql_result *result = mem_alloc(sizeof(*result));
	result->pool = pool_create();
	result->columns = (unsigned)sqlite3_column_count(sql->statement);
	for (unsigned i = 0; i < result->columns; i++)
		put_cell(result, sqlite3_column_name(sql->statement, (int)i));
	int step;
	bool is_short = false; /* of memory: the text would be taken for a null */
	while (!is_short && (step = sqlite3_step(sql->statement)) == SQLITE_ROW) {
		for (unsigned i = 0; i < result->columns; i++) {
			const void *cell = sqlite3_column_text(sql->statement, (int)i);
			is_short |= !cell && sqlite3_errcode(sql->file) == SQLITE_NOMEM;
			put_cell(result, cell);
		}
		result->rows++;
	}
	if (is_short || step != SQLITE_DONE)
		code = file_error(sql->file, error);
	sqlite3_reset(sql->statement);
	if (code < 0 || !result_out)
		sql_result_free(&result);
	if (result_out)
		*result_out = result;
	return code;
}

int sql_query(struct sql *sql, const char *text, const char *const *values, unsigned value_count,
	struct sql_result **result_out, struct error *error)
{
	if (result_out)
		*result_out = NULL;
	if (!sql->postgres)
		return file_query(sql, text, values, value_count, result_out, error);
	PGresult *rows =
		PQexecParams(sql->postgres, text, (int)value_count, NULL, values, NULL, NULL, 0);
	ExecStatusType status = PQresultStatus(rows);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		int code = postgres_error(sql, rows, error);
		PQclear(rows);
		return code;
	}
	if (!result_out) {
		PQclear(rows);
		return 0;
	}
	struct sql_result *result = mem_alloc(sizeof(*result));
	result->postgres = rows;
	result->rows = (unsigned)PQntuples(rows);
	result->columns = (unsigned)PQnfields(rows);
	*result_out = result;
	return 0;
}

unsigned sql_rows(const struct sql_result *result)
{
	return result->rows;
}

unsigned sql_columns(const struct sql_result *result)
{
	return result->columns;
}

static const char *cell(const struct sql_result *result, size_t index)
{
	const char *text;
	memcpy(&text, buf_str(&result->cells).bytes + index * sizeof(text), sizeof(text));
	return text;
}

const char *sql_column_name(const struct sql_result *result, unsigned column)
{
	CHECK(column < result->columns);
	if (result->postgres)
		return PQfname(result->postgres, (int)column);
	return cell(result, column);
}

const char *sql_value(const struct sql_result *result, unsigned row, unsigned column)
{
	CHECK(row < result->rows && column < result->columns);
	if (!result->postgres)
		return cell(result, ((size_t)row + 1) * result->columns + column);
	if (PQgetisnull(result->postgres, (int)row, (int)column))
		return NULL;
	return PQgetvalue(result->postgres, (int)row, (int)column);
}

uint64_t sql_value_u64(const struct sql_result *result, unsigned row, unsigned column)
{
	const char *text = sql_value(result, row, column);
	return text ? strtoull(text, NULL, 10) : 0;
}

bool sql_is_true(const char *value)
{
	return value && (value[0] == 't' || value[0] == '1');
}

void sql_result_free(struct sql_result **result_pointer)
{
	struct sql_result *result = *result_pointer;
	if (!result)
		return;
	*result_pointer = NULL;
	PQclear(result->postgres);
	pool_destroy(&result->pool);
	buf_deinit(&result->cells);
	free(result);
}
