//! A rehearsal: commands are decided one after another as the writer would decide them, and nothing is recorded.

use std::{collections::HashSet, sync::Arc};

use super::{
    Command, ExecuteError, Failure,
    batch::{ROUNDS, all_balanced, drafted, rehearsed_seals},
};
use crate::state::{Aggregates, Outcome, StreamKey, UnitOfWork};
use crate::{
    operations::{Answer, Refusal},
    store::{Store, StoreError, snapshots},
};

/// The book as it would be after the commands that have been rehearsed. It stays in memory whole.
#[derive(Debug)]
pub struct Rehearsal {
    store: Store,
    aggregates: Aggregates,
}

impl Rehearsal {
    pub fn new(store: Store) -> Self {
        Self { store, aggregates: Aggregates::new(usize::MAX) }
    }

    /// Loads at once what these commands will ask for, as far as it can be told before they are decided.
    pub async fn look_ahead(&mut self, commands: impl IntoIterator<Item = &Command>) -> Result<(), ExecuteError> {
        let mut wanted = HashSet::new();
        for command in commands {
            let mut books = UnitOfWork::new(&self.aggregates, &command.context, command.id);
            // Only what it reads matters here; it is decided when its turn comes.
            let _ = command.operation.decide(&mut books);
            wanted.extend(books.missing().iter().cloned());
        }
        self.load(&wanted.into_iter().collect::<Vec<_>>()).await
    }

    /// What the command would be answered. Its idempotency key is not looked at.
    pub async fn decide(&mut self, command: &Command) -> Result<Answer, ExecuteError> {
        for _ in 0..ROUNDS {
            let mut books = UnitOfWork::new(&self.aggregates, &command.context, command.id);
            let decided = command.operation.decide(&mut books);
            let missing = books.missing().to_vec();
            if missing.is_empty() {
                let answer = decided?;
                let Outcome { mut events, touched } = books.finish();
                all_balanced(&events).map_err(Failure::Unbalanced)?;
                let seals = rehearsed_seals(&mut events);
                drafted(events, &seals, command, None).map_err(Refusal::from)?;
                for (stream, loaded) in touched {
                    self.aggregates.insert(stream, loaded);
                }
                return Ok(answer);
            }
            self.load(&missing).await?;
        }
        Err(failed(StoreError::NeverLoaded { rounds: ROUNDS }))
    }

    async fn load(&mut self, streams: &[StreamKey]) -> Result<(), ExecuteError> {
        if streams.is_empty() {
            return Ok(());
        }
        let mut connection = self.store.pool().acquire().await.map_err(|error| failed(error.into()))?;
        let loaded = snapshots::load(&mut connection, &self.store, streams).await.map_err(failed)?;
        for (stream, loaded) in loaded {
            self.aggregates.insert(stream, loaded.map_err(Failure::Database)?);
        }
        Ok(())
    }
}

fn failed(error: StoreError) -> ExecuteError {
    Failure::Database(Arc::new(error)).into()
}
