-- Long work that somebody has asked for over HTTP: how far it is, and what it has come to. It is done beside the requests, by
-- the server that was asked. A row that its server has not touched for a while was interrupted.
create table operations (
    id text primary key,
    kind text not null check (kind in ('rebuild', 'verify')),
    -- The projection.
    subject text not null,
    -- What was asked for beside it.
    request jsonb not null,
    asked_by text not null,
    asked_at timestamptz not null,
    begun_at timestamptz,
    ended_at timestamptz,
    status text not null check (status in ('waiting', 'running', 'done', 'failed', 'cancelled')),
    -- So many of so many events, if that is known.
    done bigint,
    total bigint,
    phase text,
    -- What it has come to, or why it failed, as a problem document.
    outcome jsonb,
    cancelled_by text,
    touched_at timestamptz not null,
    constraint an_end_has_its_moment check ((status in ('done', 'failed', 'cancelled')) = (ended_at is not null))
);

create index operations_in_order on operations (asked_at desc, id desc);
