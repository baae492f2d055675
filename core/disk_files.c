#include "core/disk.h"

#include "core/check.h"
#include "core/disk_internal.h"
#include "core/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
	/* Zeroes written at a time when a segment is prepared: large enough to be sequential, small
	 * enough for any cache. */
	ZERO_CHUNK_BYTES = 1 << 20,
	/* A tenth of a second for who holds a page: none does for long. */
	DROP_TRIES = 20,
	DROP_WAIT_US = 5000,
};

static int sync_parent(const char *path)
{
	ptrdiff_t slash = str_find_last_byte(str_from(path), '/');
	char *parent = slash < 0 ? str_to_heap(STR("."))
				 : str_to_heap(str_of(path, slash == 0 ? 1 : (size_t)slash));
	int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(parent);
	if (fd < 0)
		return -errno;
	int result = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return result;
}

int disk_file_open(
	struct disk *disk, const char *path, bool create, struct disk_file **file_out)
{
	bool made = false;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && create) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0660);
		made = fd >= 0;
	}
	if (fd < 0)
		return -errno;
	if (made) {
		int result = sync_parent(path);
		if (result < 0) {
			/* The next try would find it, and not know that its name is not durable. */
			unlink(path);
			close(fd);
			return result;
		}
	}
	struct disk_file *file = mem_alloc(sizeof(*file));
	file->disk = disk;
	file->fd = fd;
	*file_out = file;
	return 0;
}

void disk_file_close(struct disk_file **file)
{
	if (*file == NULL)
		return;
	close((*file)->fd);
	free(*file);
	*file = NULL;
}

int disk_read_now(struct disk_file *file, void *bytes, size_t length, uint64_t offset)
{
	char *to = bytes;
	while (length > 0) {
		ssize_t got = pread(file->fd, to, length, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ENODATA;
		to += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
	}
	return 0;
}

int disk_read_cached(
	struct disk_file *file, const struct iovec *vectors, unsigned vector_count, uint64_t offset)
{
	size_t length = 0;
	for (unsigned i = 0; i < vector_count; i++)
		length += vectors[i].iov_len;
	ssize_t got = preadv2(file->fd, vectors, (int)vector_count, (off_t)offset, RWF_NOWAIT);
	return got == (ssize_t)length ? 0 : -EAGAIN;
}

int disk_write_now(struct disk_file *file, const void *bytes, size_t length, uint64_t offset)
{
	const char *from = bytes;
	while (length > 0) {
		ssize_t written = pwrite(file->fd, from, length, (off_t)offset);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written < 0 ? -errno : -ENOSPC;
		from += written;
		offset += (uint64_t)written;
		length -= (size_t)written;
	}
	return 0;
}

int disk_sync_now(struct disk_file *file)
{
	return fdatasync(file->fd) < 0 ? -errno : 0;
}

int64_t disk_file_size(struct disk_file *file)
{
	struct stat status;
	return fstat(file->fd, &status) < 0 ? -errno : status.st_size;
}

static int write_zeroes(struct disk_file *file, uint64_t offset, uint64_t length)
{
	char *zeroes = mem_alloc(ZERO_CHUNK_BYTES);
	int result = 0;
	while (result == 0 && length > 0) {
		size_t part = length < ZERO_CHUNK_BYTES ? (size_t)length : ZERO_CHUNK_BYTES;
		result = disk_write_now(file, zeroes, part, offset);
		offset += part;
		length -= part;
	}
	free(zeroes);
	return result;
}

int disk_file_allocate(struct disk_file *file, uint64_t length)
{
	int64_t size = disk_file_size(file);
	if (size < 0 || (uint64_t)size >= length)
		return size < 0 ? (int)size : 0;
	/* Contiguous extents first; a file system that cannot just grows with the writes. */
	if (fallocate(file->fd, FALLOC_FL_KEEP_SIZE, size, (off_t)length - size) < 0 &&
		errno != EOPNOTSUPP)
		return -errno;
	/* Written zeroes, not unwritten extents: a later DSYNC write then changes no metadata. */
	int result = write_zeroes(file, (uint64_t)size, length - (uint64_t)size);
	if (result == 0 && fsync(file->fd) < 0)
		result = -errno;
	return result;
}

int disk_file_truncate(struct disk_file *file, uint64_t length)
{
	if (ftruncate(file->fd, (off_t)length) < 0)
		return -errno;
	return fsync(file->fd) < 0 ? -errno : 0;
}

static bool is_any_in_memory(int fd, uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page;
	void *map = size ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (map == MAP_FAILED)
		return size > 0;
	unsigned char *states = mem_alloc(pages);
	bool is_any = mincore(map, size, states) < 0;
	for (uint64_t i = 0; i < pages && !is_any; i++)
		is_any = states[i] & 1;
	free(states);
	munmap(map, size);
	return is_any;
}

/* A page that somebody holds just then, the kernel's own reclaim too, is not let go of. */
int disk_file_drop_cache(struct disk_file *file)
{
	struct statfs system;
	int result = disk_sync_now(file);
	if (result == 0 && fstatfs(file->fd, &system) == 0 && system.f_type == TMPFS_MAGIC)
		return 0;
	for (unsigned i = 0; result == 0 && i < DROP_TRIES; i++) {
		int64_t size = disk_file_size(file);
		result = size < 0 ? (int)size : -posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
		if (result == 0 && !is_any_in_memory(file->fd, (uint64_t)size))
			return 0;
		usleep(DROP_WAIT_US);
	}
	return result < 0 ? result : -EBUSY;
}

/* By direct reading, whose offsets, lengths and memory are of whole blocks. The last block of a
 * file may be short. */
static int read_direct(int fd, char *bytes, size_t length, uint64_t offset)
{
	size_t blocks = (length + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
	size_t read = 0;
	while (read < length) {
		ssize_t got = pread(fd, bytes + read, blocks - read, (off_t)(offset + read));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		read += (size_t)got;
		if (read < length && (got == 0 || got % DISK_BLOCK_BYTES != 0))
			return -ENODATA;
	}
	return 0;
}

int disk_read_stored(struct disk_file *file, void *bytes, size_t length, uint64_t offset)
{
	CHECK((uintptr_t)bytes % DISK_BLOCK_BYTES == 0 && offset % DISK_BLOCK_BYTES == 0);
	int flags = fcntl(file->fd, F_GETFL), result = -EINVAL;
	if (flags >= 0 && fcntl(file->fd, F_SETFL, flags | O_DIRECT) == 0)
		result = read_direct(file->fd, bytes, length, offset);
	if (result != -EINVAL)
		return result;
	/* A file system in memory has no other copy; one with larger blocks has its own reasons. */
	(void)fcntl(file->fd, F_SETFL, flags & ~O_DIRECT);
	return disk_read_now(file, bytes, length, offset);
}

int disk_file_zero(struct disk_file *file, uint64_t offset, uint64_t length)
{
	int result = write_zeroes(file, offset, length);
	return result < 0 ? result : disk_sync_now(file);
}

int disk_file_punch(struct disk_file *file, uint64_t offset, uint64_t length)
{
	if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		    (off_t)length) < 0)
		return -errno;
	return 0;
}

int disk_make_directory(const char *path)
{
	if (mkdir(path, 0770) < 0)
		return errno == EEXIST ? 0 : -errno;
	int result = sync_parent(path);
	if (result < 0)
		rmdir(path);
	return result;
}

static int is_proper_entry(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

int disk_list_directory(const char *path, void (*fn)(void *arg, const char *name), void *arg)
{
	struct dirent **entries;
	int count = scandir(path, &entries, is_proper_entry, alphasort);
	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		fn(arg, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

int disk_remove_file(const char *path)
{
	if (unlink(path) < 0)
		return -errno;
	return sync_parent(path);
}

int disk_remove_directory(const char *path)
{
	if (rmdir(path) < 0)
		return -errno;
	return sync_parent(path);
}

int64_t disk_space_free(const char *path)
{
	struct statvfs disk;
	if (statvfs(path, &disk) < 0)
		return -errno;
	return (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
}

int disk_rename(const char *from, const char *to)
{
	if (rename(from, to) < 0)
		return -errno;
	return sync_parent(to);
}

struct disk_lock {
	int fd;
};

int disk_lock_take(const char *path, struct disk_lock **lock_out)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0660);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int result = errno == EWOULDBLOCK ? -EAGAIN : -errno;
		close(fd);
		return result;
	}
	*lock_out = mem_alloc(sizeof(**lock_out));
	(*lock_out)->fd = fd;
	return 0;
}

bool disk_lock_is_at(const struct disk_lock *lock, const char *path)
{
	struct stat named, held;
	if (stat(path, &named) < 0) /* what else is wrong there says nothing of where it is */
		return errno != ENOENT && errno != ENOTDIR;
	return fstat(lock->fd, &held) < 0 ||
		(named.st_dev == held.st_dev && named.st_ino == held.st_ino);
}

void disk_lock_release(struct disk_lock **lock)
{
	if (*lock == NULL)
		return;
	close((*lock)->fd);
	free(*lock);
	*lock = NULL;
}
