//! What the driver of a build need not ask for again: the columns of its tables, and rows, which nobody else writes while
//! the lease runs. Whoever does, or parks events, suspends the lease (`lease::suspend`), and with it what is kept
//! here.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    num::NonZero,
};

use lru::LruCache;

use sqlx::PgConnection;

use crate::engine::{
    builds::target::Target,
    row::Row,
    write::column::{Column, Columns},
};

/// Rows per table.
const ROWS: NonZero<usize> = NonZero::new(4_096).expect("more than none");

pub(in crate::engine) struct Cache {
    columns: Columns,
    rows: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl Cache {
    /// Without any rows.
    pub async fn load(target: &Target, connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        Ok(Self { columns: Columns::load(target, connection).await?, rows: HashMap::new() })
    }

    /// Of a table, its columns and the rows that are known.
    pub fn table<R: Row>(&mut self) -> (&[Column], &mut LruCache<R::Key, R>) {
        let rows = self.rows.entry(TypeId::of::<R>()).or_insert_with(|| Box::new(LruCache::<R::Key, R>::new(ROWS)));
        (self.columns.of(R::TABLE), rows.downcast_mut().expect("rows stand under their own type"))
    }

    pub fn forget_rows(&mut self) {
        self.rows.clear();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("columns", &self.columns).finish_non_exhaustive()
    }
}
