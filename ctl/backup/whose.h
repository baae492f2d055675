#ifndef PANDO_CTL_BACKUP_WHOSE_H
#define PANDO_CTL_BACKUP_WHOSE_H

/* Whose a set is: sets of two clusters in one folder are no chain, and a volume of one is none of
 * the other's, whatever its number. */

#include "core/config.h"
#include "core/pool.h"

/* The cluster that the configuration's certificates are of, by its authority; in `pool`. */
int backup_name_cluster(const struct config *config, struct pool *pool, const char **name_out,
	struct error *error) must_check;

#endif
