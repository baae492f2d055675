#include "core/control.h"

#include "core/encode.h"
#include "core/log.h"
#include "core/timer.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* A verb, and an id and an epoch of each of some thousand volumes: longer requests are no
	 * requests. */
	CONTROL_LINE_MAX = 65536,
	/* Far above what any verb takes. */
	CONTROL_ARGUMENTS_MAX = 16,
	/* A status of thousands of volumes or a list of ten thousands of messages. */
	CONTROL_ANSWER_MAX = 64 << 20,
};

/* ---- the daemon's side ---- */

struct control_server {
	struct listener *listener; /* NULL: streams are handed over */
	control_handler *handler;
	void *arg;
};

struct control_request {
	struct control_server *server;
	struct stream *stream; /* NULL once the asker has gone */
	bool asked;
};

static void on_request_open(void *arg)
{
	struct control_request *request = arg;
	const struct tls_peer *peer = stream_peer(request->stream);
	if (strcmp(peer->role, "ctl") == 0)
		return;
	log_warn("control_refused", "peer=%s name=%s role=%s", stream_peer_address(request->stream),
		log_quote(str_from(peer->name)), log_quote(str_from(peer->role)));
	stream_abort(request->stream);
	free(request);
}

static void on_request_input(void *arg, struct buf *input)
{
	struct control_request *request = arg;
	struct str text = buf_str(input);
	ptrdiff_t end = str_find_byte(text, '\n');
	struct str arguments[CONTROL_ARGUMENTS_MAX], rest, verb = { NULL, 0 };
	size_t count = 0;
	if (request->asked)
		return;
	if (end < 0 && text.length < CONTROL_LINE_MAX)
		return;
	request->asked = true;
	if (end < 0 || end > CONTROL_LINE_MAX) {
		control_reply_error(
			request, "the request line is longer than %d bytes", CONTROL_LINE_MAX);
		return;
	}
	rest = str_trim(str_first(text, (size_t)end));
	str_next(&rest, ' ', &verb);
	while (count < CONTROL_ARGUMENTS_MAX && str_next(&rest, ' ', &arguments[count]))
		count++;
	request->server->handler(request->server->arg, request, verb, arguments, count);
}

static void on_request_close(void *arg, int reason)
{
	struct control_request *request = arg;
	(void)reason;
	request->stream = NULL;
	if (!request->asked)
		free(request);
}

static const struct stream_handler request_handler = {
	.on_open = on_request_open,
	.on_input = on_request_input,
	.on_close = on_request_close,
};

static void on_control_accept(void *arg, struct stream *stream)
{
	struct control_request *request = mem_alloc(sizeof(*request));
	request->server = arg;
	request->stream = stream;
	stream_set_handler(stream, &request_handler, request);
}

void control_serve(struct control_server *server, struct stream *stream)
{
	on_control_accept(server, stream);
}

struct control_server *control_server_create(control_handler *handler, void *arg)
{
	struct control_server *server = mem_alloc(sizeof(*server));
	server->handler = handler;
	server->arg = arg;
	return server;
}

int control_server_open(struct loop *loop, const char *address, struct tls_context *tls,
	control_handler *handler, void *arg, struct control_server **server_out,
	struct error *error)
{
	struct control_server *server = control_server_create(handler, arg);
	int result = listener_open(
		loop, address, tls, on_control_accept, server, &server->listener, error);
	if (result < 0) {
		free(server);
		return result;
	}
	*server_out = server;
	return 0;
}

void control_server_close(struct control_server **server)
{
	if (*server == NULL)
		return;
	listener_close(&(*server)->listener);
	free(*server);
	*server = NULL;
}

void control_reply(struct control_request *request, struct str json)
{
	if (request->stream != NULL) {
		stream_write_str(request->stream, json);
		stream_write(request->stream, "\n", 1);
		stream_be_patient(request->stream); /* a long answer, and a slow line */
		stream_close(request->stream);
	}
	free(request);
}

void control_reply_error(struct control_request *request, const char *format, ...)
{
	struct buf sentence = { 0 }, json = { 0 };
	va_list arguments;
	va_start(arguments, format);
	buf_vprintf(&sentence, format, arguments);
	va_end(arguments);
	buf_append_literal(&json, "{\"error\": ");
	encode_json(&json, buf_str(&sentence));
	buf_append_literal(&json, "}");
	control_reply(request, buf_str(&json));
	buf_deinit(&sentence);
	buf_deinit(&json);
}

struct stream *control_take_stream(struct control_request *request)
{
	struct stream *stream = request->stream;
	free(request);
	return stream;
}

/* ---- the asking side ---- */

struct question {
	struct loop *loop;
	struct stream *stream;
	struct timer *timer;
	struct buf answer;
	char *request, *address;
	void (*done)(void *arg, struct str json, const struct error *error);
	void *arg;
};

static void finish_question(struct question *question, const struct error *error)
{
	question->done(
		question->arg, error ? STR("") : str_trim(buf_str(&question->answer)), error);
	timer_destroy(&question->timer);
	buf_deinit(&question->answer);
	free(question->request);
	free(question->address);
	free(question);
}

static void on_question_open(void *arg)
{
	struct question *question = arg;
	stream_printf(question->stream, "%s\n", question->request);
}

static void on_answer(void *arg, struct buf *input)
{
	struct question *question = arg;
	if (buf_length(&question->answer) + buf_length(input) > CONTROL_ANSWER_MAX) {
		struct error error;
		error_set(&error, -EMSGSIZE, "%s answers more than %d bytes", question->address,
			CONTROL_ANSWER_MAX);
		stream_abort(question->stream);
		finish_question(question, &error);
		return;
	}
	buf_append_str(&question->answer, buf_str(input));
	buf_consume(input, buf_length(input));
}

static void on_question_close(void *arg, int reason)
{
	struct question *question = arg;
	struct error error;
	if (buf_length(&question->answer) > 0 && reason == 0) {
		finish_question(question, NULL);
		return;
	}
	/* Its alert may be lost on the way: then all that is seen is the end. */
	bool is_hang_up = reason == 0 || reason == -ECONNRESET || reason == -EPIPE;
	const char *verdict = reason == -EPROTO ? stream_tls_description(question->stream) : "";
	if (verdict[0])
		error_set(&error, reason, "the certificate of %s is not to be trusted: %s",
			question->address, verdict);
	else
		error_set(&error, reason ? reason : -ECONNRESET, "%s does not answer: %s",
			question->address,
			reason == -EPROTO
				? "it refuses our certificate, or shows none of this cluster"
				: is_hang_up
				? "it hung up: is ours a ctl certificate of its cluster?"
				: strerror(-reason));
	finish_question(question, &error);
}

static void on_question_timeout(void *arg)
{
	struct question *question = arg;
	struct error error;
	stream_abort(question->stream);
	error_set(&error, -ETIMEDOUT, "%s does not answer in time", question->address);
	finish_question(question, &error);
}

static const struct stream_handler question_handler = {
	.on_open = on_question_open,
	.on_input = on_answer,
	.on_close = on_question_close,
};

void control_ask(struct loop *loop, const char *address, struct tls_context *tls,
	const char *request, unsigned timeout_ms,
	void (*done)(void *arg, struct str json, const struct error *error), void *arg)
{
	struct question *question = mem_alloc(sizeof(*question));
	question->loop = loop;
	question->request = str_to_heap(str_from(request));
	question->address = str_to_heap(str_from(address));
	question->done = done;
	question->arg = arg;
	question->timer = timer_new(loop, on_question_timeout, question);
	timer_start(question->timer, timeout_ms);
	question->stream =
		stream_connect(loop, address, tls, NULL, timeout_ms, &question_handler, question);
}
