#ifndef PANDO_SPOOL_VOLUME_LOG_H
#define PANDO_SPOOL_VOLUME_LOG_H

/*
 * The append-only log of one volume, as its only writer sees it: the node where it is primary, the
 * replicator where it is a replica, the router for its queue. Formats: proto/disk/record.h,
 * epochs.h, log_state.h.
 *
 * A volume's directory holds `lock`, `epochs` (log_state.h), `copy` (who this copy is), segments
 * `%016x.log` (named by their number), `replica` (empty, there while the last writer received),
 * `salvage-*` (what was cut off), `told` (log_told.h), and `mend` and `punch` while something is
 * written in place.
 *
 * Invariants:
 * 1. One writer per directory, held by the lock file.
 * 2. One write is in flight at most; groups become durable in the order of their addresses.
 * 3. Nothing at or above `end` has ever been confirmed to anybody.
 * 4. A write that the disk has failed (EIO) fences the log: every later append fails with -EIO
 * until the process starts anew, and nothing is believed from the page cache. What is refused for
 * now (ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM) changes nothing: the next append is tried again.
 * 5. A block that holds durable data is never written again, but where it is damaged (log_mend.h)
 * or a body is given back (log_punch.h).
 *
 * Belongs to one loop.
 */

#include "core/bytes.h"
#include "core/disk.h"
#include "proto/disk/epochs.h"
#include "proto/disk/record.h"
#include "spool/copy_id.h"

struct volume_log;

enum {
	/* A commit is written when this much waits, or as soon as no write is in flight: larger
	 * groups gain nothing on measured disks (256 KiB groups move 900 MB/s). */
	COMMIT_BYTES_TARGET = 256 << 10,
	/* A message, its summary and a change, or a queue's record and bounce: twice as many. */
	APPEND_RECORDS_MAX = 8,
	/* One received write of several groups; a single larger group is allowed. */
	RECEIVE_BYTES_MAX = 1 << 20,
	/* Between two looks of its owner (volume_log_look): what is written meanwhile to files that
	 * were removed is lost with the process. */
	LOG_LOOK_MS = 1000,
};

/* What the caller knows of the log from elsewhere: memory of this boot, the index, other copies. */
struct log_told {
	/* Everything below was once confirmed to somebody; 0: nothing is known. Below it nothing is
	 * ever taken for a torn write. */
	uint64_t lsn;
	/* Damage that groups of this log follow is passed over: it stays where it is, is read as
	 * such, and is mended when another copy has what stood there (log_mend.h). */
	bool passes_over;
	/* The node whose copy it is; 0: nobody's in particular. */
	uint32_t owner;
};

/* Opens (and makes) the directory, takes the lock, finds the end. A torn tail is cut off and
 * logged. -EAGAIN: another process writes here; -EUCLEAN: rot: an invalid group stands below what
 * was told, or valid groups follow it (nothing was changed; the sentence says which file and
 * address, `*rotten_lsn_out` too); -EPROTONOSUPPORT: the log is of another format version;
 * -EMFILE, -ENOSPC and such: try again. `rotten_lsn_out` may be NULL. */
int volume_log_open(struct loop *loop, struct disk *disk, const char *directory, uint32_t volume,
	const struct log_told *told, struct volume_log **log_out, uint64_t *rotten_lsn_out,
	struct error *error) must_check;
/* Opens a log that is damaged and is to be filled again from a copy: what stands from the first
 * invalid group on is saved as by volume_log_cut and the log ends there. On a pool thread, as what
 * is saved may be large; `done` comes on the loop, with the log where status is 0, else with what
 * volume_log_open would have answered and said. The disk lives until then. */
void volume_log_repair(struct loop *loop, struct disk *disk, const char *directory, uint32_t volume,
	const struct log_told *told,
	void (*done)(void *arg, int status, struct volume_log *log, const struct error *error),
	void *arg);
/* Waits for nothing: the caller has no append, receive or read outstanding. Releases the lock. NULL
 * is accepted. */
void volume_log_close(struct volume_log **log);

/* The first address of what was passed over when it was opened; UINT64_MAX: nothing was. */
uint64_t volume_log_passed_over(const struct volume_log *log);
/* Everything below is durable; the next group starts at or after it. */
uint64_t volume_log_end(const struct volume_log *log);
/* The chain at the end: with it, (end, chain) names everything in the log. */
uint64_t volume_log_chain(const struct volume_log *log);
/* As copy_id.h says. */
void volume_log_copy_id(const struct volume_log *log, uint8_t copy_id_out[COPY_ID_LENGTH]);
/* LSN of the last group, which the next one names; volume_log_end() when the log is empty. */
uint64_t volume_log_last_group(const struct volume_log *log);
const struct epochs *volume_log_epochs(const struct volume_log *log);
bool volume_log_is_fenced(const struct volume_log *log);
/* False, and the log is fenced, where its files are not at their place any more: removed or moved
 * away under the process, or another disk was mounted there. What is written to them then is found
 * by nobody. Also false for a log that was fenced before. Whoever waits for an append is told
 * meanwhile, and may close the log. For its owner to ask now and then; one stat(2). */
bool volume_log_look(struct volume_log *log);
/* Nothing appended, received or read is on its way: it may be closed. */
bool volume_log_is_idle(const struct volume_log *log);

/* The highest epoch that was heard of this volume, whoever showed it; what the log's own entries
 * say at least. */
uint64_t volume_log_seen(const struct volume_log *log);
/* Remembers it durably, before it is obeyed or answered. Lower ones are ignored. Synchronous. */
int volume_log_note_seen(struct volume_log *log, uint64_t epoch) must_check;
/* The log was whole, or will be, when it reaches this; see log_state.h. A reign that begins here
 * makes it so. */
uint64_t volume_log_whole_from(const struct volume_log *log);
/* Before bytes go that had been confirmed, and when a leader says how far it is. Durable,
 * synchronous. */
int volume_log_note_whole_from(struct volume_log *log, uint64_t lsn) must_check;
/* Writes the file `epochs` again as it should be, where somebody has found it damaged. */
int volume_log_save_state(struct volume_log *log) must_check;
/* The epoch in which this copy stands still, 0: none; outlives a restart. Whoever opens the log
 * confirms nothing in it or an earlier one for HELD_MS_MAX (log_state.h). */
uint64_t volume_log_held(const struct volume_log *log);
/* Makes it so, durably, on a pool thread; `done` comes on the loop, unless the log is closed
 * before. The log is idle, and is not until then. */
void volume_log_hold(
	struct volume_log *log, uint64_t epoch, void (*done)(void *arg, int status), void *arg);
/* Takes it back. Synchronous. */
int volume_log_unhold(struct volume_log *log) must_check;

/* The log ends with a FENCE record: who wrote it has promised to write no more in this epoch. */
bool volume_log_ends_fenced(struct volume_log *log);
/* Whether the newest reign began where epoch `clean_after` (0: none) had been fenced: the log ended
 * with its FENCE record, so nothing it ever confirmed is missing. The log alone does not say so: a
 * fence that was given up may have been shipped. The first epoch there is begins clean. */
bool volume_log_began_clean(struct volume_log *log, uint64_t clean_after);

/* One record of an append: `head` and `tail` make up the body (either may be empty). */
struct append_record {
	enum record_type type;
	struct str head, tail; /* alive until done */
	uint64_t lsn;          /* set when the record has been given its address */
};

/* Records that become durable together, in one group. Owned by the caller until done. */
struct volume_append {
	struct append_record records[APPEND_RECORDS_MAX];
	unsigned record_count;
	/* Called when the addresses are known, before anything is written, so that a later record
	 * may hold the address of an earlier one: it may change the bytes, not the length, of what
	 * head and tail refer to. May be NULL. */
	void (*on_addressed)(struct volume_append *append);
	/* On the loop, in the order of the appends, after the group is durable (or failed). */
	void (*done)(struct volume_append *append);
	/* 0; -EIO: fenced; -EFBIG: longer than a segment; -EROFS: no reign; -ENOSPC, -EDQUOT,
	 * -EMFILE, -ENFILE, -ENOMEM: refused for now, nothing was written. */
	int status;
	uint64_t end_lsn; /* end of the group: what a replica must have acknowledged */
	void *arg;
	struct volume_append *next; /* private */
};

/* Begins to write as `opening` says (its start_lsn is ignored): the entry is recorded durably in
 * `epochs` and a barrier is appended, before which nothing else is. Each opening has an incarnation
 * of its own. status: 0; -ESTALE when the log has seen a higher epoch, this epoch under another
 * reign or a later opening; or as an append. */
void volume_log_reign(struct volume_log *log, const struct epoch_entry *opening,
	void (*done)(void *arg, int status), void *arg);

/* Queues an append; it is written with all others of this turn of the loop, or behind the write
 * that is in flight. */
void volume_log_append(struct volume_log *log, struct volume_append *append);

/* Asks the disk whether it still takes what it is given, by a durable write of a block of its own:
 * before somebody relies on this copy alone. `done` comes on the loop, unless the log
 * is closed before: 0; -EIO: the log is fenced, as by a write that failed; -ENOMEM and such: it
 * could not be asked for now. One at a time. */
void volume_log_probe(struct volume_log *log, void (*done)(void *arg, int status), void *arg);
bool volume_log_is_probing(const struct volume_log *log);

/* A replica's write: whole verified groups that follow the log's end, as shipped. */
struct volume_receive {
	struct bytes *bytes; /* the caller's, alive until done */
	uint64_t lsn;
	size_t offset, length; /* of the groups within bytes */
	uint64_t epoch_max;    /* a later epoch is nobody's */
	void (*done)(struct volume_receive *receive);
	/* 0; -EINVAL: does not follow this end and epoch vector, or is of an epoch above epoch_max;
	 * -EBADMSG: fails its checksums; -EXDEV: follows, and the chain is another: the copies
	 * differ below; -EIO: fenced; -ENOSPC and such: refused for now. Nothing was written but
	 * with 0. */
	int status;
	void *arg;
	/* private */
	struct disk_op op;
	struct iovec vector;
	struct volume_log *log;
	uint64_t last_group, chain;
};

/* One at a time; checks every group and record first. */
void volume_log_receive(struct volume_log *log, struct volume_receive *receive);

/* Makes the log a prefix again: saves everything from `lsn` on in
 * salvage-<epoch>-<lsn>-<end>.log, durably, then cuts it off: segments behind are removed from the
 * last on, then one ftruncate, so that a cut that is killed anywhere leaves a shorter log, never a
 * damaged one. `lsn` is where a group ends or begins; else -EINVAL. Where the group that ends there
 * is damaged, or what leads to it, the log ends before the damage. Runs on a pool thread; `done`
 * comes on the loop. The log is idle and stays untouched until then; afterwards it may not append
 * before the next volume_log_reign. One that failed half way (a negative status) is fenced: close
 * it, and open it again to see where it ends. */
void volume_log_cut(
	struct volume_log *log, uint64_t lsn, void (*done)(void *arg, int status), void *arg);

/* The first address of the lowest segment. -EUCLEAN: one is missing between it and the last group,
 * which no crash leaves; another negative errno: it is not known where the log begins. Neither is a
 * reason to take a later address for its beginning: what stands below would be given up unread. */
int volume_log_start(struct volume_log *log, uint64_t *lsn_out) must_check;
/* Gives back the whole segments below `lsn`, lowest first, so that a crash in between leaves a log
 * that begins later and has no gap; the segment of the last group stays. For a log that nobody
 * replicates and whose owner needs nothing below `lsn` any more; no read of it is in flight.
 * Synchronous. */
int volume_log_free(struct volume_log *log, uint64_t lsn) must_check;

/* Reads and checks one record whose body length is known. */
struct record_read {
	void (*done)(struct record_read *read);
	void *arg;
	int status;          /* 0; -EBADMSG: checksum wrong; -ENODATA: the body was given back */
	struct bytes *bytes; /* the body; the caller's on success */
	/* private */
	struct disk_op op;
	struct iovec vectors[2];
	uint8_t header[RECORD_HEADER_LENGTH];
	uint64_t lsn;
	struct disk_file *file;
	struct volume_log *log;
};

/* True: complete now, from memory. False: done will be called. */
bool volume_log_read(
	struct volume_log *log, uint64_t lsn, size_t body_length, struct record_read *read);

#endif
