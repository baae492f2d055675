/* SASL exchanges: messages are the input's lines, the first byte chooses the mechanism. */

#include "proto/mail/sasl.h"
#include "proto/mail/scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const uint8_t key[SHA256_LENGTH];
	if (length < 1)
		return 0;
	struct sasl *sasl = sasl_create((enum sasl_mechanism)(bytes[0] % SASL_MECHANISMS));
	struct str rest = str_of(bytes + 1, length - 1), message;
	struct buf challenge = { 0 }, prepared = { 0 };

	(void)!scram_prepare(rest, &prepared);
	while (str_next(&rest, '\n', &message)) {
		enum sasl_step step = sasl_input(sasl, message.length > 0, message, &challenge);
		if (step == SASL_NEED_CREDENTIAL)
			sasl_give_credential(
				sasl, STR("salt"), 4096, key, key, STR("nonce"), &challenge);
	}
	sasl_destroy(&sasl);
	buf_deinit(&challenge);
	buf_deinit(&prepared);
	return 0;
}
