-- Accounts as they stand now, and their statements. Readers use the views; the tables under them carry the version
-- of the fold.

create table accounts_v1 (
    id text primary key,
    customer_id text not null,
    name text not null,
    currency text not null,
    time_zone text not null,
    balance numeric not null,
    held numeric not null,
    credit_limit numeric not null,
    post_paid boolean not null,
    automatic_allocation boolean not null,
    opened_at timestamptz not null,
    entries bigint not null,
    position bigint not null,
    changed_position bigint not null
) with (fillfactor = 80);

-- All accounts, newest first.
create index on accounts_v1 (position);
-- Those of one customer, newest first.
create index on accounts_v1 (customer_id, position);

create view accounts as
select id, customer_id, name, currency, time_zone, balance, held, credit_limit, post_paid, automatic_allocation,
    opened_at, entries, position, changed_position
from accounts_v1;

create table account_statement_v1 (
    account_id text not null,
    entry bigint not null,
    position bigint not null,
    occurred_at timestamptz not null,
    dated_at timestamptz,
    recorded_at timestamptz not null,
    origin text not null,
    origin_id text,
    transfer jsonb,
    description text not null,
    amount numeric not null,
    balance numeric not null,
    currency text not null,
    due_on date,
    reverses bigint,
    reversed_by bigint,
    primary key (account_id, entry)
);

-- Statements go by the time an entry took effect; balances are summed up from the index alone.
create index on account_statement_v1 (account_id, occurred_at, position) include (amount);

-- What took an entry back, as it was known earlier.
create index on account_statement_v1 (account_id, reverses) where (reverses is not null);

create view account_statement as
select account_id, entry, position, occurred_at, dated_at, recorded_at, origin, origin_id, transfer, description,
    amount, balance, currency, due_on, reverses, reversed_by
from account_statement_v1;

create table account_days_v1 (
    account_id text not null,
    day date not null,
    amount numeric not null,
    entries bigint not null,
    primary key (account_id, day)
) with (fillfactor = 80);

create view account_days as
select account_id, day, amount, entries
from account_days_v1;
