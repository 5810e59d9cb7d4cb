//! A unit of work: what one command does to any number of aggregates, all of it or nothing.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use futures::FutureExt;
use uuid::Uuid;

use super::aggregates::{Aggregates, Loaded, StreamKey};
use crate::{
    domain::{CustomerId, Event, Id, LedgerAggregate, Noun, Owner},
    event::Context,
};

/// An event that has been decided and waits to be appended.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    pub stream: StreamKey,
    /// Its place in its stream, from 1.
    pub sequence: u64,
    pub event: Event,
}

/// The aggregates as one command sees and changes them.
///
/// A stream that is not in memory is read as empty and noted as missing; whoever runs the command loads what is
/// missing and decides again. So operations do no I/O and can be run twice.
#[derive(Debug)]
pub struct UnitOfWork<'a> {
    aggregates: &'a Aggregates,
    context: &'a Context,
    command_id: Uuid,
    /// Identifiers of what the command creates are this one, counted up.
    next_id: u128,
    /// What carries one of those identifiers is not in the book yet, unless the command's own identifier was used
    /// before.
    created: Vec<Box<str>>,
    looks_up_created: bool,
    touched: HashMap<StreamKey, Loaded>,
    missing: Vec<StreamKey>,
    events: Vec<NewEvent>,
    /// The customer of whom it reads only what is theirs.
    confined_to: Option<CustomerId>,
    /// Of what was touched, what is another customer's, and was read as if it were not there.
    hidden: HashSet<StreamKey>,
}

/// What a command that was not refused leaves behind.
#[derive(Debug)]
pub struct Outcome {
    pub events: Vec<NewEvent>,
    /// The aggregates after these events.
    pub touched: HashMap<StreamKey, Loaded>,
}

impl<'a> UnitOfWork<'a> {
    /// `command_id` is a version 7 UUID that no other command has.
    pub fn new(aggregates: &'a Aggregates, context: &'a Context, command_id: Uuid) -> Self {
        Self {
            aggregates,
            context,
            command_id,
            next_id: command_id.as_u128(),
            created: Vec::new(),
            looks_up_created: false,
            touched: HashMap::new(),
            missing: Vec::new(),
            events: Vec::new(),
            confined_to: None,
            hidden: HashSet::new(),
        }
    }

    /// From here on nothing is read that is another customer's: it is as if it were not there.
    pub fn confine(&mut self, customer: CustomerId) {
        self.confined_to = Some(customer);
    }

    /// Has even that looked up in the book which this command creates.
    pub fn looking_up_created(self) -> Self {
        Self { looks_up_created: true, ..self }
    }

    pub fn context(&self) -> &'a Context {
        self.context
    }

    /// When the command was given, to the millisecond: its identifier says so. `None` where that has no time in it.
    pub fn given_at(&self) -> Option<DateTime<Utc>> {
        let (seconds, nanoseconds) = self.command_id.get_timestamp()?.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
    }

    /// An identifier for something that this command creates.
    pub fn new_id<N: Noun>(&mut self) -> Id<N> {
        self.next_id += 1;
        let id = Id::from_uuid(Uuid::from_u128(self.next_id));
        self.created.push(id.as_str().into());
        id
    }

    /// The aggregate as it stands now, after what this command has done to it so far.
    pub fn get<A: LedgerAggregate>(&mut self, id: &Id<A>) -> &A {
        self.touch::<A>(StreamKey::of(id)).state()
    }

    /// Lets the aggregate decide a command and records its events.
    pub fn execute<A: LedgerAggregate>(&mut self, id: &Id<A>, command: A::Command) -> Result<(), A::Error> {
        let stream = StreamKey::of(id);
        let loaded = self.touch::<A>(stream.clone());
        let sink = EventSink::<A>::default();
        // `handle` is async by contract, but ours never waits. Without `unconstrained` tokio's cooperative budget
        // could make the sink's lock pretend to, in the middle of a large batch.
        tokio::task::unconstrained(loaded.state_mut::<A>().handle(command, &(), &sink))
            .now_or_never()
            .expect("the domain does no I/O, so that it never waits")?;
        let events = sink.collect().now_or_never().expect("collecting takes the events out of the sink");
        let first = loaded.sequence + 1;
        loaded.sequence += events.len() as u64;
        let new = events.into_iter().zip(first..);
        self.events.extend(new.map(|(event, sequence)| NewEvent {
            stream: stream.clone(),
            sequence,
            event: event.into(),
        }));
        Ok(())
    }

    /// The events of this command so far.
    pub fn events(&self) -> &[NewEvent] {
        &self.events
    }

    /// The streams that were read as empty because they are not in memory.
    pub fn missing(&self) -> &[StreamKey] {
        &self.missing
    }

    pub fn finish(self) -> Outcome {
        let Self { events, mut touched, hidden, .. } = self;
        // In their stead something empty was read; what is in memory of them stays.
        touched.retain(|stream, _| !hidden.contains(stream));
        assert!(
            hidden.is_empty() || events.iter().all(|event| !hidden.contains(&event.stream)),
            "an aggregate that is not there refuses every command but one that makes it, and that has an identifier of its own"
        );
        Outcome { events, touched }
    }

    fn touch<A: LedgerAggregate>(&mut self, stream: StreamKey) -> &mut Loaded {
        let is_hidden = self.is_hidden::<A>(&stream);
        match self.touched.entry(stream) {
            Entry::Occupied(touched) => touched.into_mut(),
            Entry::Vacant(vacant) if is_hidden => {
                self.hidden.insert(vacant.key().clone());
                vacant.insert(Loaded::empty::<A>())
            }
            Entry::Vacant(vacant) => {
                let loaded = match self.aggregates.get(vacant.key()) {
                    Some(loaded) => loaded.clone(),
                    None => {
                        if self.looks_up_created || !self.created.contains(&vacant.key().aggregate_id) {
                            self.missing.push(vacant.key().clone());
                        }
                        Loaded::empty::<A>()
                    }
                };
                vacant.insert(loaded)
            }
        }
    }

    /// Whether it is another customer's than the one to whom this is confined.
    fn is_hidden<A: LedgerAggregate>(&mut self, stream: &StreamKey) -> bool {
        let Some(customer) = self.confined_to.clone().filter(|_| !self.touched.contains_key(stream)) else {
            return false;
        };
        let Some(loaded) = self.aggregates.get(stream) else { return false };
        match loaded.state::<A>().owner() {
            Owner::Everybody => false,
            Owner::Itself => *stream.aggregate_id != *customer.as_str(),
            Owner::Customer(owner) => *owner != customer,
            Owner::Account(account) => self.get(account).ledger().is_err(),
            Owner::Payment(payment) => self.get(payment).started().is_err(),
            Owner::Members(person) => !person.is_member_of(&customer),
        }
    }
}
