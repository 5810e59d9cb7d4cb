//! What this process has appended last, as it was decided: whoever follows the book from within the process need not
//! read it there, and decode it, again.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::event::{Position, RecordedEvent};

/// What the events may take of the memory, roughly: as much as their JSON, and something for each of them.
const ROOM: usize = 16 << 20;
const OVERHEAD: usize = 500;

/// An event that is durable, and how much JSON it is.
#[derive(Debug)]
pub(super) struct Recorded {
    pub event: Arc<RecordedEvent>,
    pub size: usize,
}

/// The last events of this process, without a gap between them. Where another process has appended meanwhile, or the
/// writer had to connect anew, they begin anew. They are kept only if somebody wants them.
#[derive(Default)]
pub struct Recent {
    wanted: AtomicBool,
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
        // They are freed when nobody waits for the lock any more.
        drop(self.with(mem::take));
    }

    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Adds what has become durable.
    pub(super) fn extend(&self, events: impl Iterator<Item = Recorded>) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let events: Vec<Recorded> = events.collect();
        let mut forgotten = Vec::new();
        self.with(|kept| events.into_iter().for_each(|recorded| kept.push(recorded, &mut forgotten)));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        // Nothing that is done with the lock can leave half of itself behind.
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    /// Those that make room for it are handed out, to be freed later.
    fn push(&mut self, recorded: Recorded, forgotten: &mut Vec<Recorded>) {
        if self.events.back().is_some_and(|last| last.event.position + 1 != recorded.event.position) {
            forgotten.extend(mem::take(self).events);
        }
        self.size += recorded.size + OVERHEAD;
        self.events.push_back(recorded);
        while self.size > ROOM
            && let Some(oldest) = self.events.pop_front()
        {
            self.size -= oldest.size + OVERHEAD;
            forgotten.push(oldest);
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

    fn wanted() -> Recent {
        let recent = Recent::default();
        recent.want();
        recent
    }

    fn positions(recent: &Recent, after: Position, limit: usize) -> Vec<Position> {
        recent.after(after, limit).iter().map(|event| event.position).collect()
    }

    #[test]
    fn events_are_told_from_any_of_them_on() {
        let recent = wanted();
        assert!(positions(&recent, 0, 9).is_empty());
        recent.extend((5..=8).map(|position| recorded(position, 1)));
        assert_eq!(positions(&recent, 4, 9), [5, 6, 7, 8]);
        assert_eq!(positions(&recent, 5, 2), [6, 7]);
        // Before them there are others, and after them nobody knows.
        assert!(positions(&recent, 3, 9).is_empty());
        assert!(positions(&recent, 8, 9).is_empty());
        assert!(positions(&recent, 20, 9).is_empty());
    }

    #[test]
    fn what_others_have_appended_between_is_not_passed_over() {
        let recent = wanted();
        recent.extend([1, 2, 4].into_iter().map(|position| recorded(position, 1)));
        assert!(positions(&recent, 0, 9).is_empty());
        assert_eq!(positions(&recent, 3, 9), [4]);
        recent.forget();
        assert!(positions(&recent, 3, 9).is_empty());
    }

    #[test]
    fn the_oldest_make_room() {
        let recent = wanted();
        recent.extend((1..=4).map(|position| recorded(position, ROOM / 3)));
        assert!(positions(&recent, 1, 9).is_empty());
        assert_eq!(positions(&recent, 2, 9), [3, 4]);
        // One that is too large by itself is read from the book.
        recent.extend([recorded(5, ROOM)].into_iter());
        assert!(positions(&recent, 4, 9).is_empty());
        recent.extend([recorded(6, 1)].into_iter());
        assert_eq!(positions(&recent, 5, 9), [6]);
    }

    #[test]
    fn what_nobody_wants_is_not_kept() {
        let recent = Recent::default();
        recent.extend([recorded(1, 1)].into_iter());
        assert!(positions(&recent, 0, 9).is_empty());
    }
}
