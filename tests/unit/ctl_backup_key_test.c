#include "ctl/backup/key.h"

#include "unit/backup_fixture.h"
#include "unit/test.h"

#include <errno.h>
#include <sys/stat.h>

#define DIGITS "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

TEST(a_key_file_is_read_as_it_was_written)
{
	struct backup_fixture f;
	struct backup_public public, again;
	struct backup_secret secret;
	struct error error = { 0 };
	struct stat status;
	char text[BACKUP_KEY_TEXT_MAX];
	backup_fixture_setup(&f);
	const char *path = fixture_path(&f, "key");
	EXPECT_INT(0, backup_key_create(path, &public, &error));
	EXPECT_INT(0, backup_secret_read(path, &secret, &error));
	EXPECT(memcmp(&public, &secret.public, sizeof(public)) == 0);
	EXPECT_INT(0, stat(path, &status));
	EXPECT_INT(0600, status.st_mode & 0777);
	backup_public_format(&public, text);
	EXPECT_INT(0, backup_public_parse(str_from(text), &again, &error));
	EXPECT(memcmp(&public, &again, sizeof(public)) == 0);
	backup_fixture_teardown(&f);
}

TEST(a_key_file_is_never_replaced)
{
	struct backup_fixture f;
	struct backup_public public;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	fixture_write(&f, "key", STR("mine"));
	EXPECT_INT(-EEXIST, backup_key_create(fixture_path(&f, "key"), &public, &error));
	EXPECT_STR(STR("mine"), fixture_read(&f, "key"));
	backup_fixture_teardown(&f);
}

TEST(a_public_key_is_read_however_it_is_spelled)
{
	static const struct row {
		const char *text;
		bool good;
	} rows[] = {
		{ "pando-backup-public:" DIGITS, true },
		{ " pando-backup-public:" DIGITS "\r\n", true },
		{ "pando-backup-public:00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDD"
		  "EEFF",
			true },
		{ "pando-backup-public:" DIGITS "0", false },
		{ "pando-backup-public:", false },
		{ "pando-backup-secret:" DIGITS, false },
		{ DIGITS, false },
		{ "", false },
	};
	struct backup_public first, other;
	struct error error = { 0 };
	EXPECT_INT(0, backup_public_parse(str_from(rows[0].text), &first, &error));
	for (unsigned i = 0; i < array_length(rows); i++) {
		test_row(rows[i].text);
		error.text[0] = '\0';
		int code = backup_public_parse(str_from(rows[i].text), &other, &error);
		EXPECT_INT(rows[i].good ? 0 : -EINVAL, code);
		EXPECT(!rows[i].good || memcmp(&first, &other, sizeof(first)) == 0);
		/* A secret that was given by mistake goes nowhere. */
		EXPECT(!strstr(error.text, "00112233"));
	}
	test_row(NULL);
}

TEST(a_key_in_the_place_of_its_file_is_not_repeated)
{
	static const char *const rows[] = {
		"pando-backup-public:" DIGITS,
		"pando-backup-secret:" DIGITS,
		" pando-backup-secret:00112233",
	};
	struct backup_secret secret;
	for (unsigned i = 0; i < array_length(rows); i++) {
		struct error error = { 0 };
		test_row(rows[i]);
		EXPECT_INT(-EINVAL, backup_secret_read(rows[i], &secret, &error));
		EXPECT(strstr(error.text, "--key wants the file"));
		EXPECT(!strstr(error.text, "00112233"));
	}
	test_row(NULL);
}

TEST(what_is_no_key_file_is_refused)
{
	struct backup_fixture f;
	struct backup_public public;
	struct backup_secret secret;
	struct error error = { 0 };
	backup_fixture_setup(&f);
	EXPECT_INT(0, backup_key_create(fixture_path(&f, "key"), &public, &error));
	struct str good = fixture_read(&f, "key");
	ptrdiff_t at = str_find(good, STR("pando-backup-secret:"));
	struct str public_part = str_first(good, (size_t)at);
	struct str secret_part = str_from_index(good, (size_t)at);
	const struct row {
		const char *name;
		struct str text;
		int code;
	} rows[] = {
		{ "as it was", good, 0 },
		{ "nothing", STR(""), -EINVAL },
		{ "the public line alone", public_part, -EINVAL },
		{ "the secret line alone", secret_part, -EINVAL },
		{ "a line that is none", pool_printf(f.pool, STR_FORMAT "x\n", STR_ARG(good)),
			-EINVAL },
		{ "twice", pool_printf(f.pool, STR_FORMAT STR_FORMAT, STR_ARG(good), STR_ARG(good)),
			-EINVAL },
		{ "another secret",
			pool_printf(f.pool, STR_FORMAT "pando-backup-secret:" DIGITS "\n",
				STR_ARG(public_part)),
			-EUCLEAN },
		{ "cut", str_first(good, good.length - 2), -EINVAL },
	};
	for (unsigned i = 0; i < array_length(rows); i++) {
		test_row(rows[i].name);
		fixture_write(&f, "other", rows[i].text);
		EXPECT_INT(rows[i].code,
			backup_secret_read(fixture_path(&f, "other"), &secret, &error));
	}
	test_row(NULL);
	EXPECT_INT(-ENOENT, backup_secret_read(fixture_path(&f, "none"), &secret, &error));
	EXPECT_INT(-EUCLEAN, backup_secret_read(f.folder, &secret, &error));
	backup_fixture_teardown(&f);
}
