#include "proto/mail/scram.h"

#include "core/encode.h"

#include <errno.h>
#include <unicode/usprep.h>
#include <unicode/ustring.h>

static bool is_plain_ascii(struct str text)
{
	for (size_t i = 0; i < text.length; i++)
		if (text.bytes[i] < 0x20 || text.bytes[i] > 0x7e)
			return false;
	return true;
}

bool scram_prepare(struct str text, struct buf *out)
{
	if (text.length > SCRAM_PASSWORD_MAX)
		return false;
	if (is_plain_ascii(text)) { /* the profile changes nothing in it */
		buf_append_str(out, text);
		return true;
	}
	UErrorCode status = U_ZERO_ERROR;
	UChar wide[SCRAM_PASSWORD_MAX];
	UChar prepared[SCRAM_PASSWORD_MAX * 2];
	char narrow[SCRAM_PASSWORD_MAX * 6];
	int32_t wide_length = 0, prepared_length, narrow_length = 0;

	u_strFromUTF8(wide, (int32_t)array_length(wide), &wide_length, text.bytes,
		(int32_t)text.length, &status);
	if (U_FAILURE(status))
		return false;
	UStringPrepProfile *profile = usprep_openByType(USPREP_RFC4013_SASLPREP, &status);
	if (U_FAILURE(status))
		return false;
	prepared_length = usprep_prepare(profile, wide, wide_length, prepared,
		(int32_t)array_length(prepared), USPREP_DEFAULT, NULL, &status);
	usprep_close(profile);
	if (U_FAILURE(status))
		return false;
	u_strToUTF8(narrow, (int32_t)sizeof(narrow), &narrow_length, prepared, prepared_length,
		&status);
	if (U_FAILURE(status))
		return false;
	buf_append(out, narrow, (size_t)narrow_length);
	explicit_bzero(wide, sizeof(wide));
	explicit_bzero(prepared, sizeof(prepared));
	explicit_bzero(narrow, sizeof(narrow));
	return true;
}

int scram_derive(struct str password, struct str salt, uint32_t iterations,
	uint8_t stored_key_out[SHA256_LENGTH], uint8_t server_key_out[SHA256_LENGTH])
{
	uint8_t salted[SHA256_LENGTH], client_key[SHA256_LENGTH];
	struct buf prepared = { 0 };

	if (!scram_prepare(password, &prepared) || buf_length(&prepared) == 0) {
		buf_deinit(&prepared);
		return -EINVAL;
	}
	pbkdf2_sha256(buf_str(&prepared), salt, iterations, salted);
	hmac_sha256(str_of(salted, sizeof(salted)), STR("Client Key"), client_key);
	sha256(str_of(client_key, sizeof(client_key)), stored_key_out);
	hmac_sha256(str_of(salted, sizeof(salted)), STR("Server Key"), server_key_out);
	explicit_bzero(prepared.memory, prepared.capacity);
	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(client_key, sizeof(client_key));
	buf_deinit(&prepared);
	return 0;
}

/* saslname: "=2C" and "=3D" stand for comma and equals sign; any other "=" is malformed. */
static bool decode_saslname(struct str name, struct buf *out)
{
	if (name.length == 0 || name.length > SCRAM_PASSWORD_MAX)
		return false;
	for (size_t i = 0; i < name.length; i++) {
		char c = name.bytes[i];
		if (c == 0)
			return false;
		if (c != '=') {
			buf_append_byte(out, c);
			continue;
		}
		struct str escape = str_first(str_from_index(name, i), 3);
		if (str_equal(escape, STR("=2C")))
			buf_append_byte(out, ',');
		else if (str_equal(escape, STR("=3D")))
			buf_append_byte(out, '=');
		else
			return false;
		i += 2;
	}
	return true;
}

/* printable: %x21-2B / %x2D-7E */
static bool is_nonce(struct str s)
{
	if (s.length == 0 || s.length > 256)
		return false;
	for (size_t i = 0; i < s.length; i++)
		if (s.bytes[i] < 0x21 || s.bytes[i] > 0x7e || s.bytes[i] == ',')
			return false;
	return true;
}

/* Cuts "x=value" with the given letter off the list. */
static bool next_attribute(struct str *rest, char letter, struct str *value_out)
{
	struct str part;
	if (!str_next(rest, ',', &part) || part.length < 2 || part.bytes[0] != letter ||
		part.bytes[1] != '=')
		return false;
	*value_out = str_from_index(part, 2);
	return true;
}

bool scram_parse_first(struct str message, struct scram_first *first_out, struct buf *user_out)
{
	struct str rest = message, flag, authzid, user;

	if (!str_next(&rest, ',', &flag) || flag.length != 1 ||
		(flag.bytes[0] != 'n' && flag.bytes[0] != 'y'))
		return false;
	if (!str_next(&rest, ',', &authzid))
		return false;
	if (authzid.length > 0 && !str_starts_with(authzid, STR("a=")))
		return false;
	first_out->authzid = str_from_index(authzid, 2);
	first_out->gs2_header = str_first(message, message.length - rest.length);
	first_out->bare = rest;
	if (!next_attribute(&rest, 'n', &user) || !next_attribute(&rest, 'r', &first_out->nonce))
		return false;
	return is_nonce(first_out->nonce) && decode_saslname(user, user_out);
}

bool scram_parse_final(struct str message, struct scram_final *final_out)
{
	ptrdiff_t proof_at = -1;
	for (size_t i = message.length; i-- > 0;)
		if (i >= 1 && message.bytes[i] == 'p' && message.bytes[i - 1] == ',') {
			proof_at = (ptrdiff_t)i;
			break;
		}
	if (proof_at < 0)
		return false;
	final_out->without_proof = str_first(message, (size_t)proof_at - 1);
	struct str rest = final_out->without_proof,
		   proof = str_from_index(message, (size_t)proof_at);
	if (!next_attribute(&rest, 'c', &final_out->channel_binding) ||
		!next_attribute(&rest, 'r', &final_out->nonce) || !is_nonce(final_out->nonce))
		return false;
	if (!str_starts_with(proof, STR("p=")))
		return false;
	struct buf decoded = { 0 };
	bool good = decode_base64(&decoded, str_from_index(proof, 2)) &&
		buf_length(&decoded) == SHA256_LENGTH;
	if (good)
		memcpy(final_out->proof, buf_str(&decoded).bytes, SHA256_LENGTH);
	buf_deinit(&decoded);
	return good;
}

bool scram_verify(struct str auth_message, const uint8_t proof[SHA256_LENGTH],
	const uint8_t stored_key[SHA256_LENGTH])
{
	uint8_t client_key[SHA256_LENGTH], computed[SHA256_LENGTH];

	hmac_sha256(str_of(stored_key, SHA256_LENGTH), auth_message, client_key);
	for (unsigned i = 0; i < SHA256_LENGTH; i++)
		client_key[i] = (uint8_t)(client_key[i] ^ proof[i]);
	sha256(str_of(client_key, sizeof(client_key)), computed);
	return digest_equal(computed, stored_key, SHA256_LENGTH);
}

void scram_append_server_final(struct buf *out, struct str auth_message,
	const uint8_t server_key[SHA256_LENGTH])
{
	uint8_t signature[SHA256_LENGTH];

	hmac_sha256(str_of(server_key, SHA256_LENGTH), auth_message, signature);
	buf_append_literal(out, "v=");
	encode_base64(out, str_of(signature, sizeof(signature)));
}
