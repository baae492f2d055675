#include "sim/cluster_internal.h"

#include "sim/on_way.h"
#include "sim/punched.h"
#include "sim/rot.h"
#include "sim/tally.h"

#include <stdio.h>

/* What must hold at every moment, looked at again and again while a cluster runs. */

enum {
	REIGNS_US = 5000,
	/* Comparing bytes costs more. */
	COPIES_US = 300000,
	REIGNS_MAX = 1024,
	/* As the simulation is linked. */
	SEGMENT_BYTES = 256 << 10,
	BLOCK = 4096,
};

/* Who wrote an epoch. */
static struct reign {
	uint64_t epoch;
	int machine; /* that was primary; -1: none was seen */
	uint8_t reign[GROUP_REIGN_LENGTH];
	bool is_known;
} reigns[CLUSTER_VOLUMES][REIGNS_MAX];
static unsigned reign_counts[CLUSTER_VOLUMES];
/* Each run has watchers of its own. */
static uint64_t run;

static struct reign *find_reign(unsigned v, uint64_t epoch)
{
	unsigned i = 0;
	while (i < reign_counts[v] && reigns[v][i].epoch != epoch)
		i++;
	CHECK(i < REIGNS_MAX);
	if (i == reign_counts[v])
		reigns[v][reign_counts[v]++] = (struct reign){ .epoch = epoch, .machine = -1 };
	return &reigns[v][i];
}

static void say(unsigned v, uint64_t epoch, const char *what)
{
	printf("volume %u, epoch %llu: %s\n", v + 1, (unsigned long long)epoch, what);
	cluster_failed = true;
}

/* One machine is primary in an epoch, and all copies have it from one reign. */
static void look_at_reigns(unsigned m, unsigned v)
{
	const struct volume *volume = machines[m]->slots[v].volume;
	if (volume == NULL || cluster_directory_has_lied())
		return;
	if (volume->state == VOLUME_PRIMARY) {
		struct reign *reign = find_reign(v, volume->desired.epoch);
		tally_add(TALLY_CHECK, "4 an epoch has one writer", 1);
		if (reign->machine >= 0 && reign->machine != (int)m)
			say(v, reign->epoch, "two machines are primary");
		reign->machine = (int)m;
	}
	if (volume->index.applied_epoch > 0) {
		struct reign *reign = find_reign(v, volume->index.applied_epoch);
		const uint8_t *applied = volume->index.applied_reign;
		tally_add(TALLY_CHECK, "4 all copies have an epoch from one reign", 1);
		if (reign->is_known && memcmp(reign->reign, applied, GROUP_REIGN_LENGTH) != 0)
			say(v, reign->epoch, "copies have it from two reigns");
		memcpy(reign->reign, applied, GROUP_REIGN_LENGTH);
		reign->is_known = true;
	}
}

/* Of the mailbox that has one. */
static void look_at_quota(unsigned m, unsigned v)
{
	const struct volume *volume = machines[m]->slots[v].volume;
	uint64_t id = 100 * (v + 1) + CLUSTER_MAILBOXES, bytes = 0;
	const struct mailbox *mailbox = volume != NULL && volume->state == VOLUME_PRIMARY
		? index_find_mailbox(&volume->index, id)
		: NULL;
	for (uint32_t i = 0; mailbox != NULL && i < mailbox->folder_count; i++)
		bytes += mailbox->folders[i]->total_bytes;
	tally_add(TALLY_CHECK, "a quota is passed by what was on its way at most", bytes > 0);
	if (bytes > CLUSTER_QUOTA_BYTES + on_way_most(id))
		say(v, volume->desired.epoch, "a quota is passed by more than was on its way");
}

static void look_at_machine(unsigned m, unsigned v)
{
	look_at_reigns(m, v);
	look_at_quota(m, v);
}

static void watch_reigns(void *arg)
{
	if (*(uint64_t *)arg != run)
		return;
	for (unsigned m = 0; m < machine_count; m++)
		for (unsigned v = 0; v < CLUSTER_VOLUMES && world_is_running(m); v++)
			look_at_machine(m, v);
	world_call_after_us(REIGNS_US, watch_reigns, arg);
}

/* ---- bytes ---- */

static size_t read_log(unsigned machine, unsigned v, uint64_t lsn, char *out, size_t length)
{
	char path[64];
	snprintf(path, sizeof(path), "/volumes/%u/%016llx.log", v + 1,
		(unsigned long long)segment_of(lsn));
	return world_read_file(machine, path, lsn % segment_length, out, length);
}

static bool first_group(unsigned machine, unsigned v, uint64_t segment, struct group *group_out)
{
	char header[GROUP_HEADER_LENGTH];
	return read_log(machine, v, segment * segment_length, header, sizeof(header)) ==
		sizeof(header) &&
		group_header_decode(str_of(header, sizeof(header)), segment * segment_length, v + 1,
			group_out);
}

/* Where two copies have a segment whose first group follows the same chain, all that stands in
 * front of it is the same: the segment before is compared. */
static void compare_copies(unsigned v, unsigned a, unsigned b)
{
	static char left[SEGMENT_BYTES], right[SEGMENT_BYTES];
	struct group of_a, of_b;
	uint64_t segment = 1;
	/* A disk that lied has holes that nobody knows of before they are read. */
	if (history_has_losses() || punched_is_under_way(a, v + 1) ||
		punched_is_under_way(b, v + 1))
		return;
	while (first_group(a, v, segment + 1, &of_a))
		segment++;
	segment -= world_pick(segment);
	while (segment > 0 && (!first_group(a, v, segment, &of_a) ||
				      !first_group(b, v, segment, &of_b) ||
				      of_a.chain != of_b.chain))
		segment--;
	if (segment == 0)
		return;
	tally_add(TALLY_CHECK, "5 where (LSN, chain) is equal, the bytes are", 1);
	CHECK(segment_length == SEGMENT_BYTES);
	uint64_t lsn = (segment - 1) * segment_length;
	memset(left, 0, sizeof(left));
	memset(right, 0, sizeof(right));
	read_log(a, v, lsn, left, sizeof(left));
	read_log(b, v, lsn, right, sizeof(right));
	punched_mask(v + 1, lsn, left, right, sizeof(left));
	for (size_t at = 0; at < sizeof(left); at += BLOCK) {
		bool rotten = rot_is_in(a, v + 1, lsn + at, lsn + at + BLOCK) ||
			rot_is_in(b, v + 1, lsn + at, lsn + at + BLOCK);
		if (memcmp(left + at, right + at, BLOCK) == 0 || rotten)
			continue;
		while (left[at] == right[at])
			at++;
		printf("machines %u and %u, at %llu:\n", a, b, (unsigned long long)(lsn + at));
		say(v, of_a.epoch, "two copies differ in front of the same chain");
		return;
	}
}

static void watch_copies(void *arg)
{
	if (*(uint64_t *)arg != run)
		return;
	unsigned a = (unsigned)world_pick(machine_count);
	unsigned b = (a + 1) % machine_count;
	compare_copies((unsigned)world_pick(CLUSTER_VOLUMES), a, b);
	world_call_after_us(COPIES_US, watch_copies, arg);
}

void watch_start(void)
{
	uint64_t *mine = mem_alloc(sizeof(*mine));
	*mine = ++run;
	memset(reign_counts, 0, sizeof(reign_counts));
	watch_reigns(mine);
	watch_copies(mine);
}

/* ---- what is not at risk ---- */

/* The message as the machine that answered has it. */
static const struct message *find_message(const struct history_entry *entry)
{
	struct volume *volume = cluster_volume(entry->answered_by, entry->volume_id);
	struct mailbox *mailbox = index_find_mailbox(&volume->index, entry->mailbox_id);
	struct folder *inbox = mailbox ? mailbox_find_folder(mailbox, STR("INBOX")) : NULL;
	if (inbox == NULL || entry->uid == 0 || folder_load(inbox) < 0)
		return NULL;
	uint32_t at = folder_find_uid(inbox, entry->uid);
	return at < inbox->message_count && inbox->messages[at].uid == entry->uid
		? &inbox->messages[at]
		: NULL;
}

static bool is_rotten_header(unsigned machine, unsigned v, uint64_t lsn)
{
	return rot_is_in(machine, v + 1, lsn, lsn + RECORD_HEADER_LENGTH);
}

/* It had it, and has cut off the damage in front of it: the list does not go back. Its node may not
 * know yet. */
static bool is_being_refilled(unsigned machine, unsigned v, uint64_t lsn)
{
	static const char nothing[RECORD_HEADER_LENGTH];
	char there[RECORD_HEADER_LENGTH];
	const struct volume *volume = machines[machine]->slots[v].volume;
	if (!rot_has_been() || machine != rot_machine() || volume == NULL)
		return false;
	return volume->reader_end <= lsn ||
		read_log(machine, v, lsn, there, sizeof(there)) < sizeof(there) ||
		memcmp(there, nothing, sizeof(there)) == 0;
}

void watch_safe(const struct history_entry *entry)
{
	const struct message *message = find_message(entry);
	char here[RECORD_HEADER_LENGTH], there[RECORD_HEADER_LENGTH];
	unsigned v = entry->volume_id - 1, copies = 0;
	if (message == NULL || history_has_losses())
		return;
	if (read_log(entry->answered_by, v, message->body_lsn, here, sizeof(here)) < sizeof(here))
		return;
	for (unsigned m = 0; m < machine_count; m++)
		copies += m != entry->answered_by &&
			(is_being_refilled(m, v, message->body_lsn) ||
				cluster_has_just_thrown(v + 1, m) ||
				(read_log(m, v, message->body_lsn, there, sizeof(there)) ==
						sizeof(there) &&
					(memcmp(here, there, sizeof(here)) == 0 ||
						is_rotten_header(entry->answered_by, v,
							message->body_lsn) ||
						is_rotten_header(m, v, message->body_lsn))));
	tally_add(TALLY_CHECK, "1 what is not listed as at risk is on two sites", 1);
	if (copies == 0) {
		printf("machine %u, uid %u at %llu, %llu us:\n", entry->answered_by, entry->uid,
			(unsigned long long)message->body_lsn, (unsigned long long)world_now_us());
		say(v, entry->answered_epoch, "an answer is not at risk and on one site");
	}
}
