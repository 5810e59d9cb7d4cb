//! The clock by which is recorded: what the database says, watched by the clocks of this machine.
//!
//! A time of recording stands for ever, and the next one is never earlier. So nothing is recorded by a clock that is behind
//! the book, nor by one that has jumped while the process ran.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use rustix::time::{ClockId, clock_gettime};

use crate::store::Head;

/// By how much clocks may differ, and one of them may go back.
pub const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// After so long without a record two clocks must agree that so much time has passed.
const LONGEST_SILENCE: TimeDelta = TimeDelta::days(31);

/// The clocks of a machine.
pub trait Clocks: fmt::Debug + Send + Sync {
    /// The time of day, which somebody may set.
    fn wall(&self) -> DateTime<Utc>;

    /// The time since some moment, which nobody sets.
    fn elapsed(&self) -> Duration;
}

/// A clock that watches whether time passes as it should.
#[derive(Clone, Debug)]
pub struct Clock {
    clocks: Arc<dyn Clocks>,
    /// An operator has said that the clock of the database is right, after a long silence or behind the last record.
    trusted: bool,
    agreed: Arc<Mutex<Option<Agreed>>>,
}

/// What the clocks said when they agreed last.
#[derive(Clone, Copy, Debug)]
struct Agreed {
    wall: DateTime<Utc>,
    database: DateTime<Utc>,
    elapsed: Duration,
}

/// Why nothing is recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockTrouble {
    #[error(
        "the clock of the database says {now}, and the last event was recorded at {recorded_at}: nothing is recorded before the clock has come to within five minutes of that, unless you say by --trust-database-clock that it is right: what follows is recorded at the time of that event then, until the clock has come there"
    )]
    Behind { now: DateTime<Utc>, recorded_at: DateTime<Utc> },
    #[error(
        "the clock of {of} has jumped: it says {now} where {expected} is due; nothing is recorded until it is set right, or until the server is started again, which takes the clocks as they are then"
    )]
    Jumped { of: &'static str, now: DateTime<Utc>, expected: DateTime<Utc> },
    #[error(
        "the last event was recorded at {recorded_at}, the clock of the database says {database} and that of this machine {wall}: set the wrong one right, or say by --trust-database-clock that the database's is right"
    )]
    Disagreement { recorded_at: DateTime<Utc>, database: DateTime<Utc>, wall: DateTime<Utc> },
}

impl Default for Clock {
    fn default() -> Self {
        Self::of(OfTheMachine)
    }
}

impl Clock {
    pub fn of(clocks: impl Clocks + 'static) -> Self {
        Self { clocks: Arc::new(clocks), trusted: false, agreed: Arc::default() }
    }

    /// The same clock, with an operator's word that the database's is right, however long nothing was recorded, and however
    /// far ahead of it the last record lies.
    pub fn trusting_the_database(self, trusted: bool) -> Self {
        Self { trusted, ..self }
    }

    /// The time of day on this machine: when what has no date of its own takes effect.
    pub fn now(&self) -> DateTime<Utc> {
        self.clocks.wall()
    }

    /// By how much the database's clock may be behind the last record; `None` for without end.
    pub fn tolerance(&self) -> Option<TimeDelta> {
        (!self.trusted).then_some(TOLERANCE)
    }

    /// What is wrong with what the database's clock says, although an operator has said that it is right.
    pub fn overruled(&self, head: Head, database: DateTime<Utc>) -> Option<ClockTrouble> {
        behind(head, database).filter(|_| self.trusted)
    }

    /// Judges what the database's clock says at this moment, where the book ends here.
    pub fn judge(&self, head: Head, database: DateTime<Utc>) -> Result<(), ClockTrouble> {
        let Head { position, recorded_at } = head;
        if let Some(trouble) = behind(head, database).filter(|_| !self.trusted) {
            return Err(trouble);
        }
        let (wall, elapsed) = (self.clocks.wall(), self.clocks.elapsed());
        let mut agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        match *agreed {
            Some(before) => {
                let passed = passed(before.elapsed, elapsed);
                keeps_time("this machine", wall, before.wall + passed)?;
                keeps_time("the database", database, before.database + passed)?;
            }
            None => {
                let silent = position > 0 && database - recorded_at > LONGEST_SILENCE;
                if silent && !self.trusted && !near(database, wall) {
                    return Err(ClockTrouble::Disagreement { recorded_at, database, wall });
                }
            }
        }
        // From here on, so that the slow drift of a clock is no jump.
        *agreed = Some(Agreed { wall, database, elapsed });
        Ok(())
    }

    /// The first and the last time that the database's clock may say now; `None` if it must be judged first.
    pub fn bounds(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let before = (*self.agreed.lock().unwrap_or_else(PoisonError::into_inner))?;
        let passed = passed(before.elapsed, self.clocks.elapsed());
        if !near(self.clocks.wall(), before.wall + passed) {
            return None;
        }
        let expected = before.database + passed;
        Some((expected - TOLERANCE, expected + TOLERANCE))
    }
}

fn behind(head: Head, database: DateTime<Utc>) -> Option<ClockTrouble> {
    let recorded_at = head.recorded_at;
    (database + TOLERANCE < recorded_at).then_some(ClockTrouble::Behind { now: database, recorded_at })
}

fn passed(from: Duration, to: Duration) -> TimeDelta {
    TimeDelta::from_std(to.saturating_sub(from)).unwrap_or(TimeDelta::MAX)
}

fn near(one: DateTime<Utc>, other: DateTime<Utc>) -> bool {
    (one - other).abs() <= TOLERANCE
}

fn keeps_time(of: &'static str, now: DateTime<Utc>, expected: DateTime<Utc>) -> Result<(), ClockTrouble> {
    if near(now, expected) { Ok(()) } else { Err(ClockTrouble::Jumped { of, now, expected }) }
}

#[derive(Debug)]
struct OfTheMachine;

impl Clocks for OfTheMachine {
    fn wall(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn elapsed(&self) -> Duration {
        // It goes on while the machine is suspended, as the clocks that it is compared with do.
        let since_start = clock_gettime(ClockId::Boottime);
        Duration::new(since_start.tv_sec.unsigned_abs(), u32::try_from(since_start.tv_nsec).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");

    #[derive(Debug)]
    struct Set(Arc<Mutex<(DateTime<Utc>, Duration)>>);

    impl Clocks for Set {
        fn wall(&self) -> DateTime<Utc> {
            self.0.lock().expect("one thread").0
        }

        fn elapsed(&self) -> Duration {
            self.0.lock().expect("one thread").1
        }
    }

    fn at(wall: DateTime<Utc>) -> (Clock, impl Fn(TimeDelta, u64)) {
        let set = Arc::new(Mutex::new((wall, Duration::ZERO)));
        let clock = Clock::of(Set(Arc::clone(&set)));
        let pass = move |of_wall, minutes: u64| {
            let mut set = set.lock().expect("one thread");
            *set = (set.0 + of_wall, set.1 + Duration::from_secs(minutes * 60));
        };
        (clock, pass)
    }

    fn recorded(before: TimeDelta) -> Head {
        Head { position: 1, recorded_at: NOW - before }
    }

    const MINUTE: TimeDelta = TimeDelta::minutes(1);

    #[test]
    fn a_clock_may_be_five_minutes_behind_the_book_and_no_more() {
        let (clock, _) = at(NOW);
        assert_eq!(clock.judge(recorded(-TOLERANCE), NOW), Ok(()));
        let recorded_at = NOW + TOLERANCE + MINUTE;
        let behind = ClockTrouble::Behind { now: NOW, recorded_at };
        let head = Head { position: 1, recorded_at };
        assert_eq!((clock.judge(head, NOW), clock.overruled(head, NOW)), (Err(behind.clone()), None));
        let trusted = clock.trusting_the_database(true);
        assert_eq!((trusted.judge(head, NOW), trusted.overruled(head, NOW)), (Ok(()), Some(behind)));
        assert_eq!(trusted.overruled(recorded(-TOLERANCE), NOW), None);
    }

    #[test]
    fn a_jump_of_either_clock_is_noticed_until_it_is_set_right() {
        let (clock, pass) = at(NOW);
        let day = TimeDelta::days(1);
        assert_eq!(clock.bounds(), None, "nothing is known yet");
        clock.judge(recorded(day), NOW).expect("all is well");
        let of = |judged: Result<(), ClockTrouble>| match judged {
            Err(ClockTrouble::Jumped { of, .. }) => of,
            judged => panic!("{judged:?} is no jump"),
        };
        pass(TimeDelta::hours(1), 60);
        let due = NOW + TimeDelta::hours(1);
        assert_eq!(clock.bounds(), Some((due - TOLERANCE, due + TOLERANCE)));
        assert_eq!(of(clock.judge(recorded(day), due + TimeDelta::days(400))), "the database");
        assert_eq!(of(clock.judge(recorded(day), due - MINUTE * 6)), "the database");
        assert_eq!(clock.judge(recorded(day), due), Ok(()));
        pass(TimeDelta::days(400), 0);
        assert_eq!((of(clock.judge(recorded(day), due)), clock.bounds()), ("this machine", None));
        pass(-TimeDelta::days(400), 0);
        assert_eq!(clock.judge(recorded(day), due), Ok(()));
    }

    #[test]
    fn a_slow_drift_is_no_jump() {
        let (clock, pass) = at(NOW);
        for days in 0..100 {
            // Four minutes a day.
            assert_eq!(clock.judge(recorded(TimeDelta::zero()), NOW + TimeDelta::minutes(1444 * days)), Ok(()));
            pass(TimeDelta::days(1), 24 * 60);
        }
    }

    #[test]
    fn after_a_long_silence_two_clocks_must_agree_or_an_operator_says_so() {
        let idle = recorded(TimeDelta::days(32));
        assert_eq!(at(NOW).0.judge(idle, NOW), Ok(()), "an idle ledger is healthy");
        let hour = TimeDelta::hours(1);
        assert_eq!(at(NOW - hour).0.judge(recorded(TimeDelta::days(31)), NOW), Ok(()));
        let empty = Head { position: 0, recorded_at: DateTime::UNIX_EPOCH };
        assert_eq!(at(NOW - hour).0.judge(empty, NOW), Ok(()));
        let (clock, _) = at(NOW - hour);
        let trouble = clock.judge(idle, NOW);
        assert!(matches!(trouble, Err(ClockTrouble::Disagreement { .. })), "{trouble:?}");
        assert_eq!(clock.judge(idle, NOW), trouble, "and goes on doing so");
        assert_eq!(clock.trusting_the_database(true).judge(idle, NOW), Ok(()));
    }
}
