/* The copies of a volume: adding one, taking one away, throwing one away that is filled anew. */

#include "core/directory/write_internal.h"

#include <errno.h>
#include <stdio.h>

struct copy_ids {
	char volume[24], node[24];
	/* Of the copy that is there: its slot; no row: -1. */
	int slot;
	bool is_primary, is_preferred;
};

/* Locks the volume's row, so that no promotion passes between the looks. */
static int find(struct directory_writer *writer, const struct copy_change *change,
	struct copy_ids *ids_out, struct error *error)
{
	struct sql_result *result = NULL;
	int code = writer_find_id(writer, "volume", change->volume, ids_out->volume, error);
	if (code == 0)
		code = writer_find_id(writer, "node", change->node, ids_out->node, error);
	if (code == 0)
		code = writer_lock_volume(writer, ids_out->volume, error);
	if (code == 0)
		code = writer_query(writer, error,
			"select c.slot, c.preferred, v.primary_node_id = c.node_id "
			"from volume_copy c join volume v on v.id = c.volume_id "
			"where c.volume_id = $1 and c.node_id = $2",
			SQL_VALUES(ids_out->volume, ids_out->node), &result);
	bool is_there = code == 0 && sql_rows(result) > 0;
	ids_out->slot = is_there ? (int)sql_value_u64(result, 0, 0) : -1;
	ids_out->is_preferred = is_there && sql_is_true(sql_value(result, 0, 1));
	ids_out->is_primary = is_there && sql_is_true(sql_value(result, 0, 2));
	sql_result_free(&result);
	return code;
}

/* The slot that the node had, or the lowest that nobody had. */
static int choose_slot(struct directory_writer *writer, const struct copy_change *change,
	const struct copy_ids *ids, unsigned *slot_out, struct error *error)
{
	struct sql_result *result = NULL;
	bool is_taken[VOLUME_COPIES_MAX] = { false };
	int code = writer_query(writer, error,
		"select slot, node_id from volume_slot where volume_id = $1 order by slot",
		SQL_VALUES(ids->volume), &result);
	*slot_out = VOLUME_COPIES_MAX;
	for (unsigned row = 0; code == 0 && row < sql_rows(result); row++) {
		uint64_t slot = sql_value_u64(result, row, 0);
		if (slot < VOLUME_COPIES_MAX)
			is_taken[slot] = true;
		if (strcmp(sql_value(result, row, 1), ids->node) == 0)
			*slot_out = (unsigned)slot;
	}
	sql_result_free(&result);
	/* The first primary has 1 (add_copy of directory_write.c): 0 comes last. */
	for (unsigned i = 1; code == 0 && *slot_out == VOLUME_COPIES_MAX && i <= VOLUME_COPIES_MAX;
		i++)
		if (!is_taken[i % VOLUME_COPIES_MAX])
			*slot_out = i % VOLUME_COPIES_MAX;
	if (code == 0 && *slot_out == VOLUME_COPIES_MAX)
		code = error_set(error, -ENOSPC,
			"%d nodes have had a copy of volume %s, and their numbers are never given "
			"again: take one of these nodes, or make another volume with `pando volume "
			"add`",
			VOLUME_COPIES_MAX, change->volume);
	return code;
}

static int insert(struct directory_writer *writer, const struct copy_ids *ids, unsigned slot,
	const char *preferred, struct error *error)
{
	char id[24], slot_text[24];
	snprintf(slot_text, sizeof(slot_text), "%u", slot);
	int code = writer_next_id(writer, "volume_copy", id, error);
	if (code == 0)
		code = writer_query(writer, error,
			"insert into volume_copy (id, volume_id, node_id, preferred, slot, "
			"seeding) values ($1, $2, $3, $4, $5, true)",
			SQL_VALUES(id, ids->volume, ids->node, preferred, slot_text), NULL);
	if (code == 0)
		code = writer_query(writer, error,
			"insert into volume_slot (volume_id, slot, node_id) values ($1, $2, $3) "
			"on conflict (volume_id, slot) do nothing",
			SQL_VALUES(ids->volume, slot_text, ids->node), NULL);
	return code;
}

static int delete_copy(
	struct directory_writer *writer, const struct copy_ids *ids, struct error *error)
{
	return writer_query(writer, error,
		"delete from volume_copy where volume_id = $1 and node_id = $2",
		SQL_VALUES(ids->volume, ids->node), NULL);
}

static int raise_slacks(struct directory_writer *writer, const struct copy_change *change,
	const struct copy_ids *ids, struct error *error)
{
	char slacks[24];
	snprintf(slacks, sizeof(slacks), "%llu", (unsigned long long)change->uid_slacks);
	return writer_query(writer, error,
		"update volume set uid_slacks = $1 where id = $2 and uid_slacks < $1",
		SQL_VALUES(slacks, ids->volume), NULL);
}

static int audit(struct directory_writer *writer, const char *action,
	const struct copy_change *change, struct error *error)
{
	char detail[160];
	snprintf(detail, sizeof(detail), "%s at %s", change->volume, change->node);
	return writer_audit(writer, action, detail, error);
}

static int add(
	struct directory_writer *writer, const struct copy_change *change, struct error *error)
{
	struct copy_ids ids;
	unsigned slot;
	int code = find(writer, change, &ids, error);
	if (code == 0 && ids.slot >= 0)
		code = error_set(error, -EALREADY, "%s holds a copy of volume %s already",
			change->node, change->volume);
	if (code == 0)
		code = choose_slot(writer, change, &ids, &slot, error);
	if (code == 0)
		code = raise_slacks(writer, change, &ids, error);
	if (code == 0)
		code = insert(writer, &ids, slot, "0", error);
	return code == 0 ? audit(writer, "copy add", change, error) : code;
}

static int find_copy(struct directory_writer *writer, const struct copy_change *change,
	struct copy_ids *ids_out, struct error *error)
{
	int code = find(writer, change, ids_out, error);
	if (code == 0 && ids_out->slot < 0)
		code = error_set(error, -ENOENT, "%s holds no copy of volume %s", change->node,
			change->volume);
	return code;
}

int directory_read_slot(struct directory_writer *writer, const struct copy_change *change,
	unsigned *slot_out, struct error *error)
{
	struct copy_ids ids;
	int code = find_copy(writer, change, &ids, error);
	if (code == 0)
		*slot_out = (unsigned)ids.slot;
	return code;
}

/* Of a replica. */
static int find_replica(struct directory_writer *writer, const struct copy_change *change,
	struct copy_ids *ids_out, struct error *error)
{
	int code = find_copy(writer, change, ids_out, error);
	if (code == 0 && ids_out->is_primary)
		code = error_set(error, -EBUSY,
			"%s serves volume %s: move it first with `pando failover %s`", change->node,
			change->volume, change->volume);
	return code;
}

/* Where it preferred to be it is not any more: the copy that serves takes that over, so that
 * `pando failback` always knows where. */
static int hand_on_preference(
	struct directory_writer *writer, const struct copy_ids *ids, struct error *error)
{
	return writer_query(writer, error,
		"update volume_copy set preferred = true where volume_id = $1 and node_id = "
		"(select primary_node_id from volume where id = $1) and not exists "
		"(select 1 from volume_copy c where c.volume_id = $1 and c.preferred)",
		SQL_VALUES(ids->volume), NULL);
}

static int take_away(
	struct directory_writer *writer, const struct copy_change *change, struct error *error)
{
	struct copy_ids ids;
	int code = find_replica(writer, change, &ids, error);
	if (code == 0)
		code = delete_copy(writer, &ids, error);
	if (code == 0)
		code = hand_on_preference(writer, &ids, error);
	return code == 0 ? audit(writer, "copy remove", change, error) : code;
}

static int reseed(
	struct directory_writer *writer, const struct copy_change *change, struct error *error)
{
	struct copy_ids ids;
	int code = find_replica(writer, change, &ids, error);
	if (code == 0)
		code = delete_copy(writer, &ids, error);
	if (code == 0)
		code = raise_slacks(writer, change, &ids, error);
	if (code == 0)
		code = insert(
			writer, &ids, (unsigned)ids.slot, ids.is_preferred ? "1" : "0", error);
	return code == 0 ? audit(writer, "copy reseed", change, error) : code;
}

static int change_copy(struct directory_writer *writer, const struct copy_change *change,
	int (*run)(struct directory_writer *writer, const struct copy_change *change,
		struct error *error),
	struct error *error)
{
	bool own;
	struct buf copies = { 0 };
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = run(writer, change, error);
	if (code == 0)
		code = writer_note_copies(writer, &copies, error);
	code = writer_leave(writer, own, code, error);
	if (code == 0)
		writer_keep_copies(writer, &copies);
	buf_deinit(&copies);
	return code;
}

int directory_add_copy(
	struct directory_writer *writer, const struct copy_change *change, struct error *error)
{
	return change_copy(writer, change, add, error);
}

int directory_remove_copy(
	struct directory_writer *writer, const struct copy_change *change, struct error *error)
{
	return change_copy(writer, change, take_away, error);
}

int directory_reseed_copy(
	struct directory_writer *writer, const struct copy_change *change, struct error *error)
{
	return change_copy(writer, change, reseed, error);
}
