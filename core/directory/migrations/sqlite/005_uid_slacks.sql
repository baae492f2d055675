-- An unclean reign in epoch E passes over E - 1 slacks of UIDs, and over so many more: whoever serves asks
-- for them before it runs further ahead of some copy than that copy's reign would pass over.
alter table volume add column uid_slacks bigint not null default 0;
