//! The aggregates in memory: always exactly at the head of the book, bounded, and free to be forgotten.

use std::{any::Any, fmt};

use lru::LruCache;

use crate::domain::{AGGREGATE_TYPES, Event, Id, LedgerAggregate, Visitor, with_aggregate};

/// The name of a stream: the type and the identifier of its aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    pub aggregate_type: &'static str,
    pub aggregate_id: Box<str>,
}

impl StreamKey {
    pub fn of<A: LedgerAggregate>(id: &Id<A>) -> Self {
        Self { aggregate_type: A::TYPE, aggregate_id: id.as_str().into() }
    }

    /// The stream of a stored event; `None` for an aggregate of another program.
    pub fn stored(aggregate_type: &str, aggregate_id: &str) -> Option<Self> {
        let aggregate_type = AGGREGATE_TYPES.into_iter().find(|known| *known == aggregate_type)?;
        Some(Self { aggregate_type, aggregate_id: aggregate_id.into() })
    }
}

/// An aggregate and how many events made it.
#[derive(Clone, Debug)]
pub struct Loaded {
    state: Box<dyn State>,
    /// The sequence of its last event; 0 before the first.
    pub sequence: u64,
    /// The sequence at which it was last written as a snapshot.
    pub snapshot_sequence: u64,
}

/// An aggregate whose type is known only where it is used.
pub trait State: Any + Send + Sync + fmt::Debug {
    fn boxed_clone(&self) -> Box<dyn State>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    /// Applies an event of this aggregate's own type.
    fn apply_event(&mut self, event: Event);
    fn weight(&self) -> usize;
    fn holds_texts(&self) -> bool;
    /// Whom the texts of its events are about; `own` is its identifier.
    fn person<'a>(&'a self, own: &'a str) -> &'a str;
    fn fold_version(&self) -> i32;
    fn to_json(&self) -> String;
    /// Replaces the state by one that was written as JSON.
    fn restore(&mut self, json: &str) -> Result<(), serde_json::Error>;
}

#[derive(Debug)]
struct Typed<A>(A);

impl<A: LedgerAggregate> State for Typed<A> {
    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(Self(self.0.clone()))
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        &mut self.0
    }

    fn apply_event(&mut self, event: Event) {
        let event = event.try_into().expect("a stream holds events of its own aggregate's type only");
        self.0.apply(event);
    }

    fn weight(&self) -> usize {
        self.0.weight()
    }

    fn holds_texts(&self) -> bool {
        A::HOLDS_TEXTS
    }

    fn person<'a>(&'a self, own: &'a str) -> &'a str {
        self.0.person(own)
    }

    fn fold_version(&self) -> i32 {
        A::FOLD_VERSION
    }

    fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("an aggregate has no map with keys that are not text")
    }

    fn restore(&mut self, json: &str) -> Result<(), serde_json::Error> {
        self.0 = serde_json::from_str(json)?;
        Ok(())
    }
}

impl Clone for Box<dyn State> {
    fn clone(&self) -> Self {
        self.as_ref().boxed_clone()
    }
}

impl Loaded {
    pub fn empty<A: LedgerAggregate>() -> Self {
        Self { state: Box::new(Typed(A::default())), sequence: 0, snapshot_sequence: 0 }
    }

    /// An aggregate before its first event, by the name of its type; `None` for a type that is not on the board.
    pub fn blank(aggregate_type: &str) -> Option<Self> {
        struct Blank;

        impl Visitor for Blank {
            type Output = Loaded;

            fn visit<A: LedgerAggregate>(self) -> Loaded {
                Loaded::empty::<A>()
            }
        }

        with_aggregate(aggregate_type, Blank)
    }

    pub fn state<A: LedgerAggregate>(&self) -> &A {
        self.state.as_any().downcast_ref().expect("a stream key names the type of its aggregate")
    }

    pub fn state_mut<A: LedgerAggregate>(&mut self) -> &mut A {
        self.state.as_any_mut().downcast_mut().expect("a stream key names the type of its aggregate")
    }

    /// Applies the next event of the stream.
    pub fn apply(&mut self, event: Event) {
        self.state.apply_event(event);
        self.sequence += 1;
    }

    pub fn any(&self) -> &dyn State {
        self.state.as_ref()
    }

    pub fn any_mut(&mut self) -> &mut dyn State {
        self.state.as_mut()
    }
}

/// The cache of aggregates. It grows while a batch is decided and is trimmed between batches.
#[derive(Debug)]
pub struct Aggregates {
    loaded: LruCache<StreamKey, Loaded>,
    weight: usize,
    /// The weight above which the least recently used aggregates are forgotten.
    limit: usize,
    /// The most that one of them counts. One that is heavier than all that may stay would otherwise be forgotten after each
    /// batch and loaded for the next, which takes a second where there are hundreds of thousands of open entries; now
    /// four such are kept as long as they are in use.
    heaviest: usize,
}

impl Aggregates {
    /// `limit` is in units of about a hundred bytes, as [`LedgerAggregate::weight`].
    pub fn new(limit: usize) -> Self {
        Self { loaded: LruCache::unbounded(), weight: 0, limit, heaviest: (limit / 4).max(1) }
    }

    fn counted(&self, loaded: &Loaded) -> usize {
        loaded.any().weight().min(self.heaviest)
    }

    pub fn get(&self, stream: &StreamKey) -> Option<&Loaded> {
        self.loaded.peek(stream)
    }

    /// Applies the next event of a stream, if that stream is in memory.
    pub fn apply(&mut self, stream: &StreamKey, event: Event) {
        if let Some(loaded) = self.loaded.peek_mut(stream) {
            let before = loaded.any().weight().min(self.heaviest);
            loaded.apply(event);
            self.weight = self.weight - before + loaded.any().weight().min(self.heaviest);
        }
    }

    /// Answers with what was there before.
    pub fn insert(&mut self, stream: StreamKey, loaded: Loaded) -> Option<Loaded> {
        self.weight += self.counted(&loaded);
        let before = self.loaded.put(stream, loaded);
        self.weight -= before.as_ref().map_or(0, |before| self.counted(before));
        before
    }

    /// Notes that the aggregate is of use.
    pub fn promote(&mut self, stream: &StreamKey) {
        self.loaded.promote(stream);
    }

    pub fn remove(&mut self, stream: &StreamKey) {
        if let Some(before) = self.loaded.pop(stream) {
            self.weight -= self.counted(&before);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    /// Notes that the aggregate has been written as a snapshot as it was after this event.
    pub fn mark_snapshot(&mut self, stream: &StreamKey, sequence: u64) {
        if let Some(loaded) = self.loaded.peek_mut(stream) {
            loaded.snapshot_sequence = sequence;
        }
    }

    pub fn clear(&mut self) {
        self.loaded.clear();
        self.weight = 0;
    }

    /// Forgets the least recently used aggregates until the rest is within the limit. Those of which only the memory
    /// knows yet what they have become stay.
    pub fn trim(&mut self, stays: impl Fn(&StreamKey) -> bool) {
        while self.weight > self.limit {
            match self.loaded.pop_lru() {
                Some((stream, used_last)) if stays(&stream) => {
                    // What was decided last was used last: all that follow may have to stay, too.
                    self.loaded.put(stream, used_last);
                    break;
                }
                Some((_, forgotten)) => self.weight -= self.counted(&forgotten),
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::Aggregate;

    use super::*;
    use crate::domain::Account;

    #[derive(Clone, Debug)]
    struct Weighing(usize);

    impl State for Weighing {
        fn boxed_clone(&self) -> Box<dyn State> {
            Box::new(self.clone())
        }

        fn as_any(&self) -> &dyn Any {
            self
        }

        fn as_any_mut(&mut self) -> &mut dyn Any {
            self
        }

        fn apply_event(&mut self, _: Event) {}

        fn weight(&self) -> usize {
            self.0
        }

        fn holds_texts(&self) -> bool {
            false
        }

        fn person<'a>(&'a self, own: &'a str) -> &'a str {
            own
        }

        fn fold_version(&self) -> i32 {
            1
        }

        fn to_json(&self) -> String {
            String::new()
        }

        fn restore(&mut self, _: &str) -> Result<(), serde_json::Error> {
            Ok(())
        }
    }

    fn stream(id: &str) -> StreamKey {
        StreamKey { aggregate_type: Account::TYPE, aggregate_id: id.into() }
    }

    fn insert(cache: &mut Aggregates, id: &str, weight: usize) {
        cache.insert(stream(id), Loaded { state: Box::new(Weighing(weight)), sequence: 1, snapshot_sequence: 0 });
    }

    #[test]
    fn what_is_heavier_than_the_cache_stays_while_it_is_in_use() {
        let mut cache = Aggregates::new(40);
        insert(&mut cache, "heavy", 1_000);
        for number in 0..100 {
            insert(&mut cache, &number.to_string(), 1);
            cache.promote(&stream("heavy"));
            cache.trim(|_| false);
        }
        assert!(cache.get(&stream("heavy")).is_some());
        assert_eq!((cache.loaded.len(), cache.weight), (31, 40), "of the others those that were used last stay");

        for number in 100..200 {
            insert(&mut cache, &number.to_string(), 1);
            cache.trim(|_| false);
        }
        assert!(cache.get(&stream("heavy")).is_none(), "it was not used for long");
        assert_eq!((cache.loaded.len(), cache.weight), (40, 40));
    }

    #[test]
    fn no_more_than_four_heavy_ones_stay() {
        let mut cache = Aggregates::new(40);
        for id in ["a", "b", "c", "d", "e"] {
            insert(&mut cache, id, 1_000);
            cache.trim(|_| false);
        }
        assert_eq!((cache.loaded.len(), cache.weight), (4, 40));
        cache.remove(&stream("e"));
        insert(&mut cache, "d", 1);
        assert_eq!((cache.loaded.len(), cache.weight), (3, 21));
    }
}
