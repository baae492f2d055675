#include "core/disk.h"

#include "unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Leaves room for `more` descriptors, and tells what to set back. */
static struct rlimit leave_descriptors(int more)
{
	struct rlimit before;
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	EXPECT(next >= 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
	close(next);
	struct rlimit few = { (rlim_t)(next + more), before.rlim_max };
	EXPECT_INT(0, setrlimit(RLIMIT_NOFILE, &few));
	return before;
}

TEST(a_file_or_folder_whose_name_could_not_be_made_durable_is_not_there)
{
	char folder[] = "/tmp/pando-disk-XXXXXX", path[64];
	struct disk_file *file;
	EXPECT(mkdtemp(folder) != NULL);
	snprintf(path, sizeof(path), "%s/file", folder);
	/* The last one is the file's own. */
	struct rlimit before = leave_descriptors(1);
	EXPECT_INT(-EMFILE, disk_file_open(NULL, path, true, &file));
	EXPECT_INT(0, setrlimit(RLIMIT_NOFILE, &before));
	EXPECT(access(path, F_OK) < 0 && errno == ENOENT);
	before = leave_descriptors(0);
	EXPECT_INT(-EMFILE, disk_make_directory(path));
	EXPECT_INT(0, setrlimit(RLIMIT_NOFILE, &before));
	EXPECT(access(path, F_OK) < 0 && errno == ENOENT);
	EXPECT_INT(0, disk_file_open(NULL, path, true, &file));
	disk_file_close(&file);
	EXPECT_INT(0, unlink(path));
	EXPECT_INT(0, rmdir(folder));
}
