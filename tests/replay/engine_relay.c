/*
 * The router's client of the smart host. Names resolve to two addresses.
 *
 * connect: what becomes of messages is said there, a line for each recipient: address, code, reply
 * do send FROM TO[,TO...] [8bit] [utf8] [notify]: a message goes out, "." at the start of a line;
 *   8bit: in UTF-8
 * do cancel: the message that goes out is wanted no more
 */

#include "core/pool.h"
#include "replay/engine.h"
#include "router/relay.h"

#include <stdlib.h>

enum { RECIPIENTS_MAX = 5 };

struct played_answer {
	struct task task;
	void (*done)(void *arg, const struct dns_answer *answer);
	void *arg;
};

static struct config config;
static struct router router;
static struct stream *told;
static struct pool *pool;
static struct bytes *body, *body_8bit;
static struct queue_record record;
static struct relay_job job;
static struct forward_recipient results[RECIPIENTS_MAX];
static struct queue_recipient details[RECIPIENTS_MAX];
static const struct queue_recipient *detail_pointers[RECIPIENTS_MAX];

static void run_answer(void *arg)
{
	struct played_answer played = *(struct played_answer *)arg;
	struct dns_answer answer = { .count = 2, .addresses = { "192.0.2.8:25", "192.0.2.9:25" } };
	free(arg);
	played.done(played.arg, &answer);
}

void dns_resolve(struct dns *dns, const char *host_port,
	void (*done)(void *arg, const struct dns_answer *answer), void *arg)
{
	struct played_answer *played = mem_alloc(sizeof(*played));
	(void)dns, (void)host_port;
	played->done = done;
	played->arg = arg;
	played->task.run = run_answer;
	played->task.arg = played;
	loop_defer(world_loop(), &played->task);
}

static void start(struct str arguments)
{
	static char some_tls;
	(void)arguments;
	config.hostname = (char *)"mx.example.org";
	config.relay_host = (char *)"smart.example:25";
	router.loop = world_loop();
	router.config = &config;
	router.relay_tls = (struct tls_context *)(void *)&some_tls;
	body = bytes_create_copy(STR("Subject: x\r\n\r\n.dot\r\n"));
	body_8bit = bytes_create_copy(STR("Subject: x\r\n\r\n.d\xc3\xb6t\r\n"));
	pool = pool_create();
}

static struct stream *open_session(struct str arguments)
{
	(void)arguments;
	told = world_accept("");
	return told;
}

static void on_done(struct relay_job *ended)
{
	for (unsigned i = 0; i < ended->recipient_count; i++)
		stream_printf(told, "%s %u %s\r\n", ended->recipients[i].address,
			ended->recipients[i].code, ended->recipients[i].reply);
	stream_printf(told, "dsn %d\r\n", ended->carries_dsn);
}

static bool send_message(struct str text)
{
	struct str sender, recipients, recipient, flag;
	if (!str_next(&text, ' ', &sender) || !str_next(&text, ' ', &recipients))
		return false;
	record = (struct queue_record){ .sender = pool_copy_terminated(pool, sender),
		.envid = "e1", .ret = SMTP_RET_HDRS };
	job = (struct relay_job){ .router = &router, .record = &record, .body = body,
		.recipients = results, .details = detail_pointers, .done = on_done };
	memset(details, 0, sizeof(details));
	memset(results, 0, sizeof(results));
	while (str_next(&text, ' ', &flag)) {
		record.eight_bit |= str_equal(flag, STR("8bit"));
		record.utf8 |= str_equal(flag, STR("utf8"));
		if (str_equal(flag, STR("notify")))
			for (unsigned i = 0; i < RECIPIENTS_MAX; i++)
				details[i].notify = SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY;
	}
	if (record.eight_bit)
		job.body = body_8bit;
	while (job.recipient_count < RECIPIENTS_MAX && str_next(&recipients, ',', &recipient)) {
		results[job.recipient_count].address = pool_copy_terminated(pool, recipient);
		details[job.recipient_count].orcpt = "";
		detail_pointers[job.recipient_count] = &details[job.recipient_count];
		job.recipient_count++;
	}
	relay_send(&job);
	return true;
}

static bool command(struct str text)
{
	struct str verb;
	str_next(&text, ' ', &verb);
	if (str_equal(verb, STR("send")))
		return send_message(text);
	if (!str_equal(verb, STR("cancel")))
		return false;
	relay_cancel(&job);
	return true;
}

static void stop(void)
{
	relay_cancel(&job);
	bytes_unref(&body);
	bytes_unref(&body_8bit);
	pool_destroy(&pool);
}

const struct replay_engine engine_relay = { "relay", start, open_session, command, stop };
