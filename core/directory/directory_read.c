/* What the operator's command line reads: places, and lists for people and scripts. */

#include "core/directory/contents.h"
#include "core/directory/directory_write.h"
#include "core/directory/snapshot_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct sorted_row {
	struct directory_row row;
	const char *key; /* within its kind */
};

/* What an earlier row of the kind that a column refers to is sorted by. */
static const char *key_of(
	struct map *const keys[KIND_COUNT], enum directory_kind kind, const char *column)
{
	uint64_t id = column ? strtoull(column, NULL, 10) : 0;
	const char *key = map_get(keys[kind], map_key_u64(&id));
	return key ? key : "";
}

static int compare_sorted_rows(const void *a, const void *b)
{
	const struct sorted_row *one = a, *other = b;
	if (one->row.kind != other->row.kind)
		return one->row.kind < other->row.kind ? -1 : 1;
	int order = str_compare_natural(str_from(one->key), str_from(other->key));
	return order ? order : (one->row.id > other->row.id) - (one->row.id < other->row.id);
}

/* Nodes and routers by site and name, copies by volume and node, the others by name. */
static const char *make_key(struct directory_batch *batch, struct map *const keys[KIND_COUNT],
	const struct directory_row *row)
{
	const char *const *columns = row->columns, *outer = "", *inner = columns[0];
	if (row->kind == KIND_NODE || row->kind == KIND_ROUTER) {
		outer = key_of(keys, KIND_SITE, columns[0]);
		inner = columns[1];
	} else if (row->kind == KIND_VOLUME_COPY) {
		outer = key_of(keys, KIND_VOLUME, columns[0]);
		inner = key_of(keys, KIND_NODE, columns[1]);
	}
	/* What separates them is below every character of a name. */
	return pool_copy_terminated(
		batch->pool, pool_printf(batch->pool, "%s\001%s", outer, inner ? inner : ""));
}

/* A database gives rows in any order, and in another one after a change; people look for a name. */
static void sort_places(struct directory_batch *batch)
{
	struct map *keys[KIND_COUNT];
	struct directory_row *rows = (void *)(batch->rows_buf.memory + batch->rows_buf.start);
	size_t count = batch_row_count(batch), found = 0;
	struct sorted_row *sorted = mem_alloc((count + 1) * sizeof(*sorted));
	for (unsigned kind = 0; kind < KIND_COUNT; kind++)
		keys[kind] = map_create();
	/* The kinds stand in an order that satisfies references (schema.h). */
	for (unsigned kind = 0; kind < KIND_COUNT; kind++)
		for (size_t i = 0; i < count; i++) {
			if (rows[i].kind != kind)
				continue;
			struct sorted_row *entry = &sorted[found++];
			*entry = (struct sorted_row){ rows[i], make_key(batch, keys, &rows[i]) };
			map_set(keys[kind], map_key_u64(&entry->row.id),
				(void *)(uintptr_t)entry->key);
		}
	qsort(sorted, found, sizeof(*sorted), compare_sorted_rows);
	for (size_t i = 0; i < found; i++)
		rows[i] = sorted[i].row;
	for (unsigned kind = 0; kind < KIND_COUNT; kind++)
		map_destroy(&keys[kind]);
	free(sorted);
}

static struct directory *places_of(struct directory_batch *batch)
{
	struct directory_head *head = mem_alloc(sizeof(*head));
	sort_places(batch);
	contents_init(&head->contents);
	contents_apply(&head->contents, batch);
	return (struct directory *)(void *)head;
}

/* Best effort: without it a later `pando status` needs the directory. */
static void keep_copy(const struct directory_batch *batch, const char *copy_path)
{
	struct sql *copy = NULL;
	if (snapshot_open(copy_path, &copy, NULL) == 0)
		(void)!snapshot_apply(copy, batch, NULL);
	sql_close(&copy);
}

int directory_read_places(struct directory_writer *writer, const char *copy_path,
	struct directory **directory_out, struct error *error)
{
	struct directory_batch *batch = NULL;
	int code = batch_read(directory_writer_sql(writer), BATCH_PLACES, 0, "", &batch, error);
	if (code < 0)
		return code;
	*directory_out = places_of(batch);
	keep_copy(batch, copy_path);
	batch_destroy(&batch);
	return 0;
}

int directory_load_places(
	const char *copy_path, struct directory **directory_out, struct error *error)
{
	struct directory_batch *batch = NULL;
	struct sql *copy = NULL;
	int code = sql_open_file(copy_path, false, &copy, error);
	if (code == 0)
		code = batch_read(copy, BATCH_SNAPSHOT, 0, "", &batch, error);
	sql_close(&copy);
	/* A full disk is one of the reasons to ask where everything is. */
	if (code < 0 && code != -ENOENT && snapshot_read_only(copy_path, &batch, NULL) == 0)
		code = 0;
	if (code < 0)
		return code;
	*directory_out = places_of(batch);
	batch_destroy(&batch);
	return 0;
}

/* What goes with a copy changes places with it. */
static void swap_primary(struct directory_volume *volume, unsigned replica)
{
	uint32_t node_id = volume->primary_node_id;
	uint8_t slot = volume->primary_slot;
	uint64_t number = volume->primary_copy;
	volume->primary_node_id = volume->replica_node_ids[replica];
	volume->primary_slot = volume->replica_slots[replica];
	volume->primary_copy = volume->replica_copies[replica];
	volume->replica_node_ids[replica] = node_id;
	volume->replica_slots[replica] = slot;
	volume->replica_copies[replica] = number;
	volume->replica_seeding[replica] = false;
}

void directory_note_served(
	struct directory *places, uint32_t volume_id, uint32_t node_id, uint64_t epoch)
{
	struct directory_volume *volume =
		(struct directory_volume *)(uintptr_t)directory_find_volume(places, volume_id);
	if (volume == NULL || epoch <= volume->epoch)
		return;
	volume->epoch = epoch;
	for (unsigned i = 0; i < volume->replica_count; i++)
		if (volume->replica_node_ids[i] == node_id) {
			swap_primary(volume, i);
			return;
		}
	volume->primary_node_id = node_id;
}

void directory_free_places(struct directory **directory)
{
	struct directory_head *head = (struct directory_head *)(void *)*directory;
	if (!head)
		return;
	contents_deinit(&head->contents);
	free(head);
	*directory = NULL;
}

static const char *const listings[] = {
	[LIST_SITES] = "select s.name as site, "
		       "(select count(*) from node n where n.site_id = s.id) as nodes, "
		       "(select count(*) from router r where r.site_id = s.id) as routers, "
		       "(select count(*) from volume v join node n on n.id = v.primary_node_id "
		       "where n.site_id = s.id) as primary_volumes "
		       "from site s where s.name like $1 order by s.name",
	[LIST_NODES] =
		"select n.name as node, s.name as site, n.lmtp, n.imap, n.control, n.replicator, "
		"(select count(*) from volume v where v.primary_node_id = n.id) as "
		"primary_volumes, "
		"(select count(*) from volume_copy c where c.node_id = n.id) as copies "
		"from node n join site s on s.id = n.site_id where n.name like $1 order by n.name",
	[LIST_ROUTERS] = "select r.name as router, s.name as site, r.control, r.queue "
			 "from router r join site s on s.id = r.site_id where r.name like $1 order "
			 "by r.name",
	[LIST_VOLUMES] =
		"select v.id, v.name as volume, n.name as primary_node, s.name as site, v.epoch, "
		"v.reign, v.durability, case when v.unclean then 'yes' else 'no' end as unclean, "
		"v.epoch_start_lsn, (select count(*) from volume_copy c where c.volume_id = v.id) "
		"as copies, "
		"(select count(*) from mailbox m where m.volume_id = v.id) as mailboxes, "
		"(select h.name from volume_copy c join node h on h.id = c.node_id "
		"where c.volume_id = v.id and c.preferred) as preferred_node "
		"from volume v join node n on n.id = v.primary_node_id join site s on s.id = "
		"n.site_id "
		"where v.name like $1 order by v.id",
	[LIST_NUMBERS] = "select l.volume_id, l.slot as number, l.node_id from volume_slot l "
			 "join volume v on v.id = l.volume_id where v.name like $1 "
			 "order by l.volume_id, l.slot",
	[LIST_DOMAINS] = "select d.name as domain, d.keep_expunged_days, "
			 "(select count(*) from mailbox m where m.domain_id = d.id) as mailboxes "
			 "from domain d where d.name like $1 order by d.name",
	[LIST_MAILBOXES] =
		"select m.id, m.address, v.name as volume, n.name as home, s.name as site, "
		"case when m.durability = '' then v.durability else m.durability end as "
		"durability, "
		"case when m.enabled then 'yes' else 'no' end as enabled, m.quota_bytes, "
		"case when c.id is null then 'no' else 'yes' end as password "
		"from mailbox m join volume v on v.id = m.volume_id join node n on n.id = "
		"v.primary_node_id "
		"join site s on s.id = n.site_id left join credential c on c.id = m.id "
		"where lower(m.address) like lower($1) escape '\\' order by lower(m.address)",
	[LIST_REMOVED_MAILBOXES] =
		"select m.id, m.address, v.name as volume, n.name as home, m.removed_at, "
		"m.keep_until, case when m.purging then 'yes' else 'no' end as purged_now "
		"from removed_mailbox m join volume v on v.id = m.volume_id "
		"join node n on n.id = v.primary_node_id "
		"where lower(m.address) like lower($1) escape '\\' "
		"order by lower(m.address), m.removed_at",
	[LIST_ALIASES] =
		("select address as alias, target from alias where lower(address) like lower($1) "
		 "escape '\\' order by lower(address), lower(target)"),
	[LIST_AUDIT] = "select at, who, action, detail from audit where action like $1 "
		       "order by id desc limit 1000",
};

int directory_list(struct directory_writer *writer, enum directory_listing listing,
	const char *match, struct sql_result **result_out, struct error *error)
{
	return sql_query(directory_writer_sql(writer), listings[listing],
		SQL_VALUES(match ? match : "%"), result_out, error);
}

int directory_last_mailbox_id(
	struct directory_writer *writer, uint64_t *id_out, struct error *error)
{
	struct sql_result *result = NULL;
	int code = sql_query(directory_writer_sql(writer),
		"select coalesce(max(value), 0) from counter where name = 'mailbox'", NULL, 0,
		&result, error);
	if (code == 0)
		*id_out = sql_value_u64(result, 0, 0);
	sql_result_free(&result);
	return code;
}

int directory_find_place(struct directory_writer *writer, const char *address,
	struct mailbox_place *place_out, struct error *error)
{
	struct sql_result *result = NULL;
	struct buf canonical = { 0 };
	directory_canonical_address(address, &canonical);
	int code = sql_query(directory_writer_sql(writer),
		"select m.id, m.volume_id, m.mark, d.name, d.keep_expunged_days from mailbox m "
		"join domain d on d.id = m.domain_id where lower(m.address) = lower($1)",
		SQL_VALUES(buf_terminated(&canonical)), &result, error);
	buf_deinit(&canonical);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ENOENT,
			"there is no mailbox `%s`: see `pando mailbox list`", address);
	if (code == 0) {
		*place_out = (struct mailbox_place){ .id = sql_value_u64(result, 0, 0),
			.volume_id = (uint32_t)sql_value_u64(result, 0, 1),
			.keep_expunged_days = (unsigned)sql_value_u64(result, 0, 4) };
		snprintf(place_out->mark, sizeof(place_out->mark), "%s", sql_value(result, 0, 2));
		snprintf(place_out->domain, sizeof(place_out->domain), "%s",
			sql_value(result, 0, 3));
	}
	sql_result_free(&result);
	return code;
}

int directory_mailbox_address(
	struct directory_writer *writer, uint64_t id, struct buf *out, struct error *error)
{
	struct sql_result *result = NULL;
	char text[24];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
	int code = sql_query(directory_writer_sql(writer),
		"select address from mailbox where id = $1", SQL_VALUES(text), &result, error);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ENOENT, "there is no mailbox with the number %s", text);
	else if (code == 0)
		buf_append_str(out, str_from(sql_value(result, 0, 0)));
	sql_result_free(&result);
	return code;
}
