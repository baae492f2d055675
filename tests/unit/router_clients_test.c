/* Who counts as one client, and who is not counted. */

#include "router/clients.h"
#include "unit/test.h"

TEST(one_client_is_one_address_or_one_ipv6_network)
{
	static const struct {
		const char *name, *first, *second;
		bool same;
	} rows[] = {
		{ "ports do not matter", "192.0.2.1:25", "192.0.2.1:4711", true },
		{ "addresses do", "192.0.2.1:25", "192.0.2.2:25", false },
		{ "a /64 is one customer", "[2001:db8::1]:25", "[2001:db8::ffff:2]:26", true },
		{ "the next /64 is another", "[2001:db8::1]:25", "[2001:db8:0:1::1]:25", false },
		{ "loopback is not counted", "127.0.0.1:25", "127.0.0.1:26", false },
		{ "in either form", "[::1]:25", "[::1]:26", false },
		{ "UNIX sockets are one client", "unix", "unix", true },
	};
	for (size_t i = 0; i < array_length(rows); i++) {
		struct clients *clients = clients_create();
		struct client_place first, second;
		test_row(rows[i].name);
		EXPECT(clients_enter(clients, rows[i].first, 1, &first));
		EXPECT(clients_enter(clients, rows[i].second, 1, &second) == !rows[i].same);
		clients_leave(clients, &first);
		clients_leave(clients, &second);
		clients_destroy(&clients);
	}
	test_row(NULL);
}

TEST(who_leaves_makes_room_once)
{
	struct clients *clients = clients_create();
	struct client_place places[3], more;
	for (unsigned i = 0; i < 3; i++)
		EXPECT(clients_enter(clients, "192.0.2.1:25", 3, &places[i]));
	EXPECT(!clients_enter(clients, "192.0.2.1:25", 3, &more));
	clients_leave(clients, &places[0]);
	clients_leave(clients, &places[0]);
	EXPECT(clients_enter(clients, "192.0.2.1:25", 3, &places[0]));
	EXPECT(!clients_enter(clients, "192.0.2.1:25", 3, &more));
	for (unsigned i = 0; i < 3; i++)
		clients_leave(clients, &places[i]);
	clients_destroy(&clients);
}
