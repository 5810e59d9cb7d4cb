-- What signing in knows in secret: hashes, sealed keys, sessions, links, and how often somebody was refused. None of it is
-- an event. An event of the user names the row of a password, a factor, a set of recovery codes or a token; a row that none
-- names is worth nothing, and goes after an hour.

create table password_secrets (
    id text primary key,
    user_id text not null,
    -- argon2id with its parameters and its salt, as a PHC string.
    hash text not null,
    made_at timestamptz not null
);

create table factor_secrets (
    id text primary key,
    user_id text not null,
    -- Others, such as passkeys, come with a migration of their own.
    kind text not null check (kind in ('totp')),
    -- Which of the keys in the files sealed it.
    key_id text,
    sealed bytea,
    -- The step of the last code that was accepted, so that each works once.
    last_step bigint,
    made_at timestamptz not null,
    constraint totp_is_sealed check (kind <> 'totp' or (key_id is not null and sealed is not null))
);

create table recovery_codes (
    set_id text not null,
    -- SHA-256 over the set and the code.
    hash bytea not null,
    user_id text not null,
    made_at timestamptz not null,
    used_at timestamptz,
    primary key (set_id, hash)
);

create table token_secrets (
    id text primary key,
    user_id text not null,
    -- SHA-256 of the token, by which it is found.
    hash bytea not null unique,
    made_at timestamptz not null,
    last_used_at timestamptz,
    last_used_from text
);

-- The tokens of one user, with their last use.
create index token_secrets_of_user on token_secrets (user_id);

create table sessions (
    -- Names the session to its user; the secret is in the cookie, and here is only its SHA-256.
    id text primary key,
    secret_hash bytea not null unique,
    user_id text not null,
    -- What the session acts as, of the user's memberships.
    membership text,
    level text not null check (level in ('password', 'second_factor')),
    began_at timestamptz not null,
    seen_at timestamptz not null,
    stepped_up_until timestamptz,
    address text not null,
    agent text,
    ended_at timestamptz,
    ended_by text,
    constraint an_end_has_its_reason check ((ended_at is null) = (ended_by is null))
);

-- Where a user is signed in.
create index sessions_of_user on sessions (user_id) where ended_at is null;

-- One link per user and purpose: a new one takes the place of the older.
create table one_time_links (
    user_id text not null,
    purpose text not null,
    -- SHA-256 of what the link carries.
    hash bytea not null unique,
    -- What is confirmed by it, such as an address.
    about text,
    made_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    primary key (user_id, purpose)
);

create table sign_in_failures (
    -- Whom it holds up: SHA-256 over the account, the network, or the account together with where it is known.
    subject bytea primary key,
    failures integer not null,
    -- So many failures cost nothing.
    free integer not null,
    failed_at timestamptz not null,
    held_until timestamptz not null
);

-- Where somebody signed in before, and is not held up by what others fail at.
create table sign_in_origins (
    account bytea not null,
    network text not null,
    signed_in_at timestamptz not null,
    primary key (account, network)
);

create table sign_in_refusals (
    minute timestamptz not null,
    network text not null,
    refused bigint not null,
    primary key (minute, network)
);

-- Who signed in, and who looked at what. A line is written once; months go as a whole.
create table access_log (
    at timestamptz not null,
    id uuid not null,
    user_id text,
    -- In whose area it happened: that customer may read the line.
    customer_id text,
    kind text not null,
    address text,
    agent text,
    -- The session or the token, by its public name.
    credential text,
    -- The template of the route, and the entity.
    what text,
    entity text,
    reason text,
    primary key (at, id),
    constraint a_line_is_short check (
        octet_length(concat(user_id, customer_id, kind, address, agent, credential, what, entity, reason)) <= 8192
    )
) partition by range (at);

create index access_log_of_user on access_log (user_id, at desc, id desc) where user_id is not null;
create index access_log_of_customer on access_log (customer_id, at desc, id desc) where customer_id is not null;

create function refuse_access_log_change() returns trigger language plpgsql as $$
begin
    raise exception 'the access log is never altered: % of % is refused', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation';
end
$$;

-- Each month gets the trigger for rows from here.
create trigger refuse_change before update or delete on access_log
for each row execute function refuse_access_log_change();
create trigger refuse_truncate before truncate on access_log
for each statement execute function refuse_access_log_change();

-- Makes the part of the log that holds the month of this moment, in UTC. The application, which makes no tables, asks for it
-- at the first line of a month.
create function access_log_month(moment timestamptz) returns void language plpgsql security definer as $$
declare
    month timestamp := date_trunc('month', moment at time zone 'UTC');
    part text := 'access_log_' || to_char(month, 'YYYY_MM');
begin
    -- Parts are sorted by name, and nobody is to make them without end.
    if month not between '2000-01-01' and '2199-12-01' then
        raise exception 'no part of the access log is made for %', month using errcode = 'datetime_field_overflow';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('daybook access log ' || current_schema(), 0));
    if to_regclass(part) is not null then
        return;
    end if;
    -- Attached, since a part that is created as one locks everybody out of the whole log.
    execute format('create table %I (like access_log including all)', part);
    execute format(
        'create trigger refuse_truncate before truncate on %I for each statement execute function refuse_access_log_change()',
        part
    );
    execute format(
        'alter table access_log attach partition %I for values from (%L) to (%L)',
        part, month at time zone 'UTC', (month + interval '1 month') at time zone 'UTC'
    );
end
$$;

-- Removes the months that ended by this moment, and names them. Only the owner of the tables can.
create function access_log_forget(moment timestamptz) returns setof text language plpgsql as $$
declare
    part text;
begin
    for part in
        select relname::text collate "C" from pg_inherits join pg_class on oid = inhrelid
        where inhparent = 'access_log'::regclass
            and relname::text collate "C" < 'access_log_' || to_char(moment at time zone 'UTC', 'YYYY_MM')
        order by 1
    loop
        execute format('drop table %I', part);
        return next part;
    end loop;
end
$$;

-- A temporary table hides no table from them: see 0021.
do $$
declare
    name text;
begin
    foreach name in array array['access_log_month', 'access_log_forget'] loop
        execute format(
            'alter function %I(timestamptz) set search_path = %s, pg_temp', name, current_setting('search_path')
        );
    end loop;
end
$$;
revoke all on function access_log_month(timestamptz), access_log_forget(timestamptz) from public;
