#include "core/clock.h"
#include "core/loop.h"
#include "core/timer.h"
#include "unit/test.h"

enum { BLOCKED_MS = 120, WAIT_MS = 60 };

struct waiting {
	struct loop *loop;
	struct timer *timer;
	uint64_t begun_us, took_ms;
	bool is_second;
};

static void wait_anew(struct waiting *waiting)
{
	clock_sleep_ms(BLOCKED_MS);
	waiting->begun_us = clock_mono_us();
	timer_start(waiting->timer, WAIT_MS);
}

static void on_time(void *arg)
{
	struct waiting *waiting = arg;
	waiting->took_ms = (clock_mono_us() - waiting->begun_us) / 1000;
	EXPECT(waiting->took_ms + 1 >= WAIT_MS);
	if (waiting->is_second) {
		loop_stop(waiting->loop);
		return;
	}
	waiting->is_second = true;
	wait_anew(waiting);
}

/* ---- what waits less than it works ---- */

enum { TURNS_MAX = 100 };

struct busy {
	struct loop *loop;
	struct busy_timer {
		struct busy *busy;
		struct timer *timer;
	} timers[2];
	struct task task;
	unsigned turns, posted_after;
};

static void on_posted(void *arg)
{
	struct busy *busy = arg;
	busy->posted_after = busy->turns;
	loop_stop(busy->loop);
}

static void on_busy(void *arg)
{
	struct busy_timer *timer = arg;
	struct busy *busy = timer->busy;
	if (busy->turns++ == 0)
		loop_post(busy->loop, &busy->task);
	clock_sleep_ms(5);
	if (busy->turns < TURNS_MAX)
		timer_start(timer->timer, 1);
}

TEST(timers_that_work_longer_than_they_wait_leave_others_their_turn)
{
	struct busy busy = { .loop = loop_create() };
	busy.task = (struct task){ .run = on_posted, .arg = &busy };
	for (unsigned i = 0; i < 2; i++) {
		busy.timers[i].busy = &busy;
		busy.timers[i].timer = timer_new(busy.loop, on_busy, &busy.timers[i]);
		timer_start(busy.timers[i].timer, 1);
	}
	loop_run(busy.loop);
	EXPECT(busy.posted_after < TURNS_MAX / 10);
	for (unsigned i = 0; i < 2; i++)
		timer_destroy(&busy.timers[i].timer);
	loop_destroy(&busy.loop);
}

TEST(a_timer_waits_its_time_whatever_blocked_the_loop_before)
{
	struct waiting waiting = { .loop = loop_create() };
	waiting.timer = timer_new(waiting.loop, on_time, &waiting);
	/* Once before the loop turns, as commands do, and once within a turn. */
	wait_anew(&waiting);
	loop_run(waiting.loop);
	EXPECT(waiting.is_second);
	timer_destroy(&waiting.timer);
	loop_destroy(&waiting.loop);
}
