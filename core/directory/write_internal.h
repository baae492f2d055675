#ifndef PANDO_CORE_DIRECTORY_WRITE_INTERNAL_H
#define PANDO_CORE_DIRECTORY_WRITE_INTERNAL_H

/* What the files of the writing side share: directory_write.c has the places (sites, nodes,
 * routers, volumes) and promotions, directory_users.c domains, mailboxes and aliases. */

#include "core/directory/directory_write.h"

/* Numbers of one kind taken ahead in this transaction: a counter row updated for each of 100,000
 * mailboxes leaves as many dead versions to walk over. */
struct reservation {
	char kind[16];
	uint64_t next, end, block;
};

struct directory_writer {
	struct sql *sql;
	/* directory_check_writable's answer. */
	bool is_read_only;
	struct error why_read_only;
	bool in_transaction;
	/* During one transaction, so that an import does not count all mailboxes for each new one.
	 */
	struct buf loads; /* struct volume_load each */
	struct reservation reservation;
};

int writer_query(struct directory_writer *writer, struct error *error, const char *text,
	const char *const *values, unsigned count, struct sql_result **result_out) must_check;
/* Begins when the caller has not, and remembers that in *own; leave commits or rolls back then. */
int writer_enter(struct directory_writer *writer, bool *own, struct error *error) must_check;
int writer_leave(
	struct directory_writer *writer, bool own, int code, struct error *error) must_check;
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
/* Returns `code`, with a sentence for -EEXIST. */
int writer_exists_already(
	int code, const char *what, const char *name, struct error *error) must_check;
/* A row of a table that has nothing but an id and a name. */
int writer_add_named(struct directory_writer *writer, const char *table, const char *name,
	struct error *error) must_check;
int writer_check_durability(const char *name, struct error *error) must_check;

#endif
