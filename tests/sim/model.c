#include "sim/model.h"

#include "core/check.h"
#include "core/map.h"
#include "sim/tally.h"
#include "sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAGS_MAX = 200 };

struct message_model {
	uint64_t mark; /* UINT64_MAX: not known yet */
	char flags[FLAGS_MAX];
	uint64_t flags_epoch, expunged_epoch; /* 0: nothing is known */
	uint64_t answered_us;
	unsigned answered_by;
};

struct folder_model {
	uint32_t uidnext;
	uint64_t highest_modseq, epoch;
};

struct key {
	uint64_t mailbox_id;
	uint32_t uidvalidity, uid; /* uid 0: the folder itself */
};

static struct map *models;
static bool failed;

void model_reset(void)
{
	void *value;
	if (models != NULL) {
		for (size_t i = 0; map_next(models, &i, NULL, &value);)
			free(value);
		map_destroy(&models);
	}
	models = map_create();
	failed = false;
}

bool model_failed(void)
{
	return failed;
}

static void *find(struct model_folder folder, uint32_t uid, size_t length)
{
	struct key key = { folder.mailbox_id, folder.uidvalidity, uid };
	struct str bytes = str_of((const char *)&key, sizeof(key));
	void *model = map_get(models, bytes);
	if (model == NULL) {
		model = mem_alloc(length);
		map_set(models, bytes, model);
	}
	return model;
}

static struct message_model *find_message(struct model_folder folder, uint32_t uid)
{
	CHECK(uid > 0);
	struct message_model *model = find(folder, uid, sizeof(*model));
	/* No message has the mark 0. */
	return model;
}

static void complain(struct model_folder folder, uint32_t uid, const char *what)
{
	printf("mailbox %llu, UIDVALIDITY %u, UID %u: %s\n",
		(unsigned long long)folder.mailbox_id, folder.uidvalidity, uid, what);
	failed = true;
}

void model_selected(struct model_folder folder, uint32_t uidnext, uint64_t highest_modseq,
	uint64_t epoch, bool may_be_old)
{
	struct folder_model *model = find(folder, 0, sizeof(*model));
	if (may_be_old && epoch < model->epoch) {
		tally_add(TALLY_CHECK, "an old primary that had not heard was shown once more", 1);
		return;
	}
	model->epoch = epoch;
	tally_add(TALLY_CHECK, "3 UIDNEXT and HIGHESTMODSEQ did not go down", 1);
	if (uidnext < model->uidnext)
		complain(folder, uidnext, "is UIDNEXT, and it was more");
	if (highest_modseq < model->highest_modseq)
		complain(folder, uidnext, "HIGHESTMODSEQ has gone down");
	model->uidnext = uidnext;
	model->highest_modseq = highest_modseq;
}

void model_shown(struct model_folder folder, uint32_t uid, uint64_t mark)
{
	struct message_model *model = find_message(folder, uid);
	tally_add(TALLY_CHECK, "2 a UID names the message that it named before",
		model->mark != 0);
	if (model->mark != 0 && model->mark != mark) {
		char what[80];
		snprintf(what, sizeof(what), "is mail %llu, and was %llu",
			(unsigned long long)mark, (unsigned long long)model->mark);
		complain(folder, uid, what);
	}
	model->mark = mark;
}

static void note_answer(struct message_model *model, unsigned machine)
{
	model->answered_us = world_now_us();
	model->answered_by = machine;
}

void model_disk_lost(unsigned machine, uint64_t since_us)
{
	struct str name;
	void *value;
	for (size_t i = 0; map_next(models, &i, &name, &value);) {
		struct message_model *model = value;
		struct key key;
		memcpy(&key, name.bytes, sizeof(key));
		if (key.uid == 0 || model->answered_by != machine || model->answered_us < since_us)
			continue;
		model->flags_epoch = model->expunged_epoch = 0;
	}
}

void model_flags_answered(struct model_folder folder, uint32_t uid, struct str flags,
	uint64_t epoch, unsigned machine)
{
	struct message_model *model = find_message(folder, uid);
	note_answer(model, machine);
	snprintf(model->flags, sizeof(model->flags), STR_FORMAT, STR_ARG(flags));
	model->flags_epoch = epoch;
}

void model_flags_unknown(struct model_folder folder, uint32_t uid)
{
	find_message(folder, uid)->flags_epoch = 0;
}

void model_expunge_answered(
	struct model_folder folder, uint32_t uid, uint64_t epoch, unsigned machine)
{
	struct message_model *model = find_message(folder, uid);
	note_answer(model, machine);
	/* From here on every answer could show it. */
	tally_add(TALLY_CHECK, "9 nothing that was expunged is shown", 1);
	model->expunged_epoch = epoch;
}

void model_flags_shown(
	struct model_folder folder, uint32_t uid, struct str flags, uint64_t epoch)
{
	struct message_model *model = find_message(folder, uid);
	if (model->expunged_epoch != 0 && epoch == model->expunged_epoch)
		complain(folder, uid, "was expunged in this epoch");
	if (model->flags_epoch == 0 || model->flags_epoch != epoch)
		return;
	tally_add(TALLY_CHECK, "6 flags that were answered are there", 1);
	if (!str_equal(flags, str_from(model->flags))) {
		char what[2 * FLAGS_MAX + 60];
		snprintf(what, sizeof(what), "has flags (" STR_FORMAT "), answered were (%s)",
			STR_ARG(str_first(flags, flags.length < FLAGS_MAX ? flags.length
									: FLAGS_MAX)),
			model->flags);
		complain(folder, uid, what);
	}
}
