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
