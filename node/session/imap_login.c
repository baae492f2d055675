#include "node/session/imap_login.h"

#include "core/encode.h"
#include "core/log.h"
#include "core/rand.h"
#include "core/timer.h"
#include "node/session/imap_session.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	/* RFC 3501 lets a server be quicker before authentication; a router logs in at once, but
	 * keeps a few connections warm. */
	LOGIN_MS = 10 * 60 * 1000,
	/* Routers make no mistakes; what makes ten is none. */
	BAD_COMMANDS_MAX = 10,
};

/* What AUTHENTICATE names the mailbox by. */
enum login_mechanism {
	LOGIN_EXTERNAL, /* its address alone: routers of the version before */
	LOGIN_MARK,     /* mark and address */
	LOGIN_SALVAGE,  /* the same, and who comes */
};

static const struct {
	struct str name;
	enum login_mechanism mechanism;
} login_mechanisms[] = {
	{ { "EXTERNAL", 8 }, LOGIN_EXTERNAL },
	{ { "XPANDO-MARK", 11 }, LOGIN_MARK },
	{ { "XPANDO-SALVAGE", 14 }, LOGIN_SALVAGE },
};

struct imap_login {
	struct imap_front *front;
	struct stream *stream;
	struct timer *timer;
	struct imap_reader reader;
	struct imap_login_result *result;
	bool waits_for_response; /* AUTHENTICATE without an initial response */
	enum login_mechanism mechanism;
	unsigned bad_count;
};

enum login_step { LOGIN_GOES_ON, LOGIN_CLOSE, LOGIN_HANDED_OVER };

/* The stream is closed, gone or handed over. */
static void login_free(struct imap_login *login)
{
	timer_destroy(&login->timer);
	imap_reader_deinit(&login->reader);
	free(login->result);
	free(login);
}

static enum login_step say(struct imap_login *login, struct str tag, const char *reply)
{
	stream_printf(login->stream, STR_FORMAT " %s\r\n", STR_ARG(tag), reply);
	return LOGIN_GOES_ON;
}

/* ---- a volume that is not served here: the stream comes back detached ---- */

static void refused_input(void *arg, struct buf *input)
{
	(void)arg;
	buf_consume(input, buf_length(input));
}

static void refused_closed(void *arg, int reason)
{
	(void)arg;
	(void)reason;
}

static const struct stream_handler refused_handler = {
	.on_input = refused_input,
	.on_close = refused_closed,
};

/* What travels with the stream: the worker's session takes `result`. */
struct hand_over {
	struct imap_front *front;
	struct imap_login_result *result;
};

static void on_handed_over(struct volume *volume, struct stream *stream, void *arg)
{
	struct hand_over *hand_over = arg;
	struct imap_login_result *result = hand_over->result;

	if (volume) {
		imap_session_start(volume, stream, result);
	} else {
		stream_attach(stream, hand_over->front->loop, &refused_handler, NULL);
		stream_printf(stream, "%s NO [UNAVAILABLE] The mailbox is not served here now\r\n"
			"* BYE Try another server\r\n", result->tag);
		stream_close(stream);
		free(result);
	}
	free(hand_over);
}

/* ---- commands ---- */

/* "32*hex address": the mark of the mailbox that is meant stands in front. */
static bool take_mark(
	struct str identity, uint8_t mark_out[MAILBOX_MARK_LENGTH], struct str *address_out)
{
	size_t length = 2 * MAILBOX_MARK_LENGTH;

	if (identity.length <= length || identity.bytes[length] != ' ' ||
		!decode_hex(str_first(identity, length), mark_out, MAILBOX_MARK_LENGTH))
		return false;
	*address_out = str_from_index(identity, length + 1);
	return true;
}

/* XPANDO-SALVAGE names the mailbox by its mark too: what was cut off, or is in a backup, was of
 * this one, and not of another that has the address by now. It is let in where its owner is not.
 * Behind a NUL stands who comes, if it is no node. */
static const struct directory_mailbox *find_salvaged(
	const struct directory *directory, struct str identity, struct str *who_out)
{
	uint8_t mark[MAILBOX_MARK_LENGTH];
	struct str address;
	ptrdiff_t end = str_find_byte(identity, 0);
	*who_out = end < 0 ? STR("node") : str_from_index(identity, (size_t)end + 1);
	identity = end < 0 ? identity : str_first(identity, (size_t)end);
	if (!take_mark(identity, mark, &address))
		return NULL;
	const struct directory_mailbox *mailbox = directory_find_login(directory, address);
	return mailbox && memcmp(mailbox->mark, mark, sizeof(mark)) == 0 ? mailbox : NULL;
}

/* The authorization identity decides; RFC 4422 appendix A allows it to be any UTF-8 without NUL. */
static enum login_step authenticate(struct imap_login *login, struct str identity)
{
	struct imap_login_result *result = login->result;
	struct str tag = str_from(result->tag);
	const struct directory_mailbox *mailbox = NULL;
	bool is_salvage = login->mechanism == LOGIN_SALVAGE;
	bool is_text = identity.length > 0 && str_find_byte(identity, 0) < 0;
	struct str who = STR(""), address;
	uint8_t mark[MAILBOX_MARK_LENGTH];

	if (is_salvage) {
		mailbox = find_salvaged(login->front->directory, identity, &who);
	} else if (is_text && login->mechanism == LOGIN_EXTERNAL) {
		mailbox = directory_find_login(login->front->directory, identity);
	} else if (is_text && take_mark(identity, mark, &address)) {
		mailbox = meant_find(login->front->meant, login->front->directory, address, mark,
			stream_peer(login->stream)->name);
		if (!mailbox)
			return say(login, tag,
				"NO [UNAVAILABLE] Servers do not agree yet whose mailbox this is, "
				"try again later");
	}
	if (!mailbox || (!mailbox->enabled && !is_salvage)) {
		log_info("imap_login_refused", "session=%s identity=%s peer=%s", result->session_id,
			log_quote(identity), stream_peer_address(login->stream));
		return say(login, tag, "NO [AUTHENTICATIONFAILED] No such mailbox");
	}
	if (is_salvage)
		log_info("salvage_login", "session=%s mailbox=" STR_FORMAT " who=%s",
			result->session_id, STR_ARG(mailbox->address), log_quote(who));
	result->config = login->front->config;
	result->who.id = mailbox->id;
	memcpy(result->who.mark, mailbox->mark, sizeof(result->who.mark));
	result->who.domain_id = mailbox->domain_id;
	result->access = directory_access(login->front->directory, mailbox->id);
	/* What was accepted once passes over the quota. */
	result->policy = (struct mailbox_policy){ mailbox->durability,
		is_salvage ? 0 : mailbox->quota_bytes };
	result->is_salvage = is_salvage;
	snprintf(result->address, sizeof(result->address), STR_FORMAT, STR_ARG(mailbox->address));
	result->who.address = str_from(result->address);

	struct hand_over *hand_over = mem_alloc(sizeof(*hand_over));
	*hand_over = (struct hand_over){ login->front, result };
	login->result = NULL;
	stream_detach(login->stream);
	volumes_hand_over(login->front->volumes, mailbox->volume_id, login->stream, on_handed_over,
		hand_over);
	return LOGIN_HANDED_OVER;
}

static enum login_step authenticate_response(struct imap_login *login, struct str response)
{
	struct buf identity = { 0 };
	struct str tag = str_from(login->result->tag);
	enum login_step step;

	login->waits_for_response = false;
	if (str_equal(response, STR("*")))
		step = say(login, tag, "BAD Authentication cancelled");
	else if (str_equal(response, STR("=")))
		step = authenticate(login, str_of("", 0));
	else if (!decode_base64(&identity, response))
		step = say(login, tag, "BAD Invalid base64");
	else
		step = authenticate(login, buf_str(&identity));
	buf_deinit(&identity);
	return step;
}

static enum login_step login_authenticate(struct imap_login *login, struct str tag,
	struct imap_parser *parser)
{
	struct str mechanism;
	if (!imap_space(parser) || !imap_atom(parser, &mechanism))
		return say(login, tag, "BAD Missing mechanism");
	size_t row = 0;
	while (row < array_length(login_mechanisms) &&
		!str_equal_ignore_case(mechanism, login_mechanisms[row].name))
		row++;
	if (row == array_length(login_mechanisms))
		return say(login, tag, "NO [CANNOT] Mechanism is not offered");
	login->mechanism = login_mechanisms[row].mechanism;
	snprintf(login->result->tag, sizeof(login->result->tag), STR_FORMAT, STR_ARG(tag));
	if (imap_try_byte(parser, ' '))
		return authenticate_response(login, str_from_index(parser->text, parser->at));
	login->waits_for_response = true;
	stream_write_str(login->stream, STR("+ \r\n"));
	return LOGIN_GOES_ON;
}

static enum login_step login_capability(struct imap_login *login, struct str tag,
	struct imap_parser *parser)
{
	(void)parser;
	stream_write_str(login->stream,
		STR("* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID AUTH=EXTERNAL AUTH=XPANDO-MARK "
		    "LOGINDISABLED\r\n"));
	return say(login, tag, "OK Done");
}

static enum login_step login_id(
	struct imap_login *login, struct str tag, struct imap_parser *parser)
{
	(void)parser;
	stream_write_str(login->stream, STR("* ID (\"name\" \"Pando\")\r\n"));
	return say(login, tag, "OK Done");
}

static enum login_step login_noop(
	struct imap_login *login, struct str tag, struct imap_parser *parser)
{
	(void)parser;
	return say(login, tag, "OK Done");
}

static enum login_step login_login(
	struct imap_login *login, struct str tag, struct imap_parser *parser)
{
	(void)parser;
	return say(login, tag, "NO [PRIVACYREQUIRED] Use AUTHENTICATE XPANDO-MARK");
}

static enum login_step login_logout(struct imap_login *login, struct str tag,
	struct imap_parser *parser)
{
	(void)parser;
	stream_write_str(login->stream, STR("* BYE Logging out\r\n"));
	say(login, tag, "OK Done");
	return LOGIN_CLOSE;
}

static const struct {
	const char *name;
	enum login_step (*run)(
		struct imap_login *login, struct str tag, struct imap_parser *parser);
} login_verbs[] = {
	{ "AUTHENTICATE", login_authenticate }, { "CAPABILITY", login_capability },
	{ "ID", login_id },                     { "NOOP", login_noop },
	{ "LOGIN", login_login },               { "LOGOUT", login_logout },
};

static enum login_step run_command(struct imap_login *login, struct str text)
{
	struct pool *pool = pool_create();
	struct imap_parser parser;
	struct str tag = STR("*"), name = { 0 };
	enum login_step step = LOGIN_GOES_ON;
	size_t row = array_length(login_verbs);

	imap_parser_init(&parser, text, pool);
	if (imap_tag(&parser, &tag) && imap_space(&parser) && imap_atom(&parser, &name))
		for (row = 0; row < array_length(login_verbs); row++)
			if (str_equal_ignore_case(name, str_from(login_verbs[row].name)))
				break;
	if (row < array_length(login_verbs)) {
		step = login_verbs[row].run(login, tag, &parser);
	} else if (++login->bad_count < BAD_COMMANDS_MAX) {
		say(login, tag.length ? tag : STR("*"),
			"BAD Unknown command, or not before authentication");
	} else {
		stream_write_str(login->stream, STR("* BYE Too many invalid commands\r\n"));
		step = LOGIN_CLOSE;
	}
	pool_destroy(&pool);
	return step;
}

static enum login_step run_input(struct imap_login *login, struct buf *input)
{
	enum imap_read read = imap_reader_feed(&login->reader, input);
	/* Nor is the end of an endless line waited for. */
	if (login->reader.is_too_long)
		read = IMAP_READ_TOO_LONG;
	switch (read) {
	case IMAP_READ_LITERAL:
		/* No command before authentication needs one. */
		stream_write_str(login->stream, STR("* BYE No literals before authentication\r\n"));
		return LOGIN_CLOSE;
	case IMAP_READ_TOO_LONG:
		stream_write_str(login->stream, STR("* BYE Command too long\r\n"));
		return LOGIN_CLOSE;
	case IMAP_READ_COMMAND: {
		struct buf text = login->reader.text;
		struct str line = imap_reader_text(&login->reader);
		login->reader.text = (struct buf){ 0 };
		enum login_step step = login->waits_for_response ?
			authenticate_response(login, line) : run_command(login, line);
		buf_deinit(&text);
		return step;
	}
	case IMAP_READ_MORE:
		break;
	}
	return LOGIN_GOES_ON;
}

static void on_input(void *arg, struct buf *input)
{
	struct imap_login *login = arg;
	enum login_step step = LOGIN_GOES_ON;

	timer_start(login->timer, LOGIN_MS);
	while (step == LOGIN_GOES_ON && buf_length(input))
		step = run_input(login, input);
	if (step == LOGIN_CLOSE)
		stream_close(login->stream);
	if (step != LOGIN_GOES_ON)
		login_free(login);
}

static void on_open(void *arg)
{
	struct imap_login *login = arg;
	const struct tls_peer *peer = stream_peer(login->stream);

	if (strcmp(peer->role, "router") != 0) {
		log_warn("imap_peer_refused", "session=%s peer=%s name=%s role=%s",
			login->result->session_id, stream_peer_address(login->stream),
			log_quote(str_from(peer->name)), log_quote(str_from(peer->role)));
		stream_write_str(login->stream, STR("* BYE This port is for routers\r\n"));
		stream_close(login->stream);
		login_free(login);
		return;
	}
	stream_write_str(login->stream,
		STR("* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID "
		    "AUTH=EXTERNAL AUTH=XPANDO-MARK LOGINDISABLED] Pando ready\r\n"));
}

static void on_close(void *arg, int reason)
{
	(void)reason;
	login_free(arg);
}

static void on_timeout(void *arg)
{
	struct imap_login *login = arg;
	stream_write_str(login->stream, STR("* BYE Too slow\r\n"));
	stream_close(login->stream);
	login_free(login);
}

static const struct stream_handler login_handler = {
	.on_open = on_open,
	.on_input = on_input,
	.on_close = on_close,
};

void imap_login_start(struct imap_front *front, struct stream *stream)
{
	struct imap_login *login = mem_alloc(sizeof(*login));
	uint64_t id = rand_u64();

	login->front = front;
	login->stream = stream;
	login->result = mem_alloc(sizeof(*login->result));
	snprintf(login->result->session_id, sizeof(login->result->session_id), "%016llx",
		(unsigned long long)id);
	login->timer = timer_new(front->loop, on_timeout, login);
	timer_start(login->timer, LOGIN_MS);
	stream_set_handler(stream, &login_handler, login);
}
