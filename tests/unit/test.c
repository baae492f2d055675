#include "unit/test.h"

#include <stdarg.h>
#include <stdlib.h>

static struct test_case *first;
static struct test_case **last_link = &first;
static const char *current_name, *current_row;
static unsigned failures;

void test_register(struct test_case *test)
{
	*last_link = test;
	last_link = &test->next;
}

void test_row(const char *row)
{
	current_row = row;
}

void test_fail(const char *file, int line, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	failures++;
	printf("FAIL %s%s%s (%s:%d): ", current_name, current_row ? " / " : "",
		current_row ? current_row : "", file, line);
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
}

int main(int argument_count, char **arguments)
{
	unsigned passed = 0, failed = 0;
	for (struct test_case *test = first; test != NULL; test = test->next) {
		if (argument_count > 1 && strstr(test->name, arguments[1]) == NULL)
			continue;
		current_name = test->name;
		current_row = NULL;
		failures = 0;
		test->run();
		if (failures == 0)
			passed++;
		else
			failed++;
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
