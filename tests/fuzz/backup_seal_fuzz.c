/* A sealed file is opened by whoever holds the key, whoever wrote it: any bytes, alone and behind a
 * header that is right, are refused; so is a sealed file with any one byte changed. */

#include "ctl/backup/seal.h"

#include "core/buf.h"
#include "core/cipher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

enum { HEADER_LENGTH = 72 };

/* Reads to the end, or to what is wrong. A file in memory alone. */
static int unseal(const struct backup_secret *secret, struct str file)
{
	char path[32], part[1000];
	size_t read = sizeof(part);
	struct seal_reader *reader;
	struct error error;
	int fd = memfd_create("sealed", MFD_CLOEXEC);
	CHECK(fd >= 0 && write(fd, file.bytes, file.length) == (ssize_t)file.length);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int code = seal_open(path, secret, &reader, &error);
	if (code == 0) {
		while (code == 0 && read == sizeof(part))
			code = seal_read(reader, part, sizeof(part), &read, &error);
		seal_close(&reader);
	}
	close(fd);
	return code;
}

/* Written once in a folder of memory: what was sealed is what is read. */
static struct str make_file(const struct backup_secret *secret, struct str bytes, char *to)
{
	char path[64];
	struct seal_writer *writer;
	struct sealed sealed;
	struct error error;
	snprintf(path, sizeof(path), "/dev/shm/pando-seal-fuzz-%d", (int)getpid());
	unlink(path);
	CHECK(seal_create(path, &secret->public, &writer, &error) == 0);
	CHECK(seal_write(writer, bytes, &error) == 0);
	CHECK(seal_finish(&writer, &sealed, &error) == 0);
	FILE *file = fopen(path, "rbe");
	CHECK(file && fread(to, 1, (size_t)sealed.bytes, file) == sealed.bytes);
	fclose(file);
	unlink(path);
	return str_of(to, (size_t)sealed.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct backup_secret secret = { .bytes = { 1, 2, 3 } };
	struct buf whole = { 0 };
	char *file = mem_alloc(2 * length + 1000);
	x25519_public(secret.bytes, secret.public.bytes);
	CHECK(unseal(&secret, str_of(bytes, length)) < 0);
	struct str sealed = make_file(&secret, str_of(bytes, length), file);
	CHECK(unseal(&secret, sealed) == 0);
	buf_append(&whole, sealed.bytes, HEADER_LENGTH);
	buf_append(&whole, bytes, length);
	CHECK(unseal(&secret, buf_str(&whole)) < 0);
	if (length >= 4) {
		size_t at =
			(bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16) % sealed.length;
		file[at] = (char)(file[at] ^ (bytes[3] | 1));
		CHECK(unseal(&secret, sealed) < 0);
	}
	buf_deinit(&whole);
	free(file);
	return 0;
}
