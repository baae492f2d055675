-- The change feed of a standalone directory; see the PostgreSQL migration of the same number. Writers
-- of a SQLite file come one after the other, so revisions are in commit order by nature.

create table change (
	revision integer primary key autoincrement,
	mark text not null default (lower(hex(randomblob(16)))),
	kind text not null,
	row_id bigint not null
);

create trigger site_insert after insert on site begin
	insert into change (kind, row_id) values ('site', new.id);
end;
create trigger site_update after update on site begin
	insert into change (kind, row_id) values ('site', new.id);
end;
create trigger site_delete after delete on site begin
	insert into change (kind, row_id) values ('site', old.id);
end;
create trigger node_insert after insert on node begin
	insert into change (kind, row_id) values ('node', new.id);
end;
create trigger node_update after update on node begin
	insert into change (kind, row_id) values ('node', new.id);
end;
create trigger node_delete after delete on node begin
	insert into change (kind, row_id) values ('node', old.id);
end;
create trigger router_insert after insert on router begin
	insert into change (kind, row_id) values ('router', new.id);
end;
create trigger router_update after update on router begin
	insert into change (kind, row_id) values ('router', new.id);
end;
create trigger router_delete after delete on router begin
	insert into change (kind, row_id) values ('router', old.id);
end;
create trigger volume_insert after insert on volume begin
	insert into change (kind, row_id) values ('volume', new.id);
end;
create trigger volume_update after update on volume begin
	insert into change (kind, row_id) values ('volume', new.id);
end;
create trigger volume_delete after delete on volume begin
	insert into change (kind, row_id) values ('volume', old.id);
end;
create trigger volume_copy_insert after insert on volume_copy begin
	insert into change (kind, row_id) values ('volume_copy', new.id);
end;
create trigger volume_copy_update after update on volume_copy begin
	insert into change (kind, row_id) values ('volume_copy', new.id);
end;
create trigger volume_copy_delete after delete on volume_copy begin
	insert into change (kind, row_id) values ('volume_copy', old.id);
end;
create trigger domain_insert after insert on domain begin
	insert into change (kind, row_id) values ('domain', new.id);
end;
create trigger domain_update after update on domain begin
	insert into change (kind, row_id) values ('domain', new.id);
end;
create trigger domain_delete after delete on domain begin
	insert into change (kind, row_id) values ('domain', old.id);
end;
create trigger mailbox_insert after insert on mailbox begin
	insert into change (kind, row_id) values ('mailbox', new.id);
end;
create trigger mailbox_update after update on mailbox begin
	insert into change (kind, row_id) values ('mailbox', new.id);
end;
create trigger mailbox_delete after delete on mailbox begin
	insert into change (kind, row_id) values ('mailbox', old.id);
end;
create trigger alias_insert after insert on alias begin
	insert into change (kind, row_id) values ('alias', new.id);
end;
create trigger alias_update after update on alias begin
	insert into change (kind, row_id) values ('alias', new.id);
end;
create trigger alias_delete after delete on alias begin
	insert into change (kind, row_id) values ('alias', old.id);
end;
create trigger credential_insert after insert on credential begin
	insert into change (kind, row_id) values ('credential', new.id);
end;
create trigger credential_update after update on credential begin
	insert into change (kind, row_id) values ('credential', new.id);
end;
create trigger credential_delete after delete on credential begin
	insert into change (kind, row_id) values ('credential', old.id);
end;
create trigger policy_insert after insert on policy begin
	insert into change (kind, row_id) values ('policy', new.id);
end;
create trigger policy_update after update on policy begin
	insert into change (kind, row_id) values ('policy', new.id);
end;
create trigger policy_delete after delete on policy begin
	insert into change (kind, row_id) values ('policy', old.id);
end;
