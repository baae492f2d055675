#include "unit/node_fixture.h"

#include "core/log.h"
#include "core/loop.h"
#include "core/timer.h"
#include "unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { PATIENCE_MS = 8000 };

const struct mailbox_policy unlimited = { DURABILITY_LOCAL, 0 };

static void run_release(void *arg)
{
	struct fixture *f = arg;
	volume_released(f->volume, &(struct volume_release){ .question = f->volume->question });
}

static void on_release(void *arg, struct volume *volume, uint64_t prove_epoch)
{
	struct fixture *f = arg;
	(void)volume;
	(void)prove_epoch;
	f->release = (struct task){ .run = run_release, .arg = f };
	loop_defer(f->loop, &f->release);
}

/* The directory does as it is asked. */
static void on_claim(void *arg, struct volume *volume, const struct volume_claim *claim)
{
	struct fixture *f = arg;
	struct volume_desired desired = volume->desired;
	desired.epoch = claim->epoch;
	desired.token = claim->token;
	desired.clean_after = 0;
	memcpy(desired.reign, claim->reign, sizeof(desired.reign));
	f->claims++;
	volume_set_desired(volume, &desired);
}

static void on_changed(void *arg, struct volume *volume)
{
	struct fixture *f = arg;
	if (!f->waiting || volume->state != f->awaited)
		return;
	f->waiting = false;
	loop_stop(f->loop);
}

static void on_patience(void *arg)
{
	loop_stop(arg);
}

/* Whether the volume comes to this state in time. */
bool fixture_await(struct fixture *f, enum volume_state state)
{
	struct timer *patience = timer_new(f->loop, on_patience, f->loop);
	f->awaited = state;
	f->waiting = f->volume->state != state;
	timer_start(patience, PATIENCE_MS);
	if (f->waiting)
		loop_run(f->loop);
	timer_destroy(&patience);
	bool came = !f->waiting;
	f->waiting = false;
	return came;
}

void fixture_open(struct fixture *f)
{
	f->volume = volume_create(&(struct volume_options){ .loop = f->loop,
		.disk = f->disk,
		.id = 7,
		.log_directory = f->log_directory,
		.index_path = f->index_path,
		.witness_path = f->witness_path,
		.alone_after_ms = 100,
		.remote_wait_ms_max = 2000,
		.events = { .release = on_release,
			.claim = on_claim,
			.changed = on_changed,
			.arg = f } });
}

void fixture_name_primary(struct fixture *f)
{
	struct volume_desired desired = { .primary = true, .epoch = 1 };
	memcpy(desired.reign, "reign one.......", sizeof(desired.reign));
	volume_set_desired(f->volume, &desired);
}

void fixture_setup_at(struct fixture *f, const char *log_directory)
{
	struct error error;
	log_setup("test", LOG_LEVEL_ERROR);
	*f = (struct fixture){ .loop = loop_create(),
		.who = { .id = MAILBOX, .address = STR("fixture@example.org") } };
	snprintf(f->directory, sizeof(f->directory), "/tmp/pando-volume-XXXXXX");
	EXPECT(mkdtemp(f->directory) != NULL);
	snprintf(f->log_directory, sizeof(f->log_directory), "%s/%s", f->directory, log_directory);
	snprintf(f->witness_path, sizeof(f->witness_path), "%s/witness", f->directory);
	snprintf(f->index_path, sizeof(f->index_path), "%s/index", f->directory);
	EXPECT_INT(0, disk_create(f->loop, IO_BACKEND_POSIX, &f->disk, &error));
	fixture_open(f);
}

void fixture_setup(struct fixture *f)
{
	fixture_setup_at(f, "log");
	fixture_name_primary(f);
	EXPECT(fixture_await(f, VOLUME_PRIMARY));
}

/* On a disk of this size; false where only root can make one. */
bool fixture_setup_small(struct fixture *f, const char *size)
{
	fixture_setup_at(f, "log");
	EXPECT_INT(0, mkdir(f->log_directory, 0700));
	f->is_small = mount("tmpfs", f->log_directory, "tmpfs", 0, size) == 0;
	if (!f->is_small)
		return false;
	fixture_name_primary(f);
	EXPECT(fixture_await(f, VOLUME_PRIMARY));
	return true;
}

/* What is on its way ends first. */
void fixture_stop(struct fixture *f)
{
	volume_fence(f->volume, false, NULL);
	volume_destroy(&f->volume);
}

void fixture_restart(struct fixture *f)
{
	fixture_open(f);
	fixture_name_primary(f);
	EXPECT(fixture_await(f, VOLUME_PRIMARY));
}

void fixture_teardown(struct fixture *f)
{
	char command[128];
	if (f->volume != NULL)
		fixture_stop(f);
	disk_destroy(&f->disk);
	loop_destroy(&f->loop);
	if (f->is_small)
		EXPECT_INT(0, umount(f->log_directory));
	snprintf(command, sizeof(command), "rm -r %s", f->directory);
	EXPECT_INT(0, system(command));
}

struct mailbox *fixture_mailbox(struct fixture *f)
{
	return index_find_mailbox(&f->volume->index, MAILBOX);
}

struct folder *fixture_folder(struct fixture *f, const char *name)
{
	struct mailbox *mailbox = fixture_mailbox(f);
	return mailbox ? mailbox_find_folder(mailbox, str_from(name)) : NULL;
}

/* ---- deliveries ---- */

static void on_delivered(struct delivery_part *part)
{
	struct one_delivery *one = container_of(part, struct one_delivery, part);
	if (one->then != NULL)
		fixture_begin_delivery(one->f, one->then, 1000, 100, one->left);
	bytes_unref(&one->delivery.body);
	buf_deinit(&one->delivery.summary);
	if (--*one->left == 0)
		loop_stop(one->f->loop);
}

void fixture_begin_delivery(
	struct fixture *f, struct one_delivery *one, unsigned id, size_t length, unsigned *left)
{
	*one = (struct one_delivery){ .f = f, .left = left };
	/* Ids from here on are of another mailbox. */
	uint64_t mailbox_id = id >= OTHERS_ID ? MAILBOX + 1 : MAILBOX;
	one->target = (struct delivery_target){ .mailbox_id = mailbox_id,
		.volume_id = 7,
		.durability = DURABILITY_LOCAL };
	memcpy(one->target.mark, f->who.mark, sizeof(f->who.mark));
	one->target.address = f->who.address;
	one->delivery.targets = &one->target;
	one->delivery.target_count = 1;
	snprintf((char *)one->delivery.id, sizeof(one->delivery.id), "id %u", id);
	one->delivery.body = bytes_create(length);
	memset(one->delivery.body->data, 'x', length);
	buf_append_literal(&one->delivery.summary, "summary");
	one->part = (struct delivery_part){ .delivery = &one->delivery,
		.target_indices = &one->index,
		.target_count = 1,
		.done = on_delivered };
	++*left;
	volume_deliver(f->volume, &one->part);
}

int fixture_deliver(struct fixture *f, unsigned id, size_t length)
{
	struct one_delivery one;
	unsigned left = 0;
	fixture_begin_delivery(f, &one, id, length, &left);
	loop_run(f->loop);
	return one.target.status;
}

/* ---- operations ---- */

static void on_op_done(struct mailbox_op *op)
{
	struct fixture *f = op->arg;
	loop_stop(f->loop);
}

struct mailbox_op fixture_op(struct fixture *f)
{
	return (struct mailbox_op){ .done = on_op_done, .arg = f };
}

int fixture_append(struct fixture *f, struct folder *folder, const char *keyword, uint64_t quota,
	struct mailbox_op *op)
{
	struct str name = keyword ? str_from(keyword) : STR("");
	struct append_request request = { .body = bytes_create(500),
		.summary = STR("summary"),
		.keywords = &name,
		.keyword_count = keyword != NULL,
		.system_flags = MESSAGE_FLAGGED,
		.policy = { DURABILITY_LOCAL, quota } };
	memset(request.body->data, 'a', 500);
	*op = fixture_op(f);
	mailbox_append(folder, &request, op);
	loop_run(f->loop);
	bytes_unref(&request.body);
	return op->status;
}

int fixture_store(struct fixture *f, struct folder *folder, uint32_t uid, uint64_t system_flags,
	const char *keyword)
{
	struct str name = str_from(keyword);
	struct mailbox_op op = fixture_op(f);
	mailbox_store(folder, &(struct store_request){ .uids = &uid,
				      .count = 1,
				      .mode = STORE_ADD,
				      .system_flags = system_flags,
				      .keywords = &name,
				      .keyword_count = 1 }, &op);
	loop_run(f->loop);
	return op.status;
}

int fixture_copy(struct fixture *f, struct folder *from, uint32_t uid, struct folder *to)
{
	struct mailbox_op op = fixture_op(f);
	mailbox_copy(from, &uid, 1, to, false, &unlimited, &op);
	loop_run(f->loop);
	return op.status;
}

int fixture_expunge(struct fixture *f, struct folder *folder, uint32_t uid)
{
	struct mailbox_op op = fixture_op(f);
	mailbox_expunge(folder, &uid, 1, &op);
	loop_run(f->loop);
	return op.status;
}
