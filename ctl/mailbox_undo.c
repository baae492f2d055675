/* Mailboxes that go, come back, or are called something else; their mail stays where it is. */

#include "ctl/command.h"

#include <stdio.h>

enum {
	/* Who leaves, or is removed by mistake, is missed within two weeks. */
	KEEP_DAYS = 14,
	KEEP_DAYS_MAX = 36500,
	DAY_S = 86400,
};

int mailbox_remove(struct command *command)
{
	struct error error = { 0 };
	const char *address = command->positionals[0], *keep = command_option(command, "keep-days");
	uint64_t days = KEEP_DAYS;
	if (keep && !str_to_u64(str_from(keep), KEEP_DAYS_MAX, &days))
		return command_usage(
			command, "--keep-days wants a number of days, %d at most", KEEP_DAYS_MAX);
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	if (directory_remove_mailbox(command->writer, address, days * DAY_S, &error) < 0)
		return command_fail(&error);
	if (days == 0)
		printf("removed; its mail goes for good when its node looks next (purge_every_s), "
		       "and "
		       "until then `pando mailbox restore %s` brings it back\n",
			address);
	else
		printf("removed; its mail is kept for %llu day%s at least, and `pando mailbox "
		       "restore %s` brings it back\n",
			(unsigned long long)days, days == 1 ? "" : "s", address);
	return EXIT_DONE;
}

static void print_left_out(struct str addresses, const char *target)
{
	struct str line;
	while (str_next(&addresses, '\n', &line))
		if (line.length > 0)
			printf("its alias " STR_FORMAT " is a mailbox, or leads to %s, or is of a "
			       "domain that is served no more, by now: it stays as it is\n",
				STR_ARG(line), target);
}

int mailbox_restore(struct command *command)
{
	struct error error = { 0 };
	struct buf left_out = { 0 };
	const char *address = command->positionals[0], *as = command_option(command, "as");
	const char *number = command_option(command, "number");
	uint64_t id = 0;
	if (number && !str_to_u64(str_from(number), INT64_MAX, &id))
		return command_usage(command,
			"--number wants the number that `pando mailbox list --removed` shows");
	if (as && mailbox_check_address(as, &error) < 0)
		return command_fail(&error);
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	if (directory_restore_mailbox(command->writer, address, id, as, &left_out, &error) < 0)
		code = command_fail(&error);
	else
		print_left_out(buf_str(&left_out), as ? as : address);
	buf_deinit(&left_out);
	return code;
}

int mailbox_rename(struct command *command)
{
	struct error error = { 0 };
	const char *address = command->positionals[0], *new_address = command->positionals[1];
	if (mailbox_check_address(new_address, &error) < 0)
		return command_fail(&error);
	int code = command_open_directory(command);
	if (code != EXIT_DONE)
		return code;
	if (directory_rename_mailbox(command->writer, address, new_address,
		    command_has(command, "keep-old"), &error) < 0)
		return command_fail(&error);
	return EXIT_DONE;
}
