-- The history of any entity. Readers use the views; the tables under them carry the version of the fold.

create table history_v1 (
    entity_id text not null,
    position bigint not null,
    event_type text not null,
    aggregate_type text not null,
    aggregate_id text not null,
    sequence bigint not null,
    actor text,
    on_behalf_of text,
    reason text,
    occurred_at timestamptz not null,
    dated_at timestamptz,
    recorded_at timestamptz not null,
    primary key (entity_id, position)
);

create view history as
select entity_id, position, event_type, aggregate_type, aggregate_id, sequence, actor, on_behalf_of, reason,
    occurred_at, dated_at, recorded_at
from history_v1;
