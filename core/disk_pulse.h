#ifndef PANDO_CORE_DISK_PULSE_H
#define PANDO_CORE_DISK_PULSE_H

/*
 * Whether a disk takes what it is given, also while nothing else is written there: a small durable
 * write now and then, to a file of its own in the folder that is kept. A disk that has failed is
 * told from one that nobody uses, and one that hangs from one that is slow.
 *
 * What the machine lacks for the moment (room, descriptors, memory), a file system that is
 * read-only and a folder that is not there yet say nothing of the disk, and are told elsewhere.
 */

#include "core/loop.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	/* An answer that stays out for longer is a disk that hangs: a slow one needs milliseconds,
	 * one that spins up or moves its cache some seconds. */
	PULSE_HANGS_MS = 10000,
};

struct disk_pulse;

/* For as long as the process runs. `program` names the file, so that two daemons may ask in one
 * folder. */
struct disk_pulse *disk_pulse_create(struct loop *loop, const char *folder, const char *program);
/* Asks, on a pool thread, unless the last answer stays out. For its owner to call now and then. */
void disk_pulse_ask(struct disk_pulse *pulse);
/* 0, or the negative errno of the last answer; -ETIMEDOUT: it stays out for longer than
 * PULSE_HANGS_MS. */
int disk_pulse_status(const struct disk_pulse *pulse);

#endif
