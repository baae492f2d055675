#include "core/disk.h"

#include "core/disk_internal.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	/* Vectors handed to one plain call: IOV_MAX. */
	VECTORS_MAX = 1024,
};

int disk_create(
	struct loop *loop, enum io_backend backend, struct disk **disk_out, struct error *error)
{
	struct disk *disk = mem_alloc(sizeof(*disk));
	disk->loop = loop;
	if (backend != IO_BACKEND_POSIX) {
		int result = disk_ring_create(disk, &disk->ring);
		if (result < 0 && backend == IO_BACKEND_URING) {
			free(disk);
			return error_set(error, result,
				"io_uring is not available (%s): set `io_backend = posix` or allow "
				"it (sysctl kernel.io_uring_disabled)",
				strerror(-result));
		}
		if (result < 0)
			log_info("io_backend", "backend=posix reason=%s",
				log_quote(str_from(strerror(-result))));
	}
	*disk_out = disk;
	return 0;
}

void disk_destroy(struct disk **disk)
{
	if (*disk == NULL)
		return;
	/* What nobody waits for any more ends by itself, and is of memory that it was given. */
	while ((*disk)->in_flight > 0)
		loop_turn((*disk)->loop);
	disk_ring_destroy(&(*disk)->ring);
	free(*disk);
	*disk = NULL;
}

const char *disk_backend_name(const struct disk *disk)
{
	return disk->ring ? "uring" : "posix";
}

static void queue(struct disk_file *file, struct disk_op *op, unsigned kind)
{
	op->file = file;
	op->disk = file->disk;
	op->kind = kind;
	op->result = 0;
	op->length = 0;
	for (unsigned i = 0; i < op->vector_count; i++)
		op->length += op->vectors[i].iov_len;
	file->disk->in_flight++;
	if (file->disk->ring != NULL)
		disk_ring_queue(file->disk->ring, op);
	else
		disk_posix_queue(file->disk, op);
}

void disk_write(struct disk_file *file, struct disk_op *op, const struct iovec *vectors,
	unsigned vector_count, uint64_t offset)
{
	CHECK(vector_count <= VECTORS_MAX);
	op->vectors = vectors;
	op->vector_count = vector_count;
	op->offset = offset;
	queue(file, op, DISK_OP_WRITE);
}

void disk_read(
	struct disk_file *file, struct disk_op *op, void *bytes, size_t length, uint64_t offset)
{
	op->vector = (struct iovec){ bytes, length };
	disk_read_vectors(file, op, &op->vector, 1, offset);
}

void disk_read_vectors(struct disk_file *file, struct disk_op *op, const struct iovec *vectors,
	unsigned vector_count, uint64_t offset)
{
	CHECK(vector_count <= VECTORS_MAX);
	op->vectors = vectors;
	op->vector_count = vector_count;
	op->offset = offset;
	queue(file, op, DISK_OP_READ);
}

void disk_op_complete(struct disk_op *op, int64_t result)
{
	op->disk->in_flight--;
	op->result = result;
	op->done(op);
}

int64_t disk_op_finish_now(struct disk_op *op, size_t done)
{
	while (done < op->length) {
		struct iovec vectors[VECTORS_MAX];
		unsigned count = 0;
		size_t skip = done;
		for (unsigned i = 0; i < op->vector_count; i++) {
			struct iovec vector = op->vectors[i];
			if (skip >= vector.iov_len) {
				skip -= vector.iov_len;
				continue;
			}
			vectors[count].iov_base = (char *)vector.iov_base + skip;
			vectors[count++].iov_len = vector.iov_len - skip;
			skip = 0;
		}
		off_t offset = (off_t)(op->offset + done);
		ssize_t moved = op->kind == DISK_OP_WRITE
			? pwritev2(op->file->fd, vectors, (int)count, offset, RWF_DSYNC)
			: preadv(op->file->fd, vectors, (int)count, offset);
		if (moved < 0 && errno == EINTR)
			continue;
		if (moved < 0)
			return -errno;
		if (moved == 0)
			return op->kind == DISK_OP_WRITE ? -ENOSPC : -ENODATA;
		done += (size_t)moved;
	}
	return (int64_t)op->length;
}

static void on_posix_work(void *arg)
{
	struct disk_op *op = arg;
	op->result = disk_op_finish_now(op, 0);
}

static void on_posix_done(void *arg)
{
	struct disk_op *op = arg;
	disk_op_complete(op, op->result);
}

void disk_posix_queue(struct disk *disk, struct disk_op *op)
{
	loop_work(disk->loop, on_posix_work, on_posix_done, op);
}
