-- An event whose encoding is larger than a bundle of the transparency log can hold stands in the tree by its digest from
-- here on. What was signed before stands there whole, and stays as it was signed.

-- Rather no digests for now than a keeper that waits for somebody who holds the row for long.
set local lock_timeout = '10s';

-- No tree grows until this is done, so that nothing beyond the position below was signed with such an event whole.
lock table transparency_log in share row exclusive mode;

-- The last event that stands in the tree whole whatever its size. That is the end of the book, which no tree reaches
-- beyond: a crash may have taken away the last of the tree that was signed. A function and not a row, so that a dump has it
-- with the tables, and nobody changes it by changing rows.
do $$
begin
    execute format(
        'create function log_digests_after() returns bigint language sql immutable parallel safe return bigint %L',
        (select max(h.position) from book_head h)
    );
end
$$;

-- A program of before that still runs would hash large events whole. It does not know the setting, and its tree grows no
-- more; what it signs follows from the tree and from the events, or is not signed.
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
    if new.size > old.size and coalesce(current_setting('daybook.log_entries', true), '') <> 'digests' then
        raise exception 'the transparency log is kept by a newer program, which knows the digests of large events'
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
begin
    execute format('alter function keep_transparency_log() set search_path = %s, pg_temp', current_setting('search_path'));
end
$$;
