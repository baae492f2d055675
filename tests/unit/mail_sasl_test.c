/* SASL exchanges and SCRAM keys. */

#include "core/buf.h"
#include "core/encode.h"
#include "proto/mail/sasl.h"
#include "proto/mail/scram.h"
#include "unit/test.h"

/* The example of RFC 7677 section 3. */
static const char client_first[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
static const char server_first[] = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
				   "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
static const char client_final[] = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
				   "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
static const char server_final[] = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
static const char server_nonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

static void example_keys(struct buf *salt, uint8_t stored[32], uint8_t server[32])
{
	EXPECT(decode_base64(salt, STR("W22ZaJ0SNY7soEsUEjb6gQ==")));
	EXPECT_INT(0, scram_derive(STR("pencil"), buf_str(salt), 4096, stored, server));
}

TEST(scram_follows_the_example_of_rfc_7677)
{
	struct sasl *sasl = sasl_create(SASL_SCRAM_SHA_256);
	struct buf salt = { 0 }, challenge = { 0 };
	uint8_t stored[32], server[32];
	example_keys(&salt, stored, server);
	EXPECT_INT(
		SASL_NEED_CREDENTIAL, sasl_input(sasl, true, str_from(client_first), &challenge));
	EXPECT_STR(STR("user"), sasl_user(sasl));
	EXPECT_INT(SASL_CHALLENGE, sasl_give_credential(sasl, buf_str(&salt), 4096, stored, server,
		str_from(server_nonce), &challenge));
	EXPECT_STR(str_from(server_first), buf_str(&challenge));
	buf_clear(&challenge);
	EXPECT_INT(SASL_CHALLENGE, sasl_input(sasl, true, str_from(client_final), &challenge));
	EXPECT_STR(str_from(server_final), buf_str(&challenge));
	EXPECT_INT(SASL_VERIFIED, sasl_input(sasl, true, STR(""), &challenge));
	sasl_destroy(&sasl);
	buf_deinit(&salt);
	buf_deinit(&challenge);
}

TEST(scram_refuses_what_is_not_the_proof)
{
	static const struct {
		const char *name, *final;
		enum sasl_step step;
	} rows[] = {
		{ "another proof", "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
			"p=eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", SASL_REFUSED },
		{ "another nonce", "c=biws,r=rOprNGfwEbeRWgbNEkqO,"
			"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", SASL_REFUSED },
		{ "another binding", "c=eSws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
			"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", SASL_REFUSED },
		{ "a short proof", "c=biws,r=rOprNGfwEbeRWgbNEkqO,p=AAAA", SASL_MALFORMED },
		{ "no proof", "c=biws,r=rOprNGfwEbeRWgbNEkqO", SASL_MALFORMED },
		{ "nothing", "", SASL_MALFORMED },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct sasl *sasl = sasl_create(SASL_SCRAM_SHA_256);
		struct buf salt = { 0 }, challenge = { 0 };
		uint8_t stored[32], server[32];
		test_row(rows[i].name);
		example_keys(&salt, stored, server);
		EXPECT_INT(SASL_NEED_CREDENTIAL,
			sasl_input(sasl, true, str_from(client_first), &challenge));
		EXPECT_INT(SASL_CHALLENGE,
			sasl_give_credential(sasl, buf_str(&salt), 4096, stored, server,
				str_from(server_nonce), &challenge));
		EXPECT_INT(
			rows[i].step, sasl_input(sasl, true, str_from(rows[i].final), &challenge));
		/* A failed exchange stays failed. */
		EXPECT_INT(
			SASL_MALFORMED, sasl_input(sasl, true, str_from(client_final), &challenge));
		sasl_destroy(&sasl);
		buf_deinit(&salt);
		buf_deinit(&challenge);
	}
	test_row(NULL);
}

TEST(scram_first_messages_are_checked)
{
	static const struct {
		const char *name, *text;
		bool good;
	} rows[] = {
		{ "a plain one is taken", "n,,n=user,r=abc", true },
		{ "a client that could bind is taken", "y,,n=user,r=abc", true },
		{ "channel binding is refused", "p=tls-unique,,n=user,r=abc", false },
		{ "the user as authorization identity is taken", "n,a=user,n=user,r=abc", true },
		{ "somebody else as authorization identity is refused", "n,a=other,n=user,r=abc",
			false },
		{ "a missing nonce is refused", "n,,n=user", false },
		{ "a missing user is refused", "n,,r=abc", false },
		{ "a bad escape is refused", "n,,n=us=er,r=abc", false },
		{ "an escaped comma is taken", "n,,n=us=2Cer,r=abc", true },
		{ "an extension is refused", "n,,m=x,n=user,r=abc", false },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct sasl *sasl = sasl_create(SASL_SCRAM_SHA_256);
		struct buf challenge = { 0 };
		test_row(rows[i].name);
		EXPECT_INT(rows[i].good ? SASL_NEED_CREDENTIAL : SASL_MALFORMED,
			sasl_input(sasl, true, str_from(rows[i].text), &challenge));
		sasl_destroy(&sasl);
		buf_deinit(&challenge);
	}
	test_row(NULL);
}

TEST(plain_is_checked)
{
	static const struct {
		const char *name;
		struct str message;
		bool good;
	} rows[] = {
		{ "user and password are taken", { "\0user\0secret", 12 }, true },
		{ "the user may name itself", { "user\0user\0secret", 16 }, true },
		{ "nobody speaks for others", { "other\0user\0secret", 17 }, false },
		{ "an empty password is refused", { "\0user\0", 6 }, false },
		{ "an empty user is refused", { "\0\0secret", 8 }, false },
		{ "a third NUL is refused", { "\0user\0sec\0ret", 13 }, false },
		{ "no NUL is refused", { "user", 4 }, false },
		{ "nothing is refused", { "", 0 }, false },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct sasl *sasl = sasl_create(SASL_PLAIN);
		struct buf challenge = { 0 };
		test_row(rows[i].name);
		EXPECT_INT(rows[i].good ? SASL_CHECK_PASSWORD : SASL_MALFORMED,
			sasl_input(sasl, true, rows[i].message, &challenge));
		if (rows[i].good) {
			EXPECT_STR(STR("user"), sasl_user(sasl));
			EXPECT_STR(STR("secret"), sasl_password(sasl));
		}
		sasl_destroy(&sasl);
		buf_deinit(&challenge);
	}
	test_row(NULL);
}

TEST(login_asks_twice)
{
	struct sasl *sasl = sasl_create(SASL_LOGIN);
	struct buf challenge = { 0 };
	EXPECT_INT(SASL_CHALLENGE, sasl_input(sasl, false, STR(""), &challenge));
	EXPECT_STR(STR("Username:"), buf_str(&challenge));
	buf_clear(&challenge);
	EXPECT_INT(SASL_CHALLENGE, sasl_input(sasl, true, STR("user"), &challenge));
	EXPECT_STR(STR("Password:"), buf_str(&challenge));
	EXPECT_INT(SASL_CHECK_PASSWORD, sasl_input(sasl, true, STR("secret"), &challenge));
	EXPECT_STR(STR("secret"), sasl_password(sasl));
	sasl_destroy(&sasl);
	buf_deinit(&challenge);
}

TEST(passwords_are_prepared)
{
	static const struct {
		const char *name, *text, *prepared; /* RFC 4013 section 3; NULL: prohibited */
	} rows[] = {
		{ "a soft hyphen maps to nothing", "I\xc2\xadX", "IX" },
		{ "ASCII stays", "user", "user" },
		{ "case stays", "USER", "USER" },
		{ "compatibility characters are normalized", "\xc2\xaa", "a" },
		{ "a roman numeral is normalized", "\xe2\x85\xa8", "IX" },
		{ "a control character is prohibited", "\x07", NULL },
		{ "mixed direction is prohibited", "\xd8\xa7\x31", NULL },
		{ "broken UTF-8 is refused", "\xff", NULL },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct buf out = { 0 };
		test_row(rows[i].name);
		bool good = scram_prepare(str_from(rows[i].text), &out);
		EXPECT(good == (rows[i].prepared != NULL));
		if (good && rows[i].prepared)
			EXPECT_STR(str_from(rows[i].prepared), buf_str(&out));
		buf_deinit(&out);
	}
	test_row(NULL);
}

TEST(invented_salts_are_stable)
{
	uint8_t one[16], two[16], other[16];
	sasl_invented_salt(STR("secret"), STR("nobody"), one);
	sasl_invented_salt(STR("secret"), STR("nobody"), two);
	sasl_invented_salt(STR("secret"), STR("nobody2"), other);
	EXPECT(memcmp(one, two, 16) == 0 && memcmp(one, other, 16) != 0);
}
