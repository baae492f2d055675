#ifndef PANDO_CORE_DIGEST_H
#define PANDO_CORE_DIGEST_H

/* CRC-32C for stored and shipped bytes; a 64-bit digest that names a history; SHA-256, HMAC and
 * PBKDF2 for credentials (OpenSSL inside). */

#include "core/str.h"

enum { SHA256_LENGTH = 32 }; /* FIPS 180-4 */

/* CRC-32C (Castagnoli, reflected, as in RFC 3720 appendix B.4). Start with 0; feed the result back
 * in to go on. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);

/*
 * A 64-bit digest, eight bytes a step, for telling two histories apart; not against an adversary.
 * `seed` is the digest of what came before, 0 at first: chained so, the result names all of it and
 * where it was divided.
 *
 * h = seed ^ length * 0x9e3779b97f4a7c15, all modulo 2^64. Each 8 bytes as a little-endian word w
 * (the last, shorter part is filled with zeroes): h = (h ^ w) * 0xd6e8feb86659fd93, then h ^= h
 * >> 32. At the end h ^= h >> 29, h *= 0xbf58476d1ce4e5b9, h ^= h >> 32. Each step is a bijection
 * of h and of w, so that one changed word always changes the result.
 */
uint64_t digest64(uint64_t seed, const void *bytes, size_t length);

void sha256(struct str message, uint8_t digest_out[SHA256_LENGTH]);
/* The same of what comes piece by piece. */
struct sha256_run;
struct sha256_run *sha256_begin(void);
void sha256_add(struct sha256_run *run, struct str bytes);
/* Sets *run to NULL. digest_out may be NULL: nobody wants it any more. NULL is accepted. */
void sha256_end(struct sha256_run **run, uint8_t digest_out[SHA256_LENGTH]);
void hmac_sha256(struct str key, struct str message, uint8_t digest_out[SHA256_LENGTH]);
/* RFC 8018 section 5.2. Takes milliseconds: call it inside loop_work. */
void pbkdf2_sha256(
	struct str password, struct str salt, uint32_t iterations, uint8_t key_out[SHA256_LENGTH]);
/* Constant time. */
bool digest_equal(const void *a, const void *b, size_t length);

#endif
