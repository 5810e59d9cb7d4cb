-- Tickets, open and archived, with their messages. Readers use the views; the tables under them carry the version
-- of the fold.

create table tickets_v1 (
    id text primary key,
    customer_id text not null,
    category text not null,
    subject text not null,
    about text,
    about_id text,
    status text not null check (status in ('open', 'in_progress', 'answered', 'read', 'archived')),
    archived boolean not null,
    messages integer not null,
    opened_at timestamptz not null,
    last_message_at timestamptz not null,
    archived_at timestamptz,
    position bigint not null,
    changed_position bigint not null
) with (fillfactor = 80);

-- All tickets, newest first.
create index on tickets_v1 (position);
-- The open or the archived ones of one customer, newest first.
create index on tickets_v1 (customer_id, archived, position);
-- The open or the archived ones of everyone, newest first.
create index on tickets_v1 (archived, position);
-- Those about one service or order.
create index on tickets_v1 (about_id) where (about_id is not null);

create view tickets as
select id, customer_id, category, subject, about, about_id, status, archived, messages, opened_at, last_message_at,
    archived_at, position, changed_position
from tickets_v1;

create table ticket_messages_v1 (
    ticket_id text not null,
    position bigint not null,
    side text not null,
    actor text,
    message text not null,
    written_at timestamptz not null,
    primary key (ticket_id, position)
);

create view ticket_messages as
select ticket_id, position, side, actor, message, written_at
from ticket_messages_v1;
