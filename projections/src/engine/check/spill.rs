//! Events on the disk, by the portion of the keys that they concern: what does not fit into memory at once is read from
//! the book once, and from here a portion at a time. The file has no name, so that it is gone with the process,
//! however that ends.

use std::{collections::BTreeSet, fs::File, io, os::unix::fs::FileExt, path::Path};

use chrono::DateTime;
use daybook_core::store::RawEvent;

/// Bytes that are collected for a portion before they are written.
const LARGEST_BUFFER: usize = 256 << 10;

#[derive(Debug)]
pub(in crate::engine) struct Spill {
    file: File,
    end: u64,
    portions: Vec<Portion>,
    /// From so many bytes on, a buffer is written.
    full: usize,
}

#[derive(Debug, Default)]
struct Portion {
    buffer: Vec<u8>,
    /// Where what was written lies in the file, in its order, and how many bytes each has.
    pieces: Vec<(u64, usize)>,
}

impl Spill {
    /// The buffers of all portions together may take so much memory.
    pub fn new(directory: &Path, portions: u64, memory: usize) -> io::Result<Self> {
        let full = (memory / portions.max(1) as usize).min(LARGEST_BUFFER);
        let portions = (0..portions).map(|_| Portion::default()).collect();
        Ok(Self { file: tempfile::tempfile_in(directory)?, end: 0, portions, full })
    }

    /// Puts an event, as [`bytes`] makes it, behind those of some portions.
    pub fn add(&mut self, event: &[u8], portions: &BTreeSet<u64>) -> io::Result<()> {
        for portion in portions {
            let portion = &mut self.portions[*portion as usize];
            portion.buffer.extend(event);
            if portion.buffer.len() >= self.full {
                self.file.write_all_at(&portion.buffer, self.end)?;
                portion.pieces.push((self.end, portion.buffer.len()));
                self.end += portion.buffer.len() as u64;
                portion.buffer.clear();
            }
        }
        Ok(())
    }

    /// The events of a portion, in their order, a piece at a time.
    pub fn pieces(&self, portion: u64) -> impl Iterator<Item = io::Result<Vec<RawEvent>>> {
        let Portion { buffer, pieces } = &self.portions[portion as usize];
        let written = pieces.iter().map(|(begin, length)| {
            let mut piece = vec![0; *length];
            self.file.read_exact_at(&mut piece, *begin)?;
            events(&piece)
        });
        written.chain((!buffer.is_empty()).then(|| events(buffer)))
    }
}

/// An event as it lies in the file.
pub(in crate::engine) fn bytes(event: &RawEvent) -> Vec<u8> {
    let texts = texts(event);
    let mut bytes = Vec::with_capacity(24 + texts.iter().map(|text| 4 + text.len()).sum::<usize>());
    bytes.extend(event.position.to_le_bytes());
    bytes.extend(event.sequence.to_le_bytes());
    bytes.extend(event.recorded_at.timestamp_micros().to_le_bytes());
    for text in texts {
        bytes.extend(u32::try_from(text.len()).expect("an event has less than 4 GiB").to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn texts(event: &RawEvent) -> [&str; 6] {
    let RawEvent { aggregate_type, aggregate_id, event_type, event_version, payload, metadata, .. } = event;
    [aggregate_type, aggregate_id, event_type, event_version, payload, metadata]
}

fn events(mut piece: &[u8]) -> io::Result<Vec<RawEvent>> {
    let mut events = Vec::new();
    while !piece.is_empty() {
        events.push(event(&mut piece).ok_or(io::ErrorKind::InvalidData)?);
    }
    Ok(events)
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
            let read = |portion| -> Vec<RawEvent> {
                spill.pieces(portion).flat_map(|piece| piece.expect("it is there")).collect()
            };
            assert_eq!(read(0), (1..100).filter(|position| position % 2 == 0).map(raw).collect::<Vec<_>>());
            assert_eq!(read(1), (1..100).filter(|position| position % 2 == 1).map(raw).collect::<Vec<_>>());
            assert_eq!(read(2), (1..100).map(raw).collect::<Vec<_>>());
        }
    }
}
