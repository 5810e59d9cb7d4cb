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
    Lines { what: String, total: u64, done: u64, begun: Instant, last: Instant },
    Nothing,
}

impl Progress {
    /// `unit` is what is counted, in the plural.
    pub fn new(what: &str, unit: &str, total: u64) -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total).with_message(what.to_owned());
            let template = format!("{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{per_sec}} {{eta}}");
            bar.set_style(ProgressStyle::with_template(&template).expect("the template is well-formed"));
            return Self { shown: Shown::Bar(bar) };
        }
        let now = Instant::now();
        Self { shown: Shown::Lines { what: format!("{what}: {unit}"), total, done: 0, begun: now, last: now } }
    }

    /// For work whose output is read by a program.
    pub fn hidden() -> Self {
        Self { shown: Shown::Nothing }
    }

    pub fn advance(&mut self, by: u64) {
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.inc(by),
            Shown::Lines { what, total, done, begun, last } => {
                *done += by;
                if last.elapsed() >= Duration::from_secs(5) {
                    *last = Instant::now();
                    let rate = u128::from(*done) * 1000 / begun.elapsed().as_millis().max(1);
                    eprintln!("{what} {done} of {total}, {rate} a second");
                }
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
