#include "core/watch.h"

#include "core/check.h"
#include "core/loop_internal.h"

#include <stdlib.h>
#include <uv.h>

struct watch {
	uv_poll_t poll;
	void (*fn)(void *arg, unsigned events);
	void *arg;
	unsigned events;
};

static void on_poll(uv_poll_t *poll, int status, int ready)
{
	struct watch *watch = poll->data;
	unsigned events = watch->events;
	if (status >= 0)
		events = (ready & UV_READABLE ? WATCH_READ : 0u) |
			 (ready & UV_WRITABLE ? WATCH_WRITE : 0u);
	if (events)
		watch->fn(watch->arg, events);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void start(struct watch *watch)
{
	int wanted = (watch->events & WATCH_READ ? UV_READABLE : 0) |
		     (watch->events & WATCH_WRITE ? UV_WRITABLE : 0);
	if (wanted)
		CHECK(uv_poll_start(&watch->poll, wanted, on_poll) == 0);
	else
		uv_poll_stop(&watch->poll);
}

struct watch *watch_create(struct loop *loop, int fd, unsigned events,
	void (*fn)(void *arg, unsigned events), void *arg)
{
	struct watch *watch = mem_alloc(sizeof(*watch));
	watch->fn = fn;
	watch->arg = arg;
	watch->events = events;
	if (uv_poll_init(loop_uv(loop), &watch->poll, fd) != 0) {
		free(watch);
		return NULL;
	}
	watch->poll.data = watch;
	start(watch);
	return watch;
}

void watch_set_events(struct watch *watch, unsigned events)
{
	if (watch->events == events)
		return;
	watch->events = events;
	start(watch);
}

void watch_destroy(struct watch **watch)
{
	if (!*watch)
		return;
	uv_poll_stop(&(*watch)->poll);
	uv_close((uv_handle_t *)&(*watch)->poll, on_closed);
	*watch = NULL;
}
