/*
 * The node's IMAP sessions over a mailbox in memory. `connect` logs in as a router does; `connect
 * raw` leaves that to the script, `connect raw role=R` with a certificate of that role.
 *
 *   do deliver FOLDER TEXT   a message arrives; \r \n are understood
 *   do fill FOLDER COUNT     that many small messages arrive
 *   do folders COUNT         that many folders with long names appear: 0001xx..., 0002xx...
 *   do fail ERRNO            changes fail from now on: erofs, enospc, edquot, eagain, eio, none
 *   do fail-second ERRNO     the change after the next one fails
 *   do slow                  reads take a turn from now on
 *   do deny                  its owner may not go on
 *   do lose                  the mailbox moves to another node
 */

#include "node/session/imap_login.h"
#include "replay/engine.h"
#include "replay/world_mailbox.h"

#include <errno.h>
#include <stdio.h>

static struct imap_front front;
static struct meant meant;
static struct config config;
static bool is_served = true;

/* ---- the directory and the volumes, as far as a login asks ---- */

uint64_t directory_access(const struct directory *directory, uint64_t mailbox_id)
{
	(void)directory;
	return mailbox_id;
}

uint64_t directory_revision(const struct directory *directory)
{
	(void)directory;
	return 1;
}

const struct directory_mailbox *directory_find_login(const struct directory *directory,
	struct str login)
{
	static struct directory_mailbox mailbox;
	(void)directory;
	mailbox = (struct directory_mailbox){ .id = 1, .address = STR("u0001@example.org"),
		.volume_id = 1, .enabled = true };
	return str_equal(login, mailbox.address) ? &mailbox : NULL;
}

struct volume {
	int nothing;
};

struct hand_over {
	struct task task;
	struct stream *stream;
	void (*start)(struct volume *volume, struct stream *stream, void *arg);
	void *arg;
};

static struct hand_over hand_over;
static struct volume volume;

static void on_hand_over(void *arg)
{
	(void)arg;
	hand_over.start(is_served ? &volume : NULL, hand_over.stream, hand_over.arg);
}

void volumes_hand_over(struct volumes *volumes, uint32_t id, struct stream *stream,
	void (*start)(struct volume *volume, struct stream *stream, void *arg), void *arg)
{
	(void)volumes;
	(void)id;
	hand_over = (struct hand_over){ { .run = on_hand_over }, stream, start, arg };
	loop_post(world_loop(), &hand_over.task);
}

struct loop *volume_loop(const struct volume *any)
{
	(void)any;
	return world_loop();
}

/* ---- the engine ---- */

static void start(struct str arguments)
{
	(void)arguments;
	config.message_bytes_max = 1 << 20;
	meant = (struct meant){ 0 };
	front = (struct imap_front){ .loop = world_loop(), .config = &config, .meant = &meant };
	world_mailbox_reset();
}

static struct stream *connect(struct str arguments)
{
	char role[32] = "router";
	bool is_raw = str_starts_with(arguments, STR("raw"));
	ptrdiff_t at = str_find(arguments, STR("role="));

	if (at >= 0)
		snprintf(role, sizeof(role), STR_FORMAT,
			STR_ARG(str_from_index(arguments, (size_t)at + 5)));
	struct stream *stream = world_accept(role);
	imap_login_start(&front, stream);
	if (is_raw)
		return stream;
	/* u0001@example.org */
	world_send(stream, STR("login AUTHENTICATE EXTERNAL dTAwMDFAZXhhbXBsZS5vcmc=\r\n"));
	world_settle();
	buf_clear(world_output(stream));
	return stream;
}

static void unescape(struct str text, struct buf *out)
{
	for (size_t i = 0; i < text.length; i++) {
		if (text.bytes[i] == '\\' && i + 1 < text.length) {
			char c = text.bytes[++i];
			buf_append_byte(out,
				c == 'r'           ? '\r'
					: c == 'n' ? '\n'
					: c == 't' ? '\t'
						   : c);
		} else {
			buf_append_byte(out, text.bytes[i]);
		}
	}
}

static void fill(struct str folder, uint64_t count)
{
	for (uint64_t i = 1; i <= count; i++) {
		char text[200];
		int length = snprintf(text, sizeof(text),
			"From: a@example.org\r\nSubject: number %llu\r\n"
			"\r\nText of message %llu\r\n",
			(unsigned long long)i, (unsigned long long)i);
		world_mailbox_deliver(folder, str_of(text, (size_t)length));
	}
}

static void add_folders(uint64_t count)
{
	for (uint64_t i = 1; i <= count; i++) {
		char name[600];
		memset(name, 'x', sizeof(name));
		snprintf(name, sizeof(name), "%04llu", (unsigned long long)i);
		name[4] = 'x';
		world_mailbox_add_folder(str_of(name, sizeof(name)));
	}
}

static bool command(struct str text)
{
	static const struct {
		const char *name;
		int status;
	} failures[] = { { "erofs", -EROFS }, { "enospc", -ENOSPC }, { "edquot", -EDQUOT },
		{ "eagain", -EAGAIN }, { "eio", -EIO },
		{ "ekeyrejected", -EKEYREJECTED }, { "none", 0 } };
	struct str verb, folder;
	uint64_t count;

	str_next(&text, ' ', &verb);
	if (str_equal(verb, STR("slow"))) {
		world_mailbox_read_slowly();
	} else if (str_equal(verb, STR("lose"))) {
		world_mailbox_lose();
	} else if (str_equal(verb, STR("deny"))) {
		world_mailbox_deny();
	} else if (str_equal(verb, STR("unserved"))) {
		is_served = false;
	} else if (str_equal(verb, STR("fail")) || str_equal(verb, STR("fail-second"))) {
		bool is_second = str_equal(verb, STR("fail-second"));
		for (size_t i = 0; i < array_length(failures); i++)
			if (str_equal(text, str_from(failures[i].name)))
				(is_second ? world_mailbox_fail_second : world_mailbox_fail)(
					failures[i].status);
	} else if (str_equal(verb, STR("deliver"))) {
		struct buf message = { 0 };
		str_next(&text, ' ', &folder);
		unescape(text, &message);
		world_mailbox_deliver(folder, buf_str(&message));
		buf_deinit(&message);
	} else if (str_equal(verb, STR("fill"))) {
		str_next(&text, ' ', &folder);
		if (!str_to_u64(text, 1000000, &count))
			return false;
		fill(folder, count);
	} else if (str_equal(verb, STR("folders"))) {
		if (!str_to_u64(text, 4000, &count))
			return false;
		add_folders(count);
	} else {
		return false;
	}
	return true;
}

static const struct replay_engine imap = {
	.name = "imap", .start = start, .connect = connect, .command = command,
	.stop = world_mailbox_reset,
};

const struct replay_engine *const replay_engines[] = { &imap, NULL };
