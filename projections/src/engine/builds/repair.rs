//! Repairing: the rows of a few keys are folded anew from the whole book and put in the place of those that are there.

use std::{collections::BTreeSet, iter};

use daybook_core::{Position, store::Store};
use serde::Serialize;
use sqlx::{Connection, Executor as _, PgConnection};

use crate::engine::{
    Definition,
    builds::{
        build::{self, Build, Stage},
        target::Target,
    },
    check::{afresh, watch},
    error::RebuildError,
    follow::{fold::Folding, lease, parking::TakingBack},
    memory::{Memory, Portion},
    session::UNHURRIED,
    table::Table,
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

/// So often the fold follows what has come meanwhile, before it asks everybody to wait for the rest.
const ROUNDS: u32 = 3;

/// Folds the rows of these keys anew: those whose first key column is one of them, in every table of the projection.
pub async fn repair(store: &Store, definition: &Definition, keys: BTreeSet<String>) -> Result<Repaired, RebuildError> {
    refold(store, definition, keys, None).await
}

/// The same; what `taking_back` names is folded, too, and recorded so in the same transaction.
pub(in crate::engine) async fn refold(
    store: &Store,
    definition: &Definition,
    mut keys: BTreeSet<String>,
    taking_back: Option<TakingBack<'_>>,
) -> Result<Repaired, RebuildError> {
    let mut connection = store.connection().await?;
    connection.execute(UNHURRIED).await?;
    let mut portion = Portion::Only(keys.clone());
    let folding = folding_without(definition, taking_back, &mut connection).await?;
    // Nearly all of the book is folded before anybody has to wait.
    let (mut rows, mut reached) = (Memory::default(), 0);
    for _ in 0..ROUNDS {
        let position = serving_of(definition, &build::all(&[definition.name], &mut connection).await?)?.position;
        if position <= reached {
            break;
        }
        let span = (reached, position);
        afresh::follow(store, &folding, span, &portion, &mut rows).await?;
        reached = position;
    }

    let mut transaction = connection.begin().await?;
    let builds = build::lock(definition.name, &mut transaction).await?;
    let serving = serving_of(definition, &builds)?;
    let position = serving.position;
    if let Some(taking_back) = taking_back {
        // The stream may have grown since its keys were looked for, by events that were set aside as well.
        let concerned = taking_back.concerned(store, definition, position, &mut transaction).await?;
        let grown: BTreeSet<String> = concerned.difference(&keys).cloned().collect();
        if !grown.is_empty() {
            keys.extend(grown);
            portion = Portion::Only(keys.clone());
            (rows, reached) = (Memory::default(), 0);
        }
        taking_back.record(&mut transaction).await?;
    }
    if folding.is_outdated(&mut *transaction).await? {
        return Err(RebuildError::ParkedMeanwhile(definition.name));
    }
    if position < reached {
        return Err(RebuildError::Lost(definition.name));
    }
    afresh::follow(store, &folding, (reached, position), &portion, &mut rows).await?;
    let rows = handed_out(definition, rows);
    let mut repaired = Repaired { name: definition.name, keys: keys.clone(), position, rows: 0, mended: 0 };
    (repaired.rows, repaired.mended) = replace(definition, serving, &keys, &rows, &mut transaction).await?;
    match builds.iter().find(|build| build.stage == Stage::Kept) {
        // The build that is kept for a roll-back is mended as well, as far as it has come.
        Some(kept) if kept.version == definition.version => {
            let rows = if kept.position == position {
                rows
            } else {
                let rows = afresh::in_memory(store, &folding, kept.position, portion).await?;
                handed_out(definition, rows)
            };
            replace(definition, kept, &keys, &rows, &mut transaction).await?;
        }
        Some(_) if taking_back.is_some() => {
            let why = "events were taken back in that this version had set aside";
            build::disqualify(definition.name, why, &mut transaction).await?;
        }
        Some(_) | None => {}
    }
    lease::suspend(definition.name, &mut transaction).await?;
    transaction.commit().await?;
    Ok(repaired)
}

fn handed_out(definition: &Definition, mut rows: Memory) -> Vec<(Table, String)> {
    iter::from_fn(|| definition.tables.iter().copied().find_map(|table| Some((table, table.hand_out(&mut rows)?))))
        .collect()
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

/// The projection, with what would be set aside if the taking back were recorded already.
async fn folding_without(
    definition: &Definition,
    taking_back: Option<TakingBack<'_>>,
    connection: &mut PgConnection,
) -> Result<Folding, sqlx::Error> {
    // Nothing of this stays.
    let mut transaction = connection.begin().await?;
    if let Some(taking_back) = taking_back {
        taking_back.record(&mut transaction).await?;
    }
    let folding = Folding::read(definition, &mut *transaction).await?;
    transaction.rollback().await?;
    Ok(folding)
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
    let (mut number, mut mended) = (0, 0);
    for table in definition.tables {
        let keys: Vec<&str> = keys.iter().map(String::as_str).filter(|key| table.can_have(key)).collect();
        let (made, first, key) = (target.table(table), table.key()[0], table.key().join(", "));
        let aside = format!("{}_repaired", table.name());
        connection.execute(&*format!("create temporary table {aside} (like {made}) on commit drop")).await?;
        for (_, rows) in rows.iter().filter(|(of, _)| of.name() == table.name()) {
            let statement =
                format!("insert into {aside} select t.* from json_populate_recordset(null::{made}, $1::json) t");
            sqlx::query(&statement).bind(rows).execute(&mut *connection).await?;
        }
        let of_keys = Table::among(&made, first);
        let (rows, differing): (i64, i64) = sqlx::query_as(&format!(
            "select (select count(*) from {aside}), count(*)
             from (select * from {made} where {of_keys}) s full join {aside} e using ({key})
             where row(s.*) is distinct from row(e.*)"
        ))
        .bind(&keys)
        .fetch_one(&mut *connection)
        .await?;
        if differing > 0 {
            let statement = format!("delete from {made} where {of_keys}");
            sqlx::query(&statement).bind(&keys).execute(&mut *connection).await?;
            connection.execute(&*format!("insert into {made} select * from {aside}")).await?;
        }
        connection.execute(&*format!("drop table {aside}")).await?;
        number += rows;
        mended += differing;
    }
    watch::forget(&target, keys, connection).await?;
    Ok((number, mended))
}
