#include "ctl/backup/seal.h"

#include "core/cipher.h"
#include "core/compress.h"
#include "core/digest.h"
#include "core/encode.h"
#include "ctl/backup/file.h"
#include "ctl/backup/seal_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Mail halves at it, at the speed of a disk; 19 saves a tenth more and takes ten times as long. */
enum { COMPRESSION_LEVEL = 3 };

struct seal_writer {
	char *path;
	int descriptor;
	struct cipher *cipher;
	struct compressor *compressor;
	struct sha256_run *run;
	uint64_t piece, bytes;
	bool is_broken; /* a write failed: what the file ends with is not known */
	char *plain;    /* SEAL_PIECE_BYTES, of which `filled` wait for the next piece */
	size_t filled;
	char *frame, *sealed; /* a piece before and after it is encrypted, with its length */
};

size_t seal_piece_max(void)
{
	return compress_bound(SEAL_PIECE_BYTES) + CIPHER_TAG_LENGTH;
}

void seal_nonce(uint64_t piece, bool is_last, uint8_t nonce_out[CIPHER_NONCE_LENGTH])
{
	memset(nonce_out, 0, CIPHER_NONCE_LENGTH);
	put_le64(nonce_out, piece);
	nonce_out[8] = is_last;
}

bool seal_derive(const uint8_t secret[X25519_LENGTH], const uint8_t peer[X25519_LENGTH],
	const uint8_t header[SEAL_HEADER_LENGTH], uint8_t key_out[CIPHER_KEY_LENGTH])
{
	uint8_t shared[X25519_LENGTH];
	bool agreed = x25519_agree(secret, peer, shared);
	if (agreed)
		hkdf_sha256(str_of(shared, sizeof(shared)),
			str_of(header + SEAL_INFO_LENGTH, SEAL_HEADER_LENGTH - SEAL_INFO_LENGTH),
			str_of(header, SEAL_INFO_LENGTH), key_out);
	explicit_bzero(shared, sizeof(shared));
	return agreed;
}

/* All that goes into the file goes into its digest. */
static int put(struct seal_writer *writer, const void *bytes, size_t length, struct error *error)
{
	sha256_add(writer->run, str_of(bytes, length));
	writer->bytes += length;
	int code = file_append(writer->descriptor, writer->path, str_of(bytes, length), error);
	writer->is_broken = code < 0;
	return code;
}

static struct cipher *draw_cipher(
	const struct backup_public *to, uint8_t header_out[SEAL_HEADER_LENGTH])
{
	uint8_t secret[X25519_LENGTH], key[CIPHER_KEY_LENGTH];
	struct cipher *cipher = NULL;
	memcpy(header_out, SEAL_MAGIC, 4);
	put_le32(header_out + 4, SEAL_VERSION);
	memcpy(header_out + SEAL_INFO_LENGTH, to->bytes, BACKUP_KEY_LENGTH);
	x25519_draw(secret, header_out + SEAL_INFO_LENGTH + BACKUP_KEY_LENGTH);
	if (seal_derive(secret, to->bytes, header_out, key))
		cipher = cipher_create(key);
	explicit_bzero(key, sizeof(key));
	explicit_bzero(secret, sizeof(secret));
	return cipher;
}

int seal_create(const char *path, const struct backup_public *to, struct seal_writer **writer_out,
	struct error *error)
{
	uint8_t header[SEAL_HEADER_LENGTH];
	int fd;
	struct cipher *cipher = draw_cipher(to, header);
	if (!cipher)
		return error_set(error, -EINVAL,
			"nothing can be sealed to this public key: everybody has its secret");
	int code = file_make(path, &fd, error);
	if (code < 0) {
		cipher_destroy(&cipher);
		return code;
	}
	struct seal_writer *writer = mem_alloc(sizeof(*writer));
	*writer = (struct seal_writer){ .path = str_to_heap(str_from(path)),
		.descriptor = fd,
		.cipher = cipher,
		.compressor = compressor_create(COMPRESSION_LEVEL),
		.run = sha256_begin(),
		.plain = mem_alloc(SEAL_PIECE_BYTES),
		.frame = mem_alloc(seal_piece_max()),
		.sealed = mem_alloc(SEAL_LENGTH_BYTES + seal_piece_max()) };
	code = put(writer, header, sizeof(header), error);
	if (code < 0)
		seal_abandon(&writer);
	else
		*writer_out = writer;
	return code;
}

static int write_piece(struct seal_writer *writer, bool is_last, struct error *error)
{
	uint8_t nonce[CIPHER_NONCE_LENGTH];
	if (writer->is_broken)
		return error_set(error, -EIO, "%s could not be written before", writer->path);
	size_t length = compressor_run(
		writer->compressor, str_of(writer->plain, writer->filled), writer->frame);
	seal_nonce(writer->piece++, is_last, nonce);
	cipher_seal(writer->cipher, nonce, str_of(writer->frame, length),
		writer->sealed + SEAL_LENGTH_BYTES);
	length += CIPHER_TAG_LENGTH;
	put_le32(writer->sealed, (uint32_t)length);
	writer->filled = 0;
	return put(writer, writer->sealed, SEAL_LENGTH_BYTES + length, error);
}

int seal_write(struct seal_writer *writer, struct str bytes, struct error *error)
{
	while (bytes.length > 0) {
		/* A full piece waits for more: it may be the last one. */
		if (writer->filled == SEAL_PIECE_BYTES) {
			int code = write_piece(writer, false, error);
			if (code < 0)
				return code;
		}
		struct str part = str_first(bytes, SEAL_PIECE_BYTES - writer->filled);
		memcpy(writer->plain + writer->filled, part.bytes, part.length);
		writer->filled += part.length;
		bytes = str_from_index(bytes, part.length);
	}
	return 0;
}

int seal_finish(struct seal_writer **writer, struct sealed *sealed_out, struct error *error)
{
	struct seal_writer *w = *writer;
	int code = write_piece(w, true, error);
	if (code == 0) {
		code = file_finish(w->descriptor, w->path, error);
		w->descriptor = -1;
	}
	if (code == 0) {
		sealed_out->bytes = w->bytes;
		sha256_end(&w->run, sealed_out->sha256);
	}
	seal_abandon(writer);
	return code;
}

void seal_abandon(struct seal_writer **writer)
{
	struct seal_writer *w = *writer;
	if (!w)
		return;
	if (w->descriptor >= 0)
		close(w->descriptor);
	sha256_end(&w->run, NULL);
	compressor_destroy(&w->compressor);
	cipher_destroy(&w->cipher);
	free(w->plain);
	free(w->frame);
	free(w->sealed);
	free(w->path);
	free(w);
	*writer = NULL;
}
