#include "ctl/backup/scratch.h"

#include "core/buf.h"
#include "core/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME_PREFIX "pando-restore-"

struct scratch {
	char *path;
	pid_t keeper;
	int alive; /* our end of the pipe: the keeper sees it close */
	struct disk_lock *lock;
	const char *volatile along; /* scratch_take_along */
};

/* For the signal handler: the one that there is. */
static struct scratch *current;

/* ---- removing ---- */

/* Relative to a folder that is open, so that nothing that is put in the way leads elsewhere. The
 * first error; goes on with the rest. */
static int remove_at(int folder, const char *name)
{
	if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
		return 0;
	int inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *listing = inner >= 0 ? fdopendir(inner) : NULL;
	int result = listing ? 0 : -errno;
	if (!listing && inner >= 0)
		close(inner);
	for (struct dirent *entry; listing && (entry = readdir(listing)) != NULL;) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		int removed = remove_at(dirfd(listing), entry->d_name);
		result = result < 0 ? result : removed;
	}
	if (listing)
		closedir(listing);
	if (unlinkat(folder, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		result = result < 0 ? result : -errno;
	return result;
}

/* ---- who waits for the end ---- */

static void keep_watch(const char *path, int death)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	char byte;
	/* What ends the command is sent to all that a terminal runs. */
	for (size_t i = 0; i < array_length(ignored); i++)
		signal(ignored[i], SIG_IGN);
	/* Whoever reads the command's output waits for its end, not for ours. */
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		dup2(nothing, i);
	dup2(death, 3);
	close_range(4, ~0u, 0);
	while (read(3, &byte, 1) < 0 && errno == EINTR)
		;
	_exit(remove_at(AT_FDCWD, path) < 0 ? 1 : 0);
}

/* Only what may be called in a signal handler. */
static void end_scratch(const struct scratch *scratch)
{
	close(scratch->alive);
	while (waitpid(scratch->keeper, NULL, 0) < 0 && errno == EINTR)
		;
}

static void on_signal(int number)
{
	if (current) {
		if (current->along)
			unlink(current->along);
		end_scratch(current);
	}
	signal(number, SIG_DFL);
	raise(number);
}

static void set_signals(bool is_set)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
	for (size_t i = 0; i < array_length(numbers); i++) {
		struct sigaction action = { .sa_handler = is_set ? on_signal : SIG_DFL };
		sigfillset(&action.sa_mask);
		sigaction(numbers[i], &action, NULL);
	}
}

/* ---- those that were left behind ---- */

static void sweep_one(void *arg, const char *name)
{
	const char *dir = arg;
	struct buf path = { 0 }, lock_path = { 0 };
	struct disk_lock *lock = NULL;
	buf_printf(&path, "%s/%s", dir, name);
	buf_printf(&lock_path, "%s/lock", buf_terminated(&path));
	struct stat found;
	/* Others may write in the same place. One without the file is being made just now. */
	bool is_ours = strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) == 0 &&
		lstat(buf_terminated(&path), &found) == 0 && S_ISDIR(found.st_mode) &&
		found.st_uid == geteuid() && access(buf_terminated(&lock_path), W_OK) == 0 &&
		disk_lock_take(buf_terminated(&lock_path), &lock) == 0;
	if (is_ours)
		(void)!remove_at(AT_FDCWD, buf_terminated(&path));
	disk_lock_release(&lock);
	buf_deinit(&path);
	buf_deinit(&lock_path);
}

/* ---- the folder ---- */

/* The file has its name only once it is locked: whoever sweeps would else come in between. */
static int lock_folder(struct scratch *scratch)
{
	struct buf made = { 0 }, named = { 0 };
	buf_printf(&made, "%s/locking", scratch->path);
	buf_printf(&named, "%s/lock", scratch->path);
	int result = disk_lock_take(buf_terminated(&made), &scratch->lock);
	if (result == 0 && rename(buf_terminated(&made), buf_terminated(&named)) < 0)
		result = -errno;
	buf_deinit(&made);
	buf_deinit(&named);
	return result;
}

static int make_folder(struct scratch *scratch, const char *dir, struct error *error)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/" NAME_PREFIX "XXXXXX", dir);
	scratch->path = str_to_heap(buf_str(&path));
	buf_deinit(&path);
	return mkdtemp(scratch->path)
		? 0
		: error_set(error, -errno, "cannot make a folder in %s: %s", dir, strerror(errno));
}

static int start_keeper(struct scratch *scratch, struct error *error)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set(error, -errno, "no pipe can be made: %s", strerror(errno));
	/* What is waiting to be printed is printed once. */
	fflush(stdout);
	scratch->keeper = fork();
	if (scratch->keeper == 0) {
		close(ends[1]);
		keep_watch(scratch->path, ends[0]);
	}
	int reason = errno;
	close(ends[0]);
	scratch->alive = ends[1];
	if (scratch->keeper > 0)
		return 0;
	close(ends[1]);
	return error_set(error, -reason, "no process can be started: %s", strerror(reason));
}

int scratch_create(const char *dir, struct scratch **scratch_out, struct error *error)
{
	struct scratch *scratch = mem_alloc(sizeof(*scratch));
	CHECK(current == NULL);
	*scratch = (struct scratch){ 0 };
	*scratch_out = NULL;
	(void)!disk_list_directory(dir, sweep_one, (void *)(uintptr_t)dir);
	int result = make_folder(scratch, dir, error);
	if (result < 0) {
		free(scratch->path);
		free(scratch);
		return result;
	}
	result = start_keeper(scratch, error);
	if (result < 0) {
		rmdir(scratch->path);
		free(scratch->path);
		free(scratch);
		return result;
	}
	current = scratch;
	set_signals(true);
	result = lock_folder(scratch);
	if (result < 0) {
		error_set(
			error, result, "cannot write in %s: %s", scratch->path, strerror(-result));
		scratch_destroy(&scratch);
	}
	*scratch_out = scratch;
	return result;
}

const char *scratch_path(const struct scratch *scratch)
{
	return scratch->path;
}

void scratch_take_along(struct scratch *scratch, const char *path)
{
	scratch->along = path;
}

int scratch_remove(struct scratch *scratch, const char *name, struct error *error)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", scratch->path, name);
	int result = remove_at(AT_FDCWD, buf_terminated(&path));
	if (result < 0)
		error_set(error, result, "cannot remove %s: %s", buf_terminated(&path),
			strerror(-result));
	buf_deinit(&path);
	return result;
}

void scratch_destroy(struct scratch **scratch)
{
	struct scratch *gone = *scratch;
	*scratch = NULL;
	if (gone == NULL)
		return;
	set_signals(false);
	current = NULL;
	disk_lock_release(&gone->lock);
	end_scratch(gone);
	free(gone->path);
	free(gone);
}
