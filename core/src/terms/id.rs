//! Identifiers: a prefix that names the noun, then a time-ordered ULID or a name given from outside.

use std::{borrow::Cow, fmt, hash, marker::PhantomData, str::FromStr, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ulid::Ulid;
use uuid::Uuid;

/// What an identifier can identify.
pub trait Noun {
    /// The part before the underscore, such as `acc`.
    const PREFIX: &'static str;
    /// Whether others choose its names, such as a gateway its payment ids: these have more signs than ours.
    const NAMED_BY_OTHERS: bool = false;
}

/// The most bytes of a name that others have chosen.
pub const LONGEST_NAME: usize = 600;

/// The identifier of one `N`, such as `acc_01J9ZK…`: unique for ever, never reused, sortable by time of creation
/// unless it was [named](Id::named) from outside.
pub struct Id<N> {
    // Shared: an account's state has thousands of them, and a command copies whole nodes of its maps.
    text: Arc<str>,
    noun: PhantomData<fn() -> N>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an identifier here begins with `{expected}_`")]
    WrongPrefix { expected: &'static str },
    #[error("an identifier has 1 to 128 characters of A-Z a-z 0-9 . _ : - after its prefix")]
    Malformed,
    #[error("a name from outside has 1 to {LONGEST_NAME} bytes, no control character, and no space at its ends")]
    MalformedName,
}

impl<N: Noun> Id<N> {
    /// The identifier made of a UUID; version 7 keeps identifiers sortable by time.
    pub fn from_uuid(uuid: Uuid) -> Self {
        let ulid = Ulid::from_bytes(uuid.into_bytes());
        Self::from_text(&format!("{}_{ulid}", N::PREFIX))
    }

    /// The identifier that carries a name given from outside, such as a gateway's own payment id.
    pub fn named(name: &str) -> Result<Self, IdError> {
        let is_ours = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        if N::NAMED_BY_OTHERS {
            if name.is_empty() || name.len() > LONGEST_NAME || name.trim() != name || name.contains(char::is_control) {
                return Err(IdError::MalformedName);
            }
        } else if name.is_empty() || name.len() > 128 || !name.chars().all(is_ours) {
            return Err(IdError::Malformed);
        }
        Ok(Self::from_text(&format!("{}_{name}", N::PREFIX)))
    }

    fn from_text(text: &str) -> Self {
        Self { text: text.into(), noun: PhantomData }
    }
}

impl<N> Id<N> {
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<N: Noun> FromStr for Id<N> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let name = text
            .strip_prefix(N::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .ok_or(IdError::WrongPrefix { expected: N::PREFIX })?;
        Self::named(name)
    }
}

impl<N> Clone for Id<N> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), noun: PhantomData }
    }
}

impl<N> PartialEq for Id<N> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<N> Eq for Id<N> {}

impl<N> PartialOrd for Id<N> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<N> Ord for Id<N> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl<N> hash::Hash for Id<N> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<N> fmt::Debug for Id<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<N> fmt::Display for Id<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<N> Serialize for Id<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, N: Noun> Deserialize<'de> for Id<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl<N: Noun> JsonSchema for Id<N> {
    fn schema_name() -> Cow<'static, str> {
        format!("Id_{}", N::PREFIX).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": format!("^{}_.+$", N::PREFIX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Cat;

    impl Noun for Cat {
        const PREFIX: &'static str = "cat";
    }

    #[test]
    fn an_identifier_reads_back_what_it_prints() {
        let id = Id::<Cat>::from_uuid(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(id.as_str(), "cat_01JC000000E008000000000001");
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    #[test]
    fn a_foreign_prefix_is_refused() {
        assert_eq!("dog_1".parse::<Id<Cat>>(), Err(IdError::WrongPrefix { expected: "cat" }));
    }

    #[test]
    fn a_name_with_a_slash_is_refused() {
        assert_eq!(Id::<Cat>::named("a/b"), Err(IdError::Malformed));
    }
}
