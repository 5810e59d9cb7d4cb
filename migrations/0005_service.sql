-- Services: what customers have after their orders are processed. Readers use the views; the tables under them
-- carry the version of the fold.

create table services_v1 (
    id text primary key,
    customer_id text not null,
    account_id text not null,
    order_id text not null,
    product text not null,
    description text not null,
    status text not null,
    activated_at timestamptz not null,
    position bigint not null
);

-- All services, newest first.
create index on services_v1 (position);
-- Those of one customer, newest first.
create index on services_v1 (customer_id, position);
-- Those of one account, newest first.
create index on services_v1 (account_id, position);
-- Those that an order opened.
create index on services_v1 (order_id);

create view services as
select id, customer_id, account_id, order_id, product, description, status, activated_at, position
from services_v1;
