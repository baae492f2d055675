/* What `pando check` says of volumes: is each served, and does every copy that should be there
 * follow. */

#include "ctl/checks.h"
#include "ctl/copies.h"
#include "ctl/judge.h"

#include <stdio.h>

/* Of the copies that answer: in their logs (`epoch`), or as far as they have heard (`seen_epoch`).
 */
static uint64_t highest_epoch(
	const struct checks *checks, const struct directory_volume *volume, const char *member)
{
	const struct directory *directory = checks->cluster->directory;
	size_t position = 0;
	unsigned index = 0;
	uint64_t highest = 0;
	while (directory_next_node(directory, &position) != NULL) {
		uint64_t epoch =
			json_u64(status_volume(checks->nodes[index++].answer, volume->id), member);
		highest = epoch > highest ? epoch : highest;
	}
	return highest;
}

/* What the node says that is to serve it; NULL when it does not answer. */
static const struct json *own_of(
	const struct checks *checks, const struct directory_volume *volume)
{
	return status_volume(cluster_answer_of(checks->cluster, checks->nodes,
				     volume->primary_node_id),
		volume->id);
}

/* False with a note when a replica that follows could not take over, by what its own node says. */
static bool check_readiness(struct checks *checks, const struct directory_node *node,
	const struct json *primary, const struct json *peer, const struct json *copy,
	const char *what)
{
	if (json_true(copy, "is_damaged"))
		checks_note(checks, VERDICT_BAD, what,
			"its replica at %s cannot read its log at %llu, and no failover chooses it "
			"until its primary has filled it again: see the log of pando-node there",
			node->name, (unsigned long long)json_u64(copy, "damaged_lsn"));
	else if (json_get(copy, "index_usable") != NULL && !json_true(copy, "index_usable"))
		checks_note(checks, VERDICT_BAD, what,
			"the index of its replica at %s cannot be opened, and no failover chooses "
			"it: see `index_unusable` in the log of pando-node there, and restart it",
			node->name);
	else if (status_is_filled(copy))
		checks_note(checks, VERDICT_BAD, what,
			"its replica at %s has lost some of its log and is being filled again "
			"(%u %%), which goes on by itself: until then no failover chooses it, and "
			"what it lacks is on one site, see `pando at-risk`",
			node->name, copy_percent(primary, peer));
	else
		return true;
	return false;
}

/* Why a copy is not followed, where it is not for want of daemons. `is_filled`: it counts for
 * nothing yet, and may as well be let go. */
static void note_unfollowed(struct checks *checks, const struct directory_volume *volume,
	const struct directory_node *node, const char *what, bool is_filled)
{
	const struct cluster *cluster = checks->cluster;
	bool runs = cluster_answer_of(cluster, checks->nodes, node->id) &&
		cluster_answer_of(cluster, checks->replicators, node->id);
	const char *whose =
		is_filled ? "the copy that is to be filled (seeding) at" : "its replica at";
	struct buf help = { 0 };
	if (runs)
		buf_printf(&help,
			", though its daemons answer: the logs of pando-replicator there and at "
			"its primary say why (`parked`, `volume_fenced`, `log_unreadable`); "
			"`pando scrub %s --now` finds damage",
			volume->name);
	else
		buf_append_literal(
			&help, ": start pando-node and pando-replicator there, see `pando lag`");
	if (is_filled)
		buf_printf(&help, ", or `pando copy remove %s %s`", volume->name, node->name);
	checks_note(checks, VERDICT_BAD, what, "%s %s is not connected%s", whose, node->name,
		buf_terminated(&help));
	buf_deinit(&help);
}

/* False with a note when the replica is no good. */
static bool check_copy(
	struct checks *checks, const struct json *primary, uint32_t node_id, const char *what)
{
	const struct directory_node *node =
		directory_find_node(checks->cluster->directory, node_id);
	const struct json *peer = node ? status_peer(primary, node->name) : NULL;
	const struct json *copy =
		status_volume(cluster_answer_of(checks->cluster, checks->nodes, node_id),
			(uint32_t)json_u64(primary, "id"));
	if (!node)
		checks_note(checks, VERDICT_BAD, what,
			"a copy is at a node that the directory does not know: see `pando volume "
			"show`");
	else if (str_equal(json_text(peer, "chain"), STR("diverged")))
		checks_note(checks, VERDICT_BAD, what,
			"its replica at %s has another log than its primary, which it "
			"followed up to %llu, and counts for nothing: one of the two disks is "
			"bad, see docs/operating.md, Copies that differ",
			node->name, (unsigned long long)json_u64(peer, "verified_lsn"));
	else if (!json_true(peer, "connected"))
		note_unfollowed(checks,
			directory_find_volume(
				checks->cluster->directory, (uint32_t)json_u64(primary, "id")),
			node, what, false);
	else if (json_true(peer, "stalled"))
		checks_note(checks, VERDICT_BAD, what,
			"its replica at %s is connected and does not move: mail is on one site "
			"only, see `pando at-risk`, and the disk and the line of %s",
			node->name, node->name);
	else if (json_u64(peer, "unverified_ms") > COPY_UNVERIFIED_MS_MAX)
		checks_note(checks, VERDICT_BAD, what,
			"its replica at %s has been connected for %llu s and could not be compared "
			"with its primary: the primary's log cannot be read there, see its "
			"replicator's log",
			node->name, (unsigned long long)(json_u64(peer, "unverified_ms") / 1000));
	else
		return check_readiness(checks, node, primary, peer, copy, what);
	return false;
}

/* One that is being filled is no copy yet, and no fault while it comes nearer. */
static void check_seeding(struct checks *checks, const struct directory_volume *volume,
	const struct json *primary, uint32_t node_id, const char *what)
{
	const struct directory_node *node =
		directory_find_node(checks->cluster->directory, node_id);
	const struct json *peer = node ? status_peer(primary, node->name) : NULL;
	const char *name = node ? node->name : "an unknown node";
	if (json_true(peer, "connected"))
		checks_note(checks, VERDICT_WARN, what,
			"%s is being filled with it (seeding, %u %%, %llu of %llu MiB), and counts "
			"as no copy yet: `pando copy add %s %s --wait` shows how far it is",
			name, copy_percent(primary, peer),
			(unsigned long long)json_u64(peer, "acked_lsn") >> 20,
			(unsigned long long)json_u64(primary, "durable_lsn") >> 20, volume->name,
			name);
	else if (node)
		note_unfollowed(checks, volume, node, what, true);
	else
		checks_note(checks, VERDICT_BAD, what,
			"a copy is to be filled at a node that the directory does not know: see "
			"`pando volume show`");
}

/* What an opening waits for (report_wait in node/volume/volumes_report.c), and what helps. */
struct wait {
	const char *words;             /* "": any other */
	bool is_anywhere;              /* else it begins with them */
	const char *sentence, *advice; /* VOLUME stands for its name */
};

static const struct wait waits[] = {
	{ "an explanation", false, "is not served",
		"it goes on by itself when all copies have been heard, and `pando failover VOLUME` "
		"decides at once" },
	{ "its replicator does not answer", true, "is not served",
		"restart pando-replicator on its node" },
	{ "a later epoch", false, "is not served",
		"its mail can be brought into mailboxes of another volume from a backup, by `pando "
		"restore --mailbox`" },
	{ "a copy that has what", false,
		"is not served, as its log here lacks what is known to have been confirmed",
		"start a copy that has it, or `pando failover VOLUME` where one answers (with "
		"--accept-loss where that calls it stale); if all others are lost, `pando open "
		"VOLUME --alone` serves what is here" },
	{ "have answered and are to follow", true, "is not served yet",
		"see their replicators' logs, and `pando failover VOLUME` serves it at another" },
	{ "", false, "is not served yet, because it cannot be known whether its log is whole",
		"`pando open VOLUME --alone` serves at once, and what a copy has more is then kept "
		"as salvage" },
};

static void append_advice(struct str advice, const char *volume, struct buf *out)
{
	const struct str name = STR("VOLUME");
	for (ptrdiff_t at; (at = str_find(advice, name)) >= 0;
		advice = str_from_index(advice, (size_t)at + name.length)) {
		buf_append(out, advice.bytes, (size_t)at);
		buf_append_str(out, str_from(volume));
	}
	buf_append_str(out, advice);
}

static void say_what_it_waits_for(struct checks *checks, const struct directory_volume *volume,
	struct str waits_for, const char *what)
{
	const struct wait *wait = waits;
	struct buf advice = { 0 };
	while (!(wait->is_anywhere ? str_find(waits_for, str_from(wait->words)) >= 0
				   : str_starts_with(waits_for, str_from(wait->words))))
		wait++;
	append_advice(str_from(wait->advice), volume->name, &advice);
	checks_note(checks, VERDICT_BAD, what, "%s: it waits for " STR_FORMAT "; %s",
		wait->sentence, STR_ARG(waits_for), buf_terminated(&advice));
	buf_deinit(&advice);
}

static void say_why_not_served(
	struct checks *checks, const struct directory_volume *volume, const char *what)
{
	const struct json *own = own_of(checks, volume);
	struct str waits_for = json_text(own, "waits_for"), role = json_text(own, "role");
	if (waits_for.length > 0)
		say_what_it_waits_for(checks, volume, waits_for, what);
	else if (volume->replica_count == 0)
		checks_note(checks, VERDICT_BAD, what,
			own ? "its node answers and does not serve it, and it has one copy: see "
			      "that node's log"
			    : "no node serves it, and it has one copy: start its node");
	else if (str_equal(role, STR("fenced")))
		checks_note(checks, VERDICT_BAD, what,
			"its node answers and writes nothing to it: its disk has failed (see that "
			"node's log), or a failover has just been begun; `pando failover %s` "
			"serves it elsewhere",
			volume->name);
	else if (own)
		checks_note(checks, VERDICT_BAD, what,
			"its node answers and does not serve it (" STR_FORMAT
			"): see `pando status` and that node's log, or `pando failover %s`",
			STR_ARG(role), volume->name);
	else
		checks_note(checks, VERDICT_BAD, what,
			"no node serves it: start its node, or `pando failover %s`", volume->name);
}

/* One that was away for so long that nothing was kept back for it any more. False when it is. */
static bool check_stale(struct checks *checks, const struct directory_volume *volume,
	const struct json *primary, uint32_t node_id, const char *what)
{
	const struct directory_node *node =
		directory_find_node(checks->cluster->directory, node_id);
	const struct json *peer = node ? status_peer(primary, node->name) : NULL;
	if (!copy_is_stale(volume, peer))
		return true;
	if (json_true(peer, "connected"))
		checks_note(checks, VERDICT_WARN, what,
			"its replica at %s was away for longer than expunged messages wait for it "
			"(stale) and is catching up: no failover chooses it before",
			node->name);
	else
		checks_note(checks, VERDICT_BAD, what,
			"its replica at %s is away for longer than expunged messages wait for it "
			"(stale), and no failover chooses it before it has caught up: start "
			"pando-node and pando-replicator there, or `pando copy remove %s %s`",
			node->name, volume->name, node->name);
	return false;
}

static void check_volume(struct checks *checks, const struct directory_volume *volume)
{
	char what[96];
	const struct json *primary = cluster_primary_of(checks->cluster, checks->nodes, volume);
	bool is_good = true;
	snprintf(what, sizeof(what), "volume %s", volume->name);
	if (highest_epoch(checks, volume, "epoch") > volume->epoch) {
		checks_note(checks, VERDICT_BAD, what,
			"a copy has a later epoch than the directory, which is behind: who serves "
			"it puts that right within a minute, else see `pando volume list` and "
			"`pando failover %s --dry-run`",
			volume->name);
		return;
	}
	if (!primary) {
		say_why_not_served(checks, volume, what);
		return;
	}
	uint64_t seen = highest_epoch(checks, volume, "seen_epoch");
	if (seen > volume->epoch) {
		checks_note(checks, VERDICT_BAD, what,
			"a copy has heard of epoch %llu, which is later than the directory's, and "
			"confirms nothing of an earlier one: `pando failover %s` begins one above "
			"it",
			(unsigned long long)seen, volume->name);
		is_good = false;
	}
	if (volume->durability != DURABILITY_LOCAL &&
		!cluster_has_copy_elsewhere(checks->cluster, volume)) {
		checks_note(checks, VERDICT_BAD, what,
			"has no copy at another site, so all of its mail is at risk: `pando copy "
			"add %s NODE` makes one",
			volume->name);
		is_good = false;
	} else if (json_u64(primary, "at_risk") > 0) {
		checks_note(checks, VERDICT_BAD, what,
			"%llu messages that were accepted are on one site only: see `pando at-risk "
			"--volume %s` and `pando lag --volume %s`",
			(unsigned long long)json_u64(primary, "at_risk"), volume->name,
			volume->name);
		is_good = false;
	}
	for (unsigned i = 0; i < volume->replica_count; i++) {
		uint32_t node_id = volume->replica_node_ids[i];
		if (volume->replica_seeding[i])
			check_seeding(checks, volume, primary, node_id, what);
		else
			is_good = check_copy(checks, primary, node_id, what) && is_good;
		is_good = check_stale(checks, volume, primary, node_id, what) && is_good;
	}
	if (is_good)
		checks_note(checks, VERDICT_GOOD, what,
			volume->replica_count ? "served and in contact with its replicas"
					      : "served, and it is to have no other copy");
}

/* What a node has of copies that it holds no more: nobody needs it, and it takes room. */
static void check_kept(struct checks *checks, const struct directory_node *node,
	const struct json *answer)
{
	const struct directory *directory = checks->cluster->directory;
	char what[96];
	snprintf(what, sizeof(what), "node %s", node->name);
	for (const struct json *kept = json_first(json_get(answer, "kept")); kept;
		kept = kept->next) {
		uint32_t id = (uint32_t)json_u64(kept, "volume");
		const struct directory_volume *volume = directory_find_volume(directory, id);
		bool is_member = volume && cluster_holds(volume, node->id);
		uint64_t mib = json_u64(kept, "bytes") >> 20;
		char size[32] = "less than 1", name[32];
		if (mib > 0)
			snprintf(size, sizeof(size), "%llu", (unsigned long long)mib);
		/* The directory has no name of one that was removed; its folder has its number. */
		snprintf(name, sizeof(name), "number %u", id);
		checks_note(checks, VERDICT_WARN, what,
			"keeps %s MiB of a copy of volume %s%s that it holds no more, "
			"in " STR_FORMAT "%s",
			size, volume ? volume->name : name, volume ? "" : " (removed)",
			STR_ARG(json_text(kept, "folder")),
			is_member ? ": that goes by itself when its new copy has been filled"
				  : ": delete the folder there when nobody needs it");
	}
}

void check_volumes(struct checks *checks)
{
	size_t at = 0;
	unsigned index = 0;
	const struct directory_node *node;
	while ((node = directory_next_node(checks->cluster->directory, &at)) != NULL) {
		const struct json *answer = checks->kept[index++].answer;
		if (filter_has_node(&checks->filter, node) && !checks->filter.volume)
			check_kept(checks, node, answer);
	}
	size_t position = 0;
	const struct directory_volume *volume;
	while ((volume = directory_next_volume(checks->cluster->directory, &position)) != NULL)
		if (filter_has_volume(&checks->filter, volume))
			check_volume(checks, volume);
}
