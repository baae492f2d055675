#ifndef PANDO_TESTS_UNIT_TEST_H
#define PANDO_TESTS_UNIT_TEST_H

/*
 * A small harness: TEST(name_that_states_behaviour) { EXPECT(...); }. A program of tests runs all
 * of its cases (or those whose name contains the argument), prints one line per failure and ends
 * with `N passed, N failed`.
 */

#include "core/str.h"

#include <stdio.h>

struct test_case {
	const char *name;
	void (*run)(void);
	struct test_case *next;
};

void test_register(struct test_case *test);
void test_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define TEST(test_name) \
	static void test_run_##test_name(void); \
	static struct test_case test_case_##test_name = { #test_name, test_run_##test_name, \
		NULL }; \
	__attribute__((constructor)) static void test_add_##test_name(void) \
	{ \
		test_register(&test_case_##test_name); \
	} \
	static void test_run_##test_name(void)

/* Failures are counted and the case goes on. */
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			test_fail(__FILE__, __LINE__, "expected %s", #condition);                  \
	} while (0)

#define EXPECT_INT(expected, actual) \
	do { \
		long long e_ = (long long)(expected), a_ = (long long)(actual); \
		if (e_ != a_) \
			test_fail(__FILE__, __LINE__, "expected %s = %lld, got %lld", #actual, e_, \
				a_); \
	} while (0)

#define EXPECT_STR(expected, actual) \
	do { \
		struct str e_ = (expected), a_ = (actual); \
		if (!str_equal(e_, a_)) \
			test_fail(__FILE__, __LINE__, \
				"expected %s = \"" STR_FORMAT "\", got \"" STR_FORMAT "\"", \
				#actual, STR_ARG(e_), STR_ARG(a_)); \
	} while (0)

/* Names the row of a table that is being tested; shown with failures. NULL: no row. */
void test_row(const char *row);

#endif
