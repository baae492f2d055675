#ifndef PANDO_CORE_LOOP_H
#define PANDO_CORE_LOOP_H

/*
 * One event loop belongs to one thread; everything created on it (timers, streams, disks) is used
 * on that thread only, except for loop_post and loop_stop, which any thread may call.
 *
 * One turn of the loop: callbacks of what became ready, then the deferred tasks (so that all output
 * of a turn leaves in one system call per stream and one io_uring submission), then it sleeps.
 */

#include <stdbool.h>

struct loop;

/* A unit of posted or deferred work, embedded in its owner, which must outlive the run. Zero it,
 * set run and arg. Queuing a task that is queued already does nothing. */
struct task {
	struct task *next;
	void (*run)(void *arg);
	void *arg;
	bool queued;
};

struct loop *loop_create(void);
/* All streams, timers and disks of the loop must be gone; what loop_work has under way is waited
 * for. Sets *loop to NULL. */
void loop_destroy(struct loop **loop);
/* Runs until loop_stop. */
void loop_run(struct loop *loop);
/* Waits for what comes next, and runs that: for who ends a loop, and has something on its way. */
void loop_turn(struct loop *loop);
void loop_stop(struct loop *loop);

/* Runs `task` on the loop's thread, in the order of posting. The task's owner keeps it alive. A
 * task may be on one loop's queue at a time. From any thread. */
void loop_post(struct loop *loop, struct task *task);
/* Runs `task` at the end of this turn. From the loop's thread only. */
void loop_defer(struct loop *loop, struct task *task);
/* Takes a deferred task back, so that its owner may go; nothing when it is not queued. */
void loop_cancel_deferred(struct loop *loop, struct task *task);

/* Runs work(arg) on a pool thread (for what would block or burn more than a millisecond: PBKDF2,
 * file preallocation), then done(arg) on the loop. */
void loop_work(struct loop *loop, void (*work)(void *arg), void (*done)(void *arg), void *arg);

/* Calls fn(arg) on the loop when the process receives `signal_number`. Main loop only. */
void loop_on_signal(struct loop *loop, int signal_number, void (*fn)(void *arg), void *arg);

#endif
