/* Every piece of the command grammar, standing alone. */

#include "proto/mail/imap_parser.h"
#include "proto/mail/imap_reader.h"
#include "proto/mail/search.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void read_commands(struct str input)
{
	struct imap_reader reader = { 0 };
	struct buf buf = { 0 };
	enum imap_read read = IMAP_READ_MORE;

	buf_append_str(&buf, input);
	while (buf_length(&buf) && read != IMAP_READ_TOO_LONG) {
		read = imap_reader_feed(&reader, &buf);
		if (read == IMAP_READ_COMMAND)
			imap_reader_reset(&reader);
		else if (read == IMAP_READ_LITERAL && !imap_reader_accept(&reader))
			imap_reader_discard(&reader);
	}
	imap_reader_deinit(&reader);
	buf_deinit(&buf);
}

static void search(struct pool *pool, struct imap_search *program)
{
	struct search_facts facts = {
		.sequence = 2, .uid = 7, .size = 100, .flags = 5, .modseq = 9
	};
	struct str message = STR("Subject: a\r\nDate: 1 Jan 2020 00:00 +0000\r\n\r\ntext\r\n");
	struct buf encoded = { 0 };
	struct summary summary;

	for (unsigned i = 0; i < program->key_count; i++)
		imap_set_resolve(&program->keys[i].set, 10);
	struct search *state = search_create(pool, program, 1600000000);
	if (!state)
		return;
	summary_encode(message, &encoded);
	CHECK(summary_decode(buf_str(&encoded), &summary));
	enum search_verdict verdict = search_index(state, &facts);
	if (verdict == SEARCH_NEEDS_HEADER)
		verdict = search_header(state, mime_header_of(message));
	if (verdict == SEARCH_NEEDS_BODY)
		verdict = search_body(state, &summary, message);
	CHECK(verdict == SEARCH_YES || verdict == SEARCH_NO);
	buf_deinit(&encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct str input = str_of(bytes, length);
	struct pool *pool = pool_create();
	struct imap_parser parser;
	struct imap_fetch fetch;
	struct imap_search program;
	struct imap_list list;
	struct imap_append append;
	struct imap_flags flags;
	int64_t date;

	read_commands(input);
	imap_parser_init(&parser, input, pool);
	(void)imap_fetch_attributes(&parser, &fetch);
	imap_parser_init(&parser, input, pool);
	if (imap_search_program(&parser, &program))
		search(pool, &program);
	imap_parser_init(&parser, input, pool);
	if (imap_list_arguments(&parser, &list) && list.pattern_count)
		(void)imap_pattern_matches(list.patterns[0], input);
	imap_parser_init(&parser, input, pool);
	(void)imap_append_arguments(&parser, &append);
	imap_parser_init(&parser, input, pool);
	(void)imap_flag_list(&parser, true, &flags);
	imap_parser_init(&parser, input, pool);
	(void)imap_date_time(&parser, &date);
	pool_destroy(&pool);
	return 0;
}
