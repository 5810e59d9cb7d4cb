//! What this process has appended last, as it was decided: whoever follows the book from within the process need not
//! read it there, and decode it, again.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::event::{Position, RecordedEvent};

/// The bytes of JSON whose events are kept at most.
const ROOM: usize = 16 << 20;
/// What an event takes beside its JSON, roughly.
const OVERHEAD: usize = 500;

/// An event that is durable, and how much JSON it is.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub event: Arc<RecordedEvent>,
    pub size: usize,
}

/// The last events of this process, without a gap between them. Where another process has appended meanwhile, or the
/// writer has lost sight of the book, they begin anew.
#[derive(Default)]
pub struct Recent {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    events: VecDeque<Recorded>,
    size: usize,
}

impl Recent {
    /// The events after a position, so many at most; none if they are not kept, or not of this process.
    pub fn after(&self, position: Position, limit: usize) -> Vec<Arc<RecordedEvent>> {
        self.with(|kept| {
            let first = kept.events.front().map(|first| first.event.position);
            let passed = first.and_then(|first| (position + 1).checked_sub(first)).map(|passed| passed as usize);
            let after = passed.filter(|passed| *passed < kept.events.len()).map(|passed| kept.events.range(passed..));
            after.into_iter().flatten().take(limit).map(|recorded| Arc::clone(&recorded.event)).collect()
        })
    }

    /// Forgets all of them.
    pub fn forget(&self) {
        self.with(|kept| *kept = Kept::default());
    }

    /// Adds what has become durable.
    pub(super) fn extend(&self, events: Vec<Recorded>) {
        self.with(|kept| events.into_iter().for_each(|recorded| kept.push(recorded)));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        // Whoever fell while he had it was none of its own few lines.
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn push(&mut self, recorded: Recorded) {
        if self.events.back().is_some_and(|last| last.event.position + 1 != recorded.event.position) {
            *self = Self::default();
        }
        self.size += recorded.size + OVERHEAD;
        self.events.push_back(recorded);
        while self.size > ROOM
            && let Some(oldest) = self.events.pop_front()
        {
            self.size -= oldest.size + OVERHEAD;
        }
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|kept| f.debug_struct("Recent").field("events", &kept.events.len()).finish())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::{domain::TicketEvent, event::Metadata};

    fn recorded(position: Position, size: usize) -> Recorded {
        let event = RecordedEvent {
            position,
            aggregate_id: "tkt_1".into(),
            sequence: position,
            event: TicketEvent::Read {}.into(),
            metadata: Metadata::read("{}"),
            recorded_at: DateTime::UNIX_EPOCH,
        };
        Recorded { event: Arc::new(event), size }
    }

    fn positions(recent: &Recent, after: Position, limit: usize) -> Vec<Position> {
        recent.after(after, limit).iter().map(|event| event.position).collect()
    }

    #[test]
    fn events_are_told_from_any_of_them_on() {
        let recent = Recent::default();
        assert!(positions(&recent, 0, 9).is_empty());
        recent.extend((5..=8).map(|position| recorded(position, 1)).collect());
        assert_eq!(positions(&recent, 4, 9), [5, 6, 7, 8]);
        assert_eq!(positions(&recent, 5, 2), [6, 7]);
        // Before them there are others, and after them nobody knows.
        assert!(positions(&recent, 3, 9).is_empty());
        assert!(positions(&recent, 8, 9).is_empty());
        assert!(positions(&recent, 20, 9).is_empty());
    }

    #[test]
    fn what_others_have_appended_between_is_not_passed_over() {
        let recent = Recent::default();
        recent.extend(vec![recorded(1, 1), recorded(2, 1), recorded(4, 1)]);
        assert!(positions(&recent, 0, 9).is_empty());
        assert_eq!(positions(&recent, 3, 9), [4]);
        recent.forget();
        assert!(positions(&recent, 3, 9).is_empty());
    }

    #[test]
    fn the_oldest_make_room() {
        let recent = Recent::default();
        recent.extend((1..=4).map(|position| recorded(position, ROOM / 3)).collect());
        assert!(positions(&recent, 1, 9).is_empty());
        assert_eq!(positions(&recent, 2, 9), [3, 4]);
        // One that is too large by itself is read from the book.
        recent.extend(vec![recorded(5, ROOM)]);
        assert!(positions(&recent, 4, 9).is_empty());
        recent.extend(vec![recorded(6, 1)]);
        assert_eq!(positions(&recent, 5, 9), [6]);
    }
}
