#include "sim/internal.h"

#include "core/clock.h"
#include "core/rand.h"
#include "core/timer.h"

#include <setjmp.h>
#include <stdlib.h>

/* Events in time order (a binary heap; equal times in the order of scheduling), loops and timers on
 * it. */

struct event {
	uint64_t time_us, sequence;
	struct loop *loop; /* NULL: the test's */
	void (*fn)(void *arg);
	void *arg;
	size_t position; /* in the heap */
};

static struct event **heap;
static size_t heap_count, heap_capacity;
static uint64_t now_us, next_sequence, test_random, code_random;
static uint64_t generations[MACHINES_MAX][PROCESSES_MAX];
static bool running[MACHINES_MAX][PROCESSES_MAX];
static uint64_t frozen_until_us[MACHINES_MAX];
static unsigned machine_now, process_now;
static int64_t clock_offsets_us[MACHINES_MAX];
void (*world_on_power_cut)(unsigned machine);
/* Where a process that dies within an event of its own leaves it. */
static jmp_buf event_end;
static struct loop *event_loop; /* whose event runs; NULL: none, or the test's */

static uint64_t step(uint64_t *state)
{
	/* A counter mixed twice: every seed gives an unrelated sequence. */
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t world_pick(uint64_t limit)
{
	return step(&test_random) % limit;
}

uint64_t rand_u64(void)
{
	return step(&code_random);
}

void rand_bytes(void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)bytes)[i] = (uint8_t)rand_u64();
}

uint64_t world_now_us(void)
{
	return now_us;
}

uint64_t clock_mono_us(void)
{
	return now_us;
}

int64_t clock_wall_us(void)
{
	return (int64_t)(1700000000000000u + now_us) + clock_offsets_us[machine_now];
}

/* ---- the heap ---- */

static bool is_before(const struct event *a, const struct event *b)
{
	return a->time_us != b->time_us ? a->time_us < b->time_us : a->sequence < b->sequence;
}

static void place(size_t at, struct event *event)
{
	heap[at] = event;
	event->position = at;
}

static void sift(size_t at)
{
	struct event *event = heap[at];
	while (at > 0 && is_before(event, heap[(at - 1) / 2])) {
		place(at, heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= heap_count)
			break;
		if (child + 1 < heap_count && is_before(heap[child + 1], heap[child]))
			child++;
		if (!is_before(heap[child], event))
			break;
		place(at, heap[child]);
		at = child;
	}
	place(at, event);
}

static void take_out(struct event *event)
{
	size_t at = event->position;
	struct event *last = heap[--heap_count];
	if (last != event) {
		place(at, last);
		sift(at);
	}
}

struct event *event_add(struct loop *loop, uint64_t delay_us, void (*fn)(void *arg), void *arg)
{
	struct event *event = mem_alloc(sizeof(*event));
	*event = (struct event){ .time_us = now_us + delay_us,
		.sequence = next_sequence++,
		.loop = loop,
		.fn = fn,
		.arg = arg };
	if (heap_count == heap_capacity) {
		heap_capacity = heap_capacity ? heap_capacity * 2 : 1024;
		heap = mem_resize(heap, heap_capacity * sizeof(*heap));
	}
	place(heap_count++, event);
	sift(heap_count - 1);
	return event;
}

void event_cancel(struct event **event)
{
	if (*event == NULL)
		return;
	take_out(*event);
	free(*event);
	*event = NULL;
}

void world_call_after_us(uint64_t delay_us, void (*fn)(void *arg), void *arg)
{
	event_add(NULL, delay_us, fn, arg);
}

/* ---- machines ---- */

static struct loop *first_loops[MACHINES_MAX];

void world_call_in(struct loop *loop, uint64_t delay_us, void (*fn)(void *arg), void *arg)
{
	event_add(loop, delay_us, fn, arg);
}

void world_call_on(unsigned machine, uint64_t delay_us, void (*fn)(void *arg), void *arg)
{
	event_add(first_loops[machine], delay_us, fn, arg);
}

bool loop_is_alive(const struct loop *loop)
{
	return loop->generation == generations[loop->machine][loop->process];
}

unsigned current_machine(void)
{
	return machine_now;
}

unsigned current_process(void)
{
	return process_now;
}

unsigned world_machine(void)
{
	return machine_now;
}

bool world_runs_process(unsigned machine, unsigned process)
{
	return running[machine][process];
}

bool world_is_running(unsigned machine)
{
	return running[machine][NODE_PROCESS];
}

bool world_is_on(unsigned machine)
{
	bool is_on = false;
	for (unsigned p = 0; p < PROCESSES_MAX; p++)
		is_on |= running[machine][p];
	return is_on;
}

void world_reset(uint64_t seed)
{
	while (heap_count > 0)
		free(heap[--heap_count]);
	now_us = 1000000;
	next_sequence = 0;
	test_random = seed * 2 + 1;
	code_random = seed ^ 0x5ca1ab1e;
	for (unsigned i = 0; i < MACHINES_MAX; i++) {
		for (unsigned p = 0; p < PROCESSES_MAX; p++) {
			generations[i][p]++;
			running[i][p] = false;
		}
		frozen_until_us[i] = 0;
		clock_offsets_us[i] = 0;
	}
	world_on_power_cut = NULL;
	event_loop = NULL;
	net_reset();
	disk_world_reset();
	disk_faults_reset();
	store_world_reset();
	witness_world_reset();
}

struct loop *world_start_process(unsigned machine, unsigned process)
{
	struct loop *loop = mem_alloc(sizeof(*loop));
	CHECK(machine < MACHINES_MAX && process < PROCESSES_MAX && !running[machine][process]);
	running[machine][process] = true;
	if (process == NODE_PROCESS)
		first_loops[machine] = loop;
	loop->machine = machine;
	loop->process = process;
	loop->generation = generations[machine][process];
	loop->deferred_link = &loop->deferred_first;
	machine_now = machine;
	process_now = process;
	return loop;
}

static void stop_process(unsigned machine, unsigned process)
{
	running[machine][process] = false;
	generations[machine][process]++;
}

static void stop_machine(unsigned machine)
{
	CHECK(world_is_on(machine));
	frozen_until_us[machine] = 0;
	for (unsigned p = 0; p < PROCESSES_MAX; p++)
		stop_process(machine, p);
	net_forget_dead();
}

void world_jump_clock(unsigned machine, int64_t by_us)
{
	clock_offsets_us[machine] += by_us;
}

void world_crash_machine(unsigned machine)
{
	if (world_on_power_cut != NULL)
		world_on_power_cut(machine);
	stop_machine(machine);
	witness_power_cut(machine);
	disk_machine_crashed(machine);
}

void world_kill_machine(unsigned machine)
{
	stop_machine(machine);
	for (unsigned p = 0; p < PROCESSES_MAX; p++)
		disk_process_killed(machine, p);
}

void world_kill_process(unsigned machine, unsigned process)
{
	CHECK(running[machine][process]);
	stop_process(machine, process);
	net_forget_dead();
	disk_process_killed(machine, process);
}

bool machine_runs_here(unsigned machine)
{
	return event_loop != NULL && event_loop->machine == machine && loop_is_alive(event_loop);
}

void machine_dies_here(unsigned machine, bool of_power)
{
	CHECK(machine_runs_here(machine));
	if (of_power)
		world_crash_machine(machine);
	else
		world_kill_process(machine, event_loop->process);
	longjmp(event_end, 1);
}

void world_freeze_machine(unsigned machine, uint64_t for_us)
{
	frozen_until_us[machine] = now_us + for_us;
}

static bool is_stale(const struct event *event)
{
	return event->loop != NULL && !loop_is_alive(event->loop);
}

/* Puts off what a frozen machine would do now. Equal times run in the order of scheduling, so what
 * is due is scheduled anew, in its order. */
static bool put_off(struct event *event)
{
	if (is_stale(event) || event->loop == NULL ||
		frozen_until_us[event->loop->machine] <= event->time_us)
		return false;
	event->time_us = frozen_until_us[event->loop->machine];
	event->sequence = next_sequence++;
	sift(event->position);
	return true;
}

static void run_deferred(struct loop *loop)
{
	while (loop->deferred_first != NULL) {
		struct task *task = loop->deferred_first;
		loop->deferred_first = task->next;
		if (loop->deferred_first == NULL)
			loop->deferred_link = &loop->deferred_first;
		task->queued = false;
		task->run(task->arg);
		if (!loop_is_alive(loop))
			return;
	}
}

/* The event, and the end of its turn. The memory of a process that dies in it is never touched
 * again. */
static void run_event(struct event event)
{
	if (setjmp(event_end) != 0) {
		event_loop = NULL;
		return;
	}
	event_loop = event.loop;
	if (event.loop != NULL) {
		machine_now = event.loop->machine;
		process_now = event.loop->process;
	}
	event.fn(event.arg);
	if (event.loop != NULL && !is_stale(&event))
		run_deferred(event.loop);
	event_loop = NULL;
}

void world_run_until_us(uint64_t time_us)
{
	while (heap_count > 0 && heap[0]->time_us <= time_us) {
		if (put_off(heap[0]))
			continue;
		struct event event = *heap[0];
		struct event *owned = heap[0];
		take_out(owned);
		free(owned);
		now_us = event.time_us;
		if (!is_stale(&event))
			run_event(event);
	}
	now_us = time_us;
}

void world_run_in(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	CHECK(event_loop == NULL && loop_is_alive(loop));
	run_event((struct event){ .loop = loop, .fn = fn, .arg = arg });
}

/* ---- core/loop.h ---- */

struct loop *loop_create(void)
{
	CHECK(false); /* machines make loops here */
	return NULL;
}

void loop_destroy(struct loop **loop)
{
	*loop = NULL;
}

void loop_run(struct loop *loop)
{
	(void)loop;
	CHECK(false); /* the world runs */
}

void loop_stop(struct loop *loop)
{
	(void)loop;
}

static void on_posted(void *arg)
{
	struct task *task = arg;
	task->queued = false;
	task->run(task->arg);
}

void loop_post(struct loop *loop, struct task *task)
{
	if (task->queued)
		return;
	task->queued = true;
	event_add(loop, 20, on_posted, task); /* the same for all: posts keep their order */
}

static void on_end_of_turn(void *arg)
{
	(void)arg; /* the deferred tasks run after every event */
}

void loop_defer(struct loop *loop, struct task *task)
{
	if (task->queued)
		return;
	/* Deferred from the test itself: an event makes a turn. */
	if (loop->deferred_first == NULL)
		event_add(loop, 0, on_end_of_turn, NULL);
	task->next = NULL;
	task->queued = true;
	*loop->deferred_link = task;
	loop->deferred_link = &task->next;
}

void loop_cancel_deferred(struct loop *loop, struct task *task)
{
	if (!task->queued)
		return;
	for (struct task **link = &loop->deferred_first; *link != NULL; link = &(*link)->next) {
		if (*link != task)
			continue;
		*link = task->next;
		if (task->next == NULL)
			loop->deferred_link = link;
		task->queued = false;
		return;
	}
}

void loop_work(struct loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg)
{
	work(arg);
	event_add(loop, 100 + world_pick(20000), done, arg);
}

/* ---- core/timer.h ---- */

struct timer {
	struct loop *loop;
	struct event *event;
	void (*fn)(void *arg);
	void *arg;
};

static void on_timer(void *arg)
{
	struct timer *timer = arg;
	timer->event = NULL;
	timer->fn(timer->arg);
}

struct timer *timer_new(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct timer *timer = mem_alloc(sizeof(*timer));
	*timer = (struct timer){ loop, NULL, fn, arg };
	return timer;
}

void timer_stop(struct timer *timer)
{
	event_cancel(&timer->event);
}

void timer_destroy(struct timer **timer)
{
	if (*timer == NULL)
		return;
	timer_stop(*timer);
	free(*timer);
	*timer = NULL;
}

void timer_start(struct timer *timer, uint64_t delay_ms)
{
	timer_stop(timer);
	timer->event = event_add(timer->loop, delay_ms * 1000 + world_pick(100), on_timer, timer);
}

bool timer_is_running(const struct timer *timer)
{
	return timer->event != NULL;
}
