#include "proto/disk/record.h"

/* Four receive windows lie over one segment, and a full vector still leaves most of it. */
const uint64_t segment_length = 256 << 10;
