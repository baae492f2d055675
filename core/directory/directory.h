#ifndef PANDO_CORE_DIRECTORY_H
#define PANDO_CORE_DIRECTORY_H

/*
 * What a daemon knows of the cluster: a follower of the PostgreSQL schema `pando` (or of the
 * standalone file) with a complete copy in memory and in a SQLite snapshot file. All reads are from
 * memory.
 *
 * Lives on one loop. Pointers returned are valid until the next turn of the loop: copy what is
 * kept. A directory that cannot be reached changes nothing but directory_is_fresh.
 */

#include "core/buf.h"
#include "core/config.h"
#include "core/digest.h"
#include "core/directory/servers.h"
#include "core/error.h"
#include "core/loop.h"

struct directory;

enum durability { DURABILITY_REMOTE, DURABILITY_STRICT, DURABILITY_LOCAL };

enum {
	/* Random; two reigns that never hear of each other do not choose the same. */
	REIGN_LENGTH = 16,
	/* Random: no two mailboxes have the same, whatever became of their ids. */
	MAILBOX_MARK_LENGTH = 16,
	/* A copy in each of four sites, twice; with the primary's, one for each class of epochs
	 * (proto/disk/epochs.h). */
	VOLUME_COPIES_MAX = 8,
	/* Twice what `pando` gives; accounts imported from elsewhere may have longer
	 * ones than 16. */
	SCRAM_SALT_MAX = 32,
	/* Of a domain's `keep_expunged_days`: a year; who wants mail for longer archives it. */
	KEEP_EXPUNGED_DAYS_MAX = 365,
};

struct directory_site {
	uint32_t id;
	char name[64];
};

struct directory_node {
	uint32_t id, site_id;
	char name[64];
	/* "address:port", as reachable from the other machines. */
	char lmtp[96], imap[96], control[96], replicator[96];
};

struct directory_router {
	uint32_t id, site_id;
	char name[64];
	char control[96];
	char queue[96]; /* where peer routers leave queue copies */
};

struct directory_volume {
	uint32_t id;
	char name[64];
	uint64_t epoch;
	uint8_t reign[REIGN_LENGTH];
	uint32_t primary_node_id;
	unsigned replica_count;
	uint32_t replica_node_ids[VOLUME_COPIES_MAX]; /* the other copies */
	/* The class of each copy: epochs given to it are this number modulo VOLUME_COPIES_MAX. */
	uint8_t primary_slot, replica_slots[VOLUME_COPIES_MAX];
	/* Which copies they are: a node that lost its copy, or has thrown it away, gets another one
	 * when it gets one anew. */
	uint64_t primary_copy, replica_copies[VOLUME_COPIES_MAX];
	/* It has not been in step yet since it was added: it counts as no copy. */
	bool replica_seeding[VOLUME_COPIES_MAX];
	enum durability durability;
	/* What was recorded when the current epoch was given, for people to read: whether the old
	 * primary's last bytes may be missing, and the LSN that the chosen copy had reached (0 when
	 * unknown). */
	bool unclean;
	uint64_t epoch_start_lsn;
	/* The process that stands still under this token may begin the epoch; 0: none. */
	uint64_t token;
	/* The chosen copy has all of this epoch, which ended in a fence; 0: it is unclean. */
	uint64_t clean_after;
	/* The last opening that the directory was told of; 0: it was never opened. A log that does
	 * not have it is new, or was put back. */
	uint64_t incarnation;
	/* An unclean reign in epoch E passes over E - 1 slacks of UIDs and so many more. */
	uint64_t uid_slacks;
	/* A copy whose log does not reach this place may show messages whose bodies all others have
	 * given back: it was away for longer than they are kept for it, and is stale. */
	uint64_t freed_epoch, freed_lsn;
};

struct directory_mailbox {
	uint64_t id;
	/* With the id it says which mailbox of a volume this is: a directory that comes back older
	 * gives ids again, and what is stored under another mark is somebody else's. */
	uint8_t mark[MAILBOX_MARK_LENGTH];
	struct str address; /* canonical: lower-case domain, local part as stored */
	uint32_t volume_id;
	enum durability durability; /* already resolved against the volume's default */
	bool enabled;
	uint64_t quota_bytes; /* 0: none */
	uint64_t domain_id;
};

/* How long a domain keeps what is expunged from its mailboxes. */
struct directory_keeping {
	uint64_t domain_id;
	unsigned days; /* 1 to KEEP_EXPUNGED_DAYS_MAX */
};

/* RFC 5802 keys; iterations 0: no password set. */
struct directory_credential {
	uint32_t iterations;
	uint8_t salt[SCRAM_SALT_MAX];
	size_t salt_length;
	uint8_t stored_key[SHA256_LENGTH], server_key[SHA256_LENGTH];
};

/* By what a mailbox's owner is let in, as a number to compare: another one when its address, mark
 * or password is another. A session remembers what it began with, and ends when that is over. */
enum {
	ACCESS_NONE = 0,     /* there is no such mailbox */
	ACCESS_DISABLED = 1, /* it is not enabled */
};

/* What the last change was about. Without `is_all` these mailboxes' rows or credentials came, went
 * or changed, some more than once in the list; with it any may have. */
struct directory_news {
	bool is_all;
	const uint64_t *mailbox_ids;
	size_t count;
};

/* "SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>", PostgreSQL's own form. */
bool directory_parse_credential(
	struct str text, struct directory_credential *credential_out) must_check;

/* An address fits, in any of its forms: a long local part, '@' and a domain. */
enum { DIRECTORY_ADDRESS_MAX = 512 };

/* By what an address is found, and two are told to be one: ASCII in lower case, the domain in its
 * canonical form (domain.h). Empty when it is too long; what is no address is in lower case only.
 */
struct str directory_address_key(struct str address, char out[DIRECTORY_ADDRESS_MAX]);

enum directory_found { DIRECTORY_FOUND, DIRECTORY_NO_USER, DIRECTORY_NO_DOMAIN };

/* Appends where a standalone cluster's directory is: directory/directory.sqlite in data_dir. The
 * folder holds nothing else: who reads the file must be able to make SQLite's files beside it. */
void directory_file_path(const struct config *config, struct buf *out);

/* Opens the snapshot file `snapshot_path` (made when missing, replaced when its content is
 * unusable, only read where it cannot be written) and begins to follow. on_change is called on the
 * loop, never from inside this call: with the first complete content, after every applied batch of
 * changes, and when directory_is_fresh has become true. No snapshot and no reachable directory is
 * not a failure: the daemon starts empty and is filled as soon as the directory answers, or the
 * snapshot can be read. */
struct directory *directory_open(struct loop *loop, const struct config *config,
	const char *snapshot_path, void (*on_change)(void *arg), void *arg);
void directory_close(struct directory **directory);

/* Connected and caught up with the source now (standalone: always). */
bool directory_is_fresh(const struct directory *directory);
/* Some complete content is loaded, fresh or not. */
bool directory_is_loaded(const struct directory *directory);
uint64_t directory_revision(const struct directory *directory);
/* How long ago the source last answered; before it ever has, since directory_open. While it is
 * there and nothing changes it is asked every ten seconds. */
uint64_t directory_age_ms(const struct directory *directory);

/* The PostgreSQL server that this daemon believes to be the directory (servers.h), as it last saw
 * it; system 0 before it has seen any, and standalone. */
struct server_identity directory_server(const struct directory *directory);

/* Resolves an address: case-insensitive, an internationalised domain in either form, subaddress
 * ("user+detail") removed unless an exact entry exists, aliases followed (a few levels, several
 * targets allowed). Calls fn for each mailbox found; fn NULL to ask only. "postmaster" at a served
 * domain (and alone) is always found when the domain has any mailbox: an alias decides, else the
 * first mailbox. */
enum directory_found directory_resolve(const struct directory *directory, struct str address,
	void (*fn)(void *arg, const struct directory_mailbox *mailbox), void *arg);
/* The mailbox of exactly this login name (address or alias of one mailbox), or NULL. */
const struct directory_mailbox *directory_find_login(
	const struct directory *directory, struct str login);
const struct directory_mailbox *directory_find_mailbox(
	const struct directory *directory, uint64_t id);
/* False when the mailbox has no password. */
bool directory_find_credential(const struct directory *directory, uint64_t mailbox_id,
	struct directory_credential *credential_out);

/* The domains that keep expunged mail, rising by id, on the heap; NULL: none does. */
struct directory_keeping *directory_keepings(const struct directory *directory, size_t *count_out);

uint64_t directory_access(const struct directory *directory, uint64_t mailbox_id);
/* What a session is told that began with another access than this one, now the mailbox's. */
const char *directory_access_end(uint64_t access);
/* For on_change, and valid during it. */
struct directory_news directory_news(const struct directory *directory);

const struct directory_volume *directory_find_volume(
	const struct directory *directory, uint32_t id);
const struct directory_node *directory_find_node(const struct directory *directory, uint32_t id);
const struct directory_node *directory_find_node_by_name(
	const struct directory *directory, struct str name);
const struct directory_site *directory_find_site(const struct directory *directory, uint32_t id);
const struct directory_router *directory_find_router_by_name(
	const struct directory *directory, struct str name);

/* Iteration: start with *position = 0; NULL ends. */
const struct directory_site *directory_next_site(
	const struct directory *directory, size_t *position);
const struct directory_node *directory_next_node(
	const struct directory *directory, size_t *position);
const struct directory_router *directory_next_router(
	const struct directory *directory, size_t *position);
const struct directory_volume *directory_next_volume(
	const struct directory *directory, size_t *position);
const struct directory_mailbox *directory_next_mailbox(
	const struct directory *directory, size_t *position);

#endif
