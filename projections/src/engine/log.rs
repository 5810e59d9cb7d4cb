//! Reading the book: events after a position, dense, decoded once for all projections.

use daybook_core::{
    Position, RecordedEvent, chain,
    store::{StoreError, Upcasters, read_events},
};
use sqlx::PgConnection;

use super::changes::FoldError;

/// An event of the book, or why it cannot be read.
#[derive(Debug)]
pub(super) struct Entry {
    pub position: Position,
    pub aggregate_type: String,
    pub event: Result<RecordedEvent, FoldError>,
}

/// The events after a position, the first of them directly after it. An unreadable one is an entry, too: it concerns
/// only the projections that follow it.
pub(super) async fn read(
    connection: &mut PgConnection,
    upcasters: &Upcasters,
    after: Position,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let events = read_events(connection, after, limit).await?;
    let entries = events.into_iter().map(|raw| {
        let event = raw.decode(upcasters).map_err(|error| FoldError::Unreadable { reason: chain(&error) });
        Entry { position: raw.position, aggregate_type: raw.aggregate_type, event }
    });
    Ok(entries.collect())
}
