/* What is unpacked goes with the command, however that ends. */

#include "core/clock.h"
#include "ctl/backup/scratch.h"
#include "unit/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/pando-scratch-XXXXXX");
	EXPECT(mkdtemp(dir) != NULL);
}

static unsigned count_entries(void)
{
	unsigned count = 0;
	DIR *listing = opendir(dir);
	for (struct dirent *entry; listing && (entry = readdir(listing)) != NULL;)
		count += entry->d_name[0] != '.';
	if (listing)
		closedir(listing);
	return count;
}

static void fill(const struct scratch *scratch)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/volume", scratch_path(scratch));
	EXPECT_INT(0, mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/volume/a.log", scratch_path(scratch));
	int file = open(path, O_WRONLY | O_CREAT, 0600);
	EXPECT(file >= 0);
	close(file);
}

TEST(it_is_nobody_elses_and_goes_with_all_that_it_holds)
{
	struct scratch *scratch;
	struct error error;
	struct stat found;
	make_dir();
	EXPECT_INT(0, scratch_create(dir, &scratch, &error));
	EXPECT_INT(0, stat(scratch_path(scratch), &found));
	EXPECT_INT(0700, found.st_mode & 07777);
	fill(scratch);
	EXPECT_INT(0, scratch_remove(scratch, "volume", &error));
	EXPECT_INT(0, scratch_remove(scratch, "volume", &error));
	fill(scratch);
	scratch_destroy(&scratch);
	EXPECT(scratch == NULL);
	EXPECT_INT(0, rmdir(dir));
}

/* A file that is no part of it, and is the command's for now. */
static const char *make_along(void)
{
	static char path[96];
	snprintf(path, sizeof(path), "%s/report", dir);
	int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	EXPECT(file >= 0);
	close(file);
	return path;
}

/* In a process of its own, which then waits for its end. */
static pid_t start_command(const char *along)
{
	int ready[2];
	char byte;
	EXPECT_INT(0, pipe2(ready, O_CLOEXEC));
	pid_t command = fork();
	if (command == 0) {
		struct scratch *scratch;
		struct error error;
		if (scratch_create(dir, &scratch, &error) < 0)
			_exit(1);
		fill(scratch);
		scratch_take_along(scratch, along);
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	EXPECT_INT(1, read(ready[0], &byte, 1));
	close(ready[0]);
	close(ready[1]);
	return command;
}

TEST(it_is_gone_when_the_command_has_ended_by_a_signal)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	make_dir();
	for (size_t i = 0; i < array_length(signals); i++) {
		int status = 0;
		pid_t command = start_command(make_along());
		EXPECT_INT(2, count_entries());
		kill(command, signals[i]);
		waitpid(command, &status, 0);
		EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == signals[i]);
		EXPECT_INT(0, count_entries());
	}
	EXPECT_INT(0, rmdir(dir));
}

TEST(a_file_that_is_no_more_taken_along_stays)
{
	struct scratch *scratch;
	struct error error;
	make_dir();
	pid_t command = fork();
	if (command == 0) {
		if (scratch_create(dir, &scratch, &error) < 0)
			_exit(1);
		scratch_take_along(scratch, make_along());
		scratch_take_along(scratch, NULL);
		raise(SIGTERM);
	}
	waitpid(command, NULL, 0);
	EXPECT_INT(1, count_entries());
	char path[96];
	snprintf(path, sizeof(path), "%s/report", dir);
	EXPECT_INT(0, unlink(path));
	EXPECT_INT(0, rmdir(dir));
}

TEST(it_goes_soon_after_a_kill_that_nothing_can_be_done_about)
{
	make_dir();
	pid_t command = start_command(NULL);
	kill(command, SIGKILL);
	waitpid(command, NULL, 0);
	for (int i = 0; i < 500 && count_entries() > 0; i++)
		clock_sleep_ms(10);
	EXPECT_INT(0, count_entries());
	EXPECT_INT(0, rmdir(dir));
}

TEST(one_that_was_left_behind_goes_with_the_next_and_one_in_use_stays)
{
	struct scratch *scratch;
	struct error error;
	char left[128], path[160];
	make_dir();
	snprintf(left, sizeof(left), "%s/pando-restore-AbCdEf", dir);
	EXPECT_INT(0, mkdir(left, 0700));
	snprintf(path, sizeof(path), "%s/lock", left);
	int file = open(path, O_WRONLY | O_CREAT, 0600);
	EXPECT(file >= 0);
	close(file);
	snprintf(path, sizeof(path), "%s/somebody-elses", dir);
	EXPECT_INT(0, mkdir(path, 0700));
	pid_t command = start_command(NULL);
	EXPECT_INT(-1, access(left, F_OK));
	EXPECT_INT(0, scratch_create(dir, &scratch, &error));
	EXPECT_INT(3, count_entries());
	scratch_destroy(&scratch);
	EXPECT_INT(2, count_entries());
	kill(command, SIGTERM);
	waitpid(command, NULL, 0);
	EXPECT_INT(0, rmdir(path));
	EXPECT_INT(0, rmdir(dir));
}

/* Exits with 0 if every one was its own until it went. */
static pid_t start_many(void)
{
	enum { COUNT = 150 };
	pid_t command = fork();
	for (int i = 0; command == 0 && i < COUNT; i++) {
		struct scratch *scratch;
		struct error error;
		char path[256];
		if (scratch_create(dir, &scratch, &error) < 0)
			_exit(1);
		snprintf(path, sizeof(path), "%s/lock", scratch_path(scratch));
		if (access(path, F_OK) < 0)
			_exit(2);
		scratch_destroy(&scratch);
	}
	if (command == 0)
		_exit(0);
	return command;
}

TEST(those_that_are_made_at_one_time_do_not_remove_each_other)
{
	enum { COMMANDS = 6 };
	pid_t commands[COMMANDS];
	make_dir();
	for (int i = 0; i < COMMANDS; i++)
		commands[i] = start_many();
	for (int i = 0; i < COMMANDS; i++) {
		int status = 0;
		EXPECT_INT(commands[i], waitpid(commands[i], &status, 0));
		EXPECT_INT(0, status);
	}
	EXPECT_INT(0, count_entries());
	EXPECT_INT(0, rmdir(dir));
}

TEST(a_place_that_is_none_is_said_to_be)
{
	struct scratch *scratch;
	struct error error = { 0 };
	EXPECT_INT(-ENOENT, scratch_create("/nonexistent/place", &scratch, &error));
	EXPECT(scratch == NULL && error.text[0] != '\0');
}
