-- The transparency log: a Merkle tree over the events, kept beside the write path, and the checkpoints signed of it.
-- All but the checkpoints can be made anew from the events.

-- Which log this is, and how far its tree has come.
create table transparency_log (
    -- Exactly one row.
    singleton boolean primary key default true constraint transparency_log_has_one_row check (singleton),
    -- The name of the log in its checkpoints, and its public key; made at the first start that signs.
    origin text,
    vkey text,
    -- How many events are in the tiles. Whoever adds to them moves it on, from where they were found, in the same
    -- transaction; so of several processes one goes on.
    size bigint not null default 0 check (size >= 0),
    constraint transparency_log_key_has_name check (vkey is null or origin is not null)
) with (fillfactor = 10);

insert into transparency_log (size) values (0);

-- A log is known by its name and key, and never gets shorter.
create function keep_transparency_log() returns trigger language plpgsql as $$
begin
    if new.size < old.size then
        raise exception 'the transparency log has % events, and never fewer', old.size
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

create trigger keep_transparency_log before update on transparency_log
for each row execute function keep_transparency_log();

create trigger refuse_change before delete or truncate on transparency_log
for each statement execute function refuse_change();

-- The tiles of C2SP's tlog-tiles: up to 256 hashes each, of nodes that lie 8 * level above the leaves. The last tile of
-- each level grows; a partial tile is the beginning of it.
create table log_tiles (
    level smallint not null check (level between 0 and 7),
    n bigint not null check (n >= 0),
    hashes bytea not null,
    primary key (level, n),
    constraint log_tiles_hold_hashes check (length(hashes) between 32 and 8192 and length(hashes) % 32 = 0)
);

-- Hashes cannot be compressed.
alter table log_tiles alter column hashes set storage external;

-- What was signed of the tree: the log has given its word, so none of it is ever taken back.
create table log_checkpoints (
    -- Events in the tree.
    size bigint primary key check (size > 0),
    -- A signed note, as it is handed out.
    note text not null,
    signed_at timestamptz not null default clock_timestamp()
);

create trigger refuse_change before update or delete or truncate on log_checkpoints
for each statement execute function refuse_change();
