//! The one way to read rows: a page of a listing, one row, and the rows that belong to one.
//!
//! Each query names the viewer, and chooses only what the viewer may see.

use serde::de::DeserializeOwned;
use serde_aux::serde_introspection::serde_introspect;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, postgres::PgRow};

use crate::engine::{Chosen, Row, Table, Viewer};

/// What a listing has a row of.
///
/// Listings go from the newest to the oldest, by the position of the event that made a row.
pub trait Listed: for<'r> FromRow<'r, PgRow> + Send + Unpin {
    /// The rows that are listed: the first table of its projection.
    type Of: Row + DeserializeOwned;
    const PROJECTION: &'static str;
    /// What one is called.
    const NOUN: &'static str;
    /// The code of the problem that there is none.
    const NOT_FOUND: &'static str;
    /// Further columns: SQL that begins with a comma.
    const BESIDES: &'static str = "";
    /// Further tables: SQL that follows the name of the table.
    const JOINED: &'static str = "";

    /// The position of the event that made it.
    fn position(&self) -> i64;
}

/// The rows that are chosen, newest first; `before` is the position of the last row of the page before this one.
pub async fn list<L: Listed>(
    connection: &mut PgConnection,
    viewer: &Viewer,
    chosen: &Chosen,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<L>, sqlx::Error> {
    let mut query = selection::<L>();
    viewer.push(L::Of::TABLE, &L::Of::OWNER, &mut query);
    chosen.push(&mut query);
    if let Some(before) = before {
        query.push(" and position < ").push_bind(before);
    }
    query.push(" order by position desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

/// The row with this key.
pub async fn get<L: Listed>(
    connection: &mut PgConnection,
    viewer: &Viewer,
    key: &str,
) -> Result<Option<L>, sqlx::Error> {
    let mut query = selection::<L>();
    viewer.push(L::Of::TABLE, &L::Of::OWNER, &mut query);
    query.push(format_args!(" and {} = ", L::Of::KEY[0])).push_bind(key);
    query.build_query_as().fetch_optional(connection).await
}

/// The rows that belong to a row with this key, in the order of their keys or of their positions.
pub async fn belonging<R: Row + DeserializeOwned>(
    connection: &mut PgConnection,
    viewer: &Viewer,
    key: &str,
) -> Result<Vec<R>, sqlx::Error> {
    belonging_where(connection, viewer, key, &Chosen::default()).await
}

/// Those of them that are chosen.
pub async fn belonging_where<R: Row + DeserializeOwned>(
    connection: &mut PgConnection,
    viewer: &Viewer,
    key: &str,
    chosen: &Chosen,
) -> Result<Vec<R>, sqlx::Error> {
    let mut query = QueryBuilder::new("select ");
    query.push(columns::<R>()).push(format_args!(" from {} where true", R::TABLE));
    viewer.push(R::TABLE, &R::OWNER, &mut query);
    query.push(format_args!(" and {} = ", R::BELONGS_TO)).push_bind(key);
    chosen.push(&mut query);
    // A key of its own says nothing of an order.
    let order = if R::KEY[0] == R::BELONGS_TO { R::KEY.join(", ") } else { "position".into() };
    query.push(format_args!(" order by {order}"));
    query.build_query_as().fetch_all(connection).await
}

/// How many rows of a table the viewer sees.
pub async fn count(connection: &mut PgConnection, viewer: &Viewer, table: &Table) -> Result<i64, sqlx::Error> {
    let mut query = QueryBuilder::new("select count(*) from ");
    query.push(format_args!("{} where true", table.name()));
    viewer.push(table.name(), &table.owner(), &mut query);
    query.build_query_scalar().fetch_one(connection).await
}

/// Of what covers a charge, or is covered: what still does.
pub fn in_force() -> Chosen {
    Chosen::default().now_where(vec!["amount <> 0"], Vec::new())
}

fn selection<'a, L: Listed>() -> QueryBuilder<'a, Postgres> {
    let table = <L::Of as Row>::TABLE;
    let mut query = QueryBuilder::new("select ");
    query.push(columns::<L::Of>()).push(L::BESIDES);
    query.push(format_args!(" from {table} {} where true", L::JOINED));
    query
}

/// The columns of a table: the fields of its rows.
fn columns<R: Row + DeserializeOwned>() -> String {
    let columns =
        serde_introspect::<R>().iter().map(|field| match R::NEW_COLUMNS.iter().find(|(column, _)| column == field) {
            None => format!("{}.{field}", R::TABLE),
            Some((column, of_both)) => format!("{of_both} as {column}"),
        });
    columns.collect::<Vec<_>>().join(", ")
}
