#include "core/clock.h"
#include "core/encode.h"
#include "ctl/backup/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* Between two looks of whoever waits. */
enum { DRAW_US = 200000 };

void verify_fault(struct verify *verify, const char *set, const char *file, const char *format, ...)
{
	struct buf text = { 0 }, place = { 0 };
	va_list arguments;
	va_start(arguments, format);
	buf_vprintf(&text, format, arguments);
	va_end(arguments);
	table_add(&verify->faults, set);
	table_add(&verify->faults, file);
	table_add_str(&verify->faults, buf_str(&text));
	/* Below the bar, not in it. */
	if (verify->drawn_us > 0)
		filling_end(&verify->filling);
	/* Who could not read it has named its path. */
	buf_printf(&place, "%s%s%s", set, file[0] ? "/" : "", file);
	bool is_named = str_find(buf_str(&text), buf_str(&place)) >= 0;
	if (!command_json(verify->command))
		command_complain("%s%s%s", is_named ? "" : buf_terminated(&place),
			is_named ? "" : ": ", buf_terminated(&text));
	buf_deinit(&place);
	buf_deinit(&text);
}

static void draw(struct verify *verify, uint64_t now_us)
{
	filling_note(&verify->filling, verify->filling.has, verify->filling.end);
	filling_draw(&verify->filling, NULL);
	verify->drawn_us = now_us;
}

bool verify_go_on(struct verify *verify, uint64_t bytes)
{
	uint64_t now_us = clock_mono_us();
	verify->filling.has += bytes;
	if (now_us - verify->drawn_us >= DRAW_US)
		draw(verify, now_us);
	return !filling_is_interrupted();
}

static void run_pass(struct verify *verify, void (*pass)(struct verify *verify))
{
	if (filling_is_interrupted())
		return;
	filling_begin(&verify->filling, command_json(verify->command));
	verify->drawn_us = 0;
	pass(verify);
	if (verify->drawn_us > 0) {
		draw(verify, clock_mono_us());
		filling_end(&verify->filling);
	}
	verify->drawn_us = 0;
}

/* All, with those that do not count; what was never finished is no fault. */
static void choose_all(struct verify *verify)
{
	verify->chosen = verify->sets.sets;
	verify->chosen_count = verify->sets.count;
	for (unsigned i = 0; i < verify->sets.broken_count; i++) {
		const struct backup_broken *broken = &verify->sets.broken[i];
		if (broken->is_unfinished)
			command_complain("%s", broken->why);
		else
			verify_fault(verify, broken->name, "", "%s", broken->why);
	}
}

/* -ENOENT, -EUCLEAN: as backup_sets_chain. */
static int choose(struct verify *verify, struct error *error)
{
	const char *name = command_option(verify->command, "set");
	if (name)
		return backup_sets_chain(&verify->sets, name, verify->pool, &verify->chosen,
			&verify->chosen_count, error);
	choose_all(verify);
	if (verify->chosen_count == 0 && table_rows(&verify->faults) == 0)
		return error_set(error, -ENOENT, "%s holds no finished set",
			command_option(verify->command, "from"));
	return 0;
}

static void say_json(const struct verify *verify)
{
	struct buf out = { 0 };
	buf_printf(&out, "{\"sets\": %u, \"files\": %llu, \"bytes\": %llu, ", verify->chosen_count,
		(unsigned long long)verify->files, (unsigned long long)verify->bytes);
	if (verify->secret)
		buf_printf(&out, "\"volumes\": %llu, \"groups\": %llu, \"messages\": %llu, ",
			(unsigned long long)verify->volumes, (unsigned long long)verify->groups,
			(unsigned long long)verify->messages);
	else
		buf_append_literal(
			&out, "\"volumes\": null, \"groups\": null, \"messages\": null, ");
	buf_append_literal(&out, "\"faults\": ");
	table_append_json(&verify->faults, &out);
	buf_append_literal(&out, "}");
	printf("%s\n", buf_terminated(&out));
	buf_deinit(&out);
}

static void say_people(const struct verify *verify)
{
	struct buf out = { 0 };
	unsigned faults = table_rows(&verify->faults);
	buf_printf(&out, "%u set%s with %llu files, %llu bytes", verify->chosen_count,
		verify->chosen_count == 1 ? "" : "s", (unsigned long long)verify->files,
		(unsigned long long)verify->bytes);
	if (verify->secret)
		buf_printf(&out, ", and in them %llu messages in %llu groups of %llu volumes",
			(unsigned long long)verify->messages, (unsigned long long)verify->groups,
			(unsigned long long)verify->volumes);
	if (filling_is_interrupted())
		command_complain(
			"interrupted: what was read so far is of %s", buf_terminated(&out));
	else if (faults > 0)
		command_complain(
			"%u fault%s in %s", faults, faults == 1 ? "" : "s", buf_terminated(&out));
	else
		printf("verified %s: all is as it was written\n", buf_terminated(&out));
	buf_deinit(&out);
}

static int verify_all(struct verify *verify)
{
	struct error error;
	if (backup_sets_read(command_option(verify->command, "from"), verify->pool, &verify->sets,
		    &error) < 0 ||
		choose(verify, &error) < 0)
		return command_fail(&error);
	run_pass(verify, verify_files);
	if (verify->secret)
		run_pass(verify, verify_logs);
	if (command_json(verify->command))
		say_json(verify);
	else
		say_people(verify);
	return table_rows(&verify->faults) == 0 && !filling_is_interrupted() ? EXIT_DONE
									     : EXIT_FAILED;
}

int backup_verify(struct command *command)
{
	struct verify verify = { .command = command,
		.faults = { .column_count = 3, .columns = { "set", "file", "fault" } } };
	struct backup_secret secret = { 0 };
	const char *key = command_option(command, "key");
	struct error error;
	if (!command_option(command, "from"))
		return command_usage(command, "--from names the folder that holds the backups");
	if (key && backup_secret_read(key, &secret, &error) < 0)
		return command_fail(&error);
	verify.secret = key ? &secret : NULL;
	verify.pool = pool_create();
	int code = verify_all(&verify);
	explicit_bzero(&secret, sizeof(secret));
	table_deinit(&verify.faults);
	pool_destroy(&verify.pool);
	return code;
}
