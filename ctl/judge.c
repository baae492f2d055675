#include "ctl/judge.h"

enum { DAY_S = 86400 };

static bool is_use(const struct json *certificate, const char *use)
{
	return str_equal(json_text(certificate, "use"), str_from(use));
}

/* "FILE" is the configuration's key: the key of its other half ends in _key. */
static void advise(
	const struct json *certificate, const struct judge_certificate *wanted, struct buf *out)
{
	if (is_use(certificate, "authority"))
		buf_append_literal(out,
			"all certificates of the cluster end with it: make a new one and issue "
			"them anew, see docs/operating.md, Certificates and keys");
	else if (is_use(certificate, "public"))
		buf_printf(out,
			"put a new one in the place of `public_certificate` and `public_key` and "
			"restart %s",
			wanted->program);
	else
		buf_printf(out,
			"`pando cert issue --role %s --name %s`, put it in the place of "
			"`" STR_FORMAT "` and restart %s",
			wanted->role, wanted->name, STR_ARG(json_text(certificate, "file")),
			wanted->program);
}

bool judge_time(int64_t not_before_s, int64_t not_after_s, int64_t now_s, struct buf *out)
{
	int64_t left_s = not_after_s - now_s, begins_s = not_before_s - now_s;
	if (left_s <= 0)
		buf_printf(out, "has expired %lld days ago: ", (long long)(-left_s / DAY_S));
	else if (left_s < (int64_t)CERTIFICATE_DAYS_LEFT_MIN * DAY_S)
		buf_printf(out, "ends in %lld days: ", (long long)(left_s / DAY_S));
	else if (begins_s > 0)
		buf_printf(out, "begins in %lld days only; if the clocks are right, ",
			(long long)(begins_s / DAY_S));
	else
		return true;
	return false;
}

static bool has_name(
	const struct json *certificate, const struct judge_certificate *wanted, struct buf *out)
{
	struct str name = json_text(certificate, "name"), role = json_text(certificate, "role");
	if (is_use(certificate, "public") && json_get(certificate, "host_name") &&
		!json_true(certificate, "is_for_host")) {
		buf_printf(out,
			"is for `" STR_FORMAT "` and not for `" STR_FORMAT
			"`, its `hostname`: clients and mail servers refuse it; ",
			STR_ARG(name), STR_ARG(json_text(certificate, "host_name")));
		return false;
	}
	if (is_use(certificate, "cluster") &&
		(!str_equal(name, str_from(wanted->name)) ||
			!str_equal(role, str_from(wanted->role)))) {
		buf_printf(out,
			"is for `" STR_FORMAT "`, role " STR_FORMAT
			", and not for `%s`, role %s: the others refuse it; ",
			STR_ARG(name), STR_ARG(role), wanted->name, wanted->role);
		return false;
	}
	return true;
}

bool judge_certificate(
	const struct json *certificate, const struct judge_certificate *wanted, struct buf *out)
{
	if (json_true(certificate, "is_replaced")) {
		buf_printf(out,
			"is not the one that stands in `" STR_FORMAT
			"` by now, which is used after the next start: restart %s",
			STR_ARG(json_text(certificate, "file")), wanted->program);
		return false;
	}
	if (has_name(certificate, wanted, out) &&
		judge_time((int64_t)json_u64(certificate, "not_before"),
			(int64_t)json_u64(certificate, "not_after"), wanted->now_s, out))
		return true;
	advise(certificate, wanted, out);
	return false;
}

/* Free room says nothing of a disk that fails, or of a file system that the kernel has made
 * read-only for it. */
static bool judge_writable(const struct json *disk, struct buf *out)
{
	if (json_text(disk, "error").length > 0) {
		buf_printf(out, STR_FORMAT " cannot be looked at: " STR_FORMAT,
			STR_ARG(json_text(disk, "path")), STR_ARG(json_text(disk, "error")));
		return false;
	}
	if (json_text(disk, "failure").length > 0) {
		buf_printf(out, STR_FORMAT " does not take what is written to it: " STR_FORMAT,
			STR_ARG(json_text(disk, "path")), STR_ARG(json_text(disk, "failure")));
		return false;
	}
	if (!json_true(disk, "read_only"))
		return true;
	buf_printf(out,
		STR_FORMAT " is on a file system that is read-only (the kernel's log says why)",
		STR_ARG(json_text(disk, "path")));
	return false;
}

bool judge_room(const struct json *disk, uint64_t needed_mib, struct buf *out)
{
	uint64_t left_mib = json_u64(disk, "free_bytes") >> 20;
	if (!judge_writable(disk, out))
		return false;
	if (left_mib >= needed_mib)
		return true;
	buf_printf(out, STR_FORMAT " has %llu MiB free, and %llu MiB are needed to serve there",
		STR_ARG(json_text(disk, "path")), (unsigned long long)left_mib,
		(unsigned long long)needed_mib);
	return false;
}

bool judge_disk(const struct json *disk, struct buf *out)
{
	uint64_t left = json_u64(disk, "free_bytes"), size = json_u64(disk, "size_bytes");
	uint64_t least = (uint64_t)DISK_FREE_MIB_MIN << 20;
	if (!judge_writable(disk, out))
		return false;
	if (left >= least && left / DISK_FREE_PERCENT_MIN >= size / 100)
		return true;
	buf_printf(out, STR_FORMAT " has %llu MiB of %llu MiB free (%llu %%)",
		STR_ARG(json_text(disk, "path")), (unsigned long long)(left >> 20),
		(unsigned long long)(size >> 20),
		(unsigned long long)(size ? left / (size / 100 + 1) : 0));
	return false;
}
