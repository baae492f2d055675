#include "router/listen.h"

#include "core/net.h"
#include "router/imap_login.h"
#include "router/smtp_session.h"

#include <errno.h>
#include <stdlib.h>

enum { LISTENERS_MAX = 64 };

struct service;

struct door {
	struct router *router;
	const struct service *service;
	struct listener *listener;
};

struct doors {
	struct door all[LISTENERS_MAX];
	unsigned count;
};

static void start_mx(struct router *router, struct stream *stream)
{
	smtp_session_start(router, SMTP_SERVICE_MX, stream);
}

static void start_submission(struct router *router, struct stream *stream)
{
	smtp_session_start(router, SMTP_SERVICE_SUBMISSION, stream);
}

static void start_submissions(struct router *router, struct stream *stream)
{
	smtp_session_start(router, SMTP_SERVICE_SUBMISSIONS, stream);
}

static void start_imap(struct router *router, struct stream *stream)
{
	imap_login_start(router, false, stream);
}

static void start_imaps(struct router *router, struct stream *stream)
{
	imap_login_start(router, true, stream);
}

static const struct service {
	const char *key;
	size_t addresses_offset; /* in struct config */
	bool implicit_tls;
	void (*start)(struct router *router, struct stream *stream);
} services[] = {
	{ "smtp_listen", offsetof(struct config, smtp_listen), false, start_mx },
	{ "submission_listen", offsetof(struct config, submission_listen), false, start_submission },
	{ "submissions_listen", offsetof(struct config, submissions_listen), true, start_submissions },
	{ "imap_listen", offsetof(struct config, imap_listen), false, start_imap },
	{ "imaps_listen", offsetof(struct config, imaps_listen), true, start_imaps },
};

static void on_accept(void *arg, struct stream *stream)
{
	const struct door *door = arg;
	door->service->start(door->router, stream);
}

static int open_service(struct doors *doors, struct router *router, const struct service *service,
	struct error *error)
{
	char *const *addresses =
		(char *const *)(const void *)((const char *)router->config + service->addresses_offset);
	struct str rest = str_from(*addresses), address;

	while (str_next(&rest, ' ', &address)) {
		if (address.length == 0)
			continue;
		if (service->implicit_tls && !router->public_tls)
			return error_set(error, -EINVAL,
				"%s needs public_certificate and public_key", service->key);
		if (doors->count == LISTENERS_MAX)
			return error_set(error, -E2BIG, "more than %d addresses to listen on", LISTENERS_MAX);
		struct door *door = &doors->all[doors->count];
		door->router = router;
		door->service = service;
		char *text = str_to_heap(address);
		int rc = listener_open(router->loop, text,
			service->implicit_tls ? router->public_tls : NULL, on_accept, door,
			&door->listener, error);
		free(text);
		if (rc < 0)
			return rc;
		doors->count++;
	}
	return 0;
}

int doors_open(struct router *router, struct doors **doors_out, struct error *error)
{
	struct doors *doors = mem_alloc(sizeof(*doors));

	for (size_t i = 0; i < array_length(services); i++) {
		int rc = open_service(doors, router, &services[i], error);
		if (rc < 0) {
			doors_close(&doors);
			return rc;
		}
	}
	*doors_out = doors;
	return 0;
}

void doors_close(struct doors **doors)
{
	if (!*doors)
		return;
	for (unsigned i = 0; i < (*doors)->count; i++)
		listener_close(&(*doors)->all[i].listener);
	free(*doors);
	*doors = NULL;
}
