#include "router/clients.h"

#include "core/map.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

struct client {
	uint64_t sessions;
	size_t key_length;
	char key[64];
};

struct clients {
	struct map *all; /* struct client by its key; none without a session */
};

bool client_is_loopback(const char *peer)
{
	return strncmp(peer, "127.", 4) == 0 || strncmp(peer, "[::1]", 5) == 0;
}

/* The address, or the network of an IPv6 address. */
static struct str make_key(const char *peer, char space[64])
{
	struct str host = str_from(peer);
	ptrdiff_t colon = str_find_last_byte(host, ':');
	struct in6_addr address;

	if (colon >= 0)
		host = str_first(host, (size_t)colon);
	if (host.length > 2 && host.bytes[0] == '[')
		host = str_of(host.bytes + 1, host.length - 2);
	snprintf(space, 64, STR_FORMAT, STR_ARG(host));
	if (inet_pton(AF_INET6, space, &address) == 1) {
		memcpy(space, address.s6_addr, 8);
		return str_of(space, 8);
	}
	return str_from(space);
}

struct clients *clients_create(void)
{
	struct clients *clients = mem_alloc(sizeof(*clients));
	clients->all = map_create();
	return clients;
}

void clients_destroy(struct clients **clients)
{
	if (!*clients)
		return;
	CHECK(map_count((*clients)->all) == 0);
	map_destroy(&(*clients)->all);
	free(*clients);
	*clients = NULL;
}

bool clients_enter(struct clients *clients, const char *peer, uint64_t maximum,
	struct client_place *place_out)
{
	char space[64];
	struct str key = make_key(peer, space);

	place_out->client = NULL;
	if (client_is_loopback(peer))
		return true;
	struct client *client = map_get(clients->all, key);
	if (!client) {
		client = mem_alloc(sizeof(*client));
		client->key_length = key.length;
		memcpy(client->key, key.bytes, key.length);
		map_set(clients->all, key, client);
	}
	if (client->sessions >= maximum)
		return false;
	client->sessions++;
	place_out->client = client;
	return true;
}

void clients_leave(struct clients *clients, struct client_place *place)
{
	struct client *client = place->client;

	place->client = NULL;
	if (!client || --client->sessions > 0)
		return;
	map_remove(clients->all, str_of(client->key, client->key_length));
	free(client);
}
