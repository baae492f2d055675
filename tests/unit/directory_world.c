#include "unit/directory_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_change(void *arg)
{
	struct world *world = arg;
	struct directory_news news = directory_news(world->directory);
	world->changes++;
	world->is_news_all = news.is_all;
	world->news_count = 0;
	for (size_t i = 0; i < news.count && i < array_length(world->news); i++)
		world->news[world->news_count++] = news.mailbox_ids[i];
}

static void on_tick(void *arg)
{
	struct world *world = arg;
	if (world->holds(world) || ++world->polls > 3000)
		loop_stop(world->loop);
	else
		timer_start(world->timer, 1);
}

bool wait_until(struct world *world, bool (*holds)(struct world *world))
{
	world->holds = holds;
	world->polls = 0;
	timer_start(world->timer, 1);
	loop_run(world->loop);
	return holds(world);
}

void open_directory(struct world *world)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/snapshot.sqlite", world->folder);
	world->directory = directory_open(world->loop, &world->config, path, on_change, world);
}

static void wipe(const char *postgres)
{
	struct sql *sql = NULL;
	struct error error = { 0 };
	expect_done(sql_open_postgres(postgres, NULL, &sql, NULL, &error), &error);
	expect_done(sql_script(sql, "drop schema if exists pando cascade", &error), &error);
	sql_close(&sql);
}

void open_world(struct world *world, const char *postgres)
{
	struct error error = { 0 };
	char path[128];
	if (postgres != NULL)
		wipe(postgres);
	*world = (struct world){ .is_postgres = postgres != NULL };
	snprintf(world->folder, sizeof(world->folder), "/tmp/pando-directory-XXXXXX");
	EXPECT(mkdtemp(world->folder) != NULL);
	world->loop = loop_create();
	world->timer = timer_new(world->loop, on_tick, world);
	world->config.data_dir = world->folder;
	world->config.directory = str_to_heap(str_from(postgres ? postgres : "standalone"));
	snprintf(path, sizeof(path), "%s/directory", world->folder);
	EXPECT_INT(0, mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/directory/directory.sqlite", world->folder);
	int code = postgres ? directory_init_postgres(postgres, NULL, NULL, &error)
			    : directory_init_file(path, NULL, &error);
	if (code == 0)
		code = directory_writer_open(&world->config, &world->writer, &error);
	if (code < 0)
		test_fail(__FILE__, __LINE__, "%s", error.text);
}

void close_world(struct world *world)
{
	char command[128];
	directory_close(&world->directory);
	directory_writer_close(&world->writer);
	timer_destroy(&world->timer);
	loop_destroy(&world->loop);
	free(world->config.directory);
	snprintf(command, sizeof(command), "rm -rf %s", world->folder);
	EXPECT_INT(0, system(command));
}

void expect_done(int code, const struct error *error)
{
	if (code < 0)
		test_fail(__FILE__, __LINE__, "%s", error->text);
}

void fill(struct directory_writer *writer)
{
	struct error error = { 0 };
	struct node_description a = { "node-a1", "site-a", "127.0.0.1:1", "127.0.0.1:2",
		"127.0.0.1:3", "127.0.0.1:4" };
	struct node_description b = { "node-b1", "site-b", "127.0.0.1:5", "127.0.0.1:6",
		"127.0.0.1:7", "[::1]:8" };
	struct router_description router = { "router-a", "site-a", "127.0.0.1:9", "" };
	struct volume_description volume = { .name = "v1",
		.primary_node = "node-a1",
		.replica_nodes = { "node-b1" },
		.replica_count = 1 };
	struct mailbox_description mailbox = { .address = "Anna@Example.org", .scram = SCRAM };
	expect_done(directory_add_site(writer, "site-a", &error), &error);
	expect_done(directory_add_site(writer, "site-b", &error), &error);
	expect_done(directory_add_node(writer, &a, &error), &error);
	expect_done(directory_add_node(writer, &b, &error), &error);
	expect_done(directory_add_router(writer, &router, &error), &error);
	expect_done(directory_add_volume(writer, &volume, &error), &error);
	expect_done(directory_add_domain(writer, "example.org", &error), &error);
	expect_done(directory_add_mailbox(writer, &mailbox, &error), &error);
}
