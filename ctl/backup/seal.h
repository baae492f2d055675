#ifndef PANDO_CTL_BACKUP_SEAL_H
#define PANDO_CTL_BACKUP_SEAL_H

/*
 * A sealed file: a stream of bytes, compressed (zstd), encrypted to a public key and authenticated
 * piece by piece, so that a reader never sees a byte that was not written, nor an end that was not
 * the end.
 *
 * Bytes (integers little-endian): "PBK1", u32 version 1, 32 bytes of the recipient's public key, 32
 * bytes of a public key that was drawn for this file. The file's key is HKDF-SHA256 (RFC 5869) of
 * the X25519 secret of the two, with both public keys as salt and the first 8 bytes of the file as
 * info. Then pieces: u32 length of what follows of it, then AES-256-GCM of a zstd frame, its tag of
 * 16 bytes behind it. Nonce: u64 number of the piece, u8 1 for the last one else 0, three zeroes.
 * Every piece but the last holds SEAL_PIECE_BYTES; the last may be empty, and nothing follows it.
 */

#include "ctl/backup/key.h"

enum {
	/* Of the stream: large enough for the compressor, small enough to be held. */
	SEAL_PIECE_BYTES = 1 << 20,
	SEAL_SHA256_LENGTH = 32,
};

/* What stands on disk, by which it can be verified without a key. */
struct sealed {
	uint64_t bytes;
	uint8_t sha256[SEAL_SHA256_LENGTH];
};

struct seal_writer;
struct seal_reader;

/* -EEXIST: a file is never replaced, nor written again. */
int seal_create(const char *path, const struct backup_public *to, struct seal_writer **writer_out,
	struct error *error) must_check;
/* After a failure nothing succeeds any more. */
int seal_write(struct seal_writer *writer, struct str bytes, struct error *error) must_check;
/* Durable. Sets *writer to NULL, also when it fails: then the file is no sealed one. */
int seal_finish(
	struct seal_writer **writer, struct sealed *sealed_out, struct error *error) must_check;
/* Closes without the last piece. NULL is accepted. */
void seal_abandon(struct seal_writer **writer);

/* -EACCES: it is sealed to another key; -EUCLEAN: it is no sealed file. */
int seal_open(const char *path, const struct backup_secret *secret, struct seal_reader **reader_out,
	struct error *error) must_check;
/* As many bytes as there are, up to `size`; fewer at the end alone. -EUCLEAN, with where: a piece
 * is damaged, missing, or another one's. */
int seal_read(struct seal_reader *reader, void *to, size_t size, size_t *read_out,
	struct error *error) must_check;
/* NULL is accepted. */
void seal_close(struct seal_reader **reader);

#endif
