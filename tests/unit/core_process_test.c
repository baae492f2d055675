/* What a daemon does to its own process at start. */

#include "core/process.h"
#include "unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* What arrives at a socket of that name (an @ in front: abstract) when the daemon says that it is
 * ready. */
static void listen_at(const char *name, char *said_out, size_t capacity)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	memcpy(address.sun_path, name, strlen(name));
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	EXPECT_INT(0,
		bind(fd, (void *)&address,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))));
	setenv("NOTIFY_SOCKET", name, 1);
	process_say_ready();
	unsetenv("NOTIFY_SOCKET");
	ssize_t length = recv(fd, said_out, capacity - 1, 0);
	said_out[length > 0 ? length : 0] = '\0';
	close(fd);
}

TEST(systemd_is_told_when_it_asked)
{
	char folder[] = "/tmp/pando-notify-XXXXXX", name[64], said[32];
	EXPECT(mkdtemp(folder) != NULL);
	snprintf(name, sizeof(name), "%s/socket", folder);
	listen_at(name, said, sizeof(said));
	EXPECT_STR(STR("READY=1"), str_from(said));
	unlink(name);
	rmdir(folder);
	snprintf(name, sizeof(name), "@pando-notify-%d", (int)getpid());
	listen_at(name, said, sizeof(said));
	EXPECT_STR(STR("READY=1"), str_from(said));
	/* Nobody asked, nobody listens: neither is worth more than a line in the log. */
	process_say_ready();
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	process_say_ready();
	unsetenv("NOTIFY_SOCKET");
}

TEST(a_daemon_makes_its_folder_and_says_which_one_it_cannot_make)
{
	char folder[] = "/tmp/pando-folder-XXXXXX", made[PROCESS_FOLDER_MAX], data[600];
	struct error error = { 0 };
	EXPECT(mkdtemp(folder) != NULL);
	snprintf(data, sizeof(data), "%s/data", folder);
	struct config config = { .data_dir = data };
	for (unsigned i = 0; i < 2; i++)
		EXPECT_INT(0, process_make_folder(&config, "node", made, &error));
	EXPECT_INT(0, access(made, W_OK));
	EXPECT_INT(0, rmdir(made));
	EXPECT_INT(0, rmdir(data));
	EXPECT_INT(0, rmdir(folder));
	EXPECT_INT(-ENOENT, process_make_folder(&config, "node", made, &error));
	EXPECT(strstr(error.text, data) != NULL);
	memset(data, 'x', sizeof(data) - 1);
	data[sizeof(data) - 1] = '\0';
	EXPECT_INT(-ENAMETOOLONG, process_make_folder(&config, "node", made, &error));
}

/* What is opened after a start with descriptors 0 to 2 closed; the child's exit code is its number.
 */
static int first_descriptor_of_child(void)
{
	int status = 0;
	pid_t child = fork();
	if (child == 0) {
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		process_keep_standard_descriptors();
		bool is_refused = write(STDERR_FILENO, "x", 1) < 0;
		_exit(is_refused ? open("/dev/zero", O_RDONLY) : 100);
	}
	EXPECT_INT(child, waitpid(child, &status, 0));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(no_file_gets_the_number_of_a_closed_standard_stream)
{
	EXPECT(first_descriptor_of_child() > STDERR_FILENO);
	EXPECT(first_descriptor_of_child() < 100);
}
