/*
 * Runs replay scripts: `replay_<engines> FILE...`, one process per script file by meson. A script
 * is read line by line; a line that begins with "#" or is empty says nothing. See README.md for the
 * verbs.
 */

#include "replay/engine.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONNECTIONS_MAX = 10 };

struct run {
	const char *file;
	unsigned line;
	const struct replay_engine *engine;
	struct stream *streams[CONNECTIONS_MAX];
	unsigned failures;
};

static void fail(struct run *run, const char *what, struct str expected, struct str got)
{
	printf("%s:%u: %s\n  expected " STR_FORMAT "\n  got      " STR_FORMAT "\n", run->file,
		run->line, what, STR_ARG(expected), STR_ARG(got));
	run->failures++;
}

/* "..." in a pattern stands for any bytes. */
static bool matches(struct str pattern, struct str text)
{
	ptrdiff_t gap = str_find(pattern, STR("..."));
	if (gap < 0)
		return str_equal(pattern, text);
	if (!str_starts_with(text, str_first(pattern, (size_t)gap)))
		return false;
	text = str_from_index(text, (size_t)gap);
	pattern = str_from_index(pattern, (size_t)gap + 3);
	while ((gap = str_find(pattern, STR("..."))) >= 0) {
		ptrdiff_t at = str_find(text, str_first(pattern, (size_t)gap));
		if (at < 0)
			return false;
		text = str_from_index(text, (size_t)(at + gap));
		pattern = str_from_index(pattern, (size_t)gap + 3);
	}
	return str_ends_with(text, pattern);
}

/* \r \n \t \0 \\ and \xNN. */
static void unescape(struct str text, struct buf *out)
{
	for (size_t i = 0; i < text.length; i++) {
		char c = text.bytes[i];
		if (c != '\\' || i + 1 == text.length) {
			buf_append_byte(out, c);
			continue;
		}
		c = text.bytes[++i];
		if (c == 'x' && i + 2 < text.length) {
			char digits[3] = { text.bytes[i + 1], text.bytes[i + 2], 0 };
			buf_append_byte(out, (char)strtol(digits, NULL, 16));
			i += 2;
		} else {
			buf_append_byte(out, c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' :
				c == '0' ? 0 : c);
		}
	}
}

/* The first line that the engine has written, without its CRLF; false when there is none. */
static bool take_line(struct stream *stream, struct buf *line_out)
{
	struct buf *output = world_output(stream);
	struct str bytes = buf_str(output);
	ptrdiff_t end = str_find_byte(bytes, '\n');

	buf_clear(line_out);
	if (!bytes.length)
		return false;
	size_t length = end < 0 ? bytes.length : (size_t)end + 1;
	struct str line = str_first(bytes, length);
	if (str_ends_with(line, STR("\n")))
		line.length--;
	if (str_ends_with(line, STR("\r")))
		line.length--;
	buf_append_str(line_out, line);
	buf_consume(output, length);
	return true;
}

static void expect(struct run *run, struct stream *stream, struct str pattern)
{
	struct buf line = { 0 };
	world_settle();
	if (!take_line(stream, &line))
		fail(run, "no output", pattern, STR(""));
	else if (!matches(pattern, buf_str(&line)))
		fail(run, "another line", pattern, buf_str(&line));
	buf_deinit(&line);
}

/* Lines up to one that matches are passed over. */
static void expect_later(struct run *run, struct stream *stream, struct str pattern)
{
	struct buf line = { 0 };
	bool found = false;
	world_settle();
	while (!found && take_line(stream, &line))
		found = matches(pattern, buf_str(&line));
	if (!found)
		fail(run, "never said", pattern, STR(""));
	buf_deinit(&line);
}

/* Which connection a verb speaks of: "client2" gives 2, "client" gives 1. */
static bool connection_verb(struct str verb, const char *name, unsigned *number_out)
{
	struct str prefix = str_from(name);
	if (!str_starts_with(verb, prefix))
		return false;
	struct str rest = str_from_index(verb, prefix.length);
	uint64_t number = 1;
	if (rest.length && !str_to_u64(rest, CONNECTIONS_MAX - 1, &number))
		return false;
	*number_out = (unsigned)number;
	return true;
}

static bool run_time(struct str text)
{
	uint64_t seconds;
	if (!str_starts_with(text, STR("+")) || !str_ends_with(text, STR("s")))
		return false;
	if (!str_to_u64(str_of(text.bytes + 1, text.length - 2), 1u << 30, &seconds))
		return false;
	world_advance_ms(seconds * 1000);
	return true;
}

/* A verb that needs an open connection. */
static bool run_on_stream(struct run *run, struct str verb, struct str text)
{
	static const char *const names[] = { "client>", "bytes>", "expect<", "later<", "nothing<",
		"closed<", "close>", "hold>", "release>", "repeat>" };
	char name[32];
	unsigned number = 1, which;

	for (which = 0; which < array_length(names); which++) {
		size_t length = strlen(names[which]) - 1;
		snprintf(name, sizeof(name), "%.*s", (int)length, names[which]);
		if (verb.length && verb.bytes[verb.length - 1] == names[which][length] &&
			connection_verb(str_first(verb, verb.length - 1), name, &number))
			break;
	}
	struct stream *stream = run->streams[number];
	if (which == array_length(names) || !stream)
		return false;
	struct buf bytes = { 0 };
	switch (which) {
	case 0:
		world_send(stream, text);
		world_send(stream, STR("\r\n"));
		break;
	case 1:
		unescape(text, &bytes);
		world_send(stream, buf_str(&bytes));
		break;
	case 2: expect(run, stream, text); break;
	case 3: expect_later(run, stream, text); break;
	case 4:
		world_settle();
		if (buf_length(world_output(stream)))
			fail(run, "output", STR("nothing"), buf_str(world_output(stream)));
		break;
	case 5:
		world_settle();
		if (!world_is_closed(stream))
			fail(run, "still open", STR("closed"), STR(""));
		break;
	case 6: world_close(stream); break;
	case 7: world_hold(stream, true); break;
	case 8: world_hold(stream, false); break;
	case 9: {
		/* "repeat> 1000 text": that many times, escapes as in "bytes>". */
		struct str count_text;
		struct buf piece = { 0 };
		uint64_t count = 0;
		str_next(&text, ' ', &count_text);
		if (!str_to_u64(count_text, 100u << 20, &count))
			return false;
		unescape(text, &piece);
		for (uint64_t i = 0; i < count; i++)
			buf_append_str(&bytes, buf_str(&piece));
		buf_deinit(&piece);
		world_send(stream, buf_str(&bytes));
		break;
	}
	default: break;
	}
	buf_deinit(&bytes);
	if (str_find_byte(verb, '<') < 0)
		world_settle();
	return true;
}

static bool run_line(struct run *run, struct str line)
{
	struct str verb, text = line;
	unsigned number;

	str_next(&text, ' ', &verb);
	if (!text.bytes)
		text = str_of("", 0);
	if (str_equal(verb, STR("engine"))) {
		struct str name;
		str_next(&text, ' ', &name);
		for (unsigned i = 0; replay_engines[i]; i++)
			if (str_equal(name, str_from(replay_engines[i]->name)))
				run->engine = replay_engines[i];
		if (run->engine)
			run->engine->start(text.bytes ? text : str_of("", 0));
		return run->engine;
	}
	if (!run->engine)
		return false;
	if (str_equal(verb, STR("time")))
		return run_time(text);
	if (str_equal(verb, STR("do")))
		return run->engine->command && run->engine->command(text);
	if (connection_verb(verb, "connect", &number)) {
		if (run->streams[number] && world_is_closed(run->streams[number]))
			world_forget(run->streams[number]);
		run->streams[number] = run->engine->connect(text);
		world_settle();
		return true;
	}
	/* "peer2": the next connection that the engine itself opened is number 2 from here on. */
	if (connection_verb(verb, "peer", &number)) {
		world_settle();
		run->streams[number] = world_next_connection();
		return run->streams[number];
	}
	return run_on_stream(run, verb, text);
}

static unsigned run_script(const char *file)
{
	struct run run = { .file = file };
	char *text = NULL;
	size_t capacity = 0;
	FILE *in = fopen(file, "r");

	if (!in) {
		printf("%s: cannot be read\n", file);
		return 1;
	}
	for (ssize_t length; (length = getline(&text, &capacity, in)) >= 0;) {
		struct str line = str_of(text, (size_t)length);
		run.line++;
		if (str_ends_with(line, STR("\n")))
			line.length--;
		if (!line.length || line.bytes[0] == '#')
			continue;
		if (!run_line(&run, line)) {
			fail(&run, "line not understood", line, STR(""));
			break;
		}
		world_settle();
	}
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		if (run.streams[i] && !world_is_closed(run.streams[i]))
			world_close(run.streams[i]);
	world_settle();
	if (run.engine && run.engine->stop)
		run.engine->stop();
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		if (run.streams[i])
			world_forget(run.streams[i]);
	free(text);
	fclose(in);
	return run.failures;
}

int main(int argc, char **argv)
{
	unsigned failed = 0;
	if (argc != 2) {
		fprintf(stderr, "usage: %s SCRIPT\n", argv[0]);
		return 2;
	}
	failed = run_script(argv[1]) != 0;
	printf("%s: %u passed, %u failed\n", argv[1], 1 - failed, failed);
	return failed != 0;
}
