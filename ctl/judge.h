#ifndef PANDO_CTL_JUDGE_H
#define PANDO_CTL_JUDGE_H

/* Whether what a daemon says of itself is well: pure, from an entry of its `status` answer
 * (core/vitals.h) to a sentence that ends with what to do. */

#include "core/buf.h"
#include "ctl/json.h"

enum {
	/* Renewers begin at 30 days left and try for a week: at 21 a person has to look, and has
	 * time to. */
	CERTIFICATE_DAYS_LEFT_MIN = 21,
	/* Below it a disk of any size is hours from full at the pace at which it filled. */
	DISK_FREE_PERCENT_MIN = 5,
	/* Sixteen segments of 64 MiB: each volume that is written takes one ahead. */
	DISK_FREE_MIB_MIN = 1024,
	/* What a node that is to serve needs free at least: its index and logs grow at once. */
	PREFLIGHT_NODE_MIB = 64,
	/* And for each volume that comes to it: the segment that is taken ahead of the first
	 * write. */
	PREFLIGHT_VOLUME_MIB = 64,
	/* A copy is compared when it connects and when it acknowledges: by memory, or one read. */
	COPY_UNVERIFIED_MS_MAX = 30000,
};

/* What a certificate ought to be. */
struct judge_certificate {
	const char *program; /* "pando-node", to be restarted */
	const char *name;    /* of its holder in the directory */
	const char *role;
	int64_t now_s;
};

/* True when all is well; else the sentence is appended. */
bool judge_certificate(const struct json *certificate, const struct judge_certificate *wanted,
	struct buf *out) must_check;
/* Of its time alone; the sentence ends before its advice, which is the caller's. */
bool judge_time(
	int64_t not_before_s, int64_t not_after_s, int64_t now_s, struct buf *out) must_check;
/* Whether the disk has so much free. The sentence ends before its advice, which is the caller's. */
bool judge_room(const struct json *disk, uint64_t needed_mib, struct buf *out) must_check;
/* The sentence ends before its advice, which is the caller's. */
bool judge_disk(const struct json *disk, struct buf *out) must_check;

#endif
