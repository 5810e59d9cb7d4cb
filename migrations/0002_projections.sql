-- How far each read model has come. Rows of read models and this checkpoint change in one transaction.

-- A build: the tables that one version of a projection is folded into. The first build of a ledger lies in the tables
-- that the migrations make, `orders_v1` for version 1; build 4 of that version lies in `orders_v1_b4`, made like them.
create table projections (
    name text not null,
    -- 1, 2, 3 … per projection.
    build integer not null check (build > 0),
    -- Of the fold and of the shape of its rows.
    version integer not null,
    -- The names under which readers see its tables.
    tables text[] not null,
    -- A build is made beside the serving one, takes over from it, and the one before is kept for a roll-back.
    stage text not null check (stage in ('building', 'serving', 'kept')),
    stage_since timestamptz not null default clock_timestamp(),
    -- The last event that is in the rows.
    position bigint not null default 0 check (position >= 0),
    status text not null default 'running' check (status in ('running', 'paused', 'stopped')),
    -- Why it stopped, and at which event; the rows are those before that event.
    error text,
    error_position bigint,
    -- The process that drives it, until its lease runs out or is given back.
    holder uuid,
    leased_until timestamptz,
    -- Of a build that is being made: what is done at the moment, where this began, and what it takes.
    phase text,
    begun_at timestamptz,
    begun_position bigint,
    memory_bytes bigint,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (name, build),
    -- One of each stage at most. Looked at when a statement is done, so that two builds can change places.
    constraint projections_stage_key unique (name, stage) deferrable,
    constraint projections_stopped_with_reason
        check ((status = 'stopped') = (error is not null and error_position is not null)),
    constraint projections_phase_of_building check (stage = 'building' or phase is null)
) with (fillfactor = 50);

-- What was set aside because a projection could not fold it: an event, and with it the rest of its stream, so that
-- what belongs together keeps its order. The row stays when the events are folded after all.
create table parked_streams (
    projection text not null,
    aggregate_type text not null,
    aggregate_id text not null,
    -- The first event that is set aside.
    from_position bigint not null,
    -- Why the projection could not fold it.
    error text,
    -- Why somebody decided to go on without it.
    reason text not null check (reason <> ''),
    parked_by text not null,
    parked_at timestamptz not null default clock_timestamp(),
    unparked_by text,
    unparked_at timestamptz,
    primary key (projection, from_position, parked_at)
);

-- What is set aside now; a stream is set aside once.
create unique index parked_streams_now_key on parked_streams (projection, aggregate_type, aggregate_id)
where unparked_at is null;

-- Rows found by the watch that are not what the book says, until somebody has them folded anew.
create table drifts (
    projection text not null,
    build integer not null,
    table_name text not null,
    -- The key of the row, as an object of its columns.
    key jsonb not null,
    stored jsonb,
    expected jsonb,
    -- The checkpoint at which they were compared.
    position bigint not null,
    found_at timestamptz not null default clock_timestamp(),
    primary key (projection, build, table_name, key)
);
