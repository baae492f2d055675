#ifndef PANDO_CORE_DIRECTORY_SQL_CONNECT_H
#define PANDO_CORE_DIRECTORY_SQL_CONNECT_H

#include "core/error.h"

#include <stdbool.h>

struct pg_conn;

/* Asks all hosts of the connection string at once and takes the first that is writable (any that
 * answers, without `writable`). -EHOSTUNREACH with what each of them said, in one line; -EINVAL for
 * a malformed string. */
int sql_connect(const char *conninfo, bool writable, struct pg_conn **connection_out,
	struct error *error) must_check;

#endif
