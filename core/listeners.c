#include "core/listeners.h"

#include <errno.h>
#include <stdlib.h>

int listeners_open(struct listeners *listeners, struct loop *loop, const char *addresses,
	struct tls_context *tls, void (*on_accept)(void *arg, struct stream *stream), void *arg,
	struct error *error)
{
	struct str rest = str_from(addresses), one;
	int result = 0;
	while (result == 0 && str_next(&rest, ' ', &one)) {
		if (one.length == 0)
			continue;
		if (listeners->count == LISTENERS_MAX)
			return error_set(error, -E2BIG, "more than %d addresses to listen on",
				LISTENERS_MAX);
		char *address = str_to_heap(one);
		result = listener_open(loop, address, tls, on_accept, arg,
			&listeners->all[listeners->count], error);
		listeners->count += result == 0;
		free(address);
	}
	return result;
}

void listeners_close(struct listeners *listeners)
{
	for (unsigned i = 0; i < listeners->count; i++)
		listener_close(&listeners->all[i]);
	listeners->count = 0;
}
