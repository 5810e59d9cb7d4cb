//! Applying changes to rows: of many changes on all cores, since rows do not see each other.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use tokio::task;

use crate::engine::{
    changes::{Queue, Slot},
    row::Row,
    table::WriteError,
    write::{
        column::Column,
        copy::Copied,
        staged::{COPIED, Way},
        text::Texts,
    },
};

/// What has become of some rows of a batch.
pub(in crate::engine) struct Written<R: Row> {
    pub new: Vec<R>,
    /// The new rows as a COPY takes them, if they are to go by one.
    pub copied: Option<Copied>,
    pub changed: Vec<R>,
    pub gone: Vec<R::Key>,
}

type Slots<R> = BTreeMap<<R as Row>::Key, Slot<R>>;

/// So many changes are worth being divided.
const MANY: usize = 1_000;

/// Applies the changes in their order to the rows that were loaded.
pub(in crate::engine) async fn written<R: Row>(
    queue: Queue<R>,
    loaded: Slots<R>,
    (target, columns): (&str, &[Column]),
    way: Way,
) -> Result<Vec<Written<R>>, WriteError> {
    if queue.len() < MANY {
        return Ok(vec![of_one(queue, loaded, (target, columns), way)?]);
    }
    let (target, columns) = (target.to_owned(), columns.to_vec());
    let work = move || -> Vec<Result<Written<R>, WriteError>> {
        let partitions = partitions(queue, loaded).into_par_iter();
        partitions.map(|(queue, slots)| of_one(queue, slots, (&target, &columns), way)).collect()
    };
    let mut written = Vec::new();
    // Of several events that do not fit, the first is the one to tell of.
    let mut first: Option<WriteError> = None;
    for outcome in task::spawn_blocking(work).await.expect("applying does not fall") {
        match outcome {
            Ok(of_one) => written.push(of_one),
            Err(error) if first.as_ref().is_none_or(|first| error.position() < first.position()) => first = Some(error),
            Err(_) => {}
        }
    }
    first.map_or(Ok(written), Err)
}

fn of_one<R: Row>(
    queue: Queue<R>,
    mut slots: Slots<R>,
    (target, columns): (&str, &[Column]),
    way: Way,
) -> Result<Written<R>, WriteError> {
    for (position, change) in queue {
        change.apply(&mut slots).map_err(|error| WriteError::Fold { position, error })?;
    }
    let mut written = Written { new: Vec::new(), copied: None, changed: Vec::new(), gone: Vec::new() };
    for (key, slot) in slots.into_iter().filter(|(_, slot)| slot.changed) {
        match (slot.stored, slot.row) {
            (false, Some(row)) => written.new.push(row),
            (true, Some(row)) => written.changed.push(row),
            (true, None) => written.gone.push(key),
            (false, None) => {}
        }
    }
    if way == Way::Transaction && written.new.len() >= COPIED {
        written.copied = Some(Copied::of(target, &Texts::of_rows(&written.new, columns)?));
    }
    Ok(written)
}

/// The changes and the loaded rows, divided by key; the order of the changes of a row stays.
fn partitions<R: Row>(queue: Queue<R>, loaded: Slots<R>) -> Vec<(Queue<R>, Slots<R>)> {
    let number = rayon::current_num_threads();
    let place = |key: &R::Key| {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        (hasher.finish() % number as u64) as usize
    };
    let mut partitions: Vec<(Queue<R>, Slots<R>)> = (0..number).map(|_| (Vec::new(), BTreeMap::new())).collect();
    for (position, change) in queue {
        partitions[place(&change.key())].0.push((position, change));
    }
    for (key, slot) in loaded {
        partitions[place(&key)].1.insert(key, slot);
    }
    partitions
}
