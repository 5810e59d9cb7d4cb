-- What a program has appended once to a ledger of an earlier version, so that nobody looks for it again.
create table upgrades (
    name text primary key,
    -- Where the book ended when it was looked at.
    position bigint not null,
    done_at timestamptz not null default clock_timestamp()
);
