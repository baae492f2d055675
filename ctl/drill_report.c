/* What a drill tells: to people, to scripts, and to a file that is kept. */

#include "core/encode.h"
#include "ctl/backup/file.h"
#include "ctl/drill.h"
#include "proto/mail/legible.h"

#include <stdio.h>
#include <unistd.h>

static const char *const outcome_names[DRILL_OUTCOMES] = { [DRILL_EQUAL] = "equal",
	[DRILL_GONE] = "gone",
	[DRILL_REMOVED] = "mailbox_gone",
	[DRILL_LATE] = "expunged_meanwhile",
	[DRILL_LEFT_OUT] = "left_out",
	[DRILL_DIFFERS] = "differs",
	[DRILL_UNREACHED] = "not_asked",
	[DRILL_DAMAGED] = "damaged",
	[DRILL_FREED] = "freed" };

static bool is_problem(enum drill_outcome outcome)
{
	return outcome >= DRILL_DIFFERS;
}

void drill_note_problem(struct drill *drill, const struct drill_problem *problem)
{
	struct buf *json = &drill->problems_json, *text = &drill->problems;
	const char *kind = outcome_names[problem->outcome];
	if (!is_problem(problem->outcome))
		return;
	buf_printf(json, "%s\n {\"kind\": \"%s\", \"volume\": ", buf_length(json) ? "," : "", kind);
	encode_json(json, str_from(problem->volume));
	buf_append_literal(json, ", \"mailbox\": ");
	encode_json(json, problem->mailbox);
	if (problem->messages > 0) {
		buf_printf(json, ", \"folder\": null, \"uid\": null, \"messages\": %llu",
			(unsigned long long)problem->messages);
	} else {
		buf_append_literal(json, ", \"folder\": ");
		encode_json(json, problem->folder);
		buf_printf(json, ", \"uid\": %u", problem->uid);
	}
	buf_append_literal(json, ", \"why\": ");
	encode_json(json, str_from(problem->why));
	buf_append_byte(json, '}');
	buf_printf(text, "%s: mailbox ", kind);
	legible_append(text, problem->mailbox, false);
	if (problem->messages > 0) {
		buf_printf(text, ", %llu messages", (unsigned long long)problem->messages);
	} else {
		buf_append_literal(text, ", folder ");
		legible_append(text, problem->folder, false);
		buf_printf(text, ", UID %u", problem->uid);
	}
	buf_printf(text, ", volume %s: ", problem->volume);
	legible_append(text, str_from(problem->why), false);
	buf_append_byte(text, '\n');
}

/* ---- sums ---- */

struct sums {
	uint64_t counts[DRILL_OUTCOMES], messages, bytes, restore_us;
	unsigned failures, problems; /* volumes that could not be restored; that are not of all */
};

static struct sums sum_up(const struct drill *drill)
{
	struct sums sums = { 0 };
	for (unsigned i = 0; i < drill->restore.set->volume_count; i++) {
		const struct drill_volume *volume = &drill->volumes[i];
		for (unsigned outcome = 0; outcome < DRILL_OUTCOMES; outcome++)
			sums.counts[outcome] += volume->counts[outcome];
		sums.messages += volume->messages;
		sums.bytes += volume->volume->to;
		sums.restore_us += volume->unpack_us + volume->replay_us;
		sums.failures += volume->failure != NULL;
		sums.problems += volume->volume->problem[0] != '\0';
	}
	return sums;
}

static uint64_t count_bad(const struct sums *sums)
{
	uint64_t bad = 0;
	for (unsigned outcome = 0; outcome < DRILL_OUTCOMES; outcome++)
		bad += is_problem(outcome) ? sums->counts[outcome] : 0;
	return bad;
}

/* Where nothing at all could be compared, the cluster is another one, or has lost everything: that
 * nothing differs says nothing then. */
static bool has_none_equal(const struct sums *sums)
{
	return sums->messages > 0 && sums->counts[DRILL_EQUAL] == 0;
}

bool drill_is_good(const struct drill *drill)
{
	struct sums sums = sum_up(drill);
	return count_bad(&sums) == 0 && sums.failures == 0 && sums.problems == 0 &&
		!drill->directory_failure && !has_none_equal(&sums);
}

static double seconds(uint64_t us)
{
	return (double)us / 1e6;
}

/* ---- for people ---- */

static void append_count(struct buf *out, const char *what, uint64_t number)
{
	buf_printf(out, "  %-50s %llu\n", what, (unsigned long long)number);
}

static void append_counts(struct buf *out, const struct drill *drill, const struct sums *sums)
{
	uint64_t unread = sums->counts[DRILL_DAMAGED] + sums->counts[DRILL_FREED];
	uint64_t late = sums->counts[DRILL_LATE];
	append_count(out,
		sums->failures > 0 ? "messages in the volumes that can be restored"
				   : "messages in the backup",
		sums->messages);
	append_count(out, "read and whole", sums->messages - unread - late);
	append_count(
		out, "the same in the living cluster, byte by byte", sums->counts[DRILL_EQUAL]);
	append_count(out, "gone there since (expunged or moved)", sums->counts[DRILL_GONE]);
	append_count(out, "in mailboxes that are not there any more", sums->counts[DRILL_REMOVED]);
	if (late > 0)
		append_count(out, "expunged while the backup ran, and not in it", late);
	if (drill->percent < 100)
		append_count(out, "not compared, as they are not of the sample",
			sums->counts[DRILL_LEFT_OUT]);
	append_count(out, "another in the living cluster", sums->counts[DRILL_DIFFERS]);
	append_count(out, "unreadable in the backup", unread);
	if (sums->counts[DRILL_UNREACHED] > 0)
		append_count(out, "not compared, as the cluster could not be asked",
			sums->counts[DRILL_UNREACHED]);
}

static void append_volume(struct buf *out, const struct drill_volume *volume)
{
	const struct backup_volume *of = volume->volume;
	buf_printf(out, "volume %s: ", of->name);
	if (volume->failure) {
		buf_append_literal(out, "cannot be restored: ");
		legible_append(out, str_from(volume->failure), false);
		buf_append_byte(out, '\n');
		return;
	}
	buf_printf(out,
		"%llu %s of %llu %s, %.1f MiB of log; unpacked in %.1f s, replayed in "
		"%.1f s, read and compared in %.1f s\n",
		(unsigned long long)volume->messages,
		volume->messages == 1 ? "message" : "messages",
		(unsigned long long)volume->mailboxes,
		volume->mailboxes == 1 ? "mailbox" : "mailboxes", (double)of->to / (1 << 20),
		seconds(volume->unpack_us), seconds(volume->replay_us), seconds(volume->read_us));
	if (of->problem[0]) {
		buf_printf(out, "volume %s: the backup is not of all its mail: ", of->name);
		legible_append(out, str_from(of->problem), false);
		buf_append_byte(out, '\n');
	}
}

static void append_verdict(struct buf *out, const struct drill *drill, const struct sums *sums)
{
	uint64_t bad = count_bad(sums);
	if (drill_is_good(drill)) {
		buf_printf(out, "GOOD: all of the backup can be restored, and nothing%s differs\n",
			drill->percent < 100 ? " of the sample" : "");
		return;
	}
	buf_append_literal(out, "BAD:");
	if (drill->directory_failure)
		buf_append_literal(out, " the directory cannot be restored;");
	if (sums->failures > 0)
		buf_printf(out, " %u volumes cannot be restored;", sums->failures);
	if (sums->problems > 0)
		buf_printf(out, " of %u volumes the backup is not of all mail;", sums->problems);
	if (bad > 0)
		buf_printf(out, " %llu messages are not as they should be, see above;",
			(unsigned long long)bad);
	if (has_none_equal(sums))
		buf_append_literal(out,
			" none of its messages was found the same in the living cluster, which may "
			"be another one, or have lost its mail;");
	buf_truncate(out, buf_length(out) - 1);
	buf_append_byte(out, '\n');
}

static void append_text(struct buf *out, const struct drill *drill, const struct sums *sums)
{
	const struct restore *restore = &drill->restore;
	buf_printf(out, "drill of the set %s, the cluster's mail of %s\n", restore->set->name,
		restore_moment(restore));
	if (drill->directory_failure)
		buf_printf(out, "directory: cannot be restored: %s\n", drill->directory_failure);
	else
		buf_printf(out, "directory: %llu mailboxes\n",
			(unsigned long long)drill->known_mailboxes);
	for (unsigned i = 0; i < restore->set->volume_count; i++)
		append_volume(out, &drill->volumes[i]);
	append_counts(out, drill, sums);
	buf_append_str(out, buf_str(&drill->problems));
	buf_printf(out, "to unpack and replay %.1f MiB of log took %.1f s here\n",
		(double)sums->bytes / (1 << 20), seconds(sums->restore_us));
	append_verdict(out, drill, sums);
}

/* ---- for scripts ---- */

static void append_json_counts(struct buf *out, const uint64_t counts[DRILL_OUTCOMES])
{
	for (unsigned outcome = 0; outcome < DRILL_OUTCOMES; outcome++)
		buf_printf(out, ", \"%s\": %llu", outcome_names[outcome],
			(unsigned long long)counts[outcome]);
}

static void append_json_text(struct buf *out, const char *name, const char *text)
{
	buf_printf(out, ", \"%s\": ", name);
	if (text && text[0])
		encode_json(out, str_from(text));
	else
		buf_append_literal(out, "null");
}

static void append_json_volume(struct buf *out, const struct drill_volume *volume)
{
	buf_append_literal(out, "{\"volume\": ");
	encode_json(out, str_from(volume->volume->name));
	append_json_text(out, "failure", volume->failure);
	append_json_text(out, "problem", volume->volume->problem);
	buf_printf(out, ", \"log_bytes\": %llu, \"mailboxes\": %llu, \"messages\": %llu",
		(unsigned long long)volume->volume->to, (unsigned long long)volume->mailboxes,
		(unsigned long long)volume->messages);
	append_json_counts(out, volume->counts);
	buf_printf(out, ", \"unpack_s\": %.3f, \"replay_s\": %.3f, \"read_s\": %.3f}",
		seconds(volume->unpack_us), seconds(volume->replay_us), seconds(volume->read_us));
}

static void append_json(struct buf *out, const struct drill *drill, const struct sums *sums)
{
	const struct restore *restore = &drill->restore;
	buf_printf(out,
		"{\"set\": \"%s\", \"moment\": \"%s\", \"good\": %s, \"sample_percent\": %u",
		restore->set->name, restore_moment(restore),
		drill_is_good(drill) ? "true" : "false", drill->percent);
	append_json_text(out, "directory_failure", drill->directory_failure);
	buf_printf(out, ", \"directory_mailboxes\": %llu, \"messages\": %llu",
		(unsigned long long)drill->known_mailboxes, (unsigned long long)sums->messages);
	append_json_counts(out, sums->counts);
	buf_printf(out, ", \"log_bytes\": %llu, \"restore_s\": %.3f, \"volumes\": [",
		(unsigned long long)sums->bytes, seconds(sums->restore_us));
	for (unsigned i = 0; i < restore->set->volume_count; i++) {
		buf_append_str(out, i ? STR(",\n ") : STR("\n "));
		append_json_volume(out, &drill->volumes[i]);
	}
	buf_append_literal(out, "\n], \"problems\": [");
	buf_append_str(out, buf_str(&drill->problems_json));
	buf_append_literal(out, "\n]}\n");
}

/* ---- both ways out ---- */

static void note_report(struct drill *drill, const char *path)
{
	drill->report_path = path;
	scratch_take_along(drill->restore.scratch, path);
}

/* Before anything is unpacked: what cannot be written is said at once, and nothing that stands
 * there is replaced, be it a key. */
int drill_report_open(struct drill *drill, struct error *error)
{
	const char *path = command_option(drill->restore.command, "report");
	if (!path)
		return 0;
	int result = file_make(path, &drill->report, error);
	if (result == 0)
		note_report(drill, path);
	return result;
}

void drill_report_drop(struct drill *drill)
{
	if (!drill->report_path)
		return;
	(void)unlink(drill->report_path);
	(void)close(drill->report);
	note_report(drill, NULL);
}

static int write_report(struct drill *drill, struct str text, struct error *error)
{
	const char *path = drill->report_path;
	if (!path)
		return 0;
	int result = file_append(drill->report, path, text, error);
	if (result < 0)
		return result;
	note_report(drill, NULL);
	return file_finish(drill->report, path, error);
}

int drill_report(struct drill *drill)
{
	struct command *command = drill->restore.command;
	struct sums sums = sum_up(drill);
	struct error error = { 0 };
	struct buf out = { 0 };
	if (command_json(command))
		append_json(&out, drill, &sums);
	else
		append_text(&out, drill, &sums);
	fwrite(buf_str(&out).bytes, 1, buf_length(&out), stdout);
	int code = command_report(write_report(drill, buf_str(&out), &error), &error);
	buf_deinit(&out);
	return drill_is_good(drill) ? code : EXIT_FAILED;
}
