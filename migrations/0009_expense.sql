-- Expenses, and what covers them. Readers use the views; the tables under them carry the version of the fold.

create table expenses_v1 (
    id text primary key,
    account_id text not null,
    order_id text,
    order_item integer,
    service_id text,
    description text not null,
    quantity numeric not null,
    tax_rate numeric not null,
    net numeric not null,
    tax numeric not null,
    total numeric not null,
    currency text not null,
    status text not null check (status in ('recorded', 'reversed')),
    entry bigint not null,
    covered numeric not null,
    uncovered numeric not null,
    charged_at timestamptz not null,
    position bigint not null,
    changed_position bigint not null
) with (fillfactor = 80);

-- All expenses, newest first.
create index on expenses_v1 (position);
-- Those of one account, newest first.
create index on expenses_v1 (account_id, position);
-- Those of one order.
create index on expenses_v1 (order_id) where (order_id is not null);
-- Those of one service.
create index on expenses_v1 (service_id) where (service_id is not null);

create view expenses as
select id, account_id, order_id, order_item, service_id, description, quantity, tax_rate, net, tax, total, currency,
    status, entry, covered, uncovered, charged_at, position, changed_position
from expenses_v1;

create table expense_coverage_v1 (
    expense_id text not null,
    funds bigint not null,
    origin text not null,
    origin_id text,
    amount numeric not null,
    currency text not null,
    changed_position bigint not null,
    primary key (expense_id, funds)
);

create view expense_coverage as
select expense_id, funds, origin, origin_id, amount, currency, changed_position
from expense_coverage_v1;
