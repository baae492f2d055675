#include "node/control.h"

#include "core/log.h"

#include <errno.h>

static void on_json(void *arg, struct str json)
{
	control_reply(arg, json);
}

static void answer_status(struct volumes *volumes, struct control_request *request,
	const struct str *arguments)
{
	struct buf json = { 0 };
	(void)arguments;
	volumes_status(volumes, &json);
	control_reply(request, buf_str(&json));
	buf_deinit(&json);
}

static void answer_at_risk(struct volumes *volumes, struct control_request *request,
	const struct str *arguments)
{
	(void)arguments;
	volumes_at_risk(volumes, on_json, request);
}

/* `fence` and `hold`: VOLUME EPOCH. */
static void answer_end(struct volumes *volumes, struct control_request *request,
	const struct str *arguments, bool is_fence)
{
	uint64_t id, epoch;
	if (!str_to_u64(arguments[0], UINT32_MAX, &id) ||
		!str_to_u64(arguments[1], UINT64_MAX, &epoch)) {
		control_reply_error(request, "usage: fence|hold VOLUME EPOCH, both numbers");
		return;
	}
	int result = (is_fence ? volumes_fence : volumes_hold)(
		volumes, (uint32_t)id, epoch, on_json, request);
	if (result == -ENOENT)
		control_reply_error(
			request, "this node holds no volume %llu", (unsigned long long)id);
	else if (result < 0)
		control_reply_error(request, "this node %s volume %llu in epoch %llu",
			is_fence ? "does not write" : "is no replica of", (unsigned long long)id,
			(unsigned long long)epoch);
}

static void answer_fence(struct volumes *volumes, struct control_request *request,
	const struct str *arguments)
{
	answer_end(volumes, request, arguments, true);
}

static void answer_hold(struct volumes *volumes, struct control_request *request,
	const struct str *arguments)
{
	answer_end(volumes, request, arguments, false);
}

static void answer_position(struct volumes *volumes, struct control_request *request,
	const struct str *arguments)
{
	uint64_t id;
	struct buf json = { 0 };
	if (!str_to_u64(arguments[0], UINT32_MAX, &id))
		control_reply_error(request, "usage: position VOLUME, a number");
	else if (volumes_position(volumes, (uint32_t)id, &json) < 0)
		control_reply_error(
			request, "this node holds no volume %llu", (unsigned long long)id);
	else
		control_reply(request, buf_str(&json));
	buf_deinit(&json);
}

static const struct {
	const char *verb;
	size_t argument_count;
	void (*answer)(struct volumes *volumes, struct control_request *request,
		const struct str *arguments);
} verbs[] = {
	{ "status", 0, answer_status },
	{ "at-risk", 0, answer_at_risk },
	{ "fence", 2, answer_fence },
	{ "hold", 2, answer_hold },
	{ "position", 1, answer_position },
};

void node_control(void *arg, struct control_request *request, struct str verb,
	const struct str *arguments, size_t argument_count)
{
	for (size_t i = 0; i < array_length(verbs); i++) {
		if (!str_equal(verb, str_from(verbs[i].verb)))
			continue;
		if (argument_count != verbs[i].argument_count)
			control_reply_error(request, "%s takes %zu arguments", verbs[i].verb,
				verbs[i].argument_count);
		else
			verbs[i].answer(arg, request, arguments);
		return;
	}
	control_reply_error(request, "the node knows no verb %s", log_quote(verb));
}
