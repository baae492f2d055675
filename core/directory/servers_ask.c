/* All PostgreSQL hosts of a connection string at once: libpq would ask one after the other, and a
 * host that died with its site answers nothing: a failover must not wait for it. */

#include "core/directory/servers.h"

#include "core/buf.h"
#include "core/clock.h"
#include "core/str.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* A host that does not answer is given up after this: ten round trips around the world. */
	CONNECT_MS = 3000,
	/* The same once a good server has been found: those that live answer with it, and a site
	 * that has burnt down may hold a failover up for this long. */
	OTHERS_MS = 500,
	/* libpq 15 knows 42. */
	OPTIONS_MAX = 64,
};

/* What a server is asked when it is connected; the second only of one whose identity is not the
 * known one. pg_control_checkpoint learns of a promotion with the next checkpoint only, the name of
 * the file that is being written at once. */
static const char who_are_you[] =
	"select pg_is_in_recovery(), current_setting('transaction_read_only'), "
	"(select system_identifier from pg_control_system()), "
	"(select timeline_id from pg_control_checkpoint()), "
	"case when not pg_is_in_recovery() then "
	"substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) end, "
	"cast(extract(epoch from pg_postmaster_start_time()) * 1000000 as bigint)";
static const char after_whom[] = "select value from pando.policy where name = 'server'";

enum stage { STAGE_CONNECT, STAGE_IDENTITY, STAGE_SUCCESSION, STAGE_DONE };

struct attempt {
	struct server *server;
	enum stage stage;
	PostgresPollingStatusType wants; /* STAGE_CONNECT: READING or WRITING */
};

/* The i-th of a comma-separated list; a list of one stands for all. "" when there is none. */
static char *nth(const char *list, unsigned index)
{
	struct str rest = str_from(list ? list : ""), item = STR(""), first = STR("");
	bool found = false;
	for (unsigned i = 0; !found && str_next(&rest, ',', &item); i++) {
		first = i == 0 ? item : STR("");
		found = i == index;
	}
	return str_to_heap(found ? item : first);
}

static unsigned count_items(const char *list)
{
	unsigned count = 1;
	for (; list && *list; list++)
		count += *list == ',';
	return count;
}

static const char *option_of(const PQconninfoOption *options, const char *keyword)
{
	for (; options && options->keyword; options++)
		if (strcmp(options->keyword, keyword) == 0)
			return options->val;
	return NULL;
}

static bool is_per_host(const char *keyword)
{
	return strcmp(keyword, "host") == 0 || strcmp(keyword, "hostaddr") == 0 ||
		strcmp(keyword, "port") == 0;
}

static void give_up(struct attempt *attempt, const char *text)
{
	struct server *server = attempt->server;
	struct str rest = str_from(text), line;
	struct buf reason = { 0 };
	/* libpq's guesses at the cause are indented. */
	while (str_next(&rest, '\n', &line))
		if (line.length && line.bytes[0] != '\t')
			buf_printf(&reason, "%s" STR_FORMAT, buf_length(&reason) ? "; " : "",
				STR_ARG(str_trim(line)));
	snprintf(server->reason, sizeof(server->reason), "%s", buf_terminated(&reason));
	buf_deinit(&reason);
	server->state = SERVER_AWAY;
	attempt->stage = STAGE_DONE;
}

static void name_host(struct server *server)
{
	const char *host = PQhost(server->connection), *port = PQport(server->connection);
	snprintf(server->host, sizeof(server->host), "%s:%s", host && host[0] ? host : "localhost",
		port && port[0] ? port : "5432");
}

/* All options as they are, but of the lists of hosts the item `index`. */
static void start(struct attempt *attempt, const PQconninfoOption *options, unsigned index)
{
	const char *names[OPTIONS_MAX + 1] = { "target_session_attrs", "application_name",
		"client_encoding" };
	const char *values[OPTIONS_MAX + 1] = { "any", "pando", "UTF8" };
	char *items[OPTIONS_MAX];
	unsigned count = 3, item_count = 0;
	for (; options->keyword && count < OPTIONS_MAX; options++) {
		if (!options->val || strcmp(options->keyword, names[0]) == 0 ||
			strcmp(options->keyword, names[1]) == 0 ||
			strcmp(options->keyword, names[2]) == 0)
			continue;
		names[count] = options->keyword;
		values[count] = options->val;
		if (is_per_host(options->keyword))
			values[count] = items[item_count++] = nth(options->val, index);
		count++;
	}
	PGconn *connection = PQconnectStartParams(names, values, 0);
	attempt->server->connection = connection;
	attempt->wants = PGRES_POLLING_WRITING;
	name_host(attempt->server);
	if (PQstatus(connection) == CONNECTION_BAD)
		give_up(attempt, PQerrorMessage(connection));
	while (item_count)
		free(items[--item_count]);
}

/* ---- what they answer ---- */

static void ask(struct attempt *attempt, enum stage stage, const char *question)
{
	attempt->stage = stage;
	if (!PQsendQuery(attempt->server->connection, question))
		give_up(attempt, PQerrorMessage(attempt->server->connection));
}

static uint64_t cell_u64(const PGresult *rows, int column)
{
	uint64_t value = 0;
	(void)!str_to_u64(str_from(PQgetvalue(rows, 0, column)), UINT64_MAX, &value);
	return value;
}

/* Hexadecimal, as in the names of its files; "" of a standby. */
static uint32_t writing_timeline(const PGresult *rows)
{
	unsigned timeline = 0;
	return sscanf(PQgetvalue(rows, 0, 4), "%8x", &timeline) == 1 ? timeline : 0;
}

static void take_identity(
	struct attempt *attempt, const PGresult *rows, const struct server_identity *known)
{
	struct server *server = attempt->server;
	bool is_standby = PQgetvalue(rows, 0, 0)[0] == 't';
	bool is_read_only = strcmp(PQgetvalue(rows, 0, 1), "on") == 0;
	uint32_t checkpoint = (uint32_t)cell_u64(rows, 3), writing = writing_timeline(rows);
	server->state = is_standby ? SERVER_STANDBY
		: is_read_only     ? SERVER_READ_ONLY
				   : SERVER_WRITABLE;
	server->identity.system = cell_u64(rows, 2);
	server->identity.timeline = writing > checkpoint ? writing : checkpoint;
	server->started_us = cell_u64(rows, 5);
	if (known->system != server->identity.system)
		ask(attempt, STAGE_SUCCESSION, after_whom);
	else
		attempt->stage = STAGE_DONE;
}

static void take_succession(struct attempt *attempt, const PGresult *rows)
{
	struct server *server = attempt->server;
	attempt->stage = STAGE_DONE;
	/* One without the table came after nobody. */
	if (PQresultStatus(rows) != PGRES_TUPLES_OK || PQntuples(rows) != 1 ||
		!servers_parse_succession(PQgetvalue(rows, 0, 0), &server->self, &server->before))
		server->self.system = 0;
}

static void take_answer(struct attempt *attempt, const struct server_identity *known)
{
	PGconn *connection = attempt->server->connection;
	enum stage stage = attempt->stage;
	if (!PQconsumeInput(connection)) {
		give_up(attempt, PQerrorMessage(connection));
		return;
	}
	if (PQisBusy(connection))
		return;
	PGresult *rows = PQgetResult(connection), *more;
	/* Nothing more comes of one statement. */
	while ((more = PQgetResult(connection)) != NULL)
		PQclear(more);
	if (stage == STAGE_SUCCESSION)
		take_succession(attempt, rows);
	else if (PQresultStatus(rows) == PGRES_TUPLES_OK && PQntuples(rows) == 1)
		take_identity(attempt, rows, known);
	else
		give_up(attempt, PQerrorMessage(connection));
	PQclear(rows);
}

static void go_on(struct attempt *attempt, const struct server_identity *known)
{
	PGconn *connection = attempt->server->connection;
	if (attempt->stage != STAGE_CONNECT) {
		take_answer(attempt, known);
		return;
	}
	attempt->wants = PQconnectPoll(connection);
	if (attempt->wants == PGRES_POLLING_FAILED)
		give_up(attempt, PQerrorMessage(connection));
	else if (attempt->wants == PGRES_POLLING_OK)
		ask(attempt, STAGE_IDENTITY, who_are_you);
}

/* Goes on with those that are ready; false when the time is over or nobody is left. */
static bool step(struct attempt *attempts, unsigned count, const struct server_identity *known,
	uint64_t deadline_us)
{
	struct pollfd ready[SERVERS_MAX];
	unsigned owners[SERVERS_MAX], pending = 0;
	uint64_t now = clock_mono_us();
	for (unsigned i = 0; i < count; i++) {
		bool writes = attempts[i].stage == STAGE_CONNECT &&
			attempts[i].wants == PGRES_POLLING_WRITING;
		if (attempts[i].stage == STAGE_DONE)
			continue;
		ready[pending] = (struct pollfd){ PQsocket(attempts[i].server->connection),
			writes ? POLLOUT : POLLIN, 0 };
		owners[pending++] = i;
	}
	if (pending == 0 || now >= deadline_us)
		return false;
	int found = poll(ready, pending, (int)((deadline_us - now) / 1000) + 1);
	for (unsigned i = 0; found > 0 && i < pending; i++)
		if (ready[i].revents)
			go_on(&attempts[owners[i]], known);
	return found > 0 || (found < 0 && errno == EINTR);
}

/* A server that can be written and is no stranger: the others are waited for shortly only. */
static bool is_found(
	const struct attempt *attempts, unsigned count, const struct server_identity *known)
{
	for (unsigned i = 0; i < count; i++) {
		const struct server_identity *identity = &attempts[i].server->identity;
		if (attempts[i].stage == STAGE_DONE &&
			attempts[i].server->state == SERVER_WRITABLE &&
			(known->system == 0 ||
				(identity->system == known->system &&
					identity->timeline >= known->timeline)))
			return true;
	}
	return false;
}

static void ask_all(struct attempt *attempts, unsigned count, const struct server_identity *known)
{
	uint64_t deadline_us = clock_mono_us() + (uint64_t)CONNECT_MS * 1000;
	bool found = false;
	while (step(attempts, count, known, deadline_us)) {
		if (found || !is_found(attempts, count, known))
			continue;
		uint64_t soon_us = clock_mono_us() + (uint64_t)OTHERS_MS * 1000;
		deadline_us = soon_us < deadline_us ? soon_us : deadline_us;
		found = true;
	}
	for (unsigned i = 0; i < count; i++)
		if (attempts[i].stage != STAGE_DONE) {
			char reason[200];
			snprintf(reason, sizeof(reason), "%s does not answer",
				attempts[i].server->host);
			give_up(&attempts[i], reason);
		}
}

static PQconninfoOption *parse(const char *conninfo, unsigned *hosts_out, struct error *error)
{
	char *complaint = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &complaint);
	if (!options) {
		error_set(error, -EINVAL,
			"the `directory` connection string is malformed: " STR_FORMAT
			". Write postgresql://USER:PASSWORD@HOST/DATABASE",
			STR_ARG(str_trim(str_from(complaint ? complaint : ""))));
		PQfreemem(complaint);
		return NULL;
	}
	unsigned hosts = count_items(option_of(options, "host"));
	unsigned addresses = count_items(option_of(options, "hostaddr"));
	hosts = hosts > addresses ? hosts : addresses;
	*hosts_out = hosts < SERVERS_MAX ? hosts : SERVERS_MAX;
	return options;
}

int servers_ask(const char *conninfo, const char *memory_path, struct servers *servers_out,
	struct error *error)
{
	struct attempt attempts[SERVERS_MAX] = { 0 };
	*servers_out = (struct servers){ .chosen = -1 };
	PQconninfoOption *options = parse(conninfo, &servers_out->count, error);
	if (!options)
		return -EINVAL;
	int result = memory_path ? servers_recall(memory_path, &servers_out->known) : 0;
	if (result < 0) {
		PQconninfoFree(options);
		servers_out->count = 0;
		return error_set(error, result,
			"which server was the directory before cannot be read in %s: %s",
			memory_path, strerror(-result));
	}
	for (unsigned i = 0; i < servers_out->count; i++) {
		attempts[i].server = &servers_out->list[i];
		start(&attempts[i], options, i);
	}
	PQconninfoFree(options);
	ask_all(attempts, servers_out->count, &servers_out->known);
	servers_choose(servers_out);
	const struct server *chosen =
		servers_out->chosen >= 0 ? &servers_out->list[servers_out->chosen] : NULL;
	/* A standby is on the way to a timeline, not there. Best effort: what is not remembered is
	 * asked again. */
	if (memory_path && chosen && chosen->state != SERVER_STANDBY &&
		(chosen->identity.system != servers_out->known.system ||
			chosen->identity.timeline != servers_out->known.timeline))
		(void)!servers_remember(memory_path, chosen->identity);
	return 0;
}

void servers_release(struct servers *servers)
{
	for (unsigned i = 0; i < servers->count; i++) {
		PQfinish(servers->list[i].connection);
		servers->list[i].connection = NULL;
	}
}

struct pg_conn *servers_take(struct servers *servers)
{
	struct pg_conn *connection = servers->list[servers->chosen].connection;
	servers->list[servers->chosen].connection = NULL;
	return connection;
}

void servers_name_one(const char *conninfo, unsigned index, struct buf *out)
{
	unsigned count;
	PQconninfoOption *options = parse(conninfo, &count, NULL);
	for (const PQconninfoOption *option = options; option && option->keyword; option++) {
		if (!option->val || strcmp(option->keyword, "target_session_attrs") == 0)
			continue;
		char *value = is_per_host(option->keyword) ? nth(option->val, index) : NULL;
		buf_printf(out, "%s%s='", buf_length(out) ? " " : "", option->keyword);
		for (const char *c = value ? value : option->val; *c; c++) {
			if (*c == '\'' || *c == '\\')
				buf_append_byte(out, '\\');
			buf_append_byte(out, *c);
		}
		buf_append_byte(out, '\'');
		free(value);
	}
	PQconninfoFree(options);
}
