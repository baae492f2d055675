#include "ctl/backup/view.h"

#include "node/index/index.h"
#include "proto/mail/imap_parser.h"
#include "spool/log_files.h"
#include "spool/log_reader.h"
#include "spool/volume_log.h"

#include <errno.h>
#include <stdlib.h>

enum {
	/* Of the log at a time: as much as a node replays at once. */
	REPLAY_BYTES = 1 << 20,
};

struct view {
	struct loop *loop;
	struct disk *disk;
	struct log_files files;
	struct index index;
};

/* ---- the replay ---- */

/* The engine finds where the log ends, and that nothing in it is missing: it has to be where the
 * backup's ends, or behind that the next group would begin at the start of a segment. */
static int find_end(
	struct view *view, const char *folder, uint64_t to, uint64_t *end_out, struct error *error)
{
	struct volume_log *log = NULL;
	int result = volume_log_open(view->loop, view->disk, folder, view->index.volume_id,
		&(struct log_told){ 0 }, &log, NULL, error);
	if (result < 0)
		return result;
	uint64_t end = *end_out = volume_log_end(log);
	volume_log_close(&log);
	bool is_before_segment = to % segment_length == 0 && end % segment_length != 0 &&
		segment_of(to) == segment_of(end) + 1;
	return end == to || is_before_segment
		? 0
		: error_set(error, -EUCLEAN, "the log in %s ends at address %llu instead of %llu",
			  folder, (unsigned long long)end, (unsigned long long)to);
}

static int replay(struct view *view, struct log_reader *reader, uint64_t end,
	unpack_progress *progress, void *arg, uint64_t *next)
{
	int result = 0;
	while (result == 0 && *next < end) {
		struct bytes *bytes;
		uint64_t lsn;
		result = log_reader_skim(reader, *next, end, REPLAY_BYTES, &bytes, &lsn, next);
		if (result < 0)
			break;
		result = index_apply_groups(&view->index, bytes_str(bytes), lsn);
		bytes_unref(&bytes);
		if (result == 0 && progress && !progress(arg, *next, end))
			result = -EINTR;
	}
	return result == -ENODATA ? 0 : result;
}

static int replay_log(struct view *view, const char *folder, uint64_t end,
	unpack_progress *progress, void *arg, struct error *error)
{
	struct log_reader *reader = NULL;
	uint64_t next = 0;
	int result = log_reader_open(view->disk, folder, view->index.volume_id, &reader);
	if (result == 0)
		result = replay(view, reader, end, progress, arg, &next);
	log_reader_close(&reader);
	if (result == -EBADMSG)
		result = -EUCLEAN;
	return result == 0
		? 0
		: error_set(error, result, "the log in %s cannot be replayed at address %llu: %s",
			  folder, (unsigned long long)next, strerror(-result));
}

int view_open(const char *folder, uint32_t volume_id, uint64_t to, unpack_progress *progress,
	void *arg, struct view **view_out, struct error *error)
{
	struct view *view = mem_alloc(sizeof(*view));
	uint64_t end;
	*view = (struct view){ .loop = loop_create() };
	/* Without a store: all of it stays in memory. */
	index_init(&view->index, NULL, volume_id, "");
	int result = disk_create(view->loop, IO_BACKEND_AUTO, &view->disk, error);
	if (result == 0) {
		log_files_init(&view->files, view->disk, folder);
		result = find_end(view, folder, to, &end, error);
	}
	if (result == 0)
		result = replay_log(view, folder, end, progress, arg, error);
	if (result < 0)
		view_close(&view);
	*view_out = view;
	return result;
}

void view_close(struct view **view)
{
	struct view *gone = *view;
	*view = NULL;
	if (gone == NULL)
		return;
	index_deinit(&gone->index);
	if (gone->disk != NULL)
		log_files_deinit(&gone->files);
	disk_destroy(&gone->disk);
	loop_destroy(&gone->loop);
	free(gone);
}

/* ---- what stands in it ---- */

static struct view_mailbox show_mailbox(const struct mailbox *mailbox)
{
	struct view_mailbox shown = {
		.of = mailbox, .id = mailbox->id, .made_for = mailbox->made_for
	};
	memcpy(shown.mark, mailbox->mark, sizeof(shown.mark));
	return shown;
}

bool view_next_mailbox(const struct view *view, size_t *position, struct view_mailbox *mailbox_out)
{
	void *value;
	if (!map_next(view->index.mailboxes, position, NULL, &value))
		return false;
	*mailbox_out = show_mailbox(value);
	return true;
}

bool view_find_mailbox(const struct view *view, uint64_t id, const uint8_t mark[CHANGE_MARK_LENGTH],
	struct view_mailbox *mailbox_out)
{
	const struct mailbox *mailbox = index_find_mailbox(&view->index, id);
	if (mailbox == NULL || memcmp(mailbox->mark, mark, sizeof(mailbox->mark)) != 0)
		return false;
	*mailbox_out = show_mailbox(mailbox);
	return true;
}

bool view_next_folder(
	const struct view_mailbox *mailbox, uint32_t *position, struct view_folder *folder_out)
{
	if (*position >= mailbox->of->folder_count)
		return false;
	const struct folder *folder = mailbox->of->folders[(*position)++];
	*folder_out = (struct view_folder){ .of = folder,
		.id = folder->id,
		.uidvalidity = folder->uidvalidity,
		.message_count = folder->message_count,
		.name = folder->name };
	return true;
}

struct view_message view_message(const struct view_folder *folder, uint32_t index)
{
	CHECK(index < folder->of->message_count);
	const struct message *message = &folder->of->messages[index];
	return (struct view_message){ .uid = message->uid,
		.size = message->size,
		.lsn = message->body_lsn,
		.internal_date_s = message->internal_date_s,
		.flags = message->flags };
}

/* RFC 3501's flag-keyword. What a log says was perhaps written by somebody else: it must end no
 * command, and begin none. */
static bool is_keyword(struct str name)
{
	struct imap_parser parser;
	struct str atom;
	imap_parser_init(&parser, name, NULL);
	return imap_atom(&parser, &atom) && atom.length == name.length;
}

void view_append_flags(
	const struct view_folder *folder, const struct view_message *message, struct buf *out)
{
	static const struct {
		uint64_t flag;
		const char *name;
	} names[] = { { MESSAGE_SEEN, "\\Seen" }, { MESSAGE_ANSWERED, "\\Answered" },
		{ MESSAGE_FLAGGED, "\\Flagged" }, { MESSAGE_DELETED, "\\Deleted" },
		{ MESSAGE_DRAFT, "\\Draft" } };
	const char *space = "";
	buf_append_byte(out, '(');
	for (size_t i = 0; i < array_length(names); i++)
		if (message->flags & names[i].flag) {
			buf_printf(out, "%s%s", space, names[i].name);
			space = " ";
		}
	for (unsigned bit = 0; bit < folder->of->keyword_count; bit++) {
		struct str keyword = folder->of->keywords[bit];
		if (!(message->flags >> (MESSAGE_KEYWORD_SHIFT + bit) & 1) || !is_keyword(keyword))
			continue;
		buf_printf(out, "%s" STR_FORMAT, space, STR_ARG(keyword));
		space = " ";
	}
	buf_append_byte(out, ')');
}

/* ---- bodies ---- */

int view_body(struct view *view, const struct view_message *message, struct bytes **body_out)
{
	uint8_t header[RECORD_HEADER_LENGTH];
	struct disk_file *file;
	uint64_t offset = message->lsn % segment_length;
	struct bytes *body = bytes_create(message->size);
	int result = log_files_get(&view->files, segment_of(message->lsn), false, &file);
	if (result == 0)
		result = disk_read_now(file, header, sizeof(header), offset);
	if (result == 0)
		result = disk_read_now(file, body->data, body->length, offset + sizeof(header));
	if (result == 0)
		result = record_check_message(header, bytes_str(body), message->lsn);
	if (result < 0)
		bytes_unref(&body);
	*body_out = body;
	return result;
}
