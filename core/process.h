#ifndef PANDO_CORE_PROCESS_H
#define PANDO_CORE_PROCESS_H

/* What every daemon, and in part `pando`, does to its own process at start. */

#include "core/config.h"

/* Descriptors 0 to 2 that whoever started the process had closed lead to nothing from here on:
 * reading finds the end, writing fails. Otherwise the next file or connection that is opened would
 * get such a number, and every line of the log be written into it: a volume, say. First of all. */
void process_keep_standard_descriptors(void);

/* The path after --config (or in --config=PATH), NULL when there is none. */
const char *process_config_argument(int argument_count, char **arguments);
/* Loads the configuration and sets the log up; on failure, or with an argument other than --config,
 * prints the sentence and exits with 2. */
void process_load_config(const char *program, int argument_count, char **arguments,
	struct config *config_out);
/* Becomes `user` for good, groups included, when started as root; files are made as `user` from
 * here on. An empty user changes nothing. */
int process_drop_privileges(const char *user, struct error *error) must_check;
/* With the terminating 0; a data_dir is a few folders deep. */
enum { PROCESS_FOLDER_MAX = 512 };
/* Makes data_dir and the folder `name` in it; both may be there already. Each daemon keeps its
 * things in a folder of its own, so that one machine's daemons can have accounts of their own. */
int process_make_folder(const struct config *config, const char *name,
	char folder_out[PROCESS_FOLDER_MAX], struct error *error) must_check;
/* Tells systemd, where it asked (sd_notify(3)), that the daemon serves; once is enough, again does
 * no harm. */
void process_say_ready(void);
/* Descriptors up to the hard limit: a session needs one or two. */
void process_raise_file_limit(void);

#endif
