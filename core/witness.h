#ifndef PANDO_CORE_WITNESS_H
#define PANDO_CORE_WITNESS_H

/*
 * What this machine remembers of a log beside its disk: a mapped file of a folder in memory
 * (run_dir, /run/pando), so that it costs no system call to keep, outlives the process, and is gone
 * with the boot. A process that starts again finds in it how far its log must reach; a disk that
 * was put back or has lost its last writes does not reach there.
 *
 * The file: two slots of 64 bytes, written in turn, so that a process that is killed while it
 * writes leaves the other. A slot: u32 magic "PWT1", u32 CRC-32C of what follows, u64 sequence,
 * u64 boot, u64 incarnation, u64 end, u64 chain, u64 token, u64 0.
 */

#include "core/check.h"

#include <stdbool.h>
#include <stdint.h>

struct witness_file;

struct witness {
	uint64_t incarnation; /* that writes the log; 0: none here, a copy stood still */
	uint64_t end, chain;  /* the log is durable that far */
	uint64_t token;       /* under which this copy stands still; 0: it does not */
};

/* Opens or makes the file; its folder exists. NULL in *file_out and a negative errno when that
 * cannot be had: everything below takes NULL for a file that remembers nothing. */
int witness_open(const char *path, struct witness_file **file_out) must_check;
/* Sets *file to NULL; what was written stays. */
void witness_close(struct witness_file **file);
/* False: nothing was written since this machine started. */
bool witness_read(const struct witness_file *file, struct witness *witness_out) must_check;
void witness_write(struct witness_file *file, const struct witness *witness);
/* The log here is known to lack something: only the other copies can say what. */
void witness_forget(struct witness_file *file);

#endif
