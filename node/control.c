#include "node/control.h"

#include "core/log.h"

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

static void answer_others(struct volumes *volumes, struct control_request *request,
	const struct str *arguments)
{
	(void)arguments;
	volumes_mailboxes(volumes, STR(""), on_json, request);
}

static void answer_made_for(struct volumes *volumes, struct control_request *request,
	const struct str *arguments)
{
	volumes_mailboxes(volumes, arguments[0], on_json, request);
}

static void answer_end(struct volumes *volumes, struct control_request *request,
	enum volumes_end how, struct str list)
{
	if (volumes_end(volumes, how, list, on_json, request) < 0)
		control_reply_error(request, "usage: fence|hold ID:EPOCH,ID:EPOCH,...");
}

static void answer_fence(struct volumes *volumes, struct control_request *request,
	const struct str *arguments)
{
	answer_end(volumes, request, VOLUMES_FENCE, arguments[0]);
}

static void answer_hold(struct volumes *volumes, struct control_request *request,
	const struct str *arguments)
{
	answer_end(volumes, request, VOLUMES_HOLD, arguments[0]);
}

static const struct {
	const char *verb;
	size_t argument_count;
	void (*answer)(struct volumes *volumes, struct control_request *request,
		const struct str *arguments);
} verbs[] = {
	{ "status", 0, answer_status },
	{ "at-risk", 0, answer_at_risk },
	{ "others", 0, answer_others },
	{ "made-for", 1, answer_made_for },
	{ "fence", 1, answer_fence },
	{ "hold", 1, answer_hold },
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
