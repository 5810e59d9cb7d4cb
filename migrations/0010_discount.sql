-- Discounts of customers, groups and everyone. Readers use the views; the tables under them carry the version of
-- the fold.

create table discounts_v1 (
    id text primary key,
    audience text not null,
    audience_id text,
    name text not null,
    product text,
    kind text not null,
    value numeric not null,
    currency text,
    priority integer not null,
    valid_from timestamptz,
    valid_until timestamptz,
    granted_at timestamptz not null,
    revoked_at timestamptz,
    position bigint not null
);

-- All discounts, newest first.
create index on discounts_v1 (position);
-- Those of one audience, newest first.
create index on discounts_v1 (audience, audience_id, position);

create view discounts as
select id, audience, audience_id, name, product, kind, value, currency, priority, valid_from, valid_until,
    granted_at, revoked_at, position
from discounts_v1;
