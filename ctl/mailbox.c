/* Mailboxes, their passwords, and aliases. */

#include "ctl/cluster.h"
#include "ctl/output.h"

#include "core/encode.h"
#include "core/rand.h"
#include "proto/mail/address.h"
#include "proto/mail/legible.h"
#include "proto/mail/scram.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* A password, or an address with one; a terminal gives no longer line. */
enum { LINE_MAX_BYTES = 4096 };

/* A line of standard input without its line end; false at the end or when it is too long. */
static bool read_line(FILE *file, char line[LINE_MAX_BYTES])
{
	if (!fgets(line, LINE_MAX_BYTES, file))
		return false;
	size_t length = strcspn(line, "\r\n");
	if (!line[length] && !feof(file))
		return false;
	line[length] = '\0';
	return true;
}

static bool prompt(const char *text, char line[LINE_MAX_BYTES])
{
	struct termios before, silent;
	FILE *terminal = fopen("/dev/tty", "r+e");
	if (!terminal)
		return false;
	bool known = tcgetattr(fileno(terminal), &before) == 0;
	if (known) {
		silent = before;
		silent.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(fileno(terminal), TCSAFLUSH, &silent);
	}
	fprintf(terminal, "%s", text);
	fflush(terminal);
	bool got = read_line(terminal, line);
	fprintf(terminal, "\n");
	if (known)
		tcsetattr(fileno(terminal), TCSAFLUSH, &before);
	fclose(terminal);
	return got;
}

/* From --password, --password-stdin or the terminal. */
static int read_password(const struct command *command, char line[LINE_MAX_BYTES])
{
	const char *given = command_option(command, "password");
	char again[LINE_MAX_BYTES];
	if ((given != NULL) + command_has(command, "password-stdin") +
			command_has(command, "no-password") >
		1)
		return command_usage(command, "the password is given in more than one way");
	if (given) {
		snprintf(line, LINE_MAX_BYTES, "%s", given);
		return EXIT_DONE;
	}
	if (command_has(command, "password-stdin")) {
		if (read_line(stdin, line))
			return EXIT_DONE;
		return command_usage(command,
			"there is no password in the first line of standard "
			"input, or it is far too long");
	}
	if (!prompt("Password: ", line))
		return command_usage(command, "there is no terminal to ask: use --password-stdin");
	if (prompt("Again: ", again) && strcmp(line, again) == 0)
		return EXIT_DONE;
	command_complain("the two passwords differ: nothing was changed");
	return EXIT_FAILED;
}

/* "SCRAM-SHA-256$4096:<salt>$<stored key>:<server key>" appended to `out`. */
static int make_credential(const char *password, struct buf *out, struct error *error)
{
	uint8_t salt[SCRAM_SALT_LENGTH], stored_key[SHA256_LENGTH], server_key[SHA256_LENGTH];
	rand_bytes(salt, sizeof(salt));
	if (!password[0])
		return error_set(error, -EINVAL,
			"the password is empty: give one (`pando mailbox add --no-password` makes "
			"a mailbox that nobody logs in to)");
	if (strlen(password) > SCRAM_PASSWORD_MAX)
		return error_set(
			error, -EINVAL, "the password is longer than %d bytes", SCRAM_PASSWORD_MAX);
	if (scram_derive(str_from(password), str_of(salt, sizeof(salt)), SCRAM_ITERATIONS,
		    stored_key, server_key) < 0)
		return error_set(error, -EINVAL,
			"the password cannot be used: it holds control characters (a tab is one), "
			"unassigned ones, or is not UTF-8");
	buf_printf(out, "SCRAM-SHA-256$%d:", SCRAM_ITERATIONS);
	encode_base64(out, str_of(salt, sizeof(salt)));
	buf_append_byte(out, '$');
	encode_base64(out, str_of(stored_key, sizeof(stored_key)));
	buf_append_byte(out, ':');
	encode_base64(out, str_of(server_key, sizeof(server_key)));
	return 0;
}

int mailbox_check_address(const char *text, struct error *error)
{
	struct address address;
	int32_t unseen = legible_find_unseen(str_from(text));
	/* What ASCII has of these stands in the sentence below. */
	if (unseen >= 0x80)
		return error_set(error, -EINVAL,
			"`%s` holds the character U+%04X, which is not seen or shows others in "
			"another order: one address would look like another; leave it out",
			text, (unsigned)unseen);
	if (address_parse(str_from(text), &address) && !address.is_literal && !address.is_quoted &&
		!address_is_relay_hack(&address))
		return 0;
	return error_set(error, -EINVAL,
		"`%s` is no address that mail can be sent to: write it as user@domain, without "
		"spaces, quotes, %% and !",
		text);
}

int mailbox_add(struct command *command)
{
	struct error error = { 0 };
	struct buf scram = { 0 };
	char password[LINE_MAX_BYTES];
	const char *quota = command_option(command, "quota");
	struct mailbox_description mailbox = {
		.address = command->positionals[0],
		.volume = command_option(command, "volume"),
		.durability = command_option(command, "durability"),
	};
	if (quota && !str_to_u64(str_from(quota), INT64_MAX, &mailbox.quota_bytes))
		return command_usage(command, "--quota wants a number of bytes");
	if (mailbox_check_address(mailbox.address, &error) < 0)
		return command_fail(&error);
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	if (!command_has(command, "no-password") || command_has(command, "password") ||
		command_has(command, "password-stdin")) {
		code = read_password(command, password);
		if (code != EXIT_DONE)
			return code;
		if (make_credential(password, &scram, &error) < 0)
			return command_fail(&error);
		mailbox.scram = buf_terminated(&scram);
	}
	mailbox.id_above = cluster_highest_mailbox_id(command);
	if (directory_add_mailbox(command->writer, &mailbox, &error) < 0)
		code = command_fail(&error);
	buf_deinit(&scram);
	return code;
}

/* One line of an import. */
static int import_line(
	struct command *command, uint64_t id_above, char *line, struct error *error)
{
	struct buf scram = { 0 };
	char *fields[4] = { line, NULL, NULL, NULL };
	for (unsigned i = 1; i < array_length(fields); i++) {
		char *tab = fields[i - 1] ? strchr(fields[i - 1], '\t') : NULL;
		if (tab)
			*tab = '\0', fields[i] = tab + 1;
	}
	const char *password =
		fields[1] && fields[1][0] ? fields[1] : command_option(command, "password");
	struct mailbox_description mailbox = {
		.address = fields[0],
		.volume = fields[2] && fields[2][0] ? fields[2] : NULL,
		.durability = fields[3] && fields[3][0] ? fields[3] : NULL,
		.id_above = id_above,
	};
	int code = mailbox_check_address(mailbox.address, error);
	if (code < 0)
		return code;
	if (mailbox.durability && strchr(mailbox.durability, '\t'))
		return error_set(error, -EINVAL,
			"more than four fields: ADDRESS<tab>PASSWORD<tab>VOLUME<tab>DURABILITY");
	if (legible_find_control(str_from(mailbox.volume ? mailbox.volume : "")) != LEGIBLE ||
		legible_find_control(str_from(mailbox.durability ? mailbox.durability : "")) !=
			LEGIBLE)
		return error_set(error, -EINVAL,
			"what stands for the volume or the durability is no name of one: see "
			"`pando volume list`");
	if (password && strncmp(password, "SCRAM-SHA-256$", 14) == 0)
		buf_append_str(&scram, str_from(password));
	else if (password)
		code = make_credential(password, &scram, error);
	if (password)
		mailbox.scram = buf_terminated(&scram);
	if (code == 0)
		code = directory_add_mailbox(command->writer, &mailbox, error);
	buf_deinit(&scram);
	return code;
}

static int import_file(struct command *command, FILE *file, const char *name)
{
	struct error error = { 0 }, reason = { 0 };
	char line[LINE_MAX_BYTES];
	unsigned number = 0, added = 0;
	uint64_t id_above = cluster_highest_mailbox_id(command);
	if (directory_begin(command->writer, &error) < 0)
		return command_fail(&error);
	while (read_line(file, line)) {
		number++;
		/* A comment; without the space it is an address, which may begin so. */
		if (!line[0] || strcmp(line, "#") == 0 || strncmp(line, "# ", 2) == 0)
			continue;
		if (import_line(command, id_above, line, &reason) < 0) {
			directory_rollback(command->writer);
			error_set(&error, -EINVAL, "%s line %u: %s. Nothing was added", name,
				number, reason.text);
			return command_fail(&error);
		}
		added++;
	}
	if (!feof(file)) {
		int why = ferror(file) ? errno : 0;
		directory_rollback(command->writer);
		if (why)
			error_set(&error, -why, "%s cannot be read: %s. Nothing was added", name,
				strerror(why));
		else
			error_set(&error, -EINVAL,
				"%s line %u is no line of text, or longer than %d bytes. Nothing "
				"was added",
				name, number + 1, LINE_MAX_BYTES);
		return command_fail(&error);
	}
	if (directory_commit(command->writer, &error) < 0)
		return command_fail(&error);
	printf("%u mailbox%s added\n", added, added == 1 ? "" : "es");
	return EXIT_DONE;
}

/* All of it, before the directory is locked: whoever writes it may take as long as they like, and
 * everybody else's writing would wait. NULL when there is no room for it. */
static FILE *standard_input(void)
{
	char bytes[LINE_MAX_BYTES];
	size_t length;
	FILE *copy = tmpfile();
	while (copy && (length = fread(bytes, 1, sizeof(bytes), stdin)) > 0)
		if (fwrite(bytes, 1, length, copy) != length)
			break;
	if (copy && (ferror(stdin) || ferror(copy) || fseek(copy, 0, SEEK_SET) != 0)) {
		int why = errno;
		fclose(copy);
		errno = why;
		return NULL;
	}
	return copy;
}

int mailbox_import(struct command *command)
{
	const char *name = command->positionals[0];
	bool is_stdin = strcmp(name, "-") == 0;
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	FILE *file = is_stdin ? standard_input() : fopen(name, "re");
	if (!file)
		return command_usage(command, "%s cannot be %s: %s",
			is_stdin ? "standard input" : name, is_stdin ? "read" : "opened",
			strerror(errno));
	code = import_file(command, file, is_stdin ? "standard input" : name);
	fclose(file);
	return code;
}

/* The operator's pattern (`*`, `?`) as an SQL LIKE pattern, or an exact name. */
static void like_pattern(const char *pattern, bool exact, struct buf *out)
{
	for (; *pattern; pattern++) {
		if (strchr("%_\\", *pattern))
			buf_append_byte(out, '\\');
		buf_append_byte(out,
			*pattern == '*' && !exact           ? '%'
				: *pattern == '?' && !exact ? '_'
							    : *pattern);
	}
}

static int list(struct command *command, enum directory_listing listing, const char *pattern,
	bool single, const char *empty)
{
	struct error error = { 0 };
	struct sql_result *result = NULL;
	struct buf like = { 0 }, canonical = { 0 };
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	directory_canonical_address(pattern, &canonical);
	like_pattern(buf_terminated(&canonical), single, &like);
	if (directory_list(command->writer, listing, buf_terminated(&like), &result, &error) < 0) {
		code = command_fail(&error);
	} else if (single && sql_rows(result) == 0) {
		error_set(&error, -ENOENT, "there is no mailbox `%s`: see `pando mailbox list`",
			pattern);
		code = command_fail(&error);
	} else {
		print_listing(result, command_json(command), single, empty);
	}
	sql_result_free(&result);
	buf_deinit(&canonical);
	buf_deinit(&like);
	return code;
}

int mailbox_set(struct command *command)
{
	struct error error = { 0 };
	const char *durability = command_option(command, "durability");
	const char *quota = command_option(command, "quota");
	const char *enabled = command_option(command, "enabled");
	uint64_t bytes = 0, is_enabled = enabled && strcmp(enabled, "yes") == 0;
	if (!durability && !quota && !enabled)
		return command_usage(command, "nothing to set");
	if (quota && !str_to_u64(str_from(quota), INT64_MAX, &bytes))
		return command_usage(command, "--quota wants a number of bytes; 0 is no limit");
	if (enabled && !is_enabled && strcmp(enabled, "no") != 0)
		return command_usage(command, "--enabled wants yes or no");
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	struct mailbox_settings settings = {
		.durability = durability && strcmp(durability, "volume") == 0 ? "" : durability,
		.quota_bytes = quota ? &bytes : NULL,
		.enabled = enabled ? &is_enabled : NULL,
	};
	if (directory_set_mailbox(command->writer, command->positionals[0], &settings, &error) < 0)
		return command_fail(&error);
	return EXIT_DONE;
}

int mailbox_list(struct command *command)
{
	if (command_has(command, "removed"))
		return list(command, LIST_REMOVED_MAILBOXES,
			command->positional_count ? command->positionals[0] : "*", false,
			"no mailbox is removed and kept");
	return list(command, LIST_MAILBOXES,
		command->positional_count ? command->positionals[0] : "*", false,
		command->positional_count
			? "no mailbox has an address like this: see `pando mailbox list`"
			: "no mailbox: `pando mailbox add ADDRESS`");
}

int mailbox_show(struct command *command)
{
	return list(command, LIST_MAILBOXES, command->positionals[0], true, "");
}

int mailbox_passwd(struct command *command)
{
	struct error error = { 0 };
	struct buf scram = { 0 };
	char password[LINE_MAX_BYTES];
	int code = command_open_directory(command);
	if (code == EXIT_DONE)
		code = read_password(command, password);
	if (code != EXIT_DONE)
		return code;
	if (make_credential(password, &scram, &error) < 0 ||
		directory_set_credential(command->writer, command->positionals[0],
			buf_terminated(&scram), &error) < 0)
		code = command_fail(&error);
	buf_deinit(&scram);
	return code;
}

int alias_add(struct command *command)
{
	struct error error = { 0 };
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	if (mailbox_check_address(command->positionals[0], &error) < 0 ||
		directory_begin(command->writer, &error) < 0)
		return command_fail(&error);
	for (unsigned i = 1; i < command->positional_count; i++)
		if (directory_add_alias(command->writer, command->positionals[0],
			    command->positionals[i], &error) < 0) {
			directory_rollback(command->writer);
			return command_fail(&error);
		}
	return directory_commit(command->writer, &error) < 0 ? command_fail(&error) : EXIT_DONE;
}

int alias_list(struct command *command)
{
	return list(command, LIST_ALIASES,
		command->positional_count ? command->positionals[0] : "*", false,
		command->positional_count
			? "no alias has an address like this: see `pando alias list`"
			: "no alias: `pando alias add ADDRESS TARGET`");
}

int alias_remove(struct command *command)
{
	struct error error = { 0 };
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	if (directory_remove_alias(command->writer, command->positionals[0],
		    command->positional_count > 1 ? command->positionals[1] : NULL, &error) < 0)
		return command_fail(&error);
	return EXIT_DONE;
}
