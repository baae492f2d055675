#include "core/cipher.h"

#include "core/check.h"
#include "core/digest.h"
#include "core/rand.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { CIPHER_BYTES_MAX = 1 << 30 };

struct cipher {
	EVP_CIPHER_CTX *context;
};

void x25519_draw(uint8_t secret_out[X25519_LENGTH], uint8_t public_out[X25519_LENGTH])
{
	/* Any 32 bytes are a secret: what must be set or cleared of them is when they are used. */
	rand_bytes(secret_out, X25519_LENGTH);
	x25519_public(secret_out, public_out);
}

void x25519_public(const uint8_t secret[X25519_LENGTH], uint8_t public_out[X25519_LENGTH])
{
	size_t length = X25519_LENGTH;
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, X25519_LENGTH);
	CHECK(key && EVP_PKEY_get_raw_public_key(key, public_out, &length) == 1);
	EVP_PKEY_free(key);
}

bool x25519_agree(const uint8_t secret[X25519_LENGTH], const uint8_t peer[X25519_LENGTH],
	uint8_t shared_out[X25519_LENGTH])
{
	size_t length = X25519_LENGTH;
	EVP_PKEY *own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, X25519_LENGTH);
	EVP_PKEY *other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, X25519_LENGTH);
	EVP_PKEY_CTX *context = own ? EVP_PKEY_CTX_new(own, NULL) : NULL;
	CHECK(other && context && EVP_PKEY_derive_init(context) == 1);
	/* The library refuses a secret that is all zeroes. */
	bool agreed = EVP_PKEY_derive_set_peer(context, other) == 1 &&
		EVP_PKEY_derive(context, shared_out, &length) == 1;
	ERR_clear_error();
	EVP_PKEY_CTX_free(context);
	EVP_PKEY_free(other);
	EVP_PKEY_free(own);
	return agreed;
}

void hkdf_sha256(
	struct str secret, struct str salt, struct str info, uint8_t key_out[CIPHER_KEY_LENGTH])
{
	uint8_t extracted[SHA256_LENGTH], expanded[CIPHER_INFO_MAX + 1];
	_Static_assert((int)CIPHER_KEY_LENGTH == (int)SHA256_LENGTH, "one block is the whole key");
	CHECK(info.length <= CIPHER_INFO_MAX);
	hmac_sha256(salt, secret, extracted);
	memcpy(expanded, info.bytes, info.length);
	expanded[info.length] = 1;
	hmac_sha256(
		str_of(extracted, sizeof(extracted)), str_of(expanded, info.length + 1), key_out);
	explicit_bzero(extracted, sizeof(extracted));
}

struct cipher *cipher_create(const uint8_t key[CIPHER_KEY_LENGTH])
{
	struct cipher *cipher = mem_alloc(sizeof(*cipher));
	cipher->context = EVP_CIPHER_CTX_new();
	CHECK(cipher->context &&
		EVP_CipherInit_ex(cipher->context, EVP_aes_256_gcm(), NULL, key, NULL, 1) == 1);
	return cipher;
}

void cipher_destroy(struct cipher **cipher)
{
	if (!*cipher)
		return;
	EVP_CIPHER_CTX_free((*cipher)->context);
	free(*cipher);
	*cipher = NULL;
}

void cipher_seal(struct cipher *cipher, const uint8_t nonce[CIPHER_NONCE_LENGTH], struct str plain,
	void *sealed_out)
{
	uint8_t *to = sealed_out;
	int length = 0, rest = 0;
	CHECK(plain.length <= CIPHER_BYTES_MAX);
	CHECK(EVP_EncryptInit_ex(cipher->context, NULL, NULL, NULL, nonce) == 1 &&
		EVP_EncryptUpdate(cipher->context, to, &length, (const uint8_t *)plain.bytes,
			(int)plain.length) == 1 &&
		EVP_EncryptFinal_ex(cipher->context, to + length, &rest) == 1 &&
		(size_t)length + (size_t)rest == plain.length &&
		EVP_CIPHER_CTX_ctrl(cipher->context, EVP_CTRL_GCM_GET_TAG, CIPHER_TAG_LENGTH,
			to + plain.length) == 1);
}

bool cipher_open(struct cipher *cipher, const uint8_t nonce[CIPHER_NONCE_LENGTH], struct str sealed,
	void *plain_out)
{
	uint8_t *to = plain_out, tag[CIPHER_TAG_LENGTH];
	int length = 0, rest = 0;
	if (sealed.length < CIPHER_TAG_LENGTH || sealed.length > CIPHER_BYTES_MAX)
		return false;
	size_t body = sealed.length - CIPHER_TAG_LENGTH;
	memcpy(tag, sealed.bytes + body, sizeof(tag));
	bool good = EVP_DecryptInit_ex(cipher->context, NULL, NULL, NULL, nonce) == 1 &&
		EVP_DecryptUpdate(cipher->context, to, &length, (const uint8_t *)sealed.bytes,
			(int)body) == 1 &&
		EVP_CIPHER_CTX_ctrl(
			cipher->context, EVP_CTRL_GCM_SET_TAG, CIPHER_TAG_LENGTH, tag) == 1 &&
		EVP_DecryptFinal_ex(cipher->context, to + length, &rest) == 1;
	ERR_clear_error();
	return good;
}
