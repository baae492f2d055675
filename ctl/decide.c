#include "ctl/decide.h"

#include "proto/disk/epochs.h"

#include <stdio.h>

/* Who is to serve, whether that loses anything, and what is done where nobody can: pure, from what
 * copies have said. */

/* ---- why it does not move ---- */

void move_problem(struct move *move, struct str text)
{
	if (!move->problem[0])
		snprintf(move->problem, sizeof(move->problem), STR_FORMAT, STR_ARG(text));
}

void move_problem_of(struct move *move, const struct candidate *candidate, const char *advice)
{
	char text[sizeof(move->problem)];
	snprintf(text, sizeof(text), "%s %s", candidate->name ? candidate->name : "an unknown node",
		advice);
	move_problem(move, str_from(text));
}

/* ---- choosing ---- */

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

uint64_t move_next_epoch(const struct move *move, const struct candidate *candidate)
{
	return epochs_next_from(move->above_epoch, candidate->least_unclean, candidate->slot);
}

/* For a command that was broken off, or another one that is under way: for FENCE_MS_MAX at most. */
static bool stands_for_another(const struct candidate *candidate)
{
	struct str role = json_text(candidate->entry, "role");
	return (str_equal(role, STR("fenced")) || str_equal(role, STR("held"))) &&
		!json_true(candidate->entry, "has_failed");
}

static const char stands_still[] =
	"stands still for another command, or one that was broken off, and is free again within "
	"half a minute: run the command again then";

static const char *why_refusing(const struct candidate *candidate)
{
	if (candidate->serves)
		return "serves it, in an epoch that the directory does not know and is told of: "
		       "run the command again in a moment";
	if (stands_for_another(candidate))
		return stands_still;
	return "answers and cannot use its copy: `volume_unusable` in the log of its pando-node "
	       "says why";
}

/* One that answers and cannot be held is not silent. */
static void name_refusing(struct move *move)
{
	for (unsigned k = 0; k < move->candidate_count; k++) {
		const struct candidate *candidate = &move->candidates[k];
		if (candidate->eligible && candidate->refuses)
			move_problem_of(move, candidate, why_refusing(candidate));
	}
}

/* None of those that could be chosen answers. */
static void name_silent(struct move *move)
{
	struct buf text = { 0 };
	unsigned count = 0;
	buf_append_literal(&text, "no replica answers");
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (move->candidates[k].eligible && move->candidates[k].name)
			buf_printf(&text, "%s%s", count++ ? ", " : " (", move->candidates[k].name);
	if (count > 0)
		buf_append_literal(&text,
			"): see there whether pando-node and pando-replicator run, or why one "
			"hangs");
	move_problem(move, buf_str(&text));
	buf_deinit(&text);
}

/* The others have given back what it has not heard is gone. */
static bool is_stale(const struct move *move, const struct candidate *candidate)
{
	return !position_reaches(
		&candidate->position, move->volume->freed_epoch, move->volume->freed_lsn);
}

void move_choose(const struct plan *plan, struct move *move, bool is_final)
{
	const struct candidate *best = NULL, *filled = NULL, *stale = NULL;
	bool heard = false, heard_there = false;
	move->chosen_node_id = 0;
	move->above_epoch = move->volume->epoch;
	raise_epoch(move, move->old.position.epoch);
	raise_epoch(move, move->old.seen_epoch);
	for (unsigned k = 0; k < move->candidate_count; k++) {
		const struct candidate *candidate = &move->candidates[k];
		raise_epoch(move, candidate->position.epoch);
		raise_epoch(move, candidate->seen_epoch);
		if (!candidate->answers)
			continue;
		heard = true;
		heard_there = heard_there || candidate->eligible;
		if (!candidate->eligible || !candidate->has_any || !candidate->is_fit)
			continue;
		if (candidate->is_seeding && !plan->accept_loss) {
			filled = candidate;
			continue;
		}
		if (is_stale(move, candidate) && !plan->accept_loss) {
			stale = candidate;
			continue;
		}
		if (!best || is_better(plan, candidate, best))
			best = candidate;
	}
	if (!best) {
		if (is_final)
			name_refusing(move);
		if (is_final && filled)
			move_problem_of(move, filled,
				"is still being filled: start another copy first (--accept-loss "
				"serves what it has)");
		if (is_final && stale)
			move_problem_of(move, stale,
				"was away for too long (stale): messages that it would show have "
				"no "
				"bodies any more; start another copy first (--accept-loss serves "
				"it)");
		if ((is_final || !heard) && heard_there)
			move_problem(move, STR("no replica that answers has anything of it"));
		else if (is_final || !heard)
			name_silent(move);
		return;
	}
	move->chosen_node_id = best->node_id;
	move->epoch = move_next_epoch(move, best);
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

/* ---- comparing ---- */

bool candidate_is_silent(const struct candidate *candidate)
{
	return !candidate->answers && !candidate->leaves && !candidate->is_seeding;
}

const struct candidate *move_unheard(const struct move *move)
{
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (candidate_is_silent(&move->candidates[k]))
			return &move->candidates[k];
	return NULL;
}

/* Where the old primary ends is known: above 0 is the epoch of a log that could be read. */
static bool is_old_known(const struct move *move)
{
	return move->old.answers && move->old.position.epoch > 0;
}

/* Where no loss is accepted: nothing is to be compared, and what was fenced is given back. */
static bool stays(const struct plan *plan, const struct move *move)
{
	return !move->clean && (move->problem[0] || plan->must_be_clean || move->fenced);
}

const struct candidate *move_chosen(const struct move *move)
{
	const struct candidate *chosen = NULL;
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (move->candidates[k].node_id == move->chosen_node_id)
			chosen = &move->candidates[k];
	return chosen;
}

/* Also where it moves clean: a copy that is not to serve may be of a later reign, and may have
 * fallen silent since it said so. */
static void compare_candidates(struct move *move)
{
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (position_compare(&move->candidates[k].position, &move->chosen) > 0)
			move_problem_of(move, &move->candidates[k],
				"has more of it: fail over to its site first (--accept-loss leaves "
				"that)");
}

static void compare_one(struct move *move)
{
	const struct position *chosen = &move->chosen;
	const struct candidate *old = &move->old, *missing = move_unheard(move);
	const struct candidate *best = move_chosen(move);
	if (best && best->is_broken)
		move_problem_of(move, best,
			"is still being filled, or has lost some of what it had: start another "
			"copy first "
			"(--accept-loss serves what it has)");
	if (is_old_known(move) && position_compare(&old->position, chosen) > 0)
		move_problem_of(move, old,
			"has more of it but does not write: mend it first (--accept-loss leaves "
			"that)");
	if (missing)
		move_problem_of(move, missing,
			missing->refuses && stands_for_another(missing) ? stands_still
				: missing->refuses
				? "did not stand still and may have more of it: its log says why "
				  "(--accept-loss passes it over)"
				: "could not be asked and may have more of it: start it first "
				  "(--accept-loss passes it over)");
}

void plan_compare(struct plan *plan)
{
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		if (move->old_writes && !move->fenced) {
			/* A dry run over a living primary: it would catch up first. */
			if (move->chosen_node_id == 0)
				move_choose(plan, move, true);
			continue;
		}
		if (move->chosen_node_id == 0)
			move_problem(
				move, STR("no replica has said yet what it has of it: try again"));
		if (plan->accept_loss || stays(plan, move))
			continue;
		compare_candidates(move);
		if (!move->clean)
			compare_one(move);
	}
}

/* ---- what is written ---- */

uint64_t move_clean_after(const struct move *move, const struct candidate *beginner)
{
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (!move->candidates[k].stands ||
			move->candidates[k].seen_epoch > move->volume->epoch)
			return 0;
	return beginner->ends_fenced ? move->old.position.epoch : 0;
}

bool move_may_give_back(const struct plan *plan, struct move *move)
{
	for (unsigned k = 0; k < move->candidate_count && !plan->accept_loss; k++) {
		if (position_compare(&move->candidates[k].position, &move->old.position) <= 0)
			continue;
		move->problem[0] = '\0';
		move_problem_of(move, &move->candidates[k],
			"has more of it than its primary: nothing was changed (--accept-loss "
			"leaves that)");
		return false;
	}
	return move_next_epoch(move, &move->old) <= EPOCH_MAX;
}
