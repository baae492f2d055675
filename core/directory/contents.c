#include "core/directory/contents.h"

#include "core/directory/domain.h"
#include "core/encode.h"
#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct copy_row {
	uint64_t id, volume_id, node_id;
	uint8_t slot;
	bool is_seeding;
};

struct domain_row {
	uint64_t id;
	char *name;
	unsigned keep_expunged_days; /* 0: it keeps none */
	/* The postmaster when no entry names one; 0 when the domain is empty. */
	uint64_t first_mailbox_id;
};

struct mailbox_row {
	struct directory_mailbox mailbox;
	int own_durability; /* -1: the volume's */
	char *address;
};

struct alias_row {
	char *address, *target;
};

/* All rows of one alias address. */
struct alias_targets {
	struct buf rows; /* struct alias_row * each */
};

enum {
	/* Aliases of aliases of aliases: more is a loop or a maze. */
	ALIAS_DEPTH_MAX = 5,
	/* Mailboxes one address may expand to. */
	RESOLVED_MAX = 1000,
};

static uint64_t number(const char *text)
{
	return text ? strtoull(text, NULL, 10) : 0;
}

static void copy_text(char *out, size_t size, const char *text)
{
	snprintf(out, size, "%s", text ? text : "");
}

static char *heap_text(const char *text)
{
	return str_to_heap(str_from(text ? text : ""));
}

static int durability_of(const char *text)
{
	static const char *const names[] = { "remote", "strict", "local" };
	for (unsigned i = 0; text && i < array_length(names); i++)
		if (strcmp(text, names[i]) == 0)
			return (int)i;
	return -1;
}

struct str directory_address_key(struct str address, char out[DIRECTORY_ADDRESS_MAX])
{
	char domain_space[DOMAIN_LENGTH_MAX];
	if (address.length > DIRECTORY_ADDRESS_MAX)
		return STR("");
	for (size_t i = 0; i < address.length; i++)
		out[i] = ascii_lower(address.bytes[i]);
	struct str key = str_of(out, address.length);
	size_t behind_at = (size_t)(str_find_last_byte(key, '@') + 1);
	if (behind_at == 0)
		return key;
	struct str domain = domain_canonical(str_from_index(key, behind_at), domain_space);
	if (domain.length == 0)
		return key; /* malformed: it is what it is */
	if (behind_at + domain.length > DIRECTORY_ADDRESS_MAX)
		return STR("");
	memcpy(out + behind_at, domain.bytes, domain.length);
	return str_of(out, behind_at + domain.length);
}

static void *by_id(const struct contents *contents, enum directory_kind kind, uint64_t id)
{
	return map_get(contents->rows[kind], map_key_u64(&id));
}

void contents_init(struct contents *contents)
{
	for (unsigned kind = 0; kind < KIND_COUNT; kind++)
		contents->rows[kind] = map_create();
	contents->node_names = map_create();
	contents->router_names = map_create();
	contents->domain_names = map_create();
	contents->mailbox_addresses = map_create();
	contents->alias_addresses = map_create();
}

static void forget_alias(struct contents *contents, struct alias_row *row)
{
	char space[DIRECTORY_ADDRESS_MAX];
	struct str key = directory_address_key(str_from(row->address), space);
	struct alias_targets *targets = map_get(contents->alias_addresses, key);
	if (targets) {
		struct buf kept = { 0 };
		struct str all = buf_str(&targets->rows);
		for (size_t i = 0; i < all.length; i += sizeof(row))
			if (memcmp(all.bytes + i, &row, sizeof(row)) != 0)
				buf_append(&kept, all.bytes + i, sizeof(row));
		buf_deinit(&targets->rows);
		targets->rows = kept;
		if (buf_length(&kept) == 0) {
			map_remove(contents->alias_addresses, key);
			buf_deinit(&targets->rows);
			free(targets);
		}
	}
	free(row->address);
	free(row->target);
}

static void forget(struct contents *contents, enum directory_kind kind, uint64_t id)
{
	void *row = map_remove(contents->rows[kind], map_key_u64(&id));
	char space[DIRECTORY_ADDRESS_MAX];
	if (!row)
		return;
	if (kind == KIND_NODE) {
		map_remove(contents->node_names, str_from(((struct directory_node *)row)->name));
	} else if (kind == KIND_ROUTER) {
		map_remove(
			contents->router_names, str_from(((struct directory_router *)row)->name));
	} else if (kind == KIND_DOMAIN) {
		struct domain_row *domain = row;
		map_remove(contents->domain_names, str_from(domain->name));
		free(domain->name);
	} else if (kind == KIND_MAILBOX) {
		struct mailbox_row *mailbox = row;
		struct str key = directory_address_key(mailbox->mailbox.address, space);
		if (map_get(contents->mailbox_addresses, key) == row)
			map_remove(contents->mailbox_addresses, key);
		free(mailbox->address);
	} else if (kind == KIND_ALIAS) {
		forget_alias(contents, row);
	}
	free(row);
}

static void forget_all(struct contents *contents)
{
	for (unsigned kind = 0; kind < KIND_COUNT; kind++) {
		size_t position = 0;
		struct str key;
		void *row;
		/* Removal disturbs iteration: start again after each. */
		while (position = 0, map_next(contents->rows[kind], &position, &key, &row)) {
			uint64_t id;
			memcpy(&id, key.bytes, sizeof(id));
			forget(contents, kind, id);
		}
	}
}

void contents_deinit(struct contents *contents)
{
	forget_all(contents);
	for (unsigned kind = 0; kind < KIND_COUNT; kind++)
		map_destroy(&contents->rows[kind]);
	map_destroy(&contents->node_names);
	map_destroy(&contents->router_names);
	map_destroy(&contents->domain_names);
	map_destroy(&contents->mailbox_addresses);
	map_destroy(&contents->alias_addresses);
	buf_deinit(&contents->news);
}

static void *add_node(struct contents *contents, const struct directory_row *row)
{
	struct directory_node *node = mem_alloc(sizeof(*node));
	node->id = (uint32_t)row->id;
	node->site_id = (uint32_t)number(row->columns[0]);
	copy_text(node->name, sizeof(node->name), row->columns[1]);
	copy_text(node->lmtp, sizeof(node->lmtp), row->columns[2]);
	copy_text(node->imap, sizeof(node->imap), row->columns[3]);
	copy_text(node->control, sizeof(node->control), row->columns[4]);
	copy_text(node->replicator, sizeof(node->replicator), row->columns[5]);
	map_set(contents->node_names, str_from(node->name), node);
	return node;
}

static void *add_router(struct contents *contents, const struct directory_row *row)
{
	struct directory_router *router = mem_alloc(sizeof(*router));
	router->id = (uint32_t)row->id;
	router->site_id = (uint32_t)number(row->columns[0]);
	copy_text(router->name, sizeof(router->name), row->columns[1]);
	copy_text(router->control, sizeof(router->control), row->columns[2]);
	copy_text(router->queue, sizeof(router->queue), row->columns[3]);
	map_set(contents->router_names, str_from(router->name), router);
	return router;
}

static void *add_volume(const struct directory_row *row)
{
	struct directory_volume *volume = mem_alloc(sizeof(*volume));
	volume->id = (uint32_t)row->id;
	copy_text(volume->name, sizeof(volume->name), row->columns[0]);
	volume->epoch = number(row->columns[1]);
	if (!decode_hex(
		    str_from(row->columns[2] ? row->columns[2] : ""), volume->reign, REIGN_LENGTH))
		log_error("directory_bad_reign", "volume=%u", volume->id);
	volume->primary_node_id = (uint32_t)number(row->columns[3]);
	int durability = durability_of(row->columns[4]);
	volume->durability = durability < 0 ? DURABILITY_REMOTE : (enum durability)durability;
	volume->unclean = sql_is_true(row->columns[5]);
	volume->epoch_start_lsn = number(row->columns[6]);
	volume->token = number(row->columns[7]);
	volume->clean_after = number(row->columns[8]);
	volume->incarnation = number(row->columns[9]);
	volume->uid_slacks = number(row->columns[10]);
	volume->freed_epoch = number(row->columns[11]);
	volume->freed_lsn = number(row->columns[12]);
	return volume;
}

static void *add_domain(struct contents *contents, const struct directory_row *row)
{
	char space[DOMAIN_LENGTH_MAX];
	struct domain_row *domain = mem_alloc(sizeof(*domain));
	domain->id = row->id;
	/* A row may be older than the canonical form. */
	struct str stored = str_from(row->columns[0] ? row->columns[0] : "");
	struct str name = domain_canonical(stored, space);
	domain->name = str_to_heap(name.length > 0 ? name : stored);
	uint64_t days = number(row->columns[1]);
	domain->keep_expunged_days =
		days < KEEP_EXPUNGED_DAYS_MAX ? (unsigned)days : KEEP_EXPUNGED_DAYS_MAX;
	map_set(contents->domain_names, str_from(domain->name), domain);
	return domain;
}

static void *add_mailbox(struct contents *contents, const struct directory_row *row)
{
	char space[DIRECTORY_ADDRESS_MAX];
	struct mailbox_row *mailbox = mem_alloc(sizeof(*mailbox));
	mailbox->address = heap_text(row->columns[0]);
	mailbox->own_durability = durability_of(row->columns[3]);
	mailbox->mailbox = (struct directory_mailbox){
		.id = row->id,
		.address = str_from(mailbox->address),
		.volume_id = (uint32_t)number(row->columns[2]),
		.enabled = sql_is_true(row->columns[4]),
		.quota_bytes = number(row->columns[5]),
		.domain_id = number(row->columns[1]),
	};
	if (!decode_hex(str_from(row->columns[6] ? row->columns[6] : ""), mailbox->mailbox.mark,
		    MAILBOX_MARK_LENGTH))
		log_error("directory_bad_mark", "mailbox=%llu", (unsigned long long)row->id);
	map_set(contents->mailbox_addresses,
		directory_address_key(mailbox->mailbox.address, space), mailbox);
	return mailbox;
}

static void *add_alias(struct contents *contents, const struct directory_row *row)
{
	char space[DIRECTORY_ADDRESS_MAX];
	struct alias_row *alias = mem_alloc(sizeof(*alias));
	alias->address = heap_text(row->columns[0]);
	alias->target = heap_text(row->columns[1]);
	struct str key = directory_address_key(str_from(alias->address), space);
	struct alias_targets *targets = map_get(contents->alias_addresses, key);
	if (!targets) {
		targets = mem_alloc(sizeof(*targets));
		map_set(contents->alias_addresses, key, targets);
	}
	buf_append(&targets->rows, &alias, sizeof(alias));
	return alias;
}

/* "SCRAM-SHA-256$4096:<salt>$<stored key>:<server key>", the three in base64. */
bool directory_parse_credential(struct str text, struct directory_credential *credential)
{
	struct str scheme, parameters, iterations, salt, stored_key, rest = text;
	uint64_t count;
	if (!str_next(&rest, '$', &scheme) || !str_equal(scheme, STR("SCRAM-SHA-256")) ||
		!str_next(&rest, '$', &parameters) || !str_next(&parameters, ':', &iterations) ||
		!str_next(&rest, ':', &stored_key) || !str_to_u64(iterations, UINT32_MAX, &count) ||
		count == 0)
		return false;
	salt = parameters;
	struct buf bytes = { 0 };
	bool good = decode_base64(&bytes, salt) && buf_length(&bytes) <= SCRAM_SALT_MAX;
	if (good) {
		credential->iterations = (uint32_t)count;
		credential->salt_length = buf_length(&bytes);
		memcpy(credential->salt, buf_str(&bytes).bytes, credential->salt_length);
		buf_clear(&bytes);
		good = decode_base64(&bytes, stored_key) && decode_base64(&bytes, rest) &&
			buf_length(&bytes) == 2 * SHA256_LENGTH;
	}
	if (good) {
		memcpy(credential->stored_key, buf_str(&bytes).bytes, SHA256_LENGTH);
		memcpy(credential->server_key, buf_str(&bytes).bytes + SHA256_LENGTH,
			SHA256_LENGTH);
	}
	buf_deinit(&bytes);
	return good;
}

static void *add_credential(const struct directory_row *row)
{
	struct directory_credential *credential = mem_alloc(sizeof(*credential));
	if (!directory_parse_credential(
		    str_from(row->columns[0] ? row->columns[0] : ""), credential)) {
		log_error("directory_bad_credential", "mailbox=%llu", (unsigned long long)row->id);
		memset(credential, 0, sizeof(*credential));
	}
	return credential;
}

static void add(struct contents *contents, const struct directory_row *row)
{
	void *added = NULL;
	forget(contents, row->kind, row->id);
	switch (row->kind) {
	case KIND_SITE: {
		struct directory_site *site = added = mem_alloc(sizeof(*site));
		site->id = (uint32_t)row->id;
		copy_text(site->name, sizeof(site->name), row->columns[0]);
		break;
	}
	case KIND_NODE: added = add_node(contents, row); break;
	case KIND_ROUTER: added = add_router(contents, row); break;
	case KIND_VOLUME: added = add_volume(row); break;
	case KIND_VOLUME_COPY: {
		struct copy_row *copy = added = mem_alloc(sizeof(*copy));
		copy->id = row->id;
		copy->volume_id = number(row->columns[0]);
		copy->node_id = number(row->columns[1]);
		copy->slot = (uint8_t)number(row->columns[3]);
		copy->is_seeding = sql_is_true(row->columns[4]);
		break;
	}
	case KIND_DOMAIN: added = add_domain(contents, row); break;
	case KIND_MAILBOX: added = add_mailbox(contents, row); break;
	case KIND_ALIAS: added = add_alias(contents, row); break;
	case KIND_CREDENTIAL: added = add_credential(row); break;
	case KIND_POLICY:
	case KIND_COUNT: return;
	}
	map_set(contents->rows[row->kind], map_key_u64(&row->id), added);
}

/* Replica lists of all volumes from the copies; there are hundreds at most. */
static void link_copies(struct contents *contents)
{
	size_t position = 0;
	struct str key;
	void *row;
	while (map_next(contents->rows[KIND_VOLUME], &position, &key, &row))
		((struct directory_volume *)row)->replica_count = 0;
	position = 0;
	while (map_next(contents->rows[KIND_VOLUME_COPY], &position, &key, &row)) {
		const struct copy_row *copy = row;
		struct directory_volume *volume = by_id(contents, KIND_VOLUME, copy->volume_id);
		if (volume == NULL)
			continue;
		if (volume->primary_node_id == copy->node_id) {
			volume->primary_slot = copy->slot;
			volume->primary_copy = copy->id;
		} else if (volume->replica_count < VOLUME_COPIES_MAX) {
			volume->replica_slots[volume->replica_count] = copy->slot;
			volume->replica_copies[volume->replica_count] = copy->id;
			volume->replica_seeding[volume->replica_count] = copy->is_seeding;
			volume->replica_node_ids[volume->replica_count++] = (uint32_t)copy->node_id;
		}
	}
}

/* Resolved durabilities, and each domain's fallback postmaster. */
static void link_mailboxes(struct contents *contents)
{
	size_t position = 0;
	struct str key;
	void *row;
	while (map_next(contents->rows[KIND_DOMAIN], &position, &key, &row))
		((struct domain_row *)row)->first_mailbox_id = 0;
	position = 0;
	while (map_next(contents->rows[KIND_MAILBOX], &position, &key, &row)) {
		struct mailbox_row *mailbox = row;
		struct directory_volume *volume =
			by_id(contents, KIND_VOLUME, mailbox->mailbox.volume_id);
		struct domain_row *domain =
			by_id(contents, KIND_DOMAIN, mailbox->mailbox.domain_id);
		if (mailbox->own_durability >= 0)
			mailbox->mailbox.durability = (enum durability)mailbox->own_durability;
		else
			mailbox->mailbox.durability =
				volume ? volume->durability : DURABILITY_REMOTE;
		if (domain &&
			(!domain->first_mailbox_id ||
				mailbox->mailbox.id < domain->first_mailbox_id))
			domain->first_mailbox_id = mailbox->mailbox.id;
	}
}

void contents_apply(struct contents *contents, const struct directory_batch *batch)
{
	bool touched[KIND_COUNT] = { false };
	if (batch->full)
		forget_all(contents);
	buf_clear(&contents->news);
	contents->is_news_all = batch->full;
	for (size_t i = 0; i < batch_changed_count(batch); i++) {
		const struct directory_row *row = &batch_changed(batch)[i];
		touched[row->kind] = true;
		forget(contents, row->kind, row->id);
		if (!batch->full && (row->kind == KIND_MAILBOX || row->kind == KIND_CREDENTIAL))
			buf_append(&contents->news, &row->id, sizeof(row->id));
	}
	for (size_t i = 0; i < batch_row_count(batch); i++) {
		touched[batch_rows(batch)[i].kind] = true;
		add(contents, &batch_rows(batch)[i]);
	}
	if (batch->full || touched[KIND_VOLUME] || touched[KIND_VOLUME_COPY])
		link_copies(contents);
	if (batch->full || touched[KIND_VOLUME] || touched[KIND_MAILBOX] || touched[KIND_DOMAIN])
		link_mailboxes(contents);
}

static const struct contents *contents_of(const struct directory *directory)
{
	return &((const struct directory_head *)(const void *)directory)->contents;
}

struct resolution {
	const struct contents *contents;
	void (*fn)(void *arg, const struct directory_mailbox *mailbox);
	void *arg;
	unsigned count;
	uint64_t seen[RESOLVED_MAX];
	unsigned steps;
};

static void found(struct resolution *resolution, const struct directory_mailbox *mailbox)
{
	for (unsigned i = 0; i < resolution->count; i++)
		if (resolution->seen[i] == mailbox->id)
			return;
	if (resolution->count == RESOLVED_MAX)
		return;
	resolution->seen[resolution->count++] = mailbox->id;
	if (resolution->fn)
		resolution->fn(resolution->arg, mailbox);
}

/* Mailbox or alias of exactly this lower-case address. Depth is bounded by ALIAS_DEPTH_MAX, work by
 * RESOLVED_MAX steps. */
static void expand(struct resolution *resolution, struct str key, unsigned depth)
{
	const struct mailbox_row *mailbox = map_get(resolution->contents->mailbox_addresses, key);
	if (mailbox) {
		found(resolution, &mailbox->mailbox);
		return;
	}
	const struct alias_targets *targets = map_get(resolution->contents->alias_addresses, key);
	if (!targets || depth == ALIAS_DEPTH_MAX)
		return;
	struct str all = buf_str(&targets->rows);
	for (size_t i = 0; i < all.length && resolution->steps++ < RESOLVED_MAX;
		i += sizeof(void *)) {
		struct alias_row *row;
		char space[DIRECTORY_ADDRESS_MAX];
		memcpy(&row, all.bytes + i, sizeof(row));
		expand(resolution, directory_address_key(str_from(row->target), space), depth + 1);
	}
}

static void expand_postmaster(struct resolution *resolution, const struct domain_row *domain)
{
	const struct mailbox_row *mailbox =
		by_id(resolution->contents, KIND_MAILBOX, domain->first_mailbox_id);
	if (mailbox)
		found(resolution, &mailbox->mailbox);
}

/* The domain added first: "postmaster" without a domain is its. */
static const struct domain_row *first_domain(const struct contents *contents)
{
	const struct domain_row *first = NULL;
	size_t position = 0;
	struct str key;
	void *row;
	while (map_next(contents->rows[KIND_DOMAIN], &position, &key, &row)) {
		const struct domain_row *domain = row;
		if (domain->first_mailbox_id && (!first || domain->id < first->id))
			first = domain;
	}
	return first;
}

enum directory_found directory_resolve(const struct directory *directory, struct str address,
	void (*fn)(void *arg, const struct directory_mailbox *mailbox), void *arg)
{
	struct resolution resolution = { .contents = contents_of(directory), .fn = fn, .arg = arg };
	char space[DIRECTORY_ADDRESS_MAX], plain[2 * DIRECTORY_ADDRESS_MAX];
	struct str key = directory_address_key(address, space);
	const struct domain_row *domain;
	struct buf whole = { 0 };
	if (str_equal(key, STR("postmaster"))) {
		domain = first_domain(resolution.contents);
		if (!domain)
			return DIRECTORY_NO_USER;
		int length = snprintf(plain, sizeof(plain), "postmaster@%s", domain->name);
		key = str_of(plain, (size_t)length < sizeof(plain) ? (size_t)length : 0);
	} else {
		ptrdiff_t at = str_find_last_byte(key, '@');
		if (at < 0)
			return DIRECTORY_NO_DOMAIN;
		domain = map_get(
			resolution.contents->domain_names, str_from_index(key, (size_t)at + 1));
		if (!domain)
			return DIRECTORY_NO_DOMAIN;
	}
	expand(&resolution, key, 0);
	size_t local_length = (size_t)str_find_last_byte(key, '@');
	struct str local = str_first(key, local_length);
	ptrdiff_t plus = str_find_byte(local, '+');
	if (!resolution.count && plus > 0) {
		buf_append_str(&whole, str_first(local, (size_t)plus));
		buf_append_str(&whole, str_from_index(key, local_length));
		local = str_first(local, (size_t)plus);
		expand(&resolution, buf_str(&whole), 0);
	}
	if (!resolution.count && str_equal(local, STR("postmaster")))
		expand_postmaster(&resolution, domain);
	buf_deinit(&whole);
	return resolution.count ? DIRECTORY_FOUND : DIRECTORY_NO_USER;
}

static void take_mailbox(void *arg, const struct directory_mailbox *mailbox)
{
	const struct directory_mailbox **out = arg;
	*out = mailbox;
}

const struct directory_mailbox *directory_find_login(
	const struct directory *directory, struct str login)
{
	const struct directory_mailbox *mailbox = NULL;
	char space[DIRECTORY_ADDRESS_MAX];
	struct resolution resolution = {
		.contents = contents_of(directory), .fn = take_mailbox, .arg = &mailbox
	};
	expand(&resolution, directory_address_key(login, space), 0);
	return resolution.count == 1 ? mailbox : NULL;
}

const struct directory_mailbox *directory_find_mailbox(
	const struct directory *directory, uint64_t id)
{
	const struct mailbox_row *row = by_id(contents_of(directory), KIND_MAILBOX, id);
	return row ? &row->mailbox : NULL;
}

bool directory_find_credential(const struct directory *directory, uint64_t mailbox_id,
	struct directory_credential *credential_out)
{
	const struct directory_credential *row =
		by_id(contents_of(directory), KIND_CREDENTIAL, mailbox_id);
	if (!row || !row->iterations)
		return false;
	*credential_out = *row;
	return true;
}

static int compare_keepings(const void *a, const void *b)
{
	const struct directory_keeping *left = a, *right = b;
	return (left->domain_id > right->domain_id) - (left->domain_id < right->domain_id);
}

struct directory_keeping *directory_keepings(const struct directory *directory, size_t *count_out)
{
	struct directory_keeping *keepings = NULL;
	const struct contents *contents = contents_of(directory);
	size_t count = 0, capacity = 0;
	void *row;
	for (size_t i = 0; map_next(contents->rows[KIND_DOMAIN], &i, NULL, &row);) {
		const struct domain_row *domain = row;
		if (domain->keep_expunged_days == 0)
			continue;
		if (count == capacity) {
			capacity = capacity * 2 + 8;
			keepings = mem_resize(keepings, capacity * sizeof(*keepings));
		}
		keepings[count++] =
			(struct directory_keeping){ domain->id, domain->keep_expunged_days };
	}
	if (count > 0)
		qsort(keepings, count, sizeof(*keepings), compare_keepings);
	*count_out = count;
	return keepings;
}

uint64_t directory_access(const struct directory *directory, uint64_t mailbox_id)
{
	const struct directory_mailbox *mailbox = directory_find_mailbox(directory, mailbox_id);
	struct directory_credential credential = { 0 };
	if (!mailbox)
		return ACCESS_NONE;
	if (!mailbox->enabled)
		return ACCESS_DISABLED;
	uint64_t digest =
		digest64(ACCESS_DISABLED, mailbox->address.bytes, mailbox->address.length);
	digest = digest64(digest, mailbox->mark, MAILBOX_MARK_LENGTH);
	if (directory_find_credential(directory, mailbox_id, &credential))
		digest = digest64(digest, credential.stored_key, SHA256_LENGTH);
	return digest > ACCESS_DISABLED ? digest : ACCESS_DISABLED + 1;
}

const char *directory_access_end(uint64_t access)
{
	switch (access) {
	case ACCESS_NONE: return "The mailbox has been removed";
	case ACCESS_DISABLED: return "The mailbox has been disabled";
	default: return "The mailbox's password or address has changed, log in again";
	}
}

struct directory_news directory_news(const struct directory *directory)
{
	const struct contents *contents = contents_of(directory);
	struct str ids = buf_str(&contents->news);
	return (struct directory_news){ contents->is_news_all, (const void *)ids.bytes,
		ids.length / sizeof(uint64_t) };
}

const struct directory_volume *directory_find_volume(const struct directory *directory, uint32_t id)
{
	return by_id(contents_of(directory), KIND_VOLUME, id);
}

const struct directory_node *directory_find_node(const struct directory *directory, uint32_t id)
{
	return by_id(contents_of(directory), KIND_NODE, id);
}

const struct directory_node *directory_find_node_by_name(
	const struct directory *directory, struct str name)
{
	return map_get(contents_of(directory)->node_names, name);
}

const struct directory_site *directory_find_site(const struct directory *directory, uint32_t id)
{
	return by_id(contents_of(directory), KIND_SITE, id);
}

const struct directory_router *directory_find_router_by_name(
	const struct directory *directory, struct str name)
{
	return map_get(contents_of(directory)->router_names, name);
}

static void *next_row(const struct directory *directory, enum directory_kind kind, size_t *position)
{
	struct str key;
	void *row;
	return map_next(contents_of(directory)->rows[kind], position, &key, &row) ? row : NULL;
}

const struct directory_site *directory_next_site(
	const struct directory *directory, size_t *position)
{
	return next_row(directory, KIND_SITE, position);
}

const struct directory_node *directory_next_node(
	const struct directory *directory, size_t *position)
{
	return next_row(directory, KIND_NODE, position);
}

const struct directory_router *directory_next_router(
	const struct directory *directory, size_t *position)
{
	return next_row(directory, KIND_ROUTER, position);
}

const struct directory_volume *directory_next_volume(
	const struct directory *directory, size_t *position)
{
	return next_row(directory, KIND_VOLUME, position);
}

const struct directory_mailbox *directory_next_mailbox(
	const struct directory *directory, size_t *position)
{
	const struct mailbox_row *row = next_row(directory, KIND_MAILBOX, position);
	return row ? &row->mailbox : NULL;
}
