-- How far each read model has come. Rows of read models and this checkpoint change in one transaction.

create table projections (
    name text not null,
    -- Of the fold and of its tables, `orders_v1` being those of version 1.
    version integer not null,
    -- The last event that is in the rows.
    position bigint not null default 0 check (position >= 0),
    status text not null default 'running' check (status in ('running', 'stopped')),
    -- Why it stopped, and at which event; the rows are those before that event.
    error text,
    error_position bigint,
    updated_at timestamptz not null default now(),
    primary key (name, version),
    constraint projections_stopped_with_reason
        check ((status = 'stopped') = (error is not null and error_position is not null))
) with (fillfactor = 50);
