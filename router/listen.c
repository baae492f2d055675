#include "router/listen.h"

#include "core/listeners.h"
#include "router/imap_login.h"
#include "router/smtp_session.h"

#include <errno.h>
#include <stdlib.h>

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
	{ "submission_listen", offsetof(struct config, submission_listen), false,
		start_submission },
	{ "submissions_listen", offsetof(struct config, submissions_listen), true,
		start_submissions },
	{ "imap_listen", offsetof(struct config, imap_listen), false, start_imap },
	{ "imaps_listen", offsetof(struct config, imaps_listen), true, start_imaps },
};

struct door {
	struct router *router;
	const struct service *service;
};

struct doors {
	struct door all[array_length(services)];
	struct listeners listeners;
};

static void on_accept(void *arg, struct stream *stream)
{
	const struct door *door = arg;
	door->service->start(door->router, stream);
}

static int open_door(struct doors *doors, struct door *door, struct error *error)
{
	const struct service *service = door->service;
	struct router *router = door->router;
	char *const *addresses = (char *const *)(const void *)((const char *)router->config +
		service->addresses_offset);

	if (service->implicit_tls && !router->public_tls && *addresses[0])
		return error_set(
			error, -EINVAL, "%s needs public_certificate and public_key", service->key);
	return listeners_open(&doors->listeners, router->loop, *addresses,
		service->implicit_tls ? router->public_tls : NULL, on_accept, door, error);
}

int doors_open(struct router *router, struct doors **doors_out, struct error *error)
{
	struct doors *doors = mem_alloc(sizeof(*doors));

	for (size_t i = 0; i < array_length(services); i++) {
		doors->all[i] = (struct door){ router, &services[i] };
		int rc = open_door(doors, &doors->all[i], error);
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
	listeners_close(&(*doors)->listeners);
	free(*doors);
	*doors = NULL;
}
