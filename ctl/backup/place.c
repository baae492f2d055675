#include "ctl/backup/place.h"

#include "core/disk.h"
#include "core/loop.h"
#include "spool/copy_number.h"
#include "spool/log_reader.h"
#include "spool/log_state.h"
#include "spool/volume_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

static void on_name(void *arg, const char *name)
{
	struct buf *names = arg;
	buf_append(names, name, strlen(name) + 1);
}

/* With each file of a folder that holds no folders. */
static int each_file(const char *folder, int (*run)(const char *path, void *arg), void *arg)
{
	struct buf names = { 0 }, path = { 0 };
	int result = disk_list_directory(folder, on_name, &names);
	struct str all = buf_str(&names);
	for (size_t at = 0; result == 0 && at < all.length; at += strlen(all.bytes + at) + 1) {
		buf_clear(&path);
		buf_printf(&path, "%s/%s", folder, all.bytes + at);
		result = run(buf_terminated(&path), arg);
	}
	buf_deinit(&path);
	buf_deinit(&names);
	return result;
}

static int remove_file(const char *path, void *arg)
{
	(void)arg;
	return disk_remove_file(path);
}

static int remove_folder(const char *folder)
{
	struct stat status;
	if (stat(folder, &status) < 0 && errno == ENOENT)
		return 0;
	int result = each_file(folder, remove_file, NULL);
	return result == 0 ? disk_remove_directory(folder) : result;
}

struct giving {
	int folder;
	struct stat owner;
};

/* Within the folder that is open: who may write there may put a link to anything in the way. */
static int give(const char *path, void *arg)
{
	const struct giving *giving = arg;
	const char *name = strrchr(path, '/') + 1;
	return fchownat(giving->folder, name, giving->owner.st_uid, giving->owner.st_gid,
		       AT_SYMLINK_NOFOLLOW) < 0
		? -errno
		: 0;
}

/* Whoever runs this is not always who runs the daemons. */
static int give_to_owner_of(const char *above, const char *folder)
{
	struct giving giving;
	if (geteuid() != 0)
		return 0;
	if (stat(above, &giving.owner) < 0)
		return -errno;
	/* The folder itself may be a link that an administrator has made. */
	int links = above == folder ? 0 : O_NOFOLLOW;
	giving.folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | links);
	if (giving.folder < 0)
		return -errno;
	int result = each_file(folder, give, &giving);
	if (result == 0 && fchown(giving.folder, giving.owner.st_uid, giving.owner.st_gid) < 0)
		result = -errno;
	close(giving.folder);
	return result;
}

/* ---- the place ---- */

/* On a machine that is new there is no folder for volumes yet. */
static int make_volumes(struct place *place)
{
	const char *volumes = buf_terminated(&place->volumes);
	struct stat status;
	if (stat(volumes, &status) == 0)
		return 0;
	int result = disk_make_directory(place->config->data_dir);
	if (result == 0)
		result = disk_make_directory(volumes);
	return result == 0 ? give_to_owner_of(place->config->data_dir, volumes) : result;
}

static int take_lock(struct place *place)
{
	struct buf path = { 0 };
	buf_printf(&path, STR_FORMAT "/lock", STR_ARG(buf_str(&place->log)));
	int result = disk_lock_take(buf_terminated(&path), &place->lock);
	buf_deinit(&path);
	return result;
}

static int take(struct place *place)
{
	struct stat status;
	int result = make_volumes(place);
	place->was_there = stat(buf_terminated(&place->log), &status) == 0;
	if (result == 0)
		result = disk_make_directory(buf_terminated(&place->log));
	if (result == 0)
		result = take_lock(place);
	place->is_made = result == 0 && !place->was_there;
	return result;
}

int place_open(
	struct place *place, const struct config *config, uint32_t volume_id, struct error *error)
{
	*place = (struct place){ .volume_id = volume_id, .config = config };
	buf_printf(&place->volumes, "%s/volumes", config->data_dir);
	buf_printf(&place->log, "%s/volumes/%u", config->data_dir, volume_id);
	buf_printf(&place->unpacked, "%s/volumes/restoring-%u", config->data_dir, volume_id);
	place->loop = loop_create();
	int result = disk_create(place->loop, IO_BACKEND_AUTO, &place->disk, error);
	if (result < 0)
		return result;
	result = take(place);
	if (result == -EAGAIN)
		return error_set(error, result,
			"pando-node or pando-replicator has it open here: stop both first");
	return result == 0
		? 0
		: error_set(error, result, "%s: %s: run it as an account that may write there",
			  buf_terminated(&place->log), strerror(-result));
}

void place_close(struct place *place)
{
	if (place->is_made)
		(void)!remove_folder(buf_terminated(&place->log));
	if (place->lock != NULL && !place->is_placed)
		(void)!remove_folder(buf_terminated(&place->unpacked));
	disk_lock_release(&place->lock);
	disk_destroy(&place->disk);
	loop_destroy(&place->loop);
	buf_deinit(&place->volumes);
	buf_deinit(&place->log);
	buf_deinit(&place->unpacked);
	buf_deinit(&place->aside);
}

/* ---- what stands there ---- */

static bool has_chain(struct place *place, struct volume_log *log, uint64_t to, uint64_t chain)
{
	struct log_reader *reader;
	uint64_t end = volume_log_end(log), here;
	if (end <= to)
		return end == to && volume_log_chain(log) == chain;
	if (log_reader_open(
		    place->disk, buf_terminated(&place->log), place->volume_id, &reader) < 0)
		return false;
	int result = log_reader_chain(reader, to, end, &here);
	log_reader_close(&reader);
	return result == 0 && here == chain;
}

static int look_at_log(
	struct place *place, uint64_t to, uint64_t chain, uint64_t *end_out, struct error *error)
{
	struct volume_log *log = NULL;
	int result = volume_log_open(place->loop, place->disk, buf_terminated(&place->log),
		place->volume_id, &(struct log_told){ 0 }, &log, NULL, error);
	if (result == 0) {
		*end_out = volume_log_end(log);
		result = has_chain(place, log, to, chain) ? 0 : -ENODATA;
	} else if (result == -EUCLEAN || result == -EPROTONOSUPPORT) {
		result = -ENODATA;
	}
	volume_log_close(&log);
	return result;
}

int place_judge(
	struct place *place, uint64_t to, uint64_t chain, uint64_t *end_out, struct error *error)
{
	const char *folder = buf_terminated(&place->log);
	if (!place->was_there)
		return -ENODATA;
	/* Whoever opens a log takes its lock himself. */
	disk_lock_release(&place->lock);
	int result = look_at_log(place, to, chain, end_out, error);
	int locked = take_lock(place);
	if (locked < 0)
		return error_set(error, locked,
			"pando-node or pando-replicator has it open here: stop both first");
	/* Opening it may have written in it. */
	int given = give_to_owner_of(folder, folder);
	if (given < 0)
		return error_set(error, given,
			"what was written in %s cannot be given to its owner (%s): see `ls -l` "
			"there before the daemons are started",
			folder, strerror(-given));
	return result;
}

int place_clear(struct place *place, struct error *error)
{
	const char *folder = buf_terminated(&place->unpacked);
	int result = remove_folder(folder);
	return result == 0
		? 0
		: error_set(error, result, "%s is in the way: %s", folder, strerror(-result));
}

int place_read_last(struct place *place, struct epoch_entry *last_out, struct error *error)
{
	const char *folder = buf_terminated(&place->unpacked);
	struct log_state state;
	int result = log_state_read(place->disk, folder, &state);
	if (result < 0)
		return error_set(error, result, "%s: %s", folder, strerror(-result));
	const struct epoch_entry *last = epochs_last(&state.epochs);
	if (last != NULL)
		*last_out = *last;
	else
		result = error_set(error, -EUCLEAN, "%s: it was begun by nobody", folder);
	log_state_deinit(&state);
	return result;
}

/* ---- taking it ---- */

/* What the machine remembers of the log that it had (core/witness.h), and its index: both are made
 * anew. */
static int forget_other_log(const struct place *place)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	struct buf path = { 0 };
	int result = 0;
	for (unsigned i = 0; result == 0 && i < array_length(suffixes); i++) {
		buf_clear(&path);
		buf_printf(&path, "%s/index/%u.sqlite%s", place->config->data_dir, place->volume_id,
			suffixes[i]);
		if (unlink(buf_terminated(&path)) < 0 && errno != ENOENT)
			result = -errno;
	}
	buf_clear(&path);
	buf_printf(&path, "%s/node/%u", place->config->run_dir, place->volume_id);
	if (result == 0 && unlink(buf_terminated(&path)) < 0 && errno != ENOENT)
		result = -errno;
	buf_deinit(&path);
	return result;
}

int place_set_aside(struct place *place, struct error *error)
{
	const char *log = buf_terminated(&place->log);
	uint64_t number = 0;
	int result = forget_other_log(place);
	if (result == 0 && place->was_there)
		result = copy_number_read(place->disk, log, &number);
	if (result == 0 && place->was_there)
		result = copy_number_set_aside(log, buf_terminated(&place->volumes),
			place->volume_id, number, &place->aside);
	else if (result == 0)
		result = remove_folder(log);
	/* What stands there from now on is a daemon's, or the restored log. */
	if (result == 0)
		place->is_made = false;
	if (result < 0)
		buf_clear(&place->aside);
	return result == 0 ? 0 : error_set(error, result, "%s: %s", log, strerror(-result));
}

int place_put_back(struct place *place, struct error *error)
{
	const char *aside = buf_terminated(&place->aside), *log = buf_terminated(&place->log);
	if (buf_length(&place->aside) == 0)
		return 0;
	int result = disk_rename(aside, log);
	if (result < 0)
		return error_set(error, result,
			"what stood in %s stays in %s (%s): rename it back before the daemons are "
			"started",
			log, aside, strerror(-result));
	buf_clear(&place->aside);
	return 0;
}

int place_take(struct place *place, uint64_t copy_number, struct error *error)
{
	const char *unpacked = buf_terminated(&place->unpacked);
	int result = copy_number_write(place->disk, unpacked, copy_number);
	if (result == 0 && chmod(unpacked, 0750) < 0)
		result = -errno;
	if (result == 0)
		result = give_to_owner_of(buf_terminated(&place->volumes), unpacked);
	if (result == 0)
		result = disk_rename(unpacked, buf_terminated(&place->log));
	place->is_placed = result == 0;
	return result == 0 ? 0 : error_set(error, result, "%s", strerror(-result));
}
