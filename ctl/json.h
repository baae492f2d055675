#ifndef PANDO_CTL_JSON_H
#define PANDO_CTL_JSON_H

/* The daemons' answers as a tree (RFC 8259). Everything lives in the given pool. */

#include "core/pool.h"

enum json_type {
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_TEXT,
	JSON_ARRAY,
	JSON_OBJECT
};

enum { JSON_DEPTH_MAX = 16 }; /* answers nest four deep */

struct json {
	enum json_type type;
	struct str name; /* in an object */
	struct str text; /* JSON_TEXT decoded; JSON_NUMBER as written */
	struct json *first, *next;
};

/* NULL when malformed or too deep. */
struct json *json_parse(struct pool *pool, struct str text);

/* All accept NULL and the wrong type: then NULL, "", 0 or false. */
const struct json *json_get(const struct json *object, const char *name);
struct str json_text(const struct json *object, const char *name);
uint64_t json_u64(const struct json *object, const char *name);
bool json_true(const struct json *object, const char *name);
const struct json *json_first(const struct json *array);

#endif
