/* Headers, charsets, folder names, dates and what is shown of any bytes. */

#include "proto/mail/charset.h"
#include "proto/mail/legible.h"
#include "proto/mail/mime.h"
#include "proto/mail/mime_address.h"
#include "proto/mail/utf7.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const char *const charsets[] = { "utf-8", "iso-2022-jp", "gb2312", "windows-1252",
		"utf-7", "shift_jis", "x-none", "utf-16" };
	struct str input = str_of(bytes, length);
	struct buf out = { 0 }, again = { 0 };
	struct pool *pool = pool_create();
	int64_t date;
	int zone;

	charset_decode_header(input, &out);
	CHECK(utf8_is_valid(buf_str(&out)));
	struct text_needle *needle = text_needle_create(pool, str_first(input, length / 3));
	(void)text_needle_is_in(needle, buf_str(&out));
	CHECK(text_needle_is_in(needle, str_first(input, length / 3)));
	buf_clear(&out);
	charset_to_utf8(str_from(charsets[length % array_length(charsets)]), input, &out);
	CHECK(utf8_is_valid(buf_str(&out)));
	/* A folder name that decodes is the only encoding of what it decodes to,
	 * raw UTF-8 aside. */
	buf_clear(&out);
	if (utf7_decode(input, &out)) {
		bool is_ascii = true;
		for (size_t i = 0; i < length; i++)
			is_ascii &= bytes[i] < 0x80;
		utf7_encode(buf_str(&out), &again);
		CHECK(!is_ascii || str_equal(buf_str(&again), input));
	}
	/* Whatever is shown is text on which no terminal acts, and shown again it is the same. */
	buf_clear(&out);
	buf_clear(&again);
	legible_append(&out, input, false);
	CHECK(legible_find_control(buf_str(&out)) == LEGIBLE);
	legible_append(&again, buf_str(&out), false);
	CHECK(str_equal(buf_str(&again), buf_str(&out)));
	(void)mime_parse_date(input, &date, &zone);
	struct mime_addresses addresses = { .rest = input };
	struct mime_address address;
	while (mime_next_address(&addresses, &address))
		continue;
	mime_addresses_deinit(&addresses);
	buf_deinit(&out);
	buf_deinit(&again);
	pool_destroy(&pool);
	return 0;
}
