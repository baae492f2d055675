#include "node/salvage/home.h"

#include "core/encode.h"
#include "core/timer.h"
#include "proto/mail/imap_write.h"

#include <stdlib.h>

enum {
	/* A greeting, an answer with capabilities: routers and nodes say less. */
	LINE_BYTES_MAX = 16 << 10,
};

struct home {
	struct stream *stream;
	struct timer *timer;
	unsigned step_ms;
	bool is_greeted;
	struct buf login; /* the command */
	const struct home_handler *handler;
	void *arg;
};

void home_close(struct home **home)
{
	struct home *gone = *home;
	*home = NULL;
	if (gone == NULL)
		return;
	if (gone->stream != NULL)
		stream_close(gone->stream);
	timer_destroy(&gone->timer);
	buf_deinit(&gone->login);
	free(gone);
}

static void fail(struct home *home, const char *why)
{
	const struct home_handler *handler = home->handler;
	void *arg = home->arg;
	home_close(&home);
	handler->on_gone(arg, why);
}

/* False: the home may be gone. */
static bool on_line(struct home *home, struct str line)
{
	static const struct {
		const char *word;
		enum home_answer answer;
	} answers[] = { { "S OK ", HOME_OK }, { "S NO ", HOME_NO }, { "S BAD ", HOME_BAD } };
	if (!home->is_greeted) {
		if (!str_starts_with(line, STR("* OK"))) {
			fail(home, "the router does not greet");
			return false;
		}
		home->is_greeted = true;
		stream_write_str(home->stream, buf_str(&home->login));
		return true;
	}
	if (str_starts_with(line, STR("* BYE"))) {
		fail(home, "the home has ended the session");
		return false;
	}
	for (size_t i = 0; i < array_length(answers); i++) {
		struct str word = str_from(answers[i].word);
		if (!str_starts_with(line, word))
			continue;
		timer_stop(home->timer);
		home->handler->on_answer(
			home->arg, answers[i].answer, str_from_index(line, word.length));
		return false;
	}
	if (home->handler->on_untagged != NULL && str_starts_with(line, STR("* ")))
		home->handler->on_untagged(home->arg, str_from_index(line, 2));
	return true;
}

static void on_input(void *arg, struct buf *input)
{
	struct home *home = arg;
	for (;;) {
		struct str bytes = buf_str(input);
		ptrdiff_t end = str_find_byte(bytes, '\n');
		if (end < 0 && bytes.length > LINE_BYTES_MAX) {
			fail(home, "the router says too much");
			return;
		}
		if (end < 0)
			return;
		/* The bytes stay in place until more is read. One answer ends the turn: nothing
		 * else is asked for before. */
		buf_consume(input, (size_t)end + 1);
		if (!on_line(home, str_trim(str_first(bytes, (size_t)end))))
			return;
	}
}

static void on_open(void *arg)
{
	struct home *home = arg;
	if (strcmp(stream_peer(home->stream)->role, "router") != 0)
		fail(home, "who answers is no router of this cluster");
}

static void on_close(void *arg, int reason)
{
	struct home *home = arg;
	(void)reason;
	home->stream = NULL;
	fail(home,
		home->is_greeted ? "the connection to the router was lost"
				 : "the router cannot be reached");
}

static void on_timeout(void *arg)
{
	fail(arg, "no answer in time");
}

static const struct stream_handler stream_handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_close = on_close,
};

struct home *home_open(struct loop *loop, struct tls_context *tls, const char *router,
	const uint8_t mark[CHANGE_MARK_LENGTH], struct str address, unsigned step_ms,
	const struct home_handler *handler, void *arg)
{
	struct home *home = mem_alloc(sizeof(*home));
	struct buf identity = { 0 };
	*home = (struct home){ .step_ms = step_ms, .handler = handler, .arg = arg };
	encode_hex(&identity, mark, CHANGE_MARK_LENGTH);
	buf_append_byte(&identity, ' ');
	buf_append_str(&identity, address);
	buf_append_literal(&home->login, "S AUTHENTICATE XPANDO-SALVAGE ");
	encode_base64(&home->login, buf_str(&identity));
	buf_append_literal(&home->login, "\r\n");
	buf_deinit(&identity);
	home->timer = timer_new(loop, on_timeout, home);
	timer_start(home->timer, step_ms);
	home->stream = stream_connect(loop, router, tls, NULL, step_ms, &stream_handler, home);
	return home;
}

static void send(struct home *home, struct buf *command)
{
	buf_append_literal(command, "\r\n");
	timer_start(home->timer, home->step_ms);
	stream_write_str(home->stream, buf_str(command));
	buf_deinit(command);
}

static void send_about(struct home *home, const char *words, struct str folder, const char *behind)
{
	struct buf command = { 0 };
	buf_printf(&command, "S %s ", words);
	imap_write_mailbox(&command, folder);
	buf_append_str(&command, str_from(behind));
	send(home, &command);
}

void home_create_folder(struct home *home, struct str folder)
{
	send_about(home, "CREATE", folder, "");
}

void home_ask_uidvalidity(struct home *home, struct str folder)
{
	send_about(home, "STATUS", folder, " (UIDVALIDITY)");
}

void home_rename_folder(struct home *home, struct str from, struct str to)
{
	struct buf command = { 0 };
	buf_append_literal(&command, "S RENAME ");
	imap_write_mailbox(&command, from);
	buf_append_byte(&command, ' ');
	imap_write_mailbox(&command, to);
	send(home, &command);
}

void home_subscribe(struct home *home, struct str folder, bool subscribed)
{
	send_about(home, subscribed ? "SUBSCRIBE" : "UNSUBSCRIBE", folder, "");
}

void home_select(struct home *home, struct str folder)
{
	send_about(home, "SELECT", folder, "");
}

void home_fetch_flags(struct home *home, struct str uids)
{
	struct buf command = { 0 };
	buf_printf(&command, "S UID FETCH " STR_FORMAT " (FLAGS MODSEQ)", STR_ARG(uids));
	send(home, &command);
}

static const struct {
	uint64_t flag;
	const char *name;
} names[] = { { MESSAGE_SEEN, "\\Seen" }, { MESSAGE_ANSWERED, "\\Answered" },
	{ MESSAGE_FLAGGED, "\\Flagged" }, { MESSAGE_DELETED, "\\Deleted" },
	{ MESSAGE_DRAFT, "\\Draft" } };

uint64_t home_system_flag(struct str name)
{
	for (size_t i = 0; i < array_length(names); i++)
		if (str_equal_ignore_case(name, str_from(names[i].name)))
			return names[i].flag;
	return 0;
}

static void write_flags(struct buf *out, const struct tail_flags *flags)
{
	const char *space = "";
	buf_append_byte(out, '(');
	for (size_t i = 0; i < array_length(names); i++)
		if (flags->system & names[i].flag) {
			buf_printf(out, "%s%s", space, names[i].name);
			space = " ";
		}
	for (unsigned i = 0; i < flags->keyword_count; i++) {
		buf_printf(out, "%s" STR_FORMAT, space, STR_ARG(flags->keywords[i]));
		space = " ";
	}
	buf_append_byte(out, ')');
}

void home_store_flags(struct home *home, struct str uids, uint64_t unchanged_since, bool is_added,
	const struct tail_flags *flags)
{
	struct buf command = { 0 };
	buf_printf(&command, "S UID STORE " STR_FORMAT " (UNCHANGEDSINCE %llu) %sFLAGS.SILENT ",
		STR_ARG(uids), (unsigned long long)unchanged_since, is_added ? "+" : "");
	write_flags(&command, flags);
	send(home, &command);
}

void home_move(struct home *home, struct str uids, struct str folder)
{
	struct buf command = { 0 };
	buf_printf(&command, "S UID MOVE " STR_FORMAT " ", STR_ARG(uids));
	imap_write_mailbox(&command, folder);
	send(home, &command);
}

void home_expunge(struct home *home, struct str uids)
{
	struct buf command = { 0 };
	buf_printf(&command, "S UID EXPUNGE " STR_FORMAT, STR_ARG(uids));
	send(home, &command);
}

void home_append(struct home *home, struct str folder, const struct tail_message *message,
	struct bytes *body)
{
	struct buf command = { 0 };
	buf_append_literal(&command, "S APPEND ");
	imap_write_mailbox(&command, folder);
	buf_append_byte(&command, ' ');
	write_flags(&command, &message->flags);
	buf_append_byte(&command, ' ');
	imap_write_date_time(&command, message->internal_date_s);
	buf_append_literal(&command, " XPANDOID ");
	encode_hex(&command, message->delivery_id, sizeof(message->delivery_id));
	buf_printf(&command, " {%zu+}\r\n", body->length);
	timer_start(home->timer, home->step_ms);
	stream_write_str(home->stream, buf_str(&command));
	stream_write_bytes(home->stream, body, 0, body->length);
	stream_write_str(home->stream, STR("\r\n"));
	buf_deinit(&command);
}
