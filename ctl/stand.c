#include "ctl/move_internal.h"

#include "core/clock.h"
#include "ctl/ends.h"
#include "ctl/interrupt.h"

#include <stdlib.h>

/* Making old primaries and replicas stand still, and asking them once more whether they do. */

/* ---- one question to many ---- */

/* A copy of a move; of the old primary it is &move->old. */
struct party {
	struct move *move;
	struct candidate *candidate;
};

struct round {
	enum decide_round number;
	const char *verb;
	bool (*is_asked)(const struct party *party);
	void (*take)(
		struct plan *plan, const struct party *party, const struct end_question *question);
};

static bool is_old(const struct party *party)
{
	return party->candidate == &party->move->old;
}

static unsigned parties_of(struct move *move, struct party *parties_out)
{
	unsigned count = 0;
	parties_out[count++] = (struct party){ move, &move->old };
	for (unsigned k = 0; k < move->candidate_count; k++)
		parties_out[count++] = (struct party){ move, &move->candidates[k] };
	return count;
}

/* All at once, in one question to each node; what each answered is taken in their order. */
static void ask_round(struct plan *plan, const struct round *round)
{
	size_t most = (size_t)plan->count * (VOLUME_COPIES_MAX + 1) + 1;
	struct end_question *questions = mem_alloc(most * sizeof(*questions));
	struct party *asked = mem_alloc(most * sizeof(*asked));
	unsigned count = 0;
	for (unsigned i = 0; i < plan->count; i++) {
		struct party parties[VOLUME_COPIES_MAX + 1];
		unsigned party_count = parties_of(&plan->moves[i], parties);
		for (unsigned k = 0; k < party_count; k++) {
			if (!round->is_asked(&parties[k]))
				continue;
			questions[count] =
				(struct end_question){ .node_id = parties[k].candidate->node_id,
					.volume = plan->moves[i].volume,
					/* A primary is fenced in the epoch of its row, whatever a
					 * copy may have heard. */
					.asked_epoch = is_old(&parties[k])
						? plan->moves[i].volume->epoch
						: plan->moves[i].above_epoch };
			asked[count++] = parties[k];
		}
	}
	ends_ask(plan->cluster, round->verb, questions, count, plan_round_ms(plan, round->number));
	for (unsigned i = 0; i < count; i++)
		round->take(plan, &asked[i], &questions[i]);
	free(questions);
	free(asked);
}

static void take_end(struct candidate *candidate, const struct end_question *question)
{
	candidate->position = (struct position){ .epoch = question->epoch,
		.end_lsn = question->end_lsn,
		.opening = question->opening,
		.has_opening = question->stands };
	candidate->token = question->token;
	candidate->seen_epoch = question->seen_epoch;
	candidate->least_unclean = question->least_unclean;
	candidate->ends_fenced = question->ends_fenced;
}

/* ---- fence ---- */

/* Also one that does not write: it may be just being opened. */
static bool is_fenced(const struct party *party)
{
	return is_old(party) && party->candidate->answers && !party->move->problem[0];
}

static void take_fenced(
	struct plan *plan, const struct party *party, const struct end_question *question)
{
	struct move *move = party->move;
	bool wrote = move->old_writes;
	(void)plan;
	move->old.stands = question->stands;
	move->old.has_failed = question->stands && question->has_failed;
	move->fenced = question->stands && question->is_proven && !question->has_failed;
	move->old_writes = move->fenced || (wrote && question->answered && !question->stands);
	if (wrote)
		move->old.answers = question->answered;
	if (move->fenced || move->old.has_failed)
		take_end(&move->old, question);
	else if (question->stands) /* the end of a log that is not proven says nothing */
		move->old.token = question->token;
	else if (wrote && question->answered)
		move_problem(move, question->refusal);
}

/* Nothing more is to be found out: until every fenced volume has a candidate with all of it, or
 * time runs out. */
static void wait_caught_up(struct plan *plan)
{
	uint64_t end_ms = plan_elapsed_ms(plan) + plan_round_ms(plan, ROUND_CATCH_UP);
	for (;;) {
		bool waiting = false;
		plan_ask_positions(plan, false, ASK_LOOK_MS);
		for (unsigned i = 0; i < plan->count; i++) {
			struct move *move = &plan->moves[i];
			if (move->clean || move->problem[0])
				continue;
			move_choose(plan, move, false);
			move->clean = move->clean && move->fenced;
			waiting = waiting || (move->fenced && !move->clean && !move->problem[0]);
		}
		/* A look has its whole time: whoever had less of it would seem to be dead. */
		if (!waiting || plan_elapsed_ms(plan) + ASK_LOOK_MS > end_ms ||
			interrupt_is_noted())
			return;
		plan_pause();
	}
}

/* ---- hold ---- */

/* What an earlier command left: it would keep the copy from having what the fence has ended. */
static bool is_left_held(const struct party *party)
{
	return !is_old(party) && party->move->fenced && !party->move->problem[0] &&
		str_equal(json_text(party->candidate->entry, "role"), STR("held"));
}

/* How it follows, the next look shows. */
static void take_unheld(
	struct plan *plan, const struct party *party, const struct end_question *question)
{
	(void)plan;
	(void)party;
	(void)question;
}

static bool is_held(const struct party *party)
{
	return !is_old(party) && party->candidate->answers && !party->move->problem[0];
}

/* Who does not stand still is out. */
static void take_held(
	struct plan *plan, const struct party *party, const struct end_question *question)
{
	struct candidate *candidate = party->candidate;
	candidate->answers = candidate->stands = question->stands;
	candidate->refuses = question->answered && !question->stands;
	if (!question->stands)
		return;
	take_end(candidate, question);
	candidate->has_any = question->epoch > 0 || plan->accept_loss;
	candidate->is_broken = !question->is_whole;
}

static void choose_all(struct plan *plan)
{
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		bool was_clean = move->clean;
		if (move->problem[0])
			continue;
		move_choose(plan, move, true);
		move->clean = move->clean && was_clean;
	}
}

void plan_heed_interrupt(struct plan *plan)
{
	for (unsigned i = 0; i < plan->count && interrupt_is_noted(); i++)
		if (!plan->moves[i].problem[0])
			move_problem(&plan->moves[i],
				STR("was interrupted, and stays where it is"));
}

void plan_fence(struct plan *plan)
{
	static const struct round fence = { ROUND_FENCE, "fence", is_fenced, take_fenced };
	static const struct round unhold = { ROUND_UNHOLD, "unhold", is_left_held, take_unheld };
	static const struct round hold = { ROUND_HOLD, "hold", is_held, take_held };
	for (unsigned i = 0; i < plan->count; i++)
		plan->moves[i].clean = false;
	plan->decide_by_us = clock_mono_us() + DECIDE_MS * 1000u;
	plan_heed_interrupt(plan);
	ask_round(plan, &fence);
	ask_round(plan, &unhold);
	wait_caught_up(plan);
	plan_heed_interrupt(plan);
	ask_round(plan, &hold);
	choose_all(plan);
	plan_compare(plan);
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		if (move->fenced && !move->clean && !plan->accept_loss)
			move_problem(move,
				STR("no replica caught up in time (--accept-loss leaves it all "
				    "the same)"));
		else if (plan->must_be_clean && !move->clean)
			move_problem(
				move, STR("its primary stopped answering: use `pando failover`"));
	}
	plan->fenced_ms = plan_elapsed_ms(plan);
}

/* ---- let go ---- */

/* Its volume stays where it is: what is confirmed there meanwhile would be on one site. */
static bool is_held_in_vain(const struct party *party)
{
	return !is_old(party) && party->candidate->stands && !party->move->promoted;
}

void plan_let_go(struct plan *plan)
{
	static const struct round unhold = { ROUND_UNHOLD, "unhold", is_held_in_vain, take_unheld };
	plan->decide_by_us = 0; /* nothing is decided any more */
	ask_round(plan, &unhold);
}

/* ---- confirm ---- */

/* A fenced primary also where the volume stays: it is given back. */
static bool is_confirmed(const struct party *party)
{
	return party->candidate->stands &&
		(!party->move->problem[0] || (is_old(party) && party->move->fenced));
}

static void take_confirmed(
	struct plan *plan, const struct party *party, const struct end_question *question)
{
	struct move *move = party->move;
	(void)plan;
	if (question->stands && question->token == party->candidate->token)
		return;
	move->problem[0] = '\0';
	move_problem_of(move, party->candidate,
		question->answered
			? "stands still for this no longer: nothing was changed, run the command "
			  "again"
			: "does not answer any more: nothing was changed, run the command again");
	move->unconfirmed = true;
}

void plan_confirm(struct plan *plan)
{
	static const struct round confirm = { ROUND_CONFIRM, "confirm", is_confirmed,
		take_confirmed };
	ask_round(plan, &confirm);
}
