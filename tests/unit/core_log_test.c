/* Lines of the log, and whom they are for. */

#include "core/log.h"
#include "unit/test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* What one warning becomes when standard error is a pipe that JOURNAL_STREAM names, or not. */
static void log_one(bool names_pipe, char *line_out, size_t capacity)
{
	int ends[2], before = dup(STDERR_FILENO);
	struct stat status;
	char stream[48];
	EXPECT_INT(0, pipe(ends));
	EXPECT_INT(0, fstat(ends[1], &status));
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)status.st_dev,
		(unsigned long long)status.st_ino + !names_pipe);
	setenv("JOURNAL_STREAM", stream, 1);
	dup2(ends[1], STDERR_FILENO);
	log_setup("test", LOG_LEVEL_INFO);
	log_warn("door_stuck", "key=%d", 7);
	log_debug("never_seen", "key=%d", 8);
	dup2(before, STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	log_setup("test", LOG_LEVEL_INFO);
	ssize_t length = read(ends[0], line_out, capacity - 1);
	line_out[length > 0 ? length : 0] = '\0';
	close(before);
	close(ends[0]);
	close(ends[1]);
}

TEST(the_journal_gets_priorities_and_no_time)
{
	char line[200];
	log_one(true, line, sizeof(line));
	EXPECT_STR(STR("<4>door_stuck key=7\n"), str_from(line));
}

TEST(anything_else_gets_time_level_and_program)
{
	char line[200];
	log_one(false, line, sizeof(line));
	EXPECT_STR(STR("Z warn test door_stuck key=7\n"), str_from(line + strcspn(line, "Z")));
	EXPECT_INT(26, strcspn(line, "Z"));
}

TEST(what_a_terminal_acts_on_is_quoted)
{
	static const struct {
		const char *bytes, *shown;
	} rows[] = {
		{ "plain", "plain" },
		{ "gr\xc3\xbc\xc3\x9f"
		  "e",
			"gr\xc3\xbc\xc3\x9f"
			"e" },
		{ "\xc2\xa0", "\xc2\xa0" },
		{ "a b", "\"a b\"" },
		{ "a\033[31m", "\"a\\x1b[31m\"" },
		{ "a\xc2\x9b"
		  "31m",
			"\"a\\xc2\\x9b31m\"" },
		{ "\xc2", "\xc2" },
	};
	for (unsigned i = 0; i < array_length(rows); i++) {
		test_row(rows[i].shown);
		EXPECT_STR(str_from(rows[i].shown), str_from(log_quote(str_from(rows[i].bytes))));
	}
	test_row(NULL);
}
