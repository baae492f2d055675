#ifndef PANDO_CORE_DIRECTORY_SERVERS_H
#define PANDO_CORE_DIRECTORY_SERVERS_H

/*
 * Which of the PostgreSQL servers that a connection string names is the directory. After a standby
 * was promoted, the old server may come back and be written, too: two directories, and what is
 * written to the wrong one is lost. So all hosts are asked, and what was seen before is remembered:
 *
 * 1. A server is known by PostgreSQL's system identifier. A standby has its primary's; one that was
 *    made anew, or from a dump, has another one. It is believed only when its own table `policy`
 *    says after whom it came (`pando directory adopt`).
 * 2. A promotion begins a timeline. Of two servers of one identity the higher timeline is right,
 * and one that is below what was seen before has come back from the past.
 * 3. One server under two addresses is one: it has started at one moment.
 *
 * Blocks: for the command line and for pool threads. Not safe for two threads on one `servers`.
 */

#include "core/buf.h"
#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

struct pg_conn;

enum {
	/* A primary and standbys at a few sites; more hosts in a URL are asked no better. */
	SERVERS_MAX = 8,
};

enum server_state {
	SERVER_AWAY,      /* does not answer, or refuses */
	SERVER_STANDBY,   /* in recovery */
	SERVER_READ_ONLY, /* not in recovery, but default_transaction_read_only */
	SERVER_WRITABLE,
};

enum server_verdict { SERVER_GOOD, SERVER_STALE, SERVER_STRANGER };

/* system 0: none. */
struct server_identity {
	uint64_t system;
	uint32_t timeline;
};

struct server {
	char host[128]; /* "host:port" */
	enum server_state state;
	struct server_identity identity;
	uint64_t started_us;
	/* What its table says: it is `self`, and came after `before`. */
	struct server_identity self, before;
	char reason[256]; /* SERVER_AWAY: in its own words, one line */
	enum server_verdict verdict;
	struct pg_conn *connection;
};

struct servers {
	struct server list[SERVERS_MAX];
	unsigned count;
	struct server_identity known; /* before this look */
	int chosen;                   /* to read from; -1: none */
	bool is_split;                /* several can be written */
};

/* Asks all hosts at once and chooses. A host that is silent holds nothing up for long once one has
 * been found. What was seen is remembered in the file `memory_path` (NULL: nowhere; a file that
 * cannot be read or written is as none). -EINVAL for a malformed connection string, with the
 * sentence; all else is told by `servers_out`, which holds connections until servers_release. */
int servers_ask(const char *conninfo, const char *memory_path, struct servers *servers_out,
	struct error *error) must_check;
void servers_release(struct servers *servers);
/* The chosen server's connection, the caller's from now on. */
struct pg_conn *servers_take(struct servers *servers);
/* Appends a connection string that names the host with this index alone. */
void servers_name_one(const char *conninfo, unsigned index, struct buf *out);

/* The decision, of what the others have filled in. */
void servers_choose(struct servers *servers);
/* 0 when the chosen server may be written; -EROFS with a sentence when the right one must not or
 * cannot be, -EHOSTUNREACH when none answers. */
int servers_check_writable(const struct servers *servers, struct error *error) must_check;

/* ---- what was seen before ---- */

/* None (zeroes) where nothing is remembered, what is cannot be made out, or this account may not
 * read it. -errno: it cannot be read just now, which is no word on which server is the right one.
 */
int servers_recall(const char *memory_path, struct server_identity *seen_out) must_check;
/* -errno; the file is replaced whole or not at all. */
int servers_remember(const char *memory_path, struct server_identity identity) must_check;
/* "SYSTEM TIMELINE after SYSTEM TIMELINE", the row `server` of the table `policy`. */
bool servers_parse_succession(const char *text, struct server_identity *self_out,
	struct server_identity *before_out) must_check;

#endif
