//! The one way to read rows: a page of a listing, one row, and the rows that belong to one.
//!
//! Each query names the viewer, and chooses only what the viewer may see.

use serde::de::DeserializeOwned;
use serde_aux::serde_introspection::serde_introspect;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder, postgres::PgRow};

use crate::engine::{Chosen, Place, Row, RowOrder, Table, Viewer};

/// What a listing has a row of.
///
/// Listings go from the newest to the oldest, by the position of the event that made a row, unless they are sorted
/// otherwise.
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

/// A row of a listing, and where it stands in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<L> {
    pub row: L,
    pub place: Place,
}

/// The rows that are chosen, in an order, after a place in it; so many at most.
pub async fn page<L: Listed>(
    connection: &mut PgConnection,
    viewer: &Viewer,
    chosen: &Chosen,
    order: &RowOrder,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<Found<L>>, sqlx::Error> {
    let mut query = listing::<L>("select ", viewer, chosen, order, after);
    query.push(" limit ").push_bind(limit);
    let rows = query.build().fetch_all(connection).await?;
    let found = rows.iter().map(|row| {
        let listed = L::from_row(row)?;
        let place = order.place(row, listed.position())?;
        Ok(Found { row: listed, place })
    });
    found.collect()
}

/// Begins to read all rows that are chosen, however many they are. The transaction that it is done in reads them by
/// [`next`], and keeps no more of them than that.
pub async fn open<L: Listed>(
    connection: &mut PgConnection,
    viewer: &Viewer,
    chosen: &Chosen,
    order: &RowOrder,
) -> Result<(), sqlx::Error> {
    let mut query = listing::<L>("declare listing no scroll cursor for select ", viewer, chosen, order, None);
    query.build().persistent(false).execute(connection).await?;
    Ok(())
}

/// The next rows of the listing that is open; none once there are no more.
pub async fn next<L: Listed>(connection: &mut PgConnection, limit: u32) -> Result<Vec<L>, sqlx::Error> {
    let fetch = format!("fetch {limit} from listing");
    sqlx::query_as(&fetch).persistent(false).fetch_all(connection).await
}

/// How PostgreSQL would read the rows that are chosen, as `explain` tells it.
#[doc(hidden)]
pub async fn plan<L: Listed>(
    connection: &mut PgConnection,
    chosen: &Chosen,
    order: Option<&RowOrder>,
) -> Result<Vec<String>, sqlx::Error> {
    let mut query = selection::<L>("explain select ");
    chosen.push(&mut query);
    if let Some(order) = order {
        order.push(&mut query);
    }
    query.build_query_scalar().persistent(false).fetch_all(connection).await
}

fn listing<'a, L: Listed>(
    verb: &'static str,
    viewer: &Viewer,
    chosen: &Chosen,
    order: &RowOrder,
    after: Option<&Place>,
) -> QueryBuilder<'a, Postgres> {
    let mut query = QueryBuilder::new(verb);
    push_columns::<L>(&mut query);
    order.push_columns(&mut query);
    push_tables::<L>(&mut query);
    viewer.push(L::Of::TABLE, &L::Of::OWNER, &mut query);
    chosen.push(&mut query);
    if let Some(after) = after {
        order.push_after(after, &mut query);
    }
    order.push(&mut query);
    query
}

/// The row with this key.
pub async fn get<L: Listed>(
    connection: &mut PgConnection,
    viewer: &Viewer,
    key: &str,
) -> Result<Option<L>, sqlx::Error> {
    let mut query = selection::<L>("select ");
    viewer.push(L::Of::TABLE, &L::Of::OWNER, &mut query);
    query.push(format_args!(" and {} = ", L::Of::KEY[0])).push_bind(key);
    query.build_query_as().fetch_optional(connection).await
}

/// Those of the rows with these keys that the viewer sees, in no certain order.
pub async fn get_all<L: Listed>(
    connection: &mut PgConnection,
    viewer: &Viewer,
    keys: &[String],
) -> Result<Vec<L>, sqlx::Error> {
    let mut query = selection::<L>("select ");
    viewer.push(L::Of::TABLE, &L::Of::OWNER, &mut query);
    query.push(format_args!(" and {} = any(", L::Of::KEY[0])).push_bind(keys).push(")");
    query.build_query_as().fetch_all(connection).await
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

fn selection<'a, L: Listed>(verb: &'static str) -> QueryBuilder<'a, Postgres> {
    let mut query = QueryBuilder::new(verb);
    push_columns::<L>(&mut query);
    push_tables::<L>(&mut query);
    query
}

fn push_columns<L: Listed>(query: &mut QueryBuilder<'_, Postgres>) {
    query.push(columns::<L::Of>()).push(L::BESIDES);
}

fn push_tables<L: Listed>(query: &mut QueryBuilder<'_, Postgres>) {
    query.push(format_args!(" from {} {} where true", <L::Of as Row>::TABLE, L::JOINED));
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
