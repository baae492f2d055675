-- What `pando mailbox remove` took out of the directory and can be put back: the mailbox's own number and
-- mark, by which its volume still holds its mail (a number alone may have been given twice, see 004). The node
-- that serves the volume looks here now and then: when keep_until is past it sets `purging`, which is for ever,
-- takes the mailbox out of the volume, and deletes the row. Times are UTC, written as 2026-01-31T12:00:00Z;
-- `aliases` are the addresses that led to it, one a line.
create table removed_mailbox (
	id bigint not null,
	address text not null,
	volume_id bigint not null references volume,
	durability text not null,
	enabled boolean not null,
	quota_bytes bigint not null,
	mark text not null,
	scram text not null,
	aliases text not null,
	removed_at text not null,
	keep_until text not null,
	purging boolean not null,
	primary key (id, mark)
);
create index removed_mailbox_address on removed_mailbox (lower(address));
