//! Repairing: the rows of a few keys are folded anew from the whole book and put in the place of those that are there.

use std::{collections::BTreeSet, iter, sync::Arc};

use daybook_core::{Position, store::Store};
use serde::Serialize;
use sqlx::{Connection, Executor as _, PgConnection};

use super::{
    Definition,
    build::{self, Build, Stage, Target},
    changes::Changes,
    fold, log,
    memory::{Memory, Portion},
    parking::{Parked, TakingBack},
    proof::{self, UNHURRIED},
    rebuild::RebuildError,
    table::Table,
    watch,
};

/// What a repair has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repaired {
    pub name: &'static str,
    pub keys: BTreeSet<String>,
    /// The checkpoint at which the rows are right again.
    pub position: Position,
    /// Of these keys, in all tables of the projection.
    pub rows: i64,
    /// How many of them were not as they should be.
    pub mended: i64,
}

/// Folds the rows of these keys anew: those whose first key column is one of them, in every table of the projection.
pub async fn repair(store: &Store, definition: &Definition, keys: BTreeSet<String>) -> Result<Repaired, RebuildError> {
    refold(store, definition, keys, None).await
}

/// The same; what `taking_back` names is folded, too, and recorded so in the same transaction.
pub(super) async fn refold(
    store: &Store,
    definition: &Definition,
    keys: BTreeSet<String>,
    taking_back: Option<TakingBack<'_>>,
) -> Result<Repaired, RebuildError> {
    let mut connection = store.connection().await?;
    connection.execute(UNHURRIED).await?;
    let portion = Portion::Only(keys.clone());
    // Most of the book is folded before anybody has to wait.
    let reached = serving_of(definition, &build::all(&[definition.name], &mut connection).await?)?.position;
    let parked = parked_without(definition, taking_back, &mut connection).await?;
    let mut rows =
        proof::in_memory(store, *definition, parked.clone(), reached, portion.clone(), proof::MEMORY).await?;

    let mut transaction = connection.begin().await?;
    let builds = build::lock(definition.name, &mut transaction).await?;
    if let Some(taking_back) = taking_back {
        taking_back.record(&mut transaction).await?;
    }
    if *parked != Parked::read(&[definition.name], &mut *transaction).await? {
        return Err(RebuildError::ParkedMeanwhile(definition.name));
    }
    let serving = serving_of(definition, &builds)?;
    if serving.position < reached {
        return Err(RebuildError::Lost(definition.name));
    }
    follow(store, definition, &parked, (reached, serving.position), &portion, &mut rows, &mut transaction).await?;
    let rows: Vec<(Table, String)> =
        iter::from_fn(|| definition.tables.iter().copied().find_map(|table| Some((table, table.hand_out(&mut rows)?))))
            .collect();
    let mut repaired =
        Repaired { name: definition.name, keys: keys.clone(), position: serving.position, rows: 0, mended: 0 };
    (repaired.rows, repaired.mended) = replace(definition, serving, &keys, &rows, &mut transaction).await?;
    // The build that is kept for a roll-back goes in lock-step with it, and is mended as well.
    let in_step = |build: &&Build| {
        build.stage == Stage::Kept && (build.version, build.position) == (serving.version, serving.position)
    };
    if let Some(kept) = builds.iter().find(in_step) {
        replace(definition, kept, &keys, &rows, &mut transaction).await?;
    }
    watch::forget(definition, &keys, &mut transaction).await?;
    transaction.commit().await?;
    Ok(repaired)
}

/// The build that serves, if it is of this version: only that fold can mend its rows.
fn serving_of<'a>(definition: &Definition, builds: &'a [Build]) -> Result<&'a Build, RebuildError> {
    let name = definition.name;
    let serving = builds.iter().find(|build| build.stage == Stage::Serving);
    let serving = serving.ok_or(RebuildError::Nothing { name, stage: "serving" })?;
    if serving.version == definition.version {
        Ok(serving)
    } else {
        Err(RebuildError::OtherVersion { name, serving: serving.version, program: definition.version })
    }
}

async fn parked_without(
    definition: &Definition,
    taking_back: Option<TakingBack<'_>>,
    connection: &mut PgConnection,
) -> Result<Arc<Parked>, sqlx::Error> {
    // What would be parked if it were recorded already; nothing of this stays.
    let mut transaction = connection.begin().await?;
    if let Some(taking_back) = taking_back {
        taking_back.record(&mut transaction).await?;
    }
    let parked = Parked::read(&[definition.name], &mut *transaction).await?;
    transaction.rollback().await?;
    Ok(Arc::new(parked))
}

/// Folds what has come since.
async fn follow(
    store: &Store,
    definition: &Definition,
    parked: &Parked,
    (after, to): (Position, Position),
    portion: &Portion,
    rows: &mut Memory,
    connection: &mut PgConnection,
) -> Result<(), RebuildError> {
    let events = log::read_followed(connection, definition.follows, after, to).await?;
    let entries: Vec<log::Entry> = events.into_iter().map(|raw| log::Entry::of(raw, store.upcasters())).collect();
    let mut changes: Changes = fold::changes(definition, parked, &entries)?;
    rows.keep(definition, &mut changes, portion)?;
    Ok(())
}

/// Puts the rows in the place of those that a build has; tells how many there are, and how many were not so.
async fn replace(
    definition: &Definition,
    build: &Build,
    keys: &BTreeSet<String>,
    rows: &[(Table, String)],
    connection: &mut PgConnection,
) -> Result<(i64, i64), sqlx::Error> {
    let target = Target { definition: *definition, build: build.build };
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (mut number, mut mended) = (0, 0);
    for table in definition.tables {
        let (made, first, key) = (target.table(table), table.key()[0], table.key().join(", "));
        let aside = format!("{}_repaired", table.name());
        connection.execute(&*format!("create temporary table {aside} (like {made}) on commit drop")).await?;
        for (_, rows) in rows.iter().filter(|(of, _)| of.name() == table.name()) {
            let statement =
                format!("insert into {aside} select t.* from json_populate_recordset(null::{made}, $1::json) t");
            sqlx::query(&statement).bind(rows).execute(&mut *connection).await?;
        }
        let (rows, differing): (i64, i64) = sqlx::query_as(&format!(
            "select (select count(*) from {aside}), count(*)
             from (select * from {made} where {first}::text = any($1)) s full join {aside} e using ({key})
             where row(s.*) is distinct from row(e.*)"
        ))
        .bind(&keys)
        .fetch_one(&mut *connection)
        .await?;
        if differing > 0 {
            let statement = format!("delete from {made} where {first}::text = any($1)");
            sqlx::query(&statement).bind(&keys).execute(&mut *connection).await?;
            connection.execute(&*format!("insert into {made} select * from {aside}")).await?;
        }
        connection.execute(&*format!("drop table {aside}")).await?;
        number += rows;
        mended += differing;
    }
    Ok((number, mended))
}
