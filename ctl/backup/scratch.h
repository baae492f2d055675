#ifndef PANDO_CTL_BACKUP_SCRATCH_H
#define PANDO_CTL_BACKUP_SCRATCH_H

/*
 * A folder for what is unpacked out of a backup: mail in the clear, for as long as a command runs.
 * Mode 0700, `pando-restore-XXXXXX` in the folder that the operator names.
 *
 * It goes with the command, however that ends: a process of its own waits for the end of this one
 * and removes it, also after kill -9. Where both are ended at once (power, a killed container) it
 * stays, and the next command that makes one in the same place removes it, by its file `lock`.
 */

#include "core/error.h"

struct scratch;

/* Before anything of the process has threads: it forks. SIGINT, SIGTERM and SIGHUP wait, from here
 * on, until the folder is gone. One in a process at a time. */
int scratch_create(const char *dir, struct scratch **scratch_out, struct error *error) must_check;
const char *scratch_path(const struct scratch *scratch);
/* Removes a folder or file in it, with all that it holds; one that is not there is as good. */
int scratch_remove(struct scratch *scratch, const char *name, struct error *error) must_check;
/* A file elsewhere, that is not whole before the command has ended: a signal takes it away too.
 * NULL: none any more. The path stays the caller's, and alive. */
void scratch_take_along(struct scratch *scratch, const char *path);
/* Removes it all. Sets *scratch to NULL; NULL is accepted. */
void scratch_destroy(struct scratch **scratch);

#endif
