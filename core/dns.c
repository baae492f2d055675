#include "core/dns.h"

#include "core/list.h"
#include "core/net_address.h"
#include "core/str.h"
#include "core/timer.h"
#include "core/watch.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>

enum {
	/* How often c-ares is asked to look at its own timeouts while queries are open. */
	DNS_TICK_MS = 200,
	/* One try's patience and the number of tries: 2 + 4 seconds in all. */
	DNS_TRY_MS = 2000,
	DNS_TRIES = 2,
};

struct socket_watch {
	struct list link;
	struct dns *dns;
	ares_socket_t fd;
	struct watch *watch;
};

struct dns {
	struct loop *loop;
	ares_channel channel;
	struct list sockets;
	struct timer *tick;
	unsigned open_queries;
};

struct query {
	struct dns *dns;
	void (*done)(void *arg, const struct dns_answer *answer);
	void *arg;
	struct dns_answer answer;
	unsigned port;
	struct task task; /* for answers that need no question */
};

static void on_socket_ready(void *arg, unsigned events)
{
	struct socket_watch *socket = arg;
	ares_process_fd(socket->dns->channel,
		events & WATCH_READ ? socket->fd : ARES_SOCKET_BAD,
		events & WATCH_WRITE ? socket->fd : ARES_SOCKET_BAD);
}

static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct dns *dns = arg;
	unsigned events = (readable ? WATCH_READ : 0u) | (writable ? WATCH_WRITE : 0u);
	list_for_each (link, &dns->sockets) {
		struct socket_watch *socket = list_entry(link, struct socket_watch, link);
		if (socket->fd != fd)
			continue;
		if (events != 0) {
			watch_set_events(socket->watch, events);
			return;
		}
		list_remove(&socket->link);
		watch_destroy(&socket->watch);
		free(socket);
		return;
	}
	if (events == 0)
		return;
	struct socket_watch *socket = mem_alloc(sizeof(*socket));
	socket->dns = dns;
	socket->fd = fd;
	socket->watch = watch_create(dns->loop, fd, events, on_socket_ready, socket);
	list_append(&dns->sockets, &socket->link);
}

static void on_tick(void *arg)
{
	struct dns *dns = arg;
	ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	if (dns->open_queries > 0)
		timer_start(dns->tick, DNS_TICK_MS);
}

int dns_create(struct loop *loop, struct dns **dns_out, struct error *error)
{
	struct dns *dns = mem_alloc(sizeof(*dns));
	struct ares_options options = { .timeout = DNS_TRY_MS,
		.tries = DNS_TRIES,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = dns };
	list_init(&dns->sockets);
	dns->loop = loop;
	int code = ares_library_init(ARES_LIB_INIT_ALL);
	if (code == ARES_SUCCESS)
		code = ares_init_options(&dns->channel, &options,
			ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
	if (code != ARES_SUCCESS) {
		free(dns);
		return error_set(
			error, -EIO, "the resolver cannot be set up: %s", ares_strerror(code));
	}
	dns->tick = timer_new(loop, on_tick, dns);
	*dns_out = dns;
	return 0;
}

void dns_destroy(struct dns **dns)
{
	if (*dns == NULL)
		return;
	ares_destroy((*dns)->channel);
	timer_destroy(&(*dns)->tick);
	free(*dns);
	*dns = NULL;
}

static void finish(void *arg)
{
	struct query *query = arg;
	query->done(query->arg, &query->answer);
	free(query);
}

static void add_address(struct query *query, const struct ares_addrinfo_node *node)
{
	struct net_address address = { 0 };
	if (query->answer.count == DNS_ADDRESSES_MAX ||
		node->ai_addrlen > sizeof(address.socket))
		return;
	memcpy(&address.socket, node->ai_addr, node->ai_addrlen);
	address.length = node->ai_addrlen;
	if (node->ai_family == AF_INET6)
		address.socket.v6.sin6_port = htons((uint16_t)query->port);
	else if (node->ai_family == AF_INET)
		address.socket.v4.sin_port = htons((uint16_t)query->port);
	else
		return;
	net_address_print(&address, query->answer.addresses[query->answer.count++],
		sizeof(query->answer.addresses[0]));
}

static void on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *result)
{
	struct query *query = arg;
	(void)timeouts;
	query->dns->open_queries--;
	if (status == ARES_SUCCESS)
		for (struct ares_addrinfo_node *node = result->nodes; node; node = node->ai_next)
			add_address(query, node);
	ares_freeaddrinfo(result);
	if (query->answer.count == 0)
		query->answer.status =
			status == ARES_SUCCESS || status == ARES_ENOTFOUND || status == ARES_ENODATA
			? -ENOENT
			: -EAGAIN;
	if (status == ARES_EDESTRUCTION) {
		free(query);
		return;
	}
	/* Not from inside the caller's dns_resolve: some answers are known at once. */
	loop_defer(query->dns->loop, &query->task);
}

void dns_resolve(struct dns *dns, const char *host_port,
	void (*done)(void *arg, const struct dns_answer *answer), void *arg)
{
	struct query *query = mem_alloc(sizeof(*query));
	struct net_address literal;
	query->dns = dns;
	query->done = done;
	query->arg = arg;
	query->task.run = finish;
	query->task.arg = query;
	if (net_address_parse(host_port, &literal) == 0) {
		net_address_print(&literal, query->answer.addresses[query->answer.count++],
			sizeof(query->answer.addresses[0]));
		loop_defer(dns->loop, &query->task);
		return;
	}
	ptrdiff_t colon = str_find_last_byte(str_from(host_port), ':');
	uint64_t port;
	if (colon < 0 || !str_to_u64(str_from(host_port + colon + 1), 65535, &port)) {
		query->answer.status = -ENOENT;
		loop_defer(dns->loop, &query->task);
		return;
	}
	query->port = (unsigned)port;
	char *host = str_to_heap(str_of(host_port, (size_t)colon));
	struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	dns->open_queries++;
	ares_getaddrinfo(dns->channel, host, NULL, &hints, on_addresses, query);
	free(host);
	if (!timer_is_running(dns->tick))
		timer_start(dns->tick, DNS_TICK_MS);
}
