#include "node/mailbox/rate.h"

#include "core/clock.h"

enum { DAY_S = 86400 };

static uint64_t allowed_bytes(uint64_t quota_bytes, uint64_t quotas_per_day)
{
	uint64_t most = UINT64_MAX / DAY_S / 2;
	uint64_t allowed =
		quota_bytes > most / quotas_per_day ? most : quota_bytes * quotas_per_day;
	return allowed > RATE_BYTES_MIN ? allowed : RATE_BYTES_MIN;
}

/* Of a day's worth, what has come and not leaked away. */
static void leak(struct mailbox_rate *rate, uint64_t allowed)
{
	uint64_t now = clock_mono_us(), seconds = (now - rate->at_us) / 1000000;
	uint64_t leaked = seconds >= DAY_S ? allowed : allowed * seconds / DAY_S;
	rate->bytes -= leaked < rate->bytes ? leaked : rate->bytes;
	rate->at_us += seconds * 1000000;
}

bool rate_allows(
	struct mailbox *mailbox, uint64_t quota_bytes, uint64_t quotas_per_day, uint64_t bytes)
{
	if (quota_bytes == 0 || quotas_per_day == 0)
		return true;
	uint64_t allowed = allowed_bytes(quota_bytes, quotas_per_day);
	leak(&mailbox->rate, allowed);
	return bytes <= allowed && mailbox->rate.bytes <= allowed - bytes;
}

void rate_note(struct mailbox *mailbox, uint64_t bytes)
{
	if (mailbox->rate.bytes == 0)
		mailbox->rate.at_us = clock_mono_us();
	mailbox->rate.bytes += bytes;
}
