#ifndef PANDO_SPOOL_REPLACE_H
#define PANDO_SPOOL_REPLACE_H

/* Small files that are replaced whole: whoever reads one finds what was there before, or all of
 * what is written. */

#include "core/disk.h"
#include "core/str.h"

/* By way of `path`.new. Durable when it returns 0. */
int replace_file(struct disk *disk, const char *path, struct str bytes) must_check;

#endif
