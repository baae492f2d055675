#include "core/disk_internal.h"

#include "core/loop_internal.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

enum {
	/* Submissions of one turn; beyond it they go out in several calls. */
	RING_ENTRIES = 256,
};

struct disk_ring {
	struct disk *disk;
	struct io_uring ring;
	int event_fd;
	uv_poll_t poll;
	bool must_submit;
};

static void submit(void *arg)
{
	struct disk_ring *ring = arg;
	if (!ring->must_submit)
		return;
	ring->must_submit = false;
	while (io_uring_sq_ready(&ring->ring) > 0) {
		int result = io_uring_submit(&ring->ring);
		CHECK(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
	}
}

static void complete(struct disk_op *op, int result)
{
	int64_t outcome = result;
	if (result == -EINTR || result == -EAGAIN)
		outcome = disk_op_finish_now(op, 0);
	else if (result >= 0 && (size_t)result < op->length)
		/* Short: a nearly full disk, or the end of a file. Rare enough to
		 * finish in place. */
		outcome = disk_op_finish_now(op, (size_t)result);
	disk_op_complete(op, outcome);
}

static void on_completions(uv_poll_t *poll, int status, int events)
{
	struct disk_ring *ring = container_of(poll, struct disk_ring, poll);
	uint64_t count;
	struct io_uring_cqe *cqe;
	(void)status;
	(void)events;
	if (read(ring->event_fd, &count, sizeof(count)) < 0)
		return;
	io_uring_get_events(&ring->ring);
	while (io_uring_peek_cqe(&ring->ring, &cqe) == 0) {
		struct disk_op *op = io_uring_cqe_get_data(cqe);
		int result = cqe->res;
		io_uring_cqe_seen(&ring->ring, cqe);
		complete(op, result);
	}
}

int disk_ring_create(struct disk *disk, struct disk_ring **ring_out)
{
	struct disk_ring *ring = mem_alloc(sizeof(*ring));
	ring->disk = disk;
	int result = io_uring_queue_init(RING_ENTRIES, &ring->ring,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	if (result == -EINVAL) /* kernels before 6.1 */
		result = io_uring_queue_init(RING_ENTRIES, &ring->ring, 0);
	if (result < 0) {
		free(ring);
		return result;
	}
	ring->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CHECK(ring->event_fd >= 0);
	CHECK(io_uring_register_eventfd(&ring->ring, ring->event_fd) == 0);
	CHECK(uv_poll_init(loop_uv(disk->loop), &ring->poll, ring->event_fd) == 0);
	CHECK(uv_poll_start(&ring->poll, UV_READABLE, on_completions) == 0);
	loop_set_submit(disk->loop, submit, ring);
	*ring_out = ring;
	return 0;
}

static void on_poll_closed(uv_handle_t *handle)
{
	free(container_of(handle, struct disk_ring, poll));
}

void disk_ring_destroy(struct disk_ring **ring)
{
	if (*ring == NULL)
		return;
	loop_set_submit((*ring)->disk->loop, NULL, NULL);
	io_uring_queue_exit(&(*ring)->ring);
	uv_poll_stop(&(*ring)->poll);
	close((*ring)->event_fd);
	uv_close((uv_handle_t *)&(*ring)->poll, on_poll_closed);
	*ring = NULL;
}

void disk_ring_queue(struct disk_ring *ring, struct disk_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->ring);
	if (sqe == NULL) {
		submit(ring);
		sqe = io_uring_get_sqe(&ring->ring);
		CHECK(sqe != NULL);
	}
	if (op->kind == DISK_OP_WRITE) {
		io_uring_prep_writev2(sqe, op->file->fd, op->vectors, op->vector_count, op->offset,
			RWF_DSYNC);
	} else {
		io_uring_prep_readv(sqe, op->file->fd, op->vectors, op->vector_count, op->offset);
	}
	io_uring_sqe_set_data(sqe, op);
	ring->must_submit = true;
}
