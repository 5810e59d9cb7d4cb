//! From stored bytes to events: the one place where events of earlier versions are brought to the present one, for
//! deciding, projecting, rebuilding and auditing alike.

use std::{fmt, ops::Deref, str::FromStr, sync::Arc};

use chrono::{DateTime, Utc};
use cqrs_es::persist::{EventUpcaster, SemanticVersion, SemanticVersionEventUpcaster, SerializedEvent};
use serde_json::Value;

use super::{Opener, RawEvent, StoreError, Unreadable};
use crate::{
    domain::{DecodeError, Event, present_version},
    event::{Metadata, RecordedEvent},
};

/// All upcasters, in the order in which they are tried; each brings one version of one event to the next. Programs on
/// the stock postgres-es repository are given the same list.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    // From 1.1 on these may have texts that are sealed; in 1.0 all were plain.
    let sealed = [
        "customer.registered",
        "payer.created",
        "payer.moved",
        "payer.renamed",
        "payer.tax_number_changed",
        "ticket.answered",
        "ticket.opened",
        "ticket.replied",
    ];
    let unchanged = |event_type: &str, version: &str| -> Box<dyn EventUpcaster> {
        Box::new(SemanticVersionEventUpcaster::new(event_type, version, Box::new(std::convert::identity)))
    };
    let mut upcasters: Vec<_> = sealed.into_iter().map(|event_type| unchanged(event_type, "1.1")).collect();
    upcasters.extend([
        // In 1.1 the share that a line bears of a discount may be finer than the currency; 1.0 had none that was.
        unchanged("invoice.finalised", "1.1"),
        // In 1.1 a refund may bear the id that the gateway gave it; 1.0 had none.
        unchanged("payment.refund_settled", "1.1"),
    ]);
    upcasters
}

/// The upcasters that a ledger is read with, in the order in which they are tried. Unless told otherwise these are all
/// there are.
#[derive(Clone)]
pub struct Upcasters(Arc<[Box<dyn EventUpcaster>]>);

impl Upcasters {
    pub fn new(upcasters: Vec<Box<dyn EventUpcaster>>) -> Self {
        Self(upcasters.into())
    }
}

impl Default for Upcasters {
    fn default() -> Self {
        Self::new(upcasters())
    }
}

impl Deref for Upcasters {
    type Target = [Box<dyn EventUpcaster>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upcasters").field(&self.len()).finish()
    }
}

impl RawEvent {
    /// The event in its present version, its texts opened.
    pub fn open(&self, opener: &Opener) -> Result<RecordedEvent, StoreError> {
        let mut recorded = self.decode(opener.upcasters())?;
        match opener.open(&self.event_type, &mut recorded.event) {
            Ok(()) => Ok(recorded),
            Err(source) => Err(self.unreadable(source)),
        }
    }

    /// The event in its present version, its texts as they are stored. Whoever shows no texts needs no key.
    pub fn decode(&self, upcasters: &Upcasters) -> Result<RecordedEvent, StoreError> {
        Ok(RecordedEvent {
            position: self.position,
            aggregate_id: self.aggregate_id.clone(),
            sequence: self.sequence,
            event: self.event(upcasters)?,
            metadata: self.surroundings(),
            recorded_at: self.recorded_at,
        })
    }

    /// When it took effect; this can be told of events of any version and program.
    pub fn occurred_at(&self) -> DateTime<Utc> {
        self.surroundings().occurred_at.unwrap_or(self.recorded_at)
    }

    /// What was recorded with the event: who, why, when.
    pub fn surroundings(&self) -> Metadata {
        Metadata::read(&self.metadata)
    }

    /// The event in its present version, without what surrounds it.
    pub fn event(&self, upcasters: &Upcasters) -> Result<Event, StoreError> {
        present_event(self, upcasters).map_err(|source| self.unreadable(source))
    }

    fn unreadable(&self, source: DecodeError) -> StoreError {
        StoreError::Unreadable(Box::new(Unreadable {
            position: self.position,
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.clone(),
            event_type: self.event_type.clone(),
            source,
        }))
    }
}

fn present_event(raw: &RawEvent, upcasters: &[Box<dyn EventUpcaster>]) -> Result<Event, DecodeError> {
    let outdated = upcasters.iter().any(|upcaster| upcaster.can_upcast(&raw.event_type, &raw.event_version));
    if outdated {
        let event = upcast(raw, upcasters)?;
        is_present(&event.aggregate_type, &event.event_type, &event.event_version, &raw.event_version)?;
        decode(&event.aggregate_type, &event.event_type, &event.payload.to_string())
    } else {
        is_present(&raw.aggregate_type, &raw.event_type, &raw.event_version, &raw.event_version)?;
        decode(&raw.aggregate_type, &raw.event_type, &raw.payload)
    }
}

/// Refuses a version that is not the present one, even where its JSON would fit: a name that stayed may have got
/// another meaning. `reached` is what the upcasters have made of the `stored` version.
fn is_present(aggregate_type: &str, event_type: &str, reached: &str, stored: &str) -> Result<(), DecodeError> {
    let present =
        present_version(aggregate_type, event_type).ok_or_else(|| DecodeError::UnknownType(event_type.into()))?;
    if same_version(reached, present) {
        Ok(())
    } else {
        Err(DecodeError::UnknownVersion { event_type: event_type.into(), stored: stored.into(), present })
    }
}

/// An upcaster calls `1.0` what it made `1.0.0`.
pub(super) fn same_version(one: &str, other: &str) -> bool {
    let parsed = SemanticVersion::from_str;
    one == other || matches!((parsed(one), parsed(other)), (Ok(one), Ok(other)) if one == other)
}

fn upcast(raw: &RawEvent, upcasters: &[Box<dyn EventUpcaster>]) -> Result<SerializedEvent, DecodeError> {
    let event = SerializedEvent {
        aggregate_id: raw.aggregate_id.clone(),
        sequence: usize::try_from(raw.sequence).unwrap_or(usize::MAX),
        aggregate_type: raw.aggregate_type.clone(),
        event_type: raw.event_type.clone(),
        event_version: raw.event_version.clone(),
        payload: serde_json::from_str(&raw.payload)?,
        metadata: Value::Null,
    };
    Ok(upcasters.iter().fold(event, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) { upcaster.upcast(event) } else { event }
    }))
}

fn decode(aggregate_type: &str, event_type: &str, payload: &str) -> Result<Event, DecodeError> {
    let event = Event::decode(aggregate_type, payload)?;
    let found = event.event_type();
    if found == event_type {
        Ok(event)
    } else {
        Err(DecodeError::TypeMismatch { row: event_type.into(), payload: found })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        TicketEvent,
        ticket::{Subject, TicketOpening},
    };

    fn stored(event_version: &str, payload: Value) -> RawEvent {
        RawEvent {
            position: 7,
            aggregate_type: "ticket".into(),
            aggregate_id: "tkt_1".into(),
            sequence: 1,
            event_type: "ticket.answered".into(),
            event_version: event_version.into(),
            payload: payload.to_string(),
            metadata: r#"{"actor": "staff:anna", "attempts": 3}"#.into(),
            recorded_at: DateTime::UNIX_EPOCH,
        }
    }

    /// Version 0.1 called the message `text`, version 0.2 `body`.
    fn renaming(from: &'static str, to: &'static str, version: &str) -> Box<dyn EventUpcaster> {
        let rename = move |mut payload: Value| {
            let answered = payload["answered"].as_object_mut().expect("an object");
            let message = answered.remove(from).expect("the old name");
            answered.insert(to.into(), message);
            payload
        };
        Box::new(SemanticVersionEventUpcaster::new("ticket.answered", version, Box::new(rename)))
    }

    #[test]
    fn an_event_of_an_earlier_version_is_brought_to_the_present_step_by_step() {
        let upcasters = [renaming("text", "body", "0.2"), renaming("body", "message", "1.1")];
        let present = Event::Ticket(TicketEvent::Answered { message: "done".into() });
        for (version, name) in [("0.1", "text"), ("0.2", "body"), ("1.1", "message")] {
            let raw = stored(version, json!({ "answered": { name: "done" } }));
            assert_eq!(present_event(&raw, &upcasters).expect("an event"), present, "{version}");
        }
    }

    #[test]
    fn a_version_that_nothing_leads_from_is_refused_even_where_its_json_fits() {
        let upcasters = [renaming("text", "body", "0.2")];
        for (version, name) in
            [("0.1", "text"), ("0.2", "message"), ("1.2", "message"), ("2", "message"), ("", "message")]
        {
            let raw = stored(version, json!({ "answered": { name: "done" } }));
            let error = present_event(&raw, &upcasters).expect_err("this is not the present version");
            let said = format!(
                "`ticket.answered` is stored in version {version}, and nothing here leads from there to version 1.1"
            );
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn a_version_in_other_figures_is_the_same_version() {
        for version in ["1.1", "1.1.0"] {
            let raw = stored(version, json!({ "answered": { "message": "done" } }));
            assert!(present_event(&raw, &[]).is_ok(), "{version}");
        }
    }

    #[test]
    fn an_event_type_of_a_later_program_is_named_with_its_type() {
        let raw = RawEvent { event_type: "ticket.escalated".into(), ..stored("1.0", json!({ "escalated": {} })) };
        let error = present_event(&raw, &[]).expect_err("nobody knows it");
        assert_eq!(error.to_string(), "the event type `ticket.escalated` is unknown to this version");
    }

    #[test]
    fn an_unreadable_event_is_named() {
        let error =
            stored("1.0", json!({ "answered": {} })).decode(&Upcasters::default()).expect_err("a message is missing");
        assert_eq!(error.to_string(), "the event at position 7 cannot be read: `ticket.answered` of ticket tkt_1");
    }

    #[test]
    fn a_row_that_calls_its_payload_something_else_is_unreadable() {
        let subject = Subject::Order("ord_1".parse().expect("an order"));
        let opened = TicketEvent::Opened(TicketOpening {
            customer: "cus_1".parse().expect("a customer"),
            category: "billing".into(),
            subject: "a subject".into(),
            about: Some(subject),
            message: "a message".into(),
        });
        let raw = stored("1.1", serde_json::to_value(opened).expect("json"));
        assert!(matches!(present_event(&raw, &[]), Err(DecodeError::TypeMismatch { .. })));
    }

    #[test]
    fn of_foreign_metadata_what_is_text_is_read() {
        let recorded = stored("1.0", json!({ "answered": { "message": "done" } }))
            .decode(&Upcasters::default())
            .expect("an event");
        assert_eq!(recorded.metadata.actor.map(|actor| actor.to_string()).as_deref(), Some("staff:anna"));
    }
}
