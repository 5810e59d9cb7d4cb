-- The same checks as before of what is appended, for less: the plans are made once and not for every batch, and the head
-- is moved by the statement that looks at what was added. What is wrong is refused afterwards, which undoes all of it.
create or replace function advance_head() returns trigger language plpgsql security definer
set search_path from current
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    head record;
    added record;
begin
    -- By itself, so that what follows sees all that others had appended when the lock was given.
    select h.position, h.recorded_at into strict head from book_head h for update;
    update book_head
    set position = tail.last, recorded_at = tail.latest
    from (
        select count(*) as number, max(e.position) as last, min(e.recorded_at) as earliest,
            max(e.recorded_at) as latest
        from events e
        where e.position > head.position
    ) tail
    where tail.number > 0
    returning tail.number, tail.last, tail.earliest, tail.latest into added;
    if not found then
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
    return null;
end
$$;
