#include "core/clock.h"
#include "core/encode.h"
#include "ctl/backup/living_internal.h"

#include <errno.h>
#include <stdlib.h>

/* The way to a mailbox, the login, and how a command is answered. */

enum {
	/* A greeting, an answer, what stands around a literal: routers and nodes say less. */
	LINE_BYTES_MAX = 64 << 10,
	/* As much as fits in a segment of a log: no message is longer. */
	LITERAL_BYTES_MAX = 64 << 20,
};

struct living_way {
	struct loop *loop;
	struct tls_context *tls;
	const char **routers, **router_names; /* in `pool` */
	unsigned router_count;
	struct pool *pool;
	/* living_way_watch */
	void (*on_slow)(void *arg);
	void *slow_arg;
	struct timer *slow;
	uint64_t end_us;
	const char *router_away;
};

/* ---- one answer ---- */

static uint64_t step_ms(const struct living *living)
{
	uint64_t end_us = living->way->end_us, now_us = clock_mono_us();
	if (living->is_logged_in)
		return LIVING_STEP_MS;
	uint64_t left_ms = end_us == 0 ? LIVING_LOGIN_MS
		: end_us > now_us      ? (end_us - now_us) / 1000 + 1
				       : 1;
	return left_ms < LIVING_LOGIN_MS ? left_ms : LIVING_LOGIN_MS;
}

static void end_step(struct living *living, enum living_word word, struct str text)
{
	living->word = word;
	buf_clear(&living->text);
	buf_append_str(&living->text, text);
	timer_stop(living->timer);
	loop_stop(living->way->loop);
}

static void give_up(struct living *living, const char *why)
{
	if (living->stream != NULL)
		stream_abort(living->stream);
	living->stream = NULL;
	end_step(living, WORD_GONE, str_from(why));
}

/* A whole response. */
static void take_response(struct living *living)
{
	static const struct {
		const char *word;
		enum living_word means;
	} answers[] = { { "S OK ", WORD_OK }, { "S NO ", WORD_NO }, { "S BAD ", WORD_BAD } };
	struct str line = str_trim(buf_str(&living->line));
	if (!living->is_greeted) {
		living->is_greeted = str_starts_with(line, STR("* OK"));
		living->way->router_away = living->is_greeted ? NULL : living->way->router_away;
		if (living->is_greeted)
			end_step(living, WORD_OK, line);
		else
			give_up(living, "the router does not greet");
		return;
	}
	if (str_starts_with(line, STR("* BYE"))) {
		give_up(living, "the home has ended the session");
		return;
	}
	for (size_t i = 0; i < array_length(answers); i++) {
		struct str word = str_from(answers[i].word);
		if (str_starts_with(line, word)) {
			end_step(living, answers[i].means, str_from_index(line, word.length));
			return;
		}
	}
	if (living->on_untagged != NULL && str_starts_with(line, STR("* ")))
		living->on_untagged(
			living->arg, str_from_index(line, 2), buf_str(&living->literal));
}

/* Whether the line so far ends with a literal's length. */
static bool ends_in_literal(struct str line, uint64_t *length_out)
{
	ptrdiff_t open = str_find_last_byte(line, '{');
	return open >= 0 && str_ends_with(line, STR("}")) &&
		str_to_u64(str_of(line.bytes + open + 1, line.length - (size_t)open - 2),
			UINT64_MAX, length_out);
}

/* The next piece of a response out of the input; false: more has to come first, or it is over. */
static bool take_some(struct living *living, struct buf *input)
{
	struct str bytes = buf_str(input);
	uint64_t length = 0;
	if (living->literal_left > 0) {
		struct str part = str_first(bytes, living->literal_left);
		buf_append_str(&living->literal, part);
		buf_consume(input, part.length);
		living->literal_left -= part.length;
		return living->literal_left == 0;
	}
	ptrdiff_t end = str_find_byte(bytes, '\n');
	if (end < 0 ? bytes.length > LINE_BYTES_MAX
		    : buf_length(&living->line) + (size_t)end > LINE_BYTES_MAX) {
		give_up(living, "the router says too much");
		return false;
	}
	if (end < 0)
		return false;
	buf_append_str(&living->line, str_trim(str_first(bytes, (size_t)end)));
	buf_consume(input, (size_t)end + 1);
	if (!ends_in_literal(buf_str(&living->line), &length)) {
		take_response(living);
		buf_clear(&living->line);
		buf_clear(&living->literal);
	} else if (length > LITERAL_BYTES_MAX) {
		give_up(living, "the home says that a message is longer than any can be");
	} else {
		buf_clear(&living->literal);
		living->literal_left = (size_t)length;
	}
	return living->stream != NULL;
}

static void living_on_input(void *arg, struct buf *input)
{
	struct living *living = arg;
	if (timer_is_running(living->timer))
		timer_start(living->timer, step_ms(living));
	while (buf_length(input) > 0 && take_some(living, input))
		;
}

static void living_on_open(void *arg)
{
	struct living *living = arg;
	if (strcmp(stream_peer(living->stream)->role, "router") != 0)
		give_up(living, "who answers is no router of this cluster");
}

static void living_on_close(void *arg, int reason)
{
	struct living *living = arg;
	(void)reason;
	living->stream = NULL;
	give_up(living,
		living->is_greeted ? "the connection to the router was lost"
				   : "the router cannot be reached");
}

static void on_timeout(void *arg)
{
	give_up(arg, "no answer in time");
}

static const struct stream_handler stream_handler = {
	.on_open = living_on_open,
	.on_input = living_on_input,
	.on_close = living_on_close,
};

int living_await(struct living *living, struct error *error)
{
	if (living->stream != NULL) {
		living->word = WORD_NONE;
		timer_start(living->timer, step_ms(living));
		while (living->word == WORD_NONE)
			loop_run(living->way->loop);
	}
	return living->word == WORD_GONE
		? error_set(error, -ECONNRESET, "%s", buf_terminated(&living->text))
		: 0;
}

int living_ask(struct living *living, struct buf *command, struct error *error)
{
	buf_append_literal(command, "\r\n");
	if (living->stream != NULL)
		stream_write_str(living->stream, buf_str(command));
	buf_deinit(command);
	return living_await(living, error);
}

int living_ask_for(struct living *living, struct buf *command,
	void (*on_untagged)(void *arg, struct str line, struct str literal), void *arg,
	struct error *error)
{
	living->on_untagged = on_untagged;
	living->arg = arg;
	int result = living_ask(living, command, error);
	living->on_untagged = NULL;
	return result;
}

bool living_has_code(const struct living *living, const char *code)
{
	return str_starts_with(buf_str(&living->text), str_from(code));
}

int living_refused(struct living *living, const char *what, struct error *error)
{
	bool is_for_now = living_has_code(living, "[UNAVAILABLE]");
	error_set(error, -EIO, "%s: %s", what, buf_terminated(&living->text));
	if (is_for_now)
		give_up(living, error->text);
	return is_for_now ? -ECONNRESET : -EIO;
}

/* ---- the way ---- */

static void add_router(struct living_way *way, const struct directory_router *router)
{
	struct str name = pool_printf(way->pool, "%s at %s", router->name, router->queue);
	way->routers[way->router_count] = pool_copy_terminated(way->pool, str_from(router->queue));
	way->router_names[way->router_count++] = pool_copy_terminated(way->pool, name);
}

static int find_routers(struct living_way *way, const struct config *config,
	const struct directory *directory, struct error *error)
{
	const struct directory_router *router;
	unsigned count = 0;
	for (size_t at = 0; (router = directory_next_router(directory, &at)) != NULL;)
		count++;
	way->routers = pool_alloc(way->pool, (count + 1) * sizeof(*way->routers));
	way->router_names = pool_alloc(way->pool, (count + 1) * sizeof(*way->router_names));
	for (int pass = 0; pass < 2; pass++)
		for (size_t at = 0; (router = directory_next_router(directory, &at)) != NULL;) {
			const struct directory_site *site =
				directory_find_site(directory, router->site_id);
			bool is_own = site != NULL && strcmp(site->name, config->site) == 0;
			if (is_own == (pass == 0) && router->queue[0] != '\0')
				add_router(way, router);
		}
	return way->router_count > 0
		? 0
		: error_set(error, -ENOENT,
			  "no router has an address for queue copies, by which "
			  "`pando` reaches mailboxes: `pando router list`");
}

static void living_on_slow(void *arg)
{
	struct living_way *way = arg;
	if (way->on_slow)
		way->on_slow(way->slow_arg);
}

void living_way_watch(
	struct living_way *way, void (*on_slow)(void *arg), void *arg, uint64_t end_us)
{
	way->on_slow = on_slow;
	way->slow_arg = arg;
	way->end_us = end_us;
}

const char *living_way_router_away(const struct living_way *way)
{
	return way->router_away;
}

int living_way_open(const struct config *config, const struct directory *directory,
	struct living_way **way_out, struct error *error)
{
	struct tls_options options = {
		.certificate_file = config->ctl_certificate,
		.key_file = config->ctl_key,
		.ca_file = config->cluster_ca,
		.cluster = true,
	};
	struct living_way *way = mem_alloc(sizeof(*way));
	*way = (struct living_way){ .pool = pool_create() };
	int result = find_routers(way, config, directory, error);
	if (result == 0 &&
		(!config->ctl_certificate[0] || !config->ctl_key[0] || !config->cluster_ca[0]))
		result = error_set(error, -EINVAL,
			"cluster_ca, ctl_certificate and ctl_key must be set to reach mailboxes: "
			"`pando cert issue --role ctl` makes a pair");
	if (result == 0)
		result = tls_context_create(&options, &way->tls, error);
	if (result == 0) {
		way->loop = loop_create();
		way->slow = timer_new(way->loop, living_on_slow, way);
	} else {
		living_way_close(&way);
	}
	*way_out = way;
	return result;
}

void living_way_close(struct living_way **way)
{
	if (*way == NULL)
		return;
	if ((*way)->loop != NULL)
		timer_destroy(&(*way)->slow);
	loop_destroy(&(*way)->loop);
	tls_context_destroy(&(*way)->tls);
	pool_destroy(&(*way)->pool);
	free(*way);
	*way = NULL;
}

/* ---- the login ---- */

static int log_in(struct living *living, const uint8_t mark[MAILBOX_MARK_LENGTH],
	const char *address, struct error *error)
{
	struct buf identity = { 0 }, command = { 0 };
	encode_hex(&identity, mark, MAILBOX_MARK_LENGTH);
	buf_printf(&identity, " %s", address);
	buf_append_literal(&command, "S AUTHENTICATE XPANDO-SALVAGE ");
	encode_base64(&command, buf_str(&identity));
	buf_deinit(&identity);
	int result = living_ask(living, &command, error);
	if (result < 0 || living->word == WORD_OK)
		return result;
	if (living_has_code(living, "[AUTHENTICATIONFAILED]"))
		return error_set(error, -EACCES,
			"the cluster has no mailbox %s with the mark that the directory says",
			address);
	return living_refused(living, address, error);
}

static struct living *connect_to(struct living_way *way, const char *router)
{
	struct living *living = mem_alloc(sizeof(*living));
	*living = (struct living){ .way = way };
	living->timer = timer_new(way->loop, on_timeout, living);
	living->stream = stream_connect(
		way->loop, router, way->tls, NULL, LIVING_STEP_MS, &stream_handler, living);
	return living;
}

int living_open(struct living_way *way, const uint8_t mark[MAILBOX_MARK_LENGTH],
	const char *address, struct living **living_out, struct error *error)
{
	int result = -ECONNRESET;
	bool has_greeted = false;
	*living_out = NULL;
	timer_start(way->slow, LIVING_SLOW_MS);
	for (unsigned i = 0; i < way->router_count && result == -ECONNRESET; i++) {
		living_close(living_out);
		way->router_away = has_greeted ? NULL : way->router_names[i];
		*living_out = connect_to(way, way->routers[i]);
		result = living_await(*living_out, error);
		has_greeted |= (*living_out)->is_greeted;
		if (result == 0)
			result = log_in(*living_out, mark, address, error);
	}
	timer_stop(way->slow);
	if (result < 0)
		living_close(living_out);
	else
		(*living_out)->is_logged_in = true;
	return result;
}

void living_close(struct living **living)
{
	struct living *gone = *living;
	*living = NULL;
	if (gone == NULL)
		return;
	/* Nothing is on its way: each step has waited for its answer. */
	if (gone->stream != NULL)
		stream_abort(gone->stream);
	timer_destroy(&gone->timer);
	buf_deinit(&gone->text);
	buf_deinit(&gone->line);
	buf_deinit(&gone->literal);
	free(gone);
}
