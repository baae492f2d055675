#ifndef PANDO_TESTS_SIM_WORLD_H
#define PANDO_TESTS_SIM_WORLD_H

/*
 * A simulated world in one process, from one seed: machines with clocks, disks that lose what was
 * not synced, and a network that is slow, cut or gone. It implements core/loop.h, timer.h, net.h,
 * disk.h, store.h, clock.h and rand.h; the code above is the shipped code. The same seed gives the
 * same run.
 */

#include "core/net.h"

#include <stdint.h>

enum { MACHINES_MAX = 4 };

/* Forgets everything: all machines, files and events. */
void world_reset(uint64_t seed);
/* A random number below `limit`, from the seed (for choices of the test; the code under test draws
 * from another sequence). */
uint64_t world_pick(uint64_t limit);
uint64_t world_now_us(void);

/* Starts a machine (again): a fresh loop, the files as its disk kept them. */
struct loop *world_start_machine(unsigned machine);
/* Power cut: no callback runs any more, unsynced bytes are lost at random, sector by sector. */
void world_crash_machine(unsigned machine);
bool world_is_running(unsigned machine);
/* Stops a machine in its tracks for a while, as SIGSTOP does; it wakes to everything that came. */
void world_freeze_machine(unsigned machine, uint64_t for_us);

/* While cut, nothing passes between two machines and nobody is told. */
void world_set_link(unsigned a, unsigned b, bool connected);
/* Adds up to this much to every delivery. */
void world_set_latency_us(uint64_t maximum);

/* While noisy, now and then a byte between two machines arrives changed. */
void world_set_noise(bool noisy);
/* The next durable write of a machine fails with EIO, after a part of it has reached the disk. */
void world_fail_next_write(unsigned machine, bool fails);

/* The disk of a machine that does not run: replaced by an empty one; kept as it is now; put back as
 * it was when it was kept (an old copy of a virtual machine). */
void world_empty_disk(unsigned machine);
void world_keep_disk(unsigned machine);
void world_put_back_disk(unsigned machine);

/* One byte of a file is another than was written, on the disk and in every later read. */
void world_rot(unsigned machine, const char *path, uint64_t offset);

/* Runs events until the given time. */
void world_run_until_us(uint64_t time_us);
/* Calls fn after a while, as an event of the test itself. */
void world_call_after_us(uint64_t delay_us, void (*fn)(void *arg), void *arg);

/* The same on a machine, as one of its own events: dropped when it crashes before. */
void world_call_on(unsigned machine, uint64_t delay_us, void (*fn)(void *arg), void *arg);

/* Bytes of a file on a machine as they are now; for comparing copies. Returns the length read. */
size_t world_read_file(
	unsigned machine, const char *path, uint64_t offset, void *out, size_t length);

#endif
