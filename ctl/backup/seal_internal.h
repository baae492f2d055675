#ifndef PANDO_CTL_BACKUP_SEAL_INTERNAL_H
#define PANDO_CTL_BACKUP_SEAL_INTERNAL_H

/* What writer (seal.c) and reader (seal_reader.c) of a sealed file have in common: seal.h says what
 * the bytes are. */

#include "core/cipher.h"
#include "ctl/backup/seal.h"

#define SEAL_MAGIC "PBK1"

enum {
	SEAL_VERSION = 1,
	/* Magic and version; both public keys follow. */
	SEAL_INFO_LENGTH = 8,
	SEAL_HEADER_LENGTH = SEAL_INFO_LENGTH + 2 * BACKUP_KEY_LENGTH,
	/* Of the u32 before a piece. */
	SEAL_LENGTH_BYTES = 4,
};

/* The longest sealed piece: one that nothing makes shorter. */
size_t seal_piece_max(void);
void seal_nonce(uint64_t piece, bool is_last, uint8_t nonce_out[CIPHER_NONCE_LENGTH]);
/* The file's key, from one side's secret and the other's public key. False: they agree on none. The
 * caller clears it. */
bool seal_derive(const uint8_t secret[X25519_LENGTH], const uint8_t peer[X25519_LENGTH],
	const uint8_t header[SEAL_HEADER_LENGTH], uint8_t key_out[CIPHER_KEY_LENGTH]) must_check;

#endif
