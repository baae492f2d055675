#include "core/net_address.h"

#include "core/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

static int parse_unix(struct str path, struct net_address *out)
{
	if (path.length == 0 || path.length >= sizeof(out->socket.local.sun_path))
		return -EINVAL;
	out->socket.local.sun_family = AF_UNIX;
	memcpy(out->socket.local.sun_path, path.bytes, path.length);
	out->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.length + 1);
	return 0;
}

int net_address_parse(const char *text, struct net_address *out)
{
	struct str s = str_from(text);
	*out = (struct net_address){ 0 };
	if (str_starts_with(s, STR("unix:")))
		return parse_unix(str_from_index(s, 5), out);
	ptrdiff_t colon = str_find_last_byte(s, ':');
	uint64_t port;
	char host[64];
	if (colon < 0 || !str_to_u64(str_from_index(s, (size_t)colon + 1), 65535, &port))
		return -EINVAL;
	struct str name = str_first(s, (size_t)colon);
	bool bracketed =
		name.length >= 2 && name.bytes[0] == '[' && name.bytes[name.length - 1] == ']';
	if (bracketed)
		name = str_of(name.bytes + 1, name.length - 2);
	if (name.length >= sizeof(host))
		return -EINVAL;
	memcpy(host, name.bytes, name.length);
	host[name.length] = '\0';
	if (bracketed) {
		out->socket.v6.sin6_family = AF_INET6;
		out->socket.v6.sin6_port = htons((uint16_t)port);
		out->length = sizeof(out->socket.v6);
		return inet_pton(AF_INET6, host, &out->socket.v6.sin6_addr) == 1 ? 0 : -EINVAL;
	}
	out->socket.v4.sin_family = AF_INET;
	out->socket.v4.sin_port = htons((uint16_t)port);
	out->length = sizeof(out->socket.v4);
	return inet_pton(AF_INET, host, &out->socket.v4.sin_addr) == 1 ? 0 : -EINVAL;
}

bool net_address_is_destination(const struct net_address *address)
{
	if (address->socket.any.sa_family == AF_INET)
		return address->socket.v4.sin_port != 0 &&
		       address->socket.v4.sin_addr.s_addr != INADDR_ANY;
	return address->socket.any.sa_family == AF_INET6 && address->socket.v6.sin6_port != 0 &&
	       !IN6_IS_ADDR_UNSPECIFIED(&address->socket.v6.sin6_addr);
}

void net_address_print(const struct net_address *address, char *text_out, size_t capacity)
{
	char host[INET6_ADDRSTRLEN];
	if (address->socket.any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &address->socket.v4.sin_addr, host, sizeof(host));
		snprintf(text_out, capacity, "%s:%u", host, ntohs(address->socket.v4.sin_port));
	} else if (address->socket.any.sa_family == AF_INET6) {
		const struct in6_addr *v6 = &address->socket.v6.sin6_addr;
		unsigned port = ntohs(address->socket.v6.sin6_port);
		if (IN6_IS_ADDR_V4MAPPED(v6)) {
			inet_ntop(AF_INET, &v6->s6_addr[12], host, sizeof(host));
			snprintf(text_out, capacity, "%s:%u", host, port);
		} else {
			inet_ntop(AF_INET6, v6, host, sizeof(host));
			snprintf(text_out, capacity, "[%s]:%u", host, port);
		}
	} else {
		snprintf(text_out, capacity, "unix");
	}
}
