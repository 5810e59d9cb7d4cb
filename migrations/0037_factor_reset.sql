-- Resets of lost second factors that were asked for, and are neither completed nor cancelled.

create table factor_resets_v1 (
    user_id text primary key,
    -- None, if a program asked for it.
    requested_by text,
    requested_at timestamptz not null,
    completable_at timestamptz not null,
    -- From then on it is as if nobody had asked.
    lapses_at timestamptz not null,
    position bigint not null
);

create view factor_resets as
select user_id, requested_by, requested_at, completable_at, lapses_at, position
from factor_resets_v1;
