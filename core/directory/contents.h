#ifndef PANDO_CORE_DIRECTORY_CONTENTS_H
#define PANDO_CORE_DIRECTORY_CONTENTS_H

/* The directory in memory, private to core/directory: maps from ids, names and addresses to rows.
 */

#include "core/directory/batch.h"
#include "core/directory/directory.h"
#include "core/map.h"

struct contents {
	/* By id; values are the structs of contents.c, which begin with the public ones. */
	struct map *rows[KIND_COUNT];
	/* By name or lower-case address. */
	struct map *node_names, *router_names, *domain_names, *mailbox_addresses, *alias_addresses;
	/* Of the last contents_apply: u64 each of the mailboxes it was about, or all are. */
	struct buf news;
	bool is_news_all;
};

void contents_init(struct contents *contents);
void contents_deinit(struct contents *contents);
void contents_apply(struct contents *contents, const struct directory_batch *batch);

/* directory.c owns the rest of struct directory and begins with this, so that lookups need no more.
 */
struct directory_head {
	struct contents contents;
};

#endif
