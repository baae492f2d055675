#include "ctl/move_internal.h"

#include "core/clock.h"
#include "core/rand.h"
#include "ctl/interrupt.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	/* Replaying what stands behind the last checkpoint. */
	SERVE_MS = 10000,
	/* A copy whose node is just starting is worth this much of an outage. */
	STARTING_MS = 1500,
	/* A planned move loses nothing by waiting for a machine that is busy. */
	PLANNED_ASK_MS = 5000,
	/* Between two looks at daemons that have answered: a hundredth of the outage aimed at. */
	POLL_MS = 10,
};

uint64_t plan_elapsed_ms(const struct plan *plan)
{
	return (clock_mono_us() - plan->started_us) / 1000;
}

unsigned plan_round_ms(const struct plan *plan, enum decide_round round)
{
	uint64_t now = clock_mono_us(), by = plan->decide_by_us;
	uint64_t left_ms = by == 0 ? DECIDE_MS : now < by ? (by - now) / 1000 : 0;
	unsigned ms = round_ms(round, left_ms);
	return ms > 0 ? ms : 1;
}

void plan_pause(void)
{
	clock_sleep_ms(POLL_MS);
}

static bool leaves(const struct move_wish *wish, const struct directory_node *node)
{
	return node->site_id == wish->from_site_id || node->id == wish->from_node_id;
}

static bool is_wanted(const struct move_wish *wish, const struct directory_node *node)
{
	return node && !leaves(wish, node) && (!wish->node_id || node->id == wish->node_id) &&
		(!wish->to_site_id || node->site_id == wish->to_site_id);
}

void plan_add(
	struct plan *plan, const struct directory_volume *volume, const struct move_wish *wish)
{
	const struct directory *directory = plan->cluster->directory;
	struct move move = { .volume = volume,
		.above_epoch = volume->epoch,
		.old = { .node_id = volume->primary_node_id, .slot = volume->primary_slot } };
	const struct directory_node *primary =
		directory_find_node(directory, volume->primary_node_id);
	bool any = false;
	char advice[96];
	move.old.is_fit = true;
	move.old.name = primary ? primary->name : NULL;
	move.old.eligible = is_wanted(wish, primary);
	for (unsigned i = 0; i < volume->replica_count; i++) {
		const struct directory_node *node =
			directory_find_node(directory, volume->replica_node_ids[i]);
		if (!node)
			continue;
		bool eligible = is_wanted(wish, node);
		move.candidates[move.candidate_count++] = (struct candidate){ .node_id = node->id,
			.name = node->name,
			.slot = volume->replica_slots[i],
			.eligible = eligible,
			.is_fit = true,
			.is_seeding = volume->replica_seeding[i],
			.leaves = leaves(wish, node) };
		any = any || eligible;
	}
	const struct directory_site *site = directory_find_site(directory, wish->to_site_id);
	if (!any && site && move.old.eligible) {
		snprintf(advice, sizeof(advice), "%s has its primary already", site->name);
		move_problem(&move, str_from(advice));
	} else if (!any && site) {
		snprintf(advice, sizeof(advice), "it has no replica at %s", site->name);
		move_problem(&move, str_from(advice));
	} else if (!any) {
		move_problem(&move, STR("it has no replica"));
	}
	plan->moves = mem_resize(plan->moves, (plan->count + 1) * sizeof(move));
	plan->moves[plan->count++] = move;
}

void plan_free(struct plan *plan)
{
	free(plan->moves);
	table_deinit(&plan->preflight);
	plan->moves = NULL;
	plan->count = 0;
}

/* One `status` of each node that matters: a connection per node, not per volume, so that asking
 * about a site of hundreds of volumes is as quick as about one. */
struct answers {
	struct buf node_ids;  /* uint32_t each */
	struct buf questions; /* struct question each, in the same order */
};

static void answers_want(struct answers *answers, const struct plan *plan, uint32_t node_id)
{
	const struct directory_node *node = directory_find_node(plan->cluster->directory, node_id);
	const uint32_t *ids = (const void *)buf_str(&answers->node_ids).bytes;
	struct question question = { .request = "status" };
	for (size_t i = 0; i < buf_length(&answers->node_ids) / sizeof(*ids); i++)
		if (ids[i] == node_id)
			return;
	if (!node)
		return;
	snprintf(question.address, sizeof(question.address), "%s", node->control);
	buf_append(&answers->node_ids, &node_id, sizeof(node_id));
	buf_append(&answers->questions, &question, sizeof(question));
}

static struct question *answers_all(struct answers *answers, size_t *count_out)
{
	*count_out = buf_length(&answers->questions) / sizeof(struct question);
	return (void *)(answers->questions.memory + answers->questions.start);
}

static void answers_ask(struct answers *answers, const struct plan *plan, unsigned timeout_ms)
{
	size_t count;
	struct question *questions = answers_all(answers, &count);
	ask_all(plan->cluster->asker, questions, (unsigned)count, timeout_ms);
}

/* The node's answer; NULL when there is none. */
static const struct json *answers_of(struct answers *answers, uint32_t node_id)
{
	const uint32_t *ids = (const void *)buf_str(&answers->node_ids).bytes;
	size_t count;
	struct question *questions = answers_all(answers, &count);
	for (size_t i = 0; i < count; i++)
		if (ids[i] == node_id)
			return questions[i].answer;
	return NULL;
}

static void answers_deinit(struct answers *answers)
{
	buf_deinit(&answers->node_ids);
	buf_deinit(&answers->questions);
}

static void take_old(struct move *move, const struct json *status)
{
	const struct json *volume = status_volume(status, move->volume->id);
	struct str role = json_text(volume, "role");
	struct candidate *old = &move->old;
	old->status = status;
	old->entry = volume;
	old->answers = volume != NULL;
	old->has_failed = json_true(volume, "has_failed");
	old->position.epoch = json_u64(volume, old->has_failed ? "answered_epoch" : "epoch");
	old->position.end_lsn = json_u64(volume, old->has_failed ? "answered_lsn" : "durable_lsn");
	old->seen_epoch = json_u64(volume, "seen_epoch");
	move->old_writes = old->position.epoch <= move->volume->epoch &&
		(str_equal(role, STR("primary")) ||
			(str_equal(role, STR("fenced")) && json_true(volume, "is_proven") &&
				!old->has_failed));
	move->at_risk = json_u64(volume, "at_risk");
}

static void take_candidate(const struct plan *plan, const struct move *move,
	struct candidate *candidate, const struct json *status)
{
	const struct json *volume = status_volume(status, move->volume->id);
	candidate->status = status;
	candidate->entry = volume;
	candidate->answers = volume != NULL;
	if (volume == NULL)
		return;
	candidate->position.epoch = json_u64(volume, "epoch");
	candidate->position.end_lsn = json_u64(volume, "durable_lsn");
	candidate->seen_epoch = json_u64(volume, "seen_epoch");
	/* What it last heard from its primary. */
	candidate->leader_lsn = json_u64(volume, "leader_lsn");
	candidate->leader_age_ms = json_u64(volume, "leader_age_ms");
	/* Epoch 0: nobody has read its log yet, which a hold does, or it never had any. */
	candidate->has_any = candidate->position.epoch > 0 || plan->accept_loss;
	candidate->is_broken = status_is_filled(volume);
	candidate->serves = str_equal(json_text(volume, "role"), STR("primary"));
}

/* Behind a directory that was put back the copy that it names may be a replica of the epoch that
 * has been forgotten: it is one to choose from, and may be the only one that is left. */
static void admit_old(struct move *move)
{
	const struct candidate *old = &move->old;
	struct str role = json_text(old->entry, "role");
	if (move->candidate_count == VOLUME_COPIES_MAX ||
		!(str_equal(role, STR("replica")) || str_equal(role, STR("held"))) ||
		(old->position.epoch <= move->volume->epoch &&
			old->seen_epoch <= move->volume->epoch))
		return;
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (move->candidates[k].node_id == old->node_id)
			return;
	move->candidates[move->candidate_count++] = *old;
}

/* Where candidates (of moves that are not decided yet) and, `with_old`, old primaries stand. */
void plan_ask_positions(struct plan *plan, bool with_old, unsigned timeout_ms)
{
	struct answers answers = { 0 };
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		if (with_old)
			answers_want(&answers, plan, move->volume->primary_node_id);
		for (unsigned k = 0; k < move->candidate_count; k++)
			answers_want(&answers, plan, move->candidates[k].node_id);
	}
	answers_ask(&answers, plan, timeout_ms);
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		if (with_old)
			take_old(move, answers_of(&answers, move->volume->primary_node_id));
		if (with_old)
			admit_old(move);
		else if (move->clean || move->problem[0])
			continue;
		for (unsigned k = 0; k < move->candidate_count; k++)
			take_candidate(plan, move, &move->candidates[k],
				answers_of(&answers, move->candidates[k].node_id));
	}
	answers_deinit(&answers);
}

static bool has_candidate(const struct move *move)
{
	bool any = false;
	for (unsigned k = 0; k < move->candidate_count; k++) {
		if (move->candidates[k].eligible && move->candidates[k].answers)
			return true;
		any = any || move->candidates[k].eligible;
	}
	return !any;
}

void plan_list_silent(const struct plan *plan, struct table *table)
{
	for (unsigned i = 0; i < plan->count; i++) {
		const struct move *move = &plan->moves[i];
		for (unsigned k = 0; k < move->candidate_count && !move->problem[0]; k++) {
			if (!candidate_is_silent(&move->candidates[k]))
				continue;
			table_add(table, move->volume->name);
			table_add(table, move->candidates[k].name);
		}
	}
}

/* Nothing is gained by waiting for a daemon that may just be starting. */
static bool has_heard_enough(const struct plan *plan, const struct move *move)
{
	if (!has_candidate(move))
		return false;
	if (move->old_writes || plan->accept_loss)
		return true;
	return (!move->old.answers || move->old.has_failed) && move_unheard(move) == NULL;
}

static bool all_have_heard_enough(const struct plan *plan)
{
	for (unsigned i = 0; i < plan->count; i++)
		if (!has_heard_enough(plan, &plan->moves[i]))
			return false;
	return true;
}

void plan_look(struct plan *plan)
{
	unsigned ask_ms = plan->must_be_clean ? PLANNED_ASK_MS : ASK_LOOK_MS;
	unsigned starting_ms = plan->must_be_clean ? PLANNED_ASK_MS : STARTING_MS;
	plan_ask_positions(plan, true, ask_ms);
	while (!all_have_heard_enough(plan) && plan_elapsed_ms(plan) < starting_ms) {
		plan_pause();
		plan_ask_positions(plan, true, ask_ms);
	}
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		move_choose(plan, move, false);
		if (plan->must_be_clean && !move->old_writes)
			move_problem(move,
				move->old.answers
					? STR("its primary does not write: use `pando failover`")
					: STR("its primary does not answer: use `pando failover`"));
	}
	plan->asked_ms = plan_elapsed_ms(plan);
}

static struct promotion promotion_of(const struct plan *plan, struct move *move)
{
	struct promotion promotion = {
		.volume_id = move->volume->id,
		.expected_epoch = move->volume->epoch,
		.epoch = move->epoch,
		.primary_node_id = move->chosen_node_id,
		.epoch_start_lsn = move->chosen.end_lsn,
		.from_epoch = plan->accept_loss ? PROMOTE_STALE : move->chosen.epoch,
	};
	memcpy(promotion.expected_reign, move->volume->reign, REIGN_LENGTH);
	rand_bytes(promotion.reign, REIGN_LENGTH);
	if (move->given_back) {
		move->epoch = promotion.epoch = move_next_epoch(move, &move->old);
		promotion.primary_node_id = move->old.node_id;
		promotion.from_epoch = PROMOTE_STALE; /* it is who has freed it */
		promotion.token = move->old.token;
		promotion.clean_after = move_clean_after(move, &move->old);
		promotion.epoch_start_lsn = move->old.position.end_lsn;
	} else {
		promotion.token = move_chosen(move)->token;
		promotion.clean_after = move->clean ? move_clean_after(move, move_chosen(move)) : 0;
	}
	return promotion;
}

/* Somebody else's command, or the volume's own node, was quicker. */
static void note_written(struct move *move, const struct promotion *promotion)
{
	if (!promotion->is_stale) {
		move->promoted = !move->problem[0];
		return;
	}
	move->given_back = false;
	move->problem[0] = '\0';
	move_problem(move,
		STR("was changed by somebody else meanwhile: see `pando volume list`, and run the "
		    "command again"));
}

int plan_promote(struct plan *plan, struct directory_writer *writer, struct error *error)
{
	struct promotion *promotions = mem_alloc((plan->count + 1) * sizeof(*promotions));
	struct move **moves = mem_alloc((plan->count + 1) * sizeof(struct move *));
	unsigned count = 0;
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		move->given_back = move->problem[0] && move->fenced && !move->unconfirmed &&
			move_may_give_back(plan, move);
		if (move->problem[0] && !move->given_back)
			continue;
		moves[count] = move;
		promotions[count++] = promotion_of(plan, move);
	}
	int code =
		count ? directory_promote(writer, promotions, count, plan->decide_by_us, error) : 0;
	for (unsigned i = 0; i < count && code == 0; i++)
		note_written(moves[i], &promotions[i]);
	free(promotions);
	free(moves);
	plan->promoted_ms = plan_elapsed_ms(plan);
	return code;
}

static void note_waiting(struct move *move, const struct json *volume)
{
	struct str waits_for = json_text(volume, "waits_for"), role = json_text(volume, "role");
	if (volume == NULL)
		snprintf(move->waits_for, sizeof(move->waits_for), "its node does not answer");
	else if (waits_for.length > 0)
		snprintf(move->waits_for, sizeof(move->waits_for), "it waits for " STR_FORMAT,
			STR_ARG(waits_for));
	else
		snprintf(move->waits_for, sizeof(move->waits_for), "it is " STR_FORMAT " there",
			STR_ARG(role));
}

void plan_wait(struct plan *plan)
{
	uint64_t deadline = plan_elapsed_ms(plan) + SERVE_MS;
	for (;;) {
		struct answers answers = { 0 };
		bool waiting = false;
		for (unsigned i = 0; i < plan->count; i++)
			if (plan->moves[i].promoted && !plan->moves[i].served)
				answers_want(&answers, plan, plan->moves[i].chosen_node_id);
		answers_ask(&answers, plan, ASK_LOOK_MS);
		for (unsigned i = 0; i < plan->count; i++) {
			struct move *move = &plan->moves[i];
			if (!move->promoted || move->served)
				continue;
			const struct json *volume = status_volume(
				answers_of(&answers, move->chosen_node_id), move->volume->id);
			move->served = str_equal(json_text(volume, "role"), STR("primary")) &&
				json_u64(volume, "epoch") == move->epoch;
			move->served_after_ms = plan_elapsed_ms(plan);
			waiting = waiting || !move->served;
			note_waiting(move, volume);
		}
		answers_deinit(&answers);
		if (!waiting || plan_elapsed_ms(plan) > deadline || interrupt_is_noted())
			break;
		plan_pause();
	}
	plan->served_ms = plan_elapsed_ms(plan);
}

int plan_carry_out(struct plan *plan, struct directory_writer *writer, struct error *error)
{
	plan_fence(plan);
	plan_count_loss(plan);
	plan_confirm(plan);
	plan_heed_interrupt(plan);
	int code = plan_promote(plan, writer, error);
	/* Of an error it is not known whether the rows were written. */
	if (code == 0) {
		plan_let_go(plan);
		plan_wait(plan);
	}
	return code;
}
