-- Who may begin the epoch that the row names: the process that stood still under `token` (0: none).
-- `clean_after` is the epoch that had ended in a fence which the chosen copy has whole (0: unclean);
-- `incarnation` names the last opening that the directory was told of (0: none, ever): a log
-- that does not have it is new, or was put back.
alter table volume add column token text not null default '0';
alter table volume add column clean_after bigint not null default 0;
alter table volume add column incarnation text not null default '0';

-- The class of a copy: epochs given to it are `slot` modulo 8, so that two directories, or one that was
-- put back, never name one epoch for two copies. The first primary has 1.
alter table volume_copy add column slot smallint not null default 0 check (slot between 0 and 7);
update volume_copy set slot = numbered.slot from (
	select c.id, row_number() over (partition by c.volume_id
		order by c.node_id = v.primary_node_id desc, c.id) % 8 as slot
	from volume_copy c join volume v on v.id = c.volume_id) as numbered
	where numbered.id = volume_copy.id;
create unique index volume_copy_slot on volume_copy (volume_id, slot);
