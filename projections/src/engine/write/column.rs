//! The columns of tables, as PostgreSQL has them.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::engine::builds::target::Target;

/// The columns of the tables of a build.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Columns(HashMap<&'static str, Vec<Column>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub(in crate::engine) struct Column {
    pub name: String,
    /// The type, as PostgreSQL writes it.
    pub kind: String,
}

impl Column {
    /// Whether it holds JSON, in which even a text has its quotation marks.
    pub fn is_json(&self) -> bool {
        matches!(&*self.kind, "json" | "jsonb")
    }
}

impl Columns {
    pub async fn load(target: &Target, connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut tables = HashMap::new();
        for table in target.definition.tables {
            tables.insert(table.name(), columns(&target.table(table), connection).await?);
        }
        Ok(Self(tables))
    }

    pub fn of(&self, table: &str) -> &[Column] {
        self.0.get(table).expect("the columns of every table of the build were loaded")
    }
}

/// The columns of a table, in their order.
pub(in crate::engine) async fn columns(table: &str, connection: &mut PgConnection) -> Result<Vec<Column>, sqlx::Error> {
    sqlx::query_as(
        "select attname::text as name, format_type(atttypid, atttypmod) as kind
         from pg_attribute
         where attrelid = $1::regclass and attnum > 0 and not attisdropped
         order by attnum",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}

/// The names of columns, as a statement lists them.
pub(in crate::engine) fn names(columns: &[&Column]) -> String {
    columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}
