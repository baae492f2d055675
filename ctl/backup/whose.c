#include "ctl/backup/whose.h"

#include "core/buf.h"
#include "core/digest.h"
#include "core/encode.h"
#include "ctl/ask.h"

#include <stdio.h>

int backup_name_cluster(const struct config *config, struct pool *pool, const char **name_out,
	struct error *error)
{
	enum { DIGITS_OF = 8 };
	struct tls_context *tls = NULL;
	struct tls_certificate authority;
	struct buf name = { 0 };
	uint8_t digest[SHA256_LENGTH];
	int code = ask_tls(config, &tls, error);
	if (code < 0)
		return code;
	if (!tls_context_authority(tls, &authority))
		snprintf(authority.name, sizeof(authority.name), "a cluster");
	buf_printf(&name, "%s %lld", authority.name, (long long)authority.not_before_s);
	sha256(buf_str(&name), digest);
	buf_clear(&name);
	buf_printf(&name, "%s ", authority.name);
	encode_hex(&name, digest, DIGITS_OF);
	*name_out = pool_copy_terminated(pool, buf_str(&name));
	buf_deinit(&name);
	tls_context_destroy(&tls);
	return 0;
}
