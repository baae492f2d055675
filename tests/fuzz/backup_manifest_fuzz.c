/* What stands in a folder of backups was written by whoever can write there: any bytes are read as
 * a manifest or refused, and one that is read says the same when it is written again. */

#include "ctl/backup/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What is not ASCII may become longer when it is written: longer than a reader takes. */
static bool is_plain(struct str text)
{
	for (size_t i = 0; i < text.length; i++)
		if ((uint8_t)text.bytes[i] >= 0x80 || text.bytes[i] == '\\')
			return false;
	return true;
}

static void write_again(const struct backup_set *set, struct pool *pool, bool must_be_read)
{
	static const uint8_t digest[SEAL_SHA256_LENGTH];
	struct buf first = { 0 }, second = { 0 };
	struct backup_set again;
	struct error error;
	manifest_encode(set, &first);
	int code = manifest_decode(buf_str(&first), pool, &again, &error);
	CHECK(code == 0 || !must_be_read);
	if (code == 0) {
		manifest_encode(&again, &second);
		CHECK(str_equal(buf_str(&first), buf_str(&second)));
	}
	buf_clear(&second);
	sums_encode(set, digest, &second);
	CHECK(buf_length(&second) <= SUMS_BYTES_MAX);
	buf_deinit(&first);
	buf_deinit(&second);
}

static void read(struct str text)
{
	struct pool *pool = pool_create();
	struct backup_set set;
	struct error error;
	if (manifest_decode(text, pool, &set, &error) == 0)
		write_again(&set, pool, is_plain(text));
	pool_destroy(&pool);
}

/* Bytes that nobody chose are no manifest: what is around them gets them further. */
static void read_inside(struct str text)
{
	static const char digits[] =
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
	struct buf whole = { 0 };
	buf_printf(&whole,
		"{\"format\": 1, \"name\": \"20261127T101500Z-00000002\", \"moment_s\": 5, "
		"\"cluster\": \"c\", \"recipient\": \"pando-backup-public:%s\", \"parent\": "
		"{\"name\": \"20261127T101400Z-00000001\", \"sha256\": \"%s\"}, \"directory\": "
		"{\"file\": \"directory.pbk\", \"bytes\": 9, \"sha256\": \"%s\", \"revision\": "
		"1}, \"volumes\": [{\"id\": 1, \"name\": \"v\", \"from\": 0, \"to\": 9, "
		"\"from_chain\": \"0000000000000000\", \"to_chain\": \"0000000000000000\", "
		"\"epoch\": 1, \"reign\": \"00112233445566778899aabbccddeeff\", \"source\": \"n\", "
		"\"problem\": \"\", \"files\": [{\"file\": \"",
		digits, digits, digits);
	buf_append_str(&whole, text);
	buf_printf(&whole, ".pbk\", \"bytes\": 9, \"sha256\": \"%s\", \"from\": 0, \"to\": 9}]}]}",
		digits);
	read(buf_str(&whole));
	buf_deinit(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct str text = str_of(bytes, length);
	read(text);
	read_inside(text);
	(void)backup_set_name_is_valid(text);
	struct backup_public public;
	struct error error;
	(void)!backup_public_parse(text, &public, &error);
	return 0;
}
