//! Events on the disk, by the portion of the keys that they concern: what does not fit into memory at once is read from
//! the book once, and from here a portion at a time. An event is written once, however many portions it concerns; of each
//! portion another file tells where its events lie. The files have no names, so that they are gone with the process,
//! however that ends.

use std::{collections::BTreeSet, fs::File, io, os::unix::fs::FileExt, path::Path};

use chrono::DateTime;
use daybook_core::store::RawEvent;

/// Bytes that are collected before they are written.
const LARGEST_BUFFER: usize = 256 << 10;
/// Events that lie as close together as this are read at once.
const GAP: u64 = 4 << 10;
/// The share of the file system that stays free for the others, such as a ledger that is being written.
const LEFT_FREE: u64 = 10;

#[derive(Debug)]
pub(in crate::engine) struct Spill {
    events: Written,
    /// Where the events lie, by portion.
    places: Written,
    portions: Vec<Portion>,
    /// From so many bytes on, the places of a portion are written.
    full: usize,
    /// So many bytes of events, or one event, are read at once.
    batch: u64,
}

/// A file that grows, with what is still to be written to it.
#[derive(Debug)]
struct Written {
    file: File,
    /// Where the buffer will lie.
    end: u64,
    buffer: Vec<u8>,
    full: usize,
}

/// The places of the events of a portion, as bytes.
#[derive(Debug, Default)]
struct Portion {
    buffer: Vec<u8>,
    /// Where what was written lies in the file, in its order, and how many bytes each has.
    pieces: Vec<(u64, usize)>,
}

/// Where an event lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    begin: u64,
    length: u32,
}

impl Spill {
    /// All buffers together may take so much memory.
    pub fn new(directory: &Path, portions: u64, memory: usize) -> io::Result<Self> {
        let full = (memory / 2 / portions.max(1) as usize).min(LARGEST_BUFFER);
        let portions = (0..portions).map(|_| Portion::default()).collect();
        let events = Written::new(directory, memory / 8)?;
        let places = Written::new(directory, memory / 8)?;
        Ok(Self { events, places, portions, full, batch: memory as u64 / 8 })
    }

    /// Puts an event, as [`bytes`] makes it, behind those of some portions.
    pub fn add(&mut self, event: &[u8], portions: &BTreeSet<u64>) -> io::Result<()> {
        if portions.is_empty() {
            return Ok(());
        }
        let place = Place { begin: self.events.add(event)?, length: length(event.len()) };
        for portion in portions {
            let Portion { buffer, pieces } = &mut self.portions[*portion as usize];
            buffer.extend(place.bytes());
            if buffer.len() >= self.full {
                pieces.push((self.places.add(buffer)?, buffer.len()));
                buffer.clear();
            }
        }
        Ok(())
    }

    /// Writes the rest, after the last event.
    pub fn complete(&mut self) -> io::Result<()> {
        self.events.write()?;
        self.places.write()
    }

    /// The events of a portion, in their order, some at a time.
    pub fn pieces(&self, portion: u64) -> impl Iterator<Item = io::Result<Vec<RawEvent>>> {
        let Portion { buffer, pieces } = &self.portions[portion as usize];
        let written = pieces.iter().map(|(begin, length)| self.places.read(*begin, *length as u64));
        let all = written.chain((!buffer.is_empty()).then(|| Ok(buffer.clone())));
        all.flat_map(|bytes| {
            let (batches, failed) = match bytes {
                Ok(bytes) => (self.batches(&bytes), None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            batches.into_iter().map(|batch| self.events_at(&batch)).chain(failed)
        })
    }

    /// The places, divided so that the events of each part fit into the memory.
    fn batches(&self, bytes: &[u8]) -> Vec<Vec<Place>> {
        let (places, _) = bytes.as_chunks();
        let (mut batches, mut taken) = (Vec::new(), u64::MAX);
        for place in places.iter().map(Place::of) {
            let takes = u64::from(place.length) + GAP;
            if taken.saturating_add(takes) > self.batch {
                batches.push(Vec::new());
                taken = 0;
            }
            taken += takes;
            batches.last_mut().expect("the first place begins a batch").push(place);
        }
        batches
    }

    fn events_at(&self, places: &[Place]) -> io::Result<Vec<RawEvent>> {
        let mut events = Vec::with_capacity(places.len());
        for run in places.chunk_by(|one, next| next.begin - one.end() <= GAP) {
            let (begin, end) = (run[0].begin, run[run.len() - 1].end());
            let piece = self.events.read(begin, end - begin)?;
            for place in run {
                let mut bytes = &piece[(place.begin - begin) as usize..(place.end() - begin) as usize];
                events.push(event(&mut bytes).ok_or(io::ErrorKind::InvalidData)?);
            }
        }
        Ok(events)
    }
}

impl Written {
    fn new(directory: &Path, memory: usize) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        leave_room(&file, 0)?;
        Ok(Self { file, end: 0, buffer: Vec::new(), full: memory.min(LARGEST_BUFFER) })
    }

    /// Puts the bytes behind those before, and answers where they begin.
    fn add(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let begin = self.end + self.buffer.len() as u64;
        self.buffer.extend(bytes);
        if self.buffer.len() >= self.full {
            self.write()?;
        }
        Ok(begin)
    }

    fn write(&mut self) -> io::Result<()> {
        leave_room(&self.file, self.buffer.len() as u64)?;
        self.file.write_all_at(&self.buffer, self.end)?;
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn read(&self, begin: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, begin)?;
        Ok(bytes)
    }
}

impl Place {
    fn end(&self) -> u64 {
        self.begin + u64::from(self.length)
    }

    fn bytes(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.begin.to_le_bytes());
        bytes[8..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn of(bytes: &[u8; 12]) -> Self {
        let mut rest = &bytes[..];
        let begin = u64::from_le_bytes(taken(&mut rest).expect("a place has eight bytes, and four"));
        let length = u32::from_le_bytes(taken(&mut rest).expect("a place has eight bytes, and four"));
        Self { begin, length }
    }
}

/// Refuses to write so many bytes where the others on the file system would be short of room: a check must not stop the
/// ledger that it checks.
fn leave_room(file: &File, bytes: u64) -> io::Result<()> {
    let system = rustix::fs::fstatvfs(file)?;
    if leaves_room(system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize, bytes) {
        return Ok(());
    }
    let what = format!("less than a tenth of the file system would stay free with {bytes} bytes more");
    Err(io::Error::new(io::ErrorKind::StorageFull, what))
}

fn leaves_room(free: u64, all: u64, bytes: u64) -> bool {
    free.saturating_sub(bytes) >= all / LEFT_FREE
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("an event has less than 4 GiB")
}

/// An event as it lies in the file.
pub(in crate::engine) fn bytes(event: &RawEvent) -> Vec<u8> {
    let texts = texts(event);
    let mut bytes = Vec::with_capacity(24 + texts.iter().map(|text| 4 + text.len()).sum::<usize>());
    bytes.extend(event.position.to_le_bytes());
    bytes.extend(event.sequence.to_le_bytes());
    bytes.extend(event.recorded_at.timestamp_micros().to_le_bytes());
    for text in texts {
        bytes.extend(length(text.len()).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn texts(event: &RawEvent) -> [&str; 6] {
    let RawEvent { aggregate_type, aggregate_id, event_type, event_version, payload, metadata, .. } = event;
    [aggregate_type, aggregate_id, event_type, event_version, payload, metadata]
}

fn event(piece: &mut &[u8]) -> Option<RawEvent> {
    let position = u64::from_le_bytes(taken(piece)?);
    let sequence = u64::from_le_bytes(taken(piece)?);
    let recorded_at = DateTime::from_timestamp_micros(i64::from_le_bytes(taken(piece)?))?;
    let mut text = || {
        let length = u32::from_le_bytes(taken(piece)?) as usize;
        let (text, rest) = piece.split_at_checked(length)?;
        *piece = rest;
        String::from_utf8(text.into()).ok()
    };
    Some(RawEvent {
        position,
        sequence,
        recorded_at,
        aggregate_type: text()?,
        aggregate_id: text()?,
        event_type: text()?,
        event_version: text()?,
        payload: text()?,
        metadata: text()?,
    })
}

fn taken<const N: usize>(piece: &mut &[u8]) -> Option<[u8; N]> {
    let (number, rest) = piece.split_first_chunk()?;
    *piece = rest;
    Some(*number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(position: u64) -> RawEvent {
        RawEvent {
            position,
            aggregate_type: "account".into(),
            aggregate_id: format!("acc_{position}"),
            sequence: 1,
            event_type: "account.opened".into(),
            event_version: "1.0".into(),
            payload: "{\"ü\":\n1}".repeat(position as usize),
            metadata: String::new(),
            recorded_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time"),
        }
    }

    #[test]
    fn what_was_added_to_a_portion_comes_back_in_its_order() {
        for memory in [0, 1_000, 1 << 20] {
            let mut spill = Spill::new(&std::env::temp_dir(), 3, memory).expect("a file");
            for position in 1..100 {
                let portions = BTreeSet::from([position % 2, 2]);
                spill.add(&bytes(&raw(position)), &portions).expect("room");
            }
            spill.complete().expect("room");
            let read = |portion| -> Vec<RawEvent> {
                spill.pieces(portion).flat_map(|piece| piece.expect("it is there")).collect()
            };
            assert_eq!(read(0), (1..100).filter(|position| position % 2 == 0).map(raw).collect::<Vec<_>>());
            assert_eq!(read(1), (1..100).filter(|position| position % 2 == 1).map(raw).collect::<Vec<_>>());
            assert_eq!(read(2), (1..100).map(raw).collect::<Vec<_>>());
        }
    }
    #[test]
    fn an_event_is_written_once_whatever_it_concerns() {
        let mut spill = Spill::new(&std::env::temp_dir(), 100, 1 << 10).expect("a file");
        let event = bytes(&raw(50));
        for _ in 0..10 {
            spill.add(&event, &(0..100).collect()).expect("room");
        }
        spill.add(&event, &BTreeSet::new()).expect("room");
        spill.complete().expect("room");
        assert_eq!(spill.events.end, 10 * event.len() as u64);
        let held = spill.portions.iter().map(|portion| portion.buffer.len()).sum::<usize>();
        assert_eq!(spill.places.end + held as u64, 10 * 100 * 12);
    }

    #[test]
    fn a_tenth_of_the_file_system_stays_free() {
        assert!(leaves_room(20, 100, 10));
        assert!(!leaves_room(20, 100, 11));
        assert!(!leaves_room(5, 100, 0));
        assert!(!leaves_room(5, 100, 6));
    }
}
