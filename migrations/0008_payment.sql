-- Payments, what their money covers, and what went back. Readers use the views; the tables under them carry the
-- version of the fold.

create table payments_v1 (
    id text primary key,
    account_id text not null,
    payer_id text,
    method text not null,
    amount numeric not null,
    currency text not null,
    purpose text not null,
    purpose_id text,
    status text not null,
    document_number text,
    gateway_reason text,
    gateway_payment text,
    entry bigint,
    allocated numeric not null,
    free numeric not null,
    returned numeric not null,
    started_at timestamptz not null,
    credited_at timestamptz,
    position bigint not null,
    changed_position bigint not null
) with (fillfactor = 80);

-- All payments, newest first.
create index on payments_v1 (position);
-- Those of one account, newest first.
create index on payments_v1 (account_id, position);
-- Those meant for one order or invoice.
create index on payments_v1 (purpose_id) where (purpose_id is not null);

create view payments as
select id, account_id, payer_id, method, amount, currency, purpose, purpose_id, status, document_number,
    gateway_reason, gateway_payment, entry, allocated, free, returned, started_at, credited_at, position,
    changed_position
from payments_v1;

create table payment_allocations_v1 (
    payment_id text not null,
    charge bigint not null,
    target text not null,
    target_id text,
    amount numeric not null,
    currency text not null,
    changed_position bigint not null,
    primary key (payment_id, charge)
) with (fillfactor = 80);

-- Which payments cover an invoice or an expense.
create index on payment_allocations_v1 (target_id) where (target_id is not null);

create view payment_allocations as
select payment_id, charge, target, target_id, amount, currency, changed_position
from payment_allocations_v1;

create table refunds_v1 (
    id text primary key,
    payment_id text not null,
    amount numeric not null,
    currency text not null,
    status text not null check (status in ('pending', 'settled', 'failed')),
    gateway_reason text,
    entry bigint not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    position bigint not null
);

-- Those of one payment, oldest first.
create index on refunds_v1 (payment_id, position);

create view refunds as
select id, payment_id, amount, currency, status, gateway_reason, entry, started_at, ended_at, position
from refunds_v1;
