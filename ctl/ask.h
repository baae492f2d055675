#ifndef PANDO_CTL_ASK_H
#define PANDO_CTL_ASK_H

/* Questions to many daemons at once over their control ports. */

#include "core/config.h"
#include "core/tls.h"
#include "ctl/json.h"

struct question {
	char address[96];    /* "": nobody is asked */
	const char *request; /* the asker's: alive until ask_all returns */
	/* The answer: NULL with `error` set when the daemon refused, or did not answer in time. */
	struct json *answer;
	struct error error;
	bool answered; /* it spoke, even if to refuse */
	/* private */
	struct asker *asker;
};

struct asker;

/* For whoever speaks with daemons: the configuration's ctl certificate. */
int ask_tls(const struct config *config, struct tls_context **tls_out, struct error *error)
	must_check;

int asker_create(
	const struct config *config, struct asker **asker_out, struct error *error) must_check;
/* Answers live in the asker. Sets *asker to NULL; NULL is accepted. */
void asker_destroy(struct asker **asker);

/* Returns when all have answered or timed out. */
void ask_all(struct asker *asker, struct question *questions, unsigned count, unsigned timeout_ms);

#endif
