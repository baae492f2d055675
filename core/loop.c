#include "core/loop.h"

#include "core/check.h"
#include "core/loop_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

enum {
	/* More deferred work than this waits for the next turn, so that input is not starved. */
	DEFERRED_PER_TURN_MAX = 100000,
	/* Threads that post to each other must not keep one of them from its input. */
	POSTED_PER_TURN_MAX = 10000,
};

struct queue {
	struct task *first;
	struct task **last_link;
};

struct loop {
	uv_loop_t uv;
	/* Of wake_fd, not an uv_async_t: that makes the woken thread spin until its waker has
	 * returned. */
	uv_poll_t wake;
	int wake_fd;
	uv_prepare_t turn_end;
	uv_idle_t no_sleep; /* running while tasks are left over, so that the loop does not sleep */
	pthread_mutex_t mutex;
	struct queue posted; /* under mutex */
	struct queue deferred;
	bool wake_sent; /* under mutex: one wake-up per batch of posts */
	atomic_bool stopping;
	void (*submit)(void *arg);
	void *submit_arg;
	char *scratch;
	unsigned works; /* under way on the pool, or done and not yet told */
	struct handshakes handshakes;
};

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->last_link = &queue->first;
}

static void queue_add(struct queue *queue, struct task *task)
{
	task->next = NULL;
	task->queued = true;
	*queue->last_link = task;
	queue->last_link = &task->next;
}

static struct task *queue_pop(struct queue *queue)
{
	struct task *task = queue->first;
	queue->first = task->next;
	if (queue->first == NULL)
		queue->last_link = &queue->first;
	task->queued = false;
	return task;
}

/* The next posted task, or NULL. One by one: a task may be posted again by another thread as soon
 * as its mark is gone, which writes its link, so a detached list of them cannot be walked. */
static struct task *take_posted(struct loop *loop)
{
	pthread_mutex_lock(&loop->mutex);
	struct task *task = loop->posted.first ? queue_pop(&loop->posted) : NULL;
	if (task == NULL)
		loop->wake_sent = false;
	pthread_mutex_unlock(&loop->mutex);
	return task;
}

static void wake_up(struct loop *loop)
{
	uint64_t one = 1;
	/* Full is as good as written. */
	while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void on_wake(uv_poll_t *wake, int status, int events)
{
	struct loop *loop = wake->data;
	struct task *task;
	int count = 0;
	uint64_t value;
	(void)status;
	(void)events;
	/* Before the queue is looked at: a post after the last look wakes again. */
	while (read(loop->wake_fd, &value, sizeof(value)) < 0 && errno == EINTR)
		;
	while (count++ < POSTED_PER_TURN_MAX && (task = take_posted(loop)) != NULL)
		task->run(task->arg);
	if (count > POSTED_PER_TURN_MAX)
		wake_up(loop); /* wake_sent stands: what is left gets this wake-up */
	if (atomic_load(&loop->stopping))
		uv_stop(&loop->uv);
}

static void on_no_sleep(uv_idle_t *idle)
{
	(void)idle;
}

static void on_turn_end(uv_prepare_t *prepare)
{
	struct loop *loop = prepare->data;
	/* Tasks deferred by deferred tasks belong to the same turn, within reason. One by one, so
	 * that a task can take another one back. */
	for (int count = 0; loop->deferred.first != NULL && count < DEFERRED_PER_TURN_MAX;
		count++) {
		struct task *task = queue_pop(&loop->deferred);
		task->run(task->arg);
	}
	if (loop->deferred.first != NULL)
		uv_idle_start(&loop->no_sleep, on_no_sleep);
	else
		uv_idle_stop(&loop->no_sleep);
	if (loop->submit != NULL)
		loop->submit(loop->submit_arg);
}

struct loop *loop_create(void)
{
	struct loop *loop = mem_alloc(sizeof(*loop));
	list_init(&loop->handshakes.list);
	signal(SIGPIPE, SIG_IGN);
	CHECK(uv_loop_init(&loop->uv) == 0);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(loop->wake_fd >= 0);
	CHECK(uv_poll_init(&loop->uv, &loop->wake, loop->wake_fd) == 0);
	CHECK(uv_poll_start(&loop->wake, UV_READABLE, on_wake) == 0);
	CHECK(uv_prepare_init(&loop->uv, &loop->turn_end) == 0);
	CHECK(uv_idle_init(&loop->uv, &loop->no_sleep) == 0);
	loop->wake.data = loop->turn_end.data = loop->no_sleep.data = loop;
	CHECK(uv_prepare_start(&loop->turn_end, on_turn_end) == 0);
	uv_unref((uv_handle_t *)&loop->turn_end);
	CHECK(pthread_mutex_init(&loop->mutex, NULL) == 0);
	queue_init(&loop->posted);
	queue_init(&loop->deferred);
	loop->scratch = mem_alloc(LOOP_SCRATCH_BYTES);
	return loop;
}

void loop_destroy(struct loop **loop)
{
	if (*loop == NULL)
		return;
	/* The pool's threads would wake a loop that is no more; each work ends by itself. */
	while ((*loop)->works > 0)
		uv_run(&(*loop)->uv, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&(*loop)->wake, NULL);
	uv_close((uv_handle_t *)&(*loop)->turn_end, NULL);
	uv_close((uv_handle_t *)&(*loop)->no_sleep, NULL);
	/* Lets close callbacks of timers and streams run. */
	for (int i = 0; i < 100 && uv_loop_close(&(*loop)->uv) == UV_EBUSY; i++)
		uv_run(&(*loop)->uv, UV_RUN_NOWAIT);
	close((*loop)->wake_fd);
	pthread_mutex_destroy(&(*loop)->mutex);
	free((*loop)->scratch);
	free(*loop);
	*loop = NULL;
}

void loop_run(struct loop *loop)
{
	/* A stop that was asked for before the run counts too. */
	if (!atomic_load(&loop->stopping))
		uv_run(&loop->uv, UV_RUN_DEFAULT);
	atomic_store(&loop->stopping, false);
}

void loop_turn(struct loop *loop)
{
	uv_run(&loop->uv, UV_RUN_ONCE);
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stopping, true);
	wake_up(loop);
}

void loop_post(struct loop *loop, struct task *task)
{
	pthread_mutex_lock(&loop->mutex);
	bool must_wake = false;
	if (!task->queued) {
		queue_add(&loop->posted, task);
		must_wake = !loop->wake_sent;
		loop->wake_sent = true;
	}
	pthread_mutex_unlock(&loop->mutex);
	if (must_wake)
		wake_up(loop);
}

void loop_defer(struct loop *loop, struct task *task)
{
	if (!task->queued)
		queue_add(&loop->deferred, task);
}

void loop_cancel_deferred(struct loop *loop, struct task *task)
{
	if (!task->queued)
		return;
	for (struct task **link = &loop->deferred.first; *link != NULL; link = &(*link)->next) {
		if (*link != task)
			continue;
		*link = task->next;
		if (task->next == NULL)
			loop->deferred.last_link = link;
		task->queued = false;
		return;
	}
}

struct work {
	uv_work_t request;
	struct loop *loop;
	void (*work)(void *arg);
	void (*done)(void *arg);
	void *arg;
};

static void on_work(uv_work_t *request)
{
	struct work *work = container_of(request, struct work, request);
	work->work(work->arg);
}

static void on_work_done(uv_work_t *request, int status)
{
	struct work *work = container_of(request, struct work, request);
	(void)status;
	work->loop->works--;
	work->done(work->arg);
	free(work);
}

void loop_work(struct loop *loop, void (*work_fn)(void *arg), void (*done)(void *arg), void *arg)
{
	struct work *work = mem_alloc(sizeof(*work));
	work->work = work_fn;
	work->done = done;
	work->arg = arg;
	work->loop = loop;
	loop->works++;
	CHECK(uv_queue_work(&loop->uv, &work->request, on_work, on_work_done) == 0);
}

struct signal_watch {
	uv_signal_t handle;
	void (*fn)(void *arg);
	void *arg;
};

static void on_signal(uv_signal_t *handle, int signal_number)
{
	struct signal_watch *watch = container_of(handle, struct signal_watch, handle);
	(void)signal_number;
	watch->fn(watch->arg);
}

void loop_on_signal(struct loop *loop, int signal_number, void (*fn)(void *arg), void *arg)
{
	/* Lives as long as the process: signals are set up once by each daemon's main. */
	struct signal_watch *watch = mem_alloc(sizeof(*watch));
	watch->fn = fn;
	watch->arg = arg;
	CHECK(uv_signal_init(&loop->uv, &watch->handle) == 0);
	CHECK(uv_signal_start(&watch->handle, on_signal, signal_number) == 0);
	uv_unref((uv_handle_t *)&watch->handle);
}

struct uv_loop_s *loop_uv(struct loop *loop)
{
	return &loop->uv;
}

struct handshakes *loop_handshakes(struct loop *loop)
{
	return &loop->handshakes;
}

char *loop_scratch(struct loop *loop)
{
	return loop->scratch;
}

void loop_set_submit(struct loop *loop, void (*submit)(void *arg), void *arg)
{
	loop->submit = submit;
	loop->submit_arg = arg;
}
