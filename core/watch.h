#ifndef PANDO_CORE_WATCH_H
#define PANDO_CORE_WATCH_H

/*
 * Readiness of a descriptor that a library owns (libpq, c-ares) on a loop. Level-triggered: fn is
 * called in every turn in which the descriptor is still ready.
 */

#include "core/loop.h"

enum { WATCH_READ = 1, WATCH_WRITE = 2 };

struct watch;

/* `events` is a set of WATCH_ bits. An error or hang-up is told as readiness for all of `events`:
 * the library's next call finds the reason. NULL when the descriptor cannot be polled. */
struct watch *watch_create(struct loop *loop, int fd, unsigned events,
	void (*fn)(void *arg, unsigned events), void *arg);
void watch_set_events(struct watch *watch, unsigned events);
/* Stops at once, also inside fn; the descriptor may be closed on return. Sets *watch to NULL; NULL
 * is accepted. */
void watch_destroy(struct watch **watch);

#endif
