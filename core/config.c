#include "core/config.h"

#include "core/buf.h"
#include "core/nearest.h"
#include "core/net_address.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* A configuration larger than this is some other file. */
	CONFIG_FILE_BYTES_MAX = 1 << 20,
};

static char **text_field(struct config *config, const struct config_row *row)
{
	return (char **)(void *)((char *)config + row->field_offset);
}

static uint64_t *number_field(struct config *config, const struct config_row *row)
{
	return (uint64_t *)(void *)((char *)config + row->field_offset);
}

static bool find_choice(const char *choices, struct str value, uint64_t *index_out)
{
	struct str rest = str_from(choices), choice;
	for (uint64_t i = 0; str_next(&rest, '|', &choice); i++)
		if (str_equal(choice, value)) {
			*index_out = i;
			return true;
		}
	return false;
}

static bool is_text(const struct config_row *row)
{
	return row->type != CONFIG_NUMBER && row->type != CONFIG_CHOICE;
}

static bool is_word(struct str value)
{
	for (size_t i = 0; i < value.length; i++)
		if ((unsigned char)value.bytes[i] <= ' ')
			return false;
	return true;
}

static bool is_host(struct str value)
{
	ptrdiff_t colon = str_find_last_byte(value, ':');
	uint64_t port;
	return is_word(value) && colon > 0 &&
		str_to_u64(str_from_index(value, (size_t)colon + 1), 65535, &port) && port > 0;
}

static bool are_addresses(struct str list)
{
	struct str address;
	while (str_next(&list, ' ', &address)) {
		struct net_address parsed;
		char text[200];
		if (address.length >= sizeof(text))
			return false;
		memcpy(text, address.bytes, address.length);
		text[address.length] = '\0';
		if (address.length > 0 && net_address_parse(text, &parsed) < 0)
			return false;
	}
	return true;
}

/* NULL, or what a text of this kind has to be. Nothing is given where it is empty. */
static const char *misses(const struct config_row *row, struct str value)
{
	if (value.length == 0)
		return NULL;
	switch (row->type) {
	case CONFIG_WORD: return is_word(value) ? NULL : "a word without spaces";
	case CONFIG_FOLDER: return value.bytes[0] == '/' ? NULL : "an absolute path";
	case CONFIG_HOST: return is_host(value) ? NULL : "host:port";
	case CONFIG_LISTEN:
		return are_addresses(value)
			? NULL
			: "addresses as 0.0.0.0:25, [::]:25 or unix:/path, separated by spaces";
	default: return NULL;
	}
}

static int set_text(
	struct config *config, const struct config_row *row, struct str value, struct error *error)
{
	const char *wanted = misses(row, value);
	if (wanted != NULL)
		return error_set(error, -EINVAL, "`%s` is %s, not `" STR_FORMAT "`", row->key,
			wanted, STR_ARG(str_first(value, 80)));
	free(*text_field(config, row));
	*text_field(config, row) = str_to_heap(value);
	return 0;
}

/* 0, or a negative errno with a sentence that lacks file and line. */
static int set_value(struct config *config, const struct config_row *row, struct str value,
	struct error *error)
{
	switch (row->type) {
	case CONFIG_TEXT:
	case CONFIG_WORD:
	case CONFIG_FOLDER:
	case CONFIG_LISTEN:
	case CONFIG_HOST: return set_text(config, row, value, error);
	case CONFIG_NUMBER:
		if (!str_to_u64(value, row->maximum, number_field(config, row)) ||
			*number_field(config, row) < row->minimum)
			return error_set(error, -ERANGE,
				"`%s` takes a whole number from %llu to %llu, not `" STR_FORMAT "`",
				row->key, (unsigned long long)row->minimum,
				(unsigned long long)row->maximum, STR_ARG(str_first(value, 80)));
		return 0;
	case CONFIG_CHOICE:
		if (!find_choice(row->choices, value, number_field(config, row)))
			return error_set(error, -EINVAL, "`%s` is one of %s, not `" STR_FORMAT "`",
				row->key, row->choices, STR_ARG(str_first(value, 80)));
		return 0;
	}
	return -EINVAL;
}

static const struct config_row *nearest_row(struct str key)
{
	const struct config_row *nearest = &config_rows[0];
	unsigned best = UINT32_MAX;
	for (size_t i = 0; i < config_row_count; i++) {
		unsigned distance = nearest_distance(key, str_from(config_rows[i].key));
		if (distance < best) {
			best = distance;
			nearest = &config_rows[i];
		}
	}
	return nearest;
}

static const struct config_row *find_row(struct str key)
{
	for (size_t i = 0; i < config_row_count; i++)
		if (str_equal(key, str_from(config_rows[i].key)))
			return &config_rows[i];
	return NULL;
}

static int parse_line(struct config *config, struct str line, bool *given, struct error *error)
{
	line = str_trim(line);
	if (line.length == 0 || line.bytes[0] == '#')
		return 0;
	for (size_t i = 0; i < line.length; i++)
		if (((uint8_t)line.bytes[i] < ' ' && line.bytes[i] != '\t') ||
			line.bytes[i] == 0x7f)
			return error_set(error, -EINVAL,
				"it holds a control character: the file is no text, or not UTF-8");
	ptrdiff_t equals = str_find_byte(line, '=');
	if (equals <= 0)
		return error_set(error, -EINVAL, "expected `key = value`, found `" STR_FORMAT "`",
			STR_ARG(str_first(line, 80)));
	struct str key = str_trim(str_first(line, (size_t)equals));
	struct str value = str_trim(str_from_index(line, (size_t)equals + 1));
	const struct config_row *row = find_row(key);
	if (row == NULL)
		return error_set(error, -EINVAL,
			"there is no key `" STR_FORMAT "`; did you mean `%s`?",
			STR_ARG(str_first(key, 80)), nearest_row(key)->key);
	if (given[row - config_rows])
		return error_set(error, -EINVAL, "`%s` is set twice", row->key);
	given[row - config_rows] = true;
	return set_value(config, row, value, error);
}

static int refuse_file(const char *path, int reason, struct error *error)
{
	return error_set(error, -reason, "cannot open the configuration %s: %s. %s", path,
		strerror(reason),
		reason == EACCES ? "This account may not read it: run this as root, or as its owner"
				 : "`pando init` makes one; --config or PANDO_CONF name another");
}

static int read_whole_file(const char *path, struct buf *out, struct error *error)
{
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return refuse_file(path, errno, error);
	size_t length =
		fread(buf_reserve(out, CONFIG_FILE_BYTES_MAX), 1, CONFIG_FILE_BYTES_MAX, file);
	int reason = ferror(file) ? errno : 0;
	bool is_whole = feof(file);
	buf_commit(out, length);
	fclose(file);
	if (reason != 0)
		return error_set(error, -reason, "the configuration %s cannot be read: %s", path,
			strerror(reason));
	if (!is_whole)
		return error_set(error, -EFBIG, "%s is no configuration: it has %d bytes or more",
			path, CONFIG_FILE_BYTES_MAX);
	return 0;
}

int config_load(struct config *config, const char *path, struct error *error)
{
	struct buf text = { 0 };
	bool *given = mem_alloc(config_row_count * sizeof(*given));
	for (size_t i = 0; i < config_row_count; i++)
		CHECK(set_value(config, &config_rows[i], str_from(config_rows[i].default_text),
			      NULL) == 0);
	int result = read_whole_file(path, &text, error);
	struct str rest = buf_str(&text), line;
	for (unsigned number = 1; result == 0 && str_next(&rest, '\n', &line); number++) {
		struct error reason;
		result = parse_line(config, line, given, &reason);
		if (result < 0)
			error_set(
				error, result, "%.200s line %u: %.700s", path, number, reason.text);
	}
	free(given);
	buf_deinit(&text);
	return result;
}

void config_deinit(struct config *config)
{
	for (size_t i = 0; i < config_row_count; i++)
		if (is_text(&config_rows[i]))
			free(*text_field(config, &config_rows[i]));
	*config = (struct config){ 0 };
}

const char *config_path(const char *given)
{
	if (given != NULL)
		return given;
	const char *from_environment = getenv("PANDO_CONF");
	return from_environment && from_environment[0] ? from_environment : "/etc/pando/pando.conf";
}

void config_print_sample(FILE *out)
{
	fprintf(out,
		"# Pando's configuration: every key at its default. All daemons of a machine read "
		"it.\n");
	for (size_t i = 0; i < config_row_count; i++) {
		const struct config_row *row = &config_rows[i];
		fprintf(out, "\n# %s\n", row->help);
		if (row->type == CONFIG_NUMBER)
			fprintf(out, "# From %llu to %llu.\n", (unsigned long long)row->minimum,
				(unsigned long long)row->maximum);
		if (row->type == CONFIG_CHOICE)
			fprintf(out, "# One of %s.\n", row->choices);
		fprintf(out, "#%s = %s\n", row->key, row->default_text);
	}
}
