-- The change feed. A revision is taken under a transaction lock, so that revisions become visible in
-- their order and a reader at revision r has seen everything up to r. `mark` is random: a reader whose
-- (revision, mark) is not found here is too old, or the database has lost commits in a failover and
-- given the number again; it then loads everything.

create sequence change_revision;

create table change (
	revision bigint primary key,
	mark text not null default md5(random()::text || clock_timestamp()::text),
	kind text not null,
	row_id bigint not null
);

create function note_change() returns trigger language plpgsql set search_path = pando as $$
begin
	perform pg_advisory_xact_lock(707166543);
	insert into change (revision, kind, row_id) values (nextval('change_revision'), tg_table_name,
		case tg_op when 'DELETE' then old.id else new.id end);
	perform pg_notify('pando_change', '');
	return null;
end
$$;

create trigger feed after insert or update or delete on site
	for each row execute function note_change();
create trigger feed after insert or update or delete on node
	for each row execute function note_change();
create trigger feed after insert or update or delete on router
	for each row execute function note_change();
create trigger feed after insert or update or delete on volume
	for each row execute function note_change();
create trigger feed after insert or update or delete on volume_copy
	for each row execute function note_change();
create trigger feed after insert or update or delete on domain
	for each row execute function note_change();
create trigger feed after insert or update or delete on mailbox
	for each row execute function note_change();
create trigger feed after insert or update or delete on alias
	for each row execute function note_change();
create trigger feed after insert or update or delete on credential
	for each row execute function note_change();
create trigger feed after insert or update or delete on policy
	for each row execute function note_change();
