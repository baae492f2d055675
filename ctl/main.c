#include "ctl/command.h"

#include "core/directory/directory_write.h"
#include "core/log.h"
#include "core/nearest.h"
#include "core/process.h"
#include "ctl/cluster.h"
#include "proto/mail/legible.h"
#include "proto/mail/utf7.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
	{ "site remove", "NAME", "", 1, 1, true, site_remove,
		"remove a site that has neither node nor router" },
	{ "node add", "NAME --site SITE --lmtp A --imap A --control A --replicator A",
		"site=,lmtp=,imap=,control=,replicator=", 1, 1, true, node_add,
		"add a node; addresses as its routers and peers reach them" },
	{ "node list", "[--json]", "json", 0, 0, true, node_list, "list the nodes" },
	{ "node set", "NAME [--lmtp A] [--imap A] [--control A] [--replicator A]",
		"lmtp=,imap=,control=,replicator=", 1, 1, true, node_set,
		"change a node's addresses" },
	{ "node drain",
		"NAME [--to NODE]... [--to-site SITE] [--dry-run] [--wait]\n"
		"        [--accept-one-copy] [--json]",
		"to=*,to-site=,dry-run,wait,accept-one-copy,json", 1, 1, true, node_drain,
		"take everything off a node, so that it can be removed; again: go on" },
	{ "node remove", "NAME", "", 1, 1, true, node_remove,
		"remove a node that holds no copy of any volume" },
	{ "router add", "NAME --site SITE --control A [--queue A]", "site=,control=,queue=", 1, 1,
		true, router_add, "add a router" },
	{ "router list", "[--json]", "json", 0, 0, true, router_list, "list the routers" },
	{ "router remove", "NAME [--accept-silent]", "accept-silent", 1, 1, true, router_remove,
		"remove a router in whose queue nothing waits" },
	{ "volume add", "NAME --node NODE [--replica NODE]... [--durability remote|strict|local]",
		"node=,replica=*,durability=", 1, 1, true, volume_add,
		"add a volume and where its copies are" },
	{ "volume list", "[--json]", "json", 0, 0, true, volume_list, "list the volumes" },
	{ "volume show", "NAME [--json]", "json", 1, 1, true, volume_show, "show one volume" },
	{ "volume set", "NAME --durability remote|strict|local", "durability=", 1, 1, true,
		volume_set,
		"change how those of a volume's mailboxes are kept that do not say it themselves" },
	{ "volume rename", "NAME NEW-NAME", "", 2, 2, true, volume_rename,
		"give a volume another name" },
	{ "volume remove", "NAME [--forget-removed]", "forget-removed", 1, 1, true, volume_remove,
		"remove a volume that holds no mailbox, with all of its copies" },
	{ "volume balance", "--dry-run [--json]", "dry-run,json", 0, 0, true, volume_balance,
		"propose few moves that make the nodes of each site carry alike" },
	{ "copy add", "VOLUME NODE [--wait] [--json]", "wait,json", 2, 2, true, copy_add,
		"give a node a copy of a volume; it counts when it has been in step" },
	{ "copy remove", "VOLUME NODE [--accept-one-copy] [--json]", "accept-one-copy,json", 2, 2,
		true, copy_remove, "let a node's copy of a volume go; its files stay there" },
	{ "copy reseed", "VOLUME NODE [--wait] [--accept-one-copy] [--json]",
		"wait,accept-one-copy,json", 2, 2, true, copy_reseed,
		"throw a node's copy away and fill it anew" },
	{ "copy verify", "VOLUME [NODE] [--json]", "json", 1, 2, true, copy_verify,
		"compare the digests of a volume's copies now" },
	{ "domain add", "DOMAIN", "", 1, 1, true, domain_add, "serve a mail domain" },
	{ "domain list", "[--json]", "json", 0, 0, true, domain_list, "list the domains" },
	{ "domain set", "DOMAIN --keep-expunged-days N", "keep-expunged-days=", 1, 1, true,
		domain_set,
		"keep what is expunged from its mailboxes for so many days; 0: not at all" },
	{ "domain remove", "DOMAIN", "", 1, 1, true, domain_remove,
		"serve a domain no more that has neither mailbox nor alias" },
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
	{ "mailbox list", "[PATTERN] [--removed] [--json]", "removed,json", 0, 1, true,
		mailbox_list,
		"list mailboxes, or those that were removed and are kept; * in the pattern matches "
		"anything" },
	{ "mailbox show", "ADDRESS [--json]", "json", 1, 1, true, mailbox_show,
		"show one mailbox" },
	{ "mailbox passwd", "ADDRESS [--password-stdin | --password P]", "password=,password-stdin",
		1, 1, true, mailbox_passwd, "set a password" },
	{ "mailbox remove", "ADDRESS [--keep-days N]", "keep-days=", 1, 1, true, mailbox_remove,
		"remove a mailbox: nobody can log in, its address is unknown; it can be restored" },
	{ "mailbox restore", "ADDRESS [--number N] [--as ADDRESS]", "number=,as=", 1, 1, true,
		mailbox_restore,
		"bring back a mailbox that was removed, with its mail, password and aliases" },
	{ "mailbox rename", "ADDRESS NEW-ADDRESS [--keep-old]", "keep-old", 2, 2, true,
		mailbox_rename,
		"give a mailbox another address; the old one becomes an alias with --keep-old" },
	{ "mailbox adopt", "ADDRESS [--number N] [--made-for ADDRESS]", "number=,made-for=", 1, 1,
		true, mailbox_adopt,
		"after a restore of the directory: what a volume holds that was made for this "
		"address is its mailbox" },
	{ "message expunged", "ADDRESS [--folder F] [--since TIME] [--json]", "folder=,since=,json",
		1, 1, true, message_expunged,
		"what was expunged from a mailbox and can be recovered; since 2026-01-31, "
		"2026-01-31T12:00:00Z or 90m, 12h, 7d ago" },
	{ "message recover",
		"ADDRESS --all | --since TIME | --folder F [--uid UID[:UID][,...]]\n"
		"        [--to FOLDER] [--json]",
		"all,folder=,since=,uid=,to=,json", 1, 1, true, message_recover,
		"bring expunged messages back into the folders that they were in, or another" },
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
		0, 0, true, salvage_list,
		"tails that were cut off a copy, and what of them has come home" },
	{ "salvage show", "TAIL [--json]", "json", 1, 1, true, salvage_show,
		"one tail, as `salvage list` names it" },
	{ "salvage retry", "TAIL", "", 1, 1, true, salvage_retry,
		"bring a tail home once more, now" },
	{ "salvage discard", "TAIL", "", 1, 1, true, salvage_discard,
		"bring nothing more home of a tail; its file is kept for 90 days" },
	{ "scrub", "[VOLUME|NODE] [--now] [--report] [--json]", "now,report,json", 0, 1, true,
		scrub_run,
		"how far each copy has been read for what has rotted, and what of it stands; --now "
		"reads it at once" },
	{ "restore",
		"[--set NAME] --from DIR --key FILE --mailbox ADDRESS [--folder NAME]...\n"
		"        [--uid N]... [--into FOLDER | --missing] [--other-mailbox] [--work DIR]\n"
		"        [--dry-run] [--json]\n"
		"    or: [--set NAME] --from DIR --key FILE --drill [--sample PERCENT] "
		"[--work DIR]\n"
		"        [--report FILE] [--json]\n"
		"    or: [--set NAME] --from DIR --key FILE --volume NAME [--accept-loss]\n"
		"        [--other-cluster] [--dry-run] [--json]\n"
		"    or: [--set NAME] --from DIR --key FILE --directory [--other-cluster]\n"
		"        [--dry-run]",
		"from=,key=,set=,mailbox=,folder=*,uid=*,into=,missing,drill,sample=,work=,report=,"
		"volume=,accept-loss,other-cluster,directory,other-mailbox,dry-run,json",
		0, 0, true, restore_run,
		"bring mail, a volume or the directory back out of a backup, or try out that all "
		"of one can be" },
	{ "queue list", "[--json]", "json", 0, 0, true, queue_list,
		"messages waiting at the routers" },
	{ "queue show", "ID [--json]", "json", 1, 1, true, queue_show, "one queued message" },
	{ "queue flush", "[ID]", "", 0, 1, true, queue_flush, "try again now" },
	{ "queue drop", "ID", "", 1, 1, true, queue_drop,
		"delete a queued message without a bounce" },
	{ "backup", "[--key PUBLIC] [--full] [--json] --to DIR", "to=,key=,full,json", 0, 0, true,
		backup_take,
		"back up the whole cluster while it runs, encrypted to backup_key of the "
		"configuration, or to --key: what came since the last backup in the folder" },
	{ "backup key", "--out FILE", "out=", 0, 0, false, backup_key,
		"make a key pair for backups: the file reads them, what is printed seals them" },
	{ "backup list", "--from DIR [--json]", "from=,json", 0, 0, false, backup_list,
		"list the sets of a folder of backups" },
	{ "backup verify", "--from DIR [--set NAME] [--key FILE] [--json]",
		"from=,set=,key=,json", 0, 0, false, backup_verify,
		"read a set and those that it stands on, or all, and compare what was written; "
		"with the key down to each record" },
	{ "backup prune", "--from DIR (--keep N | --keep-days D) [--dry-run] [--json]",
		"from=,keep=,keep-days=,dry-run,json", 0, 0, false, backup_prune,
		"remove the sets on which no set stands that is kept" },
	{ "check", "[--all] [--site S] [--node N] [--volume V] [--json]",
		"all,site=,node=,volume=,json", 0, 0, true, check_run,
		"look for what is wrong on this machine and in the cluster, and say what to do" },
};

/* Of two that are given, the longer one: `backup list` is no `backup`. */
static const struct verb *find_verb(int argc, char **argv, int *used_out)
{
	const struct verb *found = NULL;
	*used_out = 0;
	for (unsigned i = 0; i < array_length(verbs); i++) {
		struct str rest = str_from(verbs[i].name), word;
		int used = 0;
		bool same = true;
		while (same && str_next(&rest, ' ', &word)) {
			same = used < argc && str_equal(word, str_from(argv[used]));
			used++;
		}
		if (same && used > *used_out) {
			*used_out = used;
			found = &verbs[i];
		}
	}
	return found;
}

/* "mailbox" of "mailbox add", or a whole verb's name. */
static bool is_in_group(const struct verb *verb, const char *group)
{
	struct str name = str_from(verb->name), word = str_from(group);
	return str_starts_with(name, word) &&
		(name.length == word.length || name.bytes[word.length] == ' ');
}

static bool is_known_group(const char *group)
{
	for (unsigned i = 0; i < array_length(verbs); i++)
		if (is_in_group(&verbs[i], group))
			return true;
	return false;
}

/* Of one verb, or of those of a group, or of all when there is no such group. */
static void print_help(FILE *out, const struct verb *only, const char *group)
{
	bool known = group && is_known_group(group);
	fprintf(out, "usage: pando [--config FILE] VERB ...\n\n");
	for (unsigned i = 0; i < array_length(verbs); i++) {
		if ((only && only != &verbs[i]) || (known && !is_in_group(&verbs[i], group)))
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
	char text[1024];
	struct buf shown = { 0 };
	vsnprintf(text, sizeof(text), format, arguments);
	/* A line feed too: a name that holds one would begin a line of its own. */
	legible_append(&shown, str_from(text), false);
	fflush(stdout);
	fprintf(stderr, "pando: %s\n", buf_terminated(&shown));
	buf_deinit(&shown);
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

int command_report(int code, const struct error *error)
{
	return code < 0 ? command_fail(error) : EXIT_DONE;
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

/* Names and addresses are UTF-8 in the directory and in mail. */
#define UTF8_HELP ": set your terminal to it, or write what it means in ASCII"

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
	if (value && !utf8_is_valid(str_from(value)))
		return command_usage(
			command, "what --%s is given, `%s`, is not UTF-8" UTF8_HELP, text, value);
	/* The shell's answer to a variable that is not set. A password says itself what it wants.
	 */
	if (value && !value[0] && strcmp(text, "password") != 0)
		return command_usage(
			command, "--%s is given nothing: leave it out, or say what", text);
	bool is_config = strcmp(text, "config") == 0;
	if (is_config ? command->config_file != NULL
		      : kind != OPTION_VALUES && command_has(command, text))
		return command_usage(command, "--%s is given twice", text);
	if (is_config)
		command->config_file = value;
	else if (command->option_count == OPTIONS_MAX)
		return command_usage(command, "more than %d options", OPTIONS_MAX);
	else
		command->options[command->option_count++] = (struct option){ text, value };
	return EXIT_DONE;
}

static bool is_help(const char *argument)
{
	return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

static int parse(struct command *command, int argc, char **argv)
{
	bool is_behind_options = false;
	for (int i = 0; i < argc; i++) {
		if (!is_behind_options && strcmp(argv[i], "--") == 0) {
			is_behind_options = true;
		} else if (!is_behind_options && is_help(argv[i])) {
			command->wants_help = true;
			return EXIT_DONE;
		} else if (!is_behind_options && strncmp(argv[i], "--", 2) == 0) {
			int code = take_option(command, argc, argv, &i);
			if (code != EXIT_DONE)
				return code;
		} else if (!utf8_is_valid(str_from(argv[i]))) {
			return command_usage(
				command, "the argument `%s` is not UTF-8" UTF8_HELP, argv[i]);
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

/* Where no verb is named: no argument at all, the word help first, or the option anywhere. */
static bool asks_for_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (is_help(argv[i]))
			return true;
	return argc == 0 || strcmp(argv[0], "help") == 0;
}

static const char *help_group(int argc, char **argv)
{
	bool is_verb = argc > 0 && strcmp(argv[0], "help") == 0;
	return argc > is_verb ? argv[is_verb] : NULL;
}

/* --config before the verb; 0, or an exit code with the sentence printed. */
static int take_config(struct command *command, int *argc, char ***argv)
{
	const char *first = *argc > 0 ? (*argv)[0] : "";
	int used = 0;
	if (strncmp(first, "--config=", 9) == 0) {
		command->config_file = first + 9;
		used = 1;
	} else if (strcmp(first, "--config") == 0) {
		command->config_file = *argc > 1 ? (*argv)[1] : "";
		used = *argc > 1 ? 2 : 1;
	}
	const char *next = *argc > used ? (*argv)[used] : "";
	if (used > 0 && (strcmp(next, "--config") == 0 || strncmp(next, "--config=", 9) == 0)) {
		command_complain("--config is given twice");
		return EXIT_USAGE;
	}
	if (used > 0 && !command->config_file[0]) {
		command_complain("--config needs the name of a file");
		return EXIT_USAGE;
	}
	*argc -= used;
	*argv += used;
	return EXIT_DONE;
}

/* "add, list" of "site"; nothing of what is no group. */
static void append_verbs_of(const char *group, struct buf *out)
{
	size_t length = strlen(group);
	for (unsigned i = 0; i < array_length(verbs); i++)
		if (is_in_group(&verbs[i], group) && verbs[i].name[length] == ' ')
			buf_printf(out, "%s%s", buf_length(out) ? ", " : "",
				verbs[i].name + length + 1);
}

/* "; did you mean `mailbox add`?", or nothing. */
static void append_nearest_verb(int argc, char **argv, struct buf *out)
{
	struct buf both = { 0 };
	buf_printf(&both, "%s %s", argv[0], argc > 1 ? argv[1] : "");
	struct nearest one = { .wanted = str_from(argv[0]) }, two = { .wanted = buf_str(&both) };
	for (unsigned i = 0; i < array_length(verbs); i++) {
		bool is_one = strchr(verbs[i].name, ' ') == NULL;
		nearest_offer(is_one ? &one : &two, str_from(verbs[i].name));
	}
	const char *name = two.name[0] && argc > 1 ? two.name : one.name;
	if (name[0])
		buf_printf(out, "; did you mean `%s`?", name);
	buf_deinit(&both);
}

/* All verbs would drive the sentence off the screen. */
static int refuse_verb(int argc, char **argv)
{
	struct buf hint = { 0 };
	append_verbs_of(argv[0], &hint);
	if (argv[0][0] == '-') {
		command_complain("`%s` stands where the verb does: options come behind it, and "
				 "only --config FILE may come before",
			argv[0]);
	} else if (buf_length(&hint)) {
		command_complain("there is no verb `%s%s%s`: %s takes %s", argv[0],
			argc > 1 ? " " : "", argc > 1 ? argv[1] : "", argv[0],
			buf_terminated(&hint));
	} else {
		append_nearest_verb(argc, argv, &hint);
		command_complain("there is no verb `%s%s%s`%s", argv[0], argc > 1 ? " " : "",
			argc > 1 ? argv[1] : "", buf_terminated(&hint));
	}
	buf_deinit(&hint);
	fprintf(stderr, "usage: pando [--config FILE] VERB ...; `pando --help` lists the verbs\n");
	return EXIT_USAGE;
}

/* What could not be printed was not done, for whoever reads it. A reader that has seen enough
 * (`pando status | head`) is told nothing. */
static int end_output(int code)
{
	struct pollfd reader = { .fd = STDOUT_FILENO, .events = POLLOUT };
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	/* An earlier failure has left no reason; a pipe or socket without a reader says so. */
	bool is_alone = poll(&reader, 1, 0) == 1 && (reader.revents & POLLERR) != 0;
	if (!is_alone)
		command_complain("the output could not be written%s%s", errno ? ": " : "",
			errno ? strerror(errno) : "");
	return code == EXIT_DONE ? EXIT_FAILED : code;
}

static int run(struct command *command)
{
	struct error error = { 0 };
	command->config_file = config_path(command->config_file);
	if (command->verb->needs_config &&
		config_load(&command->config, command->config_file, &error) < 0) {
		command_fail(&error);
		config_deinit(&command->config);
		return EXIT_USAGE;
	}
	int code = command->verb->run(command);
	/* For who looks when the directory is away. */
	if (command->writer != NULL && directory_has_committed(command->writer))
		cluster_keep_places(command);
	directory_writer_close(&command->writer);
	config_deinit(&command->config);
	return code;
}

int main(int argc, char **argv)
{
	struct command command = { 0 };
	int used = 0;
	process_keep_standard_descriptors();
	/* A daemon that hangs up is an answer, not our end; so is a closed pager. */
	signal(SIGPIPE, SIG_IGN);
	log_setup("pando", LOG_LEVEL_ERROR);
	argc--;
	argv++;
	int code = take_config(&command, &argc, &argv);
	if (code != EXIT_DONE)
		return code;
	if (argc == 1 && strcmp(argv[0], "--version") == 0) {
		printf("pando %s\n", PANDO_VERSION);
		return end_output(EXIT_DONE);
	}
	command.verb = find_verb(argc, argv, &used);
	if (!command.verb && asks_for_help(argc, argv)) {
		const char *group = help_group(argc, argv);
		if (group && !is_help(group) && !is_known_group(group))
			return refuse_verb(1, argv + (strcmp(argv[0], "help") == 0));
		print_help(stdout, NULL, group);
		return end_output(argc == 0 ? EXIT_USAGE : EXIT_DONE);
	}
	if (!command.verb)
		return refuse_verb(argc, argv);
	code = parse(&command, argc - used, argv + used);
	if (code != EXIT_DONE)
		return code;
	if (command.wants_help) {
		print_help(stdout, command.verb, NULL);
		return end_output(EXIT_DONE);
	}
	return end_output(run(&command));
}
