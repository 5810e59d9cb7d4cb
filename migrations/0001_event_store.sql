-- The book of first entry: the events, the head of the book, and what the writer keeps beside them.
--
-- Names are unqualified: one ledger is one schema, and the connection's search_path says which. The functions keep the
-- search_path of their creation, so that they find their own ledger whoever inserts.

create table events (
    -- Exactly what postgres-es 0.5 defines, so that its repository can load and append here.
    aggregate_type text not null,
    aggregate_id text not null,
    sequence bigint not null check (sequence >= 0),
    event_type text not null,
    event_version text not null,
    payload json not null,
    metadata json not null,
    -- The place in the whole book: 1, 2, 3 … in the order of commits. No sequence feeds it: sequences leave gaps.
    position bigint not null,
    -- When it was written; never earlier than the event before it.
    recorded_at timestamptz not null,
    -- One event per place in a stream, and the way to read one stream in order.
    primary key (aggregate_type, aggregate_id, sequence),
    -- One event per place in the book, and the way to read on from a checkpoint.
    constraint events_position_key unique (position),
    -- The first position is 1; with the trigger `advance_head` this makes positions dense.
    constraint events_position_check check (position > 0)
);

-- Where the book ends. Whoever appends locks this row until he commits, so the order of positions is the order of
-- commits. Most of its page stays free, so that its many updates need no other page.
create table book_head (
    -- Exactly one row. It is also the column that the application may update, which is what locking takes.
    singleton boolean primary key default true constraint book_head_has_one_row check (singleton),
    position bigint not null,
    recorded_at timestamptz not null
) with (fillfactor = 10);

insert into book_head (position, recorded_at) values (0, 'epoch');

-- An insert by a program that knows nothing of positions, such as a stock postgres-es.
create function give_position() returns trigger language plpgsql security definer set search_path from current as $$
begin
    update book_head
    set position = position + 1, recorded_at = greatest(recorded_at, clock_timestamp())
    returning position, recorded_at into strict new.position, new.recorded_at;
    return new;
end
$$;

create trigger give_position before insert on events
for each row when (new.position is null) execute function give_position();

-- Positions that came with the insert, as the writer's do: they must follow the head without a gap, and the head
-- follows them. Once per statement, so that a batch pays one short index scan for it. Without statistics a scan of
-- the whole table would look cheap to the planner, hence the setting.
create function advance_head() returns trigger language plpgsql security definer
set search_path from current
set enable_seqscan = off
as $$
declare
    head record;
    added record;
begin
    select h.position, h.recorded_at into strict head from book_head h for update;
    select count(*) as number, max(e.position) as last, min(e.recorded_at) as earliest, max(e.recorded_at) as latest
    into added
    from events e
    where e.position > head.position;
    if added.number = 0 then
        return null;
    end if;
    if added.last <> head.position + added.number then
        raise exception 'positions must follow % without a gap', head.position
        using errcode = 'integrity_constraint_violation', constraint = 'events_positions_dense', table = 'events';
    end if;
    if added.earliest < head.recorded_at or added.earliest <> added.latest then
        raise exception 'what is appended at once was recorded at one time, and not before what stands in the book'
        using errcode = 'integrity_constraint_violation', constraint = 'events_recorded_in_order', table = 'events';
    end if;
    update book_head set position = added.last, recorded_at = added.latest;
    return null;
end
$$;

create trigger advance_head after insert on events
for each statement execute function advance_head();

-- What is written stays as it is.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the book is never altered: % of % is refused', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation', hint = 'record a further event that corrects the earlier one';
end
$$;

create trigger refuse_change before update or delete or truncate on events
for each statement execute function refuse_change();

-- The answers already given, by the idempotency key of the command; kept for ever.
create table idempotency (
    -- The first 128 bits of a SHA-256 over the caller's scope and key: narrow, since every command looks here.
    key uuid primary key,
    -- SHA-256 of the request: the same key with another request is refused.
    fingerprint bytea not null,
    -- Where the command's last event stands, or where the book ended if it recorded none.
    position bigint not null,
    answer json not null,
    recorded_at timestamptz not null
);

-- States written aside so that long streams load fast. Never trusted: another fold version, or a sequence that the
-- stream does not reach, and the row is passed over.
create table aggregate_snapshots (
    aggregate_type text not null,
    aggregate_id text not null,
    -- The last event that the state contains.
    sequence bigint not null,
    fold_version integer not null,
    state json not null,
    -- One snapshot per aggregate, the newest.
    primary key (aggregate_type, aggregate_id)
);
