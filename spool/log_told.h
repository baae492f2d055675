#ifndef PANDO_SPOOL_LOG_TOLD_H
#define PANDO_SPOOL_LOG_TOLD_H

/*
 * The file `told` of a log's directory: how far the log was durable, a moment ago. It is written in
 * place after the group that it names is durable, within TOLD_INTERVAL_MS and no more often, and
 * left to the page cache: so it costs a commit nothing, survives the death of the process, and a
 * power cut up to its last write-back, which every zero-filling of a segment makes. It is never
 * ahead of what is durable: below it nothing is torn.
 *
 * Bytes: u32 magic "PTL2", u32 flags (bit 0: the disk has failed a write since this log was
 * opened), u64 LSN, u64 chain at that LSN, u32 CRC-32C of all before, u32 0. One sector, so that it
 * is written whole. Behind it, from byte 4096 on, one block says nothing: it is written to see
 * whether the disk takes it (log_probe.c).
 */

#include "core/disk.h"

enum {
	/* Long for a commit, short for a person: what a death of the process leaves unnamed. */
	TOLD_INTERVAL_MS = 20,
	/* The block by which the disk is asked, behind the page that the rest stands in. */
	TOLD_PROBE_AT = 4096,
	TOLD_PROBE_BYTES = 4096,
	TOLD_FILE_BYTES = TOLD_PROBE_AT + TOLD_PROBE_BYTES,
};

struct told {
	uint64_t lsn, chain;
	bool failed; /* what the page cache holds may be on no disk */
};

struct log_told_file {
	struct disk_file *file;
	struct told told;    /* as written last */
	uint64_t written_us; /* when */
};

/* Opens it, or makes it. A damaged one says nothing (all zero). */
int log_told_open(
	struct disk *disk, const char *directory, struct log_told_file *file_out) must_check;
void log_told_close(struct log_told_file *file);
int log_told_write(struct log_told_file *file, const struct told *told, bool durable) must_check;

#endif
