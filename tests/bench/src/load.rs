//! The load: callers that deposit random amounts, each waiting for one answer before it asks for the next deposit.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    Failure,
    measure::{Counts, Latency, Run},
    memory,
};

/// What every deposit says of itself, so that an event's payload is of about 200 bytes with all contestants.
pub const DESCRIPTION: &str = "paid in by card at the counter of the branch office, slip 4711";
pub const REASON: &str = "a deposit";
pub const ACTOR: &str = "system:bench";

/// A deposit that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct Deposit {
    /// From 0.
    pub account: usize,
    pub cents: i64,
}

/// The deposits of one caller.
pub struct Deposits {
    accounts: usize,
    random: StdRng,
}

impl Deposits {
    /// The same caller asks for the same deposits, whoever is measured.
    pub fn of(caller: usize, accounts: usize) -> Self {
        Self { accounts, random: StdRng::seed_from_u64(caller as u64) }
    }

    pub fn draw(&mut self) -> Deposit {
        Deposit { account: self.random.random_range(0..self.accounts), cents: self.random.random_range(1..=10_000) }
    }
}

/// What came of one attempt.
pub enum Attempt {
    Accepted,
    /// Nothing was done; the caller tries again.
    Refused,
    /// It cannot be said, or will never work: why.
    Dropped(String),
}

/// Somebody who uses a ledger.
pub trait Caller: Send + 'static {
    /// Decides what to ask for next.
    fn next(&mut self);

    /// Asks for it, for the first time or again.
    fn attempt(&mut self) -> impl Future<Output = Attempt> + Send;
}

/// How long to measure, after how long a time in which caches and connections get warm.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Span {
    pub warm_up: Duration,
    pub measured: Duration,
}

/// What came of a load.
#[derive(Debug)]
pub struct Load {
    /// Of the commands that were begun after the warm-up.
    pub counts: Counts,
    pub latency: Histogram<u64>,
    /// From the end of the warm-up to the last answer.
    pub elapsed: Duration,
    /// With those of the warm-up.
    pub accepted_in_all: u64,
    pub begun: Instant,
    pub first_drop: Option<String>,
}

/// What one caller saw.
struct Seen {
    counts: Counts,
    accepted_in_all: u64,
    latency: Histogram<u64>,
    first_drop: Option<String>,
}

/// All callers at once, each with one command under way, until the time is over.
pub async fn closed_loop<C: Caller>(callers: Vec<C>, span: Span) -> Result<Load, Failure> {
    let begun = Instant::now();
    let (from, until) = (begun + span.warm_up, begun + span.warm_up + span.measured);
    let mut tasks: JoinSet<Result<Seen, Failure>> =
        callers.into_iter().map(|caller| call(caller, from, until)).collect();
    let mut load = Load {
        counts: Counts::default(),
        latency: histogram()?,
        elapsed: Duration::ZERO,
        accepted_in_all: 0,
        begun,
        first_drop: None,
    };
    while let Some(seen) = tasks.join_next().await {
        let seen = seen??;
        load.counts = load.counts.and(seen.counts);
        load.accepted_in_all += seen.accepted_in_all;
        load.latency.add(&seen.latency)?;
        load.first_drop = load.first_drop.take().or(seen.first_drop);
    }
    load.elapsed = from.elapsed();
    if load.counts.accepted == 0 {
        let why = load.first_drop.as_deref().unwrap_or("every attempt was refused");
        return Err(format!("nothing was accepted: {why}").into());
    }
    Ok(load)
}

async fn call<C: Caller>(mut caller: C, from: Instant, until: Instant) -> Result<Seen, Failure> {
    let mut seen = Seen { counts: Counts::default(), accepted_in_all: 0, latency: histogram()?, first_drop: None };
    loop {
        let asked = Instant::now();
        if asked >= until {
            return Ok(seen);
        }
        let counted = asked >= from;
        caller.next();
        loop {
            let attempt = caller.attempt().await;
            if counted {
                seen.counts.note(&attempt);
            }
            match attempt {
                Attempt::Accepted => {
                    seen.accepted_in_all += 1;
                    if counted {
                        seen.latency.record(asked.elapsed().as_micros().try_into()?)?;
                    }
                    break;
                }
                Attempt::Refused if Instant::now() < until => {}
                Attempt::Refused => break,
                Attempt::Dropped(why) => {
                    seen.first_drop.get_or_insert(why);
                    break;
                }
            }
        }
    }
}

impl Load {
    /// The commands accepted per second.
    pub fn run(&self, name: &str) -> Run {
        if let Some(why) = &self.first_drop {
            eprintln!("{name} dropped {} commands, the first one because: {why}", self.counts.dropped);
        }
        Run {
            name: name.into(),
            figure: self.counts.accepted as f64 / self.elapsed.as_secs_f64(),
            counts: Some(self.counts),
            latency: Some(self.latency()),
            peak_memory: memory::peak(),
        }
    }

    fn latency(&self) -> Latency {
        let milliseconds = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        Latency { p50: milliseconds(0.5), p99: milliseconds(0.99) }
    }
}

impl Counts {
    fn note(&mut self, attempt: &Attempt) {
        self.offered += 1;
        match attempt {
            Attempt::Accepted => self.accepted += 1,
            Attempt::Refused => self.refused += 1,
            Attempt::Dropped(_) => self.dropped += 1,
        }
    }
}

/// Of microseconds, three digits of each.
fn histogram() -> Result<Histogram<u64>, Failure> {
    Ok(Histogram::new(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses every first attempt and drops every third command.
    struct Moody {
        asked: u32,
        again: bool,
    }

    impl Caller for Moody {
        fn next(&mut self) {
            self.asked += 1;
            self.again = false;
        }

        async fn attempt(&mut self) -> Attempt {
            tokio::task::yield_now().await;
            match (self.again, self.asked % 3) {
                (_, 0) => Attempt::Dropped("moody".into()),
                (true, _) => Attempt::Accepted,
                (false, _) => {
                    self.again = true;
                    Attempt::Refused
                }
            }
        }
    }

    #[tokio::test]
    async fn every_attempt_is_accepted_refused_or_dropped_and_counted_once() {
        let span = Span { warm_up: Duration::ZERO, measured: Duration::from_millis(20) };
        let load =
            closed_loop(vec![Moody { asked: 0, again: false }, Moody { asked: 1, again: false }], span).await.unwrap();
        let Counts { offered, accepted, refused, dropped } = load.counts;
        assert_eq!(offered, accepted + refused + dropped);
        assert_eq!((load.latency.len(), load.accepted_in_all), (accepted, accepted));
        assert!(refused.abs_diff(accepted) <= 2 && dropped > 0, "{:?}", load.counts);
        assert_eq!(load.first_drop.as_deref(), Some("moody"));
    }
}
