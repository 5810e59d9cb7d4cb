-- The journal in double entry, and the trial balance. Readers use the views; the tables under them carry the
-- version of the fold.

create table journal_lines_v1 (
    position bigint not null,
    leg integer not null,
    ledger_account text not null,
    account_id text,
    amount numeric not null,
    currency text not null,
    event_type text not null,
    occurred_at timestamptz not null,
    dated_at timestamptz,
    recorded_at timestamptz not null,
    primary key (position, leg)
);

-- The lines that concern one customer's account.
create index on journal_lines_v1 (account_id, position) where (account_id is not null);

-- The lines behind a line of the trial balance.
create index on journal_lines_v1 (ledger_account, currency, position, leg);

create view journal_lines as
select position, leg, ledger_account, account_id, amount, currency, event_type, occurred_at, dated_at, recorded_at
from journal_lines_v1;

create table trial_balance_v1 (
    ledger_account text not null,
    currency text not null,
    debit numeric not null,
    credit numeric not null,
    balance numeric not null,
    primary key (ledger_account, currency)
) with (fillfactor = 80);

create view trial_balance as
select ledger_account, currency, debit, credit, balance
from trial_balance_v1;
