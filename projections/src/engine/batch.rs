//! A batch: the events after a position, folded by one projection, its rows written within the caller's transaction.

use sqlx::PgConnection;

use super::{
    Definition,
    changes::{Changes, FoldError},
    log::Entry,
    table::WriteError,
};

/// Folds the events and writes the rows of one projection. `suffix` names tables that are still being built.
pub(super) async fn apply(
    definition: &Definition,
    suffix: &str,
    events: &[Entry],
    connection: &mut PgConnection,
) -> Result<(), WriteError> {
    let mut changes = Changes::default();
    for entry in events.iter().filter(|entry| definition.follows.includes(&entry.aggregate_type)) {
        fold(definition, entry, &mut changes).map_err(|error| WriteError::Fold { position: entry.position, error })?;
    }
    for table in definition.tables {
        table.write(&definition.target(table, suffix), &mut changes, connection).await?;
    }
    Ok(())
}

fn fold(definition: &Definition, entry: &Entry, changes: &mut Changes) -> Result<(), FoldError> {
    let event = entry.event.as_ref().map_err(FoldError::clone)?;
    changes.begin(entry.position);
    (definition.fold)(event, changes)
}
