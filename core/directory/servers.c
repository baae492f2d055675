#include "core/directory/servers.h"

#include "core/digest.h"
#include "core/log.h"
#include "core/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- the decision ---- */

static bool is_same(const struct server *a, const struct server *b)
{
	return a->identity.system == b->identity.system && a->started_us == b->started_us;
}

/* Not in recovery: it makes history of its own. */
static bool is_primary(const struct server *server)
{
	return server->state == SERVER_READ_ONLY || server->state == SERVER_WRITABLE;
}

/* Its own table says that it came after `before`, or after an earlier moment of it. */
static bool comes_after(const struct server *server, const struct server_identity *before)
{
	return server->self.system != 0 && server->self.system == server->identity.system &&
		server->identity.timeline >= server->self.timeline &&
		server->before.system == before->system &&
		server->before.timeline >= before->timeline;
}

static enum server_verdict judge(const struct servers *servers, const struct server *server)
{
	const struct server_identity *known = &servers->known;
	for (unsigned i = 0; i < servers->count; i++) {
		const struct server *other = &servers->list[i];
		if (!is_primary(other) || !is_primary(server))
			continue;
		if (other->identity.system == server->identity.system &&
			other->identity.timeline > server->identity.timeline)
			return SERVER_STALE;
		if (other->identity.system != server->identity.system &&
			comes_after(other, &server->identity))
			return SERVER_STALE;
	}
	if (known->system == 0 || comes_after(server, known))
		return SERVER_GOOD;
	if (server->identity.system != known->system)
		return SERVER_STRANGER;
	/* A standby's own note of its timeline lags behind the server that it follows. */
	return is_primary(server) && server->identity.timeline < known->timeline ? SERVER_STALE
										 : SERVER_GOOD;
}

/* The first good one in this state; -1 without one, or when two differ. */
static int find_only(const struct servers *servers, enum server_state state)
{
	int found = -1;
	for (unsigned i = 0; i < servers->count; i++) {
		const struct server *server = &servers->list[i];
		if (server->state != state || server->verdict != SERVER_GOOD)
			continue;
		if (found < 0)
			found = (int)i;
		else if (state != SERVER_STANDBY && !is_same(server, &servers->list[found]))
			return -1;
	}
	return found;
}

static bool is_any(const struct servers *servers, enum server_state state)
{
	for (unsigned i = 0; i < servers->count; i++)
		if (servers->list[i].state == state && servers->list[i].verdict == SERVER_GOOD)
			return true;
	return false;
}

void servers_choose(struct servers *servers)
{
	static const enum server_state order[] = { SERVER_WRITABLE, SERVER_READ_ONLY,
		SERVER_STANDBY };
	servers->is_split = false;
	for (unsigned i = 0; i < servers->count; i++) {
		struct server *server = &servers->list[i];
		if (server->state != SERVER_AWAY)
			server->verdict = judge(servers, server);
		for (unsigned k = 0; k < i; k++)
			servers->is_split = servers->is_split ||
				(server->state == SERVER_WRITABLE &&
					servers->list[k].state == SERVER_WRITABLE &&
					!is_same(server, &servers->list[k]));
	}
	servers->chosen = -1;
	for (unsigned i = 0; i < array_length(order); i++)
		if (is_any(servers, order[i])) {
			servers->chosen = find_only(servers, order[i]);
			return;
		}
}

static void name_all(const struct servers *servers, enum server_state state, struct buf *out)
{
	bool first = true;
	for (unsigned i = 0; i < servers->count; i++) {
		const struct server *server = &servers->list[i];
		if (server->state != state)
			continue;
		buf_printf(out, "%s%s", first ? "" : ", ", server->host);
		if (state == SERVER_WRITABLE)
			buf_printf(out, " (timeline %u%s)", server->identity.timeline,
				server->verdict == SERVER_GOOD            ? ""
					: server->verdict == SERVER_STALE ? ", an old one"
									  : ", a strange one");
		first = false;
	}
}

/* One that could be written and must not: 0 when there is none. */
static int refuse_primary(const struct servers *servers, struct error *error)
{
	for (unsigned i = 0; i < servers->count; i++) {
		const struct server *server = &servers->list[i];
		if (!is_primary(server))
			continue;
		if (server->verdict == SERVER_STALE)
			return error_set(error, -EROFS,
				"%s is on timeline %u, and the directory has been on %u already: "
				"it is an old server that came back, and what is written there is "
				"lost. Start the server that followed it and make this one its "
				"standby (docs/operating.md, Two directories)",
				server->host, server->identity.timeline, servers->known.timeline);
		if (server->verdict == SERVER_STRANGER)
			return error_set(error, -EROFS,
				"%s is another PostgreSQL than the directory's (its system "
				"identifier is %llu, not %llu): `directory` in the configuration "
				"names the wrong one, or the directory was brought there by a "
				"dump: then say so with `pando directory adopt`",
				server->host, (unsigned long long)server->identity.system,
				(unsigned long long)servers->known.system);
		if (server->state == SERVER_READ_ONLY)
			return error_set(error, -EROFS,
				"%s, the directory's PostgreSQL, takes no writes: "
				"default_transaction_read_only is on there",
				server->host);
	}
	return 0;
}

int servers_check_writable(const struct servers *servers, struct error *error)
{
	struct buf names = { 0 };
	int code = 0;
	if (servers->is_split) {
		name_all(servers, SERVER_WRITABLE, &names);
		code = error_set(error, -EROFS,
			"several PostgreSQL servers can be written, so there are two directories: "
			"%s. Nothing is written until the old one is stopped and made a standby "
			"(docs/operating.md, Two directories)",
			buf_terminated(&names));
	} else if (servers->chosen < 0 || servers->list[servers->chosen].state != SERVER_WRITABLE) {
		code = refuse_primary(servers, error);
	} else {
		return 0;
	}
	if (code == 0 && servers->chosen >= 0) {
		name_all(servers, SERVER_STANDBY, &names);
		code = error_set(error, -EROFS,
			"the directory's PostgreSQL cannot be reached for writing, only a standby "
			"that is read-only: %s. Start the primary, or promote the standby if the "
			"primary is lost (docs/operating.md, A site is lost)",
			buf_terminated(&names));
	} else if (code == 0) {
		for (unsigned i = 0; i < servers->count; i++)
			buf_printf(&names, "%s%s", i ? "; " : "", servers->list[i].reason);
		code = error_set(error, -EHOSTUNREACH,
			"the directory's PostgreSQL cannot be reached for writing: %s. Check that "
			"it runs and the `directory` line of the configuration; if its server is "
			"lost, promote the standby (docs/operating.md, A site is lost)",
			buf_terminated(&names));
	}
	buf_deinit(&names);
	return code;
}

/* ---- what was seen before ---- */

/* A line: "pando-server 1 SYSTEM TIMELINE CRC", the last being CRC-32C of what is before it. */
static void format(struct server_identity identity, struct buf *out)
{
	buf_printf(out, "pando-server 1 %llu %u ", (unsigned long long)identity.system,
		identity.timeline);
	buf_printf(out, "%08x\n", crc32c(0, buf_str(out).bytes, buf_length(out)));
}

/* 0 or -errno. */
static int read_memory(const char *memory_path, struct server_identity *seen_out)
{
	struct server_identity found = { 0, 0 };
	unsigned long long system;
	char line[128];
	*seen_out = found;
	FILE *file = fopen(memory_path, "re");
	if (!file)
		return errno == ENOENT || errno == EACCES ? 0 : -errno;
	errno = 0;
	if (fgets(line, sizeof(line), file) &&
		sscanf(line, "pando-server 1 %20llu %10u", &system, &found.timeline) == 2) {
		struct buf wanted = { 0 };
		found.system = system;
		format(found, &wanted);
		/* Damaged: as none. */
		if (strcmp(buf_terminated(&wanted), line) != 0)
			found = (struct server_identity){ 0, 0 };
		buf_deinit(&wanted);
	} else {
		found = (struct server_identity){ 0, 0 };
	}
	int result = ferror(file) ? -(errno ? errno : EIO) : 0;
	fclose(file);
	if (result == 0)
		*seen_out = found;
	return result;
}

int servers_recall(const char *memory_path, struct server_identity *seen_out)
{
	int result = read_memory(memory_path, seen_out);
	/* A sector that stays lost says nothing any more; what is remembered next heals it. */
	if (result == -EIO && read_memory(memory_path, seen_out) == -EIO) {
		log_error("server_forgotten",
			"path=%s reason=\"its sector cannot be read\" effect=\"which server was "
			"the "
			"directory before is not known\"",
			memory_path);
		result = 0;
	}
	return result;
}

int servers_remember(const char *memory_path, struct server_identity identity)
{
	struct buf line = { 0 }, temporary = { 0 };
	buf_printf(&temporary, "%s.new", memory_path);
	FILE *file = fopen(buf_terminated(&temporary), "we");
	int code = file ? 0 : -errno;
	if (file) {
		format(identity, &line);
		if (fputs(buf_terminated(&line), file) < 0 || fflush(file) != 0 ||
			fsync(fileno(file)) != 0)
			code = errno ? -errno : -EIO;
		if (fclose(file) != 0 && code == 0)
			code = -errno;
		if (code == 0 && rename(buf_terminated(&temporary), memory_path) != 0)
			code = -errno;
	}
	buf_deinit(&line);
	buf_deinit(&temporary);
	return code;
}

bool servers_parse_succession(
	const char *text, struct server_identity *self_out, struct server_identity *before_out)
{
	unsigned long long self, before;
	char end;
	if (!text ||
		sscanf(text, "%20llu %10u after %20llu %10u%c", &self, &self_out->timeline, &before,
			&before_out->timeline, &end) != 4)
		return false;
	self_out->system = self;
	before_out->system = before;
	return true;
}
