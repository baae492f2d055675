-- A log that does not reach this place may show expunged messages whose bodies are nowhere any more: the primary says so
-- before it gives back what a copy that is away for too long has not heard of. No failover chooses such a copy.
alter table volume add column freed_epoch bigint not null default 0;
alter table volume add column freed_lsn bigint not null default 0;
