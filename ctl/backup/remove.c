#include "ctl/backup/remove.h"

#include "ctl/backup/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(struct error *error, const char *folder, const char *what)
{
	int code = -errno;
	return error_set(error, code, "%s cannot be %s: %s", folder, what, strerror(-code));
}

static bool is_of_a_backup(const char *name, const struct stat *status)
{
	return S_ISREG(status->st_mode) &&
		(strcmp(name, MANIFEST_FILE) == 0 || strcmp(name, SUMS_FILE) == 0 ||
			str_ends_with(str_from(name), STR(SEALED_SUFFIX)));
}

/* A name that leads elsewhere is no set's folder: what it leads to is not looked at. */
static int open_folder(int target, const char *name, DIR **list_out, struct error *error)
{
	int fd = openat(target, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return error_set(error, -ENOTDIR,
			"%s is no folder, but leads elsewhere: it stays as it is", name);
	*list_out = fd >= 0 ? fdopendir(fd) : NULL;
	if (*list_out)
		return 0;
	int code = fail(error, name, "read");
	if (fd >= 0)
		close(fd);
	return code;
}

/* Calls fn for each file; the first negative result is the answer. */
static int each_file(DIR *list, const char *folder,
	int (*fn)(void *arg, int folder_fd, const char *name, const struct stat *status), void *arg,
	struct error *error)
{
	struct stat status;
	int code = 0;
	rewinddir(list);
	errno = 0;
	for (struct dirent *entry; code == 0 && (entry = readdir(list)); errno = 0) {
		const char *name = entry->d_name;
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (fstatat(dirfd(list), name, &status, AT_SYMLINK_NOFOLLOW) != 0)
			code = fail(error, folder, "read");
		else if (!is_of_a_backup(name, &status))
			code = error_set(error, -ENOTEMPTY,
				"%s holds `%s`, which is not of a backup: it stays as it is",
				folder, name);
		else if (fn(arg, dirfd(list), name, &status) != 0)
			code = fail(error, folder, "removed");
	}
	if (code == 0 && errno != 0)
		code = fail(error, folder, "read");
	return code;
}

static int count_file(void *arg, int folder_fd, const char *name, const struct stat *status)
{
	struct removable *removable = arg;
	(void)folder_fd;
	(void)name;
	removable->bytes += (uint64_t)status->st_size;
	if (status->st_mtim.tv_sec > removable->written_s)
		removable->written_s = status->st_mtim.tv_sec;
	return 0;
}

static int look(DIR *list, const char *name, struct removable *removable_out, struct error *error)
{
	struct stat status;
	if (fstat(dirfd(list), &status) != 0)
		return fail(error, name, "read");
	*removable_out = (struct removable){ .written_s = status.st_mtim.tv_sec };
	return each_file(list, name, count_file, removable_out, error);
}

int backup_folder_look(
	int target, const char *name, struct removable *removable_out, struct error *error)
{
	DIR *list;
	int code = open_folder(target, name, &list, error);
	if (code < 0)
		return code;
	code = look(list, name, removable_out, error);
	closedir(list);
	return code;
}

static int remove_file(void *arg, int folder_fd, const char *name, const struct stat *status)
{
	(void)arg;
	(void)status;
	return unlinkat(folder_fd, name, 0);
}

int backup_folder_remove(int target, const char *name, struct error *error)
{
	struct removable removable;
	DIR *list;
	int code = open_folder(target, name, &list, error);
	if (code < 0)
		return code;
	code = look(list, name, &removable, error);
	if (code == 0 && unlinkat(dirfd(list), SUMS_FILE, 0) != 0 && errno != ENOENT)
		code = fail(error, name, "removed");
	/* Some file systems of networks make names durable by themselves, and say so like this. */
	if (code == 0 && fsync(dirfd(list)) != 0 && errno != EINVAL)
		code = fail(error, name, "made durable");
	if (code == 0)
		code = each_file(list, name, remove_file, NULL, error);
	/* By its name: where that is another folder by now, or a link, it is not empty or none. */
	if (code == 0 && unlinkat(target, name, AT_REMOVEDIR) != 0)
		code = fail(error, name, "removed");
	closedir(list);
	return code;
}
