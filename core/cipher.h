#ifndef PANDO_CORE_CIPHER_H
#define PANDO_CORE_CIPHER_H

/*
 * What seals files for somebody who is not here (OpenSSL inside): agreement on a secret by X25519
 * (RFC 7748), a key from it by HKDF-SHA256 (RFC 5869), AES-256-GCM (NIST SP 800-38D) with it.
 */

#include "core/str.h"

enum {
	X25519_LENGTH = 32,
	CIPHER_KEY_LENGTH = 32,
	CIPHER_NONCE_LENGTH = 12,
	CIPHER_TAG_LENGTH = 16,
};

/* A new pair. Whoever holds a secret clears it with explicit_bzero. */
void x25519_draw(uint8_t secret_out[X25519_LENGTH], uint8_t public_out[X25519_LENGTH]);
void x25519_public(const uint8_t secret[X25519_LENGTH], uint8_t public_out[X25519_LENGTH]);
/* False: `peer` is one of the few public keys with which everybody has the same secret (RFC 7748
 * section 6.1). */
bool x25519_agree(const uint8_t secret[X25519_LENGTH], const uint8_t peer[X25519_LENGTH],
	uint8_t shared_out[X25519_LENGTH]);
/* `info` of at most CIPHER_INFO_MAX bytes. */
enum { CIPHER_INFO_MAX = 64 };
void hkdf_sha256(
	struct str secret, struct str salt, struct str info, uint8_t key_out[CIPHER_KEY_LENGTH]);

struct cipher;

/* Keeps no copy of the key but what the library needs, and clears that at the end. */
struct cipher *cipher_create(const uint8_t key[CIPHER_KEY_LENGTH]);
/* Sets *cipher to NULL; NULL is accepted. */
void cipher_destroy(struct cipher **cipher);
/* Writes plain.length + CIPHER_TAG_LENGTH bytes. A key never sees a nonce twice. At most 1 GiB. */
void cipher_seal(struct cipher *cipher, const uint8_t nonce[CIPHER_NONCE_LENGTH], struct str plain,
	void *sealed_out);
/* Writes sealed.length - CIPHER_TAG_LENGTH bytes. False: it is too short, or not what was sealed
 * with this key and nonce; then what was written means nothing. */
bool cipher_open(struct cipher *cipher, const uint8_t nonce[CIPHER_NONCE_LENGTH], struct str sealed,
	void *plain_out);

#endif
