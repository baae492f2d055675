#include "ctl/move_internal.h"

#include "ctl/judge.h"

#include <stdarg.h>
#include <stdio.h>

/*
 * Before anything is made to stand still: can who is to serve take it? What cannot is no choice,
 * and each reason is a row with what helps. Judged by what the nodes have just said.
 */

struct preflight {
	struct plan *plan;
	struct move *move;
	struct candidate *candidate;
	const char *node;
};

static void fail(const struct preflight *look, const char *item, const char *help,
	const char *format, ...) printf_like(4, 5);

static void fail(
	const struct preflight *look, const char *item, const char *help, const char *format, ...)
{
	char text[160];
	struct table *rows = &look->plan->preflight;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	table_add(rows, look->move ? look->move->volume->name : "");
	table_add(rows, look->node);
	table_add(rows, item);
	table_add(rows, text);
	table_add(rows, help);
	if (look->candidate && look->candidate->is_fit) {
		look->candidate->is_fit = false;
		snprintf(look->candidate->unfit, sizeof(look->candidate->unfit), "%s", item);
	}
}

/* Volumes that this command would bring to the node; this one in any case. */
static unsigned volumes_for(const struct plan *plan, const struct move *move, uint32_t node_id)
{
	unsigned count = move->chosen_node_id != node_id;
	for (unsigned i = 0; i < plan->count; i++)
		count += plan->moves[i].chosen_node_id == node_id;
	return count;
}

static void look_at_disks(const struct preflight *look)
{
	const struct candidate *candidate = look->candidate;
	uint64_t needed_mib = PREFLIGHT_NODE_MIB +
		(uint64_t)PREFLIGHT_VOLUME_MIB *
			volumes_for(look->plan, look->move, candidate->node_id);
	for (const struct json *disk = json_first(json_get(candidate->status, "disks")); disk;
		disk = disk->next) {
		struct buf sentence = { 0 };
		if (!judge_room(disk, needed_mib, &sentence))
			fail(look, "disk",
				"mend it there, or name another site (`pando failover --to`)", "%s",
				buf_terminated(&sentence));
		buf_deinit(&sentence);
	}
}

static void look_at_index(const struct preflight *look)
{
	char help[256];
	if (json_get(look->candidate->entry, "index_usable") == NULL ||
		json_true(look->candidate->entry, "index_usable"))
		return;
	snprintf(help, sizeof(help),
		"see `index_unusable` in the log of pando-node on %s, and restart it: what is "
		"missing is made anew from the mail",
		look->node);
	fail(look, "index", help, "its index cannot be opened");
}

/* What its leader, and its own node, know of the copy's bytes. The one place where a copy that is
 * another than its leader's, or is not known to be the same, is told. */
static void look_at_copy(const struct preflight *look)
{
	const struct json *peer = status_peer(look->move->old.entry, look->node);
	struct str own = json_text(look->candidate->entry, "chain");
	if (json_true(look->candidate->entry, "is_damaged"))
		fail(look, "copy",
			look->move->old.answers
				? "its leader fills it again by itself: see `pando lag`"
				: "start its primary, which fills it again, or name another site "
				  "(`pando failover --to`)",
			"its log cannot be read at %llu",
			(unsigned long long)json_u64(look->candidate->entry, "damaged_lsn"));
	/* What a primary said that is gone counts no more: its own disk may be the bad one, and
	 * this copy all that is left (docs/operating.md, Copies that differ). */
	if (str_equal(json_text(peer, "chain"), STR("diverged")) ||
		(look->move->old.answers && str_equal(own, STR("diverged"))))
		fail(look, "copy",
			"see `pando check`, or name another site (`pando failover --to`)",
			"its log is another than its primary's");
	else if (json_u64(peer, "unverified_ms") > COPY_UNVERIFIED_MS_MAX)
		fail(look, "copy",
			"see `pando check`, or name another site (`pando failover --to`)",
			"its log has not been found to be its primary's for %llu s",
			(unsigned long long)(json_u64(peer, "unverified_ms") / 1000));
}

static void look_at(struct plan *plan, struct move *move, struct candidate *candidate)
{
	const struct directory_node *node =
		directory_find_node(plan->cluster->directory, candidate->node_id);
	const struct preflight look = { plan, move, candidate, node ? node->name : "?" };
	look_at_disks(&look);
	look_at_index(&look);
	look_at_copy(&look);
}

/* Nobody is left who could take it, and somebody would if he were fit. */
static void refuse(struct move *move)
{
	const struct candidate *unfit = NULL;
	for (unsigned k = 0; k < move->candidate_count; k++) {
		const struct candidate *candidate = &move->candidates[k];
		if (!candidate->eligible || !candidate->answers)
			continue;
		if (candidate->is_fit)
			return;
		unfit = candidate;
	}
	if (unfit == NULL)
		return;
	char advice[96];
	snprintf(advice, sizeof(advice), "is not fit to serve it (%s): see what fails above",
		unfit->unfit);
	move_problem_of(move, unfit, advice);
}

void plan_preflight(struct plan *plan, const struct error *read_only)
{
	if (read_only->text[0])
		fail(&(struct preflight){ .plan = plan, .node = "" }, "directory",
			"see `pando directory list`", "%s", read_only->text);
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		for (unsigned k = 0; k < move->candidate_count; k++)
			if (move->candidates[k].eligible && move->candidates[k].answers)
				look_at(plan, move, &move->candidates[k]);
	}
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		refuse(move);
		if (!move->problem[0])
			move_choose(plan, move, false);
	}
}
