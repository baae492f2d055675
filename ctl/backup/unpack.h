#ifndef PANDO_CTL_BACKUP_UNPACK_H
#define PANDO_CTL_BACKUP_UNPACK_H

/*
 * What a chain of sets holds, as files that the rest of Pando reads: a volume's log, written by the
 * engine itself as a replica writes it (spool/volume_log.h), so that every group, record and chain
 * is checked once more on its way; and the directory, a SQLite file. What stands there afterwards
 * is mail in the clear: the folder is the caller's to protect and to remove.
 *
 * Both block, and have all on disk when they return 0. What fails leaves behind what was written
 * so far.
 */

#include "ctl/backup/set.h"

/* Every now and then: bytes of the log that are written, and how many it will be. False: it ends
 * there, with -EINTR. */
typedef bool unpack_progress(void *arg, uint64_t done, uint64_t total);

/* Room on disk that the log wants, at most, with what the engine writes ahead of itself: of `to`,
 * where the last set of the chain says that the log ends. */
uint64_t unpack_room(uint64_t to);

/* The log up to where the last set of the chain ends, in `folder`: one that is not there yet, or an
 * empty one. `progress` may be NULL. -ENOENT: the last set has no such volume; -ENOTEMPTY; -ENOSPC:
 * before anything is written, or because somebody else took the room; -EUCLEAN: the backup is
 * damaged, with where. */
int unpack_volume(struct backup_set *const *chain, unsigned count, uint32_t volume_id,
	const struct backup_secret *secret, const char *folder, unpack_progress *progress,
	void *arg, struct error *error) must_check;

/* The directory of one set, into a file that is not there yet, mode 0600. -EEXIST. */
int unpack_directory(const struct backup_set *set, const struct backup_secret *secret,
	const char *path, struct error *error) must_check;

#endif
