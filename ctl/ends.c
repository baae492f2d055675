#include "ctl/ends.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_first_of_node(const struct end_question *questions, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (questions[k].node_id == questions[i].node_id)
			return false;
	return true;
}

static char *request_of(
	const char *verb, const struct end_question *questions, unsigned count, uint32_t node_id)
{
	struct buf request = { 0 };
	char separator = ' ';
	buf_append_str(&request, str_from(verb));
	for (unsigned i = 0; i < count; i++) {
		if (questions[i].node_id != node_id)
			continue;
		buf_printf(&request, "%c%u:%llu", separator, questions[i].volume->id,
			(unsigned long long)questions[i].asked_epoch);
		separator = ',';
	}
	char *text = str_to_heap(buf_str(&request));
	buf_deinit(&request);
	return text;
}

static void take_answer(struct end_question *question, const struct question *asked)
{
	const struct json *volume = json_first(json_get(asked->answer, "volumes"));
	if (asked->answer == NULL) {
		question->answered = asked->answered;
		question->refusal = str_from(asked->error.text);
		return;
	}
	while (volume && json_u64(volume, "volume") != question->volume->id)
		volume = volume->next;
	question->refusal = json_text(volume, "error");
	question->answered = volume && !json_true(volume, "late");
	question->stands = question->answered && question->refusal.length == 0;
	question->epoch = json_u64(volume, "epoch");
	question->end_lsn = json_u64(volume, "end_lsn");
	question->opening = (uint32_t)json_u64(volume, "opening");
	question->least_unclean = json_u64(volume, "least_unclean_epoch");
	question->token = json_u64(volume, "token");
	question->seen_epoch = json_u64(volume, "seen_epoch");
	question->ends_fenced = json_true(volume, "ends_fenced");
	question->is_proven = json_true(volume, "is_proven");
	question->is_whole = json_true(volume, "is_whole");
	question->has_failed = json_true(volume, "has_failed");
}

void ends_ask(struct cluster *cluster, const char *verb, struct end_question *questions,
	unsigned count, unsigned timeout_ms)
{
	struct question *asked = mem_alloc((count + 1) * sizeof(*asked));
	uint32_t *node_ids = mem_alloc((count + 1) * sizeof(*node_ids));
	unsigned nodes = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct directory_node *node =
			directory_find_node(cluster->directory, questions[i].node_id);
		if (!node || !is_first_of_node(questions, i))
			continue;
		snprintf(asked[nodes].address, sizeof(asked[nodes].address), "%s", node->control);
		asked[nodes].request = request_of(verb, questions, count, node->id);
		node_ids[nodes++] = node->id;
	}
	ask_all(cluster->asker, asked, nodes, timeout_ms);
	for (unsigned i = 0; i < count; i++)
		for (unsigned n = 0; n < nodes; n++)
			if (node_ids[n] == questions[i].node_id)
				take_answer(&questions[i], &asked[n]);
	for (unsigned n = 0; n < nodes; n++)
		free((char *)(uintptr_t)asked[n].request);
	free(asked);
	free(node_ids);
}
