//! A transaction on a connection of the pool that leaves nothing behind, whoever stops waiting for it, and when ever.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use sqlx::{Database, Executor, PgConnection, PgPool, Postgres, TransactionManager, pool::PoolConnection};

type Manager = <Postgres as Database>::TransactionManager;

/// Derefs to the connection. It is for reading: all of it is rolled back when this is dropped, before anybody else gets
/// the connection.
pub struct PooledTransaction {
    connection: PoolConnection<Postgres>,
}

impl PooledTransaction {
    /// Begins by these statements, the first of which is a `begin`.
    ///
    /// `Pool::begin_with` of sqlx must not be used in its stead: as long as the answer to its `begin` is under way, or
    /// if a later one of the statements fails, sqlx does not know yet that there is a transaction, and gives the
    /// connection back to the pool with the transaction open.
    pub async fn begin(pool: &PgPool, statements: String) -> Result<Self, sqlx::Error> {
        let mut beginning = Beginning(Some(pool.acquire().await?));
        Manager::begin(beginning.connection(), Some(statements.into())).await?;
        Ok(Self { connection: beginning.done() })
    }
}

impl Drop for PooledTransaction {
    fn drop(&mut self) {
        // Only queued: it goes out with what the pool asks of each connection that comes back.
        Manager::start_rollback(&mut self.connection);
    }
}

impl Deref for PooledTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for PooledTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl fmt::Debug for PooledTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledTransaction").finish_non_exhaustive()
    }
}

/// A connection on which a transaction is about to begin, or has begun only to fail at once.
struct Beginning(Option<PoolConnection<Postgres>>);

impl Beginning {
    fn connection(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("it is there until the transaction has begun")
    }

    fn done(mut self) -> PoolConnection<Postgres> {
        self.0.take().expect("it is there until the transaction has begun")
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        let Some(mut connection) = self.0.take() else { return };
        tokio::spawn(async move {
            // This waits for the answer to the `begin` first. Closing the connection would do as well, but would let
            // whoever hangs up again and again make the database start a process each time.
            if connection.execute("rollback").await.is_err() {
                connection.close_on_drop();
            }
        });
    }
}
