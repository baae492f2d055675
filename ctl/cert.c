/* The cluster's certificates, and one for trying things out. */

#include "ctl/command.h"

#include "core/authority.h"
#include "core/buf.h"
#include "proto/mail/address.h"

#include <errno.h>
#include <string.h>

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
	if (directory_check_name("certificate's holder", request.name, &error) < 0)
		return command_fail(&error);
	/* Where `pando init` put them: beside the configuration. */
	struct buf beside = { 0 }, beside_key = { 0 };
	struct str folder = str_from(command->config_file);
	folder = str_first(folder, (size_t)(str_find_last_byte(folder, '/') + 1));
	buf_printf(&beside, STR_FORMAT "authority.pem", STR_ARG(folder));
	buf_printf(&beside_key, STR_FORMAT "authority.key", STR_ARG(folder));
	int code = authority_issue(authority ? authority : buf_terminated(&beside),
		authority_key ? authority_key : buf_terminated(&beside_key), &request, certificate,
		key, &error);
	buf_deinit(&beside);
	buf_deinit(&beside_key);
	return code < 0 ? command_fail(&error) : EXIT_DONE;
}

int cert_self_signed(struct command *command)
{
	struct error error = { 0 };
	const char *certificate = command_option(command, "certificate");
	const char *key = command_option(command, "key");
	if (!certificate || !key)
		return command_usage(command, "--certificate and --key are needed");
	if (!address_is_domain(str_from(command->positionals[0]))) {
		error_set(&error, -EINVAL, "`%s` is no host name: write it as mail.example.org",
			command->positionals[0]);
		return command_fail(&error);
	}
	if (authority_self_signed(command->positionals[0], certificate, key, &error) < 0)
		return command_fail(&error);
	return EXIT_DONE;
}
