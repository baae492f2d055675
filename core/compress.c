#include "core/compress.h"

#include "core/check.h"

#include <stdlib.h>
#include <zstd.h>

struct compressor {
	ZSTD_CCtx *context;
};

struct decompressor {
	ZSTD_DCtx *context;
};

size_t compress_bound(size_t length)
{
	return ZSTD_compressBound(length);
}

struct compressor *compressor_create(int level)
{
	struct compressor *compressor = mem_alloc(sizeof(*compressor));
	compressor->context = ZSTD_createCCtx();
	CHECK(compressor->context &&
		!ZSTD_isError(ZSTD_CCtx_setParameter(
			compressor->context, ZSTD_c_compressionLevel, level)));
	return compressor;
}

void compressor_destroy(struct compressor **compressor)
{
	if (!*compressor)
		return;
	ZSTD_freeCCtx((*compressor)->context);
	free(*compressor);
	*compressor = NULL;
}

size_t compressor_run(struct compressor *compressor, struct str plain, void *to)
{
	size_t length = ZSTD_compress2(
		compressor->context, to, compress_bound(plain.length), plain.bytes, plain.length);
	CHECK(!ZSTD_isError(length));
	return length;
}

struct decompressor *decompressor_create(void)
{
	struct decompressor *decompressor = mem_alloc(sizeof(*decompressor));
	decompressor->context = ZSTD_createDCtx();
	CHECK(decompressor->context != NULL);
	return decompressor;
}

void decompressor_destroy(struct decompressor **decompressor)
{
	if (!*decompressor)
		return;
	ZSTD_freeDCtx((*decompressor)->context);
	free(*decompressor);
	*decompressor = NULL;
}

bool decompressor_run(struct decompressor *decompressor, struct str frame, void *to, size_t room,
	size_t *length_out)
{
	/* The library takes several frames, or none, in one call. */
	if (frame.length == 0 ||
		ZSTD_findFrameCompressedSize(frame.bytes, frame.length) != frame.length)
		return false;
	size_t length =
		ZSTD_decompressDCtx(decompressor->context, to, room, frame.bytes, frame.length);
	*length_out = ZSTD_isError(length) ? 0 : length;
	return !ZSTD_isError(length);
}
