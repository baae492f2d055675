#ifndef PANDO_CORE_DISK_H
#define PANDO_CORE_DISK_H

/*
 * Files for the log engine. A disk belongs to one loop; its io_uring takes all operations queued in
 * a turn with one submission, completions wake the loop through an eventfd. The POSIX backend does
 * the same with preadv2/pwritev2 on the loop's pool threads. A simulated world links another
 * implementation that loses unsynced bytes.
 *
 * The plain (not asynchronous) calls are for opening, recovery and housekeeping.
 */

#include "core/error.h"
#include "core/loop.h"
#include "core/str.h"

#include <stdint.h>
#include <sys/uio.h>

/* Of what direct reading takes and gives: no device in use has larger ones. */
enum { DISK_BLOCK_BYTES = 4096 };

enum io_backend { IO_BACKEND_AUTO, IO_BACKEND_URING, IO_BACKEND_POSIX };

struct disk;
struct disk_file;

/* One operation in flight; the owner keeps it and the buffers alive until done is called. */
struct disk_op {
	void (*done)(struct disk_op *op); /* on the disk's loop, never from inside the call */
	int64_t result; /* bytes, or a negative errno; writes are whole or failed */
	/* private */
	struct disk *disk;
	struct disk_file *file;
	const struct iovec *vectors;
	unsigned vector_count;
	unsigned kind;
	uint64_t offset;
	size_t length;
	struct iovec vector;
	struct disk_op *next;
	struct task task;
};

/* AUTO takes io_uring where the kernel allows it, else POSIX, and logs which. */
int disk_create(struct loop *loop, enum io_backend backend, struct disk **disk_out,
	struct error *error) must_check;
/* Nothing may be in flight. */
void disk_destroy(struct disk **disk);
const char *disk_backend_name(const struct disk *disk);

/* Read-write; with `create` the file is made when missing and its directory synced. -ENOENT
 * otherwise. */
int disk_file_open(
	struct disk *disk, const char *path, bool create, struct disk_file **file_out) must_check;
void disk_file_close(struct disk_file **file);

/* Durable when done is called with result >= 0 (RWF_DSYNC). At most 1024 vectors. */
void disk_write(struct disk_file *file, struct disk_op *op, const struct iovec *vectors,
	unsigned vector_count, uint64_t offset);
void disk_read(struct disk_file *file, struct disk_op *op, void *bytes, size_t length,
	uint64_t offset);
/* The same into several places; the vectors stay alive until done. */
void disk_read_vectors(struct disk_file *file, struct disk_op *op, const struct iovec *vectors,
	unsigned vector_count, uint64_t offset);

/* Whole or negative errno; short files give -ENODATA. */
int disk_read_now(struct disk_file *file, void *bytes, size_t length, uint64_t offset) must_check;
/* As above, but only when the bytes are in memory; -EAGAIN otherwise. */
int disk_read_cached(struct disk_file *file, const struct iovec *vectors, unsigned vector_count,
	uint64_t offset) must_check;
int disk_write_now(
	struct disk_file *file, const void *bytes, size_t length, uint64_t offset) must_check;
int disk_sync_now(struct disk_file *file) must_check;
int64_t disk_file_size(struct disk_file *file);
/* Makes the file `length` bytes long, zero-filled and durable; existing bytes stay. May be called
 * on a pool thread. */
int disk_file_allocate(struct disk_file *file, uint64_t length) must_check;
/* Cuts the file off (or lengthens it) and makes that durable. May be called on a pool thread. */
int disk_file_truncate(struct disk_file *file, uint64_t length) must_check;
/* Forgets what memory holds of the file, so that the next read comes from the disk: what is not
 * written yet is written first. -EBUSY when somebody keeps it there; a file system that is in
 * memory forgets nothing, and gives 0. Waits up to 0.1 s: on a pool thread. */
int disk_file_drop_cache(struct disk_file *file) must_check;
/* What the disk itself has, for who looks after it: past what memory holds, which stays as it is
 * (open(2), O_DIRECT; a file system that has no such reading is read as by disk_read_now).
 * `offset` and `bytes` stand at multiples of DISK_BLOCK_BYTES, and there is room for whole ones.
 * By a descriptor that nobody reads by in another way. Otherwise as disk_read_now. */
int disk_read_stored(
	struct disk_file *file, void *bytes, size_t length, uint64_t offset) must_check;
/* Zeroes a range and makes that durable. */
int disk_file_zero(struct disk_file *file, uint64_t offset, uint64_t length) must_check;

/* Makes a hole: the range reads as zeroes, and its whole blocks are the file system's again.
 * -EOPNOTSUPP where it makes none. Durable with the next sync. May be called on a pool thread. */
int disk_file_punch(struct disk_file *file, uint64_t offset, uint64_t length) must_check;

int disk_make_directory(const char *path) must_check;
/* Calls fn for each entry's name, sorted. */
int disk_list_directory(
	const char *path, void (*fn)(void *arg, const char *name), void *arg) must_check;
int disk_remove_file(const char *path) must_check;
/* An empty one. */
int disk_remove_directory(const char *path) must_check;
/* Bytes that an unprivileged process may still write on the disk that holds `path`, or a negative
 * errno. */
int64_t disk_space_free(const char *path) must_check;
/* Atomic, directory synced. */
int disk_rename(const char *from, const char *to) must_check;

/* An exclusive lock on a file that dies with the process; the file is made when missing. -EAGAIN
 * when another process holds it. */
struct disk_lock;
int disk_lock_take(const char *path, struct disk_lock **lock_out) must_check;
void disk_lock_release(struct disk_lock **lock);
/* Whether the file that is locked is still the one of this name, by which it was taken: not where
 * it was removed or moved away with its directory, or another file system was mounted there or
 * went. */
bool disk_lock_is_at(const struct disk_lock *lock, const char *path);

#endif
