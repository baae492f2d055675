#include "node/scrub/state.h"

#include "core/buf.h"
#include "spool/replace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char first_line[] = "pando-scrub 1";

enum {
	/* All rows and damages of seven numbers. */
	FILE_BYTES_MAX = 64 << 10,
};

static const struct {
	const char *name;
	size_t offset;
} rows[] = {
	{ "since_s", offsetof(struct scrub_state, since_s) },
	{ "began_s", offsetof(struct scrub_state, began_s) },
	{ "last_began_s", offsetof(struct scrub_state, last_began_s) },
	{ "last_ended_s", offsetof(struct scrub_state, last_ended_s) },
	{ "is_now", offsetof(struct scrub_state, is_now) },
	{ "lsn", offsetof(struct scrub_state, lsn) },
	{ "last", offsetof(struct scrub_state, last) },
	{ "chain", offsetof(struct scrub_state, chain) },
	{ "end", offsetof(struct scrub_state, end) },
	{ "follows", offsetof(struct scrub_state, follows) },
	{ "found", offsetof(struct scrub_state, found) },
	{ "mended", offsetof(struct scrub_state, mended) },
	{ "disagreeing", offsetof(struct scrub_state, disagreeing) },
	{ "unlisted", offsetof(struct scrub_state, unlisted) },
};

void scrub_state_deinit(struct scrub_state *state)
{
	free(state->stains);
	*state = (struct scrub_state){ 0 };
}

/* ---- reading ---- */

static bool parse_damage(struct scrub_state *state, struct str text)
{
	struct str part;
	uint64_t numbers[7];
	unsigned count = 0;
	while (str_next(&text, ' ', &part))
		if (count == array_length(numbers) ||
			!str_to_u64(part, UINT64_MAX, &numbers[count++]))
			return false;
	if (count != array_length(numbers) || state->stain_count == SCRUB_DAMAGES_MAX ||
		numbers[0] >= numbers[1] || numbers[3] >= WALK_FAULTS || numbers[4] > INT64_MAX)
		return false;
	state->stains[state->stain_count++] = (struct scrub_stain){
		.at = { .from = numbers[0],
			.to = numbers[1],
			.group = numbers[2],
			.fault = (enum walk_fault)numbers[3] },
		.since_s = (int64_t)numbers[4],
		.is_found = numbers[5] != 0,
		.is_told = numbers[6] != 0,
	};
	return true;
}

static bool parse_line(struct scrub_state *state, struct str line)
{
	ptrdiff_t space = str_find_byte(line, ' ');
	uint64_t value;
	if (space < 0)
		return false;
	struct str name = str_first(line, (size_t)space);
	struct str rest = str_from_index(line, (size_t)space + 1);
	if (str_equal(name, STR("damage")))
		return parse_damage(state, rest);
	for (size_t i = 0; i < array_length(rows); i++) {
		if (!str_equal(name, str_from(rows[i].name)))
			continue;
		if (!str_to_u64(rest, UINT64_MAX, &value))
			return false;
		memcpy((char *)state + rows[i].offset, &value, sizeof(value));
		return true;
	}
	return false;
}

static bool parse(struct scrub_state *state, struct str text)
{
	struct str line;
	if (!str_next(&text, '\n', &line) || !str_equal(line, str_from(first_line)))
		return false;
	while (text.length > 0)
		if (!str_next(&text, '\n', &line) || !parse_line(state, line))
			return false;
	return true;
}

static char *path_of(const char *directory, const char *name)
{
	struct buf path = { 0 };
	buf_printf(&path, "%s/%s", directory, name);
	char *copy = str_to_heap(buf_str(&path));
	buf_deinit(&path);
	return copy;
}

static int read_text(struct disk *disk, const char *path, struct buf *out)
{
	struct disk_file *file = NULL;
	int result = disk_file_open(disk, path, false, &file);
	int64_t size = result == 0 ? disk_file_size(file) : 0;
	if (result == 0 && (size < 0 || size > FILE_BYTES_MAX))
		result = size < 0 ? (int)size : -EBADMSG;
	if (result == 0 && size > 0) {
		result = disk_read_now(file, buf_reserve(out, (size_t)size), (size_t)size, 0);
		if (result == 0)
			buf_commit(out, (size_t)size);
	}
	disk_file_close(&file);
	return result;
}

int scrub_state_read(struct disk *disk, const char *directory, struct scrub_state *state_out)
{
	struct buf text = { 0 };
	char *path = path_of(directory, "scrub");
	*state_out = (struct scrub_state){
		.stains = mem_alloc(SCRUB_DAMAGES_MAX * sizeof(struct scrub_stain))
	};
	int result = read_text(disk, path, &text);
	if (result == 0 && !parse(state_out, buf_str(&text)))
		result = -EBADMSG;
	if (result < 0)
		scrub_state_deinit(state_out);
	buf_deinit(&text);
	free(path);
	return result == -ENOENT ? 0 : result;
}

/* ---- writing ---- */

static void print(const struct scrub_state *state, struct buf *out)
{
	buf_printf(out, "%s\n", first_line);
	for (size_t i = 0; i < array_length(rows); i++) {
		uint64_t value;
		memcpy(&value, (const char *)state + rows[i].offset, sizeof(value));
		buf_printf(out, "%s %" PRIu64 "\n", rows[i].name, value);
	}
	for (unsigned i = 0; i < state->stain_count; i++) {
		const struct scrub_stain *stain = &state->stains[i];
		buf_printf(out, "damage %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %" PRId64 " %d %d\n",
			stain->at.from, stain->at.to, stain->at.group, (unsigned)stain->at.fault,
			stain->since_s, stain->is_found, stain->is_told);
	}
}

int scrub_state_write(struct disk *disk, const char *directory, const struct scrub_state *state)
{
	struct buf text = { 0 };
	char *path = path_of(directory, "scrub");
	print(state, &text);
	int result = replace_file(disk, path, buf_str(&text));
	buf_deinit(&text);
	free(path);
	return result;
}
