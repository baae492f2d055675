#ifndef PANDO_CORE_VITALS_H
#define PANDO_CORE_VITALS_H

/*
 * What a daemon knows of its own health: the certificates it really uses (not the files that stand
 * there by now), the room on its disks, the age of what it knows of the cluster, its version. Told
 * twice from the same numbers: as metrics, and to `pando` in the answer to `status`.
 *
 * Judges nothing: the limits are `pando check`'s and the alert rules'. Lives on one loop.
 */

#include "core/directory/directory.h"
#include "core/tls.h"

struct vitals;

/* For as long as the process runs. `program` as in "pando-node" and everything given below outlive
 * it. */
struct vitals *vitals_create(struct loop *loop, const char *program);
/* `use`: "cluster" or "public". `host_name` (may be NULL) is the name that others look for in it.
 */
void vitals_watch_certificate(struct vitals *vitals, const char *use, const char *file,
	const struct tls_context *tls, const char *host_name);
/* `use`: what is kept there. The folder need not exist yet. */
void vitals_watch_disk(struct vitals *vitals, const char *use, const char *path);
void vitals_watch_directory(struct vitals *vitals, const struct directory *directory);
/* Appends members of an object, without braces, as they are now. */
void vitals_report(struct vitals *vitals, struct buf *json_out);

#endif
