#ifndef PANDO_PROTO_CLUSTER_MESSAGE_H
#define PANDO_PROTO_CLUSTER_MESSAGE_H

/*
 * Messages between a replicator and the replicators of other sites (mutual TLS), and between a
 * replicator and the node of its machine (UNIX socket), in frames. So answers a replicator too when
 * `pando` asks it for a log (replicator_export), with FOLLOWING, chunks and POSITION, or REFUSE.
 *
 * A frame (integers little-endian): u32 magic "PFR1", u32 payload length, u32 CRC-32C of the
 * payload, u32 frame type; then the payload. Type 1: a Message of cluster.proto. Type 2: a chunk:
 * u32 volume, u32 flags (bit 0: these answer a MEND), u64 epoch, u64 LSN, u64 end of what is
 * durable at the sender, u64 wall clock of the sender in us, then whole groups. A frame is valid if
 * and only if magic, length limit and CRC are right; after an invalid one the connection is closed.
 */

#include "core/buf.h"
#include "core/bytes.h"
#include "core/pool.h"

enum message_kind {
	/* Both ways, first: `node` (id), `text` (name) and `process`, a random number of this
	 * process. Replicator to node, with `volume`: say again how you hold it. */
	MESSAGE_HELLO = 1,

	/* Follower to leader: ship `volume` from `lsn` (my end, with `chain`); `epochs` is my
	 * vector, `copy_id` that of my copy. */
	MESSAGE_FOLLOW = 10,
	/* Leader to follower: cut at `lsn` first, then ask again; `epochs` is
	 * the leader's vector. */
	MESSAGE_CUT = 11,
	/* Leader to follower: not here, not now; `text` says why, `epoch` is the highest this side
	 * knows. Without a volume: this connection is refused, as another process is linked under
	 * your name. Replicator to `pando`: `end` is what could be had here (0: nothing now); by
	 * `verdict` COPY_DIVERGED, the log here is another one than was asked for. */
	MESSAGE_REFUSE = 12,
	/* Leader to follower: chunks will come from `lsn`; `verdict` of what stands below. To
	 * `pando`: up to `end`. */
	MESSAGE_FOLLOWING = 13,
	/* Follower to leader: everything below `lsn` is durable here, in (`epoch`, `reign`);
	 * `chain` is that of the last byte. */
	MESSAGE_ACK = 14,
	/* Both ways, every second: I am alive. */
	MESSAGE_ALIVE = 15,
	/* Both ways: the highest `epoch` of `volume` that this side knows of. */
	MESSAGE_EPOCH = 16,
	/* Follower to leader: send nothing more of `volume` on this connection, until I ask
	 * again; `text` says why, `verdict` whether the copies differ. */
	MESSAGE_PARK = 17,

	/* A node that is to write `volume` in `epoch`, through its replicator, to every other
	 * member: where do you stand? Who answers takes the epoch as heard. `end` numbers the
	 * question. */
	MESSAGE_ASK = 20,
	/* The answer to question `end`: `text` is "replica", and then `epochs`, `lsn`, `chain` say
	 * what stands here, and `copy_id` in which copy; or a word for why this says nothing yet.
	 * `epoch`: the highest heard. Replicator to `pando`: that was all up to `lsn`, where the
	 * log has `chain`. */
	MESSAGE_POSITION = 21,
	/* Send me what you have of `volume` from `lsn` on, up to where you stand; `epochs` and
	 * `chain` are mine, and `copy_id`. Answered as FOLLOW is. */
	MESSAGE_FETCH = 22,

	/* Send me what you have of `volume` from `lsn` on, up to about `end`, which is in the same
	 * segment: I have it damaged. The answer is a chunk that says so: whole groups, a first one
	 * at least; none where your log has nothing more in that segment. Node to replicator: find
	 * that for the log that I write, passing over the first `opening` members that have it; the
	 * answer is one chunk. */
	MESSAGE_MEND = 23,
	/* The answer otherwise, to either: `text` says why. */
	MESSAGE_NOT_MENDED = 24,

	/* Node to replicator: I write `volume` in (`epoch`, `reign`); durable up to `lsn`, where
	 * the log has `chain`. */
	MESSAGE_DURABLE = 30,
	/* Node to replicator: I do not write `volume` any more. */
	MESSAGE_RETIRED = 31,
	/* Node to replicator: give `volume` up, I am to write it. `end` numbers the question. */
	MESSAGE_RELEASE = 32,
	/* Replicator to node: `volume` is closed here, its lock is free; the answer to question
	 * `end`, which was RELEASE or PROVE. After PROVE: all members
	 * have been heard, what they had more has been fetched, and `opening` is the next one of
	 * the epoch that PROVE named; the log ends at (`lsn`, `chain`). */
	MESSAGE_RELEASED = 33,
	/* Replicator to node: replica `node` of `volume` has everything
	 * below `lsn`; `connected`; its log is this one by `verdict`, last seen to be at `end`. */
	MESSAGE_ACKED = 34,
	/* Replicator to node: the replica here now ends at `lsn`; the leader at
	 * `end` at `time_us`. `verdict`: of the whole log here, by the leader that was followed
	 * last; unverified when none was since it was opened or cut. It is whole from `whole_from`
	 * on: below it lacks some of what it had, or is still being filled. */
	MESSAGE_RECEIVED = 35,
	/* Replicator to node: the replica here has been cut at `lsn`. */
	MESSAGE_WAS_CUT = 36,
	/* Replicator to node: a peer has shown `epoch` for `volume`: do not write below it. */
	MESSAGE_HIGHER_EPOCH = 37,
	/* Replicator to node: replica `node` has acknowledged `epoch`, which you write, up to
	 * `lsn`, which your log does not have: it has lost what it once confirmed. */
	MESSAGE_BEHIND = 38,
	/* Node to replicator: hear all members of `volume` before I write it in `epoch`, and fetch
	 * what they have more; question `end`. With `connected`: before I pass `epoch` over, which
	 * nobody may have begun: nothing is fetched, and the answer waits while one has more. */
	MESSAGE_PROVE = 39,
	/* Replicator to node: `text` says what that waits for; `connected` when all that could be
	 * heard has been fetched; the log here ends at `lsn`, and some member has said that it goes
	 * on to `end`; `opening` members answered. */
	MESSAGE_PROVING = 40,
	/* Node to replicator: the replica here cannot be read at `lsn`: have it mended; if no copy
	 * has what does, keep what stands from there on as salvage, and have it shipped again.
	 * With `connected`: a scrub has found it, and nothing needs it now: where no copy has it,
	 * it stays as it is.
	 * Replicator to node: the file `epochs` of the log that you write cannot be read: write it
	 * again. */
	MESSAGE_DAMAGED = 41,
	/* Node to replicator: give back the room of these bodies of the replica here (spool/
	 * log_punch.h): `bodies` is u64 LSN, u32 length of each, little-endian. What says so is
	 * applied up to `lsn`, whose last byte is of `incarnation`. `end` numbers the question. */
	MESSAGE_PUNCH = 42,
	/* Replicator to node: the answer to that, `status` 0 or a negative errno; -EAGAIN: not now,
	 * or not of this log. */
	MESSAGE_PUNCHED = 43,
	/* Replicator to node: the log that you write cannot be read at `lsn`: mend it. */
	MESSAGE_ROTTEN = 44,
};

/* Whether another copy's log is a prefix of the leader's, by the chain that it showed last. */
enum copy_verdict {
	COPY_UNVERIFIED, /* it could not be compared */
	COPY_VERIFIED,
	COPY_DIVERGED, /* at an LSN that both have, it has another chain: it counts for nothing */
};

struct cluster_message {
	enum message_kind kind;
	uint32_t volume, node;
	uint64_t epoch, lsn, end, time_us, chain, whole_from;
	uint32_t opening;
	enum copy_verdict verdict;
	uint64_t process, incarnation;
	/* FOLLOW and ACKED: the number of the follower's copy, as the directory gives them (struct
	 * directory_volume); 0: not known. */
	uint64_t copy;
	int32_t status;
	struct str reign, epochs, text, copy_id, bodies;
	bool connected;
};

enum frame_type { FRAME_MESSAGE = 1, FRAME_CHUNK = 2 };

enum {
	FRAME_HEADER_LENGTH = 16,
	CHUNK_HEADER_LENGTH = 40,
	/* A chunk with one group of a whole segment, and its header. */
	FRAME_PAYLOAD_MAX = (64 << 20) + CHUNK_HEADER_LENGTH,
	/* Messages are small; an epoch vector of 4096 entries is the largest part. */
	FRAME_MESSAGE_MAX = 256 << 10,
};

struct chunk {
	uint32_t volume;
	uint64_t epoch, lsn, leader_end, time_us;
	size_t length; /* of the groups */
	bool mends;    /* the answer to a MEND */
};

/* Appends a whole frame. */
void message_encode(const struct cluster_message *message, struct buf *out);
/* Writes header and chunk header; the groups follow (their CRC is taken over here). */
void chunk_encode(const struct chunk *chunk, struct str groups,
	uint8_t out[FRAME_HEADER_LENGTH + CHUNK_HEADER_LENGTH]);

/* Strings live in `pool`. */
bool message_decode(struct str payload, struct pool *pool, struct cluster_message *out) must_check;
bool chunk_decode(struct str payload, struct chunk *out) must_check;

/* Collects frames from a stream's input. All zero is a valid empty reader. */
struct frame_reader {
	struct bytes *payload; /* being filled */
	size_t filled;
	uint8_t header[FRAME_HEADER_LENGTH];
	size_t header_filled;
};

enum frame_result { FRAME_DONE, FRAME_MORE, FRAME_BAD };

/* Takes from `input`. DONE: *payload_out is a reference for the caller, *type_out its type; call
 * again. BAD: close the connection. `payload_max` bounds what is allocated. */
enum frame_result frame_read(struct frame_reader *reader, struct buf *input, size_t payload_max,
	enum frame_type *type_out, struct bytes **payload_out);
void frame_reader_deinit(struct frame_reader *reader);

#endif
