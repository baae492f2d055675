#ifndef PANDO_CORE_OUTPUT_H
#define PANDO_CORE_OUTPUT_H

/*
 * What a stream still has to send, in order: small pieces copied into one buffer, large ones by
 * reference. All zero is empty; an empty one holds no memory. For core/net.c.
 */

#include "core/buf.h"
#include "core/bytes.h"

#include <sys/uio.h>

/* `bytes` from `offset`, or, when bytes is NULL, the next `length` of the copy buffer. */
struct output_run {
	struct bytes *bytes;
	size_t offset, length;
};

struct output {
	struct buf copied;
	struct output_run *runs;
	size_t run_first, run_count, run_capacity;
	size_t length; /* of all runs */
};

/* A reference to `bytes` goes with it. With bytes NULL the caller has appended `length` to
 * `copied`. */
void output_add(struct output *output, struct bytes *bytes, size_t offset, size_t length);
/* The first up to `limit` runs; valid until the next change. */
unsigned output_gather(const struct output *output, struct iovec *vectors, unsigned limit);
/* The first `length` bytes have been sent. */
void output_consume(struct output *output, size_t length);
void output_deinit(struct output *output);

#endif
