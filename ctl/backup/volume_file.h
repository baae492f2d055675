#ifndef PANDO_CTL_BACKUP_VOLUME_FILE_H
#define PANDO_CTL_BACKUP_VOLUME_FILE_H

/*
 * A volume's log within the sets of a chain. What is sealed is a sequence of: u64 address, u32
 * length (little-endian), whole groups that begin there (proto/disk/record.h). Files end at about
 * VOLUME_FILE_BYTES_MAX, between groups.
 */

#include "core/bytes.h"
#include "ctl/backup/set.h"
#include "ctl/backup/volume_walk.h"

enum {
	/* Of the log: what a broken target or an object store's limit costs is one of these. */
	VOLUME_FILE_BYTES_MAX = 1 << 30,
	/* Address and length, before groups. */
	VOLUME_FILE_HEAD_LENGTH = 12,
};

struct volume_sink;

/* Writes "volume-<id>-<number>.pbk" into the set's folder. */
int volume_sink_create(const char *folder, uint32_t volume_id, uint64_t from,
	const struct backup_public *to, struct volume_sink **sink_out,
	struct error *error) must_check;
/* Files end at about so many bytes of the log: fewer, for who cannot write that much. */
void volume_sink_set_file_bytes(struct volume_sink *sink, uint64_t bytes);
/* Whole groups, at most segment_length of them, not checked here but for their place: -EINVAL;
 * `next` is where the following ones are looked for. */
int volume_sink_write(struct volume_sink *sink, uint64_t lsn, struct str groups, uint64_t next,
	struct error *error) must_check;
/* The files, in `pool`. Sets *sink to NULL. */
int volume_sink_finish(struct volume_sink **sink, struct pool *pool, struct backup_file **files_out,
	unsigned *count_out, struct error *error) must_check;
/* NULL is accepted. */
void volume_sink_abandon(struct volume_sink **sink);

struct volume_source;

/* Of a chain (backup_sets_chain): from the last set that begins the volume at 0. Chain and secret
 * are borrowed until the source is closed. -ENOENT: the last set has no such volume. -EUCLEAN: the
 * sets do not go on from each other. */
int volume_source_open(struct backup_set *const *chain, unsigned count, uint32_t volume_id,
	const struct backup_secret *secret, struct volume_source **source_out,
	struct error *error) must_check;
/* The next whole groups, which begin at *lsn_out: each group and record verified, and the chain
 * with what came before. *bytes_out is the caller's reference. -ENODATA: that was all, and it ends
 * where, and with the chain that, the manifest says. -EUCLEAN with a sentence otherwise. */
int volume_source_next(struct volume_source *source, struct bytes **bytes_out, uint64_t *lsn_out,
	struct error *error) must_check;
/* Where it is being read, or where it broke; "" where that is no file. Both live as long as the
 * chain. */
void volume_source_place(
	const struct volume_source *source, const char **set_out, const char **file_out);
/* What has come so far: groups, messages, where it ends. */
const struct volume_walk *volume_source_walk(const struct volume_source *source);
/* NULL is accepted. */
void volume_source_close(struct volume_source **source);

#endif
