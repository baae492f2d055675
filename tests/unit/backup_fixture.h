#ifndef PANDO_TESTS_UNIT_BACKUP_FIXTURE_H
#define PANDO_TESTS_UNIT_BACKUP_FIXTURE_H

/* A folder of the case's own, a key pair, and logs that were never written by anybody. */

#include "core/buf.h"
#include "core/pool.h"
#include "ctl/backup/set.h"
#include "proto/disk/record.h"

struct backup_fixture {
	char folder[64];
	struct backup_secret secret;
	struct pool *pool;
};

void backup_fixture_setup(struct backup_fixture *f);
void backup_fixture_teardown(struct backup_fixture *f);
/* FOLDER/NAME, in the pool. */
const char *fixture_path(struct backup_fixture *f, const char *name);
/* Replaces the whole file. */
void fixture_write(struct backup_fixture *f, const char *name, struct str bytes);
struct str fixture_read(struct backup_fixture *f, const char *name);

/* Where a log ends that is being made up. */
struct made_log {
	uint32_t volume;
	uint64_t end, last, chain, epoch;
	uint8_t reign[GROUP_REIGN_LENGTH];
	bool has_begun;
};

/* A group with one MESSAGE record of so many bytes, padded, into `out` (emptied first). Returns its
 * address: at the start of the next segment where it does not fit. */
uint64_t made_log_add(struct made_log *log, size_t body_length, struct buf *out);

/* A set of the folder NAME, which is made, with the directory sealed in it and no volume yet. */
struct backup_set *fixture_set(
	struct backup_fixture *f, const char *name, const struct backup_set *parent);
/* Adds the volume with groups of `log`, `count` of them, in files of `file_bytes`. */
void fixture_add_volume(struct backup_fixture *f, struct backup_set *set, struct made_log *log,
	unsigned count, uint64_t file_bytes);

#endif
