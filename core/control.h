#ifndef PANDO_CORE_CONTROL_H
#define PANDO_CORE_CONTROL_H

/*
 * How `pando` asks a daemon: over mutual TLS (role ctl), one request line `verb argument
 * argument\n`, one JSON document as the answer, then the daemon closes. An error is {"error":
 * "sentence"}.
 */

#include "core/net.h"

struct control_server;
struct control_request;

/* Arguments are separated by single spaces; `arguments` never holds NULL. Answer now or later,
 * exactly once, with control_reply, or take the stream over. */
typedef void control_handler(void *arg, struct control_request *request, struct str verb,
	const struct str *arguments, size_t argument_count);

int control_server_open(struct loop *loop, const char *address, struct tls_context *tls,
	control_handler *handler, void *arg, struct control_server **server_out,
	struct error *error) must_check;
/* One without an address: it answers on the streams that are handed to it. */
struct control_server *control_server_create(control_handler *handler, void *arg);
/* Takes a stream that was accepted elsewhere, under mutual TLS from somebody with the role ctl. */
void control_serve(struct control_server *server, struct stream *stream);
void control_server_close(struct control_server **server);

/* Takes the request; `json` is copied. */
void control_reply(struct control_request *request, struct str json);
void control_reply_error(struct control_request *request, const char *format, ...)
	printf_like(2, 3);
/* Instead of a reply, for what is no document: the request is gone, and its stream, which is open,
 * is the caller's, who sets a handler at once and closes it in the end. Its input begins with the
 * request line. NULL: whoever asked has gone. */
struct stream *control_take_stream(struct control_request *request) must_check;

/* The asking side. done gets the JSON text, or `error` set when the daemon did not
 * answer in time. */
void control_ask(struct loop *loop, const char *address, struct tls_context *tls,
	const char *request, unsigned timeout_ms,
	void (*done)(void *arg, struct str json, const struct error *error), void *arg);

#endif
