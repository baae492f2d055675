#ifndef PANDO_CORE_DIGEST_H
#define PANDO_CORE_DIGEST_H

/* CRC-32C for stored and shipped bytes; SHA-256, HMAC and PBKDF2 for
 * credentials (OpenSSL inside). */

#include "core/str.h"

enum { SHA256_LENGTH = 32 }; /* FIPS 180-4 */

/* CRC-32C (Castagnoli, reflected, as in RFC 3720 appendix B.4). Start with 0; feed the result back
 * in to go on. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);

void sha256(struct str message, uint8_t digest_out[SHA256_LENGTH]);
void hmac_sha256(struct str key, struct str message, uint8_t digest_out[SHA256_LENGTH]);
/* RFC 8018 section 5.2. Takes milliseconds: call it inside loop_work. */
void pbkdf2_sha256(struct str password, struct str salt, uint32_t iterations,
	uint8_t key_out[SHA256_LENGTH]);
/* Constant time. */
bool digest_equal(const void *a, const void *b, size_t length);

#endif
