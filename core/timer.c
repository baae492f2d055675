#include "core/timer.h"

#include "core/check.h"
#include "core/loop_internal.h"

#include <stdlib.h>
#include <uv.h>

struct timer {
	uv_timer_t handle;
	void (*fn)(void *arg);
	void *arg;
};

struct timer *timer_new(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct timer *timer = mem_alloc(sizeof(*timer));
	CHECK(uv_timer_init(loop_uv(loop), &timer->handle) == 0);
	timer->fn = fn;
	timer->arg = arg;
	return timer;
}

static void on_closed(uv_handle_t *handle)
{
	free(container_of(handle, struct timer, handle));
}

void timer_destroy(struct timer **timer)
{
	if (*timer == NULL)
		return;
	uv_close((uv_handle_t *)&(*timer)->handle, on_closed);
	*timer = NULL;
}

static void on_timeout(uv_timer_t *handle)
{
	struct timer *timer = container_of(handle, struct timer, handle);
	timer->fn(timer->arg);
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
	/* libuv counts from the time at which the turn began: before whatever has blocked it. That
	 * time is not moved on within a turn: timers whose callbacks take longer than they wait
	 * would take turns for ever, and nothing else would get one. */
	uint64_t now_ms = uv_hrtime() / 1000000, turn_ms = uv_now(timer->handle.loop);
	uint64_t blocked_ms = now_ms > turn_ms ? now_ms - turn_ms : 0;
	CHECK(uv_timer_start(&timer->handle, on_timeout, delay_ms + blocked_ms, 0) == 0);
}

void timer_stop(struct timer *timer)
{
	uv_timer_stop(&timer->handle);
}

bool timer_is_running(const struct timer *timer)
{
	return uv_is_active((const uv_handle_t *)&timer->handle) != 0;
}
