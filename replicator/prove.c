#include "replicator/internal.h"

#include "core/clock.h"
#include "core/log.h"
#include "spool/log_punch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Before the node of this machine writes: every other member is asked where it stands, and what the
 * best of them has more is fetched. Being named by the directory says who may write, not that the
 * log here is whole: a disk may be new, put back, or have lost its last writes.
 *
 * All have answered and nobody has more: the node gets the log, with the number of this opening.
 * Somebody is silent: the node is told so, and decides (node/volume/proof.c).
 *
 * A member answers only while it is a replica and nothing of it is decided: one that stands still
 * for a failover says so, and is asked again.
 */

enum {
	/* Five questions: a member that is linked and lives answers the first. */
	SEEDING_ASK_MS = 5 * PROVE_ASK_MS,
};

struct proof_member {
	uint32_t node_id;
	bool answered;
	/* It counts as no copy: what it has is taken where it says so, and it is not waited for. */
	bool is_seeding;
	struct epochs epochs;
	uint64_t end, chain;
	uint64_t asked_us; /* 0: it is asked at the next step */
	char why[160];     /* it says nothing yet */
};

struct proof {
	uint64_t epoch, since_us;
	struct proof_member members[REPLICATOR_MEMBERS_MAX];
	unsigned count;
	uint64_t known_end;   /* a member has said that it has this much, and the log here not */
	bool is_damaged;      /* the log does not open from rotten_lsn on */
	uint64_t rotten_lsn;
	char trouble[256];    /* of this machine; empty when there is none */
	struct buf told;      /* what the node heard last */
};

static void set_text(char *to, size_t size, const char *text)
{
	size_t length = strnlen(text, size - 1);
	memcpy(to, text, length);
	to[length] = '\0';
}

void prove_end(struct copy *copy)
{
	struct proof *proof = copy->proof;
	if (proof == NULL)
		return;
	for (unsigned i = 0; i < proof->count; i++)
		epochs_deinit(&proof->members[i].epochs);
	buf_deinit(&proof->told);
	free(proof);
	copy->proof = NULL;
}

void prove_begin(struct copy *copy, uint64_t epoch)
{
	prove_end(copy);
	copy_enter(copy, COPY_IDLE, NULL);
	struct proof *proof = copy->proof = mem_alloc(sizeof(*proof));
	proof->epoch = epoch;
	proof->since_us = clock_mono_us();
	for (unsigned i = 0; i < copy->desired.member_count; i++) {
		struct proof_member *member = &proof->members[proof->count];
		if (copy->desired.members[i] == copy->replicator->options.node_id)
			continue;
		member->node_id = copy->desired.members[i];
		member->is_seeding = copy->desired.is_seeding[i];
		set_text(member->why, sizeof(member->why), "does not answer");
		proof->count++;
	}
	receive_reconcile(copy);
}

void prove_forget(struct copy *copy, uint32_t node_id)
{
	struct proof *proof = copy->proof;
	for (unsigned i = 0; proof != NULL && i < proof->count; i++)
		if (proof->members[i].node_id == node_id) {
			proof->members[i].answered = false;
			proof->members[i].asked_us = 0;
		}
}

uint64_t prove_epoch(const struct copy *copy)
{
	return copy->proof->epoch;
}

/* ---- asking ---- */

static const char *silence_of(const struct copy *copy, const struct proof_member *member)
{
	const struct peer *peer = replicator_find_peer(copy->replicator, member->node_id);
	return peer != NULL && peer->refused_us[0] ? peer->refused_us : "does not answer";
}

static void ask_members(struct copy *copy)
{
	struct proof *proof = copy->proof;
	uint64_t now = clock_mono_us();
	for (unsigned i = 0; i < proof->count; i++) {
		struct proof_member *member = &proof->members[i];
		struct connection *connection =
			replicator_find_connection(copy->replicator, member->node_id);
		if (connection == NULL && !member->answered)
			set_text(member->why, sizeof(member->why), silence_of(copy, member));
		if (member->answered || connection == NULL ||
			(member->asked_us > 0 && now - member->asked_us < PROVE_ASK_MS * 1000))
			continue;
		member->asked_us = now;
		connection_send(connection, &(struct cluster_message){ .kind = MESSAGE_ASK,
						    .volume = copy->id,
						    .end = copy->question,
						    .epoch = proof->epoch });
	}
}

static const char *position_of(struct copy *copy, uint64_t asked_epoch)
{
	static const char *const uses[] = { [NODE_NONE] = "replica",
		[NODE_PROVES] = "is opening it too",
		[NODE_WANTS] = "stands still for a failover",
		[NODE_HOLDS] = "stands still for a failover",
		[NODE_WRITES] = "writes it" };
	if (copy->highest_epoch > asked_epoch)
		return "knows a later epoch";
	if (copy->node != NODE_NONE)
		return uses[copy->node];
	if (copy->log == NULL || copy->is_writing)
		return copy->log ? "is just writing" : "cannot open its log";
	if (receive_is_held(copy))
		return uses[NODE_HOLDS];
	if (volume_log_is_fenced(copy->log) ||
		volume_log_note_seen(copy->log, copy->highest_epoch) < 0)
		return "cannot write its log";
	return uses[NODE_NONE];
}

void prove_on_ask(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	struct buf vector = { 0 };
	uint8_t copy_id[COPY_ID_LENGTH];
	struct cluster_message answer = { .kind = MESSAGE_POSITION, .volume = message->volume };
	if (copy == NULL || !copy_has_member(copy, connection->node_id)) {
		answer.text = STR("holds no copy for it yet");
		connection_send(connection, &answer);
		return;
	}
	copy_saw_epoch(copy, message->epoch);
	/* There will be a leader in a moment: it is asked for soon, however long it was away. */
	copy->ask_again_ms = 0;
	if (copy->state == COPY_IDLE && copy->node == NODE_NONE)
		timer_start(copy->open_timer, RECONNECT_MS);
	/* A copy that its own, older directory calls the leader answers too. */
	struct error error;
	if (copy->node == NODE_NONE && copy->log == NULL && !copy->is_writing &&
		receive_open_log(copy, NULL, &error) < 0)
		log_debug("asked_while_closed", "volume=%u reason=%s", copy->id,
			log_quote(str_from(error.text)));
	answer.epoch = copy->highest_epoch;
	answer.end = message->end;
	answer.text = str_from(position_of(copy, message->epoch));
	if (str_equal(answer.text, STR("replica"))) {
		epochs_encode(volume_log_epochs(copy->log), &vector);
		answer.epochs = buf_str(&vector);
		answer.lsn = volume_log_end(copy->log);
		answer.chain = volume_log_chain(copy->log);
		volume_log_copy_id(copy->log, copy_id);
		answer.copy_id = str_of(copy_id, sizeof(copy_id));
	}
	connection_send(connection, &answer);
	buf_deinit(&vector);
}

void prove_on_position(struct connection *connection, const struct cluster_message *message)
{
	struct copy *copy = replicator_find_copy(connection->replicator, message->volume);
	if (copy == NULL || !copy_has_member(copy, connection->node_id))
		return;
	copy_saw_epoch(copy, message->epoch);
	member_shows_copy(copy, connection->node_id, message->copy_id);
	struct proof *proof = copy->proof;
	/* The answer to a question of an earlier proof says nothing of this one. */
	for (unsigned i = 0; proof != NULL && message->end == copy->question && i < proof->count;
		i++) {
		struct proof_member *member = &proof->members[i];
		if (member->node_id != connection->node_id)
			continue;
		member->answered = str_equal(message->text, STR("replica")) &&
			epochs_decode(message->epochs, &member->epochs);
		member->end = message->lsn;
		member->chain = message->chain;
		snprintf(member->why, sizeof(member->why), STR_FORMAT, STR_ARG(message->text));
	}
	if (proof != NULL)
		prove_step(copy);
}

/* ---- deciding ---- */

static struct proof_member *best_member(struct proof *proof)
{
	struct proof_member *best = NULL;
	for (unsigned i = 0; i < proof->count; i++) {
		struct proof_member *member = &proof->members[i];
		if (member->answered &&
			(best == NULL || epochs_compare(&member->epochs, member->end, &best->epochs,
						 best->end) > 0))
			best = member;
	}
	return best;
}

/* A copy that is being filled may have what is missing here all the same: one that lives says so
 * at once. */
static bool all_have_answered(const struct proof *proof)
{
	bool waits_long = clock_mono_us() - proof->since_us > SEEDING_ASK_MS * 1000u;
	for (unsigned i = 0; i < proof->count; i++)
		if (!proof->members[i].answered && !(proof->members[i].is_seeding && waits_long))
			return false;
	return true;
}

enum proof_order {
	ORDER_HAVE_ALL, /* nobody who answered has more */
	ORDER_FETCH,    /* the member has more; what parts from it here is cut first */
	ORDER_DIFFER,   /* equal by their vectors, and not by their chains */
};

/* Where both logs' last bytes are of one opening and the logs went apart, the member's count: it
 * has confirmed them, and those here nobody else has. */
static enum proof_order order_of(
	const struct copy *copy, const struct proof_member *member, uint64_t *common_out)
{
	const struct epochs *mine = volume_log_epochs(copy->log);
	uint64_t end = volume_log_end(copy->log);
	int result = epochs_common_end(mine, end, &member->epochs, member->end, common_out);
	int order = epochs_compare(&member->epochs, member->end, mine, end);
	if (result < 0)
		return order > 0 ? ORDER_DIFFER : ORDER_HAVE_ALL;
	if (*common_out == end && *common_out == member->end)
		return member->chain == volume_log_chain(copy->log) ? ORDER_HAVE_ALL : ORDER_DIFFER;
	if (*common_out == member->end)
		return ship_compare(copy, member->end, end, member->chain) != COPY_DIVERGED
			? ORDER_HAVE_ALL
			: ORDER_DIFFER;
	if (order > 0 || (*common_out < end && *common_out < member->end &&
				 epochs_epoch_below(mine, end) ==
					 epochs_epoch_below(&member->epochs, member->end)))
		return ORDER_FETCH;
	return ORDER_HAVE_ALL;
}

static void tell_progress(struct copy *copy, bool is_ready)
{
	struct proof *proof = copy->proof;
	struct buf text = { 0 };
	struct cluster_message message = { .kind = MESSAGE_PROVING, .volume = copy->id };
	for (unsigned i = 0; i < proof->count; i++) {
		const struct proof_member *member = &proof->members[i];
		message.opening += member->answered;
		if (!member->answered)
			buf_printf(&text, "%s%s %s", buf_length(&text) ? ", " : "",
				replicator_node_name(copy->replicator, member->node_id),
				member->why);
	}
	if (proof->trouble[0])
		buf_printf(&text, "%s%s", buf_length(&text) ? ", " : "", proof->trouble);
	message.connected = is_ready;
	message.lsn = copy->log ? volume_log_end(copy->log) : 0;
	message.end = proof->known_end > message.lsn ? proof->known_end : message.lsn;
	message.text = buf_str(&text);
	if (!str_equal(buf_str(&text), buf_str(&proof->told))) {
		buf_clear(&proof->told);
		buf_append_str(&proof->told, buf_str(&text));
		if (buf_length(&text) > 0)
			log_info("proof_waits", "volume=%u epoch=%llu reason=%s", copy->id,
				(unsigned long long)proof->epoch, log_quote(buf_str(&text)));
	}
	node_side_send(copy->replicator, &message);
	buf_deinit(&text);
}

static void fetch(struct copy *copy, const struct proof_member *member, uint64_t common)
{
	struct connection *connection =
		replicator_find_connection(copy->replicator, member->node_id);
	uint64_t end = volume_log_end(copy->log);
	if (connection == NULL) {
		prove_forget(copy, member->node_id);
		return;
	}
	if (common < end) {
		receive_cut(copy, common);
		return;
	}
	log_warn("fetches_back", "volume=%u node=%s from=%llu to=%llu", copy->id,
		replicator_node_name(copy->replicator, member->node_id), (unsigned long long)end,
		(unsigned long long)member->end);
	receive_ask(copy, connection);
}

/* A damaged log is opened at the damage once a member is known to have what follows, or all are
 * known not to have it: what is lost here is then lost everywhere. */
static bool open_log(struct copy *copy)
{
	struct proof *proof = copy->proof;
	const struct proof_member *best = best_member(proof);
	struct error error;
	if (proof->is_damaged && best != NULL &&
		(best->end > proof->rotten_lsn || all_have_answered(proof))) {
		log_warn("log_repaired",
			"volume=%u lsn=%llu best=%s action=\"kept as salvage from there on\"",
			copy->id, (unsigned long long)proof->rotten_lsn,
			replicator_node_name(copy->replicator, best->node_id));
		/* Where that is refused, the next step finds the damage again. */
		proof->is_damaged = false;
		receive_repair_log(copy);
		return false;
	}
	int result = receive_open_log(copy, &proof->rotten_lsn, &error);
	proof->is_damaged = result == -EUCLEAN;
	proof->trouble[0] = '\0';
	if (result < 0 && result != -EAGAIN) {
		set_text(proof->trouble, sizeof(proof->trouble), error.text);
		log_error("log_unusable", "volume=%u reason=%s", copy->id,
			log_quote(str_from(error.text)));
	}
	return result == 0;
}

static void finish(struct copy *copy)
{
	struct proof *proof = copy->proof;
	uint32_t opening = epochs_opening(
		volume_log_epochs(copy->log), volume_log_end(copy->log), proof->epoch);
	for (unsigned i = 0; i < proof->count; i++) {
		const struct proof_member *member = &proof->members[i];
		uint32_t theirs = epochs_opening(&member->epochs, member->end, proof->epoch);
		opening = theirs > opening ? theirs : opening;
	}
	struct cluster_message message = { .kind = MESSAGE_RELEASED,
		.volume = copy->id,
		.end = copy->question,
		.lsn = volume_log_end(copy->log),
		.chain = volume_log_chain(copy->log),
		.opening = opening + 1 };
	log_info("proven", "volume=%u epoch=%llu end=%llu members=%u", copy->id,
		(unsigned long long)proof->epoch, (unsigned long long)message.lsn, proof->count);
	prove_end(copy);
	receive_close(copy);
	copy->node = NODE_HOLDS;
	node_side_send(copy->replicator, &message);
}

static void decide(struct copy *copy)
{
	struct proof *proof = copy->proof;
	struct proof_member *best = best_member(proof);
	uint64_t common = 0;
	enum proof_order order = best ? order_of(copy, best, &common) : ORDER_HAVE_ALL;
	/* Whoever said it may be silent before it has been fetched. */
	if (order == ORDER_FETCH && best->end > proof->known_end)
		proof->known_end = best->end;
	const char *refusal = peers_refusal(copy);
	bool is_ready =
		order == ORDER_HAVE_ALL && copy->highest_epoch <= proof->epoch && refusal == NULL;
	if (order == ORDER_FETCH && copy->passes_over)
		snprintf(proof->trouble, sizeof(proof->trouble), "%s has more of it",
			replicator_node_name(copy->replicator, best->node_id));
	else if (order == ORDER_DIFFER)
		snprintf(proof->trouble, sizeof(proof->trouble),
			"the copy of %s and the one here differ",
			replicator_node_name(copy->replicator, best->node_id));
	else if (copy->highest_epoch > proof->epoch)
		set_text(proof->trouble, sizeof(proof->trouble), "a later epoch is known");
	else if (refusal != NULL && all_have_answered(proof)) /* else who is silent says it */
		set_text(proof->trouble, sizeof(proof->trouble), refusal);
	if (is_ready && all_have_answered(proof)) {
		finish(copy);
		return;
	}
	tell_progress(copy, is_ready);
	if (order == ORDER_FETCH && !copy->passes_over)
		fetch(copy, best, common);
}

void prove_step(struct copy *copy)
{
	struct proof *proof = copy->proof;
	CHECK(proof != NULL);
	timer_start(copy->open_timer, PROVE_ASK_MS);
	if (copy->is_writing)
		return;
	ask_members(copy);
	/* What its disk has failed is read again. */
	if (copy->log != NULL && volume_log_is_fenced(copy->log) &&
		!volume_log_is_punching(copy->log)) {
		receive_close(copy);
		timer_start(copy->open_timer, PROVE_ASK_MS);
	}
	if (!open_log(copy)) {
		tell_progress(copy, false);
		return;
	}
	const struct proof_member *best = best_member(proof);
	/* What is fetched ends where the member stood when it was asked. */
	if (copy->state != COPY_IDLE && best != NULL && volume_log_end(copy->log) >= best->end)
		copy_enter(copy, COPY_IDLE, NULL);
	if (copy->state == COPY_IDLE)
		decide(copy);
	else
		tell_progress(copy, false);
}
