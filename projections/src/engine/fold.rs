//! Folding: from entries of the book to changes of rows, and a batch of them into the tables of one build.

use sqlx::PgConnection;

use super::{
    Definition,
    build::Target,
    cache::Cache,
    changes::{Changes, FoldError},
    log::Entry,
    parking::Parked,
    staged::{Staged, Way},
    table::WriteError,
};

/// The changes that the entries ask for. Those that the projection does not follow, and those that are set aside,
/// change nothing.
pub(super) fn changes<'a>(
    definition: &Definition,
    parked: &Parked,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<Changes, WriteError> {
    let mut changes = Changes::default();
    for entry in entries {
        if definition.follows.includes(&entry.aggregate_type) && !parked.sets_aside(definition.name, entry) {
            of_one(definition, entry, &mut changes)
                .map_err(|error| WriteError::Fold { position: entry.position, error })?;
        }
    }
    Ok(changes)
}

/// Folds the entries, and stages what they change of a build.
pub(super) async fn stage(
    target: &Target,
    parked: &Parked,
    entries: &[Entry],
    cache: &mut Cache,
    staged: &mut Staged,
    connection: &mut PgConnection,
) -> Result<(), WriteError> {
    let mut changes = changes(&target.definition, parked, entries)?;
    for table in target.definition.tables {
        table.stage(&target.table(table), &mut changes, cache, staged, connection).await?;
    }
    Ok(())
}

/// Folds the entries and writes the rows, within the caller's transaction.
pub(super) async fn apply(
    target: &Target,
    parked: &Parked,
    entries: &[Entry],
    connection: &mut PgConnection,
) -> Result<(), WriteError> {
    let (mut cache, mut staged) = (Cache::load(target, connection).await?, Staged::new(Way::Transaction));
    stage(target, parked, entries, &mut cache, &mut staged, connection).await?;
    Ok(staged.write(connection).await?)
}

fn of_one(definition: &Definition, entry: &Entry, changes: &mut Changes) -> Result<(), FoldError> {
    let event = entry.event.as_ref().map_err(FoldError::clone)?;
    changes.begin(entry.position);
    (definition.fold)(event, changes)
}
