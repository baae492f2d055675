#ifndef PANDO_REPLICATOR_H
#define PANDO_REPLICATOR_H

/*
 * Ships the durable bytes of the volumes that this machine's node writes, and writes those of the
 * volumes it is a replica of. One connection per peer carries all volumes; a follower dials its
 * leader, and everybody dials everybody it shares a volume with, so that a higher epoch becomes
 * known without the directory.
 *
 * Knows neither directory nor threads: main.c tells it both, and the simulation does the same.
 * Lives on one loop.
 */

#include "core/disk.h"
#include "core/net.h"

struct replicator;

enum replicator_role { REPLICATOR_NONE, REPLICATOR_LEAD, REPLICATOR_FOLLOW };

/* The primary and its replicas (VOLUME_COPIES_MAX). */
enum { REPLICATOR_MEMBERS_MAX = 9 };

struct replicator_options {
	struct loop *loop;
	struct disk *disk;
	const char *volumes_directory;  /* holds one directory per volume id */
	uint32_t node_id;
	const char *node_name;
	struct tls_context *tls_client, *tls_server; /* NULL in a simulation */
	const char *listen;      /* space-separated */
	uint64_t fill_bytes_s;   /* to copies that are far behind; 0: without a limit */
	const char *node_socket; /* where the node of this machine connects */
	/* Takes the streams of operators (role ctl), who come in by `listen`; NULL: none is
	 * welcome. */
	void (*on_operator)(void *arg, struct stream *stream);
	void *arg;
};

/* What the directory says of a volume. */
struct replicator_volume {
	uint32_t id;
	uint64_t epoch;
	enum replicator_role role;
	uint32_t leader_node_id;
	uint32_t members[REPLICATOR_MEMBERS_MAX]; /* all nodes with a copy */
	/* Of each: the number of its copy in the directory (0: not known), and that it counts as no
	 * copy yet, because it is being filled. */
	uint64_t copies[REPLICATOR_MEMBERS_MAX];
	bool is_seeding[REPLICATOR_MEMBERS_MAX];
	unsigned member_count;
};

int replicator_create(const struct replicator_options *options, struct replicator **replicator_out,
	struct error *error) must_check;
/* Closes everything at once; what was acknowledged is durable. */
void replicator_destroy(struct replicator **replicator);

void replicator_set_node_id(struct replicator *replicator, uint32_t node_id);
void replicator_set_peer(
	struct replicator *replicator, uint32_t node_id, const char *name, const char *address);
void replicator_set_volume(struct replicator *replicator, const struct replicator_volume *volume);

/* Lets go of the volumes of which `is_there` says false: the directory has them no more. */
void replicator_forget_volumes(struct replicator *replicator,
	bool (*is_there)(void *arg, uint32_t volume_id), void *arg);

/* The same of nodes: nobody dials them, and no process that says to be one is believed. */
void replicator_forget_peers(struct replicator *replicator,
	bool (*is_there)(void *arg, uint32_t node_id), void *arg);

/* An operator's request `export VOLUME FROM CHAIN TO` (numbers in decimal digits, the chain in
 * hexadecimal ones, 0 at 0): the volume's log from FROM on, where it has CHAIN, up to TO. Takes the
 * stream, which is open; what it answers is in proto/cluster/message.h. */
void replicator_export(struct replicator *replicator, struct stream *stream,
	const struct str *arguments, size_t argument_count);

/* Appends two members of a JSON object: `twins`, who came under a name that another process has
 * linked; `refused_by`, who says so of us. */
void replicator_report(const struct replicator *replicator, struct buf *json_out);

/* Every followed volume is connected and every led one has its node beside it.
 * For health checks. */
bool replicator_is_settled(const struct replicator *replicator);

#endif
