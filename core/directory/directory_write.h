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
/* For who writes again what was refused, as daemons do: if its process hangs within a transaction
 * the server ends that so soon that no command is refused for it. */
void directory_writer_give_way(struct directory_writer *writer);
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

/* The directory at one revision, as the file of a standalone one, in memory: it holds what
 * passwords are checked by, and a file in clear might be left behind. The caller's reference. Also
 * of one that must not be written. */
int directory_export(struct directory_writer *writer, struct bytes **file_out,
	uint64_t *revision_out, struct error *error) must_check;

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
/* Something was written by this writer: what was read before may be old. */
bool directory_has_committed(const struct directory_writer *writer);

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
/* Nobody can log in, its address is unknown; it is kept as it was, with the aliases that led to it,
 * for so long at least. */
int directory_remove_mailbox(struct directory_writer *writer, const char *address,
	uint64_t keep_s, struct error *error) must_check;
/* The mailbox that had this address, of several the last one or that of `id` (0: the last), is
 * there again: under `new_address`, or its own where that is NULL. -EEXIST when that is somebody's
 * by now. `left_out` gets the aliases that could not be put back, one a line. */
int directory_restore_mailbox(struct directory_writer *writer, const char *address, uint64_t id,
	const char *new_address, struct buf *left_out, struct error *error) must_check;
/* The mailbox keeps all but its address; aliases that lead to it follow. `keeps_old`: its old
 * address becomes an alias. */
int directory_rename_mailbox(struct directory_writer *writer, const char *address,
	const char *new_address, bool keeps_old, struct error *error) must_check;
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

/* A mailbox whose time in `removed_mailbox` is over. */
struct purge {
	uint64_t mailbox_id;
	uint32_t volume_id;
	uint8_t mark[MAILBOX_MARK_LENGTH];
	char address[321]; /* for the audit */
};
/* Those of the volumes that the directory names this node for; from now on they can be restored no
 * more. The same again until directory_end_purge, when the volume holds nothing of it. */
int directory_begin_purges(struct directory_writer *writer, uint32_t node_id,
	struct purge *purges_out, unsigned max, unsigned *count_out,
	struct error *error) must_check;
int directory_end_purge(struct directory_writer *writer, const struct purge *purge,
	struct error *error) must_check;
int directory_set_credential(struct directory_writer *writer, const char *address,
	const char *scram, struct error *error) must_check;

/* The target must be a mailbox or alias of the cluster. */
int directory_add_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error) must_check;
/* target NULL: all of them. */
int directory_remove_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error) must_check;

/* What `pando failover` decides for one volume. */
#define PROMOTE_STALE ((uint64_t)INT64_MAX)
struct promotion {
	uint32_t volume_id;
	uint64_t expected_epoch;
	uint8_t expected_reign[REIGN_LENGTH];
	uint64_t epoch; /* above expected_epoch and every replica's */
	uint8_t reign[REIGN_LENGTH];
	uint32_t primary_node_id;
	/* As in struct directory_volume. */
	uint64_t token, clean_after, epoch_start_lsn;
	/* The epoch of the log that ends there. With it, it reaches what the row calls freed, or
	 * nothing is written; PROMOTE_STALE: that does not matter. */
	uint64_t from_epoch;
	const char *action; /* for the audit; NULL: promote */
	/* Out: the volume's epoch, reign or freed place is another than expected, and it stays as
	 * it is. */
	bool is_stale;
};

/* A volume as its row was read. */
struct volume_seen {
	uint32_t volume_id;
	uint64_t epoch;
};
/* Takes the volumes for the command `doing` ("failover site-a"), all of them or none, until the
 * writer is closed: two commands that fence and hold the same copies spoil each other. -EBUSY with
 * a sentence about who has one of them; -ESTALE when a row has another epoch than was seen. The end
 * of the command is the end of its hold, however it ends: its connection is gone at once, within 10
 * s where its machine is dead or cut off, and within a minute where it hangs. A session that is
 * lost takes them again before the next change, with the same refusals, and with -ESTALE too when a
 * volume has other copies than when they were taken first, but for what this writer has changed of
 * them. Once for a writer. Nothing on a file: what is there has no other copy. */
int directory_begin_moves(struct directory_writer *writer, const char *doing,
	const struct volume_seen *volumes, unsigned count, struct error *error) must_check;
/* What the primary of an epoch says of it. */
struct volume_service {
	uint32_t volume_id;
	uint64_t epoch;
	/* Its last opening. */
	uint64_t incarnation;
	/* How far ahead of a copy it is to run, if that is further than an unclean reign would pass
	 * over now. */
	uint64_t uid_slacks;
	/* Copies (struct directory_volume) that have been in step: they count from now on; 0: no
	 * more. */
	uint64_t filled_copies[VOLUME_COPIES_MAX];
	/* As in struct directory_volume; 0: none. */
	uint64_t freed_epoch, freed_lsn;
};
/* Slacks and freed place are never lowered; nothing when the epoch has passed, or all that is
 * known. */
int directory_note_service(struct directory_writer *writer, const struct volume_service *service,
	struct error *error) must_check;
/* One transaction, which passes over what is stale. What was decided holds until `decide_by_us` (of
 * clock_mono_us; 0: for ever), which is looked at when all rows are locked: later nothing is
 * written and the code is -ETIMEDOUT. */
int directory_promote(struct directory_writer *writer, struct promotion *promotions, unsigned count,
	uint64_t decide_by_us, struct error *error) must_check;

/* ---- changing and removing what is there (directory_places.c) ----
 *
 * -EBUSY with a sentence that names what still stands on it; -ENOENT where it is not there. */

int directory_set_volume(struct directory_writer *writer, const char *name,
	const char *durability, struct error *error) must_check;
int directory_rename_volume(struct directory_writer *writer, const char *name,
	const char *new_name, struct error *error) must_check;
/* With all of its copies; no mailbox may be on it. Removed ones that are kept are given up only
 * with `forgets_removed`. Wants the volume taken by directory_begin_moves. */
int directory_remove_volume(struct directory_writer *writer, const char *name,
	bool forgets_removed, struct error *error) must_check;
/* Of the description: addresses that are NULL stay, and so does the site. */
int directory_set_node(struct directory_writer *writer, const struct node_description *node,
	struct error *error) must_check;
int directory_remove_node(
	struct directory_writer *writer, const char *name, struct error *error) must_check;
int directory_remove_site(
	struct directory_writer *writer, const char *name, struct error *error) must_check;
/* What waits in its queue is the caller's to look at. */
int directory_remove_router(
	struct directory_writer *writer, const char *name, struct error *error) must_check;
int directory_remove_domain(
	struct directory_writer *writer, const char *name, struct error *error) must_check;
/* For how many days, KEEP_EXPUNGED_DAYS_MAX at most, its mailboxes' expunged mail is kept. */
int directory_set_domain(struct directory_writer *writer, const char *name,
	unsigned keep_expunged_days, struct error *error) must_check;

/* ---- the copies of a volume that is there (directory_copies.c) ---- */

/* Each wants the volume taken by directory_begin_moves, which a failover takes too. */
struct copy_change {
	const char *volume, *node;
	/* The row's uid_slacks at least: no folder has given a UID that a reign at this copy, which
	 * has nothing yet, could give again. */
	uint64_t uid_slacks;
};
/* A copy that is to be filled, with a slot of its own: the one that the node had before, or one
 * that was given to nobody yet. -EALREADY: it has one; -ENOSPC: all slots were given. */
int directory_add_copy(struct directory_writer *writer, const struct copy_change *change,
	struct error *error) must_check;
/* Of the copy that is there, by which its epochs are chosen. -ENOENT: there is none. */
int directory_read_slot(struct directory_writer *writer, const struct copy_change *change,
	unsigned *slot_out, struct error *error) must_check;
/* -EBUSY: it is the primary; -ENOENT: there is none. */
int directory_remove_copy(struct directory_writer *writer, const struct copy_change *change,
	struct error *error) must_check;
/* What the node has is thrown away and filled anew. -EBUSY and -ENOENT as above. */
int directory_reseed_copy(struct directory_writer *writer, const struct copy_change *change,
	struct error *error) must_check;

/* ---- what is brought back from a backup (directory_restore.c) ---- */

struct restoration {
	/* As a failover's, but to a log that comes from a backup: nothing stands still for it, and
	 * `token` and `clean_after` are 0. */
	struct promotion promotion;
	const char *volume;
	/* The last opening that the restored log has: the copy there proves itself by it, and an
	 * empty log does not. */
	uint64_t incarnation;
	/* The nodes of the other copies: filled anew. */
	const char *others[VOLUME_COPIES_MAX];
	unsigned other_count;
};
/* One transaction. -ESTALE: the row was changed meanwhile, and all stays as it is. Wants the volume
 * taken by directory_begin_moves. */
int directory_restore_volume(struct directory_writer *writer, struct restoration *restoration,
	struct error *error) must_check;
/* Whether it stands there, for who got no answer to its commit: on another connection. Waits for
 * one that is still on its way. */
int directory_find_restored(struct directory_writer *writer, const struct restoration *restoration,
	bool *is_there_out, struct error *error) must_check;
/* In a directory's file that comes from a backup, before anything is read from it: every volume
 * passes over `epochs`, a multiple of VOLUME_COPIES_MAX, whatever becomes of its log; numbers that
 * may have been given since to volumes, copies and the like are passed over; and the server that
 * the directory was on is forgotten. -ERANGE: a volume would come above `epoch_max`. */
int directory_raise_restored(const char *path, unsigned epochs, uint64_t epoch_max,
	struct error *error) must_check;
/* -EEXIST: the database that this names holds a directory in which something stands. Changes
 * nothing. */
int directory_check_unused(
	const char *conninfo, const char *memory_path, struct error *error) must_check;

/* Sites, nodes, routers and volumes as they are now, for the lookups of directory.h (which find no
 * mailbox in it); a copy goes to the file `copy_path` where that can be written. Iterated by name,
 * nodes and routers by site first, and numbers in names by their value. Release with
 * directory_free_places. */
int directory_read_places(struct directory_writer *writer, const char *copy_path,
	struct directory **directory_out, struct error *error) must_check;
/* The same from the copy, when the directory is away. */
int directory_load_places(
	const char *copy_path, struct directory **directory_out, struct error *error) must_check;
/* In places that were loaded: this node says that it serves the volume, in a later epoch than they
 * have. The node that did takes its place among the copies. */
void directory_note_served(
	struct directory *places, uint32_t volume_id, uint32_t node_id, uint64_t epoch);
/* Sets *directory to NULL; NULL is accepted. */
void directory_free_places(struct directory **directory);

/* Rows for people and scripts; the first line of each is the column names. `match` (may be NULL) is
 * an SQL LIKE pattern on the name or address; \ escapes there. */
enum directory_listing {
	LIST_SITES,
	LIST_NODES,
	LIST_ROUTERS,
	LIST_VOLUMES,
	/* Which node (its id, of one that was removed too) has had which number of a volume. */
	LIST_NUMBERS,
	LIST_DOMAINS,
	LIST_MAILBOXES,
	LIST_REMOVED_MAILBOXES,
	LIST_ALIASES,
	LIST_AUDIT,
};
int directory_list(struct directory_writer *writer, enum directory_listing listing,
	const char *match, struct sql_result **result_out, struct error *error) must_check;
/* Where a mailbox is, and what its domain keeps; -ENOENT with a sentence. */
struct mailbox_place {
	uint64_t id;
	uint32_t volume_id;
	char mark[2 * MAILBOX_MARK_LENGTH + 1]; /* hexadecimal */
	char domain[256];
	unsigned keep_expunged_days;
};
int directory_find_place(struct directory_writer *writer, const char *address,
	struct mailbox_place *place_out, struct error *error) must_check;
int directory_mailbox_address(struct directory_writer *writer, uint64_t id, struct buf *out,
	struct error *error) must_check;

/* For core/directory: the connection below. */
struct sql *directory_writer_sql(struct directory_writer *writer);

#endif
