#include "core/process.h"

#include "core/disk.h"
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void process_keep_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
			continue;
		/* The lowest free number is this one. Read-only: what is printed there is not
		 * taken for written. */
		CHECK(open("/dev/null", O_RDONLY) == fd);
	}
}

const char *process_config_argument(int argument_count, char **arguments)
{
	for (int i = 1; i < argument_count; i++) {
		if (strncmp(arguments[i], "--config=", 9) == 0)
			return arguments[i] + 9;
		if (strcmp(arguments[i], "--config") == 0 && i + 1 < argument_count)
			return arguments[i + 1];
	}
	return NULL;
}

/* An argument that is not understood must not start a daemon with another machine's file. */
static void refuse_others(const char *program, int argument_count, char **arguments)
{
	for (int i = 1; i < argument_count; i++) {
		if (strncmp(arguments[i], "--config=", 9) == 0)
			continue;
		if (strcmp(arguments[i], "--config") == 0 && i + 1 < argument_count) {
			i++;
			continue;
		}
		bool help = strcmp(arguments[i], "--help") == 0 || strcmp(arguments[i], "-h") == 0;
		if (!help)
			fprintf(stderr, "%s: the argument %s is not understood\n", program,
				log_quote(str_from(arguments[i])));
		fprintf(help ? stdout : stderr,
			"usage: %s [--config FILE]\n\nThe configuration is --config FILE, else "
			"$PANDO_CONF, else /etc/pando/pando.conf.\n",
			program);
		exit(help ? 0 : 2);
	}
}

void process_load_config(
	const char *program, int argument_count, char **arguments, struct config *config_out)
{
	struct error error;
	process_keep_standard_descriptors();
	refuse_others(program, argument_count, arguments);
	const char *path = config_path(process_config_argument(argument_count, arguments));
	signal(SIGPIPE, SIG_IGN);
	/* Pool threads may still be deriving keys when main returns: the library must not be
	 * taken down under them. Its first call decides. */
	CHECK(OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) == 1);
	if (config_load(config_out, path, &error) < 0) {
		fprintf(stderr, "%s: %s\n", program, error.text);
		exit(2);
	}
	log_setup(program, (enum log_level)config_out->log_level);
}

int process_drop_privileges(const char *user, struct error *error)
{
	if (user[0] == '\0' || geteuid() != 0)
		return 0;
	const struct passwd *account = getpwnam(user);
	if (account == NULL)
		return error_set(error, -ENOENT,
			"`user = %s`: there is no such account; make it or leave `user` empty",
			user);
	if (account->pw_uid == 0)
		return 0;
	if (initgroups(user, account->pw_gid) != 0 || setgid(account->pw_gid) != 0 ||
		setuid(account->pw_uid) != 0)
		return error_set(error, errno ? -errno : -EPERM, "cannot become user %s: %s", user,
			strerror(errno));
	if (setuid(0) == 0)
		return error_set(error, -EPERM, "user %s can become root again", user);
	return 0;
}

int process_make_folder(const struct config *config, const char *name,
	char folder_out[PROCESS_FOLDER_MAX], struct error *error)
{
	const char *made = config->data_dir;
	int length = snprintf(folder_out, PROCESS_FOLDER_MAX, "%s/%s", made, name);
	if (length >= PROCESS_FOLDER_MAX)
		return error_set(error, -ENAMETOOLONG, "`data_dir` is too long a path");
	int code = disk_make_directory(made);
	if (code == 0) {
		made = folder_out;
		code = disk_make_directory(made);
	}
	return code < 0 ? error_set(error, code,
				  "cannot make %s: %s. Make it, owned by the account this "
				  "daemon runs as",
				  made, strerror(-code))
			: 0;
}

void process_say_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (path == NULL || strlen(path) >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, strlen(path));
	/* An abstract socket is written with @ in place of the 0. */
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (void *)&address, length) < 0)
		log_warn("systemd_not_told", "reason=%s", log_quote(str_from(strerror(errno))));
	if (fd >= 0)
		close(fd);
}

void process_raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warn("file_limit", "reason=%s", log_quote(str_from(strerror(errno))));
}
