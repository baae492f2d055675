#ifndef PANDO_CTL_BACKUP_SET_H
#define PANDO_CTL_BACKUP_SET_H

/*
 * Sets of a backup. In the folder that `pando backup` is given (--to) every backup is a folder of
 * its own, the set: sealed files (seal.h), `manifest.json` and, written last, `SHA256SUMS`, which
 * names every other file as sha256sum(1) does: who has no key, and no Pando, can verify a set. A
 * set without it was never finished, and counts for nothing. No file is ever written twice, renamed
 * or removed but by `pando backup prune`: the folder may be append-only.
 *
 * A set is whole (it has no parent) or holds what came since its parent, whose SHA256SUMS it names
 * by digest. A volume begins anew within such a set where its log is another one than the parent's:
 * then it begins at 0.
 */

#include "core/pool.h"
#include "ctl/backup/seal.h"

enum {
	/* "20261127T101500Z-1f3a9c02" */
	BACKUP_SET_NAME_MAX = 32,
	BACKUP_NAME_MAX = 64,
	BACKUP_REIGN_LENGTH = 16,
	/* Clocks that somebody keeps differ by seconds. */
	BACKUP_AHEAD_S = 5 * 60,
};

/* A sealed part of a volume's log: of the addresses from `from` on, up to `to`. */
struct backup_file {
	const char *name;
	struct sealed sealed;
	uint64_t from, to;
};

struct backup_volume {
	uint32_t id;
	const char *name;
	/* The log between, by its chain at both ends; `from` is the parent's `to`, or 0. */
	uint64_t from, to, from_chain, to_chain;
	/* Of the last byte. */
	uint64_t epoch;
	uint8_t reign[BACKUP_REIGN_LENGTH];
	struct backup_file *files;
	unsigned file_count;
	/* Where its mail was read; and why `to` is not where its log ended at the set's moment:
	 * then the backup is not of all mail. "": it is. */
	const char *source, *problem;
};

struct backup_set {
	char name[BACKUP_SET_NAME_MAX];
	const char *folder; /* DIR/NAME */
	const char *cluster;
	int64_t moment_s; /* everything that was answered before is in it; UTC, seconds */
	char parent[BACKUP_SET_NAME_MAX]; /* "": none */
	uint8_t parent_sums[SEAL_SHA256_LENGTH];
	struct backup_public recipient;
	/* The directory, as a standalone cluster's SQLite file (core/directory/). */
	struct backup_file directory;
	uint64_t directory_revision;
	struct backup_volume *volumes;
	unsigned volume_count;
	/* Of its SHA256SUMS; backup_set_read fills it in. */
	uint8_t sums[SEAL_SHA256_LENGTH];
};

/* "20261127T101500Z-1f3a9c02": the moment at which it was begun, UTC, and eight digits that nobody
 * else has drawn. */
bool backup_set_name_is_valid(struct str name);

/* Writes manifest.json and SHA256SUMS, durably, and fills in `sums`. -EINVAL: what it says could
 * not be read again (manifest.h), and nothing was written. */
int backup_set_write(struct backup_set *set, struct error *error) must_check;
/* -ENOENT: not finished (SHA256SUMS is not there, or not to its end); -EUCLEAN: manifest and sums
 * contradict each other, or are malformed. Everything lives in `pool`. */
int backup_set_read(const char *folder, struct pool *pool, struct backup_set **set_out,
	struct error *error) must_check;

/* Every file that the manifest names is there, with its length: not read. -ENOENT, -EUCLEAN. */
int backup_set_check_files(const struct backup_set *set, struct error *error) must_check;

/* Its moment has not come yet by this clock: one of the two clocks is wrong, or somebody has forged
 * the set to be the newest. */
bool backup_set_is_ahead(const struct backup_set *set, int64_t now_s);
/* NULL: the set has none of this id. */
const struct backup_volume *backup_set_volume(const struct backup_set *set, uint32_t id);
/* Of the sealed files of a volume; of all that the set holds. */
uint64_t backup_volume_bytes(const struct backup_volume *volume);
uint64_t backup_set_bytes(const struct backup_set *set);

/* All that are in `dir`, oldest first. */
struct backup_sets {
	struct backup_set **sets;
	unsigned count;
	/* Folders that look like sets and are not finished, or not readable: with a sentence. */
	struct backup_broken {
		const char *name, *why;
		bool is_unfinished; /* else it cannot be read, or contradicts itself */
	} * broken;
	unsigned broken_count;
};
int backup_sets_read(const char *dir, struct pool *pool, struct backup_sets *sets_out,
	struct error *error) must_check;
/* The set that `set` stands on; it has one. Otherwise as backup_sets_chain. */
int backup_sets_parent(const struct backup_sets *sets, const struct backup_set *set,
	struct backup_set **parent_out, struct error *error) must_check;
/* The sets that `name` (NULL: the newest) stands on: from the whole one to itself. A parent that is
 * gone, or is another than it was: -ENOENT, -EUCLEAN. */
int backup_sets_chain(const struct backup_sets *sets, const char *name, struct pool *pool,
	struct backup_set ***chain_out, unsigned *count_out, struct error *error) must_check;
/* The set of its cluster before `set` that has most of a volume, where `set` could not get all of
 * it and has less: a whole set of a log that was damaged at all copies by then. NULL: none has
 * more. */
struct backup_set *backup_sets_fuller(const struct backup_sets *sets, const struct backup_set *set,
	const struct backup_volume *volume);
/* -ERANGE: the newest is ahead, and who wants it has to name it. */
int backup_sets_check_newest(
	const struct backup_sets *sets, int64_t now_s, struct error *error) must_check;

#endif
