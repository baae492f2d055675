#include "node/control.h"

#include "core/log.h"

#include <errno.h>
#include <stdio.h>

static void on_json(void *arg, struct str json)
{
	control_reply(arg, json);
}

static void answer_status(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	struct buf json = { 0 };
	(void)arguments;
	buf_append_byte(&json, '{');
	vitals_report(node->vitals, &json);
	buf_append_literal(&json, ", ");
	volumes_status(node->volumes, &json);
	buf_append_literal(&json, ", ");
	salvage_status(node->salvage, &json);
	buf_append_literal(&json, ", ");
	scrub_status(node->scrub, &json);
	buf_append_byte(&json, '}');
	control_reply(request, buf_str(&json));
	buf_deinit(&json);
}

static void answer_at_risk(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	(void)arguments;
	volumes_at_risk(node->volumes, on_json, request);
}

static void answer_above(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	if (volumes_above(node->volumes, arguments[0], on_json, request) < 0)
		control_reply_error(request, "usage: above ID:LSN,ID:LSN,...");
}

static void answer_salvage(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	(void)arguments;
	salvage_list(node->salvage, on_json, request);
}

static void on_state_set(void *arg, int status)
{
	struct control_request *request = arg;
	if (status == 0)
		control_reply(request, STR("{\"set\": true}"));
	else
		control_reply_error(request, "%s",
			status == -EBUSY	   ? "it is being worked off just now: try again"
				: status == -EINVAL ? "this node has no such tail"
				: status == -ENOENT ? "this node has no such tail"
						    : strerror(-status));
}

static void answer_salvage_retry(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	salvage_set_state(node->salvage, arguments[0], SALVAGE_OPEN, on_state_set, request);
}

static void answer_salvage_discard(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	salvage_set_state(node->salvage, arguments[0], SALVAGE_DISCARDED, on_state_set, request);
}

static void answer_expunged(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	recover_list(&(struct recover_ask){ node->volumes, node->directory, arguments[0],
			     arguments[1], on_json, request },
		arguments[2]);
}

static void answer_recover(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	recover_back(&(struct recover_ask){ node->volumes, node->directory, arguments[0],
			     arguments[1], on_json, request },
		arguments[2], arguments[3]);
}

static void answer_scrub(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	struct buf json = { 0 };
	(void)arguments;
	scrub_list(node->scrub, &json);
	control_reply(request, buf_str(&json));
	buf_deinit(&json);
}

static void answer_scrub_now(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	char json[40];
	int count = scrub_now(node->scrub, arguments[0]);
	snprintf(json, sizeof(json), "{\"begun\": %d}", count);
	if (count < 0)
		control_reply_error(request, "usage: scrub-now ID,ID,...");
	else
		control_reply(request, str_from(json));
}

static void answer_kept(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	(void)arguments;
	volumes_kept(node->volumes, on_json, request);
}

static void answer_others(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	(void)arguments;
	volumes_mailboxes(node->volumes, STR(""), on_json, request);
}

static void answer_made_for(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	volumes_mailboxes(node->volumes, arguments[0], on_json, request);
}

static void answer_end(const struct node_control *node, struct control_request *request,
	enum volumes_end how, struct str list)
{
	if (volumes_end(node->volumes, how, list, on_json, request) < 0)
		control_reply_error(
			request, "usage: fence|hold|unhold|confirm ID:EPOCH,ID:EPOCH,...");
}

static void answer_fence(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	answer_end(node, request, VOLUMES_FENCE, arguments[0]);
}

static void answer_hold(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	answer_end(node, request, VOLUMES_HOLD, arguments[0]);
}

static void answer_unhold(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	answer_end(node, request, VOLUMES_UNHOLD, arguments[0]);
}

static void answer_confirm(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	answer_end(node, request, VOLUMES_CONFIRM, arguments[0]);
}

static void on_opened_alone(void *arg, int status)
{
	static const struct {
		int status;
		const char *text;
	} refusals[] = { { -EALREADY, "it is served here already" },
		{ -ESTALE,
			"the directory does not name this node for it, or a later epoch has been "
			"heard of here: `pando failover` chooses among the copies" },
		{ -ERANGE,
			"there is no later epoch left for it: its mail can be brought into "
			"another volume's mailboxes, from a backup, by `pando restore --mailbox`" },
		{ -EAGAIN, "it is just being opened: nothing is waited for" },
		{ -ENOENT, "this node holds no copy of it" } };
	struct control_request *request = arg;
	for (size_t i = 0; i < array_length(refusals); i++)
		if (refusals[i].status == status) {
			control_reply_error(request, "%s", refusals[i].text);
			return;
		}
	control_reply(request, STR("{\"opens\": true}"));
}

static void answer_open_alone(const struct node_control *node, struct control_request *request,
	const struct str *arguments)
{
	uint64_t id;
	if (!str_to_u64(arguments[0], UINT32_MAX, &id))
		control_reply_error(request, "usage: open-alone ID");
	else if (volumes_open_alone(node->volumes, (uint32_t)id, on_opened_alone, request) < 0)
		on_opened_alone(request, -ENOENT);
}

static const struct {
	const char *verb;
	size_t argument_count;
	void (*answer)(const struct node_control *node, struct control_request *request,
		const struct str *arguments);
} verbs[] = {
	{ "status", 0, answer_status },
	{ "at-risk", 0, answer_at_risk },
	{ "above", 1, answer_above },
	{ "others", 0, answer_others },
	{ "salvage", 0, answer_salvage },
	{ "scrub", 0, answer_scrub },
	{ "scrub-now", 1, answer_scrub_now },
	{ "kept", 0, answer_kept },
	{ "salvage-retry", 1, answer_salvage_retry },
	{ "salvage-discard", 1, answer_salvage_discard },
	{ "made-for", 1, answer_made_for },
	{ "expunged", 3, answer_expunged },
	{ "recover", 4, answer_recover },
	{ "fence", 1, answer_fence },
	{ "hold", 1, answer_hold },
	{ "unhold", 1, answer_unhold },
	{ "confirm", 1, answer_confirm },
	{ "open-alone", 1, answer_open_alone },
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
