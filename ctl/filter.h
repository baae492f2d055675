#ifndef PANDO_CTL_FILTER_H
#define PANDO_CTL_FILTER_H

/* --site, --node and --volume: which part of the cluster is looked at. Without any of them, all. */

#include "ctl/cluster.h"

struct filter {
	const struct cluster *cluster;
	/* NULL: any. */
	const struct directory_site *site;
	const struct directory_node *node;
	const struct directory_volume *volume;
	bool is_vacant; /* there is no daemon and no volume where it looks */
};

/* 0, or an exit code with the sentence printed: a name that does not exist is an error, and so are
 * options that leave nothing of each other. Valid as long as the cluster. */
int filter_read(struct command *command, const struct cluster *cluster,
	struct filter *filter_out) must_check;
/* The same with the cluster, for looking only; 0 with it open, or an exit code. */
int filter_open(
	struct command *command, struct cluster *cluster, struct filter *filter_out) must_check;
/* What is said where a list is empty: `otherwise`, unless there was nothing to look at. */
const char *filter_empty_text(const struct filter *filter, const char *otherwise);
bool filter_is_empty(const struct filter *filter);
bool filter_has_node(const struct filter *filter, const struct directory_node *node);
bool filter_has_router(const struct filter *filter, const struct directory_router *router);
/* Some copy of it is where the filter looks. */
bool filter_has_volume(const struct filter *filter, const struct directory_volume *volume);
/* The pair of a primary and one replica: either is where the filter looks. */
bool filter_has_copy(const struct filter *filter, const struct directory_volume *volume,
	const struct directory_node *replica);

/* It is where the filter looks, or knows of a volume with a copy there: what is said of such a
 * volume its primary says, wherever that is. */
bool filter_concerns_node(const struct filter *filter, const struct directory_node *node);

/* Say on standard error which daemons could not be asked: cluster_ask_nodes's questions, to nodes
 * that the filter concerns, or those to routers. True when all answered. */
bool filter_tell_silent_nodes(const struct filter *filter, const struct question *nodes);
bool filter_tell_silent_routers(const struct filter *filter, const struct question *routers);

#endif
