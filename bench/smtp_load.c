/*
 * Hands many messages to an SMTP server over parallel connections that are used again and again,
 * and says how long it took: the same load for Pando and for its peers.
 *
 * Each session sends one message after the other: MAIL, RCPT and DATA in one write where the server
 * offers PIPELINING (as mail servers do; --no-pipelining waits for every reply), then the message.
 * The recipients go round: message i is for mailbox i % mailboxes. Any reply but the expected one
 * ends the run with exit code 1: a figure with losses is no figure.
 *
 * The last line of the output is one JSON object.
 */

#include "core/clock.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/net.h"
#include "core/process.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	/* A peer that takes longer is not there. */
	CONNECT_MS = 10000,
	/* Far above what a server of this kind takes side by side. */
	SESSIONS_MAX = 1000,
	/* As mail programs write text. */
	LINE_LENGTH = 72,
};

enum state { GREETING, EHLO, MAIL, RCPT, DATA, FINAL, QUIT };

struct load {
	struct loop *loop;
	const char *address;
	const char *domain;
	unsigned session_count;
	unsigned mailbox_count;
	uint64_t message_count;
	size_t length;
	bool pipelining;

	struct buf body;
	uint64_t started_count;
	uint64_t accepted_count;
	unsigned open_count;
	uint64_t start_us;
	uint32_t *latencies_us; /* of each accepted message, MAIL to final reply */
};

struct session {
	struct load *load;
	struct stream *stream;
	enum state state;
	uint64_t number; /* of the message under way */
	uint64_t begin_us;
};

static void fail(const char *what, struct str detail)
{
	fprintf(stderr, "smtp_load: %s: " STR_FORMAT "\n", what, STR_ARG(detail));
	exit(1);
}

static void write_envelope(struct session *session)
{
	struct load *load = session->load;
	unsigned mailbox = (unsigned)(session->number % load->mailbox_count) + 1;
	switch (session->state) {
	case MAIL:
		stream_printf(session->stream, "MAIL FROM:<load@example.net>\r\n");
		if (!load->pipelining)
			return;
		/* fall through */
	case RCPT:
		stream_printf(session->stream, "RCPT TO:<u%04u@%s>\r\n", mailbox, load->domain);
		if (!load->pipelining)
			return;
		/* fall through */
	default:
		stream_write_str(session->stream, STR("DATA\r\n"));
	}
}

static void write_message(struct session *session)
{
	struct load *load = session->load;
	stream_printf(session->stream,
		"From: Load <load@example.net>\r\nTo: u%04u@%s\r\n"
		"Date: Fri, 20 Nov 2026 10:00:00 +0000\r\n"
		"Message-ID: <load-%llu-%llu@example.net>\r\nSubject: load %llu\r\n\r\n",
		(unsigned)(session->number % load->mailbox_count) + 1, load->domain,
		(unsigned long long)load->start_us, (unsigned long long)session->number,
		(unsigned long long)session->number);
	stream_write_str(session->stream, buf_str(&load->body));
	stream_write_str(session->stream, STR(".\r\n"));
}

static void begin_message(struct session *session)
{
	struct load *load = session->load;
	if (load->started_count == load->message_count) {
		session->state = QUIT;
		stream_write_str(session->stream, STR("QUIT\r\n"));
		return;
	}
	session->number = load->started_count++;
	session->begin_us = clock_mono_us();
	session->state = MAIL;
	write_envelope(session);
}

static void on_final(struct session *session)
{
	struct load *load = session->load;
	load->latencies_us[load->accepted_count++] =
		(uint32_t)(clock_mono_us() - session->begin_us);
	begin_message(session);
}

static void end_session(struct session *session)
{
	struct load *load = session->load;
	stream_abort(session->stream);
	session->stream = NULL;
	if (--load->open_count == 0)
		loop_stop(load->loop);
}

/* One whole reply, of which `line` is the last line. Returns false when the session is over. */
static bool take_reply(struct session *session, struct str line)
{
	static const char expected[] = { [GREETING] = '2', [EHLO] = '2', [MAIL] = '2', [RCPT] = '2',
		[DATA] = '3', [FINAL] = '2', [QUIT] = '2' };
	if (line.bytes[0] != expected[session->state])
		fail("unexpected reply", line);
	switch (session->state) {
	case GREETING:
		session->state = EHLO;
		stream_write_str(session->stream, STR("EHLO load.example.net\r\n"));
		break;
	case EHLO:
		begin_message(session);
		break;
	case MAIL:
	case RCPT:
		session->state++;
		if (!session->load->pipelining)
			write_envelope(session);
		break;
	case DATA:
		session->state = FINAL;
		write_message(session);
		break;
	case FINAL:
		on_final(session);
		break;
	case QUIT:
		end_session(session);
		return false;
	}
	return true;
}

static void on_input(void *arg, struct buf *input)
{
	struct session *session = arg;
	for (;;) {
		struct str waiting = buf_str(input);
		ptrdiff_t end = str_find_byte(waiting, '\n');
		if (end < 0)
			return;
		struct str line = str_trim(str_first(waiting, (size_t)end));
		if (line.length < 3)
			fail("unexpected reply", line);
		bool is_last = line.length == 3 || line.bytes[3] == ' ';
		if (is_last && !take_reply(session, line))
			return;
		buf_consume(input, (size_t)end + 1);
	}
}

static void on_close(void *arg, int reason)
{
	(void)arg;
	fail("connection lost", str_from(reason ? strerror(-reason) : "closed by the server"));
}

static const struct stream_handler handler = { .on_input = on_input, .on_close = on_close };

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static double percentile_ms(const struct load *load, double share)
{
	size_t index = (size_t)((double)(load->accepted_count - 1) * share);
	return load->latencies_us[index] / 1000.0;
}

static void make_body(struct load *load)
{
	static const char words[] = "the aspen grove looks like a forest and is one organism; ";
	size_t at = 0;
	while (buf_length(&load->body) + 2 < load->length) {
		size_t left = load->length - buf_length(&load->body) - 2;
		size_t line = left < LINE_LENGTH ? left : LINE_LENGTH;
		for (size_t i = 0; i < line; i++)
			buf_append_byte(&load->body, words[at++ % (sizeof(words) - 1)]);
		buf_append_literal(&load->body, "\r\n");
	}
}

static uint64_t number_option(const char *name, uint64_t minimum, uint64_t maximum)
{
	uint64_t value = 0;
	if (!str_to_u64(str_from(optarg), maximum, &value) || value < minimum)
		fail("not a possible number", str_from(name));
	return value;
}

static void parse_options(struct load *load, int count, char **arguments)
{
	static const struct option options[] = {
		{ "sessions", required_argument, NULL, 's' },
		{ "messages", required_argument, NULL, 'm' },
		{ "length", required_argument, NULL, 'l' },
		{ "mailboxes", required_argument, NULL, 'n' },
		{ "domain", required_argument, NULL, 'd' },
		{ "no-pipelining", no_argument, NULL, 'p' },
		{ 0 },
	};
	int option;
	while ((option = getopt_long(count, arguments, "s:m:l:n:d:", options, NULL)) != -1) {
		switch (option) {
		case 's':
			load->session_count = (unsigned)number_option("sessions", 1, SESSIONS_MAX);
			break;
		case 'm':
			load->message_count = number_option("messages", 1, 100000000);
			break;
		case 'l':
			load->length = number_option("length", 4, 50 << 20);
			break;
		case 'n':
			load->mailbox_count = (unsigned)number_option("mailboxes", 1, 1000000);
			break;
		case 'd':
			load->domain = optarg;
			break;
		case 'p':
			load->pipelining = false;
			break;
		default:
			exit(2);
		}
	}
	if (optind != count - 1) {
		fprintf(stderr,
			"usage: smtp_load [--sessions 20] [--messages 1000] [--length 4096] "
			"[--mailboxes 1000] [--domain example.org] [--no-pipelining] HOST:PORT\n");
		exit(2);
	}
	load->address = arguments[optind];
}

int main(int count, char **arguments)
{
	struct load load = { .domain = "example.org", .session_count = 20, .mailbox_count = 1000,
		.message_count = 1000, .length = 4096, .pipelining = true };
	log_setup("smtp_load", LOG_LEVEL_WARN);
	process_raise_file_limit();
	parse_options(&load, count, arguments);
	make_body(&load);
	load.latencies_us = mem_alloc(load.message_count * sizeof(*load.latencies_us));
	load.loop = loop_create();
	load.start_us = clock_mono_us();
	struct session *sessions = mem_alloc(load.session_count * sizeof(*sessions));
	for (unsigned i = 0; i < load.session_count; i++) {
		sessions[i].load = &load;
		sessions[i].stream = stream_connect(load.loop, load.address, NULL, NULL, CONNECT_MS,
			&handler, &sessions[i]);
		load.open_count++;
	}
	loop_run(load.loop);
	double seconds = (double)(clock_mono_us() - load.start_us) / 1e6;
	qsort(load.latencies_us, load.accepted_count, sizeof(*load.latencies_us), compare_u32);
	printf("{\"accepted\": %llu, \"seconds\": %.4f, \"per_second\": %.1f, \"p50_ms\": %.2f, "
	       "\"p99_ms\": %.2f, \"max_ms\": %.2f}\n",
		(unsigned long long)load.accepted_count, seconds,
		(double)load.accepted_count / seconds, percentile_ms(&load, 0.5),
		percentile_ms(&load, 0.99), percentile_ms(&load, 1));
	loop_destroy(&load.loop);
	buf_deinit(&load.body);
	free(load.latencies_us);
	free(sessions);
	return 0;
}
