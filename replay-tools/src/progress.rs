//! Progress of long work: a bar with rate and time left on a terminal, plain lines otherwise.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How far a piece of work has come.
#[derive(Debug)]
pub struct Progress {
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines { what: String, note: String, total: u64, done: u64, begun: Instant, last: Instant },
    Nothing,
}

impl Progress {
    /// `unit` is what is counted, in the plural.
    pub fn new(what: &str, unit: &str, total: u64) -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total).with_message(what.to_owned());
            let template =
                format!("{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{per_sec}} {{eta}} {{prefix}}");
            bar.set_style(ProgressStyle::with_template(&template).expect("the template is well-formed"));
            return Self { shown: Shown::Bar(bar) };
        }
        let now = Instant::now();
        let (what, note) = (format!("{what}: {unit}"), String::new());
        Self { shown: Shown::Lines { what, note, total, done: 0, begun: now, last: now } }
    }

    /// For work whose output is read by a program.
    pub fn hidden() -> Self {
        Self { shown: Shown::Nothing }
    }

    pub fn advance(&mut self, by: u64) {
        let done = match &self.shown {
            Shown::Nothing => 0,
            Shown::Bar(bar) => bar.position(),
            Shown::Lines { done, .. } => *done,
        };
        self.reach(done + by);
    }

    /// So much is done now; less than before, where the work has begun anew.
    pub fn reach(&mut self, reached: u64) {
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_position(reached),
            Shown::Lines { what, note, total, done, begun, last } => {
                *done = reached;
                if last.elapsed() >= Duration::from_secs(5) {
                    *last = Instant::now();
                    let rate = u128::from(*done) * 1000 / begun.elapsed().as_millis().max(1);
                    let left = u128::from(total.saturating_sub(*done)).checked_div(rate).unwrap_or(0);
                    eprintln!("{what} {done} of {total}, {rate} a second, {left} s left {note}");
                }
            }
        }
    }

    /// Says what is being done, and what the whole has grown to.
    pub fn note(&mut self, what: &str, whole: u64) {
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_length(whole);
                bar.set_prefix(what.to_owned());
            }
            Shown::Lines { total, note, .. } => {
                *total = whole;
                what.clone_into(note);
            }
        }
    }

    pub fn finish(self) {
        match self.shown {
            Shown::Bar(bar) => bar.finish(),
            Shown::Lines { what, done, begun, .. } => {
                eprintln!("{what} {done}, done in {:.1?}", begun.elapsed());
            }
            Shown::Nothing => {}
        }
    }
}
