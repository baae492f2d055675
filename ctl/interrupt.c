#include "ctl/interrupt.h"

#include "core/check.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>

static volatile sig_atomic_t noted;

static void on_signal(int number)
{
	noted = number;
}

void interrupt_begin(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction before;
	struct sigaction action = { .sa_handler = on_signal,
		.sa_flags = SA_RESTART | SA_RESETHAND };
	/* Whoever started it with one of them ignored, as nohup does, wants it to go on. */
	for (size_t i = 0; i < array_length(numbers); i++)
		if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(numbers[i], &action, NULL);
}

bool interrupt_is_noted(void)
{
	return noted != 0;
}

void interrupt_obey(void)
{
	if (noted == 0)
		return;
	fflush(stdout); /* what was said of it */
	signal(noted, SIG_DFL);
	raise(noted);
}
