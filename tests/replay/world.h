#ifndef PANDO_TESTS_REPLAY_WORLD_H
#define PANDO_TESTS_REPLAY_WORLD_H

/*
 * The world of replay scripts: core/loop.h, timer.h, clock.h, rand.h and net.h without a system
 * underneath. One thread; time stands still until a script moves it; a stream's other end is the
 * script. Linked in place of core_world.
 */

#include "core/net.h"

#include <stdint.h>

struct loop *world_loop(void);
/* Runs all callbacks that are due until nothing is left to do at this moment. */
void world_settle(void);
void world_advance_ms(uint64_t ms);

/* A stream as a listener would hand it over; on_open is called once a handler is set. */
struct stream *world_accept(const char *role);
/* The next stream that the engine opened with stream_connect, or NULL. It is open. */
struct stream *world_next_connection(void);

void world_send(struct stream *stream, struct str bytes);
/* What the engine has written and the script not yet consumed. */
struct buf *world_output(struct stream *stream);
/* While held, what is written counts as backlog: the peer does not read. */
void world_hold(struct stream *stream, bool held);
/* The engine has closed or aborted it. */
bool world_is_closed(const struct stream *stream);
void world_close(struct stream *stream);
/* Forgets a stream that is closed on both sides. */
void world_forget(struct stream *stream);

#endif
