#ifndef PANDO_CORE_BYTES_H
#define PANDO_CORE_BYTES_H

/*
 * Immutable-by-agreement bytes with an atomic reference count: a message body that crosses threads,
 * connections and the log without being copied. The creator may write until it first shares it.
 */

#include "core/str.h"

#include <stdatomic.h>

struct bytes {
	atomic_uint references;
	size_t length;
	char data[];
};

/* One reference, contents undefined, a writable length of `length`. */
struct bytes *bytes_create(size_t length);
/* The same, zeroes: pages that are never touched cost nothing. */
struct bytes *bytes_create_zeroed(size_t length);
struct bytes *bytes_create_copy(struct str s);
struct bytes *bytes_ref(struct bytes *bytes);
/* Sets *bytes to NULL; NULL is accepted. */
void bytes_unref(struct bytes **bytes);

static inline struct str bytes_str(const struct bytes *bytes)
{
	return str_of(bytes->data, bytes->length);
}

#endif
