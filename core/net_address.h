#ifndef PANDO_CORE_NET_ADDRESS_H
#define PANDO_CORE_NET_ADDRESS_H

/* Address text to socket addresses and back. For the implementation files of core only. */

#include "core/error.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

struct net_address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	} socket;
	socklen_t length;
};

/* -EINVAL for text that is no literal address. */
int net_address_parse(const char *text, struct net_address *address_out) must_check;
/* An IP address and port that a peer can connect to: no wildcard, no port 0, no UNIX socket. */
bool net_address_is_destination(const struct net_address *address) must_check;
/* Writes "192.0.2.1:25", "[2001:db8::1]:25" or "unix"; IPv4 inside IPv6 is shown as IPv4. */
void net_address_print(const struct net_address *address, char *text_out, size_t capacity);

#endif
