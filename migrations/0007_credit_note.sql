-- Credit notes with their lines. Readers use the views; the tables under them carry the version of the fold.

create table credit_notes_v1 (
    id text primary key,
    number text not null,
    account_id text not null,
    customer_id text not null,
    payer jsonb not null,
    issued_on date not null,
    currency text not null,
    net numeric not null,
    tax numeric not null,
    total numeric not null,
    residue numeric not null,
    rates jsonb not null,
    entry bigint not null,
    issued_at timestamptz not null,
    position bigint not null
);

-- All credit notes, newest first.
create index on credit_notes_v1 (position);
-- Those of one customer, newest first.
create index on credit_notes_v1 (customer_id, position);
-- Those of one account, newest first.
create index on credit_notes_v1 (account_id, position);
-- By number; numbers given from outside may repeat between accounts.
create index on credit_notes_v1 (number);

create view credit_notes as
select id, number, account_id, customer_id, payer, issued_on, currency, net, tax, total, residue, rates, entry,
    issued_at, position
from credit_notes_v1;

create table credit_note_lines_v1 (
    credit_note_id text not null,
    number integer not null,
    invoice_id text,
    invoice_line integer,
    free_standing boolean not null,
    item text not null,
    description text not null,
    quantity numeric not null,
    unit_price numeric not null,
    amount numeric not null,
    tax_rate numeric not null,
    primary key (credit_note_id, number)
);

-- What was taken back of an invoice.
create index on credit_note_lines_v1 (invoice_id) where (invoice_id is not null);

create view credit_note_lines as
select credit_note_id, number, invoice_id, invoice_line, free_standing, item, description, quantity, unit_price,
    amount, tax_rate
from credit_note_lines_v1;
