/* One connection to whichever of several PostgreSQL hosts is the right one. libpq would ask one
 * after the other, and a host that died with its site answers nothing: a failover must not wait for
 * it. */

#include "core/directory/sql_connect.h"

#include "core/buf.h"
#include "core/clock.h"
#include "core/str.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* A host that does not answer is given up after this: ten round trips around the world. */
	CONNECT_MS = 3000,
	/* A primary and standbys at a few sites; more hosts in a URL are asked no better. */
	HOSTS_MAX = 8,
	/* libpq 15 knows 42. */
	OPTIONS_MAX = 64,
};

struct attempt {
	PGconn *connection;
	PostgresPollingStatusType wants; /* READING or WRITING; OK or FAILED when it is over */
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

/* All options as they are, but of the lists of hosts the item `index`. */
static void start(
	struct attempt *attempt, const PQconninfoOption *options, unsigned index, bool writable)
{
	const char *names[OPTIONS_MAX + 1] = { "target_session_attrs", "application_name",
		"client_encoding" };
	const char *values[OPTIONS_MAX + 1] = { writable ? "read-write" : "any", "pando", "UTF8" };
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
	attempt->connection = PQconnectStartParams(names, values, 0);
	attempt->wants = PQstatus(attempt->connection) == CONNECTION_BAD ? PGRES_POLLING_FAILED
									 : PGRES_POLLING_WRITING;
	while (item_count)
		free(items[--item_count]);
}

static bool is_pending(const struct attempt *attempt)
{
	return attempt->wants == PGRES_POLLING_READING || attempt->wants == PGRES_POLLING_WRITING;
}

/* Goes on with those that are ready; false when the time is over or nobody is left. */
static bool step(struct attempt *attempts, unsigned count, uint64_t deadline_us)
{
	struct pollfd ready[HOSTS_MAX];
	unsigned owners[HOSTS_MAX], pending = 0;
	uint64_t now = clock_mono_us();
	for (unsigned i = 0; i < count; i++) {
		if (!is_pending(&attempts[i]))
			continue;
		short events = attempts[i].wants == PGRES_POLLING_READING ? POLLIN : POLLOUT;
		ready[pending] = (struct pollfd){ PQsocket(attempts[i].connection), events, 0 };
		owners[pending++] = i;
	}
	if (pending == 0 || now >= deadline_us)
		return false;
	int found = poll(ready, pending, (int)((deadline_us - now) / 1000) + 1);
	for (unsigned i = 0; found > 0 && i < pending; i++)
		if (ready[i].revents)
			attempts[owners[i]].wants = PQconnectPoll(attempts[owners[i]].connection);
	return found > 0 || (found < 0 && errno == EINTR);
}

static const struct attempt *first_done(const struct attempt *attempts, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (attempts[i].wants == PGRES_POLLING_OK)
			return &attempts[i];
	return NULL;
}

/* What each host said, in one line. */
static void collect_reasons(const struct attempt *attempts, unsigned count, struct buf *out)
{
	for (unsigned i = 0; i < count; i++) {
		struct str rest = str_from(PQerrorMessage(attempts[i].connection)), line;
		if (is_pending(&attempts[i])) {
			const char *host = PQhost(attempts[i].connection);
			buf_printf(out, "%s%s does not answer", buf_length(out) ? "; " : "",
				host ? host : "it");
			continue;
		}
		/* libpq's guesses at the cause are indented. */
		while (str_next(&rest, '\n', &line))
			if (line.length && line.bytes[0] != '\t')
				buf_printf(out, "%s" STR_FORMAT, buf_length(out) ? "; " : "",
					STR_ARG(str_trim(line)));
	}
}

int sql_connect(const char *conninfo, bool writable, PGconn **connection_out, struct error *error)
{
	struct attempt attempts[HOSTS_MAX] = { 0 };
	struct buf reasons = { 0 };
	char *complaint = NULL;
	PQconninfoOption *options = PQconninfoParse(conninfo, &complaint);
	*connection_out = NULL;
	if (!options) {
		int code = error_set(error, -EINVAL,
			"the `directory` connection string is malformed: " STR_FORMAT
			". Write postgresql://USER:PASSWORD@HOST/DATABASE",
			STR_ARG(str_trim(str_from(complaint ? complaint : ""))));
		PQfreemem(complaint);
		return code;
	}
	unsigned hosts = count_items(option_of(options, "host"));
	unsigned addresses = count_items(option_of(options, "hostaddr"));
	unsigned count = hosts > addresses ? hosts : addresses;
	count = count < HOSTS_MAX ? count : HOSTS_MAX;
	for (unsigned i = 0; i < count; i++)
		start(&attempts[i], options, i, writable);
	PQconninfoFree(options);
	uint64_t deadline_us = clock_mono_us() + (uint64_t)CONNECT_MS * 1000;
	while (!first_done(attempts, count) && step(attempts, count, deadline_us))
		;
	const struct attempt *done = first_done(attempts, count);
	if (!done)
		collect_reasons(attempts, count, &reasons);
	for (unsigned i = 0; i < count; i++)
		if (&attempts[i] != done)
			PQfinish(attempts[i].connection);
	int code = 0;
	if (done)
		*connection_out = done->connection;
	else
		code = error_set(error, -EHOSTUNREACH, "%s", buf_terminated(&reasons));
	buf_deinit(&reasons);
	return code;
}
