#include "node/salvage/report.h"

#include "spool/replace.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

enum {
	/* Of a file: rows and reason are a quarter of it. */
	REPORT_MAX = 4096,
};

static const struct {
	const char *name;
	size_t offset;
} rows[] = {
#define ROW(member) \
	{ \
#member, offsetof(struct salvage_report, member) \
	}
	ROW(state),
	ROW(tries),
	ROW(since_s),
	ROW(next_s),
	ROW(ended_s),
	ROW(messages),
	ROW(stored),
	ROW(present),
	ROW(kept),
	ROW(failed),
	ROW(flags),
	ROW(expunges),
	ROW(moves),
	ROW(folders),
	ROW(subscriptions),
	ROW(carried),
	ROW(left),
	ROW(damaged_at),
#undef ROW
};

static const struct str first_line = { "pando-salvage 1", 15 };

const char *salvage_state_name(uint64_t state)
{
	static const char *const names[] = {
		[SALVAGE_OPEN] = "open", [SALVAGE_DONE] = "done", [SALVAGE_DISCARDED] = "discarded"
	};
	return state < array_length(names) ? names[state] : "?";
}

static struct str take_line(struct str *rest)
{
	ptrdiff_t end = str_find_byte(*rest, '\n');
	struct str line = end < 0 ? *rest : str_first(*rest, (size_t)end);
	*rest = str_from_index(*rest, end < 0 ? rest->length : (size_t)end + 1);
	return line;
}

static bool read_row(struct str line, struct salvage_report *report)
{
	ptrdiff_t space = str_find_byte(line, ' ');
	uint64_t value;
	if (space < 0 || !str_to_u64(str_from_index(line, (size_t)space + 1), INT64_MAX, &value))
		return false;
	for (size_t i = 0; i < array_length(rows); i++)
		if (str_equal(str_first(line, (size_t)space), str_from(rows[i].name))) {
			memcpy((char *)report + rows[i].offset, &value, sizeof(value));
			return true;
		}
	return false;
}

static bool parse(struct str text, struct salvage_report *report)
{
	if (!str_equal(take_line(&text), first_line))
		return false;
	while (text.length > 0) {
		struct str line = take_line(&text);
		if (str_starts_with(line, STR("reason "))) {
			line = str_from_index(line, 7);
			size_t length = line.length < sizeof(report->reason)
				? line.length
				: sizeof(report->reason) - 1;
			memcpy(report->reason, line.bytes, length);
		} else if (!read_row(line, report)) {
			return false;
		}
	}
	return report->state <= SALVAGE_DISCARDED;
}

int salvage_report_read(struct disk *disk, const char *directory, const struct tail_name *name,
	struct salvage_report *report_out)
{
	char bytes[REPORT_MAX];
	struct disk_file *file = NULL;
	char *path = tail_path(directory, name, "report");
	*report_out = (struct salvage_report){ 0 };
	int result = disk_file_open(disk, path, false, &file);
	int64_t size = result == 0 ? disk_file_size(file) : 0;
	if (size < 0)
		result = (int)size;
	else if (size > (int64_t)sizeof(bytes))
		result = -EBADMSG;
	if (result == 0)
		result = disk_read_now(file, bytes, (size_t)size, 0);
	if (result == 0 && !parse(str_of(bytes, (size_t)size), report_out)) {
		*report_out = (struct salvage_report){ 0 };
		result = -EBADMSG;
	}
	disk_file_close(&file);
	free(path);
	return result == -ENOENT ? 0 : result;
}

static void print(const struct salvage_report *report, struct buf *out)
{
	buf_append_str(out, first_line);
	buf_append_byte(out, '\n');
	for (size_t i = 0; i < array_length(rows); i++) {
		uint64_t value;
		memcpy(&value, (const char *)report + rows[i].offset, sizeof(value));
		buf_printf(out, "%s %llu\n", rows[i].name, (unsigned long long)value);
	}
	buf_append_literal(out, "reason ");
	/* One line, whatever a peer has said. */
	for (const char *at = report->reason; *at != '\0'; at++)
		buf_append_byte(out, (unsigned char)*at < ' ' ? ' ' : *at);
	buf_append_byte(out, '\n');
}

int salvage_report_write(struct disk *disk, const char *directory, const struct tail_name *name,
	const struct salvage_report *report)
{
	struct buf text = { 0 };
	char *path = tail_path(directory, name, "report");
	print(report, &text);
	int result = replace_file(disk, path, buf_str(&text));
	buf_deinit(&text);
	free(path);
	return result;
}

int salvage_remove(const char *directory, const struct tail_name *name)
{
	static const char *const suffixes[] = { "log", "carried", "report" };
	int result = 0;
	for (size_t i = 0; result == 0 && i < array_length(suffixes); i++) {
		char *path = tail_path(directory, name, suffixes[i]);
		result = disk_remove_file(path);
		if (result == -ENOENT)
			result = 0;
		free(path);
	}
	return result;
}
