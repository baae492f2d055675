#ifndef PANDO_CTL_LAYOUT_READ_H
#define PANDO_CTL_LAYOUT_READ_H

/* The layout (layout.h) as the directory and the daemons say it now. */

#include "ctl/cluster.h"
#include "ctl/layout.h"

/* `nodes`: the nodes' answers to `status`. Names are the cluster's. 0, or an exit code with the
 * sentence printed: the layout is to be deinitialised then too. */
int layout_read(struct command *command, struct cluster *cluster, const struct question *nodes,
	struct layout *layout_out) must_check;
void layout_deinit(struct layout *layout);
/* The place of the node of this id; layout->node_count: there is none. */
unsigned layout_find_node(const struct layout *layout, uint32_t node_id);

#endif
