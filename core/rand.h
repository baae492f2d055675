#ifndef PANDO_CORE_RAND_H
#define PANDO_CORE_RAND_H

/* The only source of randomness: the kernel's in production, a seeded generator in a simulation. */

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *bytes, size_t length);
uint64_t rand_u64(void);

#endif
