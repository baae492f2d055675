#ifndef PANDO_CTL_CHECKS_H
#define PANDO_CTL_CHECKS_H

/* `pando check`: checks.c asks and prints, with what concerns this machine and the directory;
 * servers.c, check_daemons.c and check_volumes.c look at what the daemons answer. */

#include "core/directory/servers.h"
#include "ctl/filter.h"
#include "ctl/output.h"

struct checks {
	struct table table;
	bool all; /* what is in order has its own lines too */
	unsigned good, failed, warned;
	struct filter filter;
	struct server_identity directory; /* that `pando` uses; system 0: not known */
	const struct cluster *cluster;
	/* In the directory's order, as cluster.h says. */
	const struct question *nodes, *routers, *replicators;
	const struct question *kept; /* by the nodes: copies that they hold no more */
};

enum verdict { VERDICT_GOOD, VERDICT_WARN, VERDICT_BAD };

void checks_note(struct checks *checks, enum verdict verdict, const char *what, const char *format,
	...) printf_like(4, 5);

void check_servers(struct checks *checks, struct command *command);
void check_daemons(struct checks *checks);
void check_volumes(struct checks *checks);
void check_mailboxes(struct checks *checks, struct command *command, struct cluster *cluster);

#endif
