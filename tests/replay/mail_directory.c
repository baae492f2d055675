#include "replay/mail_directory.h"

#include "proto/mail/scram.h"

/* Few: a fuzz target logs in at every turn. */
enum { ITERATIONS = 16 };

struct entry {
	const char *address;
	uint64_t id;
	uint32_t volume_id;
	enum durability durability;
	bool enabled;
};

static const struct entry entries[] = {
	{ "u0001@example.org", 1, 1, DURABILITY_REMOTE, true },
	{ "u0002@example.org", 2, 2, DURABILITY_LOCAL, true },
	{ "strict1@example.org", 3, 1, DURABILITY_STRICT, true },
	{ "off@example.org", 4, 1, DURABILITY_LOCAL, false },
};

static struct directory_volume volumes[] = {
	{ .id = 1, .primary_node_id = 1 },
	{ .id = 2, .primary_node_id = 2 },
};

static unsigned passwords_changed;

static const struct directory_node nodes[] = {
	{ .id = 1, .name = "script", .lmtp = "127.0.0.1:2401", .imap = "127.0.0.1:2501" },
	{ .id = 2, .name = "script", .lmtp = "127.0.0.1:2402", .imap = "127.0.0.1:2502" },
};

struct directory *mail_directory(void)
{
	static char nothing;
	return (struct directory *)(void *)&nothing;
}

void mail_directory_start(void)
{
	passwords_changed = 0;
	for (uint32_t i = 0; i < array_length(volumes); i++)
		volumes[i].primary_node_id = i + 1;
}

void mail_directory_move(uint32_t volume_id, uint32_t node_id)
{
	volumes[volume_id - 1].primary_node_id = node_id;
}

static const struct directory_mailbox *mailbox_of(const struct entry *entry)
{
	static struct directory_mailbox mailboxes[array_length(entries)];
	struct directory_mailbox *mailbox = &mailboxes[entry - entries];
	*mailbox = (struct directory_mailbox){
		.id = entry->id,
		.address = str_from(entry->address),
		.volume_id = entry->volume_id,
		.durability = entry->durability,
		.enabled = entry->enabled,
	};
	return mailbox;
}

static const struct directory_mailbox *find(struct str address)
{
	for (size_t i = 0; i < array_length(entries); i++)
		if (str_equal_ignore_case(address, str_from(entries[i].address)))
			return mailbox_of(&entries[i]);
	return NULL;
}

uint64_t directory_revision(const struct directory *directory)
{
	(void)directory;
	return 1;
}

bool directory_is_loaded(const struct directory *directory)
{
	(void)directory;
	return true;
}

/* One strict mailbox more than a node takes at once, all of one volume. */
static enum directory_found resolve_crowd(
	void (*fn)(void *arg, const struct directory_mailbox *mailbox), void *arg)
{
	struct directory_mailbox mailbox = { .address = STR("crowd@example.org"),
		.volume_id = 1,
		.durability = DURABILITY_STRICT,
		.enabled = true };
	for (uint64_t i = 0; fn && i < 1001; i++) {
		mailbox.id = 10000 + i;
		fn(arg, &mailbox);
	}
	return DIRECTORY_FOUND;
}

enum directory_found directory_resolve(const struct directory *directory, struct str address,
	void (*fn)(void *arg, const struct directory_mailbox *mailbox), void *arg)
{
	(void)directory;
	if (str_equal_ignore_case(address, STR("crowd@example.org")))
		return resolve_crowd(fn, arg);
	const struct directory_mailbox *mailbox = find(address);
	bool list = str_equal_ignore_case(address, STR("list@example.org"));
	if (str_equal_ignore_case(address, STR("postmaster")) || list ||
		str_equal_ignore_case(address, STR("postmaster@example.org")))
		mailbox = mailbox_of(&entries[0]);
	if (!mailbox)
		return str_ends_with(address, STR("@example.org")) ? DIRECTORY_NO_USER :
								     DIRECTORY_NO_DOMAIN;
	if (fn)
		fn(arg, mailbox);
	if (fn && list)
		fn(arg, mailbox_of(&entries[1]));
	return DIRECTORY_FOUND;
}

const struct directory_mailbox *directory_find_login(
	const struct directory *directory, struct str login)
{
	(void)directory;
	return find(login);
}

const struct directory_mailbox *directory_find_mailbox(
	const struct directory *directory, uint64_t id)
{
	(void)directory;
	return id >= 1 && id <= array_length(entries) ? mailbox_of(&entries[id - 1]) : NULL;
}

bool directory_find_credential(const struct directory *directory, uint64_t mailbox_id,
	struct directory_credential *credential_out)
{
	(void)directory;
	if (mailbox_id != 1)
		return false;
	memset(credential_out, 0, sizeof(*credential_out));
	credential_out->iterations = ITERATIONS;
	credential_out->salt_length = 4;
	memcpy(credential_out->salt, "salt", 4);
	return scram_derive(STR("secret"), STR("salt"), ITERATIONS,
		       credential_out->stored_key, credential_out->server_key) == 0;
}

struct str directory_address_key(struct str address, char out[DIRECTORY_ADDRESS_MAX])
{
	if (address.length > DIRECTORY_ADDRESS_MAX)
		return STR("");
	for (size_t i = 0; i < address.length; i++)
		out[i] = ascii_lower(address.bytes[i]);
	return str_of(out, address.length);
}

uint64_t directory_access(const struct directory *directory, uint64_t mailbox_id)
{
	const struct directory_mailbox *mailbox = directory_find_mailbox(directory, mailbox_id);
	return mailbox && mailbox->enabled ? 1000 + passwords_changed : ACCESS_DISABLED;
}

const char *directory_access_end(uint64_t access)
{
	return access == ACCESS_DISABLED ? "The mailbox has been disabled" :
					   "The mailbox's password has changed";
}

struct directory_news directory_news(const struct directory *directory)
{
	static const uint64_t all[] = { 1, 2, 3, 4 };
	(void)directory;
	return (struct directory_news){ false, all, array_length(all) };
}

void mail_directory_change_passwords(void)
{
	passwords_changed++;
}

const struct directory_volume *directory_find_volume(const struct directory *directory, uint32_t id)
{
	(void)directory;
	return id >= 1 && id <= array_length(volumes) ? &volumes[id - 1] : NULL;
}

const struct directory_node *directory_find_node(const struct directory *directory, uint32_t id)
{
	(void)directory;
	return id >= 1 && id <= array_length(nodes) ? &nodes[id - 1] : NULL;
}

const struct directory_node *directory_find_node_by_name(const struct directory *directory,
	struct str name)
{
	(void)directory;
	return str_equal(name, STR("script")) ? &nodes[0] : NULL;
}

bool directory_is_fresh(const struct directory *directory)
{
	(void)directory;
	return true;
}
