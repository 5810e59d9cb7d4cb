//! Folding: from entries of the book to changes of rows, and a batch of them into the tables of one build.

use std::sync::Arc;

use sqlx::{PgConnection, PgExecutor};

use crate::engine::{
    Definition,
    builds::target::Target,
    changes::{Changes, FoldError},
    follow::{cache::Cache, log::Entry, parking::Parked},
    table::WriteError,
    write::staged::{Staged, Way},
};

/// A projection, and what is set aside for it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Folding {
    pub definition: Definition,
    parked: Arc<Parked>,
}

impl Folding {
    pub fn new(definition: Definition, parked: Arc<Parked>) -> Self {
        Self { definition, parked }
    }

    /// With what is set aside now.
    pub async fn read(definition: &Definition, executor: impl PgExecutor<'_>) -> Result<Self, sqlx::Error> {
        let parked = Parked::read(&[definition.name], executor).await?;
        Ok(Self::new(*definition, Arc::new(parked)))
    }

    /// Whether other events are set aside by now.
    pub async fn is_outdated(&self, executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
        Ok(*self.parked != Parked::read(&[self.definition.name], executor).await?)
    }

    /// The changes that the entries ask for. Those that the projection does not follow, and those that are set aside,
    /// change nothing.
    pub fn changes<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<Changes, WriteError> {
        let mut changes = Changes::default();
        for entry in entries {
            if self.definition.follows.includes(&entry.aggregate_type)
                && !self.parked.sets_aside(self.definition.name, entry)
            {
                self.fold(entry, &mut changes).map_err(|error| WriteError::Fold { position: entry.position, error })?;
            }
        }
        Ok(changes)
    }

    fn fold(&self, entry: &Entry, changes: &mut Changes) -> Result<(), FoldError> {
        let event = entry.event.as_ref().map_err(FoldError::clone)?;
        changes.begin(entry.position);
        (self.definition.fold)(event, changes)
    }

    /// Folds the entries, and stages what they change of a build.
    pub async fn stage(
        &self,
        target: &Target,
        entries: &[Entry],
        cache: &mut Cache,
        staged: &mut Staged,
        connection: &mut PgConnection,
    ) -> Result<(), WriteError> {
        stage(target, &mut [self.changes(entries)?], cache, staged, connection).await
    }

    /// Folds the entries and writes the rows, within the caller's transaction.
    pub async fn apply(
        &self,
        target: &Target,
        entries: &[Entry],
        connection: &mut PgConnection,
    ) -> Result<(), WriteError> {
        let (mut cache, mut staged) = (Cache::load(target, connection).await?, Staged::new(Way::Transaction));
        self.stage(target, entries, &mut cache, &mut staged, connection).await?;
        Ok(staged.write(connection).await?)
    }
}

/// Stages what the changes make of a build.
pub(in crate::engine) async fn stage(
    target: &Target,
    changes: &mut [Changes],
    cache: &mut Cache,
    staged: &mut Staged,
    connection: &mut PgConnection,
) -> Result<(), WriteError> {
    for table in target.definition.tables {
        table.stage(&target.table(table), changes, cache, staged, connection).await?;
    }
    Ok(())
}
