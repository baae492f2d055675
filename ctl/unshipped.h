#ifndef PANDO_CTL_UNSHIPPED_H
#define PANDO_CTL_UNSHIPPED_H

/* What nodes say that a copy lacks, by mailbox (answers to `at-risk` and `above`, see
 * node/volume/volumes.h). */

#include "ctl/command.h"
#include "ctl/json.h"

enum { UNSHIPPED_KINDS = 6 };

/* The members of a mailbox's entry, and what one of each is called. */
struct unshipped_kind {
	const char *member, *one;
};
extern const struct unshipped_kind unshipped_kinds[UNSHIPPED_KINDS];

/* Remembers the last address that the directory was asked for: entries of one mailbox follow each
 * other. Zero it; release with unshipped_names_deinit. */
struct unshipped_names {
	struct directory_writer *writer; /* NULL: the directory is away */
	uint64_t id;
	struct buf address;
};
void unshipped_names_deinit(struct unshipped_names *names);

/* Whose mailbox it is, of an entry with mailbox_id and made_for: the address for which the node's
 * own index has it, which a restored directory cannot have wrong; where the directory has another
 * one under its number, both. */
void unshipped_append_name(
	struct unshipped_names *names, const struct json *entry, struct buf *out);

#endif
