#ifndef PANDO_REPLICATOR_INTERNAL_H
#define PANDO_REPLICATOR_INTERNAL_H

/* Between peers.c, ship.c, export.c, receive.c, prove.c, members.c, node_side.c and replicator.c.
 */

#include "core/list.h"
#include "core/listeners.h"
#include "core/map.h"
#include "core/metric.h"
#include "core/timer.h"
#include "proto/cluster/message.h"
#include "replicator/replicator.h"
#include "spool/log_reader.h"
#include "spool/volume_log.h"

enum {
	/* A peer that restarts, or a line that flaps, is missed for this much longer at most. */
	RECONNECT_MS = 100,
	/* TCP and TLS between continents take half a second; a lost SYN one more. */
	CONNECT_MS_MAX = 3000,
	/* A heartbeat is 16 bytes and a few. */
	ALIVE_MS = 1000,
	/* A peer that is silent for this long is treated as cut off; five heartbeats. */
	SILENT_MS_MAX = 5000,
	/* Bytes read and sent at a time: large enough for full disk speed, small enough to share
	 * the line. */
	CHUNK_BYTES_TARGET = RECEIVE_BYTES_MAX,
	/* Received and not yet written, over all volumes of a connection. */
	RECEIVE_QUEUE_MAX = 16 << 20,
	/* What the kernel holds of a connection and has not sent yet: a line of a gigabit sends it
	 * in 2 ms, which is what a commit waits behind a copy that is filled. */
	UNSENT_BYTES_MAX = 256 << 10,
	/* A copy is filled further while no more than this is queued for its connection. */
	FILL_BACKLOG_MAX = 64 << 10,
	/* What a filled copy has not acknowledged for so long holds up no other copy's filling: ten
	 * heartbeats, and a disk that syncs RECEIVE_QUEUE_MAX at 2 MB/s. */
	FILL_SILENT_MS_MAX = 10000,
	/* While the node lets go of a log: a sync or two. */
	LOCK_RETRY_MS = 20,
	/* How late it may be noticed that a hold is over. */
	HELD_LOOK_MS = 500,
	/* How often the node hears where its replicas end: under load one message, one wake-up and
	 * one reading are then of many commits, and the index is still warm. */
	REPORT_MS = 20,
	/* After what only time or the operator can mend: a full disk, a log that does not open. */
	REFUSED_RETRY_MS = 5000,
	/* A follower that is refused, or that parks a volume, asks again after RECONNECT_MS,
	 * doubled each time in vain: a new leader opens in milliseconds, a rotten log is found by a
	 * person. */
	ASK_AGAIN_MS_MAX = 10000,
	/* A node that is to write waits for the members that have not answered yet: one that has
	 * just started, or whose line has just come up, is heard within this. */
	PROVE_ASK_MS = 200,
	/* Who has said something within this, two heartbeats and a half, lives: another process
	 * under its name is refused. One that was just dialled anew after its machine lost power is
	 * refused for no longer. */
	MEMBER_ALIVE_MS = 2500,
	/* Two processes under one name are reported for this long after the second was refused
	 * last: it dials again within ASK_AGAIN_MS_MAX. */
	TWIN_TOLD_MS = 60000,
	/* Chunks on their way to a follower whose chain is known when it acknowledges them: as many
	 * as are sent in 50 ms, the longest line, at 2,500 commits a second. For an older one a
	 * header is read. */
	MARKS_MAX = 128,
};

/* A connection with a peer, dialled by either side. */
struct connection {
	struct replicator *replicator;
	struct peer *dialled_for; /* NULL: accepted */
	struct stream *stream;
	bool open, is_paused;
	uint32_t node_id; /* after HELLO */
	uint64_t process; /* the number of the process at the other end */
	struct frame_reader reader;
	struct list link; /* of replicator.connections */
	struct list shipments;
	size_t receive_queued;
	bool fill_waits; /* a copy that is filled over it, for room */
	uint64_t heard_us;
	struct timer *alive_timer;
};

/* Another machine of the cluster. */
struct peer {
	struct replicator *replicator;
	uint32_t node_id;
	char name[64], address[96];
	struct connection *connection; /* ours to it */
	struct timer *dial_timer;
	uint64_t dial_wait_ms; /* after it refused us last; 0: it did not */
	bool wanted;
	/* It says that another process has this node's name; empty: it does not. */
	char refused_us[160];
	/* Two processes that say to be it: who is linked, who was refused last, and when. */
	char twin_linked[96], twin_refused[96];
	uint64_t twin_us;
};

/* Of a volume at another node, by what it showed last (members.c). */
struct member {
	uint32_t node_id; /* 0: free */
	bool has_copy_id;
	uint8_t copy_id[COPY_ID_LENGTH];
	enum copy_verdict verdict;
	uint64_t verified_lsn;
};

/* Where a chunk that was sent ends, and the log's chain there. */
struct mark {
	uint64_t lsn, chain;
};

/* One receiver of one volume: where its shipment stands. */
struct shipment {
	struct list volume_link, connection_link;
	struct copy *copy;
	struct connection *connection;
	struct log_reader *reader;
	uint64_t next_lsn, acked_lsn;
	uint64_t taken_lsn;   /* the other side has said that it has it, of whichever reign */
	uint64_t taken_us;    /* when it last did, or had all */
	bool is_filled;       /* it was far behind, and has not been near since */
	uint64_t filled_at;   /* of replicator.fill_count, when its last turn was */
	uint64_t copy_number; /* the follower's; 0: it did not say */
	struct mark marks[MARKS_MAX]; /* a ring: of the last chunks, not acknowledged yet */
	unsigned mark_first, mark_count;
	/* FETCH: up to here, from a copy that nobody writes now; 0: a follower, for ever. */
	uint64_t fetch_end;
};

struct queued_chunk {
	struct list link;
	struct bytes *payload;
	struct chunk chunk;
	struct connection *connection; /* NULL when it has gone */
	size_t done;                   /* bytes of the groups that are written */
};

/* What the node of this machine does with the log, or wants of it. */
enum node_use {
	NODE_NONE,   /* nothing: it is written here, as the leader says */
	NODE_PROVES, /* it is to write, and all members are heard first (prove.c) */
	NODE_WANTS,  /* it waits for the log: RELEASED is owed */
	NODE_HOLDS,  /* it has been told that it may have it */
	NODE_WRITES, /* it has said that it does */
};

/*
 * What comes into the log here:
 *
 *   COPY_IDLE       nothing; open_timer or an event leads on
 *   COPY_ASKED      `source` has been asked to ship: FOLLOW, or FETCH for a proof
 *   COPY_RECEIVING  it does
 *
 * Edges: IDLE -> ASKED -> RECEIVING; any -> IDLE; RECEIVING -> ASKED after a cut.
 */
enum copy_state { COPY_IDLE, COPY_ASKED, COPY_RECEIVING };

struct proof;
struct mend;

/* One volume on this machine, in either role. */
struct copy {
	struct replicator *replicator;
	uint32_t id;
	char directory[512];
	struct replicator_volume desired;
	uint64_t highest_epoch;

	/* What the node has said. */
	enum node_use node;
	uint64_t question; /* of its last RELEASE or PROVE */
	uint64_t node_epoch, durable_lsn, durable_chain;
	uint8_t node_reign[GROUP_REIGN_LENGTH];
	uint64_t behind_epoch; /* the last that was logged: the node is told each time */
	uint64_t punch_number; /* the node's question that is being answered */
	uint64_t unreadable;   /* 1 + where the log could not be read, as was logged; 0: nowhere */
	struct list shipments;
	struct member members[REPLICATOR_MEMBERS_MAX];

	/* Receiving. */
	enum copy_state state;
	/* Which of the directory's copies the log here is (aside.c); 0: not read, or not known. */
	uint64_t number;
	bool is_dropping; /* what was set aside is being removed */
	struct volume_log *log;
	struct connection *source; /* NULL while IDLE */
	/* Of the log here, by its leader: what is received after that fits to it by its chain. */
	enum copy_verdict verdict;
	bool is_read_anew; /* its log was closed after the disk had failed it, and is not open */
	bool is_writing; /* a write, a cut or a repair is under way: nothing else touches the log */
	uint64_t stands_until_us; /* a hold outlives who was asked for it; 0: there was none */
	uint64_t damaged;         /* 1 + where the node cannot read it; 0: nowhere */
	uint64_t ask_again_ms;    /* 0: bytes came since it asked last */
	struct proof *proof;      /* NODE_PROVES */
	struct mend *mend;        /* mend.c; NULL: nothing is mended */
	bool passes_over;         /* it is to pass over the epoch of that */
	struct volume_receive receive;
	struct queued_chunk *current;
	struct list chunks;
	struct timer *open_timer;
	/* What the node has not been told yet, and what it is told about the leader (end 0: it was
	 * not heard since this log was opened or cut). */
	bool report_owed;
	uint64_t leader_end, leader_time_us;
};

/* Of the disk that has the volumes (room.c). */
struct room {
	int64_t left;       /* when it was looked at, less what was received since */
	uint64_t looked_us; /* 0: never */
	bool is_looking, is_short;
};

struct replicator {
	struct replicator_options options;
	uint64_t process; /* random: this process among all that ever say this name */
	char *volumes_directory, *node_name;
	struct map *copies; /* u64 volume id */
	struct map *peers;  /* u64 node id */
	struct list connections;
	struct listeners listeners;
	struct listener *node_listener;
	struct stream *node;
	struct frame_reader node_reader;
	struct pool *pool;
	struct buf out;
	struct task ship_task;
	struct timer *fill_timer;
	uint64_t fill_count;    /* turns of copies that are filled */
	uint64_t fill_after_us; /* by fill_bytes_s, the next is not before */
	struct list exports; /* export.c; who is served next is first */
	unsigned export_count;
	struct timer *export_timer;
	struct timer *report_timer;
	struct timer *place_timer; /* looks whether the logs are where they were */
	struct room room;
	struct metric *shipped_bytes, *received_bytes;
};

struct peer *replicator_find_peer(const struct replicator *replicator, uint32_t node_id);
/* The open one with this node; NULL: none. */
struct connection *replicator_find_connection(
	const struct replicator *replicator, uint32_t node_id);
struct copy *replicator_find_copy(const struct replicator *replicator, uint32_t volume_id);
/* Of another node. */
const char *replicator_node_name(const struct replicator *replicator, uint32_t node_id);

/* ---- peers.c ---- */

int peers_listen(
	struct replicator *replicator, const char *addresses, struct error *error) must_check;
void peers_dial(struct peer *peer);
void connection_send(struct connection *connection, const struct cluster_message *message);
/* A member says that another process has this node's name, and lives: nothing is begun alone. Its
 * words, or NULL. */
const char *peers_refusal(const struct copy *copy);
/* Drops the connection; its peer is dialled again. */
void connection_close(struct connection *connection, const char *why);

/* ---- ship.c ---- */

void ship_on_follow(struct connection *connection, const struct cluster_message *message);
void ship_on_fetch(struct connection *connection, const struct cluster_message *message);
/* The follower takes nothing more of a volume for now: the others on this connection go on. */
void ship_on_park(struct connection *connection, const struct cluster_message *message);
void ship_on_ack(struct connection *connection, const struct cluster_message *message);
/* The volume's durable end has moved, or a connection has room again. */
void ship_later(struct replicator *replicator);
void ship_task(void *arg);
/* A copy that is filled may go on. */
void ship_fill_later(struct replicator *replicator);
/* Sends a chunk to the copy that is filled next: on a timer, so that everything else of a turn
 * comes before. */
void ship_on_fill_timer(void *arg);
void shipment_end(struct shipment *shipment);
/* Whether the log here, which goes on to `limit`, has `chain` at `end`. */
enum copy_verdict ship_compare(
	const struct copy *copy, uint64_t end, uint64_t limit, uint64_t chain);
/* Ends all shipments of a volume that is not written here any more, or (`fetches_only`) those from
 * a replica whose log leaves. */
void ship_retire(struct copy *copy, bool fetches_only, const char *why);
/* Ends those to nodes that hold no copy any more, or another one than is wanted of them. */
void ship_end_strangers(struct copy *copy);
/* The log here cannot be read at `lsn`: says so, once, and has it mended where its node writes it.
 */
void ship_note_unreadable(struct copy *copy, uint64_t lsn, int result);

/* ---- export.c ---- */

/* Sends a chunk to whoever is next: on a timer, so that everything else of a turn comes before. */
void export_on_timer(void *arg);
/* Ends what is read of a log that is not written here any more, or (`replicas_only`) of a replica's
 * that leaves or is cut: the operator may go on at another copy. */
void export_retire(struct copy *copy, bool replicas_only, const char *why);

/* ---- members.c; node_id is a member's ---- */

struct member *member_of(struct copy *copy, uint32_t node_id);
/* Notes which disk its copy is on; a change is logged. */
void member_shows_copy(struct copy *copy, uint32_t node_id, struct str copy_id);
/* What has come of a comparison at `lsn`; a change is logged. */
void member_judge(struct copy *copy, uint32_t node_id, enum copy_verdict verdict, uint64_t lsn);
/* Says to the node where the member stands, and what is known of it. */
void member_tell(struct copy *copy, uint32_t node_id, uint64_t copy_number, uint64_t lsn,
	bool connected);
/* The chain of the log here at `lsn`, which is a boundary up to `limit`; else as log_reader_chain.
 */
int copy_chain_at(const struct copy *copy, struct log_reader *reader, uint64_t lsn, uint64_t limit,
	uint64_t *chain_out) must_check;
/* The log here has `chain` at `lsn`: COPY_UNVERIFIED where that cannot be read. */
enum copy_verdict copy_compare_chain(const struct copy *copy, struct log_reader *reader,
	uint64_t lsn, uint64_t limit, uint64_t chain);

/* ---- aside.c ---- */

/* The directory's word of a member; SIZE_MAX: it is none. */
size_t copy_member_index(const struct copy *copy, uint32_t node_id);
/* The log here is another copy than the one that is to be filled here. Closed, it is set aside. */
bool aside_is_wanted(struct copy *copy);
/* Before a log of a replica is opened: it is the copy that the directory names. Sets another one
 * aside. False: it is tried again later. */
bool aside_prepare(struct copy *copy);
/* Removes what was set aside, once the copy that took its place counts: looked at when that is
 * told, and when its log is open, here or at the node. */
void aside_drop(struct copy *copy);
/* Saves in `folder`, which was set aside, what it has and `successor` lacks, whose log ends at
 * `successor_end`: as a tail. -ENOENT: the two have nothing in common; -EUCLEAN: its file `epochs`
 * is gone or damaged. Then it stays as it is. Blocks. */
int aside_save_tail(struct disk *disk, const char *folder, const char *successor, uint32_t volume,
	uint64_t successor_end) must_check;

/* ---- receive.c ---- */

/* The only way from one state to another. */
void copy_enter(struct copy *copy, enum copy_state state, struct connection *source);
/* Looks at what node and directory want of the copy, and does the next step towards it. */
void receive_reconcile(struct copy *copy);
/* 0 when it is open, by now; else a timer tries again, or (-EUCLEAN) it is damaged. */
int receive_open_log(struct copy *copy, uint64_t *rotten_lsn_out, struct error *error) must_check;
/* Ends a damaged log at its damage, what follows kept as salvage, and goes on with it as it is then
 * wanted. Until that is done the copy is being written. */
void receive_repair_log(struct copy *copy);
void receive_on_open_timer(void *arg);
/* It was asked to stand still for a failover, by its node that is gone: it confirms nothing, and
 * answers nobody who would write. */
bool receive_is_held(const struct copy *copy);
/* Tells the node where the replica ends; of a copy whose log is open. */
void receive_report(struct copy *copy);
void receive_on_report_timer(void *arg);
void receive_on_place_timer(void *arg);
void receive_on_following(struct connection *connection, const struct cluster_message *message);
void receive_on_cut(struct connection *connection, const struct cluster_message *message);
void receive_on_refuse(struct connection *connection, const struct cluster_message *message);
void receive_on_chunk(struct connection *connection, struct bytes *payload);
/* The replica cannot be read at `lsn`, and no copy has what mends it: it is cut there, once a
 * leader is there to fill it again. */
void receive_cut_damaged(struct copy *copy, uint64_t lsn);
/* Cuts the log at `lsn`; receive_reconcile goes on. */
void receive_cut(struct copy *copy, uint64_t lsn);
/* The connection is going: nothing may refer to it afterwards. */
void receive_forget_connection(struct copy *copy, struct connection *connection);
/* Asks a leader, or for a proof a member, to ship from where the log ends. */
void receive_ask(struct copy *copy, struct connection *connection);
/* Closes the log; no write is in flight. */
void receive_close(struct copy *copy);
/* Closes it as soon as no write is in flight, and tells a node that waits for it. */
void receive_release(struct copy *copy);

/* ---- room.c ---- */

/* Looks at the disk, if that was not done just now: before bytes come. */
void room_look(struct replicator *replicator);
/* A replica may take so many bytes; false: the disk's reserve is for what is written here. */
bool room_take(struct replicator *replicator, size_t length);

/* ---- prove.c ---- */

/* The node is to write in `epoch`: hears all members first. */
void prove_begin(struct copy *copy, uint64_t epoch);
/* The next step: after every answer, and from time to time. */
void prove_step(struct copy *copy);
void prove_end(struct copy *copy);
/* What the member said holds no longer: it is asked again. */
void prove_forget(struct copy *copy, uint32_t node_id);
/* Of a copy that has a proof under way. */
uint64_t prove_epoch(const struct copy *copy);
void prove_on_ask(struct connection *connection, const struct cluster_message *message);
void prove_on_position(struct connection *connection, const struct cluster_message *message);

/* ---- mend.c ---- */

/* Who has found damage in the replica here. */
enum mend_cause {
	MEND_OPENED,   /* the opening of its log: what no copy mends is cut */
	MEND_READ,     /* the node, as it applied it: so too; but it may have been mistaken */
	MEND_SCRUBBED, /* what no copy mends stays as it is */
};

/* The replica here is damaged at `lsn`: has it mended, or else cut (receive_cut_damaged). */
void mend_replica(struct copy *copy, uint64_t lsn, enum mend_cause cause);
/* The node asks, for the log that it writes. */
void mend_for_node(struct copy *copy, const struct cluster_message *message);
/* A member asks; and answers. */
void mend_on_ask(struct connection *connection, const struct cluster_message *message);
void mend_on_groups(struct connection *connection, struct bytes *payload);
void mend_on_refusal(struct connection *connection, const struct cluster_message *message);
/* The connection is going. */
void mend_forget_connection(struct copy *copy, const struct connection *connection);
/* The log here is about to be cut. */
void mend_on_cut(struct copy *copy);
/* The log here has been closed, or changes hands. */
void mend_end(struct copy *copy);
/* The node that asked writes it no more, or is gone. */
void mend_end_for_node(struct copy *copy);

/* ---- node_side.c ---- */

/* What mends the log that the node writes. */
void node_side_send_groups(struct copy *copy, uint64_t lsn, struct str groups);
int node_side_listen(
	struct replicator *replicator, const char *path, struct error *error) must_check;
void node_side_send(struct replicator *replicator, const struct cluster_message *message);

/* ---- replicator.c ---- */

bool copy_has_member(const struct copy *copy, uint32_t node_id);
/* A member of the volume, or the directory, has shown an epoch: the node hears of one that is
 * higher than its own, and so does every peer. */
void copy_saw_epoch(struct copy *copy, uint64_t epoch);
/* A later one is no epoch of this volume, whoever shows it, in a message or in a log. */
uint64_t copy_believable_epoch(const struct copy *copy);

#endif
