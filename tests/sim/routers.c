#include "sim/routers.h"

#include "router/forward.h"
#include "router/queue_item.h"
#include "router/queue_peer.h"
#include "sim/cluster_internal.h"
#include "sim/internal.h"
#include "sim/mail.h"
#include "sim/rot.h"
#include "sim/tally.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	/* How often is looked what is still queued: less than a delivery takes. */
	LOOK_US = 10000,
	LIFETIME_S = 1000000000, /* longer than clocks jump */
	ID_LENGTH = 33,
};

/* One life of a router's process; what a crash leaves is never touched again. */
struct front {
	struct router router;
	struct config config;
};

static struct front *fronts[CLUSTER_ROUTERS];
static bool cut_off[CLUSTER_ROUTERS];
static unsigned victim;
/* Answered 250, and not seen to have been handed over. */
static size_t *pending;
static size_t pending_count, pending_capacity;
static uint64_t run;

bool router_is(unsigned machine)
{
	return machine >= CLUSTER_ROUTER_FIRST && machine < CLUSTER_ROUTER_FIRST + CLUSTER_ROUTERS;
}

void router_cut_off(unsigned machine, bool is_cut_off)
{
	cut_off[machine - CLUSTER_ROUTER_FIRST] = is_cut_off;
}

bool router_is_cut_off(unsigned machine)
{
	return cut_off[machine - CLUSTER_ROUTER_FIRST];
}

static void on_start(void *arg)
{
	struct front *front = arg;
	struct error error;
	unsigned number = front->router.loop->machine - CLUSTER_ROUTER_FIRST;
	char text[32];
	front->config = (struct config){ .remote_wait_ms_max = CLUSTER_REMOTE_WAIT_MS,
		.forward_timeout_ms = 2000,
		.queue_retry_ms_min = 200,
		.queue_retry_ms_max = 3000,
		.queue_lifetime_s = LIFETIME_S,
		.message_bytes_max = 1 << 20,
		.data_dir = str_to_heap(STR("/data")),
		.relay_host = str_to_heap(STR("")),
		.hostname = str_to_heap(STR("mx.example.org")) };
	snprintf(text, sizeof(text), "site-%u", number);
	front->config.site = str_to_heap(str_from(text));
	snprintf(text, sizeof(text), "machine-%u:26", front->router.loop->machine);
	front->config.router_queue_listen = str_to_heap(str_from(text));
	front->router.config = &front->config;
	front->router.directory = directory_of(front->router.loop->machine);
	list_init(&front->router.smtp_sessions);
	front->router.forward = forward_create(&front->router);
	CHECK(queue_open(&front->router, &front->router.queue, &error) == 0);
	CHECK(queue_peers_open(&front->router, (struct tls_context *)front,
		      &front->router.queue_peers, &error) == 0);
}

void router_restart(unsigned machine)
{
	struct front *front = mem_alloc(sizeof(*front));
	fronts[machine - CLUSTER_ROUTER_FIRST] = front;
	front->router.loop = world_start_process(machine, NODE_PROCESS);
	world_run_in(front->router.loop, on_start, front);
}

/* NULL: it is off, or has not read its log yet. */
static struct queue *queue_of(unsigned number)
{
	struct queue *queue = world_is_running(CLUSTER_ROUTER_FIRST + number)
		? fronts[number]->router.queue
		: NULL;
	return queue != NULL && queue_is_known(queue) ? queue : NULL;
}

/* ---- what is accepted ---- */

static void add_pending(size_t entry)
{
	if (pending_count == pending_capacity) {
		pending_capacity = pending_capacity ? 2 * pending_capacity : 256;
		pending = mem_resize(pending, pending_capacity * sizeof(*pending));
	}
	pending[pending_count++] = entry;
}

static void id_of(const struct history_entry *entry, char id[ID_LENGTH])
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < DELIVERY_ID_LENGTH; i++) {
		id[2 * i] = digits[entry->delivery_id[i] >> 4];
		id[2 * i + 1] = digits[entry->delivery_id[i] & 15];
	}
	id[ID_LENGTH - 1] = '\0';
}

/* Which routers have it now, of those that can be asked. */
static unsigned find_holders(const struct history_entry *entry)
{
	char id[ID_LENGTH];
	unsigned holders = 0;
	id_of(entry, id);
	for (unsigned i = 0; i < CLUSTER_ROUTERS; i++) {
		struct queue *queue = queue_of(i);
		if (queue != NULL && queue_find(queue, str_from(id)) != NULL)
			holders |= 1u << i;
	}
	return holders;
}

struct acceptance {
	size_t entry;
	unsigned number;
};

static void on_queued(void *arg, int status)
{
	struct acceptance acceptance = *(struct acceptance *)arg;
	struct history_entry *entry = history_entry(acceptance.entry);
	free(arg);
	tally_add(TALLY_CHECK,
		status == 0 ? "messages a router's queue took" : "messages a queue refused", 1);
	if (status < 0)
		return;
	entry->queued = true;
	entry->queued_us = world_now_us();
	entry->queue_holders = find_holders(entry) | 1u << acceptance.number;
	add_pending(acceptance.entry);
}

static void on_accept(void *arg)
{
	struct acceptance *acceptance = arg;
	struct history_entry *entry = history_entry(acceptance->entry);
	struct buf message = { 0 };
	char address[32];
	/* It may have been delivered before its copy is confirmed. */
	entry->queued_epoch = truths[entry->volume_id - 1].epoch;
	snprintf(address, sizeof(address), "m%llu@example.org",
		(unsigned long long)entry->mailbox_id);
	mail_write(acceptance->entry + 1, &message);
	struct queue_recipient recipient = { .kind = QUEUE_HOME,
		.mailbox_id = entry->mailbox_id,
		.address = address,
		.original = address,
		.orcpt = "",
		.reply = "" };
	struct queue_entry queued = { .accepted_wall_us = 1700000000000000,
		.sender = "",
		.envid = "",
		.wants_copy = true,
		.body = bytes_create(buf_length(&message)),
		.recipients = &recipient,
		.recipient_count = 1 };
	memcpy(queued.delivery_id, entry->delivery_id, sizeof(queued.delivery_id));
	memcpy(queued.body->data, buf_str(&message).bytes, buf_length(&message));
	queue_add(fronts[acceptance->number]->router.queue, &queued, on_queued, acceptance);
	bytes_unref(&queued.body);
	buf_deinit(&message);
}

void router_accept(unsigned machine, size_t entry)
{
	if (!world_is_running(machine))
		return;
	struct acceptance *acceptance = mem_alloc(sizeof(*acceptance));
	*acceptance = (struct acceptance){ entry, machine - CLUSTER_ROUTER_FIRST };
	world_call_on(machine, 100, on_accept, acceptance);
}

void routers_accept(size_t entry)
{
	router_accept(CLUSTER_ROUTER_FIRST + (unsigned)world_pick(CLUSTER_ROUTERS), entry);
}

/* ---- what is in their queues ---- */

unsigned router_queued(unsigned machine)
{
	struct queue *queue = queue_of(machine - CLUSTER_ROUTER_FIRST);
	return queue ? queue_count(queue) : 0;
}

unsigned router_arriving(unsigned machine)
{
	struct queue *queue = queue_of(machine - CLUSTER_ROUTER_FIRST);
	unsigned count = 0;
	if (queue == NULL)
		return 0;
	list_for_each (entry, &queue->additions)
		count++;
	return count;
}

const struct queue_item *router_item(unsigned machine, size_t entry)
{
	struct queue *queue = queue_of(machine - CLUSTER_ROUTER_FIRST);
	char id[ID_LENGTH];
	id_of(history_entry(entry), id);
	return queue ? queue_find(queue, str_from(id)) : NULL;
}

/* ---- what becomes of it ---- */

/* The machine that serves the volume, in the latest epoch, and has stored it; -1: none. */
static int home_of(const struct history_entry *entry)
{
	uint8_t key[16];
	uint64_t epoch = 0;
	int home = -1;
	dedupe_key(entry->delivery_id, entry->mailbox_id, key);
	for (unsigned m = 0; m < machine_count; m++) {
		struct volume *volume =
			world_is_running(m) ? cluster_volume(m, entry->volume_id) : NULL;
		if (volume == NULL || volume->state != VOLUME_PRIMARY ||
			volume->desired.epoch < epoch || !dedupe_has(&volume->index.dedupe, key))
			continue;
		epoch = volume->desired.epoch;
		home = (int)m;
	}
	return home;
}

/* True: it is in no queue any more, and its home has answered. */
static bool is_handed_over(struct history_entry *entry)
{
	int home = home_of(entry);
	unsigned holders = find_holders(entry);
	entry->queue_holders |= holders;
	entry->was_home |= home >= 0;
	for (unsigned i = 0; i < CLUSTER_ROUTERS; i++)
		if (queue_of(i) == NULL)
			return false;
	if (holders != 0)
		return false;
	/* One that was deposed, and stood still when it had stored it, has answered nobody. */
	if (home >= 0 &&
		cluster_volume((unsigned)home, entry->volume_id)->desired.epoch >=
			truths[entry->volume_id - 1].epoch)
		history_answered(entry, (unsigned)home, 0);
	entry->handed_over = true;
	tally_add(TALLY_CHECK,
		home >= 0 ? "queued messages seen at their home"
			  : "queued messages that left a queue unseen",
		1);
	return true;
}

static void look(void *arg)
{
	size_t kept = 0;
	if (*(uint64_t *)arg != run)
		return;
	for (size_t i = 0; i < pending_count; i++)
		if (!is_handed_over(history_entry(pending[i])))
			pending[kept++] = pending[i];
	pending_count = kept;
	world_call_after_us(LOOK_US, look, arg);
}

void routers_start(void)
{
	uint64_t *mine = mem_alloc(sizeof(*mine));
	*mine = ++run;
	pending_count = 0;
	victim = (unsigned)world_pick(CLUSTER_ROUTERS);
	for (unsigned i = 0; i < CLUSTER_ROUTERS; i++) {
		cut_off[i] = false;
		router_restart(CLUSTER_ROUTER_FIRST + i);
	}
	look(mine);
}

/* ---- losses ---- */

/* Nobody else has it: it is nobody's fault. */
static void excuse(unsigned number, uint64_t since_us)
{
	for (size_t i = 0; i < pending_count; i++) {
		struct history_entry *entry = history_entry(pending[i]);
		if (entry->queued_us < since_us)
			continue;
		entry->queue_holders &= ~(1u << number);
		entry->queue_excused |= entry->queue_holders == 0;
	}
}

void routers_disk_lost(unsigned machine, uint64_t since_us)
{
	excuse(machine - CLUSTER_ROUTER_FIRST, since_us);
}

void routers_rot(unsigned machine)
{
	char path[WORLD_PATH_MAX];
	uint64_t size;
	unsigned rotten = CLUSTER_ROUTER_FIRST + victim;
	(void)machine;
	if (!world_pick_file(rotten, "/data/", path, &size))
		return;
	uint64_t offset = world_pick(size);
	if (world_pick(2) == 0)
		offset = offset / GROUP_ALIGNMENT * GROUP_ALIGNMENT + world_pick(200);
	if (offset >= size)
		return;
	world_rot(rotten, path, offset);
	excuse(victim, 0);
}

/* ---- the end ---- */

bool routers_check(void)
{
	const struct history *history = cluster_history();
	bool good = true;
	for (size_t i = 0; i < history->count; i++) {
		const struct history_entry *entry = &history->entries[i];
		/* A home that answered, and was passed over, is another promise. */
		bool was_passed_over = entry->was_home ||
			entry->queued_epoch != truths[entry->volume_id - 1].epoch ||
			history_has_losses() || rot_was_in(entry->volume_id) ||
			cluster_directory_has_lied();
		if (!entry->queued || entry->queue_excused)
			continue;
		bool is_queued = !entry->handed_over && find_holders(entry) != 0;
		tally_add(TALLY_CHECK, "queued messages that wait at the end", is_queued);
		if (entry->handed_over && was_passed_over)
			continue;
		tally_add(TALLY_CHECK, "1 what a router answered is delivered, or in a queue", 1);
		if (entry->found > 0 || is_queued)
			continue;
		printf("mail %zu (volume %u, mailbox %llu) was taken by a router at %llu us and is "
		       "nowhere: holders %x, handed over %d\n",
			i + 1, entry->volume_id, (unsigned long long)entry->mailbox_id,
			(unsigned long long)entry->queued_us, entry->queue_holders,
			entry->handed_over);
		good = false;
	}
	return good;
}
