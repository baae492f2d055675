#ifndef PANDO_CORE_COMPRESS_H
#define PANDO_CORE_COMPRESS_H

/* Bytes made shorter, a frame of zstd (RFC 8878) at a time (libzstd inside). Nothing of one frame
 * is needed to read another. */

#include "core/str.h"

struct compressor;
struct decompressor;

/* The most that `length` bytes, below 1 GiB, become. */
size_t compress_bound(size_t length);

/* Level 1 is the fastest, 19 the smallest. */
struct compressor *compressor_create(int level);
/* Sets *compressor to NULL; NULL is accepted. */
void compressor_destroy(struct compressor **compressor);
/* `to` has room for compress_bound(plain.length). Returns how long the frame is. */
size_t compressor_run(struct compressor *compressor, struct str plain, void *to);

struct decompressor *decompressor_create(void);
/* Sets *decompressor to NULL; NULL is accepted. */
void decompressor_destroy(struct decompressor **decompressor);
/* False: it is no frame, or holds more than `room`. No memory is taken beyond that. */
bool decompressor_run(struct decompressor *decompressor, struct str frame, void *to, size_t room,
	size_t *length_out);

#endif
