/* Expunged messages that are kept, and come back: stories on the simulated cluster. They are none
 * of the history's, which looks for every accepted message under its first UID. */

#include "sim/scenario.h"

#include "sim/cluster_internal.h"

#include <errno.h>

enum { FEW = 10, DOMAIN = 1, DAYS = 1, LENGTH = 700, TURNS = 12 };

/* A wish to lose or to have back, as one of the machine's events. */
struct wish {
	struct mailbox_op op;
	struct recovered one;
	unsigned machine;
	bool is_over;
};

static void on_wish_done(struct mailbox_op *op)
{
	container_of(op, struct wish, op)->is_over = true;
}

/* A word of the directory's, and of whoever opens the mailbox. */
static struct folder *begin_wish(struct wish *wish)
{
	struct volume *volume = cluster_volume(wish->machine, 1);
	struct folder *inbox = inbox_of(wish->machine);
	volume_set_keeping(volume, &(struct directory_keeping){ DOMAIN, DAYS }, 1, true);
	inbox->mailbox->domain_id = DOMAIN;
	wish->op = (struct mailbox_op){ .done = on_wish_done };
	CHECK(folder_load(inbox) == 0);
	return inbox;
}

static void on_store(void *arg)
{
	struct wish *wish = arg;
	struct append_request request = { .body = bytes_create(LENGTH),
		.policy = { DURABILITY_REMOTE, 0 } };
	memset(request.body->data, 'a', LENGTH);
	mailbox_append(begin_wish(wish), &request, &wish->op);
	bytes_unref(&request.body);
}

static void on_lose(void *arg)
{
	struct wish *wish = arg;
	struct folder *inbox = begin_wish(wish);
	const struct message *message = &inbox->messages[inbox->message_count - 1];
	uint32_t uid = message->uid;
	wish->one.body_lsn = message->body_lsn;
	mailbox_expunge(inbox, &uid, 1, &wish->op);
}

static void on_have_back(void *arg)
{
	struct wish *wish = arg;
	struct folder *inbox = begin_wish(wish);
	mailbox_recover(inbox, &wish->one, 1, &(struct mailbox_policy){ DURABILITY_REMOTE, 0 },
		&wish->op);
}

static void deliver_some(void)
{
	for (unsigned i = 0; i < FEW; i++) {
		cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
		run_us(SECOND_US / 20);
	}
}

/* How often the INBOX at a machine shows the body. */
static unsigned times_shown(unsigned machine, uint64_t lsn)
{
	struct folder *inbox = inbox_of(machine);
	unsigned times = 0;
	EXPECT_INT(0, folder_load(inbox));
	for (uint32_t i = 0; i < inbox->message_count; i++)
		times += inbox->messages[i].body_lsn == lsn;
	return times;
}

/* A message is stored and expunged, and all of that shipped. */
static struct wish lose(void)
{
	struct wish lost = { .machine = cluster_primary(1) };
	world_call_on(lost.machine, 0, on_store, &lost);
	run_us(SECOND_US);
	EXPECT(lost.is_over && lost.op.status == 0);
	lost.is_over = false;
	world_call_on(lost.machine, 0, on_lose, &lost);
	run_us(SECOND_US);
	EXPECT(lost.is_over && lost.op.status == 0);
	EXPECT_INT(0, times_shown(lost.machine, lost.one.body_lsn));
	EXPECT(cluster_volume(lost.machine, 1)->index.bodies.kept_bytes > 0);
	return lost;
}

static int have_back(unsigned machine, uint64_t lsn)
{
	struct wish back = { .machine = machine, .one.body_lsn = lsn };
	world_call_on(machine, 0, on_have_back, &back);
	run_us(3 * SECOND_US);
	EXPECT(back.is_over);
	return back.one.status;
}

TEST(what_was_expunged_comes_back_at_the_copy_that_is_promoted_when_its_site_is_gone)
{
	start();
	deliver_some();
	struct wish lost = lose();
	unsigned old = cluster_primary(1), new = replica_of(1);
	cluster_crash(old);
	run_us(SECOND_US);
	cluster_fail_over(1);
	run_us(5 * SECOND_US);
	EXPECT_INT(new, cluster_primary(1));
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(new, 1)->state);
	EXPECT_INT(0, times_shown(new, lost.one.body_lsn));
	EXPECT_INT(0, have_back(new, lost.one.body_lsn));
	EXPECT_INT(-ENOENT, have_back(new, lost.one.body_lsn));
	cluster_restart(old);
	run_us(10 * SECOND_US);
	for (unsigned machine = 0; machine < 2; machine++)
		EXPECT_INT(1, times_shown(machine, lost.one.body_lsn));
	EXPECT(check_all());
}

TEST(who_asks_again_after_a_death_in_the_middle_has_it_once)
{
	unsigned came = 0;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		/* What a write that was under way leaves is drawn: not the same for each, and most
		 * of them die early, when it may be either. */
		start_from(7 + turn);
		deliver_some();
		struct wish lost = lose();
		unsigned primary = cluster_primary(1);
		/* Nobody is left to be told. */
		struct wish *asked = mem_alloc(sizeof(*asked));
		*asked = (struct wish){ .machine = primary, .one.body_lsn = lost.one.body_lsn };
		world_call_on(primary, 0, on_have_back, asked);
		run_us(1 + turn * turn * 25);
		cluster_crash(primary);
		run_us(SECOND_US);
		cluster_restart(primary);
		run_us(10 * SECOND_US);
		free(asked);
		unsigned before = times_shown(primary, lost.one.body_lsn);
		came += before;
		int status = have_back(primary, lost.one.body_lsn);
		EXPECT_INT(before ? -ENOENT : 0, status);
		for (unsigned machine = 0; machine < 2; machine++)
			EXPECT_INT(1, times_shown(machine, lost.one.body_lsn));
		EXPECT(check_all());
	}
	EXPECT(came > 0 && came < TURNS);
}
