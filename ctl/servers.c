/* The PostgreSQL servers of the directory: `pando directory`, and what `pando check` says of each.
 */

#include "ctl/checks.h"

#include "core/directory/servers.h"

#include <errno.h>
#include <stdio.h>

static bool is_standalone(const struct command *command)
{
	return strcmp(command->config.directory, "standalone") == 0;
}

static int ask(struct command *command, struct servers *servers_out, struct error *error)
{
	struct buf memory = { 0 };
	directory_server_memory(&command->config, &memory);
	int code =
		servers_ask(command->config.directory, buf_terminated(&memory), servers_out, error);
	buf_deinit(&memory);
	if (code == 0)
		servers_release(servers_out);
	return code;
}

static int refuse_standalone(void)
{
	struct error error = { 0 };
	error_set(&error, -EINVAL,
		"the directory is a file on this machine: there is no server of it (`pando init "
		"--postgres` moves it to one)");
	return command_fail(&error);
}

int directory_list_servers(struct command *command)
{
	static const char *const states[] = { "away", "standby", "read-only", "writable" };
	static const char *const verdicts[] = { "", "old, not believed", "strange, not believed" };
	struct table table = { 6,
		{ "server", "state", "#timeline", "system_identifier", "?used", "detail" }, { 0 } };
	struct servers servers;
	struct error error = { 0 };
	if (is_standalone(command))
		return refuse_standalone();
	if (ask(command, &servers, &error) < 0)
		return command_fail(&error);
	for (unsigned i = 0; i < servers.count; i++) {
		const struct server *server = &servers.list[i];
		bool is_away = server->state == SERVER_AWAY;
		table_add(&table, server->host);
		table_add(&table, states[server->state]);
		table_addf(&table, is_away ? "" : "%u", server->identity.timeline);
		table_addf(
			&table, is_away ? "" : "%llu", (unsigned long long)server->identity.system);
		table_add_bool(&table, servers.chosen == (int)i);
		table_add(&table, is_away ? server->reason : verdicts[server->verdict]);
	}
	table_print(&table, command_json(command), "");
	table_deinit(&table);
	return servers_check_writable(&servers, &error) < 0 ? command_fail(&error) : EXIT_DONE;
}

int directory_adopt(struct command *command)
{
	struct buf memory = { 0 };
	struct error error = { 0 };
	char host[128];
	if (is_standalone(command))
		return refuse_standalone();
	directory_server_memory(&command->config, &memory);
	int code = directory_adopt_server(
		command->config.directory, buf_terminated(&memory), host, &error);
	buf_deinit(&memory);
	if (code < 0)
		return command_fail(&error);
	printf("%s is the directory's server from now on\n", host);
	return EXIT_DONE;
}

void check_servers(struct checks *checks, struct command *command)
{
	struct servers servers;
	char what[160];
	if (is_standalone(command) || ask(command, &servers, NULL) < 0)
		return;
	if (servers.chosen >= 0 && servers.list[servers.chosen].state != SERVER_STANDBY)
		checks->directory = servers.list[servers.chosen].identity;
	for (unsigned i = 0; i < servers.count; i++) {
		const struct server *server = &servers.list[i];
		snprintf(what, sizeof(what), "directory server %s", server->host);
		if (server->state == SERVER_AWAY)
			checks_note(checks, VERDICT_WARN, what, "%s", server->reason);
		else if (server->verdict == SERVER_STALE)
			checks_note(checks, VERDICT_BAD, what,
				"is an old one (timeline %u): stop it and make it a standby, see "
				"docs/operating.md, Two directories",
				server->identity.timeline);
		else if (server->verdict == SERVER_STRANGER)
			checks_note(checks, VERDICT_BAD, what,
				"is another PostgreSQL than the directory's: take it out of "
				"`directory`, or see `pando directory list`");
		else
			checks_note(checks, VERDICT_GOOD, what, "%s",
				server->state == SERVER_STANDBY ? "a standby" : "a primary");
	}
}
