#include "core/directory/domain.h"

#include "core/check.h"

#include <pthread.h>
#include <stdint.h>
#include <unicode/uidna.h>

/* Made once, never changed after, so that all threads may use it; lives as long as the process. */
static UIDNA *idna;
static pthread_once_t idna_once = PTHREAD_ONCE_INIT;

static void open_idna(void)
{
	UErrorCode status = U_ZERO_ERROR;
	idna = uidna_openUTS46(UIDNA_USE_STD3_RULES | UIDNA_CHECK_BIDI | UIDNA_CHECK_CONTEXTJ |
			UIDNA_NONTRANSITIONAL_TO_ASCII,
		&status);
	CHECK(U_SUCCESS(status));
}

/* Nothing of it needs ICU. */
static bool is_plain(struct str domain)
{
	for (size_t i = 0; i < domain.length; i++)
		if ((unsigned char)domain.bytes[i] >= 0x80)
			return false;
	for (struct str rest = domain, label; str_next(&rest, '.', &label);)
		if (str_starts_with_ignore_case(label, STR("xn--")))
			return false;
	return true;
}

struct str domain_canonical(struct str domain, char out[DOMAIN_LENGTH_MAX])
{
	UIDNAInfo info = UIDNA_INFO_INITIALIZER;
	UErrorCode status = U_ZERO_ERROR;
	if (domain.length > DOMAIN_LENGTH_MAX)
		return STR("");
	if (is_plain(domain)) {
		for (size_t i = 0; i < domain.length; i++)
			out[i] = ascii_lower(domain.bytes[i]);
		return str_of(out, domain.length);
	}
	pthread_once(&idna_once, open_idna);
	int32_t length = uidna_nameToASCII_UTF8(idna, domain.bytes, (int32_t)domain.length, out,
		DOMAIN_LENGTH_MAX, &info, &status);
	bool good = U_SUCCESS(status) && info.errors == 0 && length > 0 &&
		length <= DOMAIN_LENGTH_MAX;
	return good ? str_of(out, (size_t)length) : STR("");
}
