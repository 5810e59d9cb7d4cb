//! The tables of a build: made like those of the migrations, indexed once they are filled, shown to readers by the
//! views, and taken away.

use daybook_core::{
    chain,
    store::{APPLICATION_ROLE, Store, StoreError},
};
use sqlx::{Connection, Executor as _, PgConnection};

use crate::engine::{
    Definition,
    builds::{
        build::{self, Build, Stage},
        target::Target,
    },
    table::Table,
};

/// Makes the tables of a build, without keys and indexes: rows come faster into a table that has none.
pub(in crate::engine) async fn create(target: &Target, owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    for table in target.definition.tables {
        let (shape, made) = (target.definition.shape(table), target.table(table));
        // `like` copies everything but these.
        let parameters: Option<String> = sqlx::query_scalar(
            "select 'with (' || array_to_string(reloptions, ', ') || ')' from pg_class where oid = $1::regclass",
        )
        .bind(&shape)
        .fetch_one(&mut *owner)
        .await?;
        let statement = format!(
            "create table {made} (like {shape} including all excluding indexes) {};
             grant select, insert, update, delete, truncate on {made} to {APPLICATION_ROLE}",
            parameters.unwrap_or_default(),
        );
        owner.execute(&*statement).await?;
    }
    Ok(())
}

/// Whether a table has its key already.
pub(in crate::engine) async fn has_key(
    table: &Table,
    target: &Target,
    connection: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from pg_index where indrelid = $1::regclass and indisprimary)")
        .bind(target.table(table))
        .fetch_one(connection)
        .await
}

/// Makes the key of a table, unless it is there. The table can be read until the index becomes the key.
pub(in crate::engine) async fn make_key(
    table: &Table,
    target: &Target,
    owner: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let (made, columns) = (target.table(table), table.key().join(", "));
    let mut transaction = owner.begin().await?;
    // Somebody who was killed while he made it may still be at it, as far as the server knows.
    transaction.execute(&*format!("lock table {made} in share row exclusive mode")).await?;
    if !has_key(table, target, &mut transaction).await? {
        let statement = format!(
            "create unique index {made}_pkey on {made} ({columns});
             alter table {made} add primary key using index {made}_pkey"
        );
        transaction.execute(&*statement).await?;
    }
    transaction.commit().await
}

/// Makes the keys that builds in use lack. A program of before this one may have gone on with a build that had none yet: it
/// takes for granted that the tables of a build have keys.
pub(in crate::engine) async fn mend_keys(board: &[Definition], store: &Store) -> Result<(), StoreError> {
    let names: Vec<&str> = board.iter().map(|definition| definition.name).collect();
    let in_use = build::all(&names, store.pool()).await?.into_iter().filter(|build| build.stage != Stage::Building);
    let targets = in_use.filter_map(|build| {
        let of_version = |definition: &&Definition| build.is(definition);
        Some(Target { definition: *board.iter().find(of_version)?, build: build.build })
    });
    let tables: Vec<(Target, &Table)> =
        targets.flat_map(|target| target.definition.tables.iter().map(move |table| (target, table))).collect();
    let made: Vec<String> = tables.iter().map(|(target, table)| target.table(table)).collect();
    let keyless: Vec<String> = sqlx::query_scalar(
        "select made from unnest($1::text[]) made
         where not exists (select from pg_index where indrelid = to_regclass(made) and indisprimary)",
    )
    .bind(&made)
    .fetch_all(store.pool())
    .await?;
    for (target, table) in tables.iter().filter(|(target, table)| keyless.contains(&target.table(table))) {
        let made = target.table(table);
        let mut owner = store.owner_connection().await?;
        // Nobody's start waits for a dump.
        owner.execute("set lock_timeout = '10s'").await?;
        match make_key(table, target, &mut owner).await {
            Ok(()) => tracing::warn!(table = made, "the table of a projection had no key, and has one now"),
            Err(error) => {
                let error = chain(&error);
                tracing::error!(
                    table = made,
                    error,
                    "the table of a projection has no key, and could not be given one: rebuild the projection"
                );
            }
        }
    }
    Ok(())
}

/// Takes all rows of a build away.
pub(in crate::engine) async fn empty(target: &Target, owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    for table in target.definition.tables {
        owner.execute(&*format!("truncate {}", target.table(table))).await?;
    }
    Ok(())
}

/// Makes the indexes that the tables of the migrations have and these do not have yet.
pub(in crate::engine) async fn index(target: &Target, owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    for table in target.definition.tables {
        let (shape, made) = (target.definition.shape(table), target.table(table));
        let missing: Vec<(bool, String)> = sqlx::query_as(
            "with definitions as (
                 select indrelid, indisunique, substring(pg_get_indexdef(indexrelid) from ' (USING .*)$') as definition
                 from pg_index
                 where indrelid in ($1::regclass, $2::regclass) and not indisprimary
             )
             select indisunique, definition from definitions d
             where indrelid = $1::regclass
                 and not exists (
                     select from definitions m where m.indrelid = $2::regclass and m.definition = d.definition
                 )",
        )
        .bind(&shape)
        .bind(&made)
        .fetch_all(&mut *owner)
        .await?;
        for (unique, definition) in missing {
            let unique = if unique { "unique " } else { "" };
            owner.execute(&*format!("create {unique}index on {made} {definition}")).await?;
        }
        owner.execute(&*format!("analyze {made}")).await?;
    }
    Ok(())
}

/// Lets the readers' views show this build, instead of one with these tables. A view stays the same one, with all that
/// others made of it, as long as no column goes or changes its place or type; otherwise it is made anew, with its grants.
pub(in crate::engine) async fn show(
    build: &Build,
    before: &[String],
    owner: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    for gone in before.iter().filter(|view| !build.tables.contains(view)) {
        owner.execute(&*format!("drop view if exists {gone}")).await?;
    }
    for view in &build.tables {
        let made = build.table(view);
        let create = format!("create or replace view {view} as select * from {made}");
        let (stays, grants): (bool, String) = sqlx::query_as(
            "select
                 to_regclass($1) is not null and not exists (
                     select from pg_attribute shown
                     where shown.attrelid = to_regclass($1) and not exists (
                         select from pg_attribute made
                         where made.attrelid = $2::regclass
                             and row(made.attnum, made.attname, made.atttypid, made.atttypmod, made.attcollation)
                                 = row(shown.attnum, shown.attname, shown.atttypid, shown.atttypmod, shown.attcollation)
                     )
                 ),
                 coalesce((
                     select string_agg(
                         format(
                             'grant %s on %s to %s;', privilege_type, $1,
                             case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end
                         ),
                         ' '
                     )
                     from pg_class, aclexplode(relacl)
                     where oid = to_regclass($1) and grantee <> relowner
                 ), '')",
        )
        .bind(view)
        .bind(&made)
        .fetch_one(&mut *owner)
        .await?;
        let statement = if stays {
            create
        } else {
            format!("drop view if exists {view}; {create}; grant select on {view} to {APPLICATION_ROLE}; {grants}")
        };
        owner.execute(&*statement).await?;
    }
    Ok(())
}

/// Takes the tables of a build away. Those that the migrations made stay, empty: they are what others are made like.
pub(in crate::engine) async fn remove(build: &Build, owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    for name in &build.tables {
        let made = build.table(name);
        let statement =
            if made == build.shape(name) { format!("truncate {made}") } else { format!("drop table if exists {made}") };
        owner.execute(&*statement).await?;
    }
    Ok(())
}
