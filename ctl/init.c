/* Making a cluster: authority, certificates, configuration, directory. */

#include "ctl/command.h"

#include "core/authority.h"
#include "core/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Volumes of a one-machine cluster: one per worker thread of a small server, and room to grow. */
enum { STANDALONE_VOLUMES = 4 };

/* Ports inside the cluster, counted from --internal-port. */
enum {
	PORT_LMTP = 0,
	PORT_IMAP = 1,
	PORT_CONTROL = 2,
	PORT_REPLICATOR = 3,
	PORT_ROUTER_CONTROL = 4,
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

int cert_issue(struct command *command)
{
	static const char *const roles[] = { "router", "node", "replicator", "ctl" };
	struct error error = { 0 };
	struct certificate_request request = {
		.name = command_option(command, "name"),
		.role = command_option(command, "role"),
	};
	const char *certificate = command_option(command, "certificate");
	const char *key = command_option(command, "key");
	const char *authority = command_option(command, "authority");
	const char *authority_key = command_option(command, "authority-key");
	bool known = false;
	if (!request.name || !request.role || !certificate || !key)
		return command_usage(command, "--role, --name, --certificate and --key are needed");
	for (unsigned i = 0; i < array_length(roles); i++)
		known = known || strcmp(request.role, roles[i]) == 0;
	if (!known)
		return command_usage(
			command, "`%s` is no role: router, node, replicator or ctl", request.role);
	struct buf beside = { 0 }, beside_key = { 0 };
	char *folder = str_to_heap(str_from(command->config_file));
	char *slash = strrchr(folder, '/');
	if (slash)
		*slash = '\0';
	path_in(&beside, slash ? folder : ".", "authority", ".pem");
	path_in(&beside_key, slash ? folder : ".", "authority", ".key");
	int code = authority_issue(authority ? authority : buf_terminated(&beside),
		authority_key ? authority_key : buf_terminated(&beside_key), &request, certificate,
		key, &error);
	buf_deinit(&beside);
	buf_deinit(&beside_key);
	free(folder);
	return code < 0 ? command_fail(&error) : EXIT_DONE;
}

int cert_self_signed(struct command *command)
{
	struct error error = { 0 };
	const char *certificate = command_option(command, "certificate");
	const char *key = command_option(command, "key");
	if (!certificate || !key)
		return command_usage(command, "--certificate and --key are needed");
	if (authority_self_signed(command->positionals[0], certificate, key, &error) < 0)
		return command_fail(&error);
	return EXIT_DONE;
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

static int write_config(struct setup *setup)
{
	static const char *const roles[] = { "node", "router", "replicator", "ctl", "public" };
	FILE *file = fopen(setup->command->config_file, "wxe");
	if (!file)
		return error_set(setup->error, -errno, "%s cannot be written: %s",
			setup->command->config_file, strerror(errno));
	fprintf(file,
		"# Made by `pando init`. `pando config sample` shows every key.\n"
		"site = %s\nnode = %s\nhostname = %s\ndata_dir = %s\ndirectory = %s\n\n"
		"cluster_ca = %s/authority.pem\n",
		setup->site, setup->node, setup->hostname, setup->data_dir, setup->source,
		setup->folder);
	for (unsigned i = 0; i < array_length(roles); i++)
		fprintf(file, "%s_certificate = %s/%s.pem\n%s_key = %s/%s.key\n", roles[i],
			setup->folder, roles[i], roles[i], setup->folder, roles[i]);
	fprintf(file,
		"\nsmtp_listen = [::]:25\nsubmission_listen = [::]:587\nsubmissions_listen = "
		"[::]:465\n"
		"imap_listen = [::]:143\nimaps_listen = [::]:993\n\n"
		"# Inside the cluster; addresses that the other machines reach when there are "
		"any.\n"
		"node_lmtp_listen = 127.0.0.1:%u\nnode_imap_listen = 127.0.0.1:%u\n"
		"node_control_listen = 127.0.0.1:%u\nreplicator_listen = 127.0.0.1:%u\n"
		"router_control_listen = 127.0.0.1:%u\n\n"
		"node_http_listen = 127.0.0.1:%u\nrouter_http_listen = 127.0.0.1:%u\n"
		"replicator_http_listen = 127.0.0.1:%u\n",
		setup->port + PORT_LMTP, setup->port + PORT_IMAP, setup->port + PORT_CONTROL,
		setup->port + PORT_REPLICATOR, setup->port + PORT_ROUTER_CONTROL,
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
	char places[PORT_ROUTER_CONTROL + 1][32];
	struct node_description node = { setup->node, setup->site, places[PORT_LMTP],
		places[PORT_IMAP], places[PORT_CONTROL], places[PORT_REPLICATOR] };
	struct router_description router = { setup->node, setup->site, places[PORT_ROUTER_CONTROL],
		"" };
	struct sql_result *result = NULL;
	for (unsigned i = 0; i < array_length(places); i++)
		snprintf(places[i], sizeof(places[i]), "127.0.0.1:%u", setup->port + i);
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

static int init_postgres(struct setup *setup, const char *url, bool had_config)
{
	struct config *config = &setup->command->config;
	struct buf file = { 0 };
	unsigned applied = 0;
	size_t rows = 0;
	int code = directory_init_postgres(url, &applied, setup->error);
	if (code == 0)
		printf("directory in PostgreSQL is ready (%u migrations applied)\n", applied);
	if (code == 0 && had_config && strcmp(config->directory, "standalone") == 0) {
		path_in(&file, config->data_dir, "directory", ".sqlite");
		if (file_exists(buf_terminated(&file))) {
			code = directory_move_to_postgres(
				buf_terminated(&file), url, &rows, setup->error);
			if (code == 0)
				printf("moved %zu rows from %s\n", rows, buf_terminated(&file));
		}
		if (code == 0)
			code = point_config(setup->command->config_file, url, setup->error);
		if (code == 0)
			printf("`directory` in %s names PostgreSQL now: restart the daemons of "
			       "this machine\n",
				setup->command->config_file);
	}
	buf_deinit(&file);
	return code;
}

static int init_file(struct setup *setup)
{
	struct buf file = { 0 };
	unsigned applied = 0;
	const char *data_dir = setup->command->config.data_dir;
	if (mkdir(data_dir, 0750) != 0 && errno != EEXIST)
		return error_set(
			setup->error, -errno, "%s cannot be made: %s", data_dir, strerror(errno));
	path_in(&file, data_dir, "directory", ".sqlite");
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

static const char *option_or(
	const struct command *command, const char *option, const char *otherwise)
{
	const char *value = command_option(command, option);
	return value ? value : otherwise;
}

int init_run(struct command *command)
{
	struct error error = { 0 };
	struct setup setup = { .command = command, .error = &error };
	const char *url = command_option(command, "postgres"),
		   *domain = command_option(command, "domain");
	char machine[64] = "localhost";
	uint64_t port = INTERNAL_PORT;
	const char *port_text = command_option(command, "internal-port");
	if (port_text && (!str_to_u64(str_from(port_text), 65000, &port) || port == 0))
		return command_usage(command, "--internal-port wants a number up to 65000");
	setup.port = (unsigned)port;
	(void)!gethostname(machine, sizeof(machine) - 1);
	if (url && command_has(command, "standalone"))
		return command_usage(command, "--standalone or --postgres, not both");
	setup.folder = str_to_heap(str_from(command->config_file));
	char *slash = strrchr(setup.folder, '/');
	if (slash)
		*slash = '\0';
	setup.site = option_or(command, "site", "main");
	setup.node = option_or(command, "node", machine);
	setup.hostname = option_or(command, "hostname", machine);
	setup.data_dir = option_or(command, "data-dir", "/var/lib/pando");
	setup.source = url ? url : "standalone";
	bool had_config = file_exists(command->config_file);
	int code = 0;
	if (slash && mkdir(setup.folder, 0755) != 0 && errno != EEXIST)
		code = error_set(
			&error, -errno, "%s cannot be made: %s", setup.folder, strerror(errno));
	if (code == 0 && !had_config) {
		code = make_certificates(&setup);
		if (code == 0)
			code = write_config(&setup);
	}
	if (code == 0)
		code = config_load(&command->config, command->config_file, &error);
	if (code == 0 && url)
		code = init_postgres(&setup, url, had_config);
	else if (code == 0 && strcmp(command->config.directory, "standalone") == 0)
		code = init_file(&setup);
	else if (code == 0)
		code = init_postgres(&setup, command->config.directory, had_config);
	if (code == 0 && domain)
		code = add_domain(&setup, domain);
	free(setup.folder);
	return code < 0 ? command_fail(&error) : EXIT_DONE;
}
