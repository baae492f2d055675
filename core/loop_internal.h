#ifndef PANDO_CORE_LOOP_INTERNAL_H
#define PANDO_CORE_LOOP_INTERNAL_H

/* For the other implementation files of core only: the libuv loop underneath. */

#include "core/list.h"
#include "core/loop.h"

#include <stdint.h>

struct uv_loop_s;
struct uv_loop_s *loop_uv(struct loop *loop);

/* Bytes for reading into, shared by everything on the loop; valid until the callback returns. */
enum { LOOP_SCRATCH_BYTES = 64 << 10 };
char *loop_scratch(struct loop *loop);

/* The loop's accepted streams that are in their TLS handshake, oldest first: net.c keeps them. */
struct handshakes {
	struct list list;
	unsigned count;
	uint64_t told_us; /* when it was last logged that there are too many */
};
struct handshakes *loop_handshakes(struct loop *loop);

/* Runs once per turn after all deferred tasks, before sleeping: one submission for all of a turn's
 * I/O. */
void loop_set_submit(struct loop *loop, void (*submit)(void *arg), void *arg);

#endif
