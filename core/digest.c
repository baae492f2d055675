#include "core/digest.h"

#include "core/check.h"
#include "core/encode.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

static uint32_t crc32c_table[8][256];

__attribute__((constructor)) static void crc32c_fill_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
		crc32c_table[0][i] = crc;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int k = 1; k < 8; k++)
			crc32c_table[k][i] = crc32c_table[k - 1][i] >> 8 ^
				crc32c_table[0][crc32c_table[k - 1][i] & 255];
}

static uint32_t crc32c_portable(uint32_t crc, const uint8_t *p, size_t length)
{
	while (length >= 8) {
		uint32_t low = crc ^
			((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
				(uint32_t)p[3] << 24);
		crc = crc32c_table[7][low & 255] ^ crc32c_table[6][low >> 8 & 255] ^
			crc32c_table[5][low >> 16 & 255] ^ crc32c_table[4][low >> 24] ^
			crc32c_table[3][p[4]] ^ crc32c_table[2][p[5]] ^ crc32c_table[1][p[6]] ^
			crc32c_table[0][p[7]];
		p += 8;
		length -= 8;
	}
	while (length-- > 0)
		crc = crc >> 8 ^ crc32c_table[0][(crc ^ *p++) & 255];
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(
	uint32_t crc, const uint8_t *p, size_t length)
{
	uint64_t wide = crc;
	while (length >= 8) {
		uint64_t word;
		memcpy(&word, p, 8);
		wide = _mm_crc32_u64(wide, word);
		p += 8;
		length -= 8;
	}
	crc = (uint32_t)wide;
	while (length-- > 0)
		crc = _mm_crc32_u8(crc, *p++);
	return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t length)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc32c_sse42(~crc, bytes, length);
#endif
	return ~crc32c_portable(~crc, bytes, length);
}

uint64_t digest64(uint64_t seed, const void *bytes, size_t length)
{
	const uint8_t *p = bytes;
	uint64_t h = seed ^ (uint64_t)length * 0x9e3779b97f4a7c15u;
	while (length > 0) {
		uint8_t word[8] = { 0 };
		size_t part = length < sizeof(word) ? length : sizeof(word);
		memcpy(word, p, part);
		h = (h ^ get_le64(word)) * 0xd6e8feb86659fd93u;
		h ^= h >> 32;
		p += part;
		length -= part;
	}
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	return h ^ h >> 32;
}

void sha256(struct str message, uint8_t digest_out[SHA256_LENGTH])
{
	SHA256((const uint8_t *)message.bytes, message.length, digest_out);
}

struct sha256_run {
	EVP_MD_CTX *context;
};

struct sha256_run *sha256_begin(void)
{
	struct sha256_run *run = mem_alloc(sizeof(*run));
	run->context = EVP_MD_CTX_new();
	CHECK(run->context && EVP_DigestInit_ex(run->context, EVP_sha256(), NULL) == 1);
	return run;
}

void sha256_add(struct sha256_run *run, struct str bytes)
{
	CHECK(EVP_DigestUpdate(run->context, bytes.bytes, bytes.length) == 1);
}

void sha256_end(struct sha256_run **run, uint8_t digest_out[SHA256_LENGTH])
{
	if (!*run)
		return;
	CHECK(!digest_out || EVP_DigestFinal_ex((*run)->context, digest_out, NULL) == 1);
	EVP_MD_CTX_free((*run)->context);
	free(*run);
	*run = NULL;
}

void hmac_sha256(struct str key, struct str message, uint8_t digest_out[SHA256_LENGTH])
{
	unsigned length = SHA256_LENGTH;
	CHECK(key.length <= INT32_MAX);
	CHECK(HMAC(EVP_sha256(), key.bytes, (int)key.length, (const uint8_t *)message.bytes,
		      message.length, digest_out, &length) != NULL);
}

void pbkdf2_sha256(
	struct str password, struct str salt, uint32_t iterations, uint8_t key_out[SHA256_LENGTH])
{
	CHECK(password.length <= INT32_MAX && salt.length <= INT32_MAX && iterations <= INT32_MAX);
	CHECK(PKCS5_PBKDF2_HMAC(password.bytes, (int)password.length, (const uint8_t *)salt.bytes,
		      (int)salt.length, (int)iterations, EVP_sha256(), SHA256_LENGTH,
		      key_out) == 1);
}

bool digest_equal(const void *a, const void *b, size_t length)
{
	return CRYPTO_memcmp(a, b, length) == 0;
}
