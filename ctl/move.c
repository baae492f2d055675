#include "ctl/move_internal.h"

#include "core/clock.h"
#include "core/rand.h"
#include "proto/disk/epochs.h"

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

void move_problem(struct move *move, struct str text)
{
	if (!move->problem[0])
		snprintf(move->problem, sizeof(move->problem), STR_FORMAT, STR_ARG(text));
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
	bool any = false;
	char advice[96];
	move.old.is_fit = true;
	move.old.eligible =
		is_wanted(wish, directory_find_node(directory, volume->primary_node_id));
	for (unsigned i = 0; i < volume->replica_count; i++) {
		const struct directory_node *node =
			directory_find_node(directory, volume->replica_node_ids[i]);
		if (!node)
			continue;
		bool eligible = is_wanted(wish, node);
		move.candidates[move.candidate_count++] = (struct candidate){ .node_id = node->id,
			.slot = volume->replica_slots[i],
			.eligible = eligible,
			.is_fit = true,
			.is_seeding = volume->replica_seeding[i],
			.leaves = leaves(wish, node) };
		any = any || eligible;
	}
	const struct directory_site *site = directory_find_site(directory, wish->to_site_id);
	if (!any && site && move.old.eligible) {
		snprintf(advice, sizeof(advice), "%s serves it already", site->name);
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
	old->position.epoch = json_u64(volume, "epoch");
	old->position.end_lsn = json_u64(volume, "durable_lsn");
	old->seen_epoch = json_u64(volume, "seen_epoch");
	move->old_writes = old->position.epoch <= move->volume->epoch &&
		(str_equal(role, STR("primary")) ||
			(str_equal(role, STR("fenced")) && json_true(volume, "is_proven")));
	move->at_risk = json_u64(volume, "at_risk");
}

static void take_candidate(const struct plan *plan, const struct move *move,
	struct candidate *candidate, const struct json *status)
{
	const struct json *volume = status_volume(status, move->volume->id);
	candidate->status = status;
	candidate->entry = volume;
	candidate->position.epoch = json_u64(volume, "epoch");
	candidate->position.end_lsn = json_u64(volume, "durable_lsn");
	candidate->seen_epoch = json_u64(volume, "seen_epoch");
	/* What it last heard from its primary. */
	candidate->leader_lsn = json_u64(volume, "leader_lsn");
	candidate->leader_age_ms = json_u64(volume, "leader_age_ms");
	candidate->answers = volume != NULL;
	/* Epoch 0: nobody has read its log yet, which a hold does, or it never had any. */
	candidate->has_any = candidate->position.epoch > 0 || plan->accept_loss;
	candidate->is_broken = status_is_filled(volume);
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

/* How often a node was chosen already: equal candidates share the load. */
static unsigned times_chosen(const struct plan *plan, uint32_t node_id)
{
	unsigned times = 0;
	for (unsigned i = 0; i < plan->count; i++)
		times += plan->moves[i].chosen_node_id == node_id;
	return times;
}

static bool is_better(const struct plan *plan, const struct candidate *a, const struct candidate *b)
{
	int order = position_compare(&a->position, &b->position);
	return order > 0 ||
		(order == 0 && times_chosen(plan, a->node_id) < times_chosen(plan, b->node_id));
}

static void raise_epoch(struct move *move, uint64_t epoch)
{
	if (epoch > move->above_epoch)
		move->above_epoch = epoch;
}

/* Above all that anybody has heard of, and high enough for the log there. */
static uint64_t next_epoch(const struct move *move, const struct candidate *candidate)
{
	return epochs_next_from(move->above_epoch, candidate->least_unclean, candidate->slot);
}

/* One that answers and cannot be held is not silent. */
static void name_refusing(const struct plan *plan, struct move *move)
{
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (move->candidates[k].eligible && move->candidates[k].refuses)
			move_problem_of_node(plan, move, move->candidates[k].node_id,
				"answers and cannot use its copy: the log of its pando-node says "
				"why (`volume_unusable` is damage: start the primary, which fills "
				"it again)");
}

/* `is_final`: nothing more will be asked. */
void move_choose(const struct plan *plan, struct move *move, bool is_final)
{
	const struct candidate *best = NULL, *filled = NULL;
	bool heard = false;
	move->chosen_node_id = 0;
	move->above_epoch = move->volume->epoch;
	raise_epoch(move, move->old.position.epoch);
	raise_epoch(move, move->old.seen_epoch);
	for (unsigned k = 0; k < move->candidate_count; k++) {
		const struct candidate *candidate = &move->candidates[k];
		if (!candidate->answers)
			continue;
		raise_epoch(move, candidate->position.epoch);
		raise_epoch(move, candidate->seen_epoch);
		heard = true;
		if (!candidate->eligible || !candidate->has_any || !candidate->is_fit)
			continue;
		if (candidate->is_seeding && !plan->accept_loss) {
			filled = candidate;
			continue;
		}
		if (!best || is_better(plan, candidate, best))
			best = candidate;
	}
	if (!best) {
		if (is_final)
			name_refusing(plan, move);
		if (is_final && filled)
			move_problem_of_node(plan, move, filled->node_id,
				"is still being filled: start another copy first (--accept-loss "
				"serves what it has)");
		if (is_final || !heard)
			move_problem(move,
				heard ? STR("no replica that answers has anything of it")
				      : STR("no replica answers"));
		return;
	}
	move->chosen_node_id = best->node_id;
	move->epoch = next_epoch(move, best);
	if (move->epoch > EPOCH_MAX)
		move_problem(move, STR("there is no later epoch: its uids are used up"));
	move->chosen = best->position;
	/* Only what the chosen one was itself told of counts as known. */
	move->lag_known = best->leader_lsn > 0;
	move->last_lag_age_ms = best->leader_age_ms;
	move->last_lag_bytes = best->leader_lsn > best->position.end_lsn
		? best->leader_lsn - best->position.end_lsn
		: 0;
	/* A replica that has not even the epoch of the directory lacks all of that reign. */
	move->clean = move->old_writes && best->position.epoch == move->volume->epoch &&
		best->position.end_lsn >= move->old.position.end_lsn;
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

/* The replica that should be heard before anything is passed over, and was not; or NULL. */
static const struct candidate *unheard(const struct move *move)
{
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (!move->candidates[k].answers && !move->candidates[k].leaves &&
			!move->candidates[k].is_seeding)
			return &move->candidates[k];
	return NULL;
}

/* Nothing is gained by waiting for a daemon that may just be starting. */
static bool has_heard_enough(const struct plan *plan, const struct move *move)
{
	if (!has_candidate(move))
		return false;
	if (move->old_writes || plan->accept_loss)
		return true;
	return !move->old.answers && unheard(move) == NULL;
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
			move_problem(
				move, STR("its primary does not answer: use `pando failover`"));
	}
	plan->asked_ms = plan_elapsed_ms(plan);
}

/* printf with the one name of a node. */
void move_problem_of_node(
	const struct plan *plan, struct move *move, uint32_t node_id, const char *advice)
{
	char text[sizeof(move->problem)];
	const struct directory_node *node = directory_find_node(plan->cluster->directory, node_id);
	snprintf(text, sizeof(text), "%s %s", node ? node->name : "an unknown node", advice);
	move_problem(move, str_from(text));
}

/* Where the old primary ends is known: above 0 is the epoch of a log that could be read. */
static bool is_old_known(const struct move *move)
{
	return move->old.answers && move->old.position.epoch > 0;
}

/* Nothing more is to be found out: it moves clean, or stays, given back if it was fenced. */
static bool has_settled(const struct plan *plan, const struct move *move)
{
	return move->clean || move->problem[0] || plan->must_be_clean ||
		(move->fenced && !plan->accept_loss);
}

static const struct candidate *chosen_of(const struct move *move)
{
	const struct candidate *chosen = NULL;
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (move->candidates[k].node_id == move->chosen_node_id)
			chosen = &move->candidates[k];
	return chosen;
}

static void compare_one(const struct plan *plan, struct move *move)
{
	const struct position *chosen = &move->chosen;
	const struct candidate *old = &move->old, *missing = unheard(move);
	const struct candidate *best = chosen_of(move);
	if (best && best->is_broken)
		move_problem_of_node(plan, move, move->chosen_node_id,
			"is still being filled, or has lost some of what it had: start another "
			"copy first "
			"(--accept-loss serves what it has)");
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (move->candidates[k].answers &&
			position_compare(&move->candidates[k].position, chosen) > 0)
			move_problem_of_node(plan, move, move->candidates[k].node_id,
				"has more of it: fail over to its site first (--accept-loss leaves "
				"that)");
	if (is_old_known(move) && position_compare(&old->position, chosen) > 0)
		move_problem_of_node(plan, move, old->node_id,
			"has more of it but does not write: mend it first (--accept-loss leaves "
			"that)");
	if (missing)
		move_problem_of_node(plan, move, missing->node_id,
			"could not be asked and may have more of it: start it first (--accept-loss "
			"passes it over)");
}

void plan_compare(struct plan *plan)
{
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		if (move->old_writes && !move->fenced)
			continue; /* a dry run over a living primary: it would catch up first */
		if (move->chosen_node_id == 0)
			move_problem(
				move, STR("no replica has said yet what it has of it: try again"));
		if (!has_settled(plan, move) && !plan->accept_loss)
			compare_one(plan, move);
	}
}

/* The reign may go on counting uids where the fenced one ended: the chosen copy has the fence, and
 * no copy is out of sight, where a second directory could begin another reign from the same fence.
 */
static uint64_t clean_after(const struct move *move)
{
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (!move->candidates[k].stands ||
			move->candidates[k].seen_epoch > move->volume->epoch)
			return 0;
	return move->clean && chosen_of(move)->ends_fenced ? move->old.position.epoch : 0;
}

static struct promotion promotion_of(struct move *move)
{
	struct promotion promotion = {
		.volume_id = move->volume->id,
		.expected_epoch = move->volume->epoch,
		.epoch = move->epoch,
		.primary_node_id = move->chosen_node_id,
		.epoch_start_lsn = move->chosen.end_lsn,
	};
	memcpy(promotion.expected_reign, move->volume->reign, REIGN_LENGTH);
	rand_bytes(promotion.reign, REIGN_LENGTH);
	if (move->given_back) {
		move->epoch = promotion.epoch = next_epoch(move, &move->old);
		promotion.primary_node_id = move->old.node_id;
		promotion.token = move->old.token;
		promotion.clean_after = move->old.position.epoch;
		promotion.epoch_start_lsn = move->old.position.end_lsn;
	} else {
		promotion.token = chosen_of(move)->token;
		promotion.clean_after = clean_after(move);
	}
	return promotion;
}

/* What another copy has above the old primary was acknowledged: it is not thrown away for a new
 * epoch there. */
static bool may_give_back(const struct plan *plan, struct move *move)
{
	for (unsigned k = 0; k < move->candidate_count && !plan->accept_loss; k++) {
		if (!move->candidates[k].answers ||
			position_compare(&move->candidates[k].position, &move->old.position) <= 0)
			continue;
		move->problem[0] = '\0';
		move_problem_of_node(plan, move, move->candidates[k].node_id,
			"has more of it than its primary: nothing was changed (--accept-loss "
			"leaves that)");
		return false;
	}
	return next_epoch(move, &move->old) <= EPOCH_MAX;
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
			may_give_back(plan, move);
		if (move->problem[0] && !move->given_back)
			continue;
		moves[count] = move;
		promotions[count++] = promotion_of(move);
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
		}
		answers_deinit(&answers);
		if (!waiting || plan_elapsed_ms(plan) > deadline)
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
	int code = plan_promote(plan, writer, error);
	if (code == 0)
		plan_wait(plan);
	return code;
}
