#include "ctl/ask.h"

#include "core/control.h"

#include <errno.h>
#include <stdlib.h>

struct asker {
	struct loop *loop;
	struct tls_context *tls;
	struct pool *pool;
	unsigned waiting;
};

int ask_tls(const struct config *config, struct tls_context **tls_out, struct error *error)
{
	struct tls_options options = {
		.certificate_file = config->ctl_certificate,
		.key_file = config->ctl_key,
		.ca_file = config->cluster_ca,
		.cluster = true,
	};
	if (!config->ctl_certificate[0] || !config->ctl_key[0] || !config->cluster_ca[0])
		return error_set(error, -EINVAL,
			"cluster_ca, ctl_certificate and ctl_key must be set to speak with the "
			"daemons: "
			"`pando cert issue --role ctl` makes a pair");
	return tls_context_create(&options, tls_out, error);
}

int asker_create(const struct config *config, struct asker **asker_out, struct error *error)
{
	struct tls_context *tls = NULL;
	int code = ask_tls(config, &tls, error);
	if (code < 0)
		return code;
	struct asker *asker = mem_alloc(sizeof(*asker));
	asker->loop = loop_create();
	asker->tls = tls;
	asker->pool = pool_create();
	*asker_out = asker;
	return 0;
}

void asker_destroy(struct asker **asker)
{
	if (!*asker)
		return;
	pool_destroy(&(*asker)->pool);
	loop_destroy(&(*asker)->loop);
	tls_context_destroy(&(*asker)->tls);
	free(*asker);
	*asker = NULL;
}

static void on_answer(void *arg, struct str json, const struct error *error)
{
	struct question *question = arg;
	struct asker *asker = question->asker;
	if (error) {
		question->error = *error;
	} else {
		question->answered = true;
		question->answer = json_parse(asker->pool, json);
		struct str refusal = json_text(question->answer, "error");
		if (!question->answer)
			error_set(&question->error, -EPROTO, "the answer is not understood");
		else if (refusal.length)
			error_set(&question->error, -EACCES, STR_FORMAT, STR_ARG(refusal));
		if (refusal.length)
			question->answer = NULL;
	}
	if (--asker->waiting == 0)
		loop_stop(asker->loop);
}

void ask_all(struct asker *asker, struct question *questions, unsigned count, unsigned timeout_ms)
{
	asker->waiting = 0;
	for (unsigned i = 0; i < count; i++) {
		questions[i].asker = asker;
		questions[i].answer = NULL;
		questions[i].answered = false;
		if (!questions[i].address[0])
			continue;
		asker->waiting++;
		control_ask(asker->loop, questions[i].address, asker->tls, questions[i].request,
			timeout_ms, on_answer, &questions[i]);
	}
	if (asker->waiting)
		loop_run(asker->loop);
}
