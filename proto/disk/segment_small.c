#include "proto/disk/record.h"

/* Small enough for boundaries to be met all the time; a full vector still leaves most of it. */
const uint64_t segment_length = 256 << 10;
