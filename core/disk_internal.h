#ifndef PANDO_CORE_DISK_INTERNAL_H
#define PANDO_CORE_DISK_INTERNAL_H

/* Between disk.c and its two backends. */

#include "core/disk.h"

enum disk_op_kind { DISK_OP_WRITE, DISK_OP_READ };

struct disk_ring;

struct disk {
	struct loop *loop;
	struct disk_ring *ring; /* NULL: the POSIX backend */
	unsigned in_flight;
};

struct disk_file {
	struct disk *disk;
	int fd;
};

/* -ENOSYS and friends when the kernel refuses. */
int disk_ring_create(struct disk *disk, struct disk_ring **ring_out) must_check;
void disk_ring_destroy(struct disk_ring **ring);
void disk_ring_queue(struct disk_ring *ring, struct disk_op *op);

void disk_posix_queue(struct disk *disk, struct disk_op *op);

/* Does the part of the operation from byte `done` on with plain calls; the whole length or an
 * errno. */
int64_t disk_op_finish_now(struct disk_op *op, size_t done);
/* Calls the owner back. */
void disk_op_complete(struct disk_op *op, int64_t result);

#endif
