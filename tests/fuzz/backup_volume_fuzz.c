/* Anybody can seal anything to a public key: what is in a volume's sealed file need not be groups.
 */

#include "ctl/backup/volume_file.h"

#include "core/cipher.h"
#include "core/encode.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* A file that holds these bytes, as all that a set has of a volume. */
static void read_file(const struct backup_secret *secret, struct str bytes, uint64_t to)
{
	char name[64], path[96];
	struct backup_file file = { .name = name, .to = to };
	struct backup_volume volume = {
		.id = 7, .name = "v", .to = to, .files = &file, .file_count = 1
	};
	struct backup_set set = {
		.name = "set", .folder = "/dev/shm", .volumes = &volume, .volume_count = 1
	};
	struct backup_set *chain = &set;
	struct seal_writer *writer;
	struct volume_source *source;
	struct bytes *groups;
	struct error error;
	uint64_t lsn;
	snprintf(name, sizeof(name), "pando-volume-fuzz-%d", (int)getpid());
	snprintf(path, sizeof(path), "/dev/shm/%s", name);
	unlink(path);
	CHECK(seal_create(path, &secret->public, &writer, &error) == 0);
	CHECK(seal_write(writer, bytes, &error) == 0);
	CHECK(seal_finish(&writer, &file.sealed, &error) == 0);
	CHECK(volume_source_open(&chain, 1, 7, secret, &source, &error) == 0);
	int code = 0;
	while (code == 0) {
		code = volume_source_next(source, &groups, &lsn, &error);
		CHECK((code == 0) == (groups != NULL));
		bytes_unref(&groups);
	}
	CHECK(code == -EUCLEAN || code == -ENODATA);
	volume_source_close(&source);
	unlink(path);
}

/* Bytes that nobody chose have no right checksum: a group around them gets further, and what they
 * begin with is the address that follows. */
static void append_group(struct buf *out, struct str body)
{
	struct group group = { .epoch = 1, .volume = 7, .record_count = 1 };
	uint8_t header[RECORD_HEADER_LENGTH];
	group.used = (uint32_t)(GROUP_HEADER_LENGTH + record_padded(body.length));
	size_t begin = buf_length(out);
	append_le64(out, 0);
	append_le32(out, (uint32_t)group_padded(group.used));
	group_header_encode(&group, (uint8_t *)buf_reserve(out, GROUP_HEADER_LENGTH));
	buf_commit(out, GROUP_HEADER_LENGTH);
	record_header_encode(GROUP_HEADER_LENGTH, 1, RECORD_MESSAGE, body, STR(""), header);
	buf_append(out, header, sizeof(header));
	buf_append_str(out, body);
	while (buf_length(out) - begin < VOLUME_FILE_HEAD_LENGTH + group_padded(group.used))
		buf_append_byte(out, '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct backup_secret secret = { .bytes = { 1, 2, 3 } };
	struct str input = str_of(bytes, length);
	struct buf whole = { 0 };
	x25519_public(secret.bytes, secret.public.bytes);
	read_file(&secret, input, length);
	if (length < 60000) {
		append_group(&whole, input);
		buf_append_str(&whole, input);
		read_file(&secret, buf_str(&whole), buf_length(&whole) - length);
	}
	buf_deinit(&whole);
	return 0;
}
