#ifndef PANDO_CTL_BACKUP_VOLUME_WALK_H
#define PANDO_CTL_BACKUP_VOLUME_WALK_H

/*
 * A volume's log, walked from its first group on: each group is valid by itself
 * (proto/disk/record.h) and goes on from the one before: by address, by the address that it names
 * as the one before, by chain, and by epoch: it never falls, and has one reign.
 */

#include "core/error.h"
#include "proto/disk/record.h"

struct volume_walk {
	uint32_t volume;
	/* The caller sets the first two; zero is a log's begin. */
	uint64_t end, chain; /* behind the last group */
	/* Of the last group; nothing while `groups` is 0. */
	uint64_t last_lsn, epoch;
	uint8_t reign[GROUP_REIGN_LENGTH];
	/* So far; `messages` are MESSAGE records whose bodies are there. */
	uint64_t groups, messages;
};

/* One or more whole groups, padding included, that begin at `lsn`: at most segment_length of them.
 * What no checksum covers is made zero. -EUCLEAN with a sentence; then the walk is over. */
int volume_walk_groups(struct volume_walk *walk, uint64_t lsn, char *bytes, size_t length,
	struct error *error) must_check;
/* Whether the next group may begin at `lsn`: where the last one ends, or at the start of the next
 * segment. */
bool volume_walk_reaches(const struct volume_walk *walk, uint64_t lsn);

#endif
