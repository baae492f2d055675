/*
 * Opens many IMAP sessions over TLS, brings each to IDLE in INBOX, says `idle N` and holds them
 * until standard input ends: for the memory that an idle session costs.
 *
 * Sessions are opened a few at a time; session i logs in as mailbox i % mailboxes.
 */

#include "core/log.h"
#include "core/loop.h"
#include "core/net.h"
#include "core/process.h"
#include "core/watch.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	/* Logins wait for each other: a peer with few login processes takes seconds. */
	CONNECT_MS = 30000,
	/* Enough to keep both sides busy, few enough for any server's limit on logins under way. */
	OPENING_MAX = 20,
};

enum state { GREETING, LOGIN, SELECT, IDLE, RESTING };

struct idle {
	struct loop *loop;
	struct tls_context *tls;
	const char *address;
	const char *domain;
	const char *password;
	unsigned session_count;
	unsigned mailbox_count;
	unsigned started_count;
	unsigned resting_count;
	struct session *sessions;
};

struct session {
	struct idle *idle;
	struct stream *stream;
	enum state state;
	unsigned mailbox;
};

static void fail(const char *what, struct str detail)
{
	fprintf(stderr, "imap_idle: %s: " STR_FORMAT "\n", what, STR_ARG(detail));
	exit(1);
}

static void start_session(struct idle *idle);

static void take_line(struct session *session, struct str line)
{
	struct idle *idle = session->idle;
	switch (session->state) {
	case GREETING:
		if (!str_starts_with(line, STR("* OK")))
			fail("no greeting", line);
		session->state = LOGIN;
		stream_printf(session->stream, "1 LOGIN u%04u@%s %s\r\n", session->mailbox,
			idle->domain, idle->password);
		return;
	case LOGIN:
		if (str_starts_with(line, STR("* ")))
			return;
		if (!str_starts_with(line, STR("1 OK")))
			fail("login", line);
		session->state = SELECT;
		stream_write_str(session->stream, STR("2 SELECT INBOX\r\n"));
		return;
	case SELECT:
		if (str_starts_with(line, STR("* ")))
			return;
		if (!str_starts_with(line, STR("2 OK")))
			fail("SELECT", line);
		session->state = IDLE;
		stream_write_str(session->stream, STR("3 IDLE\r\n"));
		return;
	case IDLE:
		if (!str_starts_with(line, STR("+")))
			return;
		session->state = RESTING;
		if (++idle->resting_count == idle->session_count) {
			printf("idle %u\n", idle->resting_count);
			fflush(stdout);
		}
		if (idle->started_count < idle->session_count)
			start_session(idle);
		return;
	case RESTING:
		return;
	}
}

static void on_input(void *arg, struct buf *input)
{
	for (;;) {
		struct str waiting = buf_str(input);
		ptrdiff_t end = str_find_byte(waiting, '\n');
		if (end < 0)
			return;
		take_line(arg, str_trim(str_first(waiting, (size_t)end)));
		buf_consume(input, (size_t)end + 1);
	}
}

static void on_close(void *arg, int reason)
{
	(void)arg;
	fail("connection lost", str_from(reason ? strerror(-reason) : "closed by the server"));
}

static const struct stream_handler handler = { .on_input = on_input, .on_close = on_close };

static void start_session(struct idle *idle)
{
	struct session *session = &idle->sessions[idle->started_count];
	session->idle = idle;
	session->mailbox = idle->started_count++ % idle->mailbox_count + 1;
	session->stream = stream_connect(
		idle->loop, idle->address, idle->tls, NULL, CONNECT_MS, &handler, session);
}

static void on_standard_input(void *arg, unsigned events)
{
	char byte;
	(void)events;
	if (read(STDIN_FILENO, &byte, 1) <= 0)
		loop_stop(((struct idle *)arg)->loop);
}

static unsigned number_option(const char *name)
{
	uint64_t value = 0;
	if (!str_to_u64(str_from(optarg), 1000000, &value) || value == 0)
		fail("not a possible number", str_from(name));
	return (unsigned)value;
}

static void parse_options(struct idle *idle, int count, char **arguments)
{
	static const struct option options[] = {
		{ "sessions", required_argument, NULL, 's' },
		{ "mailboxes", required_argument, NULL, 'n' },
		{ "domain", required_argument, NULL, 'd' },
		{ "password", required_argument, NULL, 'p' },
		{ 0 },
	};
	int option;
	while ((option = getopt_long(count, arguments, "s:n:d:p:", options, NULL)) != -1) {
		switch (option) {
		case 's':
			idle->session_count = number_option("sessions");
			break;
		case 'n':
			idle->mailbox_count = number_option("mailboxes");
			break;
		case 'd':
			idle->domain = optarg;
			break;
		case 'p':
			idle->password = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (optind != count - 1) {
		fprintf(stderr,
			"usage: imap_idle [--sessions 1000] [--mailboxes 100] [--domain "
			"example.org] [--password pando-demo] HOST:PORT\n");
		exit(2);
	}
	idle->address = arguments[optind];
}

int main(int count, char **arguments)
{
	struct idle idle = { .domain = "example.org",
		.password = "pando-demo",
		.session_count = 1000,
		.mailbox_count = 100 };
	struct error error;
	log_setup("imap_idle", LOG_LEVEL_WARN);
	process_raise_file_limit();
	parse_options(&idle, count, arguments);
	idle.loop = loop_create();
	if (tls_context_create(&(struct tls_options){ 0 }, &idle.tls, &error) < 0)
		fail("TLS", str_from(error.text));
	idle.sessions = mem_alloc(idle.session_count * sizeof(*idle.sessions));
	struct watch *watch =
		watch_create(idle.loop, STDIN_FILENO, WATCH_READ, on_standard_input, &idle);
	for (unsigned i = 0; i < OPENING_MAX && i < idle.session_count; i++)
		start_session(&idle);
	loop_run(idle.loop);
	watch_destroy(&watch);
	/* The kernel closes the sessions: their number makes an orderly end slow. */
	return 0;
}
