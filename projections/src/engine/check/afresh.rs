//! A fresh fold of the book, in memory and event by event. Where the rows do not fit into memory, they are folded a portion
//! of the keys at a time; the book is read once all the same, since the events of each portion are put on the disk.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use daybook_core::{
    Position,
    store::{RawEvent, Store},
};
use rayon::{
    iter::{
        IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator,
        ParallelIterator,
    },
    slice::ParallelSlice,
};
use sqlx::PgConnection;
use tokio::task;

use crate::engine::{
    Follows,
    builds::target::Target,
    changes::Changes,
    check::spill::{self, Spill},
    error::RebuildError,
    follow::{
        fold::Folding,
        log::Entry,
        pipeline::{self, CHUNK_SHARE, Chunk, Sender, Stream},
    },
    memory::{Memory, Portion, portion},
    table::WriteError,
};

/// What a fresh fold may take of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// In bytes.
    pub memory: usize,
    /// Where it puts what does not fit into memory, in a file that is gone when it ends.
    pub directory: PathBuf,
}

impl Default for Room {
    fn default() -> Self {
        // Often the usual directory of temporary files lies in memory.
        let lasting = Path::new("/var/tmp");
        let directory = match env::var_os("TMPDIR") {
            None if lasting.is_dir() => lasting.into(),
            _ => env::temp_dir(),
        };
        Self { memory: 200 << 20, directory }
    }
}

impl Room {
    /// The same with this directory, if files can be made there.
    #[must_use]
    pub fn preferring(self, directory: &Path) -> Self {
        match tempfile::tempfile_in(directory) {
            Ok(_) => Self { directory: directory.into(), ..self },
            Err(_) => self,
        }
    }
}

/// What a row takes in memory, in terms of what it takes on the disk.
const INFLATION: u64 = 4;
/// The share of the memory that the rows of a portion may take.
const ROWS_SHARE: usize = 2;
/// The share of the memory that events on their way to the disk may take.
const SPILL_SHARE: usize = 8;
const MOST_PORTIONS: u64 = 1_024;
/// Entries of a chunk that are folded at once.
const PIECE: usize = 500;

/// A projection that is folded afresh, and up to where.
pub(in crate::engine) type Subject = (Folding, Position);

/// Projections that are folded afresh together.
pub(in crate::engine) struct Afresh<'a> {
    store: &'a Store,
    room: &'a Room,
    subjects: Arc<Vec<Subject>>,
    portions: u64,
    spill: Option<Arc<Spill>>,
}

impl<'a> Afresh<'a> {
    /// `bytes` is what the rows take on the disk.
    pub fn new(store: &'a Store, room: &'a Room, subjects: Vec<Subject>, bytes: u64) -> Self {
        let needed = (bytes * INFLATION).div_ceil((room.memory / ROWS_SHARE).max(1) as u64);
        let portions = needed.clamp(1, MOST_PORTIONS);
        Self { store, room, subjects: Arc::new(subjects), portions, spill: None }
    }

    /// In how many portions the keys are divided.
    pub fn portions(&self) -> u64 {
        self.portions
    }

    /// The rows of a portion, of each projection; or the first event that it cannot fold.
    pub async fn portion(&mut self, index: u64) -> Result<Vec<Result<Memory, WriteError>>, RebuildError> {
        let mut entries = self.entries(index).await?;
        let portion = Portion::Part { index, of: self.portions };
        let mut rows: Vec<Result<Memory, WriteError>> = self.subjects.iter().map(|_| Ok(Memory::default())).collect();
        while let Some(chunk) = entries.recv().await {
            let (chunk, portion, subjects) = (chunk?, portion.clone(), self.subjects.clone());
            let work = move || {
                rows.par_iter_mut().zip(subjects.par_iter()).for_each(|(rows, subject)| {
                    let Ok(kept) = rows else { return };
                    if let Err(error) = keep(subject, &chunk, &portion, kept) {
                        *rows = Err(error);
                    }
                });
                rows
            };
            rows = task::spawn_blocking(work).await.expect("folding does not fall");
        }
        Ok(rows)
    }

    async fn entries(&mut self, portion: u64) -> Result<Stream<Vec<Entry>>, RebuildError> {
        let events = if self.portions == 1 {
            pipeline::mapped(self.book(), |Chunk { events, opener, .. }| Ok((events, opener)))
        } else {
            let spill = match &self.spill {
                Some(spill) => spill.clone(),
                None => self.spill.insert(Arc::new(self.spill().await?)).clone(),
            };
            pipeline::with_openers(self.store.clone(), spilled(spill, portion))
        };
        Ok(pipeline::entries(events))
    }

    fn book(&self) -> Stream<Chunk> {
        let follows: Vec<Follows> = self.subjects.iter().map(|(folding, _)| folding.definition.follows).collect();
        let until = self.subjects.iter().map(|(_, until)| *until).max().unwrap_or_default();
        pipeline::read(self.store, &follows, (0, until), self.room.memory / CHUNK_SHARE)
    }

    /// Puts the events of the book on the disk, by the portions that they concern.
    async fn spill(&self) -> Result<Spill, RebuildError> {
        let (portions, subjects) = (self.portions, self.subjects.clone());
        let mut concerned = pipeline::mapped(self.book(), move |Chunk { events, opener, .. }| {
            let of_one = |raw: RawEvent| {
                let bytes = spill::bytes(&raw);
                (bytes, concerned(&subjects, &Entry::of(raw, &opener), portions))
            };
            Ok(events.into_par_iter().map(of_one).collect::<Vec<_>>())
        });
        let memory = self.room.memory / SPILL_SHARE;
        let mut spill = Spill::new(&self.room.directory, portions, memory).map_err(RebuildError::Spill)?;
        while let Some(events) = concerned.recv().await {
            let events = events?;
            let work = move || {
                events.iter().try_for_each(|(event, portions)| spill.add(event, portions))?;
                Ok(spill)
            };
            spill = task::spawn_blocking(work).await.expect("writing does not fall").map_err(RebuildError::Spill)?;
        }
        spill.complete().map_err(RebuildError::Spill)?;
        Ok(spill)
    }
}

/// What the rows of a build take on the disk, in bytes.
pub(in crate::engine) async fn size(target: &Target, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let tables: Vec<String> = target.definition.tables.iter().map(|table| target.table(table)).collect();
    let bytes: i64 = sqlx::query_scalar(
        "select coalesce(sum(pg_relation_size(name::regclass)), 0)::bigint from unnest($1::text[]) name",
    )
    .bind(tables)
    .fetch_one(connection)
    .await?;
    Ok(bytes.unsigned_abs())
}

/// The rows of a portion of the keys, from all events up to a position.
pub(in crate::engine) async fn in_memory(
    store: &Store,
    folding: &Folding,
    position: Position,
    portion: Portion,
) -> Result<Memory, RebuildError> {
    let mut rows = Memory::default();
    follow(store, folding, (0, position), &portion, &mut rows).await?;
    Ok(rows)
}

/// Folds the events after one position up to another into the rows of a portion.
pub(in crate::engine) async fn follow(
    store: &Store,
    folding: &Folding,
    span: (Position, Position),
    portion: &Portion,
    rows: &mut Memory,
) -> Result<(), RebuildError> {
    let mut folded = pipeline::folded(store, folding.clone(), span, Room::default().memory / CHUNK_SHARE);
    while let Some(chunk) = folded.recv().await {
        let (mut chunk, portion, mut kept) = (chunk?, portion.clone(), std::mem::take(rows));
        let definition = folding.definition;
        let work = move || {
            for changes in &mut chunk.changes {
                kept.keep(&definition, changes, &portion)?;
            }
            Ok::<Memory, WriteError>(kept)
        };
        *rows = task::spawn_blocking(work).await.expect("folding does not fall")?;
    }
    Ok(())
}

fn keep((folding, until): &Subject, entries: &[Entry], portion: &Portion, rows: &mut Memory) -> Result<(), WriteError> {
    let of_piece = |piece: &[Entry]| folding.changes(piece.iter().filter(|entry| entry.position <= *until));
    let changes: Vec<Result<Changes, WriteError>> = entries.par_chunks(PIECE).map(of_piece).collect();
    changes.into_iter().try_for_each(|changes| rows.keep(&folding.definition, &mut changes?, portion))
}

/// The portions of the keys that an event concerns. One that cannot be folded stops the fold of the first.
fn concerned(subjects: &[Subject], entry: &Entry, portions: u64) -> BTreeSet<u64> {
    let mut concerned = BTreeSet::new();
    for (folding, until) in subjects {
        if entry.position > *until {
            continue;
        }
        match folding.changes([entry]) {
            Ok(mut changes) => {
                let touched = folding.definition.tables.iter().flat_map(|table| table.touched(&mut changes));
                concerned.extend(touched.map(|first| portion(&first, portions)));
            }
            Err(_) => _ = concerned.insert(0),
        }
    }
    concerned
}

fn spilled(spill: Arc<Spill>, portion: u64) -> Stream<Vec<RawEvent>> {
    let read = move |send: Sender<Vec<RawEvent>>| {
        for piece in spill.pieces(portion) {
            if send.blocking_send(Ok(piece.map_err(RebuildError::Spill)?)).is_err() {
                break;
            }
        }
        Ok(())
    };
    pipeline::stream(|send| async move { task::spawn_blocking(move || read(send)).await? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_which_no_file_can_be_made_is_passed_over() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(Room::default().preferring(&directory.path().join("nowhere")), Room::default());
        assert_eq!(Room::default().preferring(directory.path()).directory, directory.path());
    }
}
