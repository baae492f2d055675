#include "proto/mail/sasl.h"

#include "core/encode.h"
#include "proto/mail/scram.h"

#include <stdlib.h>

enum sasl_state {
	SASL_START,
	SASL_WANT_USER,     /* LOGIN asked for the user name */
	SASL_WANT_PASSWORD, /* LOGIN asked for the password */
	SASL_WANT_FIRST,    /* an empty challenge was sent for the first message */
	SASL_WANT_KEYS,     /* the caller looks the credential up */
	SASL_WANT_FINAL,    /* SCRAM: the client's proof */
	SASL_WANT_EMPTY,    /* SCRAM: the client accepts our signature */
	SASL_OVER,
};

struct sasl {
	enum sasl_mechanism mechanism;
	enum sasl_state state;
	struct buf user, password;
	struct buf auth_message; /* grows as the three parts are said */
	struct buf nonce;        /* client's and server's */
	struct buf gs2_header;
	uint8_t stored_key[SHA256_LENGTH], server_key[SHA256_LENGTH];
};

static const char *const names[SASL_MECHANISMS] = { "PLAIN", "LOGIN", "SCRAM-SHA-256" };

bool sasl_find_mechanism(struct str name, enum sasl_mechanism *mechanism_out)
{
	for (unsigned i = 0; i < SASL_MECHANISMS; i++) {
		if (str_equal_ignore_case(name, str_from(names[i]))) {
			*mechanism_out = (enum sasl_mechanism)i;
			return true;
		}
	}
	return false;
}

struct sasl *sasl_create(enum sasl_mechanism mechanism)
{
	struct sasl *sasl = mem_alloc(sizeof(*sasl));
	sasl->mechanism = mechanism;
	return sasl;
}

static void wipe(struct buf *buf)
{
	if (buf->memory)
		explicit_bzero(buf->memory, buf->capacity);
	buf_deinit(buf);
}

void sasl_destroy(struct sasl **sasl_pointer)
{
	struct sasl *sasl = *sasl_pointer;
	if (!sasl)
		return;
	wipe(&sasl->user);
	wipe(&sasl->password);
	wipe(&sasl->auth_message);
	wipe(&sasl->nonce);
	wipe(&sasl->gs2_header);
	explicit_bzero(sasl, sizeof(*sasl));
	free(sasl);
	*sasl_pointer = NULL;
}

struct str sasl_user(const struct sasl *sasl)
{
	return buf_str(&sasl->user);
}

struct str sasl_password(const struct sasl *sasl)
{
	return buf_str(&sasl->password);
}

static bool is_credential(struct str s)
{
	return s.length > 0 && s.length <= SCRAM_PASSWORD_MAX && str_find_byte(s, 0) < 0;
}

static enum sasl_step fail(struct sasl *sasl, enum sasl_step step)
{
	sasl->state = SASL_OVER;
	return step;
}

/* [authzid] NUL authcid NUL passwd */
static enum sasl_step plain(struct sasl *sasl, struct str message)
{
	ptrdiff_t first = str_find_byte(message, 0);
	if (first < 0)
		return fail(sasl, SASL_MALFORMED);
	struct str authzid = str_first(message, (size_t)first);
	struct str rest = str_from_index(message, (size_t)first + 1);
	ptrdiff_t second = str_find_byte(rest, 0);
	if (second < 0)
		return fail(sasl, SASL_MALFORMED);
	struct str user = str_first(rest, (size_t)second);
	struct str password = str_from_index(rest, (size_t)second + 1);
	if (!is_credential(user) || !is_credential(password) ||
		(authzid.length > 0 && !str_equal(authzid, user)))
		return fail(sasl, SASL_MALFORMED);
	buf_append_str(&sasl->user, user);
	buf_append_str(&sasl->password, password);
	sasl->state = SASL_OVER;
	return SASL_CHECK_PASSWORD;
}

static enum sasl_step scram_first(struct sasl *sasl, struct str message)
{
	struct scram_first first;

	if (!scram_parse_first(message, &first, &sasl->user))
		return fail(sasl, SASL_MALFORMED);
	if (first.authzid.length > 0 && !str_equal(first.authzid, buf_str(&sasl->user)))
		return fail(sasl, SASL_MALFORMED);
	buf_append_str(&sasl->gs2_header, first.gs2_header);
	buf_append_str(&sasl->nonce, first.nonce);
	buf_append_str(&sasl->auth_message, first.bare);
	buf_append_byte(&sasl->auth_message, ',');
	sasl->state = SASL_WANT_KEYS;
	return SASL_NEED_CREDENTIAL;
}

enum sasl_step sasl_give_credential(struct sasl *sasl, struct str salt, uint32_t iterations,
	const uint8_t stored_key[SHA256_LENGTH], const uint8_t server_key[SHA256_LENGTH],
	struct str server_nonce, struct buf *challenge_out)
{
	CHECK(sasl->state == SASL_WANT_KEYS);
	memcpy(sasl->stored_key, stored_key, SHA256_LENGTH);
	memcpy(sasl->server_key, server_key, SHA256_LENGTH);
	buf_append_str(&sasl->nonce, server_nonce);

	struct buf first = { 0 };
	buf_append_literal(&first, "r=");
	buf_append_str(&first, buf_str(&sasl->nonce));
	buf_append_literal(&first, ",s=");
	encode_base64(&first, salt);
	buf_printf(&first, ",i=%u", iterations);
	buf_append_str(challenge_out, buf_str(&first));
	buf_append_str(&sasl->auth_message, buf_str(&first));
	buf_append_byte(&sasl->auth_message, ',');
	buf_deinit(&first);
	sasl->state = SASL_WANT_FINAL;
	return SASL_CHALLENGE;
}

static enum sasl_step scram_final(struct sasl *sasl, struct str message, struct buf *challenge_out)
{
	struct scram_final final;
	struct buf header = { 0 };

	if (!scram_parse_final(message, &final))
		return fail(sasl, SASL_MALFORMED);
	bool good = decode_base64(&header, final.channel_binding) &&
		str_equal(buf_str(&header), buf_str(&sasl->gs2_header)) &&
		str_equal(final.nonce, buf_str(&sasl->nonce));
	buf_deinit(&header);
	if (!good)
		return fail(sasl, SASL_REFUSED);
	buf_append_str(&sasl->auth_message, final.without_proof);
	if (!scram_verify(buf_str(&sasl->auth_message), final.proof, sasl->stored_key))
		return fail(sasl, SASL_REFUSED);
	scram_append_server_final(challenge_out, buf_str(&sasl->auth_message), sasl->server_key);
	sasl->state = SASL_WANT_EMPTY;
	return SASL_CHALLENGE;
}

static enum sasl_step start(struct sasl *sasl, bool has_message, struct str message,
	struct buf *challenge_out)
{
	switch (sasl->mechanism) {
	case SASL_LOGIN:
		if (!has_message) {
			buf_append_literal(challenge_out, "Username:");
			sasl->state = SASL_WANT_USER;
			return SASL_CHALLENGE;
		}
		break;
	default:
		if (!has_message) {
			sasl->state = SASL_WANT_FIRST;
			return SASL_CHALLENGE;
		}
		break;
	}
	sasl->state = sasl->mechanism == SASL_LOGIN ? SASL_WANT_USER : SASL_WANT_FIRST;
	return sasl_input(sasl, true, message, challenge_out);
}

enum sasl_step sasl_input(
	struct sasl *sasl, bool has_message, struct str message, struct buf *challenge_out)
{
	switch (sasl->state) {
	case SASL_START: return start(sasl, has_message, message, challenge_out);
	case SASL_WANT_FIRST:
		return sasl->mechanism == SASL_PLAIN ? plain(sasl, message)
						     : scram_first(sasl, message);
	case SASL_WANT_USER:
		if (!is_credential(message))
			return fail(sasl, SASL_MALFORMED);
		buf_append_str(&sasl->user, message);
		buf_append_literal(challenge_out, "Password:");
		sasl->state = SASL_WANT_PASSWORD;
		return SASL_CHALLENGE;
	case SASL_WANT_PASSWORD:
		if (!is_credential(message))
			return fail(sasl, SASL_MALFORMED);
		buf_append_str(&sasl->password, message);
		sasl->state = SASL_OVER;
		return SASL_CHECK_PASSWORD;
	case SASL_WANT_FINAL: return scram_final(sasl, message, challenge_out);
	case SASL_WANT_EMPTY:
		sasl->state = SASL_OVER;
		return message.length == 0 ? SASL_VERIFIED : SASL_MALFORMED;
	case SASL_WANT_KEYS:
	case SASL_OVER: break;
	}
	return fail(sasl, SASL_MALFORMED);
}

void sasl_invented_salt(struct str secret, struct str user, uint8_t salt_out[16])
{
	uint8_t digest[SHA256_LENGTH];
	hmac_sha256(secret, user, digest);
	memcpy(salt_out, digest, 16);
}
