#ifndef PANDO_CTL_BACKUP_LIVING_H
#define PANDO_CTL_BACKUP_LIVING_H

/*
 * A mailbox of the living cluster, at its home through a router, by the certificate of role `ctl`
 * (router/imap_login.h, XPANDO-SALVAGE): a client's side of IMAP as far as a restore and its drill
 * need it. Everything blocks, a step LIVING_STEP_MS at most without a word from the other side.
 *
 * A step that fails with a negative errno has a sentence (`error` is never NULL); after -ECONNRESET
 * the connection is gone, and the mailbox is to be opened anew.
 */

#include "core/bytes.h"
#include "core/config.h"
#include "core/directory/directory.h"
#include "core/pool.h"

enum {
	/* As long as a node gives a step of its own (node/salvage/work.h): a login takes the router
	 * 8 s at most, and one message as large as there are crosses a slow line. */
	LIVING_STEP_MS = 60 * 1000,
	/* One router's greeting, or its login: as above, and some for the way. */
	LIVING_LOGIN_MS = 10 * 1000,
	/* Who has waited so long for a login wants to know for whom. */
	LIVING_SLOW_MS = 1500,
	/* Of one FETCH of bodies: one command is a line that a server takes, and what was read of
	 * it is not much to read again when the connection goes. */
	LIVING_FETCH_MAX = 100,
};

/* Where mailboxes are reached: the routers' addresses and the certificate. */
struct living_way;
/* Routers of the site `config` names come first. -ENOENT: no router has an address for it. */
int living_way_open(const struct config *config, const struct directory *directory,
	struct living_way **way_out, struct error *error) must_check;
/* NULL is accepted. */
void living_way_close(struct living_way **way);

/* Of every login from here on: `on_slow` (NULL: nobody) hears of one that takes LIVING_SLOW_MS;
 * none is waited for beyond `end_us` (clock_mono_us; 0: no end). */
void living_way_watch(
	struct living_way *way, void (*on_slow)(void *arg), void *arg, uint64_t end_us);
/* "NAME at ADDRESS": in the last login, or the one that goes on, no router has answered, and not
 * this one; NULL: one did. */
const char *living_way_router_away(const struct living_way *way);

struct living;

/* Asks one router after the other. -EACCES: the cluster has no such mailbox, or its home does not
 * let `pando` in; -ECONNRESET: no router, or not its home, can be reached now. The way outlives it.
 */
int living_open(struct living_way *way, const uint8_t mark[MAILBOX_MARK_LENGTH],
	const char *address, struct living **living_out, struct error *error) must_check;
/* NULL is accepted. */
void living_close(struct living **living);

/* Its folders, in `pool`. */
struct living_folder {
	struct str name; /* UTF-8 */
	uint32_t uidvalidity;
};
int living_folders(struct living *living, struct pool *pool, struct living_folder **folders_out,
	unsigned *count_out, struct error *error) must_check;

/* To look at: nothing of it is changed, \Recent neither. -ENOENT: there is no such folder. */
int living_examine(struct living *living, struct str folder, struct error *error) must_check;

struct living_message {
	uint32_t uid;
	uint64_t size;
	int64_t internal_date_s;
};
/* Of the folder that is examined, all, rising by uid; on the heap. */
int living_messages(struct living *living, struct living_message **messages_out, size_t *count_out,
	struct error *error) must_check;
/* The bodies of these, LIVING_FETCH_MAX at most; those that do not stand there any more are left
 * out, and so are those that the cluster cannot read: then *damaged_out. */
int living_bodies(struct living *living, const uint32_t *uids, unsigned count,
	void (*fn)(void *arg, uint32_t uid, struct str body), void *arg, bool *damaged_out,
	struct error *error) must_check;

/* One that is there already is as good. -EINVAL: its home makes no folder of this name. */
int living_create_folder(struct living *living, struct str folder, struct error *error) must_check;
/* So that mail clients show it. */
int living_subscribe(struct living *living, struct str folder, struct error *error) must_check;

enum living_stored {
	LIVING_STORED,
	LIVING_STORED_BEFORE, /* under this id, wherever the message is now */
	LIVING_REFUSED,       /* this one, for what it is: `error` has the home's words */
};
/* `flags` in IMAP's form, with parentheses. -ENOENT: there is no such folder; -ESTALE: too much
 * has come since the login for its home to remember all ids: open it anew. */
struct living_append {
	struct str folder, flags;
	int64_t internal_date_s;
	const uint8_t *id; /* CHANGE_DELIVERY_ID_LENGTH bytes */
	struct bytes *body;
};
/* `*uid_out`: of one that is stored now; else 0. */
int living_append(struct living *living, const struct living_append *append,
	enum living_stored *stored_out, uint32_t *uid_out, struct error *error) must_check;

#endif
