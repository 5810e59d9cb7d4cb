//! Who may do what. Roles belong to the whole cluster and a dump does not carry them, so that code asserts them at
//! every migration rather than a migration once.

use daybook_cluster::APPLICATION_ROLE;
use sqlx::{Connection, Executor, PgConnection};

use super::StoreError;

/// What customers read is read as this role. It may read the views of their own rows, and nothing else.
pub const CUSTOMER_ROLE: &str = "daybook_customer";

/// Lets the owner take the role on. A superuser may do so anyway.
const JOIN: &str = "
do $$
begin
    if not pg_has_role(current_user, 'daybook_app', 'member') then
        execute format('grant daybook_app to %I', current_user);
    end if;
exception
    when unique_violation then null;
end
$$";

/// Lets the application take the role of customers on, for a transaction at a time.
const JOIN_CUSTOMERS: &str = "
do $$
begin
    if not pg_has_role('daybook_app', 'daybook_customer', 'member') then
        grant daybook_customer to daybook_app;
    end if;
exception
    when unique_violation then null;
end
$$";

/// Every table of the ledger is on this page; one that is not named is a read model, which a projector fills.
const GRANT: &str = "
do $$
declare
    relation record;
    privileges text;
begin
    perform pg_advisory_xact_lock(hashtextextended('daybook grants ' || current_schema(), 0));
    execute format('grant usage on schema %I to daybook_app', current_schema());
    -- Rows of the past lie in temporary tables. Everybody may make them, unless somebody has taken that away.
    if not has_database_privilege('daybook_app', current_database(), 'temporary') then
        execute format('grant temporary on database %I to daybook_app', current_database());
    end if;
    for relation in
        select c.oid::regclass as name, c.relname, c.relkind, c.relispartition
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = current_schema() and c.relkind in ('r', 'p', 'v', 'm')
            and pg_get_userbyid(c.relowner) = current_user
    loop
        privileges := case
            -- A part of a table is reached through the whole.
            when relation.relispartition then null
            when relation.relname in ('events', 'idempotency', 'log_checkpoints', 'upgrades', 'master_key', 'access_log')
                then 'select, insert'
            -- An erasure will destroy the key and say when; until there is one, no key ever changes.
            when relation.relname = 'person_keys' then 'select, insert (id, person, wrapped, master_key)'
            -- Updating the one column that says nothing is what locking the head takes.
            when relation.relname = 'book_head' then 'select, update (singleton)'
            when relation.relname = '_sqlx_migrations' or relation.relkind in ('v', 'm') then 'select'
            when relation.relname = 'transparency_log' then 'select, update (origin, vkey, size)'
            when relation.relname = 'log_tiles' then 'select, insert, update (hashes)'
            when relation.relname = 'aggregate_snapshots' then 'select, insert, update, delete'
            when relation.relname = 'password_secrets' then 'select, insert, update (hash), delete'
            when relation.relname = 'factor_secrets' then 'select, insert, update (key_id, sealed, last_step), delete'
            when relation.relname = 'recovery_codes' then 'select, insert, update (used_at), delete'
            when relation.relname = 'token_secrets' then 'select, insert, update (last_used_at, last_used_from), delete'
            when relation.relname = 'sessions' then 'select, insert, update (secret_hash, membership, level, seen_at,
                stepped_up_until, address, agent, ended_at, ended_by), delete'
            when relation.relname = 'one_time_links'
                then 'select, insert, update (hash, about, made_at, expires_at, used_at), delete'
            when relation.relname in ('cut_offs', 'sign_ups') then 'select, insert, delete'
            when relation.relname = 'operations' then 'select, insert, update, delete'
            when relation.relname in ('sign_in_failures', 'sign_in_origins', 'sign_in_refusals', 'sign_up_counts')
                then 'select, insert, update, delete'
            else 'select, insert, update, delete, truncate'
        end;
        execute format('revoke all on %s from daybook_app', relation.name);
        if privileges is not null then
            execute format('grant %s on %s to daybook_app', privileges, relation.name);
        end if;
    end loop;
    if exists (
        select from pg_proc
        where oid = 'access_log_month(timestamptz)'::regprocedure and pg_get_userbyid(proowner) = current_user
    ) then
        grant execute on function access_log_month(timestamptz) to daybook_app;
    end if;
end
$$";

/// The role of customers reads the views of a schema of their own. Whatever else somebody has given it is taken away.
const GRANT_CUSTOMERS: &str = "
do $$
declare
    own text := current_schema() || '_own';
    relation record;
begin
    perform pg_advisory_xact_lock(hashtextextended('daybook grants ' || current_schema(), 0));
    if to_regnamespace(quote_ident(own)) is null then
        execute format('create schema %I', own);
    end if;
    if exists (
        select from pg_namespace, aclexplode(nspacl)
        where nspname = current_schema() and grantee = 'daybook_customer'::regrole
    ) then
        execute format('revoke all on schema %I from daybook_customer', current_schema());
    end if;
    execute format('grant usage on schema %I to daybook_customer', own);
    for relation in
        select c.oid::regclass as name, n.nspname = own and c.relkind = 'v' as is_own
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in (current_schema(), own) and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
            and pg_get_userbyid(c.relowner) = current_user
            and (
                n.nspname = own
                or exists (select from aclexplode(c.relacl) where grantee = 'daybook_customer'::regrole)
                or exists (
                    select from pg_attribute a, aclexplode(a.attacl)
                    where a.attrelid = c.oid and grantee = 'daybook_customer'::regrole
                )
            )
    loop
        execute format('revoke all on %s from daybook_customer', relation.name);
        if relation.is_own then
            execute format('grant select on %s to daybook_customer', relation.name);
        end if;
    end loop;
    if exists (
        select from pg_proc
        where oid = 'access_log_month(timestamptz)'::regprocedure and pg_get_userbyid(proowner) = current_user
    ) then
        grant execute on function access_log_month(timestamptz) to daybook_app;
    end if;
end
$$";

pub(super) async fn assert(owner: &mut PgConnection) -> Result<(), StoreError> {
    owner.execute(&*creating(APPLICATION_ROLE)).await?;
    owner.execute(JOIN).await?;
    // One transaction: whoever reads meanwhile never meets a table without its grants.
    let mut transaction = owner.begin().await?;
    transaction.execute(GRANT).await?;
    transaction.commit().await?;
    if let Err(error) = assert_customers(owner).await {
        return Err(lacking_rights(error, owner).await);
    }
    Ok(())
}

async fn assert_customers(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    owner.execute(&*creating(CUSTOMER_ROLE)).await?;
    owner.execute(JOIN_CUSTOMERS).await?;
    let mut transaction = owner.begin().await?;
    transaction.execute(GRANT_CUSTOMERS).await?;
    transaction.commit().await
}

/// Creates the role where it is missing. Another database of the cluster may be doing so at the same moment.
fn creating(role: &str) -> String {
    format!(
        "do $$
         begin
             if not exists (select from pg_roles where rolname = '{role}') then
                 create role {role} nologin;
             end if;
         exception
             when duplicate_object or unique_violation then null;
         end
         $$"
    )
}

/// On a PostgreSQL of the user's own, the owner of the tables need not be one who makes roles and schemas.
async fn lacking_rights(error: sqlx::Error, owner: &mut PgConnection) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code());
    if code.is_none_or(|code| code != "42501") {
        return error.into();
    }
    match sqlx::query_scalar("select current_schema() || '_own'").fetch_one(owner).await {
        Ok(schema) => StoreError::Rights { schema, source: error },
        Err(error) => error.into(),
    }
}
