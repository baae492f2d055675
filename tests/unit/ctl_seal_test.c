/* Sealed files: what was written comes back whole, and nothing else comes back. */

#include "ctl/backup/seal.h"

#include "core/cipher.h"
#include "core/digest.h"
#include "core/encode.h"
#include "unit/backup_fixture.h"
#include "unit/test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_LENGTH = 72 };

/* Half of it is the same byte, half nothing makes shorter. */
static struct str make_bytes(struct pool *pool, size_t length)
{
	char *bytes = pool_alloc(pool, length + 1);
	uint64_t state = 1;
	for (size_t i = 0; i < length; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		bytes[i] = i / 4096 % 2 ? 'a' : (char)(state >> 56);
	}
	return str_of(bytes, length);
}

static void seal(
	struct backup_fixture *f, const char *name, struct str bytes, struct sealed *sealed_out)
{
	struct seal_writer *writer;
	struct error error = { 0 };
	CHECK(seal_create(fixture_path(f, name), &f->secret.public, &writer, &error) == 0);
	/* In odd parts: where they end says nothing of where pieces do. */
	while (bytes.length > 0) {
		struct str part = str_first(bytes, 300007);
		EXPECT_INT(0, seal_write(writer, part, &error));
		bytes = str_from_index(bytes, part.length);
	}
	EXPECT_INT(0, seal_finish(&writer, sealed_out, &error));
	EXPECT(writer == NULL);
}

/* 0, or what reading came to; all that was read before must be a prefix of `wanted`. */
static int unseal(
	struct backup_fixture *f, const char *name, struct str wanted, struct error *error)
{
	struct seal_reader *reader;
	struct error again;
	char *part = mem_alloc(100003);
	size_t read = 0;
	int code = seal_open(fixture_path(f, name), &f->secret, &reader, error);
	if (code == 0) {
		do {
			code = seal_read(reader, part, 100003, &read, error);
			EXPECT_STR(str_first(wanted, read), str_of(part, read));
			wanted = str_from_index(wanted, read);
		} while (code == 0 && read > 0);
		if (code == 0)
			EXPECT_INT(0, wanted.length);
		else
			EXPECT_INT(code, seal_read(reader, part, 1, &read, &again));
		seal_close(&reader);
	}
	free(part);
	return code;
}

static void expect_refused(
	struct backup_fixture *f, struct str file, struct str wanted, int code, const char *why)
{
	struct error error = { 0 };
	fixture_write(f, "changed", file);
	EXPECT_INT(code, unseal(f, "changed", wanted, &error));
	if (!strstr(error.text, why))
		test_fail(__FILE__, __LINE__, "`%s` does not say `%s`", error.text, why);
}

TEST(what_was_sealed_comes_back)
{
	static const size_t sizes[] = { 0, 1, SEAL_PIECE_BYTES - 1, SEAL_PIECE_BYTES,
		SEAL_PIECE_BYTES + 1, 2 * SEAL_PIECE_BYTES, 5 * SEAL_PIECE_BYTES + 12345 };
	for (unsigned i = 0; i < array_length(sizes); i++) {
		struct backup_fixture f;
		struct sealed sealed;
		struct error error = { 0 };
		struct stat status;
		uint8_t digest[SHA256_LENGTH];
		char row[32];
		snprintf(row, sizeof(row), "%zu bytes", sizes[i]);
		test_row(row);
		backup_fixture_setup(&f);
		struct str bytes = make_bytes(f.pool, sizes[i]);
		seal(&f, "file", bytes, &sealed);
		EXPECT_INT(0, unseal(&f, "file", bytes, &error));
		struct str file = fixture_read(&f, "file");
		sha256(file, digest);
		EXPECT_INT(sealed.bytes, file.length);
		EXPECT(memcmp(digest, sealed.sha256, sizeof(digest)) == 0);
		EXPECT_INT(0, stat(fixture_path(&f, "file"), &status));
		EXPECT_INT(0600, status.st_mode & 0777);
		backup_fixture_teardown(&f);
	}
	test_row(NULL);
}

TEST(a_file_is_never_replaced)
{
	struct backup_fixture f;
	struct seal_writer *writer;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	fixture_write(&f, "file", STR("there"));
	EXPECT_INT(
		-EEXIST, seal_create(fixture_path(&f, "file"), &f.secret.public, &writer, &error));
	EXPECT_STR(STR("there"), fixture_read(&f, "file"));
	backup_fixture_teardown(&f);
}

TEST(two_files_of_the_same_bytes_have_nothing_in_common)
{
	struct backup_fixture f;
	struct sealed sealed;
	backup_fixture_setup(&f);
	seal(&f, "one", STR("hello"), &sealed);
	seal(&f, "two", STR("hello"), &sealed);
	struct str one = fixture_read(&f, "one"), two = fixture_read(&f, "two");
	EXPECT(memcmp(one.bytes + 40, two.bytes + 40, 32) != 0);
	EXPECT(memcmp(one.bytes + HEADER_LENGTH + 4, two.bytes + HEADER_LENGTH + 4, 16) != 0);
	backup_fixture_teardown(&f);
}

TEST(no_bit_can_change)
{
	static const struct row {
		const char *name, *why;
		size_t at; /* from the end: SIZE_MAX - n */
		int code;
	} rows[] = {
		{ "magic", "no sealed file", 0, -EUCLEAN },
		{ "version", "this version does not read", 4, -EUCLEAN },
		{ "recipient", "is sealed to", 8, -EACCES },
		{ "recipient's end", "is sealed to", 39, -EACCES },
		{ "the file's public key", "was changed", 40, -EUCLEAN },
		/* Agreement passes over its last bit; the salt does not. */
		{ "the file's public key's last byte", "was changed", 71, -EUCLEAN },
		{ "a piece's length", "piece 0", HEADER_LENGTH, -EUCLEAN },
		{ "a piece's length's upper half", "piece 0 has a length", HEADER_LENGTH + 3,
			-EUCLEAN },
		{ "body", "piece 0 was changed", HEADER_LENGTH + 4, -EUCLEAN },
		{ "body in the middle", "piece 0 was changed", HEADER_LENGTH + 1000, -EUCLEAN },
		{ "the last piece's body", "piece 1 was changed", SIZE_MAX - 17, -EUCLEAN },
		{ "the last piece's tag", "piece 1 was changed", SIZE_MAX - 16, -EUCLEAN },
		{ "the last byte", "piece 1 was changed", SIZE_MAX - 1, -EUCLEAN },
	};
	struct backup_fixture f;
	struct sealed sealed;
	backup_fixture_setup(&f);
	struct str bytes = make_bytes(f.pool, SEAL_PIECE_BYTES + 100);
	seal(&f, "file", bytes, &sealed);
	struct str file = fixture_read(&f, "file");
	char *changed = pool_alloc(f.pool, file.length);
	for (unsigned i = 0; i < array_length(rows); i++)
		for (unsigned bit = 0; bit < 8; bit += 7) {
			size_t at = rows[i].at > SIZE_MAX / 2
				? file.length - (SIZE_MAX - rows[i].at)
				: rows[i].at;
			test_row(rows[i].name);
			memcpy(changed, file.bytes, file.length);
			changed[at] = (char)(changed[at] ^ 1 << bit);
			expect_refused(
				&f, str_of(changed, file.length), bytes, rows[i].code, rows[i].why);
		}
	test_row(NULL);
	backup_fixture_teardown(&f);
}

/* Where the pieces begin, and where the last one ends. */
static unsigned find_pieces(struct str file, size_t *begins)
{
	unsigned count = 0;
	size_t at = HEADER_LENGTH;
	for (; at < file.length; at += 4 + get_le32(file.bytes + at))
		begins[count++] = at;
	begins[count] = at;
	return count;
}

TEST(an_end_that_is_not_the_end_is_noticed)
{
	struct backup_fixture f;
	struct sealed sealed;
	size_t begins[5];
	backup_fixture_setup(&f);
	struct str bytes = make_bytes(f.pool, 3 * SEAL_PIECE_BYTES + 100);
	seal(&f, "file", bytes, &sealed);
	struct str file = fixture_read(&f, "file");
	EXPECT_INT(4, find_pieces(file, begins));
	for (unsigned i = 0; i < 4; i++) {
		expect_refused(&f, str_first(file, begins[i]), bytes, -EUCLEAN,
			i == 0 ? "is missing" : "those behind it are missing");
		expect_refused(&f, str_first(file, begins[i] + 2), bytes, -EUCLEAN,
			"begins and is not there");
		expect_refused(
			&f, str_first(file, begins[i] + 4), bytes, -EUCLEAN, "ends too early");
		expect_refused(
			&f, str_first(file, begins[i + 1] - 1), bytes, -EUCLEAN, "ends too early");
	}
	expect_refused(&f, str_first(file, 0), bytes, -EUCLEAN, "no sealed file");
	expect_refused(&f, str_first(file, HEADER_LENGTH - 1), bytes, -EUCLEAN, "no sealed file");
	backup_fixture_teardown(&f);
}

static struct str join(struct pool *pool, const struct str *parts, unsigned count)
{
	struct buf whole = { 0 };
	for (unsigned i = 0; i < count; i++)
		buf_append_str(&whole, parts[i]);
	struct str copy = pool_copy(pool, buf_str(&whole));
	buf_deinit(&whole);
	return copy;
}

TEST(pieces_are_read_in_their_own_order_alone)
{
	struct backup_fixture f;
	struct sealed sealed;
	size_t begins[5];
	backup_fixture_setup(&f);
	struct str bytes = make_bytes(f.pool, 3 * SEAL_PIECE_BYTES + 100);
	seal(&f, "file", bytes, &sealed);
	seal(&f, "other", bytes, &sealed);
	struct str file = fixture_read(&f, "file"), other = fixture_read(&f, "other"), pieces[6];
	EXPECT_INT(4, find_pieces(file, begins));
	struct str head = str_first(file, HEADER_LENGTH);
	for (unsigned i = 0; i < 4; i++)
		pieces[i] = str_of(file.bytes + begins[i], begins[i + 1] - begins[i]);
	struct str swapped[] = { head, pieces[1], pieces[0], pieces[2], pieces[3] };
	expect_refused(&f, join(f.pool, swapped, 5), bytes, -EUCLEAN, "piece 0 was changed");
	struct str twice[] = { head, pieces[0], pieces[0], pieces[1], pieces[2], pieces[3] };
	expect_refused(&f, join(f.pool, twice, 6), bytes, -EUCLEAN, "piece 1 was changed");
	struct str without[] = { head, pieces[0], pieces[2], pieces[3] };
	expect_refused(&f, join(f.pool, without, 4), bytes, -EUCLEAN, "piece 1 was changed");
	struct str last_first[] = { head, pieces[3] };
	expect_refused(&f, join(f.pool, last_first, 2), bytes, -EUCLEAN, "piece 0 was changed");
	struct str strange[] = { head, str_of(other.bytes + begins[0], begins[1] - begins[0]),
		pieces[1], pieces[2], pieces[3] };
	expect_refused(&f, join(f.pool, strange, 5), bytes, -EUCLEAN, "piece 0 was changed");
	backup_fixture_teardown(&f);
}

TEST(nothing_follows_the_last_piece)
{
	struct backup_fixture f;
	struct sealed sealed;
	backup_fixture_setup(&f);
	seal(&f, "file", STR("hello"), &sealed);
	struct str file = fixture_read(&f, "file");
	struct str byte[] = { file, STR("x") };
	expect_refused(&f, join(f.pool, byte, 2), STR("hello"), -EUCLEAN, "something follows it");
	struct str piece[] = { file, str_from_index(file, HEADER_LENGTH) };
	expect_refused(&f, join(f.pool, piece, 2), STR("hello"), -EUCLEAN, "something follows it");
	backup_fixture_teardown(&f);
}

TEST(another_key_reads_nothing_and_both_are_named)
{
	struct backup_fixture f;
	struct sealed sealed;
	struct error error = { 0 };
	char text[BACKUP_KEY_TEXT_MAX];
	backup_fixture_setup(&f);
	seal(&f, "file", STR("hello"), &sealed);
	backup_public_format(&f.secret.public, text);
	x25519_draw(f.secret.bytes, f.secret.public.bytes);
	EXPECT_INT(-EACCES, unseal(&f, "file", STR(""), &error));
	EXPECT(strstr(error.text, text) != NULL);
	backup_public_format(&f.secret.public, text);
	EXPECT(strstr(error.text, text) != NULL);
	backup_fixture_teardown(&f);
}

TEST(what_is_given_up_is_no_sealed_file)
{
	struct backup_fixture f;
	struct seal_writer *writer;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	CHECK(seal_create(fixture_path(&f, "file"), &f.secret.public, &writer, &error) == 0);
	EXPECT_INT(0, seal_write(writer, make_bytes(f.pool, 2 * SEAL_PIECE_BYTES), &error));
	seal_abandon(&writer);
	seal_abandon(&writer);
	EXPECT_INT(-EUCLEAN, unseal(&f, "file", make_bytes(f.pool, 2 * SEAL_PIECE_BYTES), &error));
	backup_fixture_teardown(&f);
}

TEST(what_could_not_be_written_is_never_finished)
{
	struct backup_fixture f;
	struct seal_writer *writer;
	struct sealed sealed;
	struct error error = { 0 };
	struct rlimit before, small;
	backup_fixture_setup(&f);
	struct str bytes = make_bytes(f.pool, 3 * SEAL_PIECE_BYTES);
	CHECK(seal_create(fixture_path(&f, "file"), &f.secret.public, &writer, &error) == 0);
	/* As a disk that fills up, and then has room again. */
	EXPECT_INT(0, getrlimit(RLIMIT_FSIZE, &before));
	signal(SIGXFSZ, SIG_IGN);
	small = (struct rlimit){ .rlim_cur = 100000, .rlim_max = before.rlim_max };
	EXPECT_INT(0, setrlimit(RLIMIT_FSIZE, &small));
	EXPECT_INT(-EFBIG, seal_write(writer, bytes, &error));
	EXPECT_INT(0, setrlimit(RLIMIT_FSIZE, &before));
	EXPECT(strstr(error.text, "cannot be written") != NULL);
	EXPECT_INT(-EIO, seal_finish(&writer, &sealed, &error));
	EXPECT(writer == NULL);
	EXPECT_INT(-EUCLEAN, unseal(&f, "file", bytes, &error));
	backup_fixture_teardown(&f);
}

TEST(nothing_is_sealed_to_a_key_that_everybody_has)
{
	struct backup_fixture f;
	struct backup_public zero = { { 0 } };
	struct seal_writer *writer;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	EXPECT_INT(-EINVAL, seal_create(fixture_path(&f, "file"), &zero, &writer, &error));
	EXPECT(access(fixture_path(&f, "file"), F_OK) != 0);
	backup_fixture_teardown(&f);
}

TEST(what_is_no_regular_file_is_not_waited_for)
{
	struct backup_fixture f;
	struct seal_reader *reader;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	EXPECT_INT(0, mkfifo(fixture_path(&f, "pipe"), 0600));
	EXPECT_INT(-EUCLEAN, seal_open(fixture_path(&f, "pipe"), &f.secret, &reader, &error));
	EXPECT_INT(-EUCLEAN, seal_open(f.folder, &f.secret, &reader, &error));
	EXPECT_INT(-ENOENT, seal_open(fixture_path(&f, "none"), &f.secret, &reader, &error));
	backup_fixture_teardown(&f);
}

static void from_hex(const char *hex, void *bytes_out, size_t length)
{
	CHECK(decode_hex(str_from(hex), bytes_out, length));
}

TEST(agreement_and_derivation_are_those_of_their_rfcs)
{
	uint8_t secret[32], public[32], peer[32], wanted[32], got[32];
	uint8_t input[22], salt[13], info[10];
	/* RFC 7748 section 6.1. */
	from_hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a", secret, 32);
	from_hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a", public, 32);
	from_hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", peer, 32);
	from_hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742", wanted, 32);
	x25519_public(secret, got);
	EXPECT(memcmp(got, public, 32) == 0);
	EXPECT(x25519_agree(secret, peer, got));
	EXPECT(memcmp(got, wanted, 32) == 0);
	/* RFC 5869 appendix A.1, the first block. */
	memset(input, 0x0b, sizeof(input));
	from_hex("000102030405060708090a0b0c", salt, sizeof(salt));
	from_hex("f0f1f2f3f4f5f6f7f8f9", info, sizeof(info));
	from_hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf", wanted, 32);
	hkdf_sha256(str_of(input, sizeof(input)), str_of(salt, sizeof(salt)),
		str_of(info, sizeof(info)), got);
	EXPECT(memcmp(got, wanted, 32) == 0);
}
