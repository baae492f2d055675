#include "ctl/backup/unpack.h"

#include "ctl/backup/file.h"
#include "ctl/backup/volume_file.h"
#include "spool/volume_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	/* The files beside the segments: each is a few blocks, and the epoch vector 48 KiB. */
	BESIDE_BYTES = 1 << 20,
};

/* The last segment is filled up, and the next one begun, before they are needed. */
uint64_t unpack_room(uint64_t to)
{
	return (segment_of(to) + 2) * segment_length + BESIDE_BYTES;
}

/* ---- the folder ---- */

static void on_entry(void *arg, const char *name)
{
	unsigned *count = arg;
	(void)name;
	(*count)++;
}

/* Makes it, or sees that it is empty; the log in it is nobody else's to read. */
static int take_folder(const char *folder, uint64_t room, struct error *error)
{
	unsigned count = 0;
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		return error_set(error, -errno, "cannot make %s: %s", folder, strerror(errno));
	int result = disk_list_directory(folder, on_entry, &count);
	if (result < 0)
		return error_set(error, result, "cannot read %s: %s", folder, strerror(-result));
	if (count > 0)
		return error_set(error, -ENOTEMPTY,
			"%s is not empty: a log is unpacked into a folder of its own", folder);
	int64_t space = disk_space_free(folder);
	if (space < 0)
		return error_set(error, (int)space, "cannot see how much room %s has: %s", folder,
			strerror((int)-space));
	if ((uint64_t)space < room)
		return error_set(error, -ENOSPC,
			"%s has room for %llu MiB, and what is to be unpacked takes up to %llu "
			"MiB: make room, or name another folder",
			folder, (unsigned long long)space >> 20,
			(unsigned long long)(room + (1 << 20) - 1) >> 20);
	return 0;
}

/* ---- the log ---- */

struct unpacking {
	struct loop *loop;
	struct disk *disk;
	struct volume_log *log;
	struct volume_source *source;
	const struct backup_volume *volume; /* of the last set */
	const char *folder;
	unpack_progress *progress;
	void *arg;
};

static void on_received(struct volume_receive *receive)
{
	struct unpacking *unpacking = receive->arg;
	loop_stop(unpacking->loop);
}

/* One write after the other: each takes as many of the groups as may be torn together. */
static int receive_groups(
	struct unpacking *unpacking, struct bytes *bytes, uint64_t lsn, struct error *error)
{
	for (size_t done = 0; done < bytes->length;) {
		struct volume_receive receive = { .bytes = bytes,
			.lsn = lsn + done,
			.offset = done,
			.length = bytes->length - done,
			.epoch_max = EPOCH_MAX,
			.done = on_received,
			.arg = unpacking };
		volume_log_receive(unpacking->log, &receive);
		loop_run(unpacking->loop);
		if (receive.status == -EINVAL || receive.status == -EBADMSG ||
			receive.status == -EXDEV)
			return error_set(error, -EUCLEAN,
				"what the backup has of volume %s at address %llu does not follow "
				"what it has before",
				unpacking->volume->name, (unsigned long long)receive.lsn);
		if (receive.status < 0)
			return error_set(error, receive.status, "cannot write in %s: %s",
				unpacking->folder, strerror(-receive.status));
		done += receive.length;
	}
	return 0;
}

static int receive_all(struct unpacking *unpacking, struct error *error)
{
	struct bytes *bytes = NULL;
	uint64_t lsn;
	int result;
	while ((result = volume_source_next(unpacking->source, &bytes, &lsn, error)) == 0) {
		result = receive_groups(unpacking, bytes, lsn, error);
		bytes_unref(&bytes);
		if (result < 0)
			return result;
		if (unpacking->progress &&
			!unpacking->progress(unpacking->arg, volume_log_end(unpacking->log),
				unpacking->volume->to))
			return error_set(error, -EINTR,
				"the log of volume %s was not unpacked to its end",
				unpacking->volume->name);
	}
	if (result != -ENODATA)
		return result;
	/* The source says so of what it gave, the engine of what it has. */
	CHECK(volume_log_chain(unpacking->log) == unpacking->volume->to_chain);
	return 0;
}

static int open_all(struct unpacking *unpacking, struct backup_set *const *chain, unsigned count,
	const struct backup_secret *secret, struct error *error)
{
	uint32_t volume_id = unpacking->volume->id;
	int result = take_folder(unpacking->folder, unpack_room(unpacking->volume->to), error);
	if (result == 0)
		result = volume_source_open(
			chain, count, volume_id, secret, &unpacking->source, error);
	if (result == 0)
		result = disk_create(unpacking->loop, IO_BACKEND_AUTO, &unpacking->disk, error);
	if (result == 0)
		result = volume_log_open(unpacking->loop, unpacking->disk, unpacking->folder,
			volume_id, &(struct log_told){ 0 }, &unpacking->log, NULL, error);
	return result;
}

int unpack_volume(struct backup_set *const *chain, unsigned count, uint32_t volume_id,
	const struct backup_secret *secret, const char *folder, unpack_progress *progress,
	void *arg, struct error *error)
{
	const struct backup_set *last = count > 0 ? chain[count - 1] : NULL;
	struct unpacking unpacking = { .volume = last ? backup_set_volume(last, volume_id) : NULL,
		.folder = folder,
		.progress = progress,
		.arg = arg };
	if (!unpacking.volume)
		return error_set(error, -ENOENT, "the set %s has no volume %u",
			last ? last->name : "", volume_id);
	unpacking.loop = loop_create();
	int result = open_all(&unpacking, chain, count, secret, error);
	if (result == 0)
		result = receive_all(&unpacking, error);
	volume_log_close(&unpacking.log);
	disk_destroy(&unpacking.disk);
	loop_destroy(&unpacking.loop);
	volume_source_close(&unpacking.source);
	return result;
}

/* ---- the directory ---- */

static int write_whole(int file, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t written = write(file, bytes, length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		bytes += written;
		length -= (size_t)written;
	}
	return 0;
}

static int copy_out(struct seal_reader *reader, int file, const char *path, struct error *error)
{
	char *piece = mem_alloc(SEAL_PIECE_BYTES);
	size_t length = SEAL_PIECE_BYTES;
	int result = 0;
	while (result == 0 && length == SEAL_PIECE_BYTES) {
		result = seal_read(reader, piece, SEAL_PIECE_BYTES, &length, error);
		if (result < 0)
			break;
		result = write_whole(file, piece, length);
		if (result < 0)
			error_set(error, result, "cannot write %s: %s", path, strerror(-result));
	}
	free(piece);
	if (result == 0 && fsync(file) < 0)
		result = error_set(error, -errno, "cannot write %s: %s", path, strerror(errno));
	return result;
}

/* A log names what it follows, a directory does not: one of another set opens with the same key. */
static int check_digest(const char *path, const struct sealed *expected, struct error *error)
{
	struct sealed found;
	int result = file_digest(path, NULL, NULL, &found, error);
	if (result < 0 ||
		(found.bytes == expected->bytes &&
			memcmp(found.sha256, expected->sha256, SEAL_SHA256_LENGTH) == 0))
		return result;
	return error_set(error, -EUCLEAN, "%s is not the one that its set's manifest names", path);
}

int unpack_directory(const struct backup_set *set, const struct backup_secret *secret,
	const char *path, struct error *error)
{
	struct seal_reader *reader = NULL;
	struct buf sealed = { 0 };
	buf_printf(&sealed, "%s/%s", set->folder, set->directory.name);
	int result = check_digest(buf_terminated(&sealed), &set->directory.sealed, error);
	if (result == 0)
		result = seal_open(buf_terminated(&sealed), secret, &reader, error);
	buf_deinit(&sealed);
	if (result < 0)
		return result;
	int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file < 0)
		result = error_set(error, -errno, "cannot make %s: %s", path, strerror(errno));
	else
		result = copy_out(reader, file, path, error);
	if (file >= 0)
		close(file);
	seal_close(&reader);
	return result;
}
