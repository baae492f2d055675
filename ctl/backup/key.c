#include "ctl/backup/key.h"

#include "core/cipher.h"
#include "core/encode.h"
#include "ctl/backup/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PUBLIC_PREFIX "pando-backup-public:"
#define SECRET_PREFIX "pando-backup-secret:"

/* Two lines, and room for whatever its owner notes in it. */
enum { KEY_FILE_BYTES_MAX = 64 * 1024 };

_Static_assert(sizeof(PUBLIC_PREFIX) + 2 * BACKUP_KEY_LENGTH <= BACKUP_KEY_TEXT_MAX,
	"a key's text holds prefix, digits and the zero");
_Static_assert((int)BACKUP_KEY_LENGTH == (int)X25519_LENGTH, "a key is one of X25519");

static void append_key(struct buf *out, struct str prefix, const uint8_t bytes[BACKUP_KEY_LENGTH])
{
	buf_append_str(out, prefix);
	encode_hex(out, bytes, BACKUP_KEY_LENGTH);
}

static bool decode_key(struct str text, struct str prefix, uint8_t bytes_out[BACKUP_KEY_LENGTH])
{
	return str_starts_with(text, prefix) &&
		decode_hex(str_from_index(text, prefix.length), bytes_out, BACKUP_KEY_LENGTH);
}

void backup_public_format(const struct backup_public *public, char text_out[BACKUP_KEY_TEXT_MAX])
{
	struct buf text = { 0 };
	append_key(&text, STR(PUBLIC_PREFIX), public->bytes);
	memcpy(text_out, buf_terminated(&text), buf_length(&text) + 1);
	buf_deinit(&text);
}

int backup_public_parse(struct str text, struct backup_public *public_out, struct error *error)
{
	text = str_trim(text);
	/* Never repeated in the sentence: it would stand in a log. */
	if (str_starts_with(text, STR(SECRET_PREFIX)))
		return error_set(error, -EINVAL,
			"this is a secret key: backups are made with the public one, and whoever "
			"has seen the secret one can read them");
	if (!decode_key(text, STR(PUBLIC_PREFIX), public_out->bytes))
		return error_set(error, -EINVAL,
			"a public key is `" PUBLIC_PREFIX "` and %d hexadecimal digits, as `pando "
			"backup key` prints it",
			2 * BACKUP_KEY_LENGTH);
	return 0;
}

int backup_key_create(const char *path, struct backup_public *public_out, struct error *error)
{
	uint8_t secret[BACKUP_KEY_LENGTH];
	struct buf text = { 0 };
	x25519_draw(secret, public_out->bytes);
	buf_append_literal(&text,
		"# Who has this file can read every backup that is sealed to its public key, and "
		"nobody\n"
		"# else can. It belongs away from the cluster, in two places.\n");
	append_key(&text, STR(PUBLIC_PREFIX), public_out->bytes);
	/* A buffer that grows leaves what it held behind: room before the secret is written. */
	(void)buf_reserve(&text, 2 * BACKUP_KEY_TEXT_MAX);
	buf_append_byte(&text, '\n');
	append_key(&text, STR(SECRET_PREFIX), secret);
	buf_append_byte(&text, '\n');
	int code = file_write(path, buf_str(&text), error);
	explicit_bzero(text.memory, text.capacity);
	explicit_bzero(secret, sizeof(secret));
	buf_deinit(&text);
	return code;
}

/* Takes a line of a key file; false: it is none of its. */
static bool take_line(struct str line, struct backup_secret *secret, unsigned *public_count,
	unsigned *secret_count)
{
	line = str_trim(line);
	if (line.length == 0 || line.bytes[0] == '#')
		return true;
	if (decode_key(line, STR(PUBLIC_PREFIX), secret->public.bytes)) {
		++*public_count;
		return true;
	}
	*secret_count += 1;
	return decode_key(line, STR(SECRET_PREFIX), secret->bytes);
}

static int check_pair(const char *path, const struct backup_secret *secret, struct error *error)
{
	struct backup_public public;
	x25519_public(secret->bytes, public.bytes);
	if (memcmp(public.bytes, secret->public.bytes, sizeof(public.bytes)) == 0)
		return 0;
	return error_set(error, -EUCLEAN,
		"the two keys of %s are no pair: one of them was changed, take another copy of it",
		path);
}

static bool is_text(const char *path)
{
	struct str text = str_trim(str_from(path));
	return str_starts_with(text, STR(PUBLIC_PREFIX)) ||
		str_starts_with(text, STR(SECRET_PREFIX));
}

/* Who may read the file may read the backup; it is read all the same. */
static void warn_of_readers(const char *path)
{
	struct stat status;
	if (stat(path, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & 077) != 0)
		fprintf(stderr,
			"pando: the key file may be read by others (mode %03o): `chmod 600` it\n",
			(unsigned)status.st_mode & 0777);
}

int backup_secret_read(const char *path, struct backup_secret *secret_out, struct error *error)
{
	struct pool *pool = pool_create();
	struct str text = { 0 }, rest, line;
	unsigned public_count = 0, secret_count = 0;
	bool good = true;
	/* Never repeated in the sentence: it would stand in a log. */
	int code = is_text(path)
		? error_set(error, -EINVAL,
			  "--key wants the file that `pando backup key` wrote, not the text of a "
			  "key: what stands on a command line is seen by all of the machine")
		: 0;
	if (code == 0)
		code = file_read_whole(path, KEY_FILE_BYTES_MAX, pool, &text, error);
	rest = text;
	while (code == 0 && good && str_next(&rest, '\n', &line))
		good = take_line(line, secret_out, &public_count, &secret_count);
	if (code == 0 && good && secret_count == 0 && public_count > 0)
		code = error_set(error, -EINVAL,
			"%s holds a public key alone: reading a backup takes the file that `pando "
			"backup key` wrote",
			path);
	else if (code == 0 && (!good || secret_count != 1 || public_count != 1))
		code = error_set(error, -EINVAL,
			"%s is no key file: it has a line with a public and one with a secret key",
			path);
	if (code == 0)
		code = check_pair(path, secret_out, error);
	if (code == 0)
		warn_of_readers(path);
	if (text.bytes)
		explicit_bzero((void *)(uintptr_t)text.bytes, text.length);
	if (code < 0)
		explicit_bzero(secret_out, sizeof(*secret_out));
	pool_destroy(&pool);
	return code;
}
