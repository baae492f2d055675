#include "core/log.h"

#include "core/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *log_program = "pando";
static enum log_level log_minimum = LOG_LEVEL_INFO;
static bool log_to_journal;

/* systemd.exec(5): JOURNAL_STREAM names device and inode of what it gave as standard error; a child
 * that got another one inherits the variable all the same. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat status;
	char own[48];
	if (!stream || fstat(STDERR_FILENO, &status) < 0)
		return false;
	snprintf(own, sizeof(own), "%llu:%llu", (unsigned long long)status.st_dev,
		(unsigned long long)status.st_ino);
	return strcmp(stream, own) == 0;
}

void log_setup(const char *program, enum log_level minimum)
{
	log_program = program;
	log_minimum = minimum;
	log_to_journal = stderr_is_journal();
}

/* What stands in front of the event; its length. */
static size_t write_head(char *line, size_t capacity, enum log_level level)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };
	static const int priorities[] = { 7, 6, 4, 3 }; /* syslog(3) */
	if (log_to_journal)
		return (size_t)snprintf(line, capacity, "<%d>", priorities[level]);
	int64_t now_us = clock_wall_us();
	time_t seconds = (time_t)(now_us / 1000000);
	struct tm broken_down;
	gmtime_r(&seconds, &broken_down);
	size_t length = strftime(line, capacity, "%Y-%m-%dT%H:%M:%S", &broken_down);
	return length +
		(size_t)snprintf(line + length, capacity - length, ".%06dZ %s %s ",
			(int)(now_us % 1000000), names[level], log_program);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
	if (level < log_minimum)
		return;
	/* One line is cut at this length: longer ones would not be written atomically to a pipe. */
	char line[4000];
	size_t length = write_head(line, sizeof(line), level);
	length += (size_t)snprintf(line + length, sizeof(line) - length, "%s ", event);
	va_list arguments;
	va_start(arguments, format);
	int rest = vsnprintf(line + length, sizeof(line) - length - 1, format, arguments);
	va_end(arguments);
	length += rest < 0 ? 0 : (size_t)rest;
	if (length > sizeof(line) - 2)
		length = sizeof(line) - 2;
	line[length++] = '\n';
	ssize_t written = write(STDERR_FILENO, line, length);
	(void)written; /* A log that cannot be written has nowhere to say so. */
}

/* Of what a terminal acts on: C0 as it is, C1 in UTF-8, 0xc2 and one of 0x80 to 0x9f. */
static bool is_control(struct str s, size_t at)
{
	uint8_t byte = (uint8_t)s.bytes[at];
	uint8_t before = at > 0 ? (uint8_t)s.bytes[at - 1] : 0;
	uint8_t after = at + 1 < s.length ? (uint8_t)s.bytes[at + 1] : 0;
	if (byte >= 0x80)
		return (byte == 0xc2 && after >= 0x80 && after < 0xa0) ||
			(byte < 0xa0 && before == 0xc2);
	return byte < ' ' || byte == 0x7f;
}

const char *log_quote(struct str s)
{
	/* No line quotes more than 8 values; 120 bytes show what a peer has said. */
	enum { SLOTS = 8, SHOWN_MAX = 120 };
	static _Thread_local char slots[SLOTS][SHOWN_MAX * 4 + 8];
	static _Thread_local unsigned next_slot;
	char *slot = slots[next_slot++ % SLOTS];
	struct str shown = str_first(s, SHOWN_MAX);
	bool plain = s.length > 0 && s.length <= SHOWN_MAX;
	for (size_t i = 0; plain && i < shown.length; i++)
		plain = shown.bytes[i] != ' ' && shown.bytes[i] != '"' && shown.bytes[i] != '\\' &&
			!is_control(shown, i);
	char *to = slot;
	if (!plain)
		*to++ = '"';
	for (size_t i = 0; i < shown.length; i++) {
		char c = shown.bytes[i];
		if (is_control(shown, i))
			to += snprintf(to, 5, "\\x%02x", (uint8_t)c);
		else if (c == '"' || c == '\\')
			*to++ = '\\', *to++ = c;
		else
			*to++ = c;
	}
	if (!plain) {
		if (s.length > SHOWN_MAX)
			to = stpcpy(to, "...");
		*to++ = '"';
	}
	*to = '\0';
	return slot;
}
