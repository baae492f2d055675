#include "ctl/move_internal.h"

#include "ctl/unshipped.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What may be lost: the old primary's node, where it answers, reads its log above where the chosen
 * copy ends. Within the time to decide, and before the row is written: a deposed primary's log may
 * be cut. */

static bool is_asked(const struct move *move)
{
	return move->chosen_node_id && move->old.answers && !(move->clean && move->fenced) &&
		move->old.position.end_lsn > move->chosen.end_lsn;
}

static bool is_asked_before(const struct plan *plan, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (is_asked(&plan->moves[k]) &&
			plan->moves[k].old.node_id == plan->moves[i].old.node_id)
			return true;
	return false;
}

static char *request_of(const struct plan *plan, uint32_t node_id)
{
	struct buf request = { 0 };
	char separator = ' ';
	buf_append_literal(&request, "above");
	for (unsigned i = 0; i < plan->count; i++) {
		const struct move *move = &plan->moves[i];
		if (!is_asked(move) || move->old.node_id != node_id)
			continue;
		buf_printf(&request, "%c%u:%llu", separator, move->volume->id,
			(unsigned long long)move->chosen.end_lsn);
		separator = ',';
	}
	char *text = str_to_heap(buf_str(&request));
	buf_deinit(&request);
	return text;
}

static void take(struct plan *plan, uint32_t node_id, const struct json *answer)
{
	for (unsigned i = 0; i < plan->count; i++) {
		struct move *move = &plan->moves[i];
		if (!is_asked(move) || move->old.node_id != node_id)
			continue;
		const struct json *changes = json_first(json_get(answer, "changes"));
		while (changes && json_u64(changes, "volume") != move->volume->id)
			changes = changes->next;
		move->loss = changes;
	}
}

void plan_count_loss(struct plan *plan)
{
	struct question *questions = mem_alloc((plan->count + 1) * sizeof(*questions));
	uint32_t *node_ids = mem_alloc((plan->count + 1) * sizeof(*node_ids));
	unsigned count = 0;
	for (unsigned i = 0; i < plan->count; i++) {
		uint32_t node_id = plan->moves[i].old.node_id;
		const struct directory_node *node =
			directory_find_node(plan->cluster->directory, node_id);
		if (!node || !is_asked(&plan->moves[i]) || is_asked_before(plan, i))
			continue;
		questions[count] = (struct question){ .request = request_of(plan, node_id) };
		snprintf(questions[count].address, sizeof(questions[count].address), "%s",
			node->control);
		node_ids[count++] = node_id;
	}
	ask_all(plan->cluster->asker, questions, count, plan_round_ms(plan, ROUND_LOSS));
	for (unsigned i = 0; i < count; i++) {
		take(plan, node_ids[i], questions[i].answer);
		free((char *)(uintptr_t)questions[i].request);
	}
	free(questions);
	free(node_ids);
}

/* ---- in words ---- */

static void append_counts(const struct json *changes, struct buf *out)
{
	const struct json *mailboxes = json_get(changes, "mailboxes");
	unsigned long long mailbox_count = 0;
	const char *separator = ": ";
	for (const struct json *mailbox = json_first(mailboxes); mailbox; mailbox = mailbox->next)
		mailbox_count++;
	for (unsigned i = 0; i < UNSHIPPED_KINDS; i++) {
		uint64_t sum = 0;
		for (const struct json *mailbox = json_first(mailboxes); mailbox;
			mailbox = mailbox->next)
			sum += json_u64(mailbox, unshipped_kinds[i].member);
		if (sum == 0)
			continue;
		buf_printf(out, "%s%llu %s", separator, (unsigned long long)sum,
			sum == 1 ? unshipped_kinds[i].one : unshipped_kinds[i].member);
		separator = ", ";
	}
	if (mailbox_count)
		buf_printf(out, " of %llu %s", mailbox_count,
			mailbox_count == 1 ? "mailbox" : "mailboxes");
	if (json_u64(changes, "unread_bytes") > 0)
		buf_printf(out, ", and %llu bytes that were not looked through",
			(unsigned long long)json_u64(changes, "unread_bytes"));
}

static void append_last_lag(const struct move *move, struct buf *out)
{
	uint64_t age_s = move->last_lag_age_ms / 1000;
	buf_printf(out, "unknown: old primary unreachable, last known lag %llu bytes, ",
		(unsigned long long)move->last_lag_bytes);
	if (age_s < 120)
		buf_printf(out, "%llu s before", (unsigned long long)age_s);
	else
		buf_printf(out, "%llu min before", (unsigned long long)age_s / 60);
}

static bool is_chosen_filled(const struct move *move)
{
	const struct candidate *chosen = move_chosen(move);
	return chosen && (chosen->is_seeding || chosen->is_broken);
}

void move_describe_loss(const struct move *move, struct buf *out)
{
	uint64_t bytes = move->old.position.end_lsn > move->chosen.end_lsn
		? move->old.position.end_lsn - move->chosen.end_lsn
		: 0;
	if (move->chosen_node_id == 0)
		return;
	if (move->clean)
		buf_append_literal(out, "nothing");
	else if (move->loss) {
		buf_printf(out, "up to %llu bytes", (unsigned long long)bytes);
		append_counts(move->loss, out);
	} else if (move->old_writes)
		buf_printf(out, "up to %llu bytes, %llu messages at risk",
			(unsigned long long)bytes, (unsigned long long)move->at_risk);
	else if (move->old.has_failed && position_compare(&move->old.position, &move->chosen) <= 0)
		buf_append_literal(out, "nothing that was confirmed");
	else if (move->old.answers)
		buf_append_literal(out,
			"unknown: the old primary answers, and does not know what it confirmed");
	else if (move->lag_known)
		append_last_lag(move, out);
	else
		buf_append_literal(out,
			"unknown: old primary unreachable, and nothing is known of how far behind "
			"this copy was");
	if (!move->clean && is_chosen_filled(move))
		buf_append_literal(out, ", which is being filled, or has lost some of what it had");
}

void plan_list_losses(const struct plan *plan, struct unshipped_names *names, struct table *table)
{
	for (unsigned i = 0; i < plan->count; i++) {
		const struct move *move = &plan->moves[i];
		const struct json *mailbox = json_first(json_get(move->loss, "mailboxes"));
		for (; mailbox && !move->clean; mailbox = mailbox->next) {
			struct buf name = { 0 };
			unshipped_append_name(names, mailbox, &name);
			table_add(table, move->volume->name);
			table_add_str(table, buf_str(&name));
			for (unsigned k = 0; k < UNSHIPPED_KINDS; k++)
				table_add_str(table, json_text(mailbox, unshipped_kinds[k].member));
			buf_deinit(&name);
		}
	}
}
