//! A text about a person: a name, an address, what somebody has written. It is stored sealed by a key of that person; once the
//! key is destroyed, the text is erased wherever it was stored.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
    ser::SerializeMap,
};

/// What is shown in the place of a text that was erased.
pub const ERASED: &str = "[erased]";

#[derive(Clone, PartialEq, Eq)]
pub enum Sealed {
    /// Readable: as it is decided on and folded. Events of earlier versions are stored so.
    Plain(String),
    /// As it is stored: nobody reads it without the key.
    Closed(Closed),
    /// Its key was destroyed.
    Erased,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Closed {
    /// The id of the key that opens it.
    pub key: String,
    /// The nonce and what is sealed, in Base64.
    pub text: String,
}

/// The sealed texts of an event, each with the name of its place there. The names are part of what is sealed: one that has
/// been stored never changes.
pub type Texts<'a> = Vec<(&'static str, &'a mut Sealed)>;

/// A text was to be read that is still as it was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a text is sealed still: it is read with the master key only")]
pub struct StillSealed;

impl Sealed {
    /// The text, if it can be read.
    pub fn plain(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Closed(_) | Self::Erased => None,
        }
    }

    /// Whether nothing but white space was written. Of what cannot be read that is not known.
    pub fn is_blank(&self) -> bool {
        self.plain().is_some_and(|text| text.trim().is_empty())
    }

    /// Whether nothing was written. It stays out of the JSON, and is not sealed.
    pub fn is_empty(&self) -> bool {
        self.plain().is_some_and(str::is_empty)
    }

    /// The text, or the word for one that was erased.
    pub fn shown(&self) -> Result<&str, StillSealed> {
        self.told().map(|text| text.unwrap_or(ERASED))
    }

    /// The text; `None` if it was erased.
    pub fn told(&self) -> Result<Option<&str>, StillSealed> {
        match self {
            Self::Plain(text) => Ok(Some(text)),
            Self::Erased => Ok(None),
            Self::Closed(_) => Err(StillSealed),
        }
    }
}

impl Default for Sealed {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

impl From<String> for Sealed {
    fn from(text: String) -> Self {
        Self::Plain(text)
    }
}

impl From<&str> for Sealed {
    fn from(text: &str) -> Self {
        Self::Plain(text.into())
    }
}

/// The text itself is for no log.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => write!(f, "Plain({} bytes)", text.len()),
            Self::Closed(closed) => closed.fmt(f),
            Self::Erased => f.write_str("Erased"),
        }
    }
}

impl fmt::Debug for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Closed({})", self.key)
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => serializer.serialize_str(text),
            Self::Closed(Closed { key, text }) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("sealed", key)?;
                map.serialize_entry("text", text)?;
                map.end()
            }
            Self::Erased => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("erased", &true)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SealedVisitor)
    }
}

struct SealedVisitor;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Sealed,
    Text,
    Erased,
}

impl<'de> Visitor<'de> for SealedVisitor {
    type Value = Sealed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a sealed text, or the mark of an erased one")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Sealed, E> {
        Ok(text.into())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Sealed, E> {
        Ok(text.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sealed, A::Error> {
        let (mut key, mut text, mut erased) = (None, None, false);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Sealed => key = Some(map.next_value()?),
                Field::Text => text = Some(map.next_value()?),
                Field::Erased => erased = map.next_value()?,
            }
        }
        match (key, text, erased) {
            (Some(key), Some(text), false) => Ok(Sealed::Closed(Closed { key, text })),
            (None, None, true) => Ok(Sealed::Erased),
            _ => Err(de::Error::custom("a sealed text names its key, and an erased one has neither")),
        }
    }
}

impl JsonSchema for Sealed {
    fn schema_name() -> Cow<'static, str> {
        "Sealed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "sealed": { "type": "string", "pattern": "^key_.+$" }, "text": { "type": "string" } },
                    "required": ["sealed", "text"],
                },
                { "type": "object", "properties": { "erased": { "type": "boolean" } }, "required": ["erased"] },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn closed() -> Sealed {
        Sealed::Closed(Closed { key: "key_1".into(), text: "c2VjcmV0".into() })
    }

    #[test]
    fn a_text_is_told_from_a_sealed_and_from_an_erased_one() {
        for (text, json) in [
            (Sealed::from("Ada"), json!("Ada")),
            (closed(), json!({ "sealed": "key_1", "text": "c2VjcmV0" })),
            (Sealed::Erased, json!({ "erased": true })),
        ] {
            assert_eq!(serde_json::to_value(&text).expect("json"), json);
            assert_eq!(serde_json::from_value::<Sealed>(json).expect("a text"), text);
        }
    }

    #[test]
    fn what_is_neither_a_text_nor_sealed_nor_erased_is_not_read() {
        for json in [
            json!(null),
            json!(7),
            json!({}),
            json!({ "sealed": "key_1" }),
            json!({ "text": "c2VjcmV0" }),
            json!({ "erased": false }),
            json!({ "sealed": "key_1", "text": "", "erased": true }),
            json!({ "sealed": "key_1", "text": "", "further": 1 }),
        ] {
            assert!(serde_json::from_value::<Sealed>(json.clone()).is_err(), "{json}");
        }
    }

    #[test]
    fn an_erased_text_shows_a_word_and_a_sealed_one_is_not_shown() {
        assert_eq!((Sealed::from("Ada").shown(), Sealed::from("Ada").told()), (Ok("Ada"), Ok(Some("Ada"))));
        assert_eq!((Sealed::Erased.shown(), Sealed::Erased.told()), (Ok(ERASED), Ok(None)));
        assert_eq!((closed().shown(), closed().told()), (Err(StillSealed), Err(StillSealed)));
    }

    #[test]
    fn a_text_stays_out_of_what_is_written_for_programmers() {
        let text = Sealed::from("Ada Lovelace");
        assert_eq!(format!("{text:?} {:?}", Some(&text)), "Plain(12 bytes) Some(Plain(12 bytes))");
        assert_eq!(format!("{:?}", closed()), "Closed(key_1)");
    }

    #[test]
    fn only_what_can_be_read_is_blank() {
        assert!(Sealed::from(" \n").is_blank() && !Sealed::from(" ").is_empty());
        assert!(Sealed::default().is_empty());
        assert!(!closed().is_blank() && !Sealed::Erased.is_blank());
    }
}
