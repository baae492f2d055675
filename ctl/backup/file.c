#include "ctl/backup/file.h"

#include "core/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Large enough for a disk or a network file system to be read in one go. */
enum { READ_BYTES = 1 << 20 };

static int fail(struct error *error, const char *path, const char *what)
{
	int code = -errno;
	return error_set(error, code, "%s cannot be %s: %s", path, what, strerror(-code));
}

int file_make(const char *path, int *descriptor_out, struct error *error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return error_set(error, -EEXIST,
			"%s is there already: it is never replaced, name another file or move it "
			"away",
			path);
	if (fd < 0)
		return fail(error, path, "made");
	*descriptor_out = fd;
	return 0;
}

int file_append(int descriptor, const char *path, struct str bytes, struct error *error)
{
	while (bytes.length > 0) {
		ssize_t written = write(descriptor, bytes.bytes, bytes.length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return fail(error, path, "written");
		bytes = str_from_index(bytes, (size_t)written);
	}
	return 0;
}

bool folder_try_lock(int descriptor)
{
	return flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

void folder_of(const char *path, struct buf *out)
{
	struct str whole = str_from(path);
	ptrdiff_t slash = str_find_last_byte(whole, '/');
	buf_append_str(out,
		slash > 0            ? str_first(whole, (size_t)slash)
			: slash == 0 ? STR("/")
				     : STR("."));
}

int folder_sync(const char *path, struct error *error)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code = 0;
	/* Some file systems of networks make names durable by themselves, and say so like this. */
	if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
		code = fail(error, path, "made durable");
	if (fd >= 0)
		close(fd);
	return code;
}

int file_finish(int descriptor, const char *path, struct error *error)
{
	struct buf folder = { 0 };
	int code = fsync(descriptor) == 0 ? 0 : fail(error, path, "made durable");
	/* NFS says only here that a disk was full. */
	if (close(descriptor) != 0 && code == 0)
		code = fail(error, path, "written");
	folder_of(path, &folder);
	if (code == 0)
		code = folder_sync(buf_terminated(&folder), error);
	buf_deinit(&folder);
	return code;
}

int file_write(const char *path, struct str bytes, struct error *error)
{
	int fd, code = file_make(path, &fd, error);
	if (code < 0)
		return code;
	code = file_append(fd, path, bytes, error);
	if (code < 0) {
		close(fd);
		return code;
	}
	return file_finish(fd, path, error);
}

int file_open(const char *path, int *descriptor_out, uint64_t *bytes_out, struct error *error)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return fail(error, path, "opened");
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		return error_set(error, -EUCLEAN, "%s is no regular file", path);
	}
	*descriptor_out = fd;
	*bytes_out = (uint64_t)status.st_size;
	return 0;
}

int file_read(int descriptor, const char *path, void *to, size_t size, size_t *read_out,
	struct error *error)
{
	size_t done = 0;
	while (done < size) {
		ssize_t got = read(descriptor, (char *)to + done, size - done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(error, path, "read");
		if (got == 0)
			break;
		done += (size_t)got;
	}
	*read_out = done;
	return 0;
}

int file_read_whole(const char *path, size_t bytes_max, struct pool *pool, struct str *bytes_out,
	struct error *error)
{
	uint64_t bytes;
	size_t read;
	int fd, code = file_open(path, &fd, &bytes, error);
	if (code < 0)
		return code;
	if (bytes > bytes_max) {
		close(fd);
		return error_set(error, -EUCLEAN,
			"%s has %llu bytes: more than the %zu that one can have", path,
			(unsigned long long)bytes, bytes_max);
	}
	char *to = pool_alloc(pool, (size_t)bytes + 1);
	code = file_read(fd, path, to, (size_t)bytes, &read, error);
	close(fd);
	if (code == 0)
		*bytes_out = str_of(to, read);
	return code;
}

int file_digest(const char *path, bool (*on_read)(void *arg, size_t bytes), void *arg,
	struct sealed *sealed_out, struct error *error)
{
	uint64_t bytes;
	size_t read = 0;
	int fd, code = file_open(path, &fd, &bytes, error);
	if (code < 0)
		return code;
	struct sha256_run *run = sha256_begin();
	char *part = mem_alloc(READ_BYTES);
	*sealed_out = (struct sealed){ 0 };
	do {
		code = file_read(fd, path, part, READ_BYTES, &read, error);
		if (code < 0)
			break;
		sha256_add(run, str_of(part, read));
		sealed_out->bytes += read;
		if (on_read && !on_read(arg, read))
			code = error_set(error, -EINTR, "%s was not read to its end", path);
	} while (code == 0 && read == READ_BYTES);
	sha256_end(&run, sealed_out->sha256);
	free(part);
	close(fd);
	return code;
}
