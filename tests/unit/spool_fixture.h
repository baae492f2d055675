#ifndef PANDO_TESTS_UNIT_SPOOL_FIXTURE_H
#define PANDO_TESTS_UNIT_SPOOL_FIXTURE_H

/* A log in a directory of its own, for the tests of spool/. Each program includes it once. */

#include "core/log.h"
#include "core/rand.h"
#include "core/timer.h"
#include "spool/log_reader.h"
#include "spool/log_state.h"
#include "spool/volume_log.h"
#include "unit/test.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t reign_one[GROUP_REIGN_LENGTH] = "reign one.......";
static const uint8_t reign_two[GROUP_REIGN_LENGTH] = "reign two.......";

/* The calls by which core/disk changes a disk pass through here: a test may be killed in front of
 * any (or in the middle of a group's write), and a disk may fail. */
static int kill_at = -1;
static bool disk_fails;

static inline void *next_call(const char *name)
{
	if (kill_at >= 0 && kill_at-- == 0)
		raise(SIGKILL);
	return dlsym(RTLD_NEXT, name);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset)
{
	ssize_t (*next)(int, const void *, size_t, off_t) =
		(ssize_t(*)(int, const void *, size_t, off_t))next_call("pwrite64");
	return next(fd, bytes, length, offset);
}

ssize_t pwritev64v2(int fd, const struct iovec *vectors, int count, off_t offset, int flags)
{
	if (kill_at == 0)
		(void)!pwritev(fd, vectors, (count + 1) / 2, offset);
	ssize_t (*next)(int, const struct iovec *, int, off_t, int) =
		(ssize_t(*)(int, const struct iovec *, int, off_t, int))next_call("pwritev64v2");
	ssize_t written = next(fd, vectors, count, offset, flags);
	if (!disk_fails)
		return written;
	errno = EIO;
	return -1;
}

/* How often memory was told to forget a file. */
static unsigned cache_drops;

int posix_fadvise64(int fd, off_t offset, off_t length, int advice)
{
	cache_drops += advice == POSIX_FADV_DONTNEED;
	return ((int (*)(int, off_t, off_t, int))next_call("posix_fadvise64"))(
		fd, offset, length, advice);
}

int ftruncate64(int fd, off_t length)
{
	return ((int (*)(int, off_t))next_call("ftruncate64"))(fd, length);
}

int fsync(int fd)
{
	return ((int (*)(int))next_call("fsync"))(fd);
}

/* How often a segment was made durable as a whole. */
static unsigned segment_syncs;

int fdatasync(int fd)
{
	char link[32], path[128] = "";
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	(void)!readlink(link, path, sizeof(path) - 1);
	segment_syncs += str_ends_with(str_from(path), STR(".log"));
	return ((int (*)(int))next_call("fdatasync"))(fd);
}

int unlink(const char *path)
{
	return ((int (*)(const char *))next_call("unlink"))(path);
}

int rename(const char *from, const char *to)
{
	return ((int (*)(const char *, const char *))next_call("rename"))(from, to);
}

struct fixture {
	struct loop *loop;
	struct disk *disk;
	struct volume_log *log;
	char directory[64];
	int status;
	unsigned waiting;
	uint64_t epoch_max; /* of what is received */
};

static inline void setup(struct fixture *f)
{
	struct error error;
	*f = (struct fixture){ .loop = loop_create(), .epoch_max = EPOCH_MAX };
	snprintf(f->directory, sizeof(f->directory), "/tmp/pando-spool-XXXXXX");
	EXPECT(mkdtemp(f->directory) != NULL);
	/* meson.build runs this program once for each backend. */
	const char *backend = getenv("PANDO_TEST_IO_BACKEND");
	bool posix = backend != NULL && strcmp(backend, "posix") == 0;
	EXPECT_INT(0,
		disk_create(f->loop, posix ? IO_BACKEND_POSIX : IO_BACKEND_AUTO, &f->disk, &error));
}

static inline int reopen(struct fixture *f, struct error *error)
{
	volume_log_close(&f->log);
	return volume_log_open(
		f->loop, f->disk, f->directory, 7, &(struct log_told){ 0 }, &f->log, NULL, error);
}

static inline void on_repair(
	void *arg, int status, struct volume_log *log, const struct error *error)
{
	struct fixture *f = arg;
	f->status = status;
	f->log = log;
	EXPECT(status == 0 || error->text[0] != '\0');
	loop_stop(f->loop);
}

/* Opened at its damage, when that was closed. */
static inline int repair(struct fixture *f, bool passes_over)
{
	volume_log_close(&f->log);
	volume_log_repair(f->loop, f->disk, f->directory, 7,
		&(struct log_told){ .passes_over = passes_over }, on_repair, f);
	EXPECT(f->log == NULL);
	loop_run(f->loop);
	return f->status;
}

static inline void teardown(struct fixture *f)
{
	char command[128];
	volume_log_close(&f->log);
	disk_destroy(&f->disk);
	loop_destroy(&f->loop);
	snprintf(command, sizeof(command), "rm -r %s", f->directory);
	EXPECT_INT(0, system(command));
}

static inline void on_reign(void *arg, int status)
{
	struct fixture *f = arg;
	f->status = status;
	loop_stop(f->loop);
}

static inline int reign_as(
	struct fixture *f, uint64_t epoch, const uint8_t *id, uint64_t incarnation)
{
	struct epoch_entry opening = { .epoch = epoch, .incarnation = incarnation };
	memcpy(opening.reign, id, sizeof(opening.reign));
	volume_log_reign(f->log, &opening, on_reign, f);
	loop_run(f->loop);
	return f->status;
}

static inline int reign(struct fixture *f, uint64_t epoch, const uint8_t *id)
{
	return reign_as(f, epoch, id, rand_u64());
}

static inline int cut(struct fixture *f, uint64_t lsn)
{
	volume_log_cut(f->log, lsn, on_reign, f);
	loop_run(f->loop);
	return f->status;
}

static inline void on_appended(struct volume_append *append)
{
	struct fixture *f = append->arg;
	f->status = append->status;
	if (--f->waiting == 0)
		loop_stop(f->loop);
}

enum { APPENDS_MAX = 600 };
static struct volume_append appends[APPENDS_MAX];

static inline int append(struct fixture *f, unsigned count, struct str body)
{
	f->waiting = count;
	for (unsigned i = 0; i < count; i++) {
		appends[i] =
			(struct volume_append){ .record_count = 2, .done = on_appended, .arg = f };
		appends[i].records[0] =
			(struct append_record){ .type = RECORD_MESSAGE, .head = body };
		appends[i].records[1] = (struct append_record){
			.type = RECORD_CHANGE, .head = STR("ch"), .tail = STR("ange")
		};
		volume_log_append(f->log, &appends[i]);
	}
	loop_run(f->loop);
	return f->status;
}

static inline void overwrite(
	struct fixture *f, const char *name, uint64_t offset, const char *bytes, size_t length)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", f->directory, name);
	int fd = open(path, O_WRONLY);
	EXPECT(pwrite(fd, bytes, length, (off_t)offset) == (ssize_t)length);
	close(fd);
}

/* Two bytes at an address of the log. */
static inline void damage(struct fixture *f, uint64_t lsn)
{
	char name[32];
	snprintf(name, sizeof(name), "%016llx.log", (unsigned long long)segment_of(lsn));
	overwrite(f, name, lsn % segment_length, "XX", 2);
}

static inline void remove_segment(struct fixture *f, unsigned segment)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%016x.log", f->directory, segment);
	EXPECT_INT(0, unlink(path));
}

/* Counts the records of a type from the start to the end of the log. */
static inline unsigned count_records(struct fixture *f, enum record_type type)
{
	struct log_reader *reader;
	uint64_t lsn = 0;
	unsigned count = 0;
	struct bytes *bytes;
	uint64_t at;
	EXPECT_INT(0, log_reader_open(f->disk, f->directory, 7, &reader));
	while (log_reader_next(reader, lsn, volume_log_end(f->log), 1 << 20, true, &bytes, &at,
		       &lsn) == 0) {
		struct str rest = bytes_str(bytes);
		struct group group;
		while (rest.length > 0 && group_verify(rest, at, 7, &group)) {
			struct record record;
			size_t position = GROUP_HEADER_LENGTH;
			while (group_next_record(&group, rest, &position, &record))
				count += record.type == type;
			at += group_padded(group.used);
			rest = str_from_index(rest, group_padded(group.used));
		}
		bytes_unref(&bytes);
	}
	log_reader_close(&reader);
	return count;
}

/* The machine loses its power: the mark of what was told last goes back to what the disk has of it,
 * here to nothing. */
static inline void cut_power(struct fixture *f)
{
	char path[128];
	volume_log_close(&f->log);
	snprintf(path, sizeof(path), "%s/told", f->directory);
	EXPECT_INT(0, unlink(path));
}

/* ---- a follower that receives what a leader wrote ---- */

static inline void on_received(struct volume_receive *receive)
{
	struct fixture *f = receive->arg;
	f->status = receive->status;
	loop_stop(f->loop);
}

static inline int receive(struct fixture *to, struct bytes *bytes, uint64_t lsn)
{
	struct volume_receive receive = { .bytes = bytes,
		.lsn = lsn,
		.length = bytes->length,
		.epoch_max = to->epoch_max,
		.done = on_received,
		.arg = to };
	volume_log_receive(to->log, &receive);
	loop_run(to->loop);
	return to->status;
}

static inline void ship_all(struct fixture *from, struct fixture *to)
{
	struct log_reader *reader;
	struct bytes *bytes;
	uint64_t at, next;
	EXPECT_INT(0, log_reader_open(from->disk, from->directory, 7, &reader));
	while (log_reader_next(reader, volume_log_end(to->log), volume_log_end(from->log), 64 << 10,
		       true, &bytes, &at, &next) == 0) {
		EXPECT_INT(0, receive(to, bytes, at));
		EXPECT(receive(to, bytes, at) < 0); /* replayed */
		bytes_unref(&bytes);
	}
	log_reader_close(&reader);
}

#endif
