-- The history keeps that an event concerns an entity, and when it took effect. What else was said of the event in each of its
-- rows stands in the event. The view goes on showing what serves until the new version is built.

create table history_v2 (
    entity_id text not null,
    position bigint not null,
    occurred_at timestamptz not null,
    primary key (entity_id, position)
);

-- A ledger in which nothing was projected yet begins with the new version.
do $$
begin
    if exists (select from projections where name = 'history') then
        return;
    end if;
    drop view history;
    create view history as select entity_id, position, occurred_at from history_v2;
    grant select on history to daybook_app;
end
$$;
