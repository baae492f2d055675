#ifndef PANDO_CORE_TIMER_H
#define PANDO_CORE_TIMER_H

/* One-shot timers on a loop. An idle session costs nothing but its entry in the loop's heap. */

#include "core/loop.h"

#include <stdint.h>

struct timer;

/* Not running until started. (Not `timer_create`: POSIX has that name.) */
struct timer *timer_new(struct loop *loop, void (*fn)(void *arg), void *arg);
/* Stops it and sets *timer to NULL; NULL is accepted. Allowed inside its own callback. */
void timer_destroy(struct timer **timer);
/* Fires once after `delay_ms`; replaces an earlier start. */
void timer_start(struct timer *timer, uint64_t delay_ms);
void timer_stop(struct timer *timer);
bool timer_is_running(const struct timer *timer);

/* How long to wait before trying again what failed: `min_ms` at first (`last_ms` 0), then twice the
 * last wait, up to `max_ms`. */
static inline uint64_t timer_next_wait_ms(uint64_t last_ms, uint64_t min_ms, uint64_t max_ms)
{
	uint64_t doubled = last_ms * 2;
	return doubled < min_ms ? min_ms : doubled > max_ms ? max_ms : doubled;
}

#endif
