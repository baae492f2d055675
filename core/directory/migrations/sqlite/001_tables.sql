-- The directory of one cluster in a file: the standalone directory itself, or a daemon's snapshot.
-- Ids come from `counter` and are never given twice: a mailbox id names
-- records in volume logs long after the mailbox is gone.

create table counter (
	name text primary key,
	value bigint not null
);

create table site (
	id integer primary key,
	name text not null unique
);

create table node (
	id integer primary key,
	site_id bigint not null references site,
	name text not null unique,
	lmtp text not null,
	imap text not null,
	control text not null,
	replicator text not null
);

create table router (
	id integer primary key,
	site_id bigint not null references site,
	name text not null unique,
	control text not null,
	queue text not null
);

-- epoch and reign change together, by compare-and-swap, in a promotion and nowhere else.
create table volume (
	id integer primary key,
	name text not null unique,
	epoch bigint not null check (epoch > 0),
	reign text not null check (length(reign) = 32),
	primary_node_id bigint not null references node,
	durability text not null check (durability in ('remote', 'strict', 'local')),
	unclean boolean not null,
	epoch_start_lsn bigint not null
);

-- Every copy, the primary's included: a promotion changes the volume row alone. The preferred copy is
-- the one that a failback returns to.
create table volume_copy (
	id integer primary key,
	volume_id bigint not null references volume on delete cascade,
	node_id bigint not null references node,
	preferred boolean not null,
	unique (volume_id, node_id)
);

create table domain (
	id integer primary key,
	name text not null unique check (name = lower(name))
);

-- durability '' is the volume's.
create table mailbox (
	id integer primary key,
	address text not null,
	domain_id bigint not null references domain,
	volume_id bigint not null references volume,
	durability text not null check (durability in ('', 'remote', 'strict', 'local')),
	enabled boolean not null,
	quota_bytes bigint not null check (quota_bytes >= 0)
);
create unique index mailbox_address on mailbox (lower(address));

-- One row per target.
create table alias (
	id integer primary key,
	address text not null,
	target text not null
);
create unique index alias_pair on alias (lower(address), lower(target));

-- scram is "SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>"; id is the mailbox's.
create table credential (
	id integer primary key references mailbox on delete cascade,
	scram text not null
);

create table policy (
	id integer primary key,
	name text not null unique,
	value text not null
);

create table audit (
	id integer primary key autoincrement,
	at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	who text not null,
	action text not null,
	detail text not null
);
