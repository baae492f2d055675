#ifndef PANDO_CTL_BACKUP_MANIFEST_H
#define PANDO_CTL_BACKUP_MANIFEST_H

/*
 * manifest.json and SHA256SUMS of a set, as bytes.
 *
 * The manifest is one object of JSON: `format` (1), `name`, `moment_s` (`moment` says it for
 * people), `cluster`, `parent` (null, or an object with `name` and the `sha256` of its SHA256SUMS),
 * `recipient` (key.h), `directory` (an object with `file`, `bytes`, `sha256`, `revision`) and
 * `volumes`, an array of objects with `id`, `name`, `from`, `to`, `from_chain`, `to_chain`,
 * `epoch`, `reign`, `source`, `problem` and `files`, an array of objects with `file`, `bytes`,
 * `sha256`, `from`, `to`. Digests, reigns and chains are hexadecimal, integers decimal, and
 * below 2^64. Members that are not known are passed over: a later version may add some, and
 * raises `format` where whoever passes over them would be wrong.
 *
 * It is valid if and only if: all of these are there, once in their object; `name` and the
 * parent's are names of sets, and differ; files' names are ASCII letters, digits, '-', '_' and '.',
 * begin with no '.', end with ".pbk", and stand once in it; volumes' ids stand once; a volume's
 * files follow one another, each holding something, from its `from` to its `to` (none: these are
 * equal); what begins at 0 has chain 0 there; and a set without a parent holds volumes from 0 on
 * alone.
 */

#include "core/buf.h"
#include "ctl/backup/set.h"

#define MANIFEST_FILE "manifest.json"
#define SUMS_FILE "SHA256SUMS"
/* Every other file of a set ends so. */
#define SEALED_SUFFIX ".pbk"

enum {
	/* A part of a GiB takes 200 bytes: a set of 30 TB. What is worse than a manifest takes 30
	 * times as much memory. */
	MANIFEST_BYTES_MAX = 8 << 20,
	/* A file that the manifest names takes more bytes there than here. */
	SUMS_BYTES_MAX = MANIFEST_BYTES_MAX,
	/* Of what a volume's `source` and `problem` say, and the cluster's name: an error's
	 * sentence, also where each byte of it was none of UTF-8 and became three. */
	MANIFEST_TEXT_MAX = 4096,
};

void manifest_encode(const struct backup_set *set, struct buf *out);
/* Everything but `folder` and `sums`, in `pool`. -EUCLEAN with what is wrong. */
int manifest_decode(struct str text, struct pool *pool, struct backup_set *set_out,
	struct error *error) must_check;

/* The one SHA256SUMS that a manifest has. */
void sums_encode(
	const struct backup_set *set, const uint8_t manifest[SEAL_SHA256_LENGTH], struct buf *out);

#endif
