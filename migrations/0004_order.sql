-- Orders with their items. Readers use the views; the tables under them carry the version of the fold.

create table orders_v1 (
    id text primary key,
    customer_id text not null,
    account_id text not null,
    currency text not null,
    description text not null,
    status text not null check (status in ('open', 'in_progress', 'processed', 'deleted')),
    payment_id text,
    placed_at timestamptz not null,
    processed_at timestamptz,
    position bigint not null,
    changed_position bigint not null
) with (fillfactor = 80);

-- All orders, newest first.
create index on orders_v1 (position);
-- Those of one customer, newest first.
create index on orders_v1 (customer_id, position);
-- Those of one account, newest first.
create index on orders_v1 (account_id, position);

create view orders as
select id, customer_id, account_id, currency, description, status, payment_id, placed_at, processed_at, position,
    changed_position
from orders_v1;

create table order_items_v1 (
    order_id text not null,
    number integer not null,
    product text not null,
    description text not null,
    quantity numeric not null,
    unit_price numeric not null,
    part_days integer,
    part_of integer,
    list numeric not null,
    discount_id text,
    discount_name text,
    saving numeric not null,
    net numeric not null,
    tax_rate numeric not null,
    tax numeric not null,
    total numeric not null,
    expense_id text,
    service_id text,
    primary key (order_id, number)
);

create view order_items as
select order_id, number, product, description, quantity, unit_price, part_days, part_of, list, discount_id,
    discount_name, saving, net, tax_rate, tax, total, expense_id, service_id
from order_items_v1;
