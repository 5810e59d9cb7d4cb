-- Payments say what came beside what was asked for, refunds bear the gateway's own id, and disputes stand beside them. The
-- views go on showing what serves until the new version is built.

create table payments_v2 (
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
    changed_position bigint not null,
    received numeric not null,
    disputed numeric not null
) with (fillfactor = 80);

-- All payments, newest first.
create index on payments_v2 (position);
-- Those of one account, newest first.
create index on payments_v2 (account_id, position);
-- Those meant for one order or invoice.
create index on payments_v2 (purpose_id) where (purpose_id is not null);

create table payment_allocations_v2 (
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
create index on payment_allocations_v2 (target_id) where (target_id is not null);

create table refunds_v2 (
    id text primary key,
    payment_id text not null,
    amount numeric not null,
    currency text not null,
    status text not null check (status in ('pending', 'settled', 'failed')),
    gateway_reason text,
    entry bigint not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    position bigint not null,
    gateway_refund text
);

-- Those of one payment, oldest first.
create index on refunds_v2 (payment_id, position);

create table disputes_v2 (
    id text primary key,
    payment_id text not null,
    gateway_dispute text,
    amount numeric not null,
    currency text not null,
    status text not null check (status in ('open', 'won', 'lost')),
    gateway_reason text not null,
    entry bigint not null,
    won_entry bigint,
    opened_at timestamptz not null,
    ended_at timestamptz,
    position bigint not null
);

-- Those of one payment, oldest first.
create index on disputes_v2 (payment_id, position);

-- There is nothing that serves disputes yet: until the new version does, there are none.
create view disputes as
select id, payment_id, gateway_dispute, amount, currency, status, gateway_reason, entry, won_entry, opened_at, ended_at,
    position
from disputes_v2;

-- A ledger in which nothing was projected yet begins with the new version.
do $$
begin
    if exists (select from projections where name = 'payments') then
        return;
    end if;
    create or replace view payments as
    select id, account_id, payer_id, method, amount, currency, purpose, purpose_id, status, document_number,
        gateway_reason, gateway_payment, entry, allocated, free, returned, started_at, credited_at, position,
        changed_position, received, disputed
    from payments_v2;
    create or replace view payment_allocations as
    select payment_id, charge, target, target_id, amount, currency, changed_position
    from payment_allocations_v2;
    create or replace view refunds as
    select id, payment_id, amount, currency, status, gateway_reason, entry, started_at, ended_at, position,
        gateway_refund
    from refunds_v2;
end
$$;
