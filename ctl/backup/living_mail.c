/* What is asked of a mailbox: its folders, its messages, and that one more be stored. */

#include "core/encode.h"
#include "ctl/backup/living_internal.h"
#include "proto/disk/change.h"
#include "proto/mail/imap_parser.h"
#include "proto/mail/imap_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- looking ---- */

struct folder_list {
	struct pool *pool;
	struct living_folder *folders;
	unsigned count, capacity;
};

/* "STATUS name (UIDVALIDITY n)" */
static void on_status(void *arg, struct str line, struct str literal)
{
	struct folder_list *list = arg;
	struct imap_parser parser;
	struct living_folder folder;
	uint64_t uidvalidity;
	bool is_valid;
	(void)literal;
	imap_parser_init(&parser, line, list->pool);
	if (!imap_try_word(&parser, STR("STATUS")) || !imap_space(&parser) ||
		!imap_mailbox(&parser, &folder.name, &is_valid) || !is_valid ||
		!imap_space(&parser) || !imap_try_byte(&parser, '(') ||
		!imap_try_word(&parser, STR("UIDVALIDITY")) || !imap_space(&parser) ||
		!imap_number(&parser, UINT32_MAX, &uidvalidity))
		return;
	folder.name = pool_copy(list->pool, folder.name);
	folder.uidvalidity = (uint32_t)uidvalidity;
	if (list->count == list->capacity) {
		list->capacity = list->capacity * 2 + 16;
		struct living_folder *larger =
			pool_alloc(list->pool, list->capacity * sizeof(*larger));
		if (list->count > 0)
			memcpy(larger, list->folders, list->count * sizeof(*larger));
		list->folders = larger;
	}
	list->folders[list->count++] = folder;
}

int living_folders(struct living *living, struct pool *pool, struct living_folder **folders_out,
	unsigned *count_out, struct error *error)
{
	struct folder_list list = { .pool = pool };
	struct buf command = { 0 };
	buf_append_literal(&command, "S LIST \"\" \"*\" RETURN (STATUS (UIDVALIDITY))");
	int result = living_ask_for(living, &command, on_status, &list, error);
	*folders_out = list.folders;
	*count_out = list.count;
	if (result < 0 || living->word == WORD_OK)
		return result;
	return living_refused(living, "its folders cannot be listed", error);
}

int living_examine(struct living *living, struct str folder, struct error *error)
{
	struct buf command = { 0 };
	buf_append_literal(&command, "S EXAMINE ");
	imap_write_mailbox(&command, folder);
	int result = living_ask(living, &command, error);
	if (result < 0 || living->word == WORD_OK)
		return result;
	if (living_has_code(living, "[NONEXISTENT]"))
		return error_set(error, -ENOENT, "there is no such folder");
	return living_refused(living, "a folder cannot be looked at", error);
}

struct fetched {
	struct living_message message;
	bool has_size, has_date, has_body;
};

/* "n FETCH (UID u INTERNALDATE d RFC822.SIZE s BODY[] {k}": in any order, the literal last. False:
 * it is something else, or of what a session is told unasked. */
static bool parse_fetch(struct pool *pool, struct str line, struct fetched *fetched)
{
	struct imap_parser parser;
	uint64_t number;
	*fetched = (struct fetched){ 0 };
	imap_parser_init(&parser, line, pool);
	if (!imap_number(&parser, UINT32_MAX, &number) || !imap_space(&parser) ||
		!imap_try_word(&parser, STR("FETCH")) || !imap_space(&parser) ||
		!imap_try_byte(&parser, '('))
		return false;
	for (bool more = true; more; more = imap_try_byte(&parser, ' ')) {
		if (imap_try_word(&parser, STR("UID"))) {
			if (!imap_space(&parser) || !imap_number(&parser, UINT32_MAX, &number))
				return false;
			fetched->message.uid = (uint32_t)number;
		} else if (imap_try_word(&parser, STR("RFC822.SIZE"))) {
			fetched->has_size = imap_space(&parser) &&
				imap_number(&parser, UINT64_MAX, &fetched->message.size);
		} else if (imap_try_word(&parser, STR("INTERNALDATE"))) {
			fetched->has_date = imap_space(&parser) &&
				imap_date_time(&parser, &fetched->message.internal_date_s);
		} else {
			fetched->has_body = imap_try_word(&parser, STR("BODY[]"));
			break;
		}
	}
	return fetched->message.uid != 0;
}

struct message_list {
	struct pool *scratch;
	struct living_message *messages;
	size_t count, capacity;
};

static void on_message(void *arg, struct str line, struct str literal)
{
	struct message_list *list = arg;
	struct fetched fetched;
	(void)literal;
	bool is_asked =
		parse_fetch(list->scratch, line, &fetched) && fetched.has_size && fetched.has_date;
	pool_reset(list->scratch);
	if (!is_asked)
		return;
	if (list->count == list->capacity) {
		list->capacity = list->capacity * 2 + 64;
		list->messages =
			mem_resize(list->messages, list->capacity * sizeof(*list->messages));
	}
	list->messages[list->count++] = fetched.message;
}

int living_messages(struct living *living, struct living_message **messages_out, size_t *count_out,
	struct error *error)
{
	struct message_list list = { .scratch = pool_create() };
	struct buf command = { 0 };
	buf_append_literal(&command, "S UID FETCH 1:* (INTERNALDATE RFC822.SIZE)");
	int result = living_ask_for(living, &command, on_message, &list, error);
	if (result == 0 && living->word != WORD_OK)
		result = living_refused(living, "the messages of a folder cannot be listed", error);
	if (result < 0) {
		free(list.messages);
		list = (struct message_list){ .scratch = list.scratch };
	}
	pool_destroy(&list.scratch);
	*messages_out = list.messages;
	*count_out = list.count;
	return result;
}

struct body_taker {
	struct pool *scratch;
	void (*fn)(void *arg, uint32_t uid, struct str body);
	void *arg;
};

static void on_body(void *arg, struct str line, struct str literal)
{
	struct body_taker *taker = arg;
	struct fetched fetched;
	bool is_asked = parse_fetch(taker->scratch, line, &fetched) && fetched.has_body;
	pool_reset(taker->scratch);
	if (is_asked)
		taker->fn(taker->arg, fetched.message.uid, literal);
}

int living_bodies(struct living *living, const uint32_t *uids, unsigned count,
	void (*fn)(void *arg, uint32_t uid, struct str body), void *arg, bool *damaged_out,
	struct error *error)
{
	struct body_taker taker = { .scratch = pool_create(), .fn = fn, .arg = arg };
	struct buf command = { 0 };
	CHECK(count <= LIVING_FETCH_MAX);
	*damaged_out = false;
	buf_append_literal(&command, "S UID FETCH ");
	for (unsigned i = 0; i < count; i++)
		buf_printf(&command, "%s%u", i ? "," : "", uids[i]);
	buf_append_literal(&command, " (BODY.PEEK[])");
	int result = living_ask_for(living, &command, on_body, &taker, error);
	pool_destroy(&taker.scratch);
	if (result < 0 || living->word == WORD_OK)
		return result;
	*damaged_out = living_has_code(living, "[CORRUPTION]");
	return *damaged_out ? 0 : living_refused(living, "messages cannot be read", error);
}

/* ---- bringing ---- */

int living_create_folder(struct living *living, struct str folder, struct error *error)
{
	struct buf command = { 0 };
	buf_append_literal(&command, "S CREATE ");
	imap_write_mailbox(&command, folder);
	int result = living_ask(living, &command, error);
	if (result < 0 || living->word == WORD_OK || living_has_code(living, "[ALREADYEXISTS]"))
		return result;
	if (living_has_code(living, "[CANNOT]") || living_has_code(living, "[LIMIT]") ||
		living->word == WORD_BAD)
		return error_set(error, -EINVAL, "its home makes no folder " STR_FORMAT ": %s",
			STR_ARG(folder), buf_terminated(&living->text));
	return living_refused(living, "a folder cannot be made", error);
}

int living_subscribe(struct living *living, struct str folder, struct error *error)
{
	struct buf command = { 0 };
	buf_append_literal(&command, "S SUBSCRIBE ");
	imap_write_mailbox(&command, folder);
	int result = living_ask(living, &command, error);
	if (result < 0 || living->word == WORD_OK)
		return result;
	return living_refused(living, "a folder cannot be subscribed to", error);
}

/* "[APPENDUID <uidvalidity> <uid>] ..." (RFC 4315); 0: it says none. */
static uint32_t uid_of(struct living *living)
{
	unsigned uidvalidity, uid = 0;
	bool is_said = sscanf(buf_terminated(&living->text), "[APPENDUID %10u %10u]", &uidvalidity,
			       &uid) == 2;
	return is_said ? uid : 0;
}

int living_append(struct living *living, const struct living_append *append,
	enum living_stored *stored_out, uint32_t *uid_out, struct error *error)
{
	*uid_out = 0;
	struct buf command = { 0 };
	buf_append_literal(&command, "S APPEND ");
	imap_write_mailbox(&command, append->folder);
	buf_append_byte(&command, ' ');
	buf_append_str(&command, append->flags);
	buf_append_byte(&command, ' ');
	imap_write_date_time(&command, append->internal_date_s);
	buf_append_literal(&command, " XPANDOID ");
	encode_hex(&command, append->id, CHANGE_DELIVERY_ID_LENGTH);
	buf_printf(&command, " {%zu+}\r\n", append->body->length);
	if (living->stream != NULL) {
		stream_write_str(living->stream, buf_str(&command));
		stream_write_bytes(living->stream, append->body, 0, append->body->length);
		stream_write_str(living->stream, STR("\r\n"));
	}
	buf_deinit(&command);
	int result = living_await(living, error);
	if (result < 0)
		return result;
	*stored_out =
		living_has_code(living, "[XPANDOSTORED]") ? LIVING_STORED_BEFORE : LIVING_STORED;
	*uid_out = living->word == WORD_OK ? uid_of(living) : 0;
	if (living->word == WORD_OK)
		return 0;
	if (living_has_code(living, "[TRYCREATE]"))
		return error_set(error, -ENOENT, "there is no such folder");
	if (living_has_code(living, "[UNAVAILABLE] Log in again"))
		return error_set(error, -ESTALE, "the home asks for another login");
	*stored_out = LIVING_REFUSED;
	if (living->word == WORD_BAD || living_has_code(living, "[TOOBIG]") ||
		living_has_code(living, "[CANNOT]")) {
		error_set(error, -EIO, "%s", buf_terminated(&living->text));
		return 0;
	}
	return living_refused(living, "a message cannot be stored", error);
}
