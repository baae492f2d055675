/* `pando init`: making a cluster's authority, certificates, configuration and directory. */

#include "ctl/command.h"

#include "core/authority.h"
#include "core/buf.h"
#include "proto/mail/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Volumes of a one-machine cluster: one per worker thread of a small server, and room to grow. */
enum { STANDALONE_VOLUMES = 4 };

/* Ports inside the cluster, counted from --internal-port. What the directory names comes first;
 * HTTP, on loopback, at 2480 to 2482 unless told otherwise. */
enum {
	PORT_LMTP = 0,
	PORT_IMAP = 1,
	PORT_CONTROL = 2,
	PORT_REPLICATOR = 3,
	PORT_ROUTER_CONTROL = 4,
	PORT_ROUTER_QUEUE = 5,
	PORTS_IN_DIRECTORY = 6,
	PORT_NODE_HTTP = 56,
	PORT_ROUTER_HTTP = 57,
	PORT_REPLICATOR_HTTP = 58,
	INTERNAL_PORT = 2424, /* 24 is LMTP's */
};

struct setup {
	struct command *command;
	struct error *error;
	char *folder; /* where the configuration stands */
	const char *site, *node, *hostname, *data_dir, *source;
	const char *address; /* inside the cluster */
	unsigned port;
};

static bool file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static void path_in(struct buf *out, const char *folder, const char *name, const char *suffix)
{
	buf_clear(out);
	buf_printf(out, "%s/%s%s", folder, name, suffix);
	(void)buf_terminated(out);
}

int config_sample(struct command *command)
{
	(void)command;
	config_print_sample(stdout);
	return EXIT_DONE;
}

/* The authority and the certificates of one machine; those that exist stay. */
static int make_certificates(struct setup *setup)
{
	static const char *const roles[] = { "node", "router", "replicator", "ctl" };
	struct buf authority = { 0 }, authority_key = { 0 }, certificate = { 0 }, key = { 0 };
	int code = 0;
	path_in(&authority, setup->folder, "authority", ".pem");
	path_in(&authority_key, setup->folder, "authority", ".key");
	if (!file_exists(buf_terminated(&authority)))
		code = authority_create("pando cluster", buf_terminated(&authority),
			buf_terminated(&authority_key), setup->error);
	for (unsigned i = 0; i < array_length(roles) && code == 0; i++) {
		struct certificate_request request = { setup->node, roles[i] };
		path_in(&certificate, setup->folder, roles[i], ".pem");
		path_in(&key, setup->folder, roles[i], ".key");
		if (!file_exists(buf_terminated(&certificate)))
			code = authority_issue(buf_terminated(&authority),
				buf_terminated(&authority_key), &request,
				buf_terminated(&certificate), buf_terminated(&key), setup->error);
	}
	path_in(&certificate, setup->folder, "public", ".pem");
	path_in(&key, setup->folder, "public", ".key");
	if (code == 0 && !file_exists(buf_terminated(&certificate)))
		code = authority_self_signed(setup->hostname, buf_terminated(&certificate),
			buf_terminated(&key), setup->error);
	buf_deinit(&authority);
	buf_deinit(&authority_key);
	buf_deinit(&certificate);
	buf_deinit(&key);
	return code;
}

/* The whole machine's addresses; one socket for IPv6 takes IPv4 too, where the kernel has both. */
static void write_doors(FILE *file)
{
	static const struct {
		const char *key;
		unsigned port;
	} doors[] = {
		{ "smtp", 25 },
		{ "submission", 587 },
		{ "submissions", 465 },
		{ "imap", 143 },
		{ "imaps", 993 },
	};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fprintf(file, "\n");
	for (unsigned i = 0; i < array_length(doors); i++)
		fprintf(file, "%s_listen = %s:%u\n", doors[i].key, fd < 0 ? "0.0.0.0" : "[::]",
			doors[i].port);
	if (fd >= 0)
		close(fd);
}

static int write_config(struct setup *setup)
{
	static const char *const roles[] = { "node", "router", "replicator", "ctl", "public" };
	const char *at = setup->address;
	FILE *file = fopen(setup->command->config_file, "wxe");
	if (!file)
		return error_set(setup->error, -errno, "%s cannot be written: %s",
			setup->command->config_file, strerror(errno));
	/* It may hold PostgreSQL's password. */
	(void)!fchmod(fileno(file), 0640);
	fprintf(file,
		"# Made by `pando init`. `pando config sample` shows every key.\n"
		"site = %s\nnode = %s\nhostname = %s\ndata_dir = %s\ndirectory = %s\n\n"
		"cluster_ca = %s/authority.pem\n",
		setup->site, setup->node, setup->hostname, setup->data_dir, setup->source,
		setup->folder);
	for (unsigned i = 0; i < array_length(roles); i++)
		fprintf(file, "%s_certificate = %s/%s.pem\n%s_key = %s/%s.key\n", roles[i],
			setup->folder, roles[i], roles[i], setup->folder, roles[i]);
	write_doors(file);
	fprintf(file,
		"\n# Inside the cluster, mutual TLS; as `pando node add` and `pando router add` "
		"tell "
		"the others.\n"
		"node_lmtp_listen = %s:%u\nnode_imap_listen = %s:%u\n"
		"node_control_listen = %s:%u\nreplicator_listen = %s:%u\n"
		"router_control_listen = %s:%u\nrouter_queue_listen = %s:%u\n\n"
		"node_http_listen = 127.0.0.1:%u\nrouter_http_listen = 127.0.0.1:%u\n"
		"replicator_http_listen = 127.0.0.1:%u\n",
		at, setup->port + PORT_LMTP, at, setup->port + PORT_IMAP, at,
		setup->port + PORT_CONTROL, at, setup->port + PORT_REPLICATOR, at,
		setup->port + PORT_ROUTER_CONTROL, at, setup->port + PORT_ROUTER_QUEUE,
		setup->port + PORT_NODE_HTTP, setup->port + PORT_ROUTER_HTTP,
		setup->port + PORT_REPLICATOR_HTTP);
	if (fclose(file) != 0)
		return error_set(
			setup->error, -EIO, "%s cannot be written", setup->command->config_file);
	printf("wrote %s\n", setup->command->config_file);
	return 0;
}

/* Site, node, router and volumes of a cluster of one machine. */
static int fill_standalone(struct setup *setup)
{
	struct directory_writer *writer = setup->command->writer;
	struct error *error = setup->error;
	char places[PORTS_IN_DIRECTORY][64];
	struct node_description node = { setup->node, setup->site, places[PORT_LMTP],
		places[PORT_IMAP], places[PORT_CONTROL], places[PORT_REPLICATOR] };
	struct router_description router = { setup->node, setup->site, places[PORT_ROUTER_CONTROL],
		places[PORT_ROUTER_QUEUE] };
	struct sql_result *result = NULL;
	for (unsigned i = 0; i < array_length(places); i++)
		snprintf(places[i], sizeof(places[i]), "%s:%u", setup->address, setup->port + i);
	int code = directory_list(writer, LIST_SITES, NULL, &result, error);
	bool filled = code == 0 && sql_rows(result) > 0;
	sql_result_free(&result);
	if (code < 0 || filled)
		return code;
	code = directory_begin(writer, error);
	if (code < 0)
		return code;
	code = directory_add_site(writer, setup->site, error);
	if (code == 0)
		code = directory_add_node(writer, &node, error);
	if (code == 0)
		code = directory_add_router(writer, &router, error);
	for (int i = 1; i <= STANDALONE_VOLUMES && code == 0; i++) {
		char name[8];
		snprintf(name, sizeof(name), "v%d", i);
		struct volume_description volume = { .name = name, .primary_node = setup->node };
		code = directory_add_volume(writer, &volume, error);
	}
	if (code == 0)
		return directory_commit(writer, error);
	directory_rollback(writer);
	return code;
}

/* Replaces the `directory` line of the configuration file. */
static int point_config(const char *path, const char *source, struct error *error)
{
	struct buf temporary = { 0 };
	char line[8192];
	bool replaced = false;
	FILE *in = fopen(path, "re");
	buf_printf(&temporary, "%s.new", path);
	FILE *out = in ? fopen(buf_terminated(&temporary), "we") : NULL;
	struct stat before;
	/* Whoever could read it still can, and nobody else: the source may hold a password. */
	if (out &&
		(fstat(fileno(in), &before) != 0 ||
			fchown(fileno(out), before.st_uid, before.st_gid) != 0 ||
			fchmod(fileno(out), before.st_mode & 07777 & ~(mode_t)S_IROTH) != 0)) {
		fclose(out);
		out = NULL;
	}
	while (out && fgets(line, sizeof(line), in)) {
		struct str rest = str_from(line), key;
		if (str_next(&rest, '=', &key) && str_equal(str_trim(key), STR("directory"))) {
			fprintf(out, "directory = %s\n", source);
			replaced = true;
		} else {
			fputs(line, out);
		}
	}
	if (out && !replaced)
		fprintf(out, "directory = %s\n", source);
	bool good = out && fflush(out) == 0 && fsync(fileno(out)) == 0;
	if (out)
		good = fclose(out) == 0 && good;
	if (in)
		fclose(in);
	good = good && rename(buf_terminated(&temporary), path) == 0;
	buf_deinit(&temporary);
	return good ? 0
		    : error_set(error, -EIO, "%s cannot be rewritten: set `directory = %s` there",
			      path, source);
}

/* Copies a standalone directory over and points the configuration to PostgreSQL. */
static int move_to_postgres(struct setup *setup, const char *url)
{
	struct buf file = { 0 };
	size_t rows = 0;
	int code = 0;
	directory_file_path(&setup->command->config, &file);
	if (file_exists(buf_terminated(&file))) {
		code = directory_move_to_postgres(buf_terminated(&file), url, &rows, setup->error);
		if (code == 0)
			printf("moved %zu rows from %s\n", rows, buf_terminated(&file));
	}
	if (code == 0)
		code = point_config(setup->command->config_file, url, setup->error);
	if (code == 0)
		printf("`directory` in %s names PostgreSQL now: restart the daemons of this "
		       "machine\n",
			setup->command->config_file);
	buf_deinit(&file);
	return code;
}

static int make_folder(const char *path, mode_t mode, struct error *error)
{
	return mkdir(path, mode) == 0 || errno == EEXIST
		? 0
		: error_set(error, -errno, "%s cannot be made: %s", path, strerror(errno));
}

static int make_data_folders(struct setup *setup)
{
	struct buf folder = { 0 };
	int code = make_folder(setup->data_dir, 0755, setup->error);
	path_in(&folder, setup->data_dir, "directory", "");
	if (code == 0)
		code = make_folder(buf_terminated(&folder), 0750, setup->error);
	buf_deinit(&folder);
	return code;
}

static int init_file(struct setup *setup)
{
	struct buf file = { 0 };
	unsigned applied = 0;
	directory_file_path(&setup->command->config, &file);
	int code = directory_init_file(buf_terminated(&file), &applied, setup->error);
	if (code == 0)
		printf("directory %s is ready (%u migrations applied)\n", buf_terminated(&file),
			applied);
	buf_deinit(&file);
	if (code == 0)
		code = directory_writer_open(
			&setup->command->config, &setup->command->writer, setup->error);
	return code == 0 ? fill_standalone(setup) : code;
}

static int add_domain(struct setup *setup, const char *domain)
{
	int code = setup->command->writer ? 0
					  : directory_writer_open(&setup->command->config,
						    &setup->command->writer, setup->error);
	if (code == 0)
		code = directory_add_domain(setup->command->writer, domain, setup->error);
	return code == -EEXIST ? 0 : code;
}

/* A relative path would mean another file to a daemon. */
static char *absolute(const char *path)
{
	struct buf out = { 0 };
	char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
	if (here)
		buf_printf(&out, "%s/", here);
	buf_append_str(&out, str_from(path));
	free(here);
	char *text = str_to_heap(buf_str(&out));
	buf_deinit(&out);
	return text;
}

/* What would not survive in a configuration file, or name something nobody can. */
static int check_values(struct setup *setup, const char *domain)
{
	char endpoint[96];
	const char *const lines[] = { setup->data_dir, setup->source, setup->command->config_file };
	for (unsigned i = 0; i < array_length(lines); i++) {
		struct str line = str_from(lines[i]);
		if (str_trim(line).length != line.length)
			return error_set(setup->error, -EINVAL,
				"`%s` begins or ends with a space, which a configuration leaves "
				"out",
				lines[i]);
		for (const char *c = lines[i]; *c; c++)
			if ((unsigned char)*c < ' ')
				return error_set(setup->error, -EINVAL,
					"`%s` holds a control character", lines[i]);
	}
	if (!address_is_domain(str_from(setup->hostname)) || setup->hostname[0] == '[')
		return error_set(setup->error, -EINVAL,
			"`%s` is no host name: give this machine's with --hostname",
			setup->hostname);
	if (domain && !address_is_domain(str_from(domain)))
		return error_set(setup->error, -EINVAL,
			"`%s` is no domain name: write it as example.org", domain);
	snprintf(endpoint, sizeof(endpoint), "%s:%u", setup->address, setup->port);
	if (directory_check_endpoint("internal", endpoint, setup->error) < 0)
		return error_set(setup->error, -EINVAL,
			"`%s` is no address that others can connect to: write --internal-address "
			"192.0.2.1 or [2001:db8::1]",
			setup->address);
	int code = directory_check_name("site", setup->site, setup->error);
	return code == 0 ? directory_check_name("node", setup->node, setup->error) : code;
}

static int differs(struct setup *setup, const char *option, const char *key, const char *has)
{
	const char *given = command_option(setup->command, option);
	if (!given || strcmp(given, has) == 0)
		return 0;
	return error_set(setup->error, -EEXIST,
		"%s exists and says `%s = %s`: change it there, or leave out --%s",
		setup->command->config_file, key, has, option);
}

/* They stand in the first of the addresses that are counted from them. */
static int check_internal(struct setup *setup)
{
	const char *lmtp = setup->command->config.node_lmtp_listen, *colon = strrchr(lmtp, ':');
	char address[128];
	if (!colon)
		return 0;
	snprintf(address, sizeof(address), "%.*s", (int)(colon - lmtp), lmtp);
	const char *wrong = command_has(setup->command, "internal-address") &&
			strcmp(setup->address, address) != 0
		? "internal-address"
		: command_has(setup->command, "internal-port") &&
			(unsigned long)setup->port != strtoul(colon + 1, NULL, 10)
		? "internal-port"
		: NULL;
	if (!wrong)
		return 0;
	return error_set(setup->error, -EEXIST,
		"%s exists and says `node_lmtp_listen = %s`: change it there, or leave out --%s",
		setup->command->config_file, lmtp, wrong);
}

/* The existing configuration is the operator's: what it says and what is asked for must agree. */
static int check_agreement(struct setup *setup, const char *url)
{
	const struct config *config = &setup->command->config;
	bool alone = strcmp(config->directory, "standalone") == 0;
	int code = differs(setup, "site", "site", config->site);
	if (code == 0)
		code = differs(setup, "node", "node", config->node);
	if (code == 0)
		code = differs(setup, "hostname", "hostname", config->hostname);
	if (code == 0 && command_has(setup->command, "data-dir") &&
		strcmp(setup->data_dir, config->data_dir) != 0)
		code = differs(setup, "data-dir", "data_dir", config->data_dir);
	if (code == 0)
		code = check_internal(setup);
	if (code == 0 && !alone && command_has(setup->command, "standalone"))
		code = error_set(setup->error, -EEXIST,
			"%s names a PostgreSQL directory: there is no way back to standalone",
			setup->command->config_file);
	if (code == 0 && !alone && url && strcmp(url, config->directory) != 0)
		code = error_set(setup->error, -EEXIST,
			"%s names another PostgreSQL: change its `directory` line first",
			setup->command->config_file);
	return code;
}

/* PostgreSQL is asked before anything is written: what fails leaves nothing behind. */
static int init_cluster(struct setup *setup, const char *url, bool had_config)
{
	struct config *config = &setup->command->config;
	unsigned applied = 0;
	if (!url && had_config && strcmp(config->directory, "standalone") != 0)
		url = config->directory;
	struct buf memory = { 0 };
	directory_server_memory(config, &memory);
	int code = url ? directory_init_postgres(url, had_config ? buf_terminated(&memory) : NULL,
				 &applied, setup->error)
		       : make_data_folders(setup);
	buf_deinit(&memory);
	if (code == 0 && url)
		printf("directory in PostgreSQL is ready (%u migrations applied)\n", applied);
	if (code == 0 && !had_config)
		code = make_certificates(setup);
	if (code == 0 && !had_config)
		code = write_config(setup);
	if (code == 0 && !had_config)
		code = config_load(config, setup->command->config_file, setup->error);
	if (code == 0 && !url)
		return init_file(setup);
	if (code == 0 && strcmp(config->directory, "standalone") == 0)
		code = move_to_postgres(setup, url);
	return code;
}

static const char *option_or(
	const struct command *command, const char *option, const char *otherwise)
{
	const char *value = command_option(command, option);
	return value ? value : otherwise;
}

/* The machine's own name, spelt as names in the directory are. */
static void machine_name(char *out, size_t capacity)
{
	snprintf(out, capacity, "localhost");
	(void)!gethostname(out, capacity - 1);
	for (char *c = out; *c; c++) {
		*c = ascii_lower(*c);
		if (!(*c >= 'a' && *c <= 'z') && !ascii_is_digit(*c) && *c != '.')
			*c = '-';
	}
}

static int init_with(struct setup *setup, const char *url)
{
	struct command *command = setup->command;
	const char *domain = command_option(command, "domain");
	bool had_config = file_exists(command->config_file);
	if (had_config && config_load(&command->config, command->config_file, setup->error) < 0) {
		(void)command_fail(setup->error);
		return EXIT_USAGE;
	}
	if (had_config && !command_has(command, "data-dir"))
		setup->data_dir = command->config.data_dir;
	int code = had_config ? check_agreement(setup, url) : 0;
	if (code == 0)
		code = check_values(setup, domain);
	if (code == 0)
		code = make_folder(setup->folder, 0755, setup->error);
	if (code == 0)
		code = init_cluster(setup, url, had_config);
	if (code == 0 && domain)
		code = add_domain(setup, domain);
	return code < 0 ? command_fail(setup->error) : EXIT_DONE;
}

int init_run(struct command *command)
{
	struct error error = { 0 };
	struct setup setup = { .command = command, .error = &error };
	const char *url = command_option(command, "postgres");
	const char *port_text = command_option(command, "internal-port");
	char machine[65];
	uint64_t port = INTERNAL_PORT;
	if (port_text && (!str_to_u64(str_from(port_text), 65000, &port) || port == 0))
		return command_usage(command, "--internal-port wants a number from 1 to 65000");
	if (url && command_has(command, "standalone"))
		return command_usage(command, "--standalone or --postgres, not both");
	if (url && !url[0])
		return command_usage(command, "--postgres wants postgresql://USER@HOST/DATABASE");
	machine_name(machine, sizeof(machine));
	char *config_file = absolute(command->config_file);
	char *data_dir = absolute(option_or(command, "data-dir", "/var/lib/pando"));
	command->config_file = config_file;
	setup.folder = str_to_heap(str_first(
		str_from(config_file), (size_t)(strrchr(config_file, '/') - config_file)));
	setup.port = (unsigned)port;
	setup.site = option_or(command, "site", "main");
	setup.node = option_or(command, "node", machine);
	setup.hostname = option_or(command, "hostname", machine);
	setup.address = option_or(command, "internal-address", "127.0.0.1");
	setup.data_dir = data_dir;
	setup.source = url ? url : "standalone";
	int code = init_with(&setup, url);
	free(setup.folder);
	free(data_dir);
	free(config_file);
	command->config_file = NULL;
	return code;
}
