#ifndef PANDO_CTL_BACKUP_REMOVE_H
#define PANDO_CTL_BACKUP_REMOVE_H

/* Set folders that go, out of `target`, the folder of the sets. Only what a backup writes is ever
 * removed: a folder that holds anything else stays whole, and so does what a link leads to. */

#include "core/error.h"

#include <stdint.h>

struct removable {
	uint64_t bytes;
	int64_t written_s; /* when something in it was last written */
};

/* -ENOTEMPTY: it holds what no backup writes, which the sentence names. -ENOTDIR: it is a link, or
 * no folder. */
int backup_folder_look(int target, const char *name, struct removable *removable_out,
	struct error *error) must_check;
/* SHA256SUMS first: what is half removed is an unfinished set, and goes the next time. */
int backup_folder_remove(int target, const char *name, struct error *error) must_check;

#endif
