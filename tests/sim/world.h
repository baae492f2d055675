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

enum {
	MACHINES_MAX = 6,
	/* From here on they are routers'. */
	ROUTERS = 3,
	/* The machine of those who use the others. It never fails, and its lines lose nothing
	 * unseen: in the field they are under TLS. */
	CLIENTS = MACHINES_MAX - 1,
};

/* What runs on a machine: a router and a client are one process. */
enum { NODE_PROCESS, REPLICATOR_PROCESS, PROCESSES_MAX };

/* Who connects to a server of this name shows no certificate; all others are routers. */
#define WORLD_STRANGER "stranger"

/* Forgets everything: all machines, files and events. */
void world_reset(uint64_t seed);
/* A random number below `limit`, from the seed (for choices of the test; the code under test draws
 * from another sequence). */
uint64_t world_pick(uint64_t limit);
uint64_t world_now_us(void);

/* Starts a process of a machine (again): a fresh loop, the files as its disk kept them. */
struct loop *world_start_process(unsigned machine, unsigned process);
/* Power cut: no callback runs any more, unsynced bytes are lost at random, sector by sector. */
void world_crash_machine(unsigned machine);
/* Is told of every one, also of those within a call; may be NULL. */
extern void (*world_on_power_cut)(unsigned machine);
/* A machine's wall clock goes forwards or backwards; its timers do not notice. */
void world_jump_clock(unsigned machine, int64_t by_us);
/* kill -9: no callback runs any more, the disk loses nothing that was written. Of all processes, or
 * of one. */
void world_kill_machine(unsigned machine);
void world_kill_process(unsigned machine, unsigned process);
bool world_runs_process(unsigned machine, unsigned process);
/* Any of its processes runs. */
bool world_is_on(unsigned machine);
/* Its first one does: the node, or the router. */
bool world_is_running(unsigned machine);
/* Stops a machine in its tracks for a while, as SIGSTOP does; it wakes to everything that came. */
void world_freeze_machine(unsigned machine, uint64_t for_us);

/* While cut, nothing passes between two machines and nobody is told. */
void world_set_link(unsigned a, unsigned b, bool connected);
/* Ends the connections between processes of a machine. They connect again, unless its link to
 * itself is cut. */
void world_part_processes(unsigned machine);
/* Adds up to this much to every delivery. */
void world_set_latency_us(uint64_t maximum);

/* While noisy, now and then a byte between two machines changes, which TLS takes for the end. */
void world_set_noise(bool noisy);
/* The next durable write of a machine fails with EIO, after a part of it has reached the disk. */
void world_fail_next_write(unsigned machine, bool fails);

/* The next other call to it but an opening fails with EIO, and may have had an effect. */
void world_fail_next_call(unsigned machine, bool fails);
/* While full, most calls that need room are refused (ENOSPC, EDQUOT), some after a part. */
void world_fill_disk(unsigned machine, bool full);
/* While taken, most calls that need a descriptor are refused (EMFILE, ENFILE), some after they have
 * had their effect. New connections too. */
void world_take_descriptors(unsigned machine, bool taken);
/* Writes take up to so much longer. */
void world_slow_disk(unsigned machine, uint64_t maximum_us);
/* While it lies, what was synced reaches the disk up to `delay_us` later: a power cut loses of it,
 * sector by sector. 0: it is honest. */
void world_let_disk_lie(unsigned machine, uint64_t delay_us);

/* The calls of core/disk.h and store.h, as the code under test makes them. */
enum disk_call {
	DISK_OPEN,   /* a file that is there */
	DISK_CREATE, /* one that is not */
	DISK_READ,
	DISK_SUBMIT, /* an asynchronous write begins */
	DISK_WRITE,  /* and ends */
	DISK_OVERWRITE, /* a synchronous one, within the file */
	DISK_GROW,      /* and beyond its end */
	DISK_SYNC,
	DISK_ALLOCATE,
	DISK_TRUNCATE,
	DISK_ZERO,
	DISK_MAKE_DIRECTORY,
	DISK_LIST,
	DISK_REMOVE,
	DISK_RENAME,
	DISK_LOCK,
	DISK_STORE_OPEN,
	DISK_STORE_COMMIT,
	DISK_CALLS
};
enum disk_moment { MOMENT_BEFORE, MOMENT_WITHIN, MOMENT_AFTER, MOMENTS };

/* The process is killed (or the machine's power cut) at that moment of the machine's next call of
 * that kind, after `skips` more of them. */
void world_crash_in_call(unsigned machine, enum disk_call call, enum disk_moment moment,
	bool of_power, unsigned skips);
/* The next call of a kind but so many is refused with a negative errno, and has no effect. */
void world_refuse_call(unsigned machine, enum disk_call call, int refusal, unsigned skips);
bool world_has_refused(unsigned machine);
/* Takes both back. */
void world_spare(unsigned machine);

/* What has been tried since the process began. */
struct disk_tally {
	uint64_t deaths[DISK_CALLS][MOMENTS];
	uint64_t without_room, without_descriptor, failed;
};
const struct disk_tally *world_disk_tally(void);

/* The disk of a machine that does not run: replaced by an empty one; kept as it is now; put back as
 * it was when it was kept (an old copy of a virtual machine). */
void world_empty_disk(unsigned machine);
void world_keep_disk(unsigned machine);
void world_put_back_disk(unsigned machine);
/* What its processes leave in its memory, likewise: with both, a machine is put back as it ran. */
void world_keep_memory(unsigned machine);
void world_put_back_memory(unsigned machine);

/* The same of what is no store: an index then is newer than its log. */
void world_empty_files(unsigned machine);
void world_put_back_files(unsigned machine);

/* The files below this path, of a machine that runs: who has them open keeps them. */
void world_remove_files(unsigned machine, const char *prefix);

/* One byte of a file is another than was written, on the disk and in every later read. The value it
 * has then. */
uint8_t world_rot(unsigned machine, const char *path, uint64_t offset);
/* Changes what stands in one page from `offset` on, on the disk and in every later read. */
void world_forge(unsigned machine, const char *path, uint64_t offset,
	void (*change)(void *arg, uint8_t *bytes), void *arg);
enum { WORLD_PATH_MAX = 256 };
/* One of the files with bytes whose path begins so, at random; false: there is none. */
bool world_pick_file(
	unsigned machine, const char *prefix, char path_out[WORLD_PATH_MAX], uint64_t *size_out);
/* A row of a store gets another value: a bit of its own is flipped, or it has another row's. False:
 * there is none. */
bool world_rot_store(unsigned machine, const char *path);

/* Runs events until the given time. */
void world_run_until_us(uint64_t time_us);
/* Calls fn after a while, as an event of the test itself. */
void world_call_after_us(uint64_t delay_us, void (*fn)(void *arg), void *arg);

/* The same on a machine, as an event of its first process: dropped when that dies before. */
void world_call_on(unsigned machine, uint64_t delay_us, void (*fn)(void *arg), void *arg);

/* The same in any of its processes. */
void world_call_in(struct loop *loop, uint64_t delay_us, void (*fn)(void *arg), void *arg);

/* At once, as an event of the process, which may die within it. Not from inside an event. */
void world_run_in(struct loop *loop, void (*fn)(void *arg), void *arg);

/* Bytes of a file on a machine as they are now; for comparing copies. Returns the length read. */
size_t world_read_file(
	unsigned machine, const char *path, uint64_t offset, void *out, size_t length);

/* A store of a machine as it is now (NULL: an empty one), to another place or machine. */
void world_copy_store(unsigned machine, const char *from, unsigned to_machine, const char *to);
/* Whose code ran last. */
unsigned world_machine(void);

#endif
