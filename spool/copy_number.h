#ifndef PANDO_SPOOL_COPY_NUMBER_H
#define PANDO_SPOOL_COPY_NUMBER_H

/*
 * Which of the directory's copies a log is: the file `number` beside its segments, and the folder
 * `removed-<volume>-<number>` beside the volumes where one stands that another copy took the place
 * of (replicator/aside.c).
 *
 * The file is text: the number in decimal digits and a line's end; replaced whole.
 */

#include "core/buf.h"
#include "core/disk.h"

/* The number is 0 where there is none, or it is damaged. A negative errno where the disk refuses
 * to say (no descriptor, no right): a log that has a number must not be taken for an earlier
 * copy's. */
int copy_number_read(struct disk *disk, const char *directory, uint64_t *number_out) must_check;
/* Durable when it returns 0. */
int copy_number_write(struct disk *disk, const char *directory, uint64_t number) must_check;
/* Renames the folder of a log whose number that is, under its lock, which the caller has and which
 * moves with it: nobody else has the log. `*path_out` has its new place. */
int copy_number_set_aside(const char *directory, const char *volumes_directory, uint32_t volume,
	uint64_t number, struct buf *path_out) must_check;

#endif
