-- A mailbox's id may be given twice after all, when the directory comes back older than its volumes. The
-- mark is random and stands in the volume's log too: what was stored under another one is another mailbox.
-- pgcrypto need not be there; two random UUIDs have more than the 128 bits.
alter table mailbox add column mark text not null check (mark ~ '^[0-9a-f]{32}$') default
	encode(substring(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) from 1 for 16), 'hex');
alter table mailbox alter column mark drop default;
