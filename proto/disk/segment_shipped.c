#include "proto/disk/record.h"

const uint64_t segment_length = 64 << 20;
