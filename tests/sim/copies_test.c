/* Copies that know each other: stories on the simulated cluster, with a process at the replicators'
 * door that says what the test wants. */

#include "sim/scenario.h"

#include "core/pool.h"
#include "proto/cluster/message.h"
#include "sim/cluster_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A line over which nothing came for so long is dead. */
enum { MEMBER_SILENT_US = 3000000 };

/* ---- somebody who speaks as a replicator ---- */

struct caller {
	struct stream *stream;
	struct frame_reader reader;
	struct pool *pool;
	bool is_over;
	unsigned epochs, followings; /* EPOCH and FOLLOWING heard */
	uint64_t asked;              /* the number of volume 1's last ASK; 0: none came */
	char refusal[256];           /* the last one's words */
	uint32_t refused_volume;
	/* Of the chunks received: where they end, with which chain. */
	uint64_t end, chain;
};

static void say(struct caller *caller, const struct cluster_message *message)
{
	struct buf out = { 0 };
	message_encode(message, &out);
	stream_write_str(caller->stream, buf_str(&out));
	buf_deinit(&out);
}

static void take_chunk(struct caller *caller, struct str payload)
{
	struct chunk chunk;
	EXPECT(chunk_decode(payload, &chunk));
	struct str rest = str_from_index(payload, CHUNK_HEADER_LENGTH);
	uint64_t lsn = chunk.lsn;
	while (rest.length > 0) {
		struct group group;
		EXPECT(group_verify(rest, lsn, chunk.volume, &group));
		EXPECT(lsn == 0 || group.chain == caller->chain);
		caller->chain = group_chain_after(rest, &group);
		lsn += group_padded(group.used);
		rest = str_from_index(rest, group_padded(group.used));
	}
	caller->end = lsn;
}

static void take_message(struct caller *caller, struct str payload)
{
	struct cluster_message message;
	EXPECT(message_decode(payload, caller->pool, &message));
	caller->epochs += message.kind == MESSAGE_EPOCH;
	caller->followings += message.kind == MESSAGE_FOLLOWING;
	if (message.kind == MESSAGE_ASK && message.volume == 1)
		caller->asked = message.end;
	if (message.kind != MESSAGE_REFUSE)
		return;
	caller->refused_volume = message.volume;
	snprintf(caller->refusal, sizeof(caller->refusal), STR_FORMAT, STR_ARG(message.text));
}

static void caller_on_input(void *arg, struct buf *input)
{
	struct caller *caller = arg;
	enum frame_type type;
	struct bytes *payload;
	while (frame_read(&caller->reader, input, FRAME_PAYLOAD_MAX, &type, &payload) ==
		FRAME_DONE) {
		if (type == FRAME_CHUNK)
			take_chunk(caller, bytes_str(payload));
		else
			take_message(caller, bytes_str(payload));
		bytes_unref(&payload);
	}
}

static void caller_on_close(void *arg, int reason)
{
	struct caller *caller = arg;
	(void)reason;
	caller->is_over = true;
}

static void dial(struct caller *caller, unsigned machine, uint32_t node_id, uint64_t process)
{
	static const struct stream_handler handler = { .on_input = caller_on_input,
		.on_close = caller_on_close };
	char address[32];
	snprintf(address, sizeof(address), "machine-%u:1", machine);
	*caller = (struct caller){ .pool = pool_create() };
	caller->stream =
		stream_connect(cluster_client_loop(), address, NULL, NULL, 1000, &handler, caller);
	run_us(SECOND_US / 10);
	say(caller,
		&(struct cluster_message){ .kind = MESSAGE_HELLO,
			.node = node_id,
			.process = process,
			.text = STR("a caller") });
	run_us(SECOND_US / 10);
}

static void hang_up(struct caller *caller)
{
	if (!caller->is_over)
		stream_abort(caller->stream);
	frame_reader_deinit(&caller->reader);
	pool_destroy(&caller->pool);
}

/* ---- two processes under one name ---- */

static const struct slot_replica *replica_of_1(void)
{
	const struct slot *slot = &machines[cluster_primary(1)]->slots[0];
	EXPECT_INT(1, slot->replica_count);
	return &slot->replicas[0];
}

static bool is_confirmed(void)
{
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US / 2);
	return entry(delivery)->answered_ok;
}

TEST(a_second_process_of_a_living_members_name_is_refused_and_changes_nothing)
{
	struct caller twin;
	start();
	EXPECT_INT(0, cluster_primary(1));
	EXPECT(is_confirmed());
	dial(&twin, 0, 2, 77);
	run_us(SECOND_US);
	EXPECT(twin.is_over && twin.epochs == 0);
	EXPECT_INT(0, twin.refused_volume);
	EXPECT(strstr(twin.refusal, "node-0 has another node-1 linked, at ") != NULL);
	EXPECT(replica_of_1()->connected);
	EXPECT(is_confirmed());
	hang_up(&twin);
	struct buf told = { 0 };
	replicator_report(machines[0]->replicator, &told);
	EXPECT(strstr(buf_terminated(&told), "\"twins\": [{\"name\": \"node-1\"") != NULL);
	/* It does not come back: forgotten after a while. */
	run_us(61 * SECOND_US);
	buf_clear(&told);
	replicator_report(machines[0]->replicator, &told);
	EXPECT(strstr(buf_terminated(&told), "\"twins\": []") != NULL);
	buf_deinit(&told);
	EXPECT(check_all());
}

TEST(a_member_that_has_died_makes_way_for_who_comes_under_its_name)
{
	struct caller next;
	start();
	EXPECT(is_confirmed());
	cluster_crash(1);
	run_us(MEMBER_SILENT_US);
	dial(&next, 0, 2, 77);
	run_us(SECOND_US / 2);
	EXPECT(!next.is_over && next.epochs > 0);
	hang_up(&next);
	cluster_restart(1);
	run_us(20 * SECOND_US);
	EXPECT(is_confirmed());
	EXPECT(check_all());
}

/* Its line ends without a word, as that of a machine without power does. */
TEST(a_member_that_comes_back_is_welcome_at_once_over_its_dead_line)
{
	start();
	EXPECT(is_confirmed());
	world_set_link(0, 1, false);
	cluster_crash(1);
	cluster_restart(1);
	run_us(SECOND_US / 2);
	world_set_link(0, 1, true);
	run_us(6 * SECOND_US);
	EXPECT(replica_of_1()->connected);
	EXPECT(is_confirmed());
	EXPECT(check_all());
}

/* It was cut off within a moment, and what ended its line has not come. */
TEST(a_process_that_dials_anew_replaces_its_line_at_once_and_is_nobodys_twin)
{
	struct caller first, again, twin;
	struct buf told = { 0 };
	start();
	cluster_crash(1);
	run_us(MEMBER_SILENT_US);
	dial(&first, 0, 2, 77);
	EXPECT(!first.is_over && first.epochs > 0);
	dial(&again, 0, 2, 77);
	EXPECT(first.is_over && first.refusal[0] == '\0');
	EXPECT(!again.is_over && again.epochs > 0);
	replicator_report(machines[0]->replicator, &told);
	EXPECT(strstr(buf_terminated(&told), "\"twins\": []") != NULL);
	/* Another process is refused as ever. */
	dial(&twin, 0, 2, 78);
	run_us(SECOND_US / 2);
	EXPECT(twin.is_over && twin.epochs == 0);
	EXPECT(!again.is_over);
	buf_deinit(&told);
	hang_up(&first);
	hang_up(&again);
	hang_up(&twin);
	cluster_restart(1);
	run_us(20 * SECOND_US);
	EXPECT(is_confirmed());
	EXPECT(check_all());
}

/* ---- a node that was removed, and came back under its name and address ---- */

enum { OLD_NUMBER = 9 };

/* As its peer knew it before: a member of volume 1. */
static void know_old_number(void *arg)
{
	struct replicator *replicator = machines[1]->replicator;
	struct replicator_volume volume = { .id = 1,
		.epoch = truths[0].epoch,
		.role = REPLICATOR_FOLLOW,
		.leader_node_id = 1,
		.members = { 1, 2, OLD_NUMBER },
		.member_count = 3 };
	(void)arg;
	replicator_set_peer(replicator, OLD_NUMBER, "node-0", "machine-0:1");
	replicator_set_volume(replicator, &volume);
}

static bool is_known(void *arg, uint32_t node_id)
{
	(void)arg;
	return node_id != OLD_NUMBER;
}

static void forget_old_number(void *arg)
{
	(void)arg;
	replicator_forget_peers(machines[1]->replicator, is_known, NULL);
}

static bool stays_connected(void)
{
	bool stays = true;
	for (unsigned i = 0; i < 40; i++) {
		run_us(SECOND_US / 20);
		stays = stays && replica_of_1()->connected;
	}
	return stays;
}

TEST(a_node_that_has_another_number_now_is_dialled_once)
{
	start();
	EXPECT(is_confirmed());
	world_run_in(replicator_loops[1], know_old_number, NULL);
	cluster_spread(1, 0, 0);
	run_us(SECOND_US);
	/* One line ends the other. */
	EXPECT(!stays_connected());
	world_run_in(replicator_loops[1], forget_old_number, NULL);
	run_us(SECOND_US);
	EXPECT(stays_connected());
	EXPECT(is_confirmed());
	EXPECT(check_all());
}

/* ---- whose question ---- */

/* The primary is without power for a moment and asks the caller, who is its only other copy. */
static uint64_t be_asked(struct caller *caller)
{
	cluster_crash(0);
	cluster_restart(0);
	run_us(SECOND_US / 2);
	dial(caller, 0, 2, 77);
	run_us(SECOND_US);
	EXPECT(caller->asked != 0);
	EXPECT_INT(WAIT_COPIES, cluster_volume(0, 1)->numbers.waits_for);
	return caller->asked;
}

/* An empty copy. */
static void answer(struct caller *caller, uint64_t question)
{
	static const uint8_t copy_id[COPY_ID_LENGTH] = { 1, 2, 3 };
	struct buf vector = { 0 };
	struct epochs none = { 0 };
	epochs_encode(&none, &vector);
	say(caller,
		&(struct cluster_message){ .kind = MESSAGE_POSITION,
			.volume = 1,
			.epoch = 1,
			.end = question,
			.epochs = buf_str(&vector),
			.copy_id = str_of(copy_id, sizeof(copy_id)),
			.text = STR("replica") });
	buf_deinit(&vector);
	run_us(SECOND_US / 10);
}

TEST(an_answer_to_the_question_of_an_earlier_process_is_none)
{
	struct caller member;
	start();
	EXPECT(is_confirmed());
	cluster_crash(1);
	uint64_t earlier = be_asked(&member);
	hang_up(&member);
	uint64_t asked = be_asked(&member);
	answer(&member, earlier);
	EXPECT_INT(WAIT_COPIES, cluster_volume(0, 1)->numbers.waits_for);
	/* All have answered: it waits for what it writes now to be there too. */
	answer(&member, asked);
	EXPECT_INT(WAIT_ACKS, cluster_volume(0, 1)->numbers.waits_for);
	hang_up(&member);
	cluster_restart(1);
	run_us(20 * SECOND_US);
	EXPECT(is_confirmed());
	EXPECT(check_all());
}

/* All have answered, and one of them has another process under this name. */
TEST(an_opening_that_is_refused_as_a_twin_says_so)
{
	struct caller member;
	start();
	EXPECT(is_confirmed());
	cluster_crash(1);
	be_asked(&member);
	say(&member,
		&(struct cluster_message){ .kind = MESSAGE_REFUSE,
			.text = STR("node-1 has another node-0 linked, at machine-9") });
	run_us(SECOND_US / 10);
	EXPECT(member.is_over);
	hang_up(&member);
	dial(&member, 0, 2, 77);
	run_us(SECOND_US);
	answer(&member, member.asked);
	run_us(SECOND_US);
	EXPECT_INT(VOLUME_OPENING, cluster_volume(0, 1)->state);
	EXPECT(strstr(machines[0]->slots[0].waits_for, "node-1 has another node-0 linked") != NULL);
	hang_up(&member);
}

/* ---- whose log ---- */

/* The replica's machine is gone, and the caller follows in its place, up to the leader's end. */
static void follow_as_2(struct caller *caller)
{
	static const uint8_t copy_id[COPY_ID_LENGTH] = { 1, 2, 3 };
	struct buf vector = { 0 };
	struct epochs none = { 0 };
	cluster_crash(1);
	run_us(MEMBER_SILENT_US);
	dial(caller, 0, 2, 77);
	epochs_encode(&none, &vector);
	say(caller,
		&(struct cluster_message){ .kind = MESSAGE_FOLLOW,
			.volume = 1,
			.epochs = buf_str(&vector),
			.copy_id = str_of(copy_id, sizeof(copy_id)) });
	buf_deinit(&vector);
	run_us(SECOND_US / 2);
	EXPECT_INT(1, caller->followings);
	EXPECT(caller->end > 0);
}

static void acknowledge(struct caller *caller, uint64_t chain)
{
	const struct volume *volume = cluster_volume(0, 1);
	const struct epoch_entry *last = epochs_last(volume_log_epochs(volume->log));
	say(caller,
		&(struct cluster_message){ .kind = MESSAGE_ACK,
			.volume = 1,
			.epoch = last->epoch,
			.reign = str_of(last->reign, EPOCH_REIGN_LENGTH),
			.lsn = caller->end,
			.chain = chain });
	run_us(SECOND_US / 10);
}

TEST(what_is_acknowledged_with_the_leaders_chain_is_verified)
{
	struct caller follower;
	start();
	EXPECT(is_confirmed());
	follow_as_2(&follower);
	acknowledge(&follower, follower.chain);
	EXPECT(replica_of_1()->connected);
	EXPECT_INT(COPY_VERIFIED, replica_of_1()->verdict);
	EXPECT_INT(follower.end, replica_of_1()->verified_lsn);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US / 10);
	EXPECT(!entry(delivery)->answered_ok);
	acknowledge(&follower, follower.chain);
	EXPECT(entry(delivery)->answered_ok);
	/* The same end again, whose chain is not among those of chunks on their way any more. */
	acknowledge(&follower, follower.chain);
	EXPECT_INT(COPY_VERIFIED, replica_of_1()->verdict);
	hang_up(&follower);
}

TEST(an_acknowledgement_with_another_chain_than_the_leaders_counts_for_nothing)
{
	struct caller follower;
	start();
	EXPECT(is_confirmed());
	follow_as_2(&follower);
	acknowledge(&follower, follower.chain);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(SECOND_US / 10);
	uint64_t verified = replica_of_1()->verified_lsn;
	acknowledge(&follower, follower.chain ^ 1);
	EXPECT_INT(1, follower.refused_volume);
	EXPECT(strstr(follower.refusal, "differ") != NULL);
	EXPECT(!replica_of_1()->connected);
	EXPECT_INT(COPY_DIVERGED, replica_of_1()->verdict);
	EXPECT_INT(verified, replica_of_1()->verified_lsn);
	EXPECT(cluster_volume(0, 1)->replicas[0].diverged);
	EXPECT_INT(0, cluster_volume(0, 1)->replicas[0].acked_lsn);
	run_us(SECOND_US);
	EXPECT(!entry(delivery)->answered_ok);
	/* The true copy comes back, and counts again; its own node knows, too. */
	hang_up(&follower);
	cluster_restart(1);
	EXPECT_INT(COPY_UNVERIFIED, machines[1]->slots[0].verdict);
	run_us(20 * SECOND_US);
	EXPECT(is_confirmed());
	EXPECT_INT(COPY_VERIFIED, replica_of_1()->verdict);
	EXPECT_INT(COPY_VERIFIED, machines[1]->slots[0].verdict);
	EXPECT(!cluster_volume(0, 1)->replicas[0].diverged);
	EXPECT(check_all());
}

/* The node of a copy does not hear that its log was cut, and when it hears of the log again that is
 * longer than it ever was. */
TEST(a_log_that_is_cut_and_grows_again_unheard_is_another_branch)
{
	start();
	EXPECT(is_confirmed());
	world_set_link(0, 1, false);
	for (unsigned i = 0; i < 4; i++)
		cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(5 * SECOND_US);
	uint64_t end = volume_log_end(cluster_volume(0, 1)->log);
	cluster_promote(1, 1);
	run_us(5 * SECOND_US);
	EXPECT_INT(VOLUME_REPLICA, cluster_volume(0, 1)->state);
	EXPECT_INT(end, cluster_volume(0, 1)->reader_end);
	/* Its node and its replicator are parted; the replicator follows. */
	world_part_processes(0);
	run_us(1000);
	world_set_link(0, 0, false);
	world_set_link(0, 1, true);
	/* For another mailbox: what the index had before contradicts none of it. */
	for (unsigned i = 0; i < 40; i++) {
		cluster_deliver(1, MAILBOX + 1, DURABILITY_REMOTE);
		run_us(SECOND_US / 4);
	}
	EXPECT(volume_log_end(cluster_volume(1, 1)->log) > end);
	EXPECT_INT(end, cluster_volume(0, 1)->reader_end);
	world_set_link(0, 0, true);
	run_us(20 * SECOND_US);
	EXPECT_INT(volume_log_end(cluster_volume(1, 1)->log), cluster_volume(0, 1)->reader_end);
	EXPECT(check_all());
}

/* What follows a copy's end has rotted at its leader, in the header that says the chain there. */
TEST(damage_where_a_copy_ends_is_no_other_log)
{
	char path[64];
	start();
	EXPECT(is_confirmed());
	cluster_crash(1);
	run_us(SECOND_US);
	uint64_t end = volume_log_end(cluster_volume(0, 1)->log);
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(5 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok);
	EXPECT_INT(segment_of(end), segment_of(volume_log_end(cluster_volume(0, 1)->log)));
	snprintf(path, sizeof(path), "/volumes/1/%016llx.log", (unsigned long long)segment_of(end));
	world_rot(0, path, end % segment_length + 12);
	cluster_restart(1);
	run_us(5 * SECOND_US);
	EXPECT(replica_of_1()->verdict != COPY_DIVERGED);
	EXPECT(!cluster_volume(0, 1)->replicas[0].diverged);
	/* Somebody has mended it. */
	world_rot(0, path, end % segment_length + 12);
	run_us(20 * SECOND_US);
	EXPECT_INT(COPY_VERIFIED, replica_of_1()->verdict);
	EXPECT(check_all());
}

/* ---- a copy that is far behind ---- */

/* The folder takes more; where it has to wait for the directory's word, it is asked again. */
static void take_more(uint32_t wanted)
{
	struct growth growth = { .status = -1 };
	for (unsigned i = 0; i < 20 && growth.status != 0; i++)
		growth = grow_inbox(wanted);
	EXPECT_INT(0, growth.status);
}

static uint32_t deliver_uid(void)
{
	size_t delivery = cluster_deliver(1, MAILBOX, DURABILITY_REMOTE);
	run_us(3 * SECOND_US);
	EXPECT(entry(delivery)->answered_ok);
	return entry(delivery)->uid;
}

static void begin_alone(unsigned machine)
{
	cluster_restart(machine);
	run_us(SECOND_US);
	cluster_promote(1, machine);
	run_us(10 * SECOND_US);
	EXPECT_INT(machine, cluster_primary(1));
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(machine, 1)->state);
}

TEST(a_straggler_that_is_promoted_gives_no_uid_again_nor_does_who_comes_after)
{
	log_setup("scenario", LOG_LEVEL_ERROR);
	world_reset(7);
	cluster_start(3);
	run_us(3 * SECOND_US);
	EXPECT_INT(0, cluster_primary(1));
	deliver_uid();
	cluster_crash(2);
	run_us(SECOND_US);
	take_more(5 * UID_SLACK);
	uint32_t first = inbox_of(0)->uidnext;
	run_us(5 * SECOND_US);
	/* Both copies that have all of it are gone. */
	cluster_crash(0);
	cluster_crash(1);
	begin_alone(2);
	EXPECT(deliver_uid() >= first);
	take_more(3);
	uint32_t second = inbox_of(2)->uidnext;
	/* One of those, which lacks what the straggler did. */
	cluster_crash(2);
	begin_alone(1);
	EXPECT(deliver_uid() >= second);
	cluster_restart(0);
	cluster_restart(2);
	run_us(60 * SECOND_US);
	EXPECT(check_all());
}

/* Copies keep the address of the mail that they are made of: an index does not tell that they are
 * new. */
TEST(a_primary_that_is_killed_again_and_again_runs_no_further_ahead_of_its_copy)
{
	log_setup("scenario", LOG_LEVEL_ERROR);
	world_reset(7);
	cluster_start(2);
	run_us(3 * SECOND_US);
	EXPECT_INT(0, cluster_primary(1));
	deliver_uid();
	for (unsigned machine = 1; machine < 2; machine--) {
		cluster_promote(1, machine);
		run_us(10 * SECOND_US);
		EXPECT_INT(machine, cluster_primary(1));
	}
	cluster_crash(1);
	run_us(10 * SECOND_US);
	for (unsigned i = 0; i < 4; i++) {
		EXPECT_INT(-EAGAIN, grow_inbox(5 * UID_SLACK).status);
		world_kill_machine(0);
		cluster_restart(0);
		run_us(5 * SECOND_US);
		EXPECT_INT(0, cluster_primary(1));
		EXPECT_INT(VOLUME_PRIMARY, cluster_volume(0, 1)->state);
	}
	uint32_t first = inbox_of(0)->uidnext;
	cluster_crash(0);
	begin_alone(1);
	EXPECT(deliver_uid() >= first);
	cluster_restart(0);
	run_us(60 * SECOND_US);
	EXPECT(check_all());
}

TEST(a_folder_waits_for_the_directory_before_it_runs_further_ahead_of_a_straggler)
{
	log_setup("scenario", LOG_LEVEL_ERROR);
	world_reset(7);
	cluster_start(3);
	run_us(3 * SECOND_US);
	deliver_uid();
	cluster_crash(2);
	cluster_cut_off(0, true);
	EXPECT_INT(-EAGAIN, grow_inbox(2 * UID_SLACK).status);
	EXPECT(inbox_of(0)->uidnext <= UID_SLACK);
	cluster_cut_off(0, false);
	run_us(SECOND_US);
	take_more(2 * UID_SLACK);
	cluster_restart(2);
	run_us(30 * SECOND_US);
	EXPECT(check_all());
}

/* ---- an epoch that nobody has ---- */

enum { BOGUS_EPOCH = 30000 };

static void shout(struct caller *caller)
{
	say(caller,
		&(struct cluster_message){
			.kind = MESSAGE_EPOCH, .volume = 1, .epoch = BOGUS_EPOCH });
	run_us(SECOND_US / 10);
}

TEST(an_epoch_shown_with_the_key_of_a_living_member_is_not_heard)
{
	struct caller thief;
	start();
	/* What it says comes with its greeting. */
	dial(&thief, 0, 2, 77);
	if (!thief.is_over)
		shout(&thief);
	run_us(5 * SECOND_US);
	EXPECT(thief.is_over);
	EXPECT_INT(1, cluster_volume(0, 1)->highest_epoch);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(0, 1)->state);
	EXPECT(is_confirmed());
	hang_up(&thief);
}

TEST(an_epoch_that_no_copy_has_is_passed_over_when_all_have_been_heard)
{
	struct caller thief;
	start();
	uint32_t before = deliver_uid();
	cluster_crash(1);
	run_us(MEMBER_SILENT_US);
	dial(&thief, 0, 2, 77);
	shout(&thief);
	hang_up(&thief);
	EXPECT(cluster_volume(0, 1)->state != VOLUME_PRIMARY);
	/* A copy is silent, and may have begun it. */
	run_us(60 * SECOND_US);
	EXPECT(cluster_volume(0, 1)->state != VOLUME_PRIMARY);
	EXPECT_INT(WAIT_EXPLAINED, cluster_volume(0, 1)->numbers.waits_for);
	EXPECT_INT(1, cluster_volume(0, 1)->row_epoch);
	cluster_restart(1);
	run_us(20 * SECOND_US);
	EXPECT_INT(0, cluster_primary(1));
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(0, 1)->state);
	EXPECT_INT(
		epochs_next(BOGUS_EPOCH, cluster_slot(0, 0)), cluster_volume(0, 1)->desired.epoch);
	EXPECT(deliver_uid() > before);
	EXPECT(is_confirmed());
	EXPECT(check_all());
}

TEST(an_epoch_that_another_copy_has_written_in_is_not_passed_over)
{
	start();
	unsigned primary = cluster_primary(1);
	cluster_keep_directory();
	cluster_cut_off(primary, true);
	cluster_promote(1, 1 - primary);
	run_us(5 * SECOND_US);
	EXPECT(cluster_volume(primary, 1)->state != VOLUME_PRIMARY);
	deliver_uid();
	/* Whoever wrote it is a replica again by the directory, which was put back meanwhile. */
	cluster_crash(1 - primary);
	cluster_put_back_directory();
	cluster_cut_off(primary, false);
	run_us(SECOND_US);
	cluster_restart(1 - primary);
	run_us(60 * SECOND_US);
	EXPECT_INT(1, cluster_volume(primary, 1)->row_epoch);
	EXPECT(cluster_volume(primary, 1)->state != VOLUME_PRIMARY);
	EXPECT_INT(WAIT_EXPLAINED, cluster_volume(primary, 1)->numbers.waits_for);
	/* The operator's command finds who has it. */
	cluster_promote(1, 1 - primary);
	run_us(60 * SECOND_US);
	EXPECT_INT(1 - primary, cluster_primary(1));
	EXPECT(is_confirmed());
	EXPECT(check_all());
}

/* A snapshot of a machine as it ran: it takes itself for whole, opens, and says so to the
 * directory, before it hears of anybody. */
TEST(a_primary_that_was_put_back_with_its_memory_serves_again_when_it_has_what_it_lacked)
{
	enum { COUNT = 6 };
	size_t deliveries[COUNT];
	start();
	unsigned primary = cluster_primary(1);
	for (unsigned i = 0; i < COUNT; i++) {
		deliveries[i] = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
		run_us(SECOND_US);
		if (i == COUNT / 2) {
			world_keep_disk(primary);
			world_keep_memory(primary);
		}
	}
	cluster_crash(primary);
	world_put_back_disk(primary);
	world_put_back_memory(primary);
	world_set_link(0, 1, false);
	cluster_restart(primary);
	run_us(SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	world_set_link(0, 1, true);
	run_us(10 * SECOND_US);
	EXPECT_INT(VOLUME_PRIMARY, cluster_volume(primary, 1)->state);
	EXPECT_INT(1, cluster_volume(primary, 1)->desired.epoch);
	expect_in_mailbox(deliveries, COUNT);
	size_t late = cluster_deliver(1, MAILBOX, DURABILITY_STRICT);
	run_us(5 * SECOND_US);
	EXPECT(entry(late)->answered_ok);
	EXPECT(entry(late)->uid > entry(deliveries[COUNT - 1])->uid);
}
