-- A copy that was added to a volume, or thrown away and begun anew, and has not been in step with its
-- primary yet: it counts as no copy. Its row's id names it: a node that finds another one's log sets that aside.
alter table volume_copy add column seeding boolean not null default false;

-- To which node each slot of a volume was ever given: never to another one, because epochs of that class
-- may be somewhere for as long as the volume is.
create table volume_slot (
	volume_id bigint not null references volume on delete cascade,
	slot smallint not null check (slot between 0 and 7),
	node_id bigint not null,
	primary key (volume_id, slot)
);
insert into volume_slot (volume_id, slot, node_id) select volume_id, slot, node_id from volume_copy;
