#include "ctl/filling.h"

#include "core/clock.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_LENGTH = 30 };

static volatile sig_atomic_t was_interrupted;

static void on_interrupt(int number)
{
	(void)number;
	was_interrupted = 1;
}

void filling_start(struct filling *filling, bool is_json)
{
	*filling = (struct filling){ .begun_us = clock_mono_us(),
		.shows_bar = !is_json && isatty(STDERR_FILENO) };
}

void filling_begin(struct filling *filling, bool is_json)
{
	struct sigaction action = { .sa_handler = on_interrupt };
	filling_start(filling, is_json);
	sigaction(SIGINT, &action, NULL);
}

bool filling_is_interrupted(void)
{
	return was_interrupted != 0;
}

uint64_t filling_ms(const struct filling *filling)
{
	return (clock_mono_us() - filling->begun_us) / 1000;
}

unsigned filling_percent(uint64_t has, uint64_t end)
{
	return end == 0 || has >= end ? 100 : (unsigned)(has * 100 / end);
}

void filling_note(struct filling *filling, uint64_t has, uint64_t end)
{
	uint64_t now = clock_mono_us();
	filling->has = has;
	filling->end = end;
	if (filling->last_us > 0 && now > filling->last_us && has >= filling->last_has) {
		double rate = (double)(has - filling->last_has) * 1e6 /
			(double)(now - filling->last_us);
		filling->bytes_per_s = filling->bytes_per_s > 0
			? filling->bytes_per_s * 0.7 + rate * 0.3
			: rate;
	}
	filling->last_us = now;
	filling->last_has = has;
}

void filling_draw(const struct filling *filling, const char *away)
{
	char bar[BAR_LENGTH + 1];
	unsigned percent = filling_percent(filling->has, filling->end);
	if (!filling->shows_bar)
		return;
	memset(bar, ' ', BAR_LENGTH);
	memset(bar, '#', percent * BAR_LENGTH / 100);
	bar[BAR_LENGTH] = '\0';
	fprintf(stderr, "\r[%s] %3u %%  %llu of %llu MiB", bar, percent,
		(unsigned long long)(filling->has >> 20),
		(unsigned long long)(filling->end >> 20));
	if (away)
		fprintf(stderr, "  %s is not connected       ", away);
	else if (filling->bytes_per_s > 1 && filling->end >= filling->has)
		fprintf(stderr, "  %.0f MB/s  %.0f s left      ", filling->bytes_per_s / 1e6,
			(double)(filling->end - filling->has) / filling->bytes_per_s);
	if (filling->what)
		fprintf(stderr, "  %s      ", filling->what);
	fflush(stderr);
}

void filling_end(const struct filling *filling)
{
	if (filling->shows_bar)
		fprintf(stderr, "\n");
}
