-- What the application's role cannot do to the transparency log even by mistake: no checkpoint of more than the tree
-- holds, no tree of more than the book. Either would stop the log for good, for nothing of it is ever taken back.

create or replace function keep_transparency_log() returns trigger language plpgsql set search_path from current as $$
begin
    if new.size < old.size then
        raise exception 'the transparency log has % events, and never fewer', old.size
        using errcode = 'restrict_violation';
    end if;
    if new.size > old.size and new.size > (select position from book_head) then
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

create function guard_log_checkpoint() returns trigger language plpgsql set search_path from current as $$
begin
    if not exists (select from transparency_log where size >= new.size) then
        raise exception 'a checkpoint of % events covers more than the tree of the transparency log', new.size
        using errcode = 'restrict_violation';
    end if;
    -- The name of the log, the size, the root.
    if split_part(new.note, E'\n', 2) <> new.size::text then
        raise exception 'the note is not that of a checkpoint of % events', new.size
        using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

create trigger guard_log_checkpoint before insert on log_checkpoints
for each row execute function guard_log_checkpoint();
