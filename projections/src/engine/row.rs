//! What a row of a projection is: its columns, its key, and where its events stand.

use std::{borrow::Cow, fmt, hash::Hash};

use chrono::NaiveDate;
use serde::Serialize;
use sqlx::{FromRow, postgres::PgRow};

use crate::engine::read::{viewer::Owner, wall::Shown};

/// A row as a plain struct; its fields are the columns of its table.
pub trait Row:
    Serialize + for<'r> FromRow<'r, PgRow> + Clone + PartialEq + fmt::Debug + Send + Sync + Unpin + 'static
{
    /// The values of the key columns: one value, or a tuple of them.
    type Key: RowKey;
    /// The name that readers use: a view over the table of the build that serves.
    const TABLE: &'static str;
    /// The columns of the primary key.
    const KEY: &'static [&'static str];
    /// Before the `_` of its identifiers, where its key is one `id`: that of its noun.
    const PREFIX: Option<&'static str> = None;
    /// Whose the row is.
    const OWNER: Owner;

    /// How PostgreSQL shows it to a customer.
    const SHOWN: Shown = Shown::PLAIN;

    fn key(&self) -> Self::Key;

    /// Which events can have made the row what it is, as far as the row itself tells.
    fn sources(&self) -> Vec<Source>;

    /// The column by which rows of a projection belong together: those that have the same here are shown together.
    const BELONGS_TO: &'static str = Self::KEY[0];

    /// Columns that the version before does not have, each with SQL that says the same of its rows: they serve until this
    /// version is built.
    const NEW_COLUMNS: &'static [(&'static str, &'static str)] = &[];

    /// Of rows that stay once an event has made them, the columns that a later event may still change; their column
    /// `position` tells which event made them. `None` for rows that become others in the course of time.
    const STAYS_BUT_FOR: Option<&'static [&'static str]> = None;
}

/// Where the events stand that can have changed a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// In one stream: the type of the aggregate, and its identifier.
    Stream(&'static str, String),
    /// It is one event alone.
    Event(i64),
    /// Anywhere in the book.
    Book,
}

impl Source {
    pub fn stream(aggregate_type: &'static str, aggregate_id: &str) -> Self {
        Self::Stream(aggregate_type, aggregate_id.into())
    }
}

/// The key of a row. Rows that share its first column belong together: they are folded, checked and repaired together.
pub trait RowKey: Serialize + Ord + Hash + Clone + fmt::Debug + Send + Sync + 'static {
    /// The first column as a text.
    fn first(&self) -> Cow<'_, str>;

    /// Whether this text can be a first column at all: the tables of a projection need not be keyed alike.
    fn can_be_first(_text: &str) -> bool {
        true
    }
}

impl RowKey for String {
    fn first(&self) -> Cow<'_, str> {
        self.into()
    }
}

impl<T: KeyColumn> RowKey for (String, T) {
    fn first(&self) -> Cow<'_, str> {
        (&self.0).into()
    }
}

impl<T: KeyColumn> RowKey for (i64, T) {
    fn first(&self) -> Cow<'_, str> {
        self.0.to_string().into()
    }

    fn can_be_first(text: &str) -> bool {
        text.parse::<i64>().is_ok()
    }
}

/// What may stand in a further column of a key.
pub trait KeyColumn: Serialize + Ord + Hash + Clone + fmt::Debug + Send + Sync + 'static {}

impl KeyColumn for String {}
impl KeyColumn for i64 {}
impl KeyColumn for i32 {}
impl KeyColumn for NaiveDate {}
