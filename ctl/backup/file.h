#ifndef PANDO_CTL_BACKUP_FILE_H
#define PANDO_CTL_BACKUP_FILE_H

/*
 * Files of a backup: made once and durably, never replaced; read no further than a limit that
 * stands before any memory is taken. All but file_make's are regular ones: whoever reads a folder
 * that others write must not wait at a pipe.
 *
 * Functions return 0 or a negative errno with a sentence that names the file.
 */

#include "core/buf.h"
#include "core/error.h"
#include "core/pool.h"
#include "ctl/backup/seal.h"

/* Mode 0600. -EEXIST: it is there already, and stays as it is. */
int file_make(const char *path, int *descriptor_out, struct error *error) must_check;
int file_append(int descriptor, const char *path, struct str bytes, struct error *error) must_check;
/* Durable, with its name in the folder. Closes the descriptor, also when it fails. */
int file_finish(int descriptor, const char *path, struct error *error) must_check;
/* The three in one. */
int file_write(const char *path, struct str bytes, struct error *error) must_check;
/* What the folder names is durable. */
int folder_sync(const char *path, struct error *error) must_check;
/* Of a folder that is open, also only to read, until that is closed. False: another has it. Where
 * the file system knows no locks there is none. */
bool folder_try_lock(int descriptor) must_check;
/* The folder that holds what `path` names, in `out`. */
void folder_of(const char *path, struct buf *out);

int file_open(
	const char *path, int *descriptor_out, uint64_t *bytes_out, struct error *error) must_check;
/* As many as there are, up to `size`. */
int file_read(int descriptor, const char *path, void *to, size_t size, size_t *read_out,
	struct error *error) must_check;
/* Of at most `bytes_max` (else -EUCLEAN), in `pool`. */
int file_read_whole(const char *path, size_t bytes_max, struct pool *pool, struct str *bytes_out,
	struct error *error) must_check;
/* Reads all of it. `on_read` (NULL: nobody) hears of each part; false: -EINTR. */
int file_digest(const char *path, bool (*on_read)(void *arg, size_t bytes), void *arg,
	struct sealed *sealed_out, struct error *error) must_check;

#endif
