#include "node/volume/volumes_internal.h"

#include "core/clock.h"
#include "core/config.h"
#include "core/encode.h"

/* What `pando` asks the node: JSON about its volumes. */

static const char *const role_names[] = { "replica", "opening", "primary", "fenced", "held",
	"closed" };

const char *volumes_state_name(int state)
{
	return role_names[state];
}

static const char *role_of(const struct slot *slot)
{
	return role_names[atomic_load(&slot->volume->numbers.state)];
}

bool volumes_is_stalled(const struct slot *slot, uint32_t node_id)
{
	for (unsigned i = 0; i < VOLUME_COPIES_MAX; i++)
		if (atomic_load(&slot->volume->numbers.stalled_nodes[i]) == node_id)
			return true;
	return false;
}

static const char *const chain_words[] = {
	[COPY_UNVERIFIED] = "unverified", [COPY_VERIFIED] = "verified", [COPY_DIVERGED] = "diverged"
};

/* Whether its log is this one, and since when. */
static void report_chain(const struct slot_replica *replica, struct buf *out)
{
	bool waits = replica->connected && replica->verdict == COPY_UNVERIFIED;
	uint64_t connected_us = clock_mono_us() - replica->connected_us;
	int64_t verdict_us = clock_wall_us() - replica->verdict_since_us;
	uint64_t unverified_us = verdict_us < 0 || (uint64_t)verdict_us > connected_us
		? connected_us
		: (uint64_t)verdict_us;
	buf_printf(out, ", \"chain\": \"%s\", \"chain_since\": \"", chain_words[replica->verdict]);
	encode_time(out, replica->verdict_since_us);
	buf_printf(out, "\", \"verified_lsn\": %llu, \"unverified_ms\": %llu",
		(unsigned long long)replica->verified_lsn,
		(unsigned long long)(waits ? unverified_us / 1000 : 0));
}

/* The directory says that it counts as no copy yet. */
static bool is_seeding(const struct slot *slot, uint32_t node_id)
{
	for (unsigned i = 0; i < slot->other_count; i++)
		if (slot->others[i].node_id == node_id)
			return slot->others[i].is_seeding;
	return false;
}

/* What the directory has to say before a copy is filled that has nothing yet: as many slacks as
 * pass over every UID here, and one more, so that nothing waits for the next. */
static uint64_t slacks_wanted(const struct volume_numbers *numbers)
{
	uint64_t epoch = atomic_load(&numbers->epoch);
	uint64_t wanted = atomic_load(&numbers->highest_uidnext) / UID_SLACK + 2;
	if (wanted > EPOCH_MAX)
		wanted = EPOCH_MAX;
	return wanted > epoch ? wanted - epoch : 0;
}

/* Messages and time are counted as far as the nearest copy has them: of one that is farther nobody
 * knows. */
static void report_distance(
	const struct slot *slot, const struct slot_replica *replica, uint64_t lag, struct buf *out)
{
	const struct volume_numbers *numbers = &slot->volume->numbers;
	bool is_nearest = true;
	for (unsigned i = 0; i < slot->replica_count; i++)
		is_nearest &= slot->replicas[i].acked_lsn <= replica->acked_lsn;
	buf_printf(out, "\"lag_bytes\": %llu, ", (unsigned long long)lag);
	if (is_nearest || lag == 0)
		buf_printf(out, "\"lag_messages\": %llu, \"lag_ms\": %llu",
			(unsigned long long)(lag ? atomic_load(&numbers->at_risk) : 0),
			(unsigned long long)(lag ? atomic_load(&numbers->lag_ms) : 0));
	else
		buf_append_literal(out, "\"lag_messages\": null, \"lag_ms\": null");
}

static void report_peers(struct volumes *volumes, const struct slot *slot, struct buf *out)
{
	uint64_t durable = atomic_load(&slot->volume->numbers.durable_lsn);
	bool first = true;
	for (unsigned i = 0; i < slot->replica_count; i++) {
		const struct slot_replica *replica = &slot->replicas[i];
		const struct directory_node *node =
			directory_find_node(volumes->directory, replica->node_id);
		const struct directory_site *site =
			node ? directory_find_site(volumes->directory, node->site_id) : NULL;
		uint64_t lag = durable > replica->acked_lsn ? durable - replica->acked_lsn : 0;
		buf_printf(out, "%s{\"site\": ", first ? "" : ", ");
		encode_json(out, str_from(site ? site->name : ""));
		buf_append_literal(out, ", \"node\": ");
		encode_json(out, str_from(node ? node->name : ""));
		buf_printf(out,
			", \"connected\": %s, \"seeding\": %s, \"stalled\": %s, "
			"\"acked_lsn\": %llu, ",
			replica->connected ? "true" : "false",
			is_seeding(slot, replica->node_id) ? "true" : "false",
			volumes_is_stalled(slot, replica->node_id) ? "true" : "false",
			(unsigned long long)replica->acked_lsn);
		report_distance(slot, replica, lag, out);
		report_chain(replica, out);
		buf_append_byte(out, '}');
		first = false;
	}
}

/* Why a volume that is being opened is not served yet; "" for all others. */
static void report_wait(const struct slot *slot, struct buf *out)
{
	static const char *const texts[] = { [WAIT_NONE] = "",
		[WAIT_COPIES] = "the other copies: ",
		[WAIT_LOST] = "a copy that has what is known to be missing from its log: ",
		[WAIT_CLAIM] = "the directory, which is to give it an epoch of its own",
		[WAIT_EPOCH] = "a later epoch, of which there is none left",
		[WAIT_ACKS] = "the other copies, which have answered and are to follow",
		[WAIT_EXPLAINED] = "an explanation of a later epoch that was heard: " };
	int wait = atomic_load(&slot->volume->numbers.waits_for);
	struct buf text = { 0 };
	buf_append_str(&text, str_from(texts[wait]));
	const char *others =
		wait == WAIT_COPIES ? "its replicator does not answer" : "there is no other";
	if (wait == WAIT_EXPLAINED)
		buf_append_str(&text,
			str_from(slot->waits_for[0] ? slot->waits_for
						    : "the directory does not know it"));
	if (wait == WAIT_COPIES || wait == WAIT_LOST)
		buf_append_str(&text, str_from(slot->waits_for[0] ? slot->waits_for : others));
	encode_json(out, buf_str(&text));
	buf_deinit(&text);
}

/* Since the leader said where it ends: by its clock, and this one. */
static uint64_t leader_age_ms(const struct volume_numbers *numbers)
{
	uint64_t then = atomic_load(&numbers->leader_time_us), now = (uint64_t)clock_wall_us();
	return then > 0 && now > then ? (now - then) / 1000 : 0;
}

/* As far as it has said: a log that nobody has opened yet says nothing. */
static bool is_whole(const struct volume_numbers *numbers)
{
	return atomic_load(&numbers->durable_lsn) >= atomic_load(&numbers->whole_from);
}

void volumes_status(struct volumes *volumes, struct buf *json_out)
{
	void *value;
	bool first = true;
	buf_append_literal(json_out, "\"node\": ");
	encode_json(json_out, str_from(volumes->config->node));
	buf_append_literal(json_out, ", \"volumes\": [");
	for (size_t i = 0; map_next(volumes->slots, &i, NULL, &value);) {
		struct slot *slot = value;
		struct volume_numbers *numbers = &slot->volume->numbers;
		if (!slot->is_member && atomic_load(&numbers->state) == VOLUME_REPLICA)
			continue; /* it has been let go */
		uint64_t damaged = atomic_load(&numbers->damaged);
		buf_printf(json_out, "%s{\"id\": %u, \"name\": ", first ? "" : ", ", slot->id);
		encode_json(json_out, str_from(slot->name));
		buf_printf(json_out,
			", \"role\": \"%s\", \"is_proven\": %s, \"has_failed\": %s, \"epoch\": "
			"%llu, "
			"\"seen_epoch\": %llu, "
			"\"durable_lsn\": %llu, \"answered_epoch\": %llu, \"answered_lsn\": %llu, "
			"\"applied_lsn\": %llu, "
			"\"leader_lsn\": %llu, "
			"\"leader_age_ms\": %llu, \"is_whole\": %s, \"is_damaged\": %s, "
			"\"damaged_lsn\": %llu, "
			"\"index_usable\": %s, "
			"\"at_risk\": %llu, \"messages\": %llu, \"live_bytes\": %llu, "
			"\"dead_bytes\": %llu, \"kept_bytes\": %llu, \"highest_mailbox_id\": %llu, "
			"\"uid_slacks_wanted\": %llu, "
			"\"peers\": [",
			role_of(slot), atomic_load(&numbers->is_proven) ? "true" : "false",
			atomic_load(&numbers->has_failed) ? "true" : "false",
			(unsigned long long)atomic_load(&numbers->epoch),
			(unsigned long long)atomic_load(&numbers->seen),
			(unsigned long long)atomic_load(&numbers->durable_lsn),
			(unsigned long long)atomic_load(&numbers->answered_epoch),
			(unsigned long long)atomic_load(&numbers->answered_lsn),
			(unsigned long long)atomic_load(&numbers->applied_lsn),
			(unsigned long long)atomic_load(&numbers->leader_lsn),
			(unsigned long long)leader_age_ms(numbers),
			is_whole(numbers) ? "true" : "false", damaged ? "true" : "false",
			(unsigned long long)(damaged ? damaged - 1 : 0),
			atomic_load(&numbers->is_index_usable) ? "true" : "false",
			(unsigned long long)atomic_load(&numbers->at_risk),
			(unsigned long long)atomic_load(&numbers->messages),
			(unsigned long long)atomic_load(&numbers->live_bytes),
			(unsigned long long)atomic_load(&numbers->dead_bytes),
			(unsigned long long)atomic_load(&numbers->kept_bytes),
			(unsigned long long)atomic_load(&numbers->highest_mailbox_id),
			(unsigned long long)slacks_wanted(numbers));
		/* A primary is what others are compared with. */
		bool is_primary = atomic_load(&numbers->state) == VOLUME_PRIMARY;
		if (is_primary)
			report_peers(volumes, slot, json_out);
		buf_printf(json_out, "], \"chain\": \"%s\", \"waits_for\": ",
			is_primary ? "" : chain_words[slot->verdict]);
		report_wait(slot, json_out);
		buf_append_literal(json_out, "}");
		first = false;
	}
	buf_append_byte(json_out, ']');
}
