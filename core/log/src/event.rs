//! An event as the log holds it, and the bytes that its leaf hash is taken of.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tlog_tiles::{Hash, record_hash};

use crate::tree;

/// What the encoding of an event begins with, so that no other bytes of ours can pass for one.
pub const CONTEXT: &str = "daybook/event/1";

/// What an entry begins with that holds the digest of an event. It is longer than [`CONTEXT`], and the length stands
/// before it: no such entry is the encoding of an event.
pub const DIGEST_CONTEXT: &str = "daybook/event-digest/1";

/// Bytes of an entry at most: a bundle of C2SP's `tlog-tiles` counts them in two bytes.
pub const LARGEST_ENTRY: usize = u16::MAX as usize;

/// An event, with every column of it that the log covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEvent<'a> {
    /// The place in the whole book: 1, 2, 3 …
    pub position: u64,
    pub aggregate_type: Cow<'a, str>,
    pub aggregate_id: Cow<'a, str>,
    /// The place within the aggregate's own stream.
    pub sequence: u64,
    pub event_type: Cow<'a, str>,
    pub event_version: Cow<'a, str>,
    /// JSON, byte for byte as it is stored; here a text, so that no reader of JSON can change it.
    pub payload: Cow<'a, str>,
    pub metadata: Cow<'a, str>,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub recorded_at_us: i64,
}

impl LogEvent<'_> {
    /// Appends the canonical encoding. Every text is preceded by its length, so that two different events never have
    /// the same bytes: `lp(context) position lp(aggregate_type) lp(aggregate_id) sequence lp(event_type)
    /// lp(event_version) lp(payload) lp(metadata) recorded_at`, where `lp` is four bytes of length and the text in
    /// UTF-8, and numbers are eight bytes; all of them big-endian.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        text(CONTEXT, bytes);
        bytes.extend(self.position.to_be_bytes());
        text(&self.aggregate_type, bytes);
        text(&self.aggregate_id, bytes);
        bytes.extend(self.sequence.to_be_bytes());
        text(&self.event_type, bytes);
        text(&self.event_version, bytes);
        text(&self.payload, bytes);
        text(&self.metadata, bytes);
        bytes.extend(self.recorded_at_us.to_be_bytes());
    }

    /// Fills the buffer with the entry that the tree has of the event: the encoding, or what holds its digest where the
    /// encoding is larger than an entry may be. Events up to the position `digests_after` went into the tree before there
    /// were such entries.
    pub fn entry(&self, digests_after: u64, buffer: &mut Vec<u8>) {
        buffer.clear();
        self.encode(buffer);
        if self.position > digests_after && buffer.len() > LARGEST_ENTRY {
            *buffer = digest_entry(self.position, buffer);
        }
    }

    /// The leaf of the event: SHA-256 of a zero byte and its entry. The buffer can be used again.
    pub fn leaf_with(&self, digests_after: u64, buffer: &mut Vec<u8>) -> Hash {
        self.entry(digests_after, buffer);
        record_hash(buffer)
    }

    /// The leaf of the event in a log that has had digests from its beginning.
    pub fn leaf(&self) -> Hash {
        self.leaf_with(0, &mut Vec::new())
    }

    /// Whether the event is the one of a leaf; then the buffer holds the entry. Whoever has the event need not know from
    /// which position on its log has digests: both entries stand for the same bytes at the same position, so that no other
    /// event has either of them.
    pub fn entry_of(&self, leaf: Hash, buffer: &mut Vec<u8>) -> bool {
        self.leaf_with(u64::MAX, buffer) == leaf || buffer.len() > LARGEST_ENTRY && self.leaf_with(0, buffer) == leaf
    }

    /// Whether the proof leads from the event to the root of the tree of this size.
    pub fn is_in(&self, proof: &Vec<Hash>, size: u64, root: Hash) -> bool {
        let index = self.position.wrapping_sub(1);
        let mut buffer = Vec::new();
        let whole = self.leaf_with(u64::MAX, &mut buffer);
        tree::includes(proof, size, root, index, whole)
            || buffer.len() > LARGEST_ENTRY && tree::includes(proof, size, root, index, self.leaf_with(0, &mut buffer))
    }
}

/// The entry of an event whose encoding is larger than an entry may be: `lp(context) position length digest`, where
/// `length` are the bytes of the encoding, as a number of eight bytes, and `digest` is the SHA-256 of them.
pub fn digest_entry(position: u64, encoding: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    text(DIGEST_CONTEXT, &mut entry);
    entry.extend(position.to_be_bytes());
    entry.extend((encoding.len() as u64).to_be_bytes());
    entry.extend(Sha256::digest(encoding));
    entry
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).expect("PostgreSQL holds no text of four gigabytes");
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> LogEvent<'static> {
        LogEvent {
            position: 7,
            aggregate_type: "account".into(),
            aggregate_id: "acc_1".into(),
            sequence: 2,
            event_type: "account.held".into(),
            event_version: "1.0".into(),
            payload: r#"{"held":{}}"#.into(),
            metadata: "{}".into(),
            recorded_at_us: 1_700_000_000_000_000,
        }
    }

    #[test]
    fn every_field_counts() {
        let changes: [fn(&mut LogEvent<'_>); 9] = [
            |event| event.position += 1,
            |event| event.aggregate_type.to_mut().push('x'),
            |event| event.aggregate_id.to_mut().push('x'),
            |event| event.sequence += 1,
            |event| event.event_type.to_mut().push('x'),
            |event| event.event_version.to_mut().push('x'),
            |event| event.payload.to_mut().push(' '),
            |event| event.metadata.to_mut().push(' '),
            |event| event.recorded_at_us -= 1,
        ];
        for change in changes {
            let mut changed = event();
            change(&mut changed);
            assert_ne!(changed.leaf(), event().leaf(), "{changed:?}");
        }
    }

    #[test]
    fn what_ends_one_text_cannot_begin_the_next() {
        let mut shifted = event();
        shifted.aggregate_type = "accounta".into();
        shifted.aggregate_id = "cc_1".into();
        assert_ne!(shifted.leaf(), event().leaf());
    }

    /// An event whose encoding has so many bytes.
    fn of_length(length: usize) -> LogEvent<'static> {
        let (mut event, mut encoding) = (event(), Vec::new());
        event.encode(&mut encoding);
        event.payload = format!("{}{}", event.payload, " ".repeat(length - encoding.len())).into();
        event
    }

    fn entry(event: &LogEvent<'_>, digests_after: u64) -> Vec<u8> {
        let mut entry = Vec::new();
        event.entry(digests_after, &mut entry);
        entry
    }

    #[test]
    fn an_event_larger_than_an_entry_stands_in_the_tree_by_its_digest() {
        let (fits, large) = (of_length(LARGEST_ENTRY), of_length(LARGEST_ENTRY + 1));
        let encoded = |event: &LogEvent<'_>| {
            let mut encoding = Vec::new();
            event.encode(&mut encoding);
            encoding
        };
        assert_eq!(entry(&fits, 0), encoded(&fits));
        assert_eq!(entry(&large, 6), digest_entry(7, &encoded(&large)));
        assert_eq!(entry(&large, 6).len(), 4 + 22 + 8 + 8 + 32);
        // Up to where digests begin it stands there whole.
        assert_eq!(entry(&large, 7), encoded(&large));
    }

    #[test]
    fn an_event_is_known_by_either_of_its_entries_and_by_no_other() {
        let (fits, large) = (of_length(LARGEST_ENTRY), of_length(LARGEST_ENTRY + 1));
        let mut buffer = Vec::new();
        for digests_after in [0, 7] {
            assert!(large.entry_of(large.leaf_with(digests_after, &mut Vec::new()), &mut buffer));
            assert_eq!(buffer, entry(&large, digests_after));
        }
        let mut encoding = Vec::new();
        fits.encode(&mut encoding);
        // What fits must stand there whole, and a digest is that of its own position and length.
        assert!(!fits.entry_of(record_hash(&digest_entry(7, &encoding)), &mut buffer));
        large.encode({
            encoding.clear();
            &mut encoding
        });
        assert!(!large.entry_of(record_hash(&digest_entry(8, &encoding)), &mut buffer));
        assert!(!large.entry_of(record_hash(&digest_entry(7, &encoding[1..])), &mut buffer));
        let mut forged = large.clone();
        forged.payload.to_mut().push(' ');
        assert!(!forged.entry_of(large.leaf(), &mut buffer));
        assert!(!forged.entry_of(large.leaf_with(7, &mut Vec::new()), &mut buffer));
    }

    /// The published vectors; `tests/log/tampering.rs` has a program in another language read them, too.
    #[test]
    fn the_published_vectors_hold() {
        #[derive(Deserialize)]
        struct Vector {
            event: LogEvent<'static>,
            encoding: String,
            leaf: String,
        }
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/log/event_encoding.json");
        let vectors = std::fs::read_to_string(file).expect("the vectors are in the repository");
        let vectors: Vec<Vector> = serde_json::from_str(&vectors).expect("the vectors are JSON");
        assert!(vectors.len() >= 5);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for Vector { event, encoding, leaf } in vectors {
            let mut bytes = Vec::new();
            event.encode(&mut bytes);
            assert_eq!(hex(&bytes), encoding, "event {}", event.position);
            assert_eq!(hex(&event.leaf().0), leaf, "event {}", event.position);
        }
    }

    #[test]
    fn the_published_vectors_of_digests_hold() {
        #[derive(Deserialize)]
        struct Vector {
            event: LogEvent<'static>,
            /// How often the payload of the event is repeated.
            payload_times: usize,
            entry: String,
            leaf: String,
        }
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/log/event_digest.json");
        let vectors = std::fs::read_to_string(file).expect("the vectors are in the repository");
        let vectors: Vec<Vector> = serde_json::from_str(&vectors).expect("the vectors are JSON");
        assert!(vectors.len() >= 3);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for Vector { mut event, payload_times, entry: expected, leaf } in vectors {
            event.payload = event.payload.repeat(payload_times).into();
            assert_eq!(hex(&entry(&event, 0)), expected, "event {}", event.position);
            assert_eq!(hex(&event.leaf().0), leaf, "event {}", event.position);
        }
    }
}
