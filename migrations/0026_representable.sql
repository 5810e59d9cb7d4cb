-- What no part of the ledger can represent is refused where it would be stored, whichever program inserts it: a NUL in a
-- text, which PostgreSQL cannot hold, and moments that PostgreSQL and our program would read as different ones. Rows of
-- before are not looked at (`not valid`), so that no ledger is kept from this version by what it holds already.
--
-- An insert pays 7 to 15 microseconds per event for it, which is as much as the insert itself. So the connection of our
-- writer, which has refused all this before (`writer/batch.rs`), says that its events are checked. Anything else that
-- inserts, a restore included, is checked here.

-- Rather no check for now than writers who wait for somebody who reads for long.
set local lock_timeout = '10s';

alter table events
    -- Named so that it is the first to be asked: what reads the metadata below falls over a NUL and names no constraint.
    -- `\u0000` is a NUL unless its backslash is escaped itself: then an odd number of others stand before it.
    add constraint events_contain_no_nul check (
        coalesce(current_setting('daybook.events_are_checked', true), '') = 'yes'
        or (strpos(payload::text, '\u0000') = 0 or payload::text !~ '(^|[^\\])(\\\\)*\\u0000')
        and (strpos(metadata::text, '\u0000') = 0 or metadata::text !~ '(^|[^\\])(\\\\)*\\u0000')
    ) not valid,
    -- RFC 3339 as our program writes it, to the microsecond, which is what PostgreSQL keeps: more digits would be rounded,
    -- perhaps into the next day, and a second 60 is the next minute for PostgreSQL and this one for our program. The cast
    -- refuses what is no day. Without a moment all of it is null, which is no refusal.
    add constraint events_occurred_at_representable check (
        coalesce(current_setting('daybook.events_are_checked', true), '') = 'yes'
        or case
            when metadata ->> 'occurred_at' !~ '^\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)$'
            then false
            else (metadata ->> 'occurred_at')::timestamptz
                between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00'
        end
    ) not valid,
    add constraint events_dated_at_representable check (
        coalesce(current_setting('daybook.events_are_checked', true), '') = 'yes'
        or (strpos(metadata::text, 'dated_at') = 0 and strpos(metadata::text, '\u') = 0)
        or case
            when metadata ->> 'dated_at' !~ '^\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)$'
            then false
            else (metadata ->> 'dated_at')::timestamptz
                between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00'
        end
    ) not valid,
    -- A time of recording that comes with the insert, for ever the lowest that follows it may have.
    add constraint events_recorded_at_representable check (
        recorded_at between timestamptz '0001-01-01 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00'
    ) not valid;
