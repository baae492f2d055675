#ifndef PANDO_TESTS_SIM_SCENARIO_H
#define PANDO_TESTS_SIM_SCENARIO_H

/* What the stories of scenario_test.c and opening_test.c begin with: two machines, volume 1. */

#include "core/log.h"
#include "node/index/index.h"
#include "sim/cluster.h"
#include "unit/test.h"

#include <stdlib.h>

enum { MAILBOX = 101, SECOND_US = 1000000 };

static inline void start_from(uint64_t seed)
{
	log_setup("scenario", getenv("V") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	world_reset(seed);
	cluster_start(2);
	world_run_until_us(world_now_us() + SECOND_US);
}

static inline void start(void)
{
	start_from(7);
}

static inline void start_three(void)
{
	log_setup("scenario", getenv("V") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	world_reset(7);
	cluster_start(3);
	world_run_until_us(world_now_us() + SECOND_US);
}

static inline void run_us(uint64_t for_us)
{
	world_run_until_us(world_now_us() + for_us);
}

static inline const struct history_entry *entry(size_t index)
{
	return &cluster_history()->entries[index];
}

static inline uint64_t took_ms(size_t index)
{
	return entry(index)->took_us / 1000;
}

static inline bool was_answered_in(size_t index, uint64_t epoch)
{
	return entry(index)->answered_ok && entry(index)->answered_epoch == epoch;
}

static inline unsigned replica_of(uint32_t volume_id)
{
	return 1 - cluster_primary(volume_id);
}

/* A question to volume 1 of a machine, asked as one of the machine's events. */
struct question {
	struct end_wait wait;
	unsigned machine;
	uint64_t hold_epoch; /* 0: a fence */
	bool answered;
	int status;
	uint64_t end;
};

static inline void on_end(struct end_wait *wait, int status, uint64_t end)
{
	struct question *question = container_of(wait, struct question, wait);
	question->answered = true;
	question->status = status;
	question->end = end;
}

static inline void on_ask(void *arg)
{
	struct question *question = arg;
	struct volume *volume = cluster_volume(question->machine, 1);
	question->wait.done = on_end;
	if (question->hold_epoch > 0)
		volume_hold(volume, question->hold_epoch, &question->wait);
	else
		volume_fence(volume, true, &question->wait);
}

static inline void ask(struct question *question)
{
	world_call_on(question->machine, 0, on_ask, question);
}

static inline struct folder *inbox_of(unsigned machine)
{
	struct mailbox *mailbox =
		index_find_mailbox(&cluster_volume(machine, 1)->index, MAILBOX);
	return mailbox_find_folder(mailbox, STR("INBOX"));
}

/* Copies of what stands in the INBOX of a volume's mailbox, chunk by chunk, until there are
 * `wanted` messages or one is refused. */
struct growth {
	struct mailbox_op op;
	unsigned machine;
	uint32_t wanted;
	uint32_t *uids;
	bool is_over;
	int status;
};

enum { GROWTH_CHUNK = 8192 };

static inline void grow(struct growth *growth)
{
	struct folder *inbox = inbox_of(growth->machine);
	CHECK(folder_load(inbox) == 0);
	uint32_t count = inbox->message_count < GROWTH_CHUNK ? inbox->message_count : GROWTH_CHUNK;
	if (inbox->message_count >= growth->wanted) {
		growth->is_over = true;
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		growth->uids[i] = inbox->messages[i].uid;
	mailbox_copy(inbox, growth->uids, count, inbox, false,
		&(struct mailbox_policy){ DURABILITY_REMOTE, 0 }, &growth->op);
}

static inline void on_grown(struct mailbox_op *op)
{
	struct growth *growth = container_of(op, struct growth, op);
	growth->status = op->status;
	if (op->status == 0)
		grow(growth);
	else
		growth->is_over = true;
}

static inline void on_grow(void *arg)
{
	grow(arg);
}

static inline struct growth grow_inbox(uint32_t wanted)
{
	struct growth growth = { .op.done = on_grown, .machine = cluster_primary(1),
		.wanted = wanted, .uids = mem_alloc(GROWTH_CHUNK * sizeof(uint32_t)) };
	world_call_on(growth.machine, 0, on_grow, &growth);
	for (unsigned i = 0; i < 60 && !growth.is_over; i++)
		run_us(SECOND_US);
	EXPECT(growth.is_over);
	free(growth.uids);
	return growth;
}

static inline void expect_in_mailbox(const size_t *deliveries, unsigned count)
{
	struct folder *inbox = inbox_of(cluster_primary(1));
	EXPECT(inbox != NULL);
	for (unsigned i = 0; i < count && inbox != NULL; i++) {
		uint32_t at = folder_find_uid(inbox, entry(deliveries[i])->uid);
		EXPECT(at < inbox->message_count);
		EXPECT_INT(entry(deliveries[i])->uid, inbox->messages[at].uid);
	}
}

#endif
