-- For how many days a message that was expunged from a mailbox of the domain can be brought back; 0: not at all.
alter table domain add column keep_expunged_days integer not null default 0;
