-- A mailbox's id may be given twice after all, when the directory comes back older than its volumes. The
-- mark is random and stands in the volume's log too: what was stored under another one is another mailbox.
-- SQLite wants a constant default for a column that is added; no row keeps it.
alter table mailbox add column mark text not null default '00000000000000000000000000000000'
	check (length(mark) = 32);
update mailbox set mark = lower(hex(randomblob(16)));
