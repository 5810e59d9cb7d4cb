-- A time of recording that lies ahead of the clock stands for ever, and nothing could be recorded before the clock has come
-- there. So no program may bring one along. What stands ahead already, such as of a clock that was ahead once, may be
-- followed by events of the same time.

-- Rather the dearer way for now than writers who wait for somebody who holds the table for long.
set local lock_timeout = '10s';

create or replace function check_appended() returns void language plpgsql
set search_path from current
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    head record;
    tail record;
begin
    -- By itself, so that what follows sees all that others had appended when the lock was given.
    select h.position, h.recorded_at into strict head from book_head h order by h.position desc limit 1 for update;
    select count(*) as number, max(e.position) as last, min(e.recorded_at) as earliest, max(e.recorded_at) as latest
    into tail
    from events e
    where e.position > head.position;
    -- A row may have moved the head and then been dropped, by `on conflict do nothing`.
    if head.position > 0 and not exists (
        select from events e where e.position = head.position and e.recorded_at = head.recorded_at
    ) then
        raise exception 'no event stands at position %, or not of the time of the head', head.position
        using errcode = 'integrity_constraint_violation', constraint = 'events_positions_dense', table = 'events';
    end if;
    if tail.number = 0 then
        return;
    end if;
    if tail.last <> head.position + tail.number then
        raise exception 'positions must follow % without a gap', head.position
        using errcode = 'integrity_constraint_violation', constraint = 'events_positions_dense', table = 'events';
    end if;
    if tail.earliest < head.recorded_at or tail.earliest <> tail.latest then
        raise exception 'what is appended at once was recorded at one time, and not before what stands in the book'
        using errcode = 'integrity_constraint_violation', constraint = 'events_recorded_in_order', table = 'events';
    end if;
    if tail.latest > head.recorded_at and tail.latest > clock_timestamp() + interval '5 minutes' then
        raise exception 'recorded_at lies more than five minutes ahead of the clock'
        using errcode = 'integrity_constraint_violation', constraint = 'events_recorded_by_now', table = 'events';
    end if;
    update book_head set position = tail.last, recorded_at = tail.latest where position = head.position;
end
$$;

create or replace function advance_head() returns trigger language plpgsql security definer
set search_path from current
as $$
declare
    added record;
begin
    -- It moves the head in its owner's name, so that it must not be anybody's trigger on a table of his own.
    if tg_relid <> 'events'::regclass then
        raise exception 'only events move the head of the book' using errcode = 'insufficient_privilege';
    end if;
    select count(*) as number, min(e.position) as first, max(e.position) as last, min(e.recorded_at) as earliest,
        max(e.recorded_at) as latest
    into added
    from appended e;
    -- No two events have the same position, so that so many from the first to the last leave no gap.
    update book_head h
    set position = added.last, recorded_at = added.latest
    where h.position = added.first - 1 and added.last = h.position + added.number
        and h.recorded_at <= added.earliest and added.earliest = added.latest
        and (added.latest <= h.recorded_at or added.latest <= clock_timestamp() + interval '5 minutes')
        and (h.position = 0 or exists (select from events e where e.position = h.position));
    if not found then
        perform check_appended();
    end if;
    return null;
end
$$;

-- As in `0021_search_paths.sql`.
do $$
declare
    name text;
begin
    foreach name in array array['check_appended', 'advance_head'] loop
        execute format('alter function %I() set search_path = %s, pg_temp', name, current_setting('search_path'));
    end loop;
end
$$;
