#ifndef PANDO_CORE_DIRECTORY_DIRECTORY_WRITE_H
#define PANDO_CORE_DIRECTORY_DIRECTORY_WRITE_H

/*
 * The writing side of the directory, for the operator's command line and nobody else: synchronous,
 * on PostgreSQL or on the standalone file. Every change and its audit row are one transaction;
 * daemons see it within milliseconds.
 *
 * Calls outside directory_begin/directory_commit are transactions of their own. Errors are
 * sentences for the operator: -EEXIST already there, -ENOENT a name that does not exist, -EINVAL a
 * malformed name, -ELOOP an alias that leads back to itself, -EBUSY still in use, -ESTALE lost a
 * compare-and-swap, -EHOSTUNREACH, -EIO.
 */

#include "core/buf.h"
#include "core/config.h"
#include "core/directory/directory.h"
#include "core/directory/sql.h"

struct directory_writer;

/* The directory that the configuration names; it must have been initialised. Where its
 * PostgreSQL must not or cannot be written, reading works and every change gives -EROFS. */
int directory_writer_open(const struct config *config, struct directory_writer **writer_out,
	struct error *error) must_check;
/* Sets *writer to NULL; NULL is accepted. */
void directory_writer_close(struct directory_writer **writer);

/* Appends where `pando` remembers which PostgreSQL server was the right one (servers.h). */
void directory_server_memory(const struct config *config, struct buf *out);

/* Creates the schema (PostgreSQL) or the file, or brings it up to date; any number of times.
 * `memory_path` as in servers.h. */
int directory_init_postgres(const char *conninfo, const char *memory_path, unsigned *applied_out,
	struct error *error) must_check;
int directory_init_file(const char *path, unsigned *applied_out, struct error *error) must_check;
/* Copies a standalone directory into an empty, initialised PostgreSQL one, ids included. */
int directory_move_to_postgres(
	const char *path, const char *conninfo, size_t *rows_out, struct error *error) must_check;

/* Says in the directory that its server follows the one that was seen before, so that all daemons
 * believe it. -EEXIST when it is that one, -ENOENT when none was, -EROFS when it must not be. */
int directory_adopt_server(const char *conninfo, const char *memory_path, char host_out[128],
	struct error *error) must_check;

/* -EROFS with a sentence where the directory, as it was when it was opened, must not be written:
 * only a standby was reached, or the server takes no writes, or several can be written, or it is an
 * old one that came back (servers.h). */
int directory_check_writable(const struct directory_writer *writer, struct error *error) must_check;

int directory_begin(struct directory_writer *writer, struct error *error) must_check;
int directory_commit(struct directory_writer *writer, struct error *error) must_check;
void directory_rollback(struct directory_writer *writer);

/* What a site, node, router or volume (`what`, for the sentence) may be called. */
int directory_check_name(const char *what, const char *name, struct error *error) must_check;

/* An address that others connect to: numbers, not names, so that no lookup stands in the way. */
int directory_check_endpoint(const char *what, const char *address, struct error *error) must_check;

int directory_add_site(
	struct directory_writer *writer, const char *name, struct error *error) must_check;

struct node_description {
	const char *name, *site, *lmtp, *imap, *control, *replicator;
};
int directory_add_node(struct directory_writer *writer, const struct node_description *node,
	struct error *error) must_check;

struct router_description {
	const char *name, *site, *control, *queue;
};
int directory_add_router(struct directory_writer *writer, const struct router_description *router,
	struct error *error) must_check;

struct volume_description {
	const char *name, *primary_node;
	const char *replica_nodes[VOLUME_COPIES_MAX];
	unsigned replica_count;
	const char *durability; /* NULL: remote with replicas, local without */
};
int directory_add_volume(struct directory_writer *writer, const struct volume_description *volume,
	struct error *error) must_check;

int directory_add_domain(
	struct directory_writer *writer, const char *name, struct error *error) must_check;

/* Appends the address as it is stored: an internationalised domain in ASCII (domain.h). What is no
 * address, or has no such domain, as it is. */
void directory_canonical_address(const char *address, struct buf *out);

struct mailbox_description {
	const char *address;
	const char *volume;     /* NULL: the one with the fewest mailboxes */
	const char *durability; /* NULL: the volume's */
	uint64_t quota_bytes;
	const char *scram; /* NULL: no password yet */
	/* Its id is above this one, and so are all later ones: volumes have seen it. */
	uint64_t id_above;
};
int directory_add_mailbox(struct directory_writer *writer,
	const struct mailbox_description *mailbox, struct error *error) must_check;

/* The highest id that a mailbox was given; 0: none. */
int directory_last_mailbox_id(
	struct directory_writer *writer, uint64_t *id_out, struct error *error) must_check;

/* What is to change; the rest stays as it is. */
struct mailbox_settings {
	const char *durability;                /* NULL: stays; "": the volume's */
	const uint64_t *quota_bytes, *enabled; /* NULL: stays; enabled: 0 or 1 */
};
int directory_set_mailbox(struct directory_writer *writer, const char *address,
	const struct mailbox_settings *settings, struct error *error) must_check;
int directory_remove_mailbox(
	struct directory_writer *writer, const char *address, struct error *error) must_check;
/* The mailbox that a volume holds under `id` is this one. */
struct mailbox_adoption {
	uint64_t expected_id; /* of the mailbox before */
	uint64_t id;          /* the same, or one that no mailbox has */
	uint32_t volume_id;
	const char *mark; /* 32 hexadecimal digits */
};
/* The mailbox keeps all else, its password too. -ESTALE when it has another id than expected by
 * now; -EEXIST when another mailbox has the new one. */
int directory_adopt_mailbox(struct directory_writer *writer, const char *address,
	const struct mailbox_adoption *adoption, struct error *error) must_check;
int directory_set_credential(struct directory_writer *writer, const char *address,
	const char *scram, struct error *error) must_check;

/* The target must be a mailbox or alias of the cluster. */
int directory_add_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error) must_check;
/* target NULL: all of them. */
int directory_remove_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error) must_check;

/* What `pando failover` decides for one volume. */
struct promotion {
	uint32_t volume_id;
	uint64_t expected_epoch;
	uint8_t expected_reign[REIGN_LENGTH];
	uint64_t epoch; /* above expected_epoch and every replica's */
	uint8_t reign[REIGN_LENGTH];
	uint32_t primary_node_id;
	/* As in struct directory_volume. */
	uint64_t token, clean_after, epoch_start_lsn;
	const char *action; /* for the audit; NULL: promote */
	/* Out: the volume's epoch or reign is another than expected, and it stays as it is. */
	bool is_stale;
};
/* The primary of this epoch has opened the volume as `incarnation`. Nothing when the epoch has
 * passed. */
int directory_note_opening(struct directory_writer *writer, uint32_t volume_id, uint64_t epoch,
	uint64_t incarnation, struct error *error) must_check;
/* The primary of this epoch is to run further ahead of a copy than an unclean reign would pass over
 * now. Never lowered; nothing when the epoch has passed. */
int directory_raise_uid_slacks(struct directory_writer *writer, uint32_t volume_id, uint64_t epoch,
	uint64_t uid_slacks, struct error *error) must_check;
/* One transaction, which passes over what is stale. What was decided holds until `decide_by_us` (of
 * clock_mono_us; 0: for ever), which is looked at when all rows are locked: later nothing is
 * written and the code is -ETIMEDOUT. */
int directory_promote(struct directory_writer *writer, struct promotion *promotions, unsigned count,
	uint64_t decide_by_us, struct error *error) must_check;

/* Sites, nodes, routers and volumes as they are now, for the lookups of directory.h (which find no
 * mailbox in it); a copy goes to the file `copy_path` where that can be written. Release with
 * directory_free_places. */
int directory_read_places(struct directory_writer *writer, const char *copy_path,
	struct directory **directory_out, struct error *error) must_check;
/* The same from the copy, when the directory is away. */
int directory_load_places(
	const char *copy_path, struct directory **directory_out, struct error *error) must_check;
/* Sets *directory to NULL; NULL is accepted. */
void directory_free_places(struct directory **directory);

/* Rows for people and scripts; the first line of each is the column names. `match` (may be NULL) is
 * an SQL LIKE pattern on the name or address; \ escapes there. */
enum directory_listing {
	LIST_SITES,
	LIST_NODES,
	LIST_ROUTERS,
	LIST_VOLUMES,
	LIST_DOMAINS,
	LIST_MAILBOXES,
	LIST_ALIASES,
	LIST_AUDIT,
};
int directory_list(struct directory_writer *writer, enum directory_listing listing,
	const char *match, struct sql_result **result_out, struct error *error) must_check;
int directory_mailbox_address(struct directory_writer *writer, uint64_t id, struct buf *out,
	struct error *error) must_check;

/* For core/directory: the connection below. */
struct sql *directory_writer_sql(struct directory_writer *writer);

#endif
