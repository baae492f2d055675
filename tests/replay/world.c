#include "replay/world.h"

#include "core/clock.h"
#include "core/rand.h"
#include "core/timer.h"

#include <stdio.h>
#include <stdlib.h>

struct loop {
	struct task *posted, **posted_last;
	struct task *deferred, **deferred_last;
};

struct timer {
	void (*fn)(void *arg);
	void *arg;
	uint64_t due_ms;
	bool is_running;
	struct timer *next;
};

struct stream {
	struct stream *next;
	const struct stream_handler *handler;
	void *arg;
	struct buf input, output;
	struct tls_peer peer;
	char tls_text[40];
	bool needs_open, shows_input, is_paused, is_held, was_high, is_tls;
	bool is_detached;
	bool engine_closed, peer_closed, told_closed, told_end, write_ended;
	bool is_connection, was_given;
};

static struct loop the_loop;
static struct timer *timers;
static struct stream *streams;
/* 2026-01-01 00:00 UTC, so that dates in scripts are stable. */
static uint64_t now_ms = 1767225600000u;
static uint64_t random_state = 1;

/* ---- clock, randomness ---- */

uint64_t clock_mono_us(void)
{
	return now_ms * 1000;
}

int64_t clock_wall_us(void)
{
	return (int64_t)now_ms * 1000;
}

uint64_t rand_u64(void)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return random_state ^ random_state >> 29;
}

void rand_bytes(void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)bytes)[i] = (uint8_t)(rand_u64() >> 32);
}

/* ---- loop ---- */

struct loop *world_loop(void)
{
	if (!the_loop.posted_last) {
		the_loop.posted_last = &the_loop.posted;
		the_loop.deferred_last = &the_loop.deferred;
	}
	return &the_loop;
}

static void queue_add(struct task ***last, struct task *task)
{
	if (task->queued)
		return;
	task->queued = true;
	task->next = NULL;
	**last = task;
	*last = &task->next;
}

static bool queue_run(struct task **first, struct task ***last)
{
	struct task *task = *first;
	if (!task)
		return false;
	*first = task->next;
	if (!*first)
		*last = first;
	task->queued = false;
	task->run(task->arg);
	return true;
}

void loop_post(struct loop *loop, struct task *task)
{
	queue_add(&loop->posted_last, task);
}

void loop_defer(struct loop *loop, struct task *task)
{
	queue_add(&loop->deferred_last, task);
}

void loop_cancel_deferred(struct loop *loop, struct task *task)
{
	for (struct task **link = &loop->deferred; *link; link = &(*link)->next) {
		if (*link != task)
			continue;
		*link = task->next;
		if (loop->deferred_last == &task->next)
			loop->deferred_last = link;
		task->queued = false;
		return;
	}
}

struct work {
	struct task task;
	void (*work)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

static void on_work(void *arg)
{
	struct work *work = arg;
	work->work(work->arg);
	work->done(work->arg);
	free(work);
}

void loop_work(struct loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
	struct work *entry = mem_alloc(sizeof(*entry));
	*entry = (struct work){ .work = work, .done = done, .arg = arg };
	entry->task.run = on_work;
	entry->task.arg = entry;
	loop_post(loop, &entry->task);
}

/* ---- timers ---- */

struct timer *timer_new(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct timer *timer = mem_alloc(sizeof(*timer));
	(void)loop;
	timer->fn = fn;
	timer->arg = arg;
	timer->next = timers;
	timers = timer;
	return timer;
}

void timer_destroy(struct timer **timer)
{
	for (struct timer **link = &timers; *timer && *link; link = &(*link)->next) {
		if (*link != *timer)
			continue;
		*link = (*timer)->next;
		free(*timer);
		break;
	}
	*timer = NULL;
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
	timer->due_ms = now_ms + delay_ms;
	timer->is_running = true;
}

void timer_stop(struct timer *timer)
{
	timer->is_running = false;
}

bool timer_is_running(const struct timer *timer)
{
	return timer->is_running;
}

static struct timer *next_due(void)
{
	struct timer *due = NULL;
	for (struct timer *timer = timers; timer; timer = timer->next)
		if (timer->is_running && (!due || timer->due_ms < due->due_ms))
			due = timer;
	return due;
}

static bool run_timer(uint64_t until_ms)
{
	struct timer *due = next_due();
	if (!due || due->due_ms > until_ms)
		return false;
	if (due->due_ms > now_ms)
		now_ms = due->due_ms;
	due->is_running = false;
	due->fn(due->arg);
	return true;
}

/* ---- streams ---- */

static struct stream *stream_add(void)
{
	struct stream *stream = mem_alloc(sizeof(*stream));
	struct stream **link = &streams;
	while (*link)
		link = &(*link)->next;
	*link = stream;
	return stream;
}

struct stream *world_accept(const char *role)
{
	struct stream *stream = stream_add();
	stream->needs_open = *role;
	stream->is_tls = *role;
	if (*role) {
		snprintf(stream->peer.name, sizeof(stream->peer.name), "script");
		snprintf(stream->peer.role, sizeof(stream->peer.role), "%s", role);
	}
	return stream;
}

struct stream *world_next_connection(void)
{
	for (struct stream *stream = streams; stream; stream = stream->next) {
		if (stream->is_connection && !stream->was_given) {
			stream->was_given = true;
			return stream;
		}
	}
	return NULL;
}

struct stream *stream_connect(struct loop *loop, const char *address, struct tls_context *tls,
	const char *server_name, unsigned timeout_ms, const struct stream_handler *handler,
	void *arg)
{
	struct stream *stream = stream_add();
	(void)loop;
	(void)address;
	(void)server_name;
	(void)timeout_ms;
	stream->handler = handler;
	stream->arg = arg;
	stream->is_connection = true;
	stream->is_tls = tls != NULL;
	if (tls) {
		/* Inside the cluster daemons connect to nodes. */
		stream->peer = (struct tls_peer){ "script", "node" };
	}
	stream->needs_open = true;
	return stream;
}

void world_send(struct stream *stream, struct str bytes)
{
	buf_append_str(&stream->input, bytes);
	stream->shows_input = true;
}

struct buf *world_output(struct stream *stream)
{
	return &stream->output;
}

void world_hold(struct stream *stream, bool held)
{
	stream->is_held = held;
}

bool world_is_closed(const struct stream *stream)
{
	return stream->engine_closed;
}

void world_close(struct stream *stream)
{
	stream->peer_closed = true;
}

void world_forget(struct stream *stream)
{
	for (struct stream **link = &streams; *link; link = &(*link)->next) {
		if (*link != stream)
			continue;
		*link = stream->next;
		buf_deinit(&stream->input);
		buf_deinit(&stream->output);
		free(stream);
		return;
	}
}

/* One callback of one stream, when there is one to make. */
static bool stream_run(struct stream *stream)
{
	const struct stream_handler *handler = stream->handler;
	if (!handler || stream->is_detached || stream->engine_closed || stream->told_closed)
		return false;
	if (stream->needs_open) {
		stream->needs_open = false;
		if (handler->on_open)
			handler->on_open(stream->arg);
		return true;
	}
	if (!stream->is_held && stream->was_high) {
		stream->was_high = false;
		if (handler->on_drain)
			handler->on_drain(stream->arg);
		return true;
	}
	if (stream->shows_input && !stream->is_paused && buf_length(&stream->input)) {
		stream->shows_input = false;
		handler->on_input(stream->arg, &stream->input);
		return true;
	}
	if (stream->peer_closed && !stream->is_paused && handler->on_end) {
		bool is_news = !stream->told_end;
		stream->told_end = true;
		if (is_news)
			handler->on_end(stream->arg);
		return is_news;
	}
	if (stream->peer_closed && !stream->is_paused) {
		stream->told_closed = true;
		if (handler->on_close)
			handler->on_close(stream->arg, 0);
		return true;
	}
	return false;
}

static bool run_streams(void)
{
	for (struct stream *stream = streams; stream; stream = stream->next)
		if (stream_run(stream))
			return true;
	return false;
}

void world_settle(void)
{
	struct loop *loop = world_loop();
	for (;;) {
		if (queue_run(&loop->deferred, &loop->deferred_last) ||
			queue_run(&loop->posted, &loop->posted_last))
			continue;
		/* Pauses of a millisecond, by which an engine gives others their turn, pass by
		 * themselves. */
		if (!run_streams() && !run_timer(now_ms + 1))
			return;
	}
}

void world_advance_ms(uint64_t ms)
{
	uint64_t until = now_ms + ms;
	world_settle();
	while (run_timer(until))
		world_settle();
	now_ms = until;
}

void stream_set_handler(struct stream *stream, const struct stream_handler *handler, void *arg)
{
	stream->handler = handler;
	stream->arg = arg;
	stream->shows_input = true;
	stream->told_end = false;
}

static void note_backlog(struct stream *stream)
{
	if (stream->is_held && buf_length(&stream->output) >= STREAM_BACKLOG_HIGH)
		stream->was_high = true;
}

void stream_write(struct stream *stream, const void *bytes, size_t length)
{
	CHECK(!stream->write_ended);
	CHECK(!stream->engine_closed && !stream->is_detached);
	if (stream->told_closed)
		return;
	buf_append(&stream->output, bytes, length);
	note_backlog(stream);
}

void stream_write_str(struct stream *stream, struct str s)
{
	stream_write(stream, s.bytes, s.length);
}

void stream_printf(struct stream *stream, const char *format, ...)
{
	struct buf text = { 0 };
	va_list arguments;
	va_start(arguments, format);
	buf_vprintf(&text, format, arguments);
	va_end(arguments);
	stream_write_str(stream, buf_str(&text));
	buf_deinit(&text);
}

void stream_write_bytes(struct stream *stream, struct bytes *bytes, size_t offset, size_t length)
{
	CHECK(offset <= bytes->length && length <= bytes->length - offset);
	stream_write(stream, bytes->data + offset, length);
}

size_t stream_backlog(const struct stream *stream)
{
	return stream->is_held ? buf_length(&stream->output) : 0;
}

void stream_start_tls(struct stream *stream, struct tls_context *tls)
{
	(void)tls;
	buf_clear(&stream->input);
	stream->is_tls = stream->needs_open = true;
}

void stream_start_tls_client(
	struct stream *stream, struct tls_context *tls, const char *server_name)
{
	(void)server_name;
	stream_start_tls(stream, tls);
}

bool stream_is_tls(const struct stream *stream)
{
	return stream->is_tls;
}

const char *stream_tls_description(const struct stream *stream)
{
	return stream->is_tls ? "TLSv1.3 TLS_AES_256_GCM_SHA384" : "";
}

void stream_pause(struct stream *stream)
{
	stream->is_paused = true;
}

void stream_resume(struct stream *stream)
{
	stream->is_paused = false;
	stream->shows_input = true;
	stream->told_end = false;
}

void stream_end(struct stream *stream)
{
	stream->write_ended = true;
}

size_t stream_untaken(const struct stream *stream)
{
	return stream_backlog(stream);
}

void stream_be_patient(struct stream *stream)
{
	(void)stream;
}

void stream_close(struct stream *stream)
{
	CHECK(!stream->engine_closed);
	stream->engine_closed = true;
}

void stream_abort(struct stream *stream)
{
	stream_close(stream);
}

const char *stream_peer_address(const struct stream *stream)
{
	(void)stream;
	return "192.0.2.1:4711";
}

const struct tls_peer *stream_peer(const struct stream *stream)
{
	return &stream->peer;
}

void stream_detach(struct stream *stream)
{
	stream->is_detached = true;
}

void stream_attach(struct stream *stream, struct loop *loop, const struct stream_handler *handler,
	void *arg)
{
	(void)loop;
	stream->is_detached = false;
	stream_set_handler(stream, handler, arg);
}
