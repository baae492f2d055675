#ifndef PANDO_CORE_DIRECTORY_WRITE_INTERNAL_H
#define PANDO_CORE_DIRECTORY_WRITE_INTERNAL_H

/* What the files of the writing side share: directory_write.c has the places (sites, nodes,
 * routers, volumes) and promotions, directory_moves.c who may move which volumes now,
 * directory_users.c domains, mailboxes and aliases, directory_removed.c what is undone: removing,
 * restoring and renaming mailboxes, directory_copy.c all of a directory into another,
 * directory_restore.c what comes from a backup. */

#include "core/directory/directory_write.h"

/* Numbers of one kind taken ahead in this transaction: a counter row updated for each of 100,000
 * mailboxes leaves as many dead versions to walk over. */
struct reservation {
	char kind[16];
	uint64_t next, end, block;
};

/* The volumes that directory_begin_moves has taken, as arrays of PostgreSQL. */
struct moves {
	struct buf doing, ids, epochs;
	/* Of each the ids of its copies: when they were taken first, or as this writer has left
	 * them since. */
	struct buf copies;
	/* With the session that had them: taken again before anything is written. */
	bool are_lost;
};

struct directory_writer {
	struct sql *sql;
	const struct config *config;
	/* directory_check_writable's answer. */
	bool is_read_only;
	struct error why_read_only;
	bool in_transaction, has_committed;
	bool gives_way; /* directory_writer_give_way */
	/* During one transaction, so that an import does not count all mailboxes for each new one.
	 */
	struct buf loads; /* struct volume_load each */
	struct reservation reservation;
	struct moves moves;
};

int writer_query(struct directory_writer *writer, struct error *error, const char *text,
	const char *const *values, unsigned count, struct sql_result **result_out) must_check;
/* Begins when the caller has not, and remembers that in *own; leave commits or rolls back then. */
int writer_enter(struct directory_writer *writer, bool *own, struct error *error) must_check;
int writer_leave(
	struct directory_writer *writer, bool own, int code, struct error *error) must_check;
/* The operator's account, also behind sudo. */
void writer_who(char who_out[64]);
int writer_audit(struct directory_writer *writer, const char *action, const char *detail,
	struct error *error) must_check;
/* The next number of a kind; never given again. */
int writer_next_id(struct directory_writer *writer, const char *kind, char id_out[24],
	struct error *error) must_check;
/* From now on they are above this one. */
int writer_raise_ids(struct directory_writer *writer, const char *kind, uint64_t above,
	struct error *error) must_check;
/* The id of a row by its name; -ENOENT with a sentence. */
int writer_find_id(struct directory_writer *writer, const char *table, const char *name,
	char id_out[24], struct error *error) must_check;
/* No promotion, and no other change of it, passes until the transaction has ended. */
int writer_lock_volume(
	struct directory_writer *writer, const char *id, struct error *error) must_check;
/* Sites, nodes and volumes are called by their names alone in one place (`pando failover NAME`).
 * -EEXIST with a sentence where one of another kind than `kind` has the name. */
int writer_check_only_name(struct directory_writer *writer, const char *kind, const char *name,
	struct error *error) must_check;
/* Returns `code`, with a sentence for -EEXIST. */
int writer_exists_already(
	int code, const char *what, const char *name, struct error *error) must_check;
/* A row of a table that has nothing but an id and a name. */
int writer_add_named(struct directory_writer *writer, const char *table, const char *name,
	struct error *error) must_check;
int writer_check_durability(const char *name, struct error *error) must_check;
/* An address for the column of the node with this id is nobody's, or its own already. */
int writer_check_unused(struct directory_writer *writer, const char *address, const char *column,
	const char *node_id, struct error *error) must_check;

/* ---- directory_moves.c ---- */

/* Takes writer->moves in the session that is there now; -EBUSY, -ESTALE as directory_begin_moves,
 * and they stay lost. */
int writer_take_moves(struct directory_writer *writer, struct error *error) must_check;
/* The copies of what was taken as this transaction leaves them; empty: nothing was taken. */
int writer_note_copies(
	struct directory_writer *writer, struct buf *copies_out, struct error *error) must_check;
/* When it is committed: what is taken again is compared with them. */
void writer_keep_copies(struct directory_writer *writer, const struct buf *copies);
void writer_forget_moves(struct directory_writer *writer);

/* ---- directory_copy.c ---- */

struct directory_copied {
	uint64_t revision; /* of what was copied */
	size_t rows;       /* that daemons know */
};
/* All that one directory holds, ids and audit included, into an empty one that has its schema. Both
 * are in transactions, so that the one is of one revision and the other has all or nothing. */
int directory_copy(struct sql *from, struct sql *to, struct directory_copied *copied_out,
	struct error *error) must_check;

/* ---- directory_users.c ---- */

/* The canonical form of an address, in `out` (the domain's, the local part as it is), and the id of
 * its domain; -EINVAL, -ENOENT for a domain that is not served. */
int writer_check_address(struct directory_writer *writer, const char *address, struct buf *out,
	char domain_id_out[24], struct error *error) must_check;
/* -EEXIST for the address of an alias, which no mailbox can have. */
int writer_refuse_alias(
	struct directory_writer *writer, const char *address, struct error *error) must_check;
/* The id of a mailbox, by any spelling of its address. */
int writer_find_mailbox(struct directory_writer *writer, const char *address, char id_out[24],
	struct error *error) must_check;
int writer_put_credential(struct directory_writer *writer, const char *id, const char *scram,
	struct error *error) must_check;

#endif
