//! The second wall: views that show a customer's own rows, whatever a query asks for.
//!
//! They lie in a schema of their own and have the names of the readers' views, so that one query serves the provider and a
//! customer. What a customer reads is read in a transaction that has this schema as its search path and a role that may
//! read nothing else. The views compare the owner of a row with settings of the transaction; a setting that is empty shows
//! nothing.

use std::collections::HashMap;

use daybook_core::store::{APPLICATION_ROLE, CUSTOMER_ROLE, Store, StoreError};
use sqlx::{Connection, Executor as _, PgConnection};

use crate::engine::{
    Definition,
    builds::{
        build::{self, Build, Stage},
        target::Target,
    },
    read::viewer::{Condition, Owner, Parent},
    table::Table,
};

/// How PostgreSQL shows the rows of a table to a customer, beside whose they are.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Columns that no customer sees.
    hidden: &'static [&'static str],
    /// The order in which pages of them are read. Where the view does not name it, PostgreSQL sorts all rows of a customer for
    /// a page of them.
    in_order: Option<&'static str>,
    /// Columns of the event at the row's position that are shown with it.
    of_event: &'static [&'static str],
}

impl Shown {
    pub const PLAIN: Self = Self { hidden: &[], in_order: None, of_event: &[] };
    /// As listings go.
    pub const NEWEST_FIRST: Self = Self::PLAIN.in_order("position desc");

    pub const fn in_order(self, order: &'static str) -> Self {
        Self { in_order: Some(order), ..self }
    }

    pub const fn without(self, hidden: &'static [&'static str]) -> Self {
        Self { hidden, ..self }
    }

    pub const fn with_event(self, of_event: &'static [&'static str]) -> Self {
        Self { of_event, ..self }
    }
}

/// Tells a transaction whose rows are meant. It must still have the role and the search path of the application.
pub(in crate::engine) fn settings(customers: &[String]) -> String {
    let customers = literal(&customers.join(","));
    format!(
        "select set_config('daybook.customers', {customers}, true),
             set_config('daybook.accounts', coalesce((
                 select string_agg(id, ',') from accounts where customer_id = any(string_to_array({customers}, ','))
             ), ''), true)"
    )
}

/// Goes behind the wall, until the transaction ends. PostgreSQL does not look through the views and plans as if all that they
/// show were wanted; rows are read by indexes in their order, so that a page takes no more than its rows.
pub(in crate::engine) fn enter() -> String {
    format!(
        "select set_config('search_path', quote_ident(current_schema() || '_own'), true),
             set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true);
         set local role {CUSTOMER_ROLE}"
    )
}

/// Comes back from behind it, for what only the engine reads.
pub(in crate::engine) fn leave() -> String {
    format!("set local role {APPLICATION_ROLE}; set local search_path to default")
}

/// The condition that a row is of the customers that the transaction was told.
pub(in crate::engine) fn condition(owner: &Owner, row: &str, parent: impl Fn(&'static str) -> Parent) -> String {
    let mut told = Told { sql: String::new(), parent };
    owner.write(row, &mut told);
    told.sql
}

/// A condition on the settings of the transaction.
struct Told<P> {
    sql: String,
    parent: P,
}

impl<P: Fn(&'static str) -> Parent> Condition for Told<P> {
    fn sql(&mut self, sql: &str) {
        self.sql += sql;
    }

    fn of_customers(&mut self, column: &str) {
        self.sql += &among(column, "daybook.customers");
    }

    fn of_accounts(&mut self, column: &str) {
        self.sql += &among(column, "daybook.accounts");
    }

    fn parent(&self, table: &'static str) -> Parent {
        (self.parent)(table)
    }
}

/// That the column has one of what a setting lists. As a query of its own, the setting is worked out once and not for each
/// row. No index finds rows by `coalesce`: which one does is left to the conditions of the query, which ask for the same
/// and know what else is asked.
fn among(column: &str, setting: &str) -> String {
    let listed = format!("(select string_to_array(current_setting('{setting}', true), ','))::text[]");
    format!("coalesce({column} = any({listed}), false)")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Lets nobody read or write rows in the temporary tables of the past but those of the customers that the transaction was
/// told: what is not theirs is an error when it is written.
pub(in crate::engine) async fn guard(target: &Target, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let own: String =
        sqlx::query_scalar("select quote_ident(current_schema() || '_own')").fetch_one(&mut *connection).await?;
    let tables = target.definition.tables;
    let is_own = |name: &str| tables.iter().any(|table| table.name() == name);
    let parent = |name: &'static str| match is_own(name) {
        true => Parent::Open(format!("pg_temp.{name}")),
        false => Parent::Walled(format!("{own}.{name}")),
    };
    for table in tables.iter().filter(|table| !table.owner().is_nobody()) {
        let (name, condition) = (table.name(), condition(&table.owner(), table.name(), parent));
        let statement = format!(
            "alter table pg_temp.{name} enable row level security, force row level security;
             create policy own on pg_temp.{name} using ({condition});
             grant select on pg_temp.{name} to {CUSTOMER_ROLE}"
        );
        connection.execute(&*statement).await?;
    }
    Ok(())
}

/// Makes the views that are missing, or are not what this program would make.
pub(in crate::engine) async fn assert(board: &[Definition], store: &Store) -> Result<(), StoreError> {
    let mut connection = store.pool().acquire().await?;
    let lacking = lacking(board, &mut connection).await?;
    drop(connection);
    if lacking.is_empty() {
        return Ok(());
    }
    let mut owner = store.owner_connection().await?;
    let mut transaction = owner.begin().await?;
    // A start fails rather than wait for a dump or serve by views that are not right.
    transaction.execute("set local lock_timeout = '10s'").await?;
    // Other processes start, too.
    transaction
        .execute("select pg_advisory_xact_lock(hashtextextended('daybook walls ' || current_schema(), 0))")
        .await?;
    for wall in self::lacking(board, &mut transaction).await? {
        wall.raise(&mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Lets the views show this build; those of tables that it does not have show nothing any more. Within the transaction in
/// which the build takes over, once it has the readers' views.
pub(in crate::engine) async fn show(
    tables: &[Table],
    build: &Build,
    before: &[String],
    owner: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let made: Vec<String> = build.tables.iter().map(|name| build.table(name)).collect();
    let Some(ground) = Ground::read(&made, owner).await? else { return Ok(()) };
    let of_tables = |name: &String| tables.iter().find(|table| table.name() == name);
    for gone in before.iter().filter(|name| !build.tables.contains(name)) {
        owner.execute(&*format!("drop view if exists {}.{gone} cascade", ground.own)).await?;
    }
    for table in build.tables.iter().filter_map(of_tables) {
        let name = |name: &str| build.tables.iter().any(|one| one == name).then(|| build.table(name));
        if let Some(wall) = ground.wall(table, &build.table(table.name()), name, |name| ground.walls.contains_key(name))
        {
            wall.raise(owner).await?;
        }
    }
    Ok(())
}

/// What there is to make views of.
struct Ground {
    /// The schema of the views.
    own: String,
    /// Of the tables of builds.
    columns: HashMap<String, Vec<String>>,
    /// The views that are there, each with what it was made of.
    walls: HashMap<String, Option<String>>,
}

/// A view as it has to be.
#[derive(Debug)]
struct Wall {
    own: String,
    name: String,
    definition: String,
}

impl Ground {
    /// `None` in a ledger that has no schema for the views yet: an earlier program has migrated it last.
    async fn read(made: &[String], connection: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        let own = "select quote_ident(nspname) from pg_namespace where nspname = current_schema() || '_own'";
        let Some(own) = sqlx::query_scalar::<_, String>(own).fetch_optional(&mut *connection).await? else {
            return Ok(None);
        };
        let columns: Vec<(String, Vec<String>)> = sqlx::query_as(
            "select made, array_agg(attname::text order by attnum)
             from unnest($1::text[]) as made
             join pg_attribute on attrelid = to_regclass(made) and attnum > 0 and not attisdropped
             group by made",
        )
        .bind(made)
        .fetch_all(&mut *connection)
        .await?;
        // One that anybody has made without the barrier is none.
        let walls: Vec<(String, Option<String>)> = sqlx::query_as(
            "select relname::text, obj_description(oid, 'pg_class')
             from pg_class
             where relnamespace = to_regnamespace($1) and relkind = 'v' and reloptions = '{security_barrier=true}'",
        )
        .bind(&own)
        .fetch_all(connection)
        .await?;
        Ok(Some(Self { own, columns: columns.into_iter().collect(), walls: walls.into_iter().collect() }))
    }

    /// The view of a table, unless its rows are nobody's. `beside` tells where the rows of another table of the same build
    /// lie; `is_there` tells of a table of another projection whether there is a view of it.
    fn wall(
        &self,
        table: &Table,
        made: &str,
        beside: impl Fn(&str) -> Option<String>,
        is_there: impl Fn(&str) -> bool,
    ) -> Option<Wall> {
        let (name, owner, Shown { hidden, in_order, of_event }) = (table.name(), table.owner(), table.shown());
        let columns = self.columns.get(made)?;
        if owner.is_nobody() {
            return None;
        }
        let parent = |name: &'static str| match beside(name) {
            Some(made) => Parent::Open(made),
            None if is_there(name) => Parent::Walled(format!("{}.{name}", self.own)),
            None => Parent::Missing,
        };
        // Rows of another version may not say whose they are in the way of this program.
        let is_known = owner.columns().iter().all(|column| columns.iter().any(|one| one == column));
        let condition = if is_known { condition(&owner, name, parent) } else { "false".into() };
        let of_row = columns.iter().filter(|column| !hidden.contains(&column.as_str()));
        let shown: Vec<String> = of_row
            .map(|column| format!("{name}.{column}"))
            .chain(
                of_event
                    .iter()
                    .filter(|column| !columns.iter().any(|one| one == *column))
                    .map(|column| format!("event.{column}")),
            )
            .collect();
        let mut definition = format!("select {} from {made} as {name}", shown.join(", "));
        if !of_event.is_empty() {
            // One after the other: a page needs few of them.
            definition += &format!(
                " cross join lateral (select * from events where events.position = {name}.position offset 0) as event"
            );
        }
        definition += &format!(" where {condition}");
        if let Some(order) = in_order {
            definition += &format!(" order by {name}.{}", order.replace(", ", &format!(", {name}.")));
        }
        Some(self.named(name, definition))
    }

    fn named(&self, name: &str, definition: String) -> Wall {
        Wall { own: self.own.clone(), name: name.into(), definition }
    }
}

/// The views that are not there as they have to be, in the order in which they can be made.
async fn lacking(board: &[Definition], connection: &mut PgConnection) -> Result<Vec<Wall>, sqlx::Error> {
    let names: Vec<&str> = board.iter().map(|definition| definition.name).collect();
    let builds = build::all(&names, &mut *connection).await?;
    // A version that this program does not have has the views that another program made for it.
    let serving: Vec<(&Definition, &Build)> = builds
        .iter()
        .filter(|build| build.stage == Stage::Serving)
        .filter_map(|build| Some((board.iter().find(|definition| build.is(definition))?, build)))
        .collect();
    let tables =
        || serving.iter().flat_map(|(definition, build)| definition.tables.iter().map(move |table| (table, *build)));
    let made: Vec<String> = tables().map(|(table, build)| build.table(table.name())).collect();
    let Some(ground) = Ground::read(&made, connection).await? else { return Ok(Vec::new()) };
    let is_there = |name: &str| {
        ground.walls.contains_key(name)
            || tables().any(|(table, build)| {
                let has_columns = ground.columns.contains_key(&build.table(name));
                table.name() == name && !table.owner().is_nobody() && has_columns
            })
    };
    let mut walls = Vec::new();
    // One that asks the rows of another projection comes after the view of these.
    for alone in [true, false] {
        for (table, build) in tables() {
            let beside = |name: &str| build.tables.iter().any(|one| one == name).then(|| build.table(name));
            if table.owner().parents().into_iter().all(|name| beside(name).is_some()) == alone {
                walls.extend(ground.wall(table, &build.table(table.name()), beside, is_there));
            }
        }
    }
    let walled = |name: &'static str| match is_there(name) {
        true => Parent::Walled(format!("{}.{name}", ground.own)),
        false => Parent::Missing,
    };
    for owner in serving.iter().filter_map(|(definition, _)| definition.events) {
        let columns = "position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at";
        let condition = condition(&owner, "events", walled);
        walls.push(ground.named("events", format!("select {columns} from events where {condition}")));
    }
    let standing = "select name, version, position, stage from projections where stage = 'serving'";
    walls.push(ground.named("projections", standing.into()));
    walls.retain(|wall| ground.walls.get(&wall.name).and_then(Option::as_ref) != Some(&wall.definition));
    Ok(walls)
}

impl Wall {
    /// Makes the view, or lets the one that is there show this. Whoever has the same program knows it by its comment.
    async fn raise(&self, owner: &mut PgConnection) -> Result<(), sqlx::Error> {
        // Without `with` a view that is replaced would lose its barrier.
        let make = format!("create or replace view {self} with (security_barrier) as {}", self.definition);
        let mut attempt = owner.begin().await?;
        match attempt.execute(&*make).await {
            Ok(_) => attempt.commit().await?,
            Err(error) if has_other_columns(&error) => {
                attempt.rollback().await?;
                self.raise_anew(&make, owner).await?;
            }
            Err(error) => return Err(error),
        }
        owner.execute(&*sealed(&self.to_string(), Some(&self.definition))).await?;
        Ok(())
    }

    /// Makes the view in the place of one with other columns, together with those that ask it.
    async fn raise_anew(&self, make: &str, owner: &mut PgConnection) -> Result<(), sqlx::Error> {
        let asking: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "select distinct on (asking.oid) asking.oid::regclass::text, pg_get_viewdef(asking.oid),
                 obj_description(asking.oid, 'pg_class')
             from pg_depend
             join pg_rewrite on pg_rewrite.oid = objid
             join pg_class asking on asking.oid = ev_class
             where classid = 'pg_rewrite'::regclass and refobjid = to_regclass($1) and asking.oid <> refobjid
                 and asking.relnamespace = to_regnamespace($2)",
        )
        .bind(self.to_string())
        .bind(&self.own)
        .fetch_all(&mut *owner)
        .await?;
        for (view, ..) in &asking {
            owner.execute(&*format!("drop view {view}")).await?;
        }
        owner.execute(&*format!("drop view {self}; {make}")).await?;
        for (view, definition, made_of) in &asking {
            owner.execute(&*format!("create view {view} with (security_barrier) as {definition}")).await?;
            owner.execute(&*sealed(view, made_of.as_deref())).await?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.own, self.name)
    }
}

fn sealed(view: &str, made_of: Option<&str>) -> String {
    let comment = made_of.map_or("null".into(), literal);
    format!("comment on view {view} is {comment}; grant select on {view} to {CUSTOMER_ROLE}")
}

/// Whether a view cannot be replaced because a column goes, or has another place or type.
fn has_other_columns(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42P16")
}
