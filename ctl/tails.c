#include "ctl/tails.h"

#include "core/clock.h"

#include <stdio.h>

enum {
	/* As for reports (ASK_MS of cluster.h). */
	TAILS_ASK_MS = 3000,
	TAILS_ASK_AGAIN_MS = 200,
};

static void ask(struct asker *asker, const char *control, const char *request,
	struct question *question_out)
{
	*question_out = (struct question){ .request = request };
	snprintf(question_out->address, sizeof(question_out->address), "%s", control);
	ask_all(asker, question_out, 1, TAILS_ASK_MS);
}

bool tail_is_open(const struct json *tail)
{
	struct str state = json_text(tail, "state");
	return !str_equal(state, STR("done")) && !str_equal(state, STR("discarded"));
}

static unsigned count_open(const struct json *answer, uint32_t volume_id)
{
	unsigned count = 0;
	for (const struct json *tail = json_first(json_get(answer, "salvage")); tail;
		tail = tail->next)
		count += tail_is_open(tail) &&
			(volume_id == 0 || json_u64(tail, "volume") == volume_id);
	return count;
}

void tails_ask(struct asker *asker, const char *control, uint32_t volume_id, unsigned patience_ms,
	struct tails *tails_out)
{
	struct question question, status;
	uint64_t end_us = clock_mono_us() + patience_ms * 1000u;
	*tails_out = (struct tails){ .found = TAILS_NOT_TOLD };
	for (;;) {
		ask(asker, control, "salvage", &question);
		if (json_get(question.answer, "salvage") != NULL) {
			tails_out->open = count_open(question.answer, volume_id);
			tails_out->found = tails_out->open > 0 ? TAILS_OPEN : TAILS_NONE;
			return;
		}
		tails_out->error = question.error;
		ask(asker, control, "status", &status);
		if (status.answer == NULL && !status.answered && !question.answered) {
			tails_out->found = TAILS_SILENT;
			return;
		}
		if (clock_mono_us() >= end_us)
			return;
		clock_sleep_ms(TAILS_ASK_AGAIN_MS);
	}
}
