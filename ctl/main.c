#include "ctl/command.h"

#include "core/log.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct verb verbs[] = {
	{ "init",
		"[--standalone | --postgres URL] [--domain DOMAIN] [--site S] [--node N] "
		"[--hostname H]\n"
		"        [--data-dir DIR] [--internal-address A] [--internal-port PORT]",
		"standalone,postgres=,domain=,site=,node=,hostname=,data-dir=,internal-address=,"
		"internal-port=",
		0, 0, false, init_run,
		"make a cluster: authority, certificates, configuration, directory; again: bring "
		"it up to date" },
	{ "cert issue",
		"--role ROLE --name NAME --certificate FILE --key FILE\n"
		"        [--authority FILE --authority-key FILE]",
		"role=,name=,certificate=,key=,authority=,authority-key=", 0, 0, false, cert_issue,
		"issue a cluster certificate (roles: node, router, replicator, ctl)" },
	{ "cert self-signed", "HOSTNAME --certificate FILE --key FILE", "certificate=,key=", 1, 1,
		false, cert_self_signed,
		"make a certificate for mail clients, for trying things out" },
	{ "config sample", "", "", 0, 0, false, config_sample,
		"print a configuration with every key" },
	{ "site add", "NAME", "", 1, 1, true, site_add, "add a site" },
	{ "site list", "[--json]", "json", 0, 0, true, site_list, "list the sites" },
	{ "node add", "NAME --site SITE --lmtp A --imap A --control A --replicator A",
		"site=,lmtp=,imap=,control=,replicator=", 1, 1, true, node_add,
		"add a node; addresses as its routers and peers reach them" },
	{ "node list", "[--json]", "json", 0, 0, true, node_list, "list the nodes" },
	{ "router add", "NAME --site SITE --control A [--queue A]", "site=,control=,queue=", 1, 1,
		true, router_add, "add a router" },
	{ "router list", "[--json]", "json", 0, 0, true, router_list, "list the routers" },
	{ "volume add", "NAME --node NODE [--replica NODE]... [--durability remote|strict|local]",
		"node=,replica=*,durability=", 1, 1, true, volume_add,
		"add a volume and where its copies are" },
	{ "volume list", "[--json]", "json", 0, 0, true, volume_list, "list the volumes" },
	{ "volume show", "NAME [--json]", "json", 1, 1, true, volume_show, "show one volume" },
	{ "domain add", "DOMAIN", "", 1, 1, true, domain_add, "serve a mail domain" },
	{ "domain list", "[--json]", "json", 0, 0, true, domain_list, "list the domains" },
	{ "mailbox add",
		"ADDRESS [--volume V] [--durability D] [--quota BYTES]\n"
		"        [--password-stdin | --password P | --no-password]",
		"volume=,durability=,quota=,password=,password-stdin,no-password", 1, 1, true,
		mailbox_add, "add a mailbox; asks for its password" },
	{ "mailbox import", "FILE|- [--password P]", "password=", 1, 1, true, mailbox_import,
		"add many: lines of ADDRESS[<tab>PASSWORD[<tab>VOLUME[<tab>DURABILITY]]], all or "
		"none" },
	{ "mailbox set",
		"ADDRESS [--durability remote|strict|local|volume] [--quota BYTES]\n"
		"        [--enabled yes|no]",
		"durability=,quota=,enabled=", 1, 1, true, mailbox_set,
		"change how a mailbox is kept; one that is not enabled takes no mail and "
		"no login" },
	{ "mailbox list", "[PATTERN] [--json]", "json", 0, 1, true, mailbox_list,
		"list mailboxes; * in the pattern matches anything" },
	{ "mailbox show", "ADDRESS [--json]", "json", 1, 1, true, mailbox_show,
		"show one mailbox" },
	{ "mailbox passwd", "ADDRESS [--password-stdin | --password P]", "password=,password-stdin",
		1, 1, true, mailbox_passwd, "set a password" },
	{ "mailbox remove", "ADDRESS", "", 1, 1, true, mailbox_remove,
		"remove a mailbox from the directory: nobody can log in, its address is unknown" },
	{ "mailbox adopt", "ADDRESS [--number N] [--made-for ADDRESS]", "number=,made-for=", 1, 1,
		true, mailbox_adopt,
		"after a restore of the directory: what a volume holds that was made for this "
		"address is its mailbox" },
	{ "alias add", "ADDRESS TARGET...", "", 2, POSITIONALS_MAX, true, alias_add,
		"deliver one address to mailboxes" },
	{ "alias list", "[PATTERN] [--json]", "json", 0, 1, true, alias_list, "list the aliases" },
	{ "alias remove", "ADDRESS [TARGET]", "", 1, 2, true, alias_remove,
		"remove an alias or one target" },
	{ "directory list", "[--json]", "json", 0, 0, true, directory_list_servers,
		"the PostgreSQL servers of the directory, and which is the right one" },
	{ "directory adopt", "", "", 0, 0, true, directory_adopt,
		"believe a server to which the directory was brought by a dump" },
	{ "audit", "[--json]", "json", 0, 0, true, audit_list,
		"the last changes and who made them" },
	{ "status", "[--site S] [--node N] [--volume V] [--json]", "site=,node=,volume=,json", 0, 0,
		true, status_run, "the state of every volume and daemon" },
	{ "lag", "[--site S] [--node N] [--volume V] [--json]", "site=,node=,volume=,json", 0, 0,
		true, lag_run, "how far each copy is behind" },
	{ "at-risk", "[--site S] [--node N] [--volume V] [--json]", "site=,node=,volume=,json", 0,
		0, true, at_risk_run, "accepted messages that exist on one site only" },
	{ "failover", "SITE|NODE|VOLUME [--to SITE] [--dry-run] [--accept-loss] [--json]",
		"to=,dry-run,accept-loss,json", 1, 1, true, failover_run,
		"move a volume, or all that a site or node serves, to where the replicas are" },
	{ "failback", "SITE [--dry-run] [--json]", "dry-run,json", 1, 1, true, failback_run,
		"bring back to a site the volumes whose copies it holds, without loss" },
	{ "open", "VOLUME --alone", "alone", 1, 1, true, open_run,
		"serve a volume that waits for copies which are silent" },
	{ "salvage list", "[--site S] [--node N] [--volume V] [--json]", "site=,node=,volume=,json",
		0, 0, true, salvage_list, "tails that were cut off a copy and are kept there" },
	{ "queue list", "[--json]", "json", 0, 0, true, queue_list,
		"messages waiting at the routers" },
	{ "queue show", "ID [--json]", "json", 1, 1, true, queue_show, "one queued message" },
	{ "queue flush", "[ID]", "", 0, 1, true, queue_flush, "try again now" },
	{ "queue drop", "ID", "", 1, 1, true, queue_drop,
		"delete a queued message without a bounce" },
	{ "check", "[--all] [--site S] [--node N] [--volume V] [--json]",
		"all,site=,node=,volume=,json", 0, 0, true, check_run,
		"look for what is wrong on this machine and in the cluster, and say what to do" },
};

static const struct verb *find_verb(int argc, char **argv, int *used_out)
{
	for (unsigned i = 0; i < array_length(verbs); i++) {
		struct str rest = str_from(verbs[i].name), word;
		int used = 0;
		bool same = true;
		while (same && str_next(&rest, ' ', &word)) {
			same = used < argc && str_equal(word, str_from(argv[used]));
			used++;
		}
		if (same) {
			*used_out = used;
			return &verbs[i];
		}
	}
	return NULL;
}

/* "mailbox" of "mailbox add", or a whole verb's name. */
static bool is_in_group(const struct verb *verb, const char *group)
{
	struct str name = str_from(verb->name), word = str_from(group);
	return str_starts_with(name, word) &&
		(name.length == word.length || name.bytes[word.length] == ' ');
}

/* Of the verbs of a group, or of all when there is no such group. */
static void print_help(FILE *out, const char *group)
{
	bool known = false;
	for (unsigned i = 0; group && i < array_length(verbs); i++)
		known = known || is_in_group(&verbs[i], group);
	fprintf(out, "usage: pando [--config FILE] VERB ...\n\n");
	for (unsigned i = 0; i < array_length(verbs); i++) {
		if (known && !is_in_group(&verbs[i], group))
			continue;
		fprintf(out, "  %s%s%s\n        %s\n", verbs[i].name, verbs[i].usage[0] ? " " : "",
			verbs[i].usage, verbs[i].help);
	}
	fprintf(out,
		"\nThe configuration is --config FILE, else $PANDO_CONF, else "
		"/etc/pando/pando.conf.\n"
		"Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration.\n");
}

bool command_has(const struct command *command, const char *option)
{
	for (unsigned i = 0; i < command->option_count; i++)
		if (strcmp(command->options[i].name, option) == 0)
			return true;
	return false;
}

const char *command_option(const struct command *command, const char *option)
{
	const char *value = NULL;
	for (unsigned i = 0; i < command->option_count; i++)
		if (strcmp(command->options[i].name, option) == 0)
			value = command->options[i].value;
	return value;
}

bool command_json(const struct command *command)
{
	return command_has(command, "json");
}

static void complain(const char *format, va_list arguments)
{
	/* An error's text is no longer; an argument may be. */
	char text[1024], shown[4 * sizeof(text)], *to = shown;
	vsnprintf(text, sizeof(text), format, arguments);
	for (const char *from = text; *from; from++) {
		uint8_t byte = (uint8_t)*from;
		if ((byte < ' ' && byte != '\n') || byte == 0x7f)
			to += snprintf(to, 5, "\\x%02x", byte);
		else
			*to++ = *from;
	}
	*to = '\0';
	fflush(stdout);
	fprintf(stderr, "pando: %s\n", shown);
}

void command_complain(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	complain(format, arguments);
	va_end(arguments);
}

int command_fail(const struct error *error)
{
	command_complain("%s", error->text);
	return EXIT_FAILED;
}

int command_usage(const struct command *command, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	complain(format, arguments);
	va_end(arguments);
	fprintf(stderr, "usage: pando %s%s%s\n", command->verb->name,
		command->verb->usage[0] ? " " : "", command->verb->usage);
	return EXIT_USAGE;
}

int command_open_directory(struct command *command)
{
	struct error error = { 0 };
	if (command->writer)
		return EXIT_DONE;
	int code = directory_writer_open(&command->config, &command->writer, &error);
	if (code == 0)
		return EXIT_DONE;
	(void)command_fail(&error);
	/* A connection string that is none stands in the configuration. */
	return code == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

enum option_kind { OPTION_UNKNOWN, OPTION_FLAG, OPTION_VALUE, OPTION_VALUES };

static enum option_kind option_kind(const struct verb *verb, struct str name)
{
	struct str rest = str_from(verb->options), known;
	if (str_equal(name, STR("config")))
		return OPTION_VALUE;
	while (str_next(&rest, ',', &known)) {
		enum option_kind kind = str_ends_with(known, STR("=*")) ? OPTION_VALUES
			: str_ends_with(known, STR("="))                ? OPTION_VALUE
									: OPTION_FLAG;
		if (str_equal(str_first(known, known.length - (kind - OPTION_FLAG)), name))
			return kind;
	}
	return OPTION_UNKNOWN;
}

/* Takes argv[*at] and what belongs to it. */
static int take_option(struct command *command, int argc, char **argv, int *at)
{
	char *text = argv[*at] + 2, *equals = strchr(text, '=');
	struct str name = equals ? str_of(text, (size_t)(equals - text)) : str_from(text);
	enum option_kind kind = option_kind(command->verb, name);
	if (kind == OPTION_UNKNOWN)
		return command_usage(command, "there is no option %s here", argv[*at]);
	if (kind == OPTION_FLAG && equals)
		return command_usage(command, "--" STR_FORMAT " takes no value", STR_ARG(name));
	const char *value = NULL;
	if (kind != OPTION_FLAG) {
		value = equals ? equals + 1 : (*at + 1 < argc ? argv[++*at] : NULL);
		if (!value)
			return command_usage(command, "--%s needs a value", text);
	}
	if (equals)
		*equals = '\0';
	if (kind != OPTION_VALUES && command_has(command, text))
		return command_usage(command, "--%s is given twice", text);
	if (strcmp(text, "config") == 0)
		command->config_file = value;
	else if (command->option_count == OPTIONS_MAX)
		return command_usage(command, "more than %d options", OPTIONS_MAX);
	else
		command->options[command->option_count++] = (struct option){ text, value };
	return EXIT_DONE;
}

static int parse(struct command *command, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "--", 2) == 0 && argv[i][2]) {
			int code = take_option(command, argc, argv, &i);
			if (code != EXIT_DONE)
				return code;
		} else if (command->positional_count == POSITIONALS_MAX) {
			return command_usage(command, "more than %d arguments", POSITIONALS_MAX);
		} else {
			command->positionals[command->positional_count++] = argv[i];
		}
	}
	if (command->positional_count < command->verb->positionals_min)
		return command_usage(command, "an argument is missing");
	if (command->positional_count > command->verb->positionals_max)
		return command_usage(command, "`%s` is too much",
			command->positionals[command->verb->positionals_max]);
	return EXIT_DONE;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return argc == 0 || strcmp(argv[0], "help") == 0;
}

static const char *help_group(const struct command *command, int argc, char **argv)
{
	if (command->verb)
		return command->verb->name;
	bool is_help = argc > 0 && strcmp(argv[0], "help") == 0;
	return argc > is_help ? argv[is_help] : NULL;
}

int main(int argc, char **argv)
{
	struct command command = { 0 };
	struct error error = { 0 };
	int used = 0, first = 1;
	/* A daemon that hangs up is an answer, not our end; so is a closed pager. */
	signal(SIGPIPE, SIG_IGN);
	log_setup("pando", LOG_LEVEL_ERROR);
	if (argc > 2 && strcmp(argv[1], "--config") == 0) {
		command.config_file = argv[2];
		first = 3;
	} else if (argc > 1 && strncmp(argv[1], "--config=", 9) == 0) {
		command.config_file = argv[1] + 9;
		first = 2;
	}
	argc -= first;
	argv += first;
	if (argc == 1 && strcmp(argv[0], "--version") == 0) {
		printf("pando %s\n", PANDO_VERSION);
		return EXIT_DONE;
	}
	command.verb = find_verb(argc, argv, &used);
	if (wants_help(argc, argv)) {
		print_help(stdout, help_group(&command, argc, argv));
		return argc == 0 ? EXIT_USAGE : EXIT_DONE;
	}
	if (!command.verb) {
		command_complain("there is no verb `%s%s%s`", argv[0], argc > 1 ? " " : "",
			argc > 1 ? argv[1] : "");
		print_help(stderr, argv[0]);
		return EXIT_USAGE;
	}
	int code = parse(&command, argc - used, argv + used);
	if (code != EXIT_DONE)
		return code;
	command.config_file = config_path(command.config_file);
	if (command.verb->needs_config &&
		config_load(&command.config, command.config_file, &error) < 0) {
		command_fail(&error);
		config_deinit(&command.config);
		return EXIT_USAGE;
	}
	code = command.verb->run(&command);
	directory_writer_close(&command.writer);
	config_deinit(&command.config);
	if (fflush(stdout) != 0 && code == EXIT_DONE)
		code = EXIT_FAILED;
	return code;
}
