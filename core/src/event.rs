//! An event as it lies in the book: who did what, when it took effect, when it was written, and where it stands.

use std::{borrow::Cow, fmt, str::FromStr};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::{Event, Principal};

/// The place of an event in the book: 1, 2, 3 … without gaps, in the order of commits.
pub type Position = u64;

/// How far ahead something may take effect. A year is charged in advance at most; what lies beyond is a slip of the pen, and
/// it can never be corrected: every balance of an earlier day would be without it for ever.
pub const AHEAD: TimeDelta = TimeDelta::days(366);

/// Whoever acts: a kind and a name, written `staff:anna`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Actor {
    pub kind: ActorKind,
    pub name: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActorKind {
    Customer,
    Staff,
    /// A payment gateway.
    Gateway,
    /// The provider's own programs: imports, timers, billing runs.
    System,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an actor is written `customer:…`, `staff:…`, `gateway:…` or `system:…`, in 1 to 128 printable characters")]
pub struct ActorError;

impl Actor {
    pub fn new(kind: ActorKind, name: &str) -> Self {
        Self { kind, name: name.into() }
    }

    pub fn system(name: &str) -> Self {
        Self::new(ActorKind::System, name)
    }
}

impl ActorKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Staff => "staff",
            Self::Gateway => "gateway",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

impl FromStr for Actor {
    type Err = ActorError;

    fn from_str(text: &str) -> Result<Self, ActorError> {
        let (kind, name) = text.split_once(':').ok_or(ActorError)?;
        let kind = match kind {
            "customer" => ActorKind::Customer,
            "staff" => ActorKind::Staff,
            "gateway" => ActorKind::Gateway,
            "system" => ActorKind::System,
            _ => return Err(ActorError),
        };
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            return Err(ActorError);
        }
        Ok(Self::new(kind, name))
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.to_string()
    }
}

impl TryFrom<String> for Actor {
    type Error = ActorError;

    fn try_from(text: String) -> Result<Self, ActorError> {
        text.parse()
    }
}

/// What surrounds a command and is recorded with each of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub actor: Actor,
    /// As whom the actor asks, whose rights the command is looked at by; `None` for the ledger's own programs.
    pub principal: Option<Principal>,
    /// Whom the actor stands in for, such as the customer in whose panel a member of staff works.
    pub on_behalf_of: Option<Actor>,
    /// Why, where a person decided.
    pub reason: Option<String>,
    /// What the command belongs to: the request that brought it, as its caller calls it. Others may call theirs the same.
    pub correlation_id: Uuid,
    /// What led to the command, where that is known: an earlier command, a notice, a request.
    pub causation_id: Option<Uuid>,
    /// When it takes effect, unless that period is closed. Whole microseconds, as PostgreSQL keeps them.
    pub occurred_at: DateTime<Utc>,
}

impl Context {
    /// What is recorded with the events of a command. `open_from` is the first moment of the open period: what would take
    /// effect before it takes effect then, and says as `dated_at` what was asked for.
    pub fn to_metadata(&self, command_id: Uuid, open_from: Option<DateTime<Utc>>) -> Metadata {
        let closed = open_from.filter(|open_from| self.occurred_at < *open_from);
        Metadata {
            actor: Some(self.actor.clone()),
            on_behalf_of: self.on_behalf_of.clone(),
            reason: self.reason.clone(),
            command_id: Some(command_id),
            correlation_id: Some(self.correlation_id),
            causation_id: self.causation_id,
            occurred_at: Some(closed.unwrap_or(self.occurred_at)),
            dated_at: closed.map(|_| self.occurred_at),
        }
    }
}

/// A flat map of texts, because that is what cqrs-es reads; in the order of names, so that the same is always written the
/// same.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Column<'a, A, I> {
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<A>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<I>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<I>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<I>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dated_at: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<A>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
}

/// The metadata of a stored event. Events of other programs on the same table may lack any of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub actor: Option<Actor>,
    pub on_behalf_of: Option<Actor>,
    pub reason: Option<String>,
    /// One command, one id, which is the ledger's own: what happened together shares it, and nothing else does.
    pub command_id: Option<Uuid>,
    pub correlation_id: Option<Uuid>,
    pub causation_id: Option<Uuid>,
    pub occurred_at: Option<DateTime<Utc>>,
    /// When it would have taken effect, had that period not been closed.
    pub dated_at: Option<DateTime<Utc>>,
}

impl Metadata {
    /// The metadata column.
    pub fn to_column(&self) -> String {
        let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into();
        let column = Column {
            actor: self.actor.as_ref(),
            causation_id: self.causation_id,
            command_id: self.command_id,
            correlation_id: self.correlation_id,
            dated_at: self.dated_at.map(text),
            occurred_at: self.occurred_at.map(text),
            on_behalf_of: self.on_behalf_of.as_ref(),
            reason: self.reason.as_deref().map(Cow::Borrowed),
        };
        serde_json::to_string(&column).expect("a map of texts is JSON")
    }

    /// Reads the metadata column; what is missing or unreadable there is absent here. Other programs may keep more than
    /// text in it, or no map at all; of theirs, what is text by its name is read.
    pub fn read(column: &str) -> Self {
        let is_map = column.trim_start().starts_with('{');
        let own = if is_map { serde_json::from_str(column).ok() } else { None };
        Self::of(own.unwrap_or_else(|| {
            let mut map: Map<String, Value> = serde_json::from_str(column).unwrap_or_default();
            map.retain(|_, value| value.is_string());
            serde_json::from_value(Value::Object(map)).unwrap_or_default()
        }))
    }

    fn of(column: Column<'_, Cow<'_, str>, Cow<'_, str>>) -> Self {
        fn read<T: FromStr>(text: Option<Cow<'_, str>>) -> Option<T> {
            text.and_then(|text| text.parse().ok())
        }
        Self {
            actor: read(column.actor),
            on_behalf_of: read(column.on_behalf_of),
            reason: column.reason.map(Cow::into_owned),
            command_id: read(column.command_id),
            correlation_id: read(column.correlation_id),
            causation_id: read(column.causation_id),
            occurred_at: read(column.occurred_at),
            dated_at: read(column.dated_at),
        }
    }
}

/// One event of the book, decoded and upcast.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    pub position: Position,
    pub aggregate_id: String,
    /// The place within the aggregate's own stream: 1, 2, 3 …
    pub sequence: u64,
    pub event: Event,
    pub metadata: Metadata,
    pub recorded_at: DateTime<Utc>,
}

impl RecordedEvent {
    /// When the event took effect; one that does not say took effect when it was recorded.
    pub fn occurred_at(&self) -> DateTime<Utc> {
        self.metadata.occurred_at.unwrap_or(self.recorded_at)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn metadata_is_what_surrounded_the_command_and_reads_back() {
        let (context, command_id) = (context(), Uuid::from_u128(3));
        let metadata = context.to_metadata(command_id, None);
        assert_eq!(metadata.command_id, Some(command_id));
        assert_eq!((metadata.occurred_at, metadata.dated_at), (Some(context.occurred_at), None));
        assert_eq!(Metadata::read(&metadata.to_column()), metadata);
        assert_eq!(metadata.actor, Some(context.actor));
        assert_eq!(metadata.on_behalf_of, context.on_behalf_of);
        assert_eq!(metadata.reason, context.reason);
        assert_eq!(metadata.correlation_id, Some(context.correlation_id));
        assert_eq!(metadata.causation_id, context.causation_id);
    }

    #[test]
    fn what_is_dated_in_a_closed_period_takes_effect_in_the_open_one_and_keeps_both_dates() {
        let context = context();
        let moment = TimeDelta::microseconds(1);
        let told = |open_from| {
            let metadata = context.to_metadata(Uuid::nil(), Some(open_from));
            assert_eq!(Metadata::read(&metadata.to_column()), metadata);
            (metadata.occurred_at, metadata.dated_at)
        };
        let later = context.occurred_at + moment;
        assert_eq!(told(later), (Some(later), Some(context.occurred_at)));
        assert_eq!(told(context.occurred_at), (Some(context.occurred_at), None));
        assert_eq!(told(context.occurred_at - moment), (Some(context.occurred_at), None));
    }

    fn context() -> Context {
        Context {
            actor: Actor::new(ActorKind::Staff, "anna"),
            principal: None,
            on_behalf_of: Some(Actor::new(ActorKind::Customer, "cus_1")),
            reason: Some("asked by telephone".into()),
            correlation_id: Uuid::from_u128(1),
            causation_id: Some(Uuid::from_u128(2)),
            occurred_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("a time"),
        }
    }

    #[test]
    fn an_actor_without_a_known_kind_is_refused() {
        assert_eq!("martian:zork".parse::<Actor>(), Err(ActorError));
        assert_eq!("staff:".parse::<Actor>(), Err(ActorError));
    }
}
