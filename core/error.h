#ifndef PANDO_CORE_ERROR_H
#define PANDO_CORE_ERROR_H

/* A sentence for the operator: start-up, configuration and command-line errors. */

#include "core/check.h"

struct error {
	char text[1024];
};

/* Writes the sentence (which says what to do next where that is known) and returns `code`, a
 * negative errno, so that a failing function can end with `return error_set(...)`. `error` may be
 * NULL. */
int error_set(struct error *error, int code, const char *format, ...) printf_like(3, 4);

#endif
