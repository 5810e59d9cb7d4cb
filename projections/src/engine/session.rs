//! How a connection of the engine begins.

use daybook_core::store::{Store, StoreError};
use sqlx::{Executor as _, PgConnection};

/// What a connection begins with that is at work for as long as it takes.
pub(super) const UNHURRIED: &str = "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0";

/// What the connection of one who folds begins with. What a crash takes away are rows together with their checkpoint;
/// they are folded again from the book. And rows are always found by their keys; on a young table the planner would
/// rather read all of it.
pub(super) const FOLDING: &str = "set synchronous_commit = off; set enable_hashjoin = off; set enable_mergejoin = off";

/// A connection of one who follows the book.
pub(super) async fn connect(store: &Store) -> Result<PgConnection, StoreError> {
    let mut connection = store.connection().await?;
    connection.execute(FOLDING).await?;
    // The statements are few and come again and again; all of them go by keys, so that one plan is as good as another.
    connection.execute("set enable_seqscan = off; set plan_cache_mode = force_generic_plan").await?;
    Ok(connection)
}

/// A snapshot of what readers see in these views. They are locked before it is taken, so that no build takes over in
/// between.
pub(super) fn snapshot_of<S: AsRef<str>>(views: &[S]) -> String {
    let views: Vec<&str> = views.iter().map(AsRef::as_ref).collect();
    format!("begin isolation level repeatable read; lock table {} in access share mode", views.join(", "))
}
