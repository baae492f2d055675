#include "core/rand.h"

#include "core/check.h"

#include <sys/random.h>
#include <sys/types.h>

void rand_bytes(void *bytes, size_t length)
{
	char *to = bytes;
	while (length > 0) {
		ssize_t got = getrandom(to, length, 0);
		CHECK(got > 0);
		to += got;
		length -= (size_t)got;
	}
}

uint64_t rand_u64(void)
{
	uint64_t value;
	rand_bytes(&value, sizeof(value));
	return value;
}
