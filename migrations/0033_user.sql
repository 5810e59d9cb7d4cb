-- Users: who signs in, where they are members, what they may do there, how they are reached, and by what they show who
-- they are. The secrets themselves lie in tables of their own.

create table users_v1 (
    id text primary key,
    login text not null,
    login_name text not null,
    name text not null,
    enabled boolean not null,
    address jsonb,
    password_id text,
    recovery_codes_id text,
    invited_at timestamptz not null,
    position bigint not null,
    changed_position bigint not null
);

-- Who signs in by a name.
create index on users_v1 (login_name);
-- All users, newest first.
create index on users_v1 (position);

create view users as
select id, login, login_name, name, enabled, address, password_id, recovery_codes_id, invited_at, position, changed_position
from users_v1;

create table memberships_v1 (
    user_id text not null,
    -- `provider`, or the identifier of the customer.
    party text not null,
    -- None of those with the provider.
    customer_id text,
    superuser boolean not null,
    functions jsonb not null,
    roles jsonb not null,
    given_at timestamptz not null,
    position bigint not null,
    primary key (user_id, party)
);

-- The members of one customer.
create index on memberships_v1 (customer_id);

create view memberships as
select user_id, party, customer_id, superuser, functions, roles, given_at, position
from memberships_v1;

create table user_contacts_v1 (
    user_id text not null,
    number integer not null,
    kind text not null,
    value text not null,
    added_at timestamptz not null,
    primary key (user_id, number)
);

create view user_contacts as
select user_id, number, kind, value, added_at
from user_contacts_v1;

create table user_factors_v1 (
    user_id text not null,
    id text not null,
    kind text not null,
    added_at timestamptz not null,
    primary key (user_id, id)
);

create view user_factors as
select user_id, id, kind, added_at
from user_factors_v1;

create table user_tokens_v1 (
    id text primary key,
    user_id text not null,
    -- As of memberships.
    party text not null,
    customer_id text,
    name text not null,
    -- All that its owner may do, unless there are some.
    functions jsonb,
    made_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    position bigint not null,
    changed_position bigint not null
);

-- The tokens of one user.
create index on user_tokens_v1 (user_id);

create view user_tokens as
select id, user_id, party, customer_id, name, functions, made_at, expires_at, revoked_at, position, changed_position
from user_tokens_v1;
