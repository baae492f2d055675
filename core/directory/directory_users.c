#include "core/directory/write_internal.h"

#include "core/directory/domain.h"
#include "core/encode.h"
#include "core/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct volume_load {
	uint64_t id, mailboxes, copies_elsewhere; /* the last: 0 or 1 */
};

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

/* The canonical form, with its end; -EINVAL with a sentence. */
static int canonical_domain(
	struct str name, char out[DOMAIN_LENGTH_MAX + 1], struct error *error)
{
	struct str domain = domain_canonical(name, out);
	/* RFC 3696 section 2: the last label is not all digits, so that no address is a name. */
	size_t at = domain.length;
	while (at > 0 && ascii_is_digit(domain.bytes[at - 1]))
		at--;
	if (at < domain.length && (at == 0 || domain.bytes[at - 1] == '.'))
		return error_set(error, -EINVAL,
			"`" STR_FORMAT "` is no domain name: its last part is a number",
			STR_ARG(name));
	/* RFC 1035 section 3.1, in text. */
	if (domain.length == 0 || domain.length > 253)
		return error_set(error, -EINVAL,
			"`" STR_FORMAT "` is no domain name: it is too long, or a part of it is "
			"none that an internationalised domain name may have (RFC 5891)",
			STR_ARG(name));
	out[domain.length] = '\0';
	return 0;
}

int directory_add_domain(struct directory_writer *writer, const char *name, struct error *error)
{
	char domain[DOMAIN_LENGTH_MAX + 1];
	if (!name[0] || !is_printable(name) || strpbrk(name, "@ []()%!:;,<>\"\\/"))
		return error_set(
			error, -EINVAL, "`%s` is no domain name: write it as example.org", name);
	int code = canonical_domain(str_from(name), domain, error);
	return code < 0 ? code : writer_add_named(writer, "domain", domain, error);
}

void directory_canonical_address(const char *address, struct buf *out)
{
	char space[DOMAIN_LENGTH_MAX];
	struct str text = str_from(address);
	size_t behind_at = (size_t)(str_find_last_byte(text, '@') + 1);
	struct str domain = domain_canonical(str_from_index(text, behind_at), space);
	buf_append_str(out, str_first(text, behind_at));
	buf_append_str(out,
		behind_at > 0 && domain.length > 0 ? domain : str_from_index(text, behind_at));
	(void)buf_terminated(out);
}

/* Canonical form in `out` (the domain's, the local part as it is) and the domain's id. */
int writer_check_address(struct directory_writer *writer, const char *address, struct buf *out,
	char domain_id_out[24], struct error *error)
{
	char canonical[DOMAIN_LENGTH_MAX + 1];
	struct str text = str_from(address);
	ptrdiff_t at = str_find_last_byte(text, '@');
	/* RFC 5321 section 4.5.3.1.1 and .3. */
	if (at > 64 || text.length > 254)
		return error_set(error, -EINVAL,
			"`%s` is too long: mail has room for 64 bytes in front of the @, and for "
			"254 in all",
			address);
	if (at < 1 || (size_t)at + 1 == text.length || !is_printable(address) ||
		strpbrk(address, " <>()[],;:\\\""))
		return error_set(
			error, -EINVAL, "`%s` is no address: write it as user@domain", address);
	if (canonical_domain(str_from_index(text, (size_t)at + 1), canonical, error) < 0)
		return -EINVAL;
	buf_append_str(out, str_first(text, (size_t)at + 1));
	buf_append_str(out, str_from(canonical));
	const char *domain = buf_terminated(out) + at + 1;
	int code = writer_find_id(writer, "domain", domain, domain_id_out, NULL);
	if (code == -ENOENT)
		return error_set(error, code,
			"the cluster does not serve `%s`: run `pando domain add %s` first", domain,
			domain);
	return code < 0 ? error_set(error, code, "the directory cannot be read") : 0;
}

static int load_volumes(struct directory_writer *writer, struct error *error)
{
	struct sql_result *result = NULL;
	int code = writer_query(writer, error,
		"select v.id, (select count(*) from mailbox m where m.volume_id = v.id), "
		"case when exists (select 1 from volume_copy c join node n on n.id = c.node_id "
		"where c.volume_id = v.id and n.site_id <> p.site_id and not c.seeding) "
		"then 1 else 0 end "
		"from volume v join node p on p.id = v.primary_node_id order by v.id",
		NULL, 0, &result);
	for (unsigned i = 0; code == 0 && i < sql_rows(result); i++) {
		struct volume_load load = { sql_value_u64(result, i, 0),
			sql_value_u64(result, i, 1), sql_value_u64(result, i, 2) };
		buf_append(&writer->loads, &load, sizeof(load));
	}
	sql_result_free(&result);
	return code;
}

/* However empty it is, a volume without a copy at another site comes last. */
static bool is_preferred(const struct volume_load *a, const struct volume_load *b)
{
	if (a->copies_elsewhere != b->copies_elsewhere)
		return a->copies_elsewhere > b->copies_elsewhere;
	return a->mailboxes < b->mailboxes;
}

static int least_loaded(struct directory_writer *writer, char id_out[24], struct error *error)
{
	int code = buf_length(&writer->loads) ? 0 : load_volumes(writer, error);
	if (code < 0)
		return code;
	size_t count = buf_length(&writer->loads) / sizeof(struct volume_load);
	struct volume_load *loads = (void *)(writer->loads.memory + writer->loads.start),
			   *least = loads;
	if (count == 0)
		return error_set(error, -ENOENT,
			"there is no volume to place the mailbox on: run `pando volume add` first");
	for (size_t i = 1; i < count; i++)
		if (is_preferred(&loads[i], least))
			least = &loads[i];
	least->mailboxes++;
	snprintf(id_out, 24, "%llu", (unsigned long long)least->id);
	return 0;
}

int writer_put_credential(
	struct directory_writer *writer, const char *id, const char *scram, struct error *error)
{
	struct directory_credential credential;
	if (!directory_parse_credential(str_from(scram), &credential))
		return error_set(error, -EINVAL,
			"the prepared key is malformed: it is "
			"SCRAM-SHA-256$ITERATIONS:SALT$STORED-KEY:"
			"SERVER-KEY, the last three in base64");
	return writer_query(writer, error,
		"insert into credential (id, scram) values ($1, $2) "
		"on conflict (id) do update set scram = excluded.scram",
		SQL_VALUES(id, scram), NULL);
}

int writer_refuse_alias(
	struct directory_writer *writer, const char *address, struct error *error)
{
	struct sql_result *result = NULL;
	int code =
		writer_query(writer, error, "select 1 from alias where lower(address) = lower($1)",
			SQL_VALUES(address), &result);
	if (code == 0 && sql_rows(result) > 0)
		code = error_set(error, -EEXIST,
			"`%s` is an alias: `pando alias remove` it before it becomes a mailbox",
			address);
	sql_result_free(&result);
	return code;
}

static void random_mark(struct buf *out)
{
	uint8_t mark[MAILBOX_MARK_LENGTH];
	rand_bytes(mark, sizeof(mark));
	encode_hex(out, mark, sizeof(mark));
}

static int insert_mailbox(struct directory_writer *writer,
	const struct mailbox_description *mailbox, struct error *error)
{
	char id[24], domain_id[24], volume_id[24], quota[24];
	struct buf address = { 0 }, mark = { 0 };
	int code = writer_check_address(writer, mailbox->address, &address, domain_id, error);
	random_mark(&mark);
	if (code == 0)
		code = mailbox->volume
			? writer_find_id(writer, "volume", mailbox->volume, volume_id, error)
			: least_loaded(writer, volume_id, error);
	if (code == 0)
		code = writer_refuse_alias(writer, buf_terminated(&address), error);
	if (code == 0)
		code = writer_raise_ids(writer, "mailbox", mailbox->id_above, error);
	if (code == 0)
		code = writer_next_id(writer, "mailbox", id, error);
	snprintf(quota, sizeof(quota), "%llu", (unsigned long long)mailbox->quota_bytes);
	if (code == 0)
		code = writer_exists_already(
			writer_query(writer, error,
				"insert into mailbox (id, address, domain_id, volume_id, "
				"durability, enabled, quota_bytes, mark) "
				"values ($1, $2, $3, $4, $5, true, $6, $7)",
				SQL_VALUES(id, buf_terminated(&address), domain_id, volume_id,
					mailbox->durability ? mailbox->durability : "", quota,
					buf_terminated(&mark)),
				NULL),
			"mailbox", mailbox->address, error);
	if (code == 0 && mailbox->scram)
		code = writer_put_credential(writer, id, mailbox->scram, error);
	if (code == 0)
		code = writer_audit(writer, "mailbox add", buf_terminated(&address), error);
	buf_deinit(&mark);
	buf_deinit(&address);
	return code;
}

int directory_add_mailbox(struct directory_writer *writer,
	const struct mailbox_description *mailbox, struct error *error)
{
	bool own;
	int code = mailbox->durability ? writer_check_durability(mailbox->durability, error) : 0;
	if (code == 0)
		code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	return writer_leave(writer, own, insert_mailbox(writer, mailbox, error), error);
}

int writer_find_mailbox(
	struct directory_writer *writer, const char *address, char id_out[24], struct error *error)
{
	struct sql_result *result = NULL;
	struct buf canonical = { 0 };
	directory_canonical_address(address, &canonical);
	int code = writer_query(writer, error,
		"select id from mailbox where lower(address) = lower($1)",
		SQL_VALUES(buf_terminated(&canonical)), &result);
	buf_deinit(&canonical);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ENOENT,
			"there is no mailbox `%s`: see `pando mailbox list`", address);
	else if (code == 0)
		snprintf(id_out, 24, "%s", sql_value(result, 0, 0));
	sql_result_free(&result);
	return code;
}

static int update_mailbox(struct directory_writer *writer, const char *id,
	const struct mailbox_settings *settings, struct error *error)
{
	char quota[24];
	int code = 0;
	if (settings->durability)
		code = writer_query(writer, error,
			"update mailbox set durability = $2 where id = $1",
			SQL_VALUES(id, settings->durability), NULL);
	if (code == 0 && settings->quota_bytes) {
		snprintf(quota, sizeof(quota), "%llu", (unsigned long long)*settings->quota_bytes);
		code = writer_query(writer, error,
			"update mailbox set quota_bytes = $2 where id = $1", SQL_VALUES(id, quota),
			NULL);
	}
	if (code == 0 && settings->enabled)
		code = writer_query(writer, error,
			*settings->enabled ? "update mailbox set enabled = true where id = $1"
					   : "update mailbox set enabled = false where id = $1",
			SQL_VALUES(id), NULL);
	return code;
}

int directory_set_mailbox(struct directory_writer *writer, const char *address,
	const struct mailbox_settings *settings, struct error *error)
{
	char id[24];
	bool own;
	int code = settings->durability && settings->durability[0]
		? writer_check_durability(settings->durability, error)
		: 0;
	if (code == 0)
		code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = writer_find_mailbox(writer, address, id, error);
	if (code == 0)
		code = update_mailbox(writer, id, settings, error);
	if (code == 0)
		code = writer_audit(writer, "mailbox set", address, error);
	return writer_leave(writer, own, code, error);
}

/* A change of the id is the end of one row and the beginning of another, for the feed too. */
static int replace_row(struct directory_writer *writer, const char *old_id, const char *id,
	const char *volume_id, const char *mark, struct error *error)
{
	struct sql_result *row = NULL, *key = NULL;
	int code = writer_query(writer, error,
		"select address, domain_id, durability, case when enabled then '1' else '0' end, "
		"quota_bytes from mailbox where id = $1",
		SQL_VALUES(old_id), &row);
	if (code == 0)
		code = writer_query(writer, error, "select scram from credential where id = $1",
			SQL_VALUES(old_id), &key);
	if (code == 0)
		code = writer_query(writer, error, "delete from credential where id = $1",
			SQL_VALUES(old_id), NULL);
	if (code == 0)
		code = writer_query(writer, error, "delete from mailbox where id = $1",
			SQL_VALUES(old_id), NULL);
	if (code == 0)
		code = writer_exists_already(
			writer_query(writer, error,
				"insert into mailbox (id, address, domain_id, volume_id, "
				"durability, enabled, quota_bytes, mark) values ($1, $2, $3, $4, "
				"$5, $6, $7, $8)",
				SQL_VALUES(id, sql_value(row, 0, 0), sql_value(row, 0, 1),
					volume_id, sql_value(row, 0, 2), sql_value(row, 0, 3),
					sql_value(row, 0, 4), mark),
				NULL),
			"mailbox", id, error);
	if (code == 0 && sql_rows(key) > 0)
		code = writer_put_credential(writer, id, sql_value(key, 0, 0), error);
	sql_result_free(&row);
	sql_result_free(&key);
	return code;
}

/* What a removed mailbox left in its volume is that one's. */
static int refuse_removed(struct directory_writer *writer, const char *id, const char *mark,
	struct error *error)
{
	struct sql_result *result = NULL;
	int code = writer_query(writer, error,
		"select address from removed_mailbox where id = $1 and mark = $2",
		SQL_VALUES(id, mark), &result);
	if (code == 0 && sql_rows(result) > 0)
		code = error_set(error, -EEXIST,
			"mailbox %s is `%s`, which was removed: `pando mailbox restore %s`", id,
			sql_value(result, 0, 0), sql_value(result, 0, 0));
	sql_result_free(&result);
	return code;
}

static int adopt(struct directory_writer *writer, const char *address,
	const struct mailbox_adoption *adoption, struct error *error)
{
	char old_id[24], id[24], volume_id[24];
	struct buf detail = { 0 };
	int code = writer_find_mailbox(writer, address, old_id, error);
	if (code < 0)
		return code;
	if (strtoull(old_id, NULL, 10) != adoption->expected_id)
		return error_set(error, -ESTALE,
			"`%s` has been changed by somebody else meanwhile: try again", address);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)adoption->id);
	snprintf(volume_id, sizeof(volume_id), "%u", adoption->volume_id);
	code = refuse_removed(writer, id, adoption->mark, error);
	if (code == 0)
		code = writer_raise_ids(writer, "mailbox", adoption->id, error);
	if (code == 0)
		code = replace_row(writer, old_id, id, volume_id, adoption->mark, error);
	buf_printf(&detail, "%s: mailbox %s of volume %s, mark %s, was mailbox %s", address, id,
		volume_id, adoption->mark, old_id);
	if (code == 0)
		code = writer_audit(writer, "mailbox adopt", buf_terminated(&detail), error);
	buf_deinit(&detail);
	return code;
}

int directory_adopt_mailbox(struct directory_writer *writer, const char *address,
	const struct mailbox_adoption *adoption, struct error *error)
{
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	return writer_leave(writer, own, adopt(writer, address, adoption, error), error);
}

int directory_set_credential(struct directory_writer *writer, const char *address,
	const char *scram, struct error *error)
{
	char id[24];
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	code = writer_find_mailbox(writer, address, id, error);
	if (code == 0)
		code = writer_put_credential(writer, id, scram, error);
	if (code == 0)
		code = writer_audit(writer, "mailbox passwd", address, error);
	return writer_leave(writer, own, code, error);
}

/* Whether mail for `from` reaches `to` by aliases. */
static int leads_to(struct directory_writer *writer, const char *from, const char *to,
	bool *found_out, struct error *error)
{
	struct sql_result *result = NULL;
	int code = writer_query(writer, error,
		"with recursive reached(address) as (select lower($1) union "
		"select lower(a.target) from alias a join reached r on lower(a.address) = "
		"r.address) "
		"select 1 from reached where address = lower($2)",
		SQL_VALUES(from, to), &result);
	*found_out = code == 0 && sql_rows(result) > 0;
	sql_result_free(&result);
	return code;
}

static int check_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error)
{
	char id[24];
	bool loops = false;
	struct sql_result *result = NULL;
	if (writer_find_mailbox(writer, address, id, NULL) == 0)
		return error_set(error, -EEXIST,
			"`%s` is a mailbox: an alias cannot have its address", address);
	int code = writer_query(writer, error,
		"select 1 from mailbox where lower(address) = lower($1) union all "
		"select 1 from alias where lower(address) = lower($1)",
		SQL_VALUES(target), &result);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ENOENT,
			"the target `%s` is neither a mailbox nor an alias here: see `pando "
			"mailbox list`",
			target);
	sql_result_free(&result);
	if (code == 0)
		code = leads_to(writer, target, address, &loops, error);
	if (loops)
		code = error_set(error, -ELOOP,
			"mail for `%s` would go round: `%s` leads back to it, see `pando alias "
			"list`",
			address, target);
	return code;
}

static int insert_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error)
{
	char id[24], domain_id[24];
	struct buf canonical = { 0 }, canonical_target = { 0 };
	int code = writer_check_address(writer, address, &canonical, domain_id, error);
	directory_canonical_address(target, &canonical_target);
	if (code == 0)
		code = check_alias(writer, buf_terminated(&canonical),
			buf_terminated(&canonical_target), error);
	if (code == 0)
		code = writer_next_id(writer, "alias", id, error);
	if (code == 0) {
		code = writer_query(writer, error,
			"insert into alias (id, address, target) values ($1, $2, $3)",
			SQL_VALUES(id, buf_terminated(&canonical),
				buf_terminated(&canonical_target)),
			NULL);
		if (code == -EEXIST)
			code = error_set(
				error, code, "`%s` leads to `%s` already", address, target);
	}
	if (code == 0)
		code = writer_audit(writer, "alias add", buf_terminated(&canonical), error);
	buf_deinit(&canonical_target);
	buf_deinit(&canonical);
	return code;
}

int directory_add_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error)
{
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	return writer_leave(writer, own, insert_alias(writer, address, target, error), error);
}

int directory_remove_alias(struct directory_writer *writer, const char *address, const char *target,
	struct error *error)
{
	struct sql_result *result = NULL;
	struct buf from = { 0 }, to = { 0 };
	bool own;
	int code = writer_enter(writer, &own, error);
	if (code < 0)
		return code;
	directory_canonical_address(address, &from);
	directory_canonical_address(target ? target : "", &to);
	code = writer_query(writer, error,
		"delete from alias where lower(address) = lower($1) and "
		"(lower(target) = lower($2) or $2 = '') returning id",
		SQL_VALUES(buf_terminated(&from), buf_terminated(&to)), &result);
	buf_deinit(&to);
	buf_deinit(&from);
	if (code == 0 && sql_rows(result) == 0)
		code = error_set(error, -ENOENT,
			"there is no alias `%s`%s%s%s: see `pando alias list`", address,
			target ? " that leads to `" : "", target ? target : "", target ? "`" : "");
	sql_result_free(&result);
	if (code == 0)
		code = writer_audit(writer, "alias remove", address, error);
	return writer_leave(writer, own, code, error);
}
