-- Invoices with their lines. Readers use the views; the tables under them carry the version of the fold.

create table invoices_v1 (
    id text primary key,
    number text not null,
    account_id text not null,
    customer_id text not null,
    payer jsonb not null,
    issued_on date not null,
    due_on date not null,
    currency text not null,
    policy jsonb not null,
    discount jsonb,
    status text not null check (status in ('issued', 'part_paid', 'paid')),
    net numeric not null,
    tax numeric not null,
    total numeric not null,
    residue numeric not null,
    rates jsonb not null,
    due numeric not null,
    credited_net numeric not null,
    credited_tax numeric not null,
    credited_total numeric not null,
    entry bigint not null,
    finalised_at timestamptz not null,
    position bigint not null,
    changed_position bigint not null
) with (fillfactor = 80);

-- All invoices, newest first.
create index on invoices_v1 (position);
-- Those of one customer, newest first.
create index on invoices_v1 (customer_id, position);
-- Those of one account, newest first.
create index on invoices_v1 (account_id, position);
-- By number; numbers given from outside may repeat between accounts.
create index on invoices_v1 (number);

create view invoices as
select id, number, account_id, customer_id, payer, issued_on, due_on, currency, policy, discount, status, net, tax,
    total, residue, rates, due, credited_net, credited_tax, credited_total, entry, finalised_at, position,
    changed_position
from invoices_v1;

create table invoice_lines_v1 (
    invoice_id text not null,
    number integer not null,
    item text not null,
    description text not null,
    quantity numeric not null,
    unit_price numeric not null,
    discount numeric not null,
    amount numeric not null,
    tax_rate numeric not null,
    credited_quantity numeric not null,
    credited_amount numeric not null,
    primary key (invoice_id, number)
);

create view invoice_lines as
select invoice_id, number, item, description, quantity, unit_price, discount, amount, tax_rate, credited_quantity,
    credited_amount
from invoice_lines_v1;
