#include "core/disk.h"
#include "core/net.h"
#include "core/store.h"
#include "core/timer.h"
#include "unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- an echo: what is written arrives whole and in order, lingering loses nothing ---- */

enum { ECHO_BYTES = 3 << 20 };

struct echo {
	struct loop *loop;
	struct listener *listener;
	struct stream *client, *server;
	struct buf received, kept;
	int client_reason;
	bool answers_at_end; /* the server, once the client has ended its side */
	struct timer *read_timer; /* the client reads on when it comes; NULL: at once */
};

/* Longer than a closed stream waits for the other side's end. */
enum { READ_LATE_MS = 5600 };

static void on_server_input(void *arg, struct buf *input)
{
	struct echo *echo = arg;
	if (echo->answers_at_end)
		buf_append_str(&echo->kept, buf_str(input));
	else
		stream_write_str(echo->server, buf_str(input));
	buf_consume(input, buf_length(input));
}

static void on_server_end(void *arg)
{
	struct echo *echo = arg;
	stream_write_str(echo->server, buf_str(&echo->kept));
	stream_be_patient(echo->server);
	stream_close(echo->server);
	echo->server = NULL;
}

static void on_server_close(void *arg, int reason)
{
	struct echo *echo = arg;
	(void)reason;
	echo->server = NULL;
}

static const struct stream_handler server_handler = { .on_input = on_server_input,
	.on_close = on_server_close };

static const struct stream_handler answering_handler = {
	.on_input = on_server_input, .on_end = on_server_end, .on_close = on_server_close
};

static void on_accept(void *arg, struct stream *stream)
{
	struct echo *echo = arg;
	echo->server = stream;
	stream_set_handler(
		stream, echo->answers_at_end ? &answering_handler : &server_handler, echo);
}

static void on_client_open(void *arg)
{
	struct echo *echo = arg;
	struct bytes *bytes = bytes_create(ECHO_BYTES - 5);
	for (size_t i = 0; i < bytes->length; i++)
		bytes->data[i] = (char)(i * 7 + i / 251);
	stream_write(echo->client, "hello", 5);
	stream_write_bytes(echo->client, bytes, 0, bytes->length);
	bytes_unref(&bytes);
	if (echo->answers_at_end)
		stream_end(echo->client);
}

static void on_client_input(void *arg, struct buf *input)
{
	struct echo *echo = arg;
	if (echo->read_timer != NULL && buf_length(&echo->received) == 0) {
		stream_pause(echo->client);
		timer_start(echo->read_timer, READ_LATE_MS);
	}
	buf_append_str(&echo->received, buf_str(input));
	buf_consume(input, buf_length(input));
	if (buf_length(&echo->received) == ECHO_BYTES) {
		stream_close(echo->client);
		echo->client = NULL;
		loop_stop(echo->loop);
	}
}

static void on_client_close(void *arg, int reason)
{
	struct echo *echo = arg;
	echo->client_reason = reason;
	echo->client = NULL;
	loop_stop(echo->loop);
}

static const struct stream_handler client_handler = { .on_open = on_client_open,
	.on_input = on_client_input,
	.on_close = on_client_close };

static void on_second(void *arg)
{
	loop_stop(arg);
}

static void run_for_ms(struct loop *loop, uint64_t ms)
{
	struct timer *timer = timer_new(loop, on_second, loop);
	timer_start(timer, ms);
	loop_run(loop);
	timer_destroy(&timer);
}

static void run(struct echo *echo, const char *address, const char *file_to_remove)
{
	struct error error;
	EXPECT_INT(0,
		listener_open(echo->loop, address, NULL, on_accept, echo, &echo->listener, &error));
	if (file_to_remove != NULL) {
		EXPECT_INT(0, unlink(file_to_remove));
		run_for_ms(echo->loop, 1500);
	}
	echo->client = stream_connect(echo->loop, address, NULL, NULL, 1000, &client_handler, echo);
	loop_run(echo->loop);
	EXPECT_INT(ECHO_BYTES, buf_length(&echo->received));
	bool equal = str_starts_with(buf_str(&echo->received), STR("hello"));
	for (size_t i = 0; equal && i < ECHO_BYTES - 5; i++)
		equal = buf_str(&echo->received).bytes[i + 5] == (char)(i * 7 + i / 251);
	EXPECT(equal);
	listener_close(&echo->listener);
	if (echo->server)
		stream_abort(echo->server);
	buf_deinit(&echo->received);
	buf_deinit(&echo->kept);
}

static void run_echo(const char *address, const char *file_to_remove, bool answers_at_end)
{
	struct echo echo = { .loop = loop_create(), .answers_at_end = answers_at_end };
	run(&echo, address, file_to_remove);
	loop_destroy(&echo.loop);
}

TEST(a_stream_carries_megabytes_both_ways_unchanged)
{
	run_echo("127.0.0.1:29871", NULL, false);
	run_echo("[::1]:29872", NULL, false);
	run_echo("unix:/tmp/pando-net-test.sock", NULL, false);
	unlink("/tmp/pando-net-test.sock");
}

TEST(a_socket_whose_file_was_removed_is_there_again_within_a_moment)
{
	run_echo("unix:/tmp/pando-net-test-gone.sock", "/tmp/pando-net-test-gone.sock", false);
}

TEST(who_has_ended_its_side_is_answered)
{
	run_echo("127.0.0.1:29874", NULL, true);
}

static void on_read_on(void *arg)
{
	struct echo *echo = arg;
	stream_resume(echo->client);
}

TEST(who_reads_slowly_is_sent_all_that_was_left_when_the_stream_was_closed)
{
	struct echo echo = { .loop = loop_create(), .answers_at_end = true };
	echo.read_timer = timer_new(echo.loop, on_read_on, &echo);
	run(&echo, "unix:/tmp/pando-net-test-slow.sock", NULL);
	timer_destroy(&echo.read_timer);
	loop_destroy(&echo.loop);
	unlink("/tmp/pando-net-test-slow.sock");
}

/* ---- who goes without reading its answer ---- */

enum { LEAVERS = 10 };

struct leavers {
	struct loop *loop;
	int sockets[LEAVERS];
	unsigned answered;
};

static void on_leaver_accept(void *arg, struct stream *stream)
{
	struct leavers *leavers = arg;
	static const struct stream_handler handler = { .on_close = on_server_close };
	stream_set_handler(stream, &handler, NULL);
	stream_write_str(stream, STR("BYE\r\n"));
	stream_be_patient(stream);
	stream_close(stream);
	if (++leavers->answered == LEAVERS)
		loop_stop(leavers->loop);
}

static unsigned count_descriptors(void)
{
	unsigned count = 0;
	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* Its answer waits in the kernel as if it were to be taken yet. */
TEST(who_resets_the_connection_holds_no_stream_that_was_closed)
{
	struct leavers leavers = { .loop = loop_create() };
	struct listener *listener;
	struct error error;
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons(29875),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	EXPECT_INT(0,
		listener_open(leavers.loop, "127.0.0.1:29875", NULL, on_leaver_accept, &leavers,
			&listener, &error));
	unsigned before = count_descriptors();
	for (unsigned i = 0; i < LEAVERS; i++) {
		leavers.sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		EXPECT(connect(leavers.sockets[i], (struct sockaddr *)&address, sizeof(address)) ==
			0);
	}
	/* They send something, and are gone before the answer is sent. */
	for (unsigned i = 0; i < LEAVERS; i++) {
		EXPECT(send(leavers.sockets[i], "LOGOUT\r\n", 8, 0) == 8);
		close(leavers.sockets[i]);
	}
	loop_run(leavers.loop);
	run_for_ms(leavers.loop, 2500);
	EXPECT_INT(before, count_descriptors());
	listener_close(&listener);
	loop_destroy(&leavers.loop);
}

/* As a process does that was killed while its disk was busy. */
static void *let_go(void *arg)
{
	nanosleep(&(struct timespec){ 0, 150 * 1000000 }, NULL);
	close(*(int *)arg);
	return NULL;
}

TEST(an_address_that_is_given_up_in_a_moment_is_waited_for)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(29873),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int yes = 1, before = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(before, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	EXPECT(bind(before, (struct sockaddr *)&address, sizeof(address)) == 0);
	EXPECT(listen(before, 1) == 0);
	pthread_t thread;
	EXPECT(pthread_create(&thread, NULL, let_go, &before) == 0);
	run_echo("127.0.0.1:29873", NULL, false);
	pthread_join(thread, NULL);
}

TEST(a_refused_connection_is_reported_as_a_close)
{
	struct echo echo = { .loop = loop_create() };
	echo.client = stream_connect(
		echo.loop, "127.0.0.1:1", NULL, NULL, 1000, &client_handler, &echo);
	loop_run(echo.loop);
	EXPECT(echo.client_reason < 0);
	loop_destroy(&echo.loop);
}

/* ---- both disk backends ---- */

struct disk_case {
	struct loop *loop;
	struct disk_op op;
	unsigned left;
	int64_t result;
};

static void on_op(struct disk_op *op)
{
	struct disk_case *test = container_of(op, struct disk_case, op);
	test->result = op->result;
	loop_stop(test->loop);
}

static void run_disk(enum io_backend backend)
{
	char path[] = "/tmp/pando-disk-XXXXXX";
	struct disk_case test = { .loop = loop_create(), .op = { .done = on_op } };
	struct disk *disk;
	struct disk_file *file;
	struct error error;
	char page[8192], back[8192];
	close(mkstemp(path));
	EXPECT_INT(0, disk_create(test.loop, backend, &disk, &error));
	EXPECT_INT(0, disk_file_open(disk, path, true, &file));
	EXPECT_INT(0, disk_file_allocate(file, 1 << 20));
	EXPECT_INT(1 << 20, disk_file_size(file));
	memset(page, 'x', sizeof(page));
	struct iovec vectors[2] = { { page, 4096 }, { page + 4096, 4096 } };
	disk_write(file, &test.op, vectors, 2, 4096);
	loop_run(test.loop);
	EXPECT_INT(8192, test.result);
	disk_read(file, &test.op, back, sizeof(back), 4096);
	loop_run(test.loop);
	EXPECT_INT(8192, test.result);
	EXPECT(memcmp(page, back, sizeof(page)) == 0);
	disk_read(file, &test.op, back, sizeof(back), (1 << 20) - 100);
	loop_run(test.loop);
	EXPECT_INT(-ENODATA, test.result);
	EXPECT_INT(0, disk_file_zero(file, 4096, 4096));
	EXPECT_INT(0, disk_read_now(file, back, 8192, 4096));
	EXPECT_INT(0, back[0]);
	EXPECT_INT('x', back[4096]);
	disk_file_close(&file);
	disk_destroy(&disk);
	loop_destroy(&test.loop);
	unlink(path);
}

TEST(posix_backend_writes_and_reads)
{
	run_disk(IO_BACKEND_POSIX);
}

TEST(auto_backend_writes_and_reads)
{
	run_disk(IO_BACKEND_AUTO);
}

static int count_pair(void *arg, struct str key, struct str value)
{
	(void)key;
	(void)value;
	++*(int *)arg;
	return 0;
}

TEST(store_rolls_back_and_lists_by_prefix)
{
	char path[] = "/tmp/pando-store-XXXXXX";
	struct store *store;
	struct error error;
	struct buf out = { 0 };
	int count = 0;
	close(mkstemp(path));
	EXPECT_INT(0, store_open(path, &store, &error));
	EXPECT_INT(0, store_begin(store));
	EXPECT_INT(0, store_put(store, STR("a1"), STR("one")));
	EXPECT_INT(0, store_put(store, STR("a2"), STR("")));
	EXPECT_INT(0, store_put(store, STR("b1"), STR("three")));
	EXPECT_INT(0, store_commit(store));
	EXPECT_INT(0, store_begin(store));
	EXPECT_INT(0, store_put(store, STR("a1"), STR("changed")));
	store_rollback(store);
	EXPECT_INT(0, store_get(store, STR("a1"), &out));
	EXPECT_STR(STR("one"), buf_str(&out));
	EXPECT_INT(-ENOENT, store_get(store, STR("zz"), &out));
	EXPECT_INT(0, store_each(store, STR("a"), count_pair, &count));
	EXPECT_INT(2, count);
	store_close(&store);
	buf_deinit(&out);
	unlink(path);
}

/* ---- the pool ---- */

static void on_slow_work(void *arg)
{
	(void)arg;
	(void)!poll(NULL, 0, 50);
}

static void on_slow_work_done(void *arg)
{
	*(bool *)arg = true;
}

TEST(a_loop_goes_when_its_work_on_the_pool_is_done)
{
	bool done = false;
	struct loop *loop = loop_create();
	loop_work(loop, on_slow_work, on_slow_work_done, &done);
	loop_destroy(&loop);
	EXPECT(done);
}
