#include "core/db.h"

#include "core/check.h"
#include "core/list.h"
#include "core/watch.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

/* A host that does not answer is given up after this; libpq takes whole seconds, at least 2. */
#define CONNECT_TIMEOUT_S "2"

struct db_result {
	PGresult *rows;
};

struct query {
	struct list link;
	char *sql;
	char **values;
	unsigned value_count;
	bool sent;
	PGresult *rows; /* the answer, until the server says that it is complete */
	void (*done)(void *arg, struct db_result *result, const char *error);
	void *arg;
};

/* What the pool thread works on; outlives the db when that is destroyed while connecting. */
struct connecting {
	char *conninfo, *session;
	PGconn *connection;
	struct db *owner; /* NULL: nobody waits any more */
};

struct db {
	struct loop *loop;
	struct db_handler handler;
	void *arg;
	struct connecting *connecting;
	PGconn *connection;
	struct watch *watch;
	struct list queries;
	struct task close_task;
	char reason[256];
	bool failed;
	/* Set while callbacks run, so that a destroy inside one is noticed. */
	bool *destroyed;
};

static void query_free(struct query *query)
{
	list_remove(&query->link);
	PQclear(query->rows);
	for (unsigned i = 0; i < query->value_count; i++)
		free(query->values[i]);
	free(query->values);
	free(query->sql);
	free(query);
}

static void note_reason(struct db *db, const char *text)
{
	size_t length = strcspn(text, "\n");
	if (length >= sizeof(db->reason))
		length = sizeof(db->reason) - 1;
	memcpy(db->reason, text, length);
	db->reason[length] = '\0';
}

static void on_close_task(void *arg)
{
	struct db *db = arg;
	bool destroyed = false;
	db->destroyed = &destroyed;
	while (!list_is_empty(&db->queries)) {
		struct query *query = list_entry(db->queries.next, struct query, link);
		list_remove(&query->link);
		query->done(query->arg, NULL, db->reason);
		query_free(query);
		if (destroyed)
			return;
	}
	db->destroyed = NULL;
	db->handler.on_close(db->arg, db->reason);
}

static void fail(struct db *db, const char *reason)
{
	if (db->failed)
		return;
	db->failed = true;
	note_reason(db, reason);
	watch_destroy(&db->watch);
	PQfinish(db->connection);
	db->connection = NULL;
	loop_defer(db->loop, &db->close_task);
}

/* Sends what is queued and asks for the readiness that is needed. */
static void pump_output(struct db *db)
{
	if (!db->connection || list_is_empty(&db->queries)) {
		if (db->watch)
			watch_set_events(db->watch, WATCH_READ);
		return;
	}
	struct query *query = list_entry(db->queries.next, struct query, link);
	if (!query->sent) {
		if (!PQsendQueryParams(db->connection, query->sql, (int)query->value_count, NULL,
			    (const char *const *)query->values, NULL, NULL, 0)) {
			fail(db, PQerrorMessage(db->connection));
			return;
		}
		query->sent = true;
	}
	int left = PQflush(db->connection);
	if (left < 0)
		fail(db, PQerrorMessage(db->connection));
	else
		watch_set_events(db->watch, left ? WATCH_READ | WATCH_WRITE : WATCH_READ);
}

/* Hands one answer to its query. False when the db was destroyed by the callback. */
static bool finish_query(struct db *db, struct query *query)
{
	PGresult *rows = query->rows;
	query->rows = NULL;
	ExecStatusType status = PQresultStatus(rows);
	struct db_result result = { rows };
	bool is_good = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
	char reason[256] = "";
	if (!is_good) {
		const char *text = PQresultErrorMessage(rows);
		size_t length = strcspn(text, "\n");
		if (length >= sizeof(reason))
			length = sizeof(reason) - 1;
		memcpy(reason, text, length);
	}
	bool destroyed = false;
	db->destroyed = &destroyed;
	list_remove(&query->link);
	query->done(query->arg, is_good ? &result : NULL, is_good ? NULL : reason);
	query_free(query);
	PQclear(rows);
	if (!destroyed)
		db->destroyed = NULL;
	return !destroyed;
}

static void on_ready(void *arg, unsigned events)
{
	struct db *db = arg;
	if (events & WATCH_READ && !PQconsumeInput(db->connection)) {
		fail(db, PQerrorMessage(db->connection));
		return;
	}
	while (!list_is_empty(&db->queries)) {
		struct query *query = list_entry(db->queries.next, struct query, link);
		if (!query->sent || PQisBusy(db->connection))
			break;
		PGresult *rows = PQgetResult(db->connection);
		if (rows) {
			PQclear(query->rows);
			query->rows = rows;
			continue;
		}
		if (!query->rows) {
			fail(db, "the connection lost an answer");
			return;
		}
		if (!finish_query(db, query) || db->failed)
			return;
		pump_output(db);
		if (db->failed)
			return;
	}
	bool notified = false;
	PGnotify *notify;
	while ((notify = PQnotifies(db->connection)) != NULL) {
		PQfreemem(notify);
		notified = true;
	}
	pump_output(db);
	if (notified && !db->failed)
		db->handler.on_notify(db->arg);
}

/* Pool thread. */
static void connect_work(void *arg)
{
	struct connecting *connecting = arg;
	const char *const names[] = {
		"dbname",
		"target_session_attrs",
		"connect_timeout",
		"application_name",
		"keepalives_idle",
		"keepalives_interval",
		"keepalives_count",
		"tcp_user_timeout",
		NULL,
	};
	const char *const values[] = {
		connecting->conninfo,
		connecting->session,
		CONNECT_TIMEOUT_S,
		"pando",
		"5",
		"2",
		"3",
		"10000",
		NULL,
	};
	connecting->connection = PQconnectdbParams(names, values, 1);
}

static void connecting_free(struct connecting *connecting)
{
	free(connecting->conninfo);
	free(connecting->session);
	free(connecting);
}

static void connect_done(void *arg)
{
	struct connecting *connecting = arg;
	struct db *db = connecting->owner;
	PGconn *connection = connecting->connection;
	connecting_free(connecting);
	if (!db) {
		PQfinish(connection);
		return;
	}
	db->connecting = NULL;
	db->connection = connection;
	if (PQstatus(connection) != CONNECTION_OK || PQsetnonblocking(connection, 1) != 0) {
		fail(db, PQerrorMessage(connection));
		return;
	}
	db->watch = watch_create(db->loop, PQsocket(connection), WATCH_READ, on_ready, db);
	if (!db->watch) {
		fail(db, "its socket cannot be watched");
		return;
	}
	pump_output(db);
	if (!db->failed)
		db->handler.on_open(db->arg);
}

struct db *db_create(struct loop *loop, const char *conninfo, const char *session,
	const struct db_handler *handler, void *arg)
{
	struct db *db = mem_alloc(sizeof(*db));
	db->loop = loop;
	db->handler = *handler;
	db->arg = arg;
	list_init(&db->queries);
	db->close_task.run = on_close_task;
	db->close_task.arg = db;
	db->connecting = mem_alloc(sizeof(*db->connecting));
	db->connecting->conninfo = mem_copy(conninfo, strlen(conninfo) + 1);
	db->connecting->session = mem_copy(session, strlen(session) + 1);
	db->connecting->owner = db;
	loop_work(loop, connect_work, connect_done, db->connecting);
	return db;
}

/* Frees after the deferred tasks of this turn: close_task may stand in the queue. */
static void on_free_task(void *arg)
{
	free(arg);
}

void db_destroy(struct db **db_pointer)
{
	struct db *db = *db_pointer;
	if (!db)
		return;
	*db_pointer = NULL;
	if (db->destroyed)
		*db->destroyed = true;
	if (db->connecting)
		db->connecting->owner = NULL;
	watch_destroy(&db->watch);
	PQfinish(db->connection);
	while (!list_is_empty(&db->queries))
		query_free(list_entry(db->queries.next, struct query, link));
	if (db->close_task.queued) {
		/* The queue still names the task: let it pass, then free. */
		db->close_task.run = on_free_task;
		db->close_task.arg = db;
		return;
	}
	free(db);
}

void db_query(struct db *db, const char *sql, const char *const *values, unsigned value_count,
	void (*done)(void *arg, struct db_result *result, const char *error), void *arg)
{
	struct query *query = mem_alloc(sizeof(*query));
	query->sql = mem_copy(sql, strlen(sql) + 1);
	query->values = mem_alloc((value_count + 1) * sizeof(char *));
	query->value_count = value_count;
	for (unsigned i = 0; i < value_count; i++)
		query->values[i] = values[i] ? mem_copy(values[i], strlen(values[i]) + 1) : NULL;
	query->done = done;
	query->arg = arg;
	list_append(&db->queries, &query->link);
	if (db->failed)
		loop_defer(db->loop, &db->close_task);
	else if (db->connection)
		pump_output(db);
}

unsigned db_result_rows(const struct db_result *result)
{
	return (unsigned)PQntuples(result->rows);
}

unsigned db_result_columns(const struct db_result *result)
{
	return (unsigned)PQnfields(result->rows);
}

const char *db_result_value(const struct db_result *result, unsigned row, unsigned column)
{
	if (PQgetisnull(result->rows, (int)row, (int)column))
		return NULL;
	return PQgetvalue(result->rows, (int)row, (int)column);
}
