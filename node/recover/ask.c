#include "node/recover/internal.h"

#include "core/encode.h"

#include <stdarg.h>
#include <stdlib.h>

/* A question on its way from the front thread to the volume's worker, and its answer. */

/* ---- the answer ---- */

static void on_answered(void *arg)
{
	struct recover *recover = arg;
	recover->done(recover->arg, buf_str(&recover->json));
	buf_deinit(&recover->json);
	map_destroy(&recover->by_lsn);
	pool_destroy(&recover->pool);
	free(recover);
}

void recover_end(struct recover *recover)
{
	recover->task = (struct task){ .run = on_answered, .arg = recover };
	loop_post(volumes_front(recover->volumes), &recover->task);
}

void recover_refuse(struct recover *recover, const char *format, ...)
{
	struct buf sentence = { 0 };
	va_list arguments;
	va_start(arguments, format);
	buf_vprintf(&sentence, format, arguments);
	va_end(arguments);
	buf_clear(&recover->json);
	buf_append_literal(&recover->json, "{\"error\": ");
	encode_json(&recover->json, buf_str(&sentence));
	buf_append_byte(&recover->json, '}');
	buf_deinit(&sentence);
	recover_end(recover);
}

void recover_later(struct recover *recover, void (*run)(void *recover))
{
	recover->task = (struct task){ .run = run, .arg = recover };
	loop_post(recover->volume->options.loop, &recover->task);
}

/* ---- the question ---- */

struct mailbox *recover_mailbox(struct recover *recover)
{
	struct volume *volume = recover->volume;
	if (volume->state != VOLUME_PRIMARY || volume->index.is_broken) {
		recover_refuse(recover,
			"the volume of %s is not served here now: `pando status` says by whom",
			recover->address);
		return NULL;
	}
	struct mailbox *mailbox = index_find_mailbox(&volume->index, recover->mailbox_id);
	if (mailbox == NULL || mailbox->folder_count == 0) {
		recover_refuse(recover, "%s has never had mail", recover->address);
		return NULL;
	}
	if (memcmp(mailbox->mark, recover->mark, sizeof(mailbox->mark)) != 0) {
		recover_refuse(recover,
			"what its volume holds under the number of %s is another mailbox: `pando "
			"check` says what to do",
			recover->address);
		return NULL;
	}
	return mailbox;
}

static void on_worker(struct volume_call *call, struct volume *volume)
{
	struct recover *recover = container_of(call, struct recover, call);
	recover->volume = volume;
	if (recover_mailbox(recover) == NULL)
		return;
	if (volume_days_kept(volume, recover->domain_id) == 0)
		recover_refuse(recover,
			"the domain of %s keeps nothing that is expunged: `pando domain set DOMAIN "
			"--keep-expunged-days N` has it keep what is expunged from then on",
			recover->address);
	else
		recover->begin(recover);
}

static bool find_mailbox(struct recover *recover, const struct recover_ask *ask)
{
	const struct directory_mailbox *mailbox =
		directory_find_mailbox(ask->directory, recover->mailbox_id);
	if (mailbox == NULL || memcmp(mailbox->mark, recover->mark, sizeof(mailbox->mark)) != 0) {
		recover_refuse(recover,
			"this node does not know the mailbox (yet): its copy of the directory is "
			"another, and `pando check` says more");
		return false;
	}
	recover->domain_id = mailbox->domain_id;
	recover->policy =
		(struct mailbox_policy){ mailbox->durability, mailbox->quota_bytes };
	memcpy(recover->address, mailbox->address.bytes,
		mailbox->address.length < DIRECTORY_ADDRESS_MAX ? mailbox->address.length
								: DIRECTORY_ADDRESS_MAX);
	recover->call.run = on_worker;
	if (volumes_call(ask->volumes, mailbox->volume_id, &recover->call))
		return true;
	recover_refuse(recover, "this node holds no copy of the volume of %s", recover->address);
	return false;
}

static struct recover *create(const struct recover_ask *ask)
{
	struct recover *recover = mem_alloc(sizeof(*recover));
	*recover = (struct recover){ .volumes = ask->volumes,
		.done = ask->done,
		.arg = ask->arg,
		.pool = pool_create() };
	return recover;
}

static bool read_who(struct recover *recover, const struct recover_ask *ask)
{
	return str_to_u64(ask->mailbox, INT64_MAX, &recover->mailbox_id) &&
		decode_hex(ask->mark, recover->mark, sizeof(recover->mark));
}

void recover_list(const struct recover_ask *ask, struct str from)
{
	struct recover *recover = create(ask);
	recover->begin = recover_begin_list;
	if (!read_who(recover, ask) || !str_to_u64(from, INT64_MAX, &recover->from))
		recover_refuse(recover, "usage: expunged MAILBOX MARK FROM");
	else
		(void)find_mailbox(recover, ask);
}

/* "-" or a name in hexadecimal digits. */
static bool read_folder(struct recover *recover, struct str folder)
{
	size_t length = folder.length / 2;
	if (str_equal(folder, STR("-")))
		return true;
	if (length == 0 || length > FOLDER_NAME_MAX || folder.length % 2 != 0)
		return false;
	char *name = pool_alloc(recover->pool, length);
	recover->to = str_of(name, length);
	return decode_hex(folder, name, length);
}

static bool read_list(struct recover *recover, struct str list)
{
	struct str text;
	recover->wanted = pool_alloc(recover->pool, RECOVER_BACK_MAX * sizeof(*recover->wanted));
	while (str_next(&list, ',', &text)) {
		if (recover->wanted_count == RECOVER_BACK_MAX ||
			!str_to_u64(text, INT64_MAX,
				&recover->wanted[recover->wanted_count++].body_lsn))
			return false;
	}
	return recover->wanted_count > 0;
}

void recover_back(const struct recover_ask *ask, struct str folder, struct str list)
{
	struct recover *recover = create(ask);
	recover->begin = recover_begin_back;
	if (!read_who(recover, ask) || !read_folder(recover, folder) || !read_list(recover, list))
		recover_refuse(recover, "usage: recover MAILBOX MARK FOLDER|- LSN,LSN,...");
	else
		(void)find_mailbox(recover, ask);
}
