-- The head of the book is found by its position. Every append makes a new version of its row, and as long as somebody
-- reads for long (a dump, a full verification) none of the old ones can be cleared away: whoever looked for the row went
-- through all of them, three times in each batch. By an index each look is as short as the first one. In return the table
-- and the index grow by some tens of bytes per append until they are vacuumed.

-- Rather the dearer way for now than writers who wait for somebody who holds the table for long.
set local lock_timeout = '10s';

alter table book_head drop constraint book_head_pkey, add primary key (position);
-- No version fits beside the others any more, so that nothing is gained by pages that stay free.
alter table book_head reset (fillfactor);
-- Giving pages back would lock out everybody for a moment after each vacuum.
alter table book_head set (vacuum_truncate = false);

-- There is one row, as the key of before told; should a restore of data alone add one, the last one counts.
create trigger refuse_change before insert or delete or truncate on book_head
for each statement execute function refuse_change();

create or replace function give_position() returns trigger language plpgsql security definer
set search_path from current
as $$
declare
    head record;
begin
    -- It moves the head in its owner's name, so that it must not be anybody's trigger on a table of his own.
    if tg_relid <> 'events'::regclass then
        raise exception 'positions are given to events only' using errcode = 'insufficient_privilege';
    end if;
    select h.position, h.recorded_at into strict head from book_head h order by h.position desc limit 1 for update;
    new.position := head.position + 1;
    new.recorded_at := greatest(head.recorded_at, clock_timestamp());
    update book_head set position = new.position, recorded_at = new.recorded_at where position = head.position;
    return new;
end
$$;

-- As before, but for how the end of the book is found.
create or replace function keep_transparency_log() returns trigger language plpgsql set search_path from current as $$
begin
    if new.size < old.size then
        raise exception 'the transparency log has % events, and never fewer', old.size
        using errcode = 'restrict_violation';
    end if;
    if new.size > old.size and new.size > (select max(position) from book_head) then
        raise exception 'the transparency log cannot have % events: the book has fewer', new.size
        using errcode = 'restrict_violation';
    end if;
    if (old.origin is not null and new.origin is distinct from old.origin)
        or (old.vkey is not null and new.vkey is distinct from old.vkey)
    then
        raise exception 'the name and the key of the transparency log stay as they are'
        using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

-- As in `0021_search_paths.sql`.
do $$
declare
    name text;
begin
    foreach name in array array['give_position', 'keep_transparency_log'] loop
        execute format('alter function %I() set search_path = %s, pg_temp', name, current_setting('search_path'));
    end loop;
end
$$;
