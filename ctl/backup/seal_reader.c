#include "ctl/backup/seal.h"

#include "core/compress.h"
#include "core/encode.h"
#include "ctl/backup/file.h"
#include "ctl/backup/seal_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct seal_reader {
	char *path;
	int descriptor;
	struct cipher *cipher;
	struct decompressor *decompressor;
	uint64_t piece;
	size_t next_length; /* of the sealed piece that comes; 0: the last one was read */
	char *sealed;       /* seal_piece_max() and the length that follows */
	char *frame;
	char *plain; /* SEAL_PIECE_BYTES, of which [at, filled) was not given out yet */
	size_t at, filled;
	bool is_broken; /* nothing is read any more */
};

static int damaged(const struct seal_reader *reader, struct error *error, const char *what)
{
	return error_set(error, -EUCLEAN, "%s is damaged: its piece %llu %s", reader->path,
		(unsigned long long)reader->piece, what);
}

/* Takes what stands before a piece: SEAL_LENGTH_BYTES, or none at the end. */
static int take_length(struct seal_reader *reader, struct str bytes, struct error *error)
{
	uint32_t length = bytes.length == SEAL_LENGTH_BYTES ? get_le32(bytes.bytes) : 0;
	if (bytes.length == 0 || (length > CIPHER_TAG_LENGTH && length <= seal_piece_max())) {
		reader->next_length = length;
		return 0;
	}
	return damaged(reader, error,
		bytes.length == SEAL_LENGTH_BYTES ? "has a length that none can have"
						  : "begins and is not there");
}

static int check_header(const char *path, const uint8_t header[SEAL_HEADER_LENGTH],
	const struct backup_secret *secret, struct error *error)
{
	if (memcmp(header, SEAL_MAGIC, 4) != 0)
		return error_set(error, -EUCLEAN, "%s is no sealed file", path);
	if (get_le32(header + 4) != SEAL_VERSION)
		return error_set(error, -EUCLEAN,
			"%s is of format %lu, which this version does not read", path,
			(unsigned long)get_le32(header + 4));
	if (memcmp(header + SEAL_INFO_LENGTH, secret->public.bytes, BACKUP_KEY_LENGTH) == 0)
		return 0;
	struct backup_public public;
	char to[BACKUP_KEY_TEXT_MAX], own[BACKUP_KEY_TEXT_MAX];
	memcpy(public.bytes, header + SEAL_INFO_LENGTH, BACKUP_KEY_LENGTH);
	backup_public_format(&public, to);
	backup_public_format(&secret->public, own);
	return error_set(error, -EACCES, "%s is sealed to %s, and the key that was given is of %s",
		path, to, own);
}

static int begin(
	struct seal_reader *reader, const struct backup_secret *secret, struct error *error)
{
	uint8_t header[SEAL_HEADER_LENGTH], length[SEAL_LENGTH_BYTES], key[CIPHER_KEY_LENGTH];
	size_t read;
	int code =
		file_read(reader->descriptor, reader->path, header, sizeof(header), &read, error);
	if (code == 0 && read < sizeof(header))
		code = error_set(error, -EUCLEAN, "%s is no sealed file", reader->path);
	if (code == 0)
		code = check_header(reader->path, header, secret, error);
	if (code < 0)
		return code;
	if (!seal_derive(secret->bytes, header + SEAL_INFO_LENGTH + BACKUP_KEY_LENGTH, header, key))
		return error_set(
			error, -EUCLEAN, "%s is damaged: its own key is none", reader->path);
	reader->cipher = cipher_create(key);
	explicit_bzero(key, sizeof(key));
	code = file_read(reader->descriptor, reader->path, length, sizeof(length), &read, error);
	if (code == 0 && read == 0)
		code = damaged(reader, error, "is missing");
	return code < 0 ? code : take_length(reader, str_of(length, read), error);
}

int seal_open(const char *path, const struct backup_secret *secret, struct seal_reader **reader_out,
	struct error *error)
{
	uint64_t bytes;
	int fd, code = file_open(path, &fd, &bytes, error);
	if (code < 0)
		return code;
	struct seal_reader *reader = mem_alloc(sizeof(*reader));
	*reader = (struct seal_reader){ .path = str_to_heap(str_from(path)),
		.descriptor = fd,
		.decompressor = decompressor_create(),
		.sealed = mem_alloc(seal_piece_max() + SEAL_LENGTH_BYTES),
		.frame = mem_alloc(seal_piece_max()),
		.plain = mem_alloc(SEAL_PIECE_BYTES) };
	code = begin(reader, secret, error);
	if (code < 0)
		seal_close(&reader);
	else
		*reader_out = reader;
	return code;
}

static bool open_piece(struct seal_reader *reader, struct str sealed, bool is_last)
{
	uint8_t nonce[CIPHER_NONCE_LENGTH];
	seal_nonce(reader->piece, is_last, nonce);
	return cipher_open(reader->cipher, nonce, sealed, reader->frame);
}

/* What follows a piece, or that nothing does, decides whether it is the last one; its nonce says it
 * too. */
static int refuse_piece(
	struct seal_reader *reader, struct str sealed, bool is_last, struct error *error)
{
	if (!open_piece(reader, sealed, !is_last))
		return damaged(reader, error, "was changed, or is another one's");
	return damaged(reader, error,
		is_last ? "is not the last one, and those behind it are missing"
			: "is the last one, and something follows it");
}

static int read_piece(struct seal_reader *reader, struct error *error)
{
	size_t read, wanted = reader->next_length + SEAL_LENGTH_BYTES;
	int code =
		file_read(reader->descriptor, reader->path, reader->sealed, wanted, &read, error);
	if (code < 0)
		return code;
	if (read < reader->next_length)
		return damaged(reader, error, "ends too early");
	struct str sealed = str_of(reader->sealed, reader->next_length);
	struct str behind = str_of(reader->sealed + sealed.length, read - sealed.length);
	bool is_last = behind.length == 0;
	if (!open_piece(reader, sealed, is_last))
		return refuse_piece(reader, sealed, is_last, error);
	if (!decompressor_run(reader->decompressor,
		    str_of(reader->frame, sealed.length - CIPHER_TAG_LENGTH), reader->plain,
		    SEAL_PIECE_BYTES, &reader->filled) ||
		(!is_last && reader->filled != SEAL_PIECE_BYTES)) {
		reader->filled = 0;
		return damaged(reader, error, "does not hold what it should");
	}
	reader->at = 0;
	reader->piece++;
	return take_length(reader, behind, error);
}

int seal_read(
	struct seal_reader *reader, void *to, size_t size, size_t *read_out, struct error *error)
{
	size_t done = 0;
	*read_out = 0;
	if (reader->is_broken)
		return error_set(error, -EUCLEAN, "%s could not be read before", reader->path);
	while (done < size) {
		if (reader->at == reader->filled) {
			if (reader->next_length == 0)
				break;
			int code = read_piece(reader, error);
			if (code < 0) {
				/* Where the next piece begins is not known any more. */
				reader->is_broken = true;
				return code;
			}
		}
		size_t part = reader->filled - reader->at;
		part = part < size - done ? part : size - done;
		memcpy((char *)to + done, reader->plain + reader->at, part);
		reader->at += part;
		done += part;
	}
	*read_out = done;
	return 0;
}

void seal_close(struct seal_reader **reader)
{
	struct seal_reader *r = *reader;
	if (!r)
		return;
	close(r->descriptor);
	decompressor_destroy(&r->decompressor);
	cipher_destroy(&r->cipher);
	free(r->sealed);
	free(r->frame);
	free(r->plain);
	free(r->path);
	free(r);
	*reader = NULL;
}
