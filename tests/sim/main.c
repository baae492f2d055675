/*
 * simulation [--seed N | --seeds COUNT --first N] [--seconds S] [--disk-loss] [--directory-loss]
 * [--rot] [--verbose]: runs a cluster through whatever may befall it, then checks the promises. A
 * failing seed is printed and replays exactly. Each of several has a process of its own: a machine
 * that dies in the simulation frees nothing, and one seed that crashes is one that has failed.
 */

#include "core/check.h"
#include "core/log.h"
#include "sim/cluster.h"
#include "sim/faults.h"
#include "sim/routers.h"
#include "sim/tally.h"
#include "sim/user.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	STEP_US = 50000,
	/* Of so many steps one mends something: a machine is down for seconds. */
	EASE_PACE = 3,
	/* In which every INBOX is read: a hundred times what that takes. */
	READ_US = 20000000,
	FAILURES_SHOWN = 20,
};

/* They take turns. Lost disks and lost directories together only one after the other, as both at
 * once over one copy is what no rule can mend (faults.c, docs/guarantees.md). */
static const unsigned class_turns[] = { 0, FAULTS_DISK_LOSS, FAULTS_DIRECTORY_LOSS, FAULTS_ROT,
	FAULTS_DISK_LOSS | FAULTS_DIRECTORY_LOSS };

static bool run_seed(uint64_t seed, unsigned classes, uint64_t seconds)
{
	uint64_t turns = array_length(class_turns);
	faults_allow(classes | class_turns[seed % turns]);
	world_reset(seed);
	/* Every third turn has three copies. */
	cluster_start(seed / turns % 3 == 0 ? 3 : 2);
	faults_reset();
	world_run_until_us(world_now_us() + 1000000);
	cluster_start_load();
	uint64_t end = world_now_us() + seconds * 1000000;
	/* Some runs are mostly quiet, so that much is confirmed and then lost sight of; some are
	 * never. */
	uint64_t pace = 1ull << (1 + world_pick(6));
	while (world_now_us() < end) {
		world_run_until_us(world_now_us() + STEP_US);
		if (world_pick(pace) == 0)
			faults_strike();
		if (world_pick(EASE_PACE) == 0)
			faults_ease();
	}
	cluster_stop_load();
	faults_mend();
	check_read_indexes();
	users_read_all();
	world_run_until_us(world_now_us() + READ_US);
	bool good = check_all();
	good &= check_read();
	return routers_check() && good;
}

/* Deliveries that were answered with success, and of those the ones that may not be lost. */
static void count_answers(size_t *answered_out, size_t *safe_out)
{
	const struct history *history = cluster_history();
	*answered_out = *safe_out = 0;
	for (size_t i = 0; i < history->count; i++) {
		*answered_out += history->entries[i].answered_ok;
		*safe_out += history->entries[i].safe && !history->entries[i].excused;
	}
}

static bool run_and_tell(uint64_t seed, unsigned classes, uint64_t seconds)
{
	size_t answered, safe;
	bool good = run_seed(seed, classes, seconds);
	count_answers(&answered, &safe);
	tally_add_disk();
	printf("%s seed=%llu deliveries=%zu answered=%zu safe=%zu\n", good ? "ok  " : "FAIL",
		(unsigned long long)seed, cluster_history()->count, answered, safe);
	fflush(stdout);
	return good;
}

static bool run_apart(uint64_t seed, unsigned classes, uint64_t seconds)
{
	int status = 0;
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(run_and_tell(seed, classes, seconds) ? EXIT_SUCCESS : EXIT_FAILURE);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		printf("FAIL seed=%llu ended by signal %d\n", (unsigned long long)seed,
			WTERMSIG(status));
	fflush(stdout); /* the next process would print it again */
	return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
}

int main(int argument_count, char **arguments)
{
	uint64_t first = 1, count = 20, seconds = 20;
	unsigned passed = 0, failed = 0;
	bool verbose = false;
	unsigned classes = 0;
	for (int i = 1; i < argument_count; i++) {
		struct str name = str_from(arguments[i]);
		struct str value = i + 1 < argument_count ? str_from(arguments[i + 1]) : STR("");
		if (str_equal(name, STR("--verbose")))
			verbose = true;
		else if (str_equal(name, STR("--disk-loss")))
			classes |= FAULTS_DISK_LOSS;
		else if (str_equal(name, STR("--directory-loss")))
			classes |= FAULTS_DIRECTORY_LOSS;
		else if (str_equal(name, STR("--rot")))
			classes |= FAULTS_ROT;
		else if (str_equal(name, STR("--seed")) && str_to_u64(value, UINT64_MAX, &first))
			count = 1, i++;
		else if ((str_equal(name, STR("--seeds")) && str_to_u64(value, 1000000, &count)) ||
			(str_equal(name, STR("--seconds")) && str_to_u64(value, 3600, &seconds)) ||
			(str_equal(name, STR("--first")) && str_to_u64(value, UINT64_MAX, &first)))
			i++;
		else {
			fprintf(stderr,
				"usage: sim [--seed N | --first N --seeds COUNT] [--seconds S] "
				"[--verbose] [--disk-loss] [--directory-loss] [--rot]\n");
			return 2;
		}
	}
	log_setup("sim", verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR + 1);
	tally_init();
	static uint64_t failures[FAILURES_SHOWN];
	for (uint64_t seed = first; seed < first + count; seed++) {
		bool good = count > 1 ? run_apart(seed, classes, seconds)
				      : run_and_tell(seed, classes, seconds);
		if (!good && failed < FAILURES_SHOWN)
			failures[failed] = seed;
		passed += good;
		failed += !good;
	}
	tally_print();
	for (unsigned i = 0; i < failed && i < FAILURES_SHOWN; i++)
		printf("again: simulation --seed %llu --seconds %llu%s%s%s --verbose\n",
			(unsigned long long)failures[i], (unsigned long long)seconds,
			classes & FAULTS_DISK_LOSS ? " --disk-loss" : "",
			classes & FAULTS_DIRECTORY_LOSS ? " --directory-loss" : "",
			classes & FAULTS_ROT ? " --rot" : "");
	printf("%u passed, %u failed\n", passed, failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
