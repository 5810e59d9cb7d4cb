//! Many new rows on their way into a table, by COPY.

use sqlx::PgConnection;

use crate::engine::write::{column::names, text::Texts};

/// Rows on their way into a table.
#[derive(Debug)]
pub(in crate::engine) struct Copied {
    statement: String,
    body: String,
}

impl Copied {
    pub fn of(table: &str, rows: &Texts<'_>) -> Self {
        debug_assert!(rows.rows() > 0, "without rows the columns are not known");
        let statement = format!("copy {table} ({}) from stdin", names(rows.columns()));
        Self { statement, body: rows.lines() }
    }

    pub async fn send(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut copy = connection.copy_in_raw(&self.statement).await?;
        copy.send(self.body.into_bytes()).await?;
        copy.finish().await?;
        Ok(())
    }
}
