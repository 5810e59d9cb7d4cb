//! An event as the log holds it, and the bytes that its leaf hash is taken of.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tlog_tiles::{Hash, record_hash};

/// What the encoding of an event begins with, so that no other bytes of ours can pass for one.
pub const CONTEXT: &str = "daybook/event/1";

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

    /// The leaf of the event: SHA-256 of a zero byte and the encoding.
    pub fn leaf(&self) -> Hash {
        self.leaf_with(&mut Vec::new())
    }

    /// Like [`Self::leaf`], in a buffer that can be used again.
    pub fn leaf_with(&self, buffer: &mut Vec<u8>) -> Hash {
        buffer.clear();
        self.encode(buffer);
        record_hash(buffer)
    }
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

    /// The published vectors; `tests/transparency.rs` has a program in another language read them, too.
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
}
