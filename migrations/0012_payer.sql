-- Payers: whose details stand on documents. Readers use the views; the tables under them carry the version of the
-- fold.

create table payers_v1 (
    id text primary key,
    customer_id text not null,
    kind text not null,
    name text not null,
    country text not null,
    postal_code text not null,
    city text not null,
    street text not null,
    tax_number text,
    active boolean not null,
    created_at timestamptz not null,
    position bigint not null,
    changed_position bigint not null
);

-- All payers, newest first.
create index on payers_v1 (position);
-- Those of one customer, newest first.
create index on payers_v1 (customer_id, position);

create view payers as
select id, customer_id, kind, name, country, postal_code, city, street, tax_number, active, created_at, position,
    changed_position
from payers_v1;
