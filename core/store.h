#ifndef PANDO_CORE_STORE_H
#define PANDO_CORE_STORE_H

/*
 * A small transactional key-value file (SQLite in WAL mode, synchronous=NORMAL): index checkpoints.
 * A transaction is atomic; the newest ones may be missing after a power cut, never a part of one.
 */

#include "core/buf.h"
#include "core/error.h"

struct store;

int store_open(const char *path, struct store **store_out, struct error *error) must_check;
void store_close(struct store **store);
int store_begin(struct store *store) must_check;
int store_commit(struct store *store) must_check;
void store_rollback(struct store *store);
int store_put(struct store *store, struct str key, struct str value) must_check;
int store_remove(struct store *store, struct str key) must_check;
/* Appends the value to `out`; -ENOENT when there is none. */
int store_get(struct store *store, struct str key, struct buf *out) must_check;
/* All pairs whose key begins with `prefix`, in key order. fn returns 0 to go on. */
int store_each(struct store *store, struct str prefix,
	int (*fn)(void *arg, struct str key, struct str value), void *arg) must_check;

#endif
