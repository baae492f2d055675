#include "ctl/backup/key.h"
#include "ctl/command.h"

#include <stdio.h>

int backup_key(struct command *command)
{
	const char *path = command_option(command, "out");
	struct backup_public public;
	struct error error = { 0 };
	char text[BACKUP_KEY_TEXT_MAX];
	if (!path)
		return command_usage(command, "--out names the file that is to hold the key");
	if (backup_key_create(path, &public, &error) < 0)
		return command_fail(&error);
	backup_public_format(&public, text);
	printf("%s\n", text);
	fflush(stdout);
	/* Beside the key, so that this can be piped to where the public one belongs. */
	fprintf(stderr,
		"%s belongs away from the cluster, in two places: without it no backup can be "
		"read, and whoever has it can read them all\n",
		path);
	return EXIT_DONE;
}
