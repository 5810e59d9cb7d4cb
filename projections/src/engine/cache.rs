//! Rows that the driver of a build need not read again: nobody else writes them while it holds its lease. Whoever does,
//! or parks events, takes the lease away (`build::take_lease_away`), and with it what is kept here.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    num::NonZero,
};

use lru::LruCache;

use super::table::Row;

/// Rows per table.
const ROWS: NonZero<usize> = NonZero::new(4_096).expect("more than none");

#[derive(Default)]
pub(super) struct Cache(HashMap<TypeId, Box<dyn Any + Send>>);

impl Cache {
    pub fn rows<R: Row>(&mut self) -> &mut LruCache<R::Key, R> {
        let rows = self.0.entry(TypeId::of::<R>()).or_insert_with(|| Box::new(LruCache::<R::Key, R>::new(ROWS)));
        rows.downcast_mut().expect("rows stand under their own type")
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("tables", &self.0.len()).finish()
    }
}
