#include "node/volume/volumes_internal.h"

#include "core/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Fences and holds for `pando failover`: many volumes in one question, each asked on its worker. */

enum {
	/* Longer than a healthy disk takes to sync what is in flight; `pando` waits longer. */
	END_MS_MAX = 4000,
};

struct end_request;

struct end_item {
	struct end_request *request;
	struct end_wait wait;
	struct task task;
	uint32_t volume_id;
	struct slot *slot;
	bool answered;
	int status;
	uint64_t asked_epoch, epoch, least_unclean, end, chain, token, seen;
	uint32_t opening;
	bool is_clean; /* the log ends with a fence */
	bool is_proven;
	bool is_whole;   /* it has what it had, and is not being filled */
	bool has_failed; /* by its disk; `epoch` and `end` are those of what was answered */
};

/* Lives until every volume has answered, which may be after the answer to the asker. */
struct end_request {
	enum volumes_end how;
	struct timer *timer;
	unsigned count, waiting;
	struct end_item *items;
	/* NULL: answered already. */
	void (*done)(void *arg, struct str json);
	void *arg;
};

static const char *const refusals[] = { [VOLUMES_FENCE] = "does not write",
	[VOLUMES_HOLD] = "is no replica of",
	[VOLUMES_UNHOLD] = "is no replica of",
	[VOLUMES_CONFIRM] = "does not stand still for" };

static void describe(const struct end_item *item, struct buf *json)
{
	buf_printf(json, "{\"volume\": %u, ", item->volume_id);
	if (!item->answered)
		buf_append_literal(
			json, "\"late\": true, \"error\": \"it does not stand still in time\"}");
	else if (item->status == -ENOENT)
		buf_append_literal(json, "\"error\": \"this node does not hold it\"}");
	else if (item->status == -ESTALE)
		buf_printf(json, "\"error\": \"this node %s it in epoch %llu\"}",
			refusals[item->request->how], (unsigned long long)item->asked_epoch);
	else if (item->status < 0)
		buf_printf(json, "\"error\": \"its log cannot be opened: %s\"}",
			strerror(-item->status));
	else
		buf_printf(json,
			"\"epoch\": %llu, \"opening\": %u, \"least_unclean_epoch\": %llu, "
			"\"end_lsn\": %llu, \"chain\": %llu, "
			"\"token\": %llu, \"seen_epoch\": %llu, \"ends_fenced\": %s, "
			"\"is_proven\": %s, \"is_whole\": %s, \"has_failed\": %s}",
			(unsigned long long)item->epoch, item->opening,
			(unsigned long long)item->least_unclean, (unsigned long long)item->end,
			(unsigned long long)item->chain, (unsigned long long)item->token,
			(unsigned long long)item->seen, item->is_clean ? "true" : "false",
			item->is_proven ? "true" : "false", item->is_whole ? "true" : "false",
			item->has_failed ? "true" : "false");
}

static void answer(struct end_request *request)
{
	struct buf json = { 0 };
	buf_append_literal(&json, "{\"volumes\": [");
	for (unsigned i = 0; i < request->count; i++) {
		if (i > 0)
			buf_append_literal(&json, ", ");
		describe(&request->items[i], &json);
	}
	buf_append_literal(&json, "]}");
	request->done(request->arg, buf_str(&json));
	request->done = NULL;
	buf_deinit(&json);
}

static void finish(struct end_request *request)
{
	if (request->done != NULL)
		answer(request);
	timer_destroy(&request->timer);
	free(request->items);
	free(request);
}

static void on_late(void *arg)
{
	struct end_request *request = arg;
	if (request->done != NULL)
		answer(request);
}

/* ---- on the worker, and back ---- */

static void on_end_reply(void *arg)
{
	struct end_item *item = arg;
	item->answered = true;
	if (--item->request->waiting == 0)
		finish(item->request);
}

/* Of the log as it stands: on the worker. */
static void take_numbers(struct end_item *item)
{
	const struct volume *volume = item->slot->volume;
	item->token = volume->token;
	item->seen = volume->highest_epoch;
	item->is_proven = volume_is_proven_end(volume);
	if (volume->log == NULL)
		return;
	const struct epochs *epochs = volume_log_epochs(volume->log);
	const struct epoch_entry *last = epochs_last(epochs);
	uint64_t seen = volume_log_seen(volume->log);
	item->seen = seen > item->seen ? seen : item->seen;
	item->epoch = last ? last->epoch : 0;
	item->opening = last ? last->opening : 0;
	item->least_unclean = epochs_least_unclean(epochs, volume_log_end(volume->log));
	item->chain = volume_log_chain(volume->log);
	item->is_clean = volume_log_ends_fenced(volume->log);
	item->is_whole = volume_log_end(volume->log) >= volume_log_whole_from(volume->log);
	item->has_failed = volume_has_failed(volume);
	if (item->has_failed) {
		item->epoch = volume_answered_epoch(volume);
		item->opening = epochs_opening(epochs, volume->answered_end, item->epoch);
		item->end = volume->answered_end;
	}
}

static void on_end(struct end_wait *wait, int status, uint64_t end)
{
	struct end_item *item = container_of(wait, struct end_item, wait);
	item->status = status;
	item->end = end;
	take_numbers(item);
	item->task = (struct task){ .run = on_end_reply, .arg = item };
	loop_post(item->slot->volumes->front, &item->task);
}

static void run_end(struct worker_call *call)
{
	struct end_item *item = call->arg;
	struct volume *volume = call->slot->volume;
	bool stands = volume->token != 0 &&
		(volume->state == VOLUME_FENCED || volume->state == VOLUME_HELD);
	switch (item->request->how) {
	case VOLUMES_FENCE: volume_fence(volume, true, &item->wait); break;
	case VOLUMES_HOLD: volume_hold(volume, item->asked_epoch, &item->wait); break;
	case VOLUMES_UNHOLD:
		volume_unhold(volume);
		on_end(&item->wait, 0, 0);
		break;
	case VOLUMES_CONFIRM:
		on_end(&item->wait, stands ? 0 : -ESTALE,
			volume->log ? volume_log_end(volume->log) : 0);
		break;
	}
}

static int refusal(const struct end_request *request, const struct end_item *item)
{
	const struct slot *slot = item->slot;
	if (slot == NULL)
		return -ENOENT;
	if (request->how == VOLUMES_CONFIRM)
		return 0;
	if (request->how == VOLUMES_HOLD || request->how == VOLUMES_UNHOLD)
		return slot->epoch > item->asked_epoch ? -ESTALE : 0; /* the rest its state says */
	/* One that is still being opened has an older log, or none. */
	const struct volume_numbers *numbers = &slot->volume->numbers;
	bool is_other =
		atomic_load(&numbers->writes) && atomic_load(&numbers->epoch) != item->asked_epoch;
	return !is_other && slot->wants_primary && slot->epoch <= item->asked_epoch ? 0 : -ESTALE;
}

int volumes_next_pair(struct str *list, struct volumes_pair *pair_out)
{
	struct str part, id;
	uint64_t number;
	if (!str_next(list, ',', &part))
		return 0;
	if (!str_next(&part, ':', &id) || !str_to_u64(id, UINT32_MAX, &number) ||
		!str_to_u64(part, UINT64_MAX, &pair_out->number))
		return -EINVAL;
	pair_out->volume_id = (uint32_t)number;
	return 1;
}

/* The items of the list; NULL when it is malformed. */
static struct end_item *parse(struct volumes *volumes, struct str list, unsigned *count_out)
{
	struct buf items = { 0 };
	struct volumes_pair pair;
	int result;
	*count_out = 0;
	while ((result = volumes_next_pair(&list, &pair)) > 0) {
		struct end_item item = {
			.wait.done = on_end, .volume_id = pair.volume_id, .asked_epoch = pair.number
		};
		item.slot = volumes_find_slot(volumes, item.volume_id);
		buf_append(&items, &item, sizeof(item));
		++*count_out;
	}
	if (result < 0) {
		buf_deinit(&items);
		return NULL;
	}
	struct end_item *parsed = mem_alloc((*count_out + 1) * sizeof(*parsed));
	memcpy(parsed, buf_str(&items).bytes, *count_out * sizeof(*parsed));
	buf_deinit(&items);
	return parsed;
}

int volumes_end(struct volumes *volumes, enum volumes_end how, struct str list,
	void (*done)(void *arg, struct str json), void *arg)
{
	unsigned count;
	struct end_item *items = parse(volumes, list, &count);
	if (items == NULL)
		return -EINVAL;
	struct end_request *request = mem_alloc(sizeof(*request));
	*request = (struct end_request){
		.how = how, .count = count, .waiting = 1, .items = items, .done = done, .arg = arg
	};
	request->timer = timer_new(volumes->front, on_late, request);
	timer_start(request->timer, END_MS_MAX);
	for (unsigned i = 0; i < count; i++) {
		struct end_item *item = &items[i];
		item->request = request;
		item->status = refusal(request, item);
		item->answered = item->status < 0;
		if (item->answered)
			continue;
		request->waiting++;
		struct worker_call *call = slot_call(item->slot, run_end);
		call->arg = item;
		slot_send(call);
	}
	if (--request->waiting == 0)
		finish(request);
	return 0;
}
