-- Customers, and the groups they are in. Readers use the views; the tables under them carry the version of the fold.

create table customers_v1 (
    id text primary key,
    name text not null,
    email text,
    registered_at timestamptz not null,
    position bigint not null,
    changed_position bigint not null
);

-- All customers, newest first.
create index on customers_v1 (position);
-- By e-mail address.
create index on customers_v1 (email) where (email is not null);

create view customers as
select id, name, email, registered_at, position, changed_position
from customers_v1;

create table customer_groups_v1 (
    customer_id text not null,
    group_name text not null,
    joined_at timestamptz not null,
    primary key (customer_id, group_name)
);

-- Who is in a group.
create index on customer_groups_v1 (group_name);

create view customer_groups as
select customer_id, group_name, joined_at
from customer_groups_v1;
