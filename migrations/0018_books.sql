-- Closed periods of the books. Readers use the view; the table under it carries the version of the fold.

create table closed_periods_v1 (
    books_id text not null,
    position bigint not null,
    through date not null,
    time_zone text not null,
    open_from timestamptz not null,
    actor text,
    reason text,
    closed_at timestamptz not null,
    recorded_at timestamptz not null,
    primary key (books_id, position)
);

-- The first closing that covers a moment.
create index on closed_periods_v1 (open_from);

create view closed_periods as
select books_id, position, through, time_zone, open_from, actor, reason, closed_at, recorded_at
from closed_periods_v1;
