#ifndef PANDO_CTL_BACKUP_KEY_H
#define PANDO_CTL_BACKUP_KEY_H

/*
 * The key pair of whoever may read backups (X25519, RFC 7748). A cluster knows the public one
 * alone: who takes a machine cannot read what was backed up before.
 *
 * In text: "pando-backup-public:" or "pando-backup-secret:", then 64 hexadecimal digits. A key file
 * holds both, a line each, after lines that begin with #.
 */

#include "core/error.h"
#include "core/str.h"

enum {
	BACKUP_KEY_LENGTH = 32,
	/* A prefix, the digits, a zero. */
	BACKUP_KEY_TEXT_MAX = 96,
};

struct backup_public {
	uint8_t bytes[BACKUP_KEY_LENGTH];
};

struct backup_secret {
	uint8_t bytes[BACKUP_KEY_LENGTH];
	struct backup_public public;
};

/* Draws a pair and writes the file, mode 0600, durably; an existing file is never replaced
 * (-EEXIST). */
int backup_key_create(
	const char *path, struct backup_public *public_out, struct error *error) must_check;
/* -EINVAL with a sentence. Only the 32 bytes are compared, never the spelling. */
int backup_public_parse(
	struct str text, struct backup_public *public_out, struct error *error) must_check;
void backup_public_format(const struct backup_public *public, char text_out[BACKUP_KEY_TEXT_MAX]);
/* Warns on standard error of a file that others may read. -EINVAL, without the text, where it is a
 * key and not a file; -EUCLEAN where the two lines are no pair. The caller clears it with
 * explicit_bzero. */
int backup_secret_read(
	const char *path, struct backup_secret *secret_out, struct error *error) must_check;

#endif
