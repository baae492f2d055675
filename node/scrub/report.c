#include "core/encode.h"
#include "node/scrub/internal.h"

/* What `pando` and Prometheus are told. */

enum {
	DAY_S = 86400,
	/* Passes follow each other within scrub_days; twice that is none. */
	OVERDUE_TIMES = 2,
};

/* Since its last whole pass ended; of one that had none, since it is known. */
static int64_t age_s(const struct scrubbed *copy, int64_t now_s)
{
	const struct scrub_state *state = &copy->state;
	int64_t then = state->last_ended_s > 0 ? state->last_ended_s : state->since_s;
	return then > 0 && now_s > then ? now_s - then : 0;
}

static const char *label_of(const struct scrubbed *copy)
{
	struct buf text = { 0 };
	buf_printf(&text, "volume=\"%s\"", copy->name);
	char *kept = str_to_heap(buf_str(&text)); /* metrics want it for ever */
	buf_deinit(&text);
	return kept;
}

void report_measure(struct scrub *scrub)
{
	int64_t now_s = scrub_now_s();
	void *value;
	for (size_t i = 0; map_next(scrub->copies, &i, NULL, &value);) {
		struct scrubbed *copy = value;
		if (copy->name[0] == '\0')
			continue;
		if (copy->unmended == NULL) {
			const char *label = label_of(copy);
			copy->unmended = metric_gauge("pando_scrub_unmended_places", label,
				"Damaged places of the log here that no other copy could mend");
			copy->age = metric_gauge_seconds("pando_scrub_pass_age_seconds", label,
				"Since all of the log here was last read to find what has rotted");
		}
		bool is_held = copy->is_loaded && copy->end > 0;
		metric_set(copy->unmended, is_held ? (int64_t)stains_unmended(copy) : 0);
		metric_set(copy->age, is_held ? age_s(copy, now_s) * 1000000 : 0);
	}
}

void scrub_status(const struct scrub *scrub, struct buf *json_out)
{
	int64_t now_s = scrub_now_s(), oldest_s = 0;
	int64_t limit_s = (int64_t)scrub->config->scrub_days * DAY_S * OVERDUE_TIMES;
	uint64_t unmended = 0, overdue = 0, disagreeing = 0;
	void *value;
	for (size_t i = 0; map_next(scrub->copies, &i, NULL, &value);) {
		const struct scrubbed *copy = value;
		if (!copy->is_loaded || copy->end == 0)
			continue;
		unmended += stains_unmended(copy);
		disagreeing += copy->state.disagreeing;
		overdue += limit_s > 0 && age_s(copy, now_s) > limit_s;
		oldest_s = age_s(copy, now_s) > oldest_s ? age_s(copy, now_s) : oldest_s;
	}
	buf_printf(json_out,
		"\"scrub\": {\"unmended\": %llu, \"disagreeing\": %llu, \"overdue\": %llu, "
		"\"oldest_s\": %lld}",
		(unsigned long long)unmended, (unsigned long long)disagreeing,
		(unsigned long long)overdue, (long long)oldest_s);
}

/* ---- `pando scrub` ---- */

static const char *state_of(const struct scrubbed *copy)
{
	const struct scrub *scrub = copy->scrub;
	if (copy->state.began_s == 0)
		return "idle";
	if (scrub->at != copy)
		return "queued";
	return scrub->is_paused ? "paused" : "reading";
}

/* While it is not over, not all of it. */
static unsigned percent_of(const struct scrubbed *copy)
{
	const struct scrub_state *state = &copy->state;
	if (state->began_s == 0)
		return state->last_ended_s > 0 ? 100 : 0;
	uint64_t percent = state->end > 0 ? state->lsn * 100 / state->end : 0;
	return percent > 99 ? 99 : (unsigned)percent;
}

static void append_damages(const struct scrubbed *copy, struct buf *out)
{
	const struct scrub_state *state = &copy->state;
	bool first = true;
	for (unsigned i = 0; i < state->stain_count; i++) {
		const struct scrub_stain *stain = &state->stains[i];
		if (!copy->work[i].has_stood)
			continue;
		buf_printf(out,
			"%s{\"from_lsn\": %llu, \"to_lsn\": %llu, \"fault\": \"%s\", "
			"\"since_s\": %lld, \"is_named\": %s, \"messages\": %llu}",
			first ? "" : ", ", (unsigned long long)stain->at.from,
			(unsigned long long)stain->at.to, walk_fault_name(stain->at.fault),
			(long long)stain->since_s, copy->work[i].is_named ? "true" : "false",
			(unsigned long long)copy->work[i].messages);
		first = false;
	}
}

/* As it is called now, where it is still the directory's. */
static struct str address_of(const struct scrub *scrub, const struct named_message *named)
{
	const struct directory_mailbox *mailbox =
		directory_find_mailbox(scrub->directory, named->mailbox_id);
	bool is_it = mailbox && memcmp(mailbox->mark, named->mark, sizeof(named->mark)) == 0;
	return is_it ? mailbox->address : named->made_for;
}

static void append_messages(const struct scrubbed *copy, struct buf *out)
{
	for (unsigned i = 0; i < copy->message_count; i++) {
		const struct named_message *named = &copy->messages[i];
		buf_printf(out, "%s{\"lsn\": %llu, \"uid\": %u, \"mailbox\": ", i ? ", " : "",
			(unsigned long long)named->body_lsn, named->uid);
		encode_json(out, address_of(copy->scrub, named));
		buf_append_literal(out, ", \"folder\": ");
		encode_json(out, named->folder);
		buf_append_literal(out, ", \"sender\": ");
		encode_json(out, str_from(named->sender));
		buf_append_byte(out, '}');
	}
}

static void append_copy(const struct scrubbed *copy, struct buf *out)
{
	const struct scrub_state *state = &copy->state;
	/* Of a pass, where that ends. */
	uint64_t end = state->began_s > 0 && state->end > 0 ? state->end : copy->end;
	buf_printf(out,
		"{\"volume\": %u, \"role\": \"%s\", \"state\": \"%s\", \"is_now\": %s, "
		"\"percent\": %u, ",
		copy->id, copy->is_primary ? "primary" : "replica", state_of(copy),
		state->is_now ? "true" : "false", percent_of(copy));
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = { { "lsn", state->lsn }, { "end_lsn", end },
		{ "since_s", (uint64_t)state->since_s }, { "began_s", (uint64_t)state->began_s },
		{ "last_began_s", (uint64_t)state->last_began_s },
		{ "last_ended_s", (uint64_t)state->last_ended_s }, { "found", state->found },
		{ "mended", state->mended }, { "unmended", stains_unmended(copy) },
		{ "unlisted", state->unlisted }, { "disagreeing", state->disagreeing } };
	for (size_t i = 0; i < array_length(numbers); i++)
		buf_printf(out, "\"%s\": %llu, ", numbers[i].name,
			(unsigned long long)numbers[i].value);
	buf_append_literal(out, "\"damages\": [");
	append_damages(copy, out);
	buf_append_literal(out, "], \"messages\": [");
	append_messages(copy, out);
	buf_append_literal(out, "]}");
}

void scrub_list(const struct scrub *scrub, struct buf *json_out)
{
	bool first = true;
	void *value;
	buf_append_literal(json_out, "{\"scrub\": [");
	for (size_t i = 0; map_next(scrub->copies, &i, NULL, &value);) {
		const struct scrubbed *copy = value;
		if (!copy->is_loaded || copy->end == 0)
			continue;
		buf_append_str(json_out, first ? STR("") : STR(", "));
		append_copy(copy, json_out);
		first = false;
	}
	buf_append_literal(json_out, "]}");
}
