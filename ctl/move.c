#include "ctl/move.h"

#include "core/clock.h"
#include "core/rand.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	/* Closing sessions and syncing a volume; a slow disk takes a second. */
	FENCE_MS = 5000,
	/* A replica that was connected is seconds behind at the very most. */
	CATCH_UP_MS = 10000,
	SERVE_MS = 10000,
	/* A replica's node that is just starting is worth this much of an outage; none other is there. */
	STARTING_MS = 1500,
	POLL_MS = 10,
};

static uint64_t elapsed_ms(const struct plan *plan)
{
	return (clock_mono_us() - plan->started_us) / 1000;
}

static void pause_ms(long ms)
{
	struct timespec time = { 0, ms * 1000000 };
	nanosleep(&time, NULL);
}

static void problem(struct move *move, const char *text)
{
	if (!move->problem[0])
		snprintf(move->problem, sizeof(move->problem), "%.*s", (int)sizeof(move->problem) - 1, text);
}

void plan_add(struct plan *plan, const struct directory_volume *volume, uint32_t to_site_id,
	uint32_t from_site_id, uint32_t node_id)
{
	struct move move = { .volume = volume };
	for (unsigned i = 0; i < volume->replica_count; i++) {
		const struct directory_node *node =
			directory_find_node(plan->cluster->directory, volume->replica_node_ids[i]);
		if (!node || (node_id && node->id != node_id) ||
			(to_site_id && node->site_id != to_site_id) || node->site_id == from_site_id)
			continue;
		move.candidates[move.candidate_count++].node_id = node->id;
	}
	if (move.candidate_count == 0)
		problem(&move, "there is no replica");
	plan->moves = mem_resize(plan->moves, (plan->count + 1) * sizeof(move));
	plan->moves[plan->count++] = move;
}

void plan_free(struct plan *plan)
{
	free(plan->moves);
	plan->moves = NULL;
	plan->count = 0;
}

/* A list of questions with what each is about. */
struct asking {
	struct buf questions; /* struct question each */
	struct buf subjects;  /* struct subject each */
};

struct subject {
	struct move *move;
	struct candidate *candidate; /* NULL: the old primary */
};

static void asking_add(struct asking *asking, const struct plan *plan, uint32_t node_id,
	struct move *move, struct candidate *candidate, const char *request)
{
	const struct directory_node *node = directory_find_node(plan->cluster->directory, node_id);
	struct question question = { 0 };
	struct subject subject = { move, candidate };
	if (!node)
		return;
	snprintf(question.address, sizeof(question.address), "%s", node->control);
	snprintf(question.request, sizeof(question.request), "%s", request);
	buf_append(&asking->questions, &question, sizeof(question));
	buf_append(&asking->subjects, &subject, sizeof(subject));
}

static void asking_run(struct asking *asking, const struct plan *plan, unsigned timeout_ms,
	void (*answer)(const struct plan *plan, struct subject subject, const struct question *question))
{
	size_t count = buf_length(&asking->questions) / sizeof(struct question);
	struct question *questions = mem_copy(buf_str(&asking->questions).bytes,
		buf_length(&asking->questions));
	const struct subject *subjects = (const void *)buf_str(&asking->subjects).bytes;
	ask_all(plan->cluster->asker, questions, (unsigned)count, timeout_ms);
	for (size_t i = 0; i < count; i++)
		answer(plan, subjects[i], &questions[i]);
	free(questions);
	buf_deinit(&asking->questions);
	buf_deinit(&asking->subjects);
}

static void on_position(const struct plan *plan, struct subject subject,
	const struct question *question)
{
	if (subject.candidate) {
		subject.candidate->epoch = json_u64(question->answer, "epoch");
		/* Epoch 0: still reading its log, or it never had any. To promote nothing is to lose all. */
		subject.candidate->answers = question->answer != NULL &&
			(subject.candidate->epoch > 0 || plan->accept_loss);
		subject.candidate->end_lsn = json_u64(question->answer, "end_lsn");
	} else {
		subject.move->from_answers = question->answer != NULL;
		subject.move->from_end_lsn = json_u64(question->answer, "end_lsn");
	}
}

static void ask_positions(struct plan *plan, bool with_old, unsigned timeout_ms)
{
	struct asking asking = { 0 };
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		char request[64];
		snprintf(request, sizeof(request), "position %u", move->volume->id);
		if (with_old)
			asking_add(&asking, plan, move->volume->primary_node_id, move, NULL, request);
		if (!with_old && (move->clean || move->problem[0]))
			continue;
		for (unsigned k = 0; k < move->candidate_count; k++)
			asking_add(&asking, plan, move->candidates[k].node_id, move,
				&move->candidates[k], request);
	}
	asking_run(&asking, plan, timeout_ms, on_position);
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
	if (a->epoch != b->epoch)
		return a->epoch > b->epoch;
	if (a->end_lsn != b->end_lsn)
		return a->end_lsn > b->end_lsn;
	return times_chosen(plan, a->node_id) < times_chosen(plan, b->node_id);
}

static void choose(const struct plan *plan, struct move *move)
{
	const struct candidate *best = NULL;
	move->chosen_node_id = 0;
	move->epoch = move->volume->epoch;
	for (unsigned k = 0; k < move->candidate_count; k++) {
		const struct candidate *candidate = &move->candidates[k];
		if (!candidate->answers)
			continue;
		move->epoch = candidate->epoch > move->epoch ? candidate->epoch : move->epoch;
		if (!best || is_better(plan, candidate, best))
			best = candidate;
	}
	move->epoch++;
	if (!best) {
		problem(move, "no replica answers");
		return;
	}
	move->chosen_node_id = best->node_id;
	move->chosen_end_lsn = best->end_lsn;
	/* A replica that has not even the epoch of the directory lacks all of that reign. */
	move->clean = move->from_answers && best->epoch == move->volume->epoch &&
		best->end_lsn >= move->from_end_lsn;
}

static void on_status(const struct plan *plan, struct subject subject, const struct question *question)
{
	const struct json *volume = status_volume(question->answer, subject.move->volume->id);
	(void)plan;
	if (!subject.candidate) {
		subject.move->at_risk = json_u64(volume, "at_risk");
		return;
	}
	/* What a replica last heard from its primary. */
	uint64_t leader = json_u64(volume, "leader_lsn"), own = json_u64(volume, "durable_lsn");
	subject.move->lag_known = leader > 0;
	subject.move->last_lag_bytes = leader > own ? leader - own : 0;
}

/* At-risk counts of old primaries that answer, last known lag where they do not. One status per volume
 * would ask a node many times: one volume of each node brings the answer for all. */
static void ask_losses(struct plan *plan)
{
	struct asking asking = { 0 };
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		if (move->from_answers)
			asking_add(&asking, plan, move->volume->primary_node_id, move, NULL, "status");
		else if (move->chosen_node_id)
			asking_add(&asking, plan, move->chosen_node_id, move, &move->candidates[0],
				"status");
	}
	asking_run(&asking, plan, ASK_SHORT_MS, on_status);
}

static bool has_candidate(const struct move *move)
{
	for (unsigned k = 0; k < move->candidate_count; k++)
		if (move->candidates[k].answers)
			return true;
	return move->candidate_count == 0;
}

static bool all_have_candidates(const struct plan *plan)
{
	for (unsigned i = 0; i < plan->count; i++)
		if (!has_candidate(&plan->moves[i]))
			return false;
	return true;
}

void plan_look(struct plan *plan)
{
	ask_positions(plan, true, ASK_SHORT_MS);
	while (!all_have_candidates(plan) && elapsed_ms(plan) < STARTING_MS) {
		pause_ms(POLL_MS);
		ask_positions(plan, false, ASK_SHORT_MS);
	}
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		choose(plan, move);
		if (plan->must_be_clean && !move->from_answers)
			problem(move, "its primary does not answer: use `pando failover`");
	}
	ask_losses(plan);
	plan->asked_ms = elapsed_ms(plan);
}

static void on_fence(const struct plan *plan, struct subject subject, const struct question *question)
{
	struct move *move = subject.move;
	(void)plan;
	move->fenced = question->answer != NULL;
	if (move->fenced)
		move->from_end_lsn = json_u64(question->answer, "end_lsn");
	else if (question->answered)
		problem(move, question->error.text);
	else
		move->from_answers = false;
}

void plan_fence(struct plan *plan)
{
	struct asking asking = { 0 };
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		char request[64];
		snprintf(request, sizeof(request), "fence %u %llu", move->volume->id,
			(unsigned long long)move->volume->epoch);
		move->clean = false;
		if (move->from_answers && !move->problem[0])
			asking_add(&asking, plan, move->volume->primary_node_id, move, NULL, request);
	}
	asking_run(&asking, plan, FENCE_MS, on_fence);
	uint64_t deadline = elapsed_ms(plan) + CATCH_UP_MS;
	for (;;) {
		bool waiting = false;
		ask_positions(plan, false, ASK_SHORT_MS);
		for (unsigned i = 0; i < plan->count; i++) {
			struct move *move = &plan->moves[i];
			if (move->clean || move->problem[0])
				continue;
			choose(plan, move);
			move->clean = move->clean && move->fenced;
			waiting = waiting || (move->fenced && !move->clean && !move->problem[0]);
		}
		if (!waiting || elapsed_ms(plan) > deadline)
			break;
		pause_ms(POLL_MS);
	}
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		if (move->fenced && !move->clean && !plan->accept_loss)
			problem(move, "no replica caught up in time (--accept-loss leaves it all the same)");
		else if (plan->must_be_clean && !move->clean)
			problem(move, "its primary stopped answering: use `pando failover`");
	}
	plan->fenced_ms = elapsed_ms(plan);
}

static struct promotion promotion_of(const struct move *move)
{
	struct promotion promotion = {
		.volume_id = move->volume->id,
		.expected_epoch = move->volume->epoch,
		.epoch = move->epoch,
		.primary_node_id = move->chosen_node_id,
		.unclean = !move->clean,
		.epoch_start_lsn = move->chosen_end_lsn,
	};
	memcpy(promotion.expected_reign, move->volume->reign, REIGN_LENGTH);
	rand_bytes(promotion.reign, REIGN_LENGTH);
	if (move->given_back) {
		promotion.primary_node_id = move->volume->primary_node_id;
		promotion.unclean = false;
		promotion.epoch_start_lsn = move->from_end_lsn;
	}
	return promotion;
}

int plan_promote(struct plan *plan, struct directory_writer *writer, struct error *error)
{
	struct promotion *promotions = mem_alloc((plan->count + 1) * sizeof(*promotions));
	unsigned count = 0;
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		move->given_back = move->problem[0] && move->fenced;
		if (!move->problem[0] || move->given_back)
			promotions[count++] = promotion_of(move);
	}
	int code = count ? directory_promote(writer, promotions, count, error) : 0;
	free(promotions);
	plan->promoted_ms = elapsed_ms(plan);
	for (unsigned i = 0; i < plan->count && code == 0; i++)
		plan->moves[i].promoted = !plan->moves[i].problem[0];
	return code;
}

static void on_served(const struct plan *plan, struct subject subject, const struct question *question)
{
	struct move *move = subject.move;
	const struct json *volume = status_volume(question->answer, move->volume->id);
	if (str_equal(json_text(volume, "role"), STR("primary")) && json_u64(volume, "epoch") == move->epoch) {
		move->served = true;
		move->served_after_ms = elapsed_ms(plan);
	}
}

void plan_wait(struct plan *plan)
{
	uint64_t deadline = elapsed_ms(plan) + SERVE_MS;
	for (;;) {
		struct asking asking = { 0 };
		bool waiting = false;
		for (unsigned i = 0; i < plan->count; i++) {
			struct move *move = &plan->moves[i];
			if (!move->promoted || move->served)
				continue;
			waiting = true;
			asking_add(&asking, plan, move->chosen_node_id, move, NULL, "status");
		}
		if (!waiting || elapsed_ms(plan) > deadline)
			break;
		asking_run(&asking, plan, ASK_SHORT_MS, on_served);
		pause_ms(POLL_MS);
	}
	plan->served_ms = elapsed_ms(plan);
}
