//! The golden files: an example of every event ever written, as it was stored. Old journals must stay readable, so
//! examples are added and never edited.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use chrono::DateTime;
use daybook_core::{
    domain::{
        AGGREGATE_TYPES, Event,
        version::{present_version, present_versions},
    },
    store::{RawEvent, Upcasters},
};
use serde_json::Value;

/// An example, and the event that it is today.
pub struct Example {
    pub file: String,
    /// As it is stored, byte for byte.
    stored: String,
    pub raw: RawEvent,
    pub payload: Value,
    pub event: Event,
}

pub fn examples() -> Vec<Example> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/events");
    let mut examples = Vec::new();
    for of_type in fs::read_dir(directory).unwrap() {
        let of_type = of_type.unwrap();
        let event_type = of_type.file_name().into_string().unwrap();
        let is_of = |aggregate: &&str| present_version(aggregate, &event_type).is_some();
        let aggregate = AGGREGATE_TYPES.into_iter().find(is_of).expect("the event type is on the list of its noun");
        for file in fs::read_dir(of_type.path()).unwrap() {
            let file = file.unwrap();
            let text = fs::read_to_string(file.path()).unwrap();
            let version = file.file_name().into_string().unwrap();
            let name = format!("{event_type}/{version}");
            let payload = serde_json::from_str(&text).unwrap();
            let compact = without_space(&text);
            let stored = RawEvent {
                position: 1,
                aggregate_type: aggregate.into(),
                aggregate_id: "the example's".into(),
                sequence: 1,
                event_type: event_type.clone(),
                event_version: version.trim_start_matches('v').trim_end_matches(".json").into(),
                payload: text,
                metadata: "{}".into(),
                recorded_at: DateTime::UNIX_EPOCH,
            };
            let event = stored.event(&Upcasters::default()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            examples.push(Example { file: name, stored: compact, raw: stored, payload, event });
        }
    }
    examples
}

/// The JSON without the white space that people want in a file, and every other byte as it is.
fn without_space(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let kept = |c: &char| {
        is_text ^= *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        is_text || !c.is_whitespace()
    };
    json.chars().filter(kept).collect()
}

impl Example {
    /// Whether it is of the version in which the event is written today.
    pub fn is_present(&self) -> bool {
        self.file == format!("{}/v{}.json", self.event.event_type(), self.event.event_version())
    }

    /// The one word under which the payload stands.
    pub fn variant(&self) -> &str {
        self.payload.as_object().and_then(|tagged| tagged.keys().next()).unwrap()
    }
}

/// The events that an aggregate can record, in the words of the decoder itself: it names them all when it is given
/// one that is none of them.
fn variants(aggregate: &str) -> BTreeSet<String> {
    let error = Event::decode(aggregate, r#"{"nothing of the kind":{}}"#).unwrap_err();
    let daybook_core::domain::DecodeError::Payload(error) = error else { panic!("{error}") };
    let message = error.to_string();
    let expected = message.split("expected").nth(1).unwrap_or_else(|| panic!("unforeseen wording: {message}"));
    let variants: BTreeSet<String> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!variants.is_empty(), "{message}");
    variants
}

#[test]
fn every_example_is_read_and_written_unchanged() {
    for example in examples() {
        // An older version is read as the present one; only that is written.
        let present = example.is_present();
        let Example { file, stored, event, .. } = example;
        if present {
            assert_eq!(event.payload(), stored, "{file}");
        }
        assert!(file.starts_with(&format!("{}/", event.event_type())), "{file} is a {}", event.event_type());
    }
}

#[test]
fn every_event_has_an_example_of_its_present_version() {
    let mut recorded: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for example in examples().iter().filter(|example| example.is_present()) {
        recorded.entry(example.event.aggregate_type()).or_default().insert(example.variant().to_owned());
    }
    for aggregate in AGGREGATE_TYPES {
        let recorded = recorded.remove(aggregate).unwrap_or_default();
        assert_eq!(recorded, variants(aggregate), "examples of {aggregate} in tests/golden/events");
    }
}

#[test]
fn every_event_has_its_version_on_the_list_of_its_noun() {
    let events: BTreeSet<_> =
        examples().into_iter().map(|example| (example.event.event_type(), example.event.event_version())).collect();
    let versions = AGGREGATE_TYPES.into_iter().flat_map(present_versions);
    let listed: BTreeSet<_> = versions.map(|(event_type, version)| ((*event_type).into(), (*version).into())).collect();
    assert_eq!(events, listed, "examples in tests/golden/events, and the lists of versions of the nouns");
}

#[test]
fn every_example_that_moves_money_balances() {
    for Example { file, event, .. } in examples() {
        let balanced = daybook_core::domain::posting::balanced(&event.postings());
        assert_eq!(balanced, Ok(()), "{file}");
    }
}
