#ifndef PANDO_CTL_BACKUP_LIVING_INTERNAL_H
#define PANDO_CTL_BACKUP_LIVING_INTERNAL_H

/* Between living.c (the connection) and living_mail.c (what is asked). */

#include "core/net.h"
#include "core/timer.h"
#include "ctl/backup/living.h"

/* What the other side has said to a command, or that it is gone. */
enum living_word { WORD_NONE, WORD_OK, WORD_NO, WORD_BAD, WORD_GONE };

struct living {
	struct living_way *way;
	struct stream *stream; /* NULL: gone */
	struct timer *timer;
	bool is_greeted, is_logged_in;
	enum living_word word;
	struct buf text; /* behind the word; of a connection that is gone: why */
	/* One response: its lines without the literal, which is the last there is. */
	struct buf line, literal;
	size_t literal_left;
	void (*on_untagged)(void *arg, struct str line, struct str literal);
	void *arg;
};

/* Sends the command, which is freed, and waits; the answer is in word and text. -ECONNRESET. */
int living_ask(struct living *living, struct buf *command, struct error *error) must_check;
/* The same; `on_untagged` is shown what comes before the answer, without its "* ". */
int living_ask_for(struct living *living, struct buf *command,
	void (*on_untagged)(void *arg, struct str line, struct str literal), void *arg,
	struct error *error) must_check;
/* Waits for the answer to what was sent. */
int living_await(struct living *living, struct error *error) must_check;
/* The answer's text begins with it. */
bool living_has_code(const struct living *living, const char *code);
/* The home's own words, where nothing better can be said. What it says for now comes from who
 * cannot serve the mailbox just now, or not this session: as good as a connection that is gone. */
int living_refused(struct living *living, const char *what, struct error *error) must_check;

#endif
