//! Measuring: contestants take turns, round by round, and what counts is the ratio of two of them within one round.

use std::{collections::BTreeMap, fmt, pin::Pin};

use serde::Serialize;

use crate::Failure;

/// What a contestant did in one round. One that is looked at in two ways, such as with and without the time to catch
/// up, gives two of these under two names.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub name: String,
    /// In the unit of the section.
    pub figure: f64,
    pub counts: Option<Counts>,
    pub latency: Option<Latency>,
    /// The most that the measured process took of the memory, in bytes. PostgreSQL's own is not in it.
    pub peak_memory: Option<u64>,
}

/// What became of the commands: each one that was offered was accepted, refused or dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub offered: u64,
    pub accepted: u64,
    /// Answered, but not done: a lost race for a version, a full queue.
    pub refused: u64,
    /// Ended without an answer that says what was done.
    pub dropped: u64,
}

/// In milliseconds, of the accepted commands, from the first attempt to the answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PerSecond,
    Seconds,
    BytesPerDeposit,
}

/// One of those that take turns.
pub struct Contestant<'a> {
    run: Box<dyn FnMut() -> Running<'a> + 'a>,
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Vec<Run>, Failure>> + 'a>>;

/// All rounds of one contestant, in their order.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub summary: Summary,
    pub runs: Vec<Run>,
}

/// What the rounds come to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    /// The medians of the rounds.
    pub latency: Option<Latency>,
    /// Of all rounds together.
    pub counts: Option<Counts>,
    /// In the worst round, in bytes.
    pub peak_memory: Option<u64>,
    /// The first row of the section against this one, within each round: the median.
    pub first_to_this: Option<f64>,
}

/// What was to be shown. Names are those of rows.
#[derive(Clone, Debug)]
pub enum Claim {
    /// One row against another, in the same round.
    Ratio { of: String, to: String, quantity: Quantity, bound: Bound },
    /// No round took more, in MiB.
    PeakMemory { of: String, mebibytes: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    Figure,
    P99,
}

#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A claim and what was seen of it.
#[derive(Debug, Serialize)]
pub struct Verdict {
    pub claim: String,
    pub median: f64,
    pub least: f64,
    pub most: f64,
    pub rounds: usize,
    pub met: bool,
}

/// One part of the benchmark: one table, one set of claims.
#[derive(Debug, Serialize)]
pub struct Section {
    pub name: &'static str,
    pub title: String,
    pub unit: Unit,
    /// The first row is the one that the others are compared with.
    pub rows: Vec<Row>,
    pub verdicts: Vec<Verdict>,
    pub notes: Vec<String>,
    /// Why nothing was measured.
    pub skipped: Option<String>,
}

impl<'a> Contestant<'a> {
    pub fn new<F, R>(mut run: F) -> Self
    where
        F: FnMut() -> R + 'a,
        R: Future<Output = Result<Vec<Run>, Failure>> + 'a,
    {
        Self { run: Box::new(move || Box::pin(run())) }
    }
}

/// Has all contestants run once per round. Another one begins each round, so that none always follows the same one.
async fn in_turns(rounds: usize, contestants: &mut [Contestant<'_>]) -> Result<Vec<Row>, Failure> {
    let mut seen: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    let number = contestants.len();
    for round in 0..rounds {
        for turn in 0..number {
            let place = (round + turn) % number;
            for run in (contestants[place].run)().await? {
                let rows = seen.entry(place).or_default();
                match rows.iter_mut().find(|row| row.name == run.name) {
                    Some(row) => row.runs.push(run),
                    None => rows.push(Row::new(vec![run])),
                }
            }
        }
        eprint!(".");
    }
    eprintln!();
    Ok(seen.into_values().flatten().collect())
}

impl Row {
    fn new(runs: Vec<Run>) -> Self {
        let name = runs.first().map(|run| run.name.clone()).unwrap_or_default();
        Self { name, summary: Summary::default(), runs }
    }

    fn summary(&self) -> Summary {
        let figures: Vec<f64> = self.runs.iter().map(|run| run.figure).collect();
        let latencies: Vec<Latency> = self.runs.iter().filter_map(|run| run.latency).collect();
        let percentile = |of: fn(&Latency) -> f64| median(&latencies.iter().map(of).collect::<Vec<_>>());
        Summary {
            median: median(&figures),
            least: extreme(&figures, f64::min),
            most: extreme(&figures, f64::max),
            latency: (!latencies.is_empty())
                .then(|| Latency { p50: percentile(|latency| latency.p50), p99: percentile(|latency| latency.p99) }),
            counts: self.runs.iter().filter_map(|run| run.counts).reduce(Counts::and),
            peak_memory: self.runs.iter().filter_map(|run| run.peak_memory).max(),
            first_to_this: None,
        }
    }
}

impl Counts {
    pub fn and(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            accepted: self.accepted + other.accepted,
            refused: self.refused + other.refused,
            dropped: self.dropped + other.dropped,
        }
    }
}

impl Section {
    pub fn new(name: &'static str, title: impl Into<String>, unit: Unit) -> Self {
        let (rows, verdicts, notes) = (Vec::new(), Vec::new(), Vec::new());
        Self { name, title: title.into(), unit, rows, verdicts, notes, skipped: None }
    }

    pub fn skipped(mut self, why: impl Into<String>) -> Self {
        self.skipped = Some(why.into());
        self
    }

    /// Has the contestants take turns, and takes in what they did.
    pub async fn measure(&mut self, rounds: usize, contestants: &mut [Contestant<'_>]) -> Result<(), Failure> {
        self.take_in(in_turns(rounds, contestants).await?);
        Ok(())
    }

    fn take_in(&mut self, rows: Vec<Row>) {
        self.rows = rows;
        for place in 0..self.rows.len() {
            let ratios = ratios(&self.rows[0], &self.rows[place], Quantity::Figure);
            let first_to_this = (!ratios.is_empty()).then(|| median(&ratios));
            self.rows[place].summary = Summary { first_to_this, ..self.rows[place].summary() };
        }
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Holds a claim against what was measured.
    pub fn claim(&mut self, claim: Claim) -> Result<(), Failure> {
        let seen = match &claim {
            Claim::Ratio { of, to, quantity, .. } => ratios(self.row(of)?, self.row(to)?, *quantity),
            Claim::PeakMemory { of, .. } => {
                let runs = &self.row(of)?.runs;
                runs.iter().filter_map(|run| run.peak_memory.map(mebibytes)).collect()
            }
        };
        if seen.is_empty() {
            return Err(format!("nothing was measured of: {claim}").into());
        }
        let (median, least, most) = (median(&seen), extreme(&seen, f64::min), extreme(&seen, f64::max));
        let met = match &claim {
            Claim::Ratio { bound: Bound::AtLeast(bound), .. } => median >= *bound,
            Claim::Ratio { bound: Bound::AtMost(bound), .. } => median <= *bound,
            Claim::PeakMemory { mebibytes, .. } => most <= *mebibytes,
        };
        self.verdicts.push(Verdict { claim: claim.to_string(), median, least, most, rounds: seen.len(), met });
        Ok(())
    }

    fn row(&self, name: &str) -> Result<&Row, Failure> {
        let found = self.rows.iter().find(|row| row.name == name);
        found.ok_or_else(|| format!("the section {} has no row `{name}`", self.name).into())
    }
}

/// Round by round; what drifts with the machine falls out.
fn ratios(of: &Row, to: &Row, quantity: Quantity) -> Vec<f64> {
    let value = |run: &Run| match quantity {
        Quantity::Figure => Some(run.figure),
        Quantity::P99 => run.latency.map(|latency| latency.p99),
    };
    of.runs.iter().zip(&to.runs).filter_map(|(of, to)| Some(value(of)? / value(to)?)).collect()
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio { of, to, quantity, bound } => {
                let of = match quantity {
                    Quantity::Figure => of.clone(),
                    Quantity::P99 => format!("p99 of {of}"),
                };
                match bound {
                    Bound::AtLeast(bound) => write!(f, "{of} ≥ {bound} × {to}"),
                    Bound::AtMost(bound) => write!(f, "{of} ≤ {bound} × {to}"),
                }
            }
            Self::PeakMemory { of, mebibytes } => write!(f, "peak memory of {of} ≤ {mebibytes} MiB"),
        }
    }
}

/// The section as a person reads it.
impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n── {}: {}", self.name, self.title)?;
        if let Some(why) = &self.skipped {
            return writeln!(f, "   skipped: {why}");
        }
        let unit = match self.unit {
            Unit::PerSecond => "per second",
            Unit::Seconds => "seconds",
            Unit::BytesPerDeposit => "bytes per deposit",
        };
        let mut table = vec![
            [
                "",
                unit,
                "spread",
                "p50 ms",
                "p99 ms",
                "offered",
                "accepted",
                "refused",
                "dropped",
                "MiB",
                "first ÷ this",
            ]
            .map(str::to_owned),
        ];
        table.extend(self.rows.iter().map(cells));
        write_table(f, &table)?;
        if !self.verdicts.is_empty() {
            let mut table = vec![["target", "ratio", "spread", "rounds", ""].map(str::to_owned)];
            table.extend(self.verdicts.iter().map(|verdict| {
                let Verdict { claim, median, least, most, rounds, met } = verdict;
                let spread = format!("{} – {}", number(*least), number(*most));
                let word = if *met { "met" } else { "MISSED" };
                [claim.clone(), number(*median), spread, rounds.to_string(), word.into()]
            }));
            writeln!(f)?;
            write_table(f, &table)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "   {note}"))
    }
}

/// A row as it is shown.
fn cells(row: &Row) -> [String; 11] {
    let Summary { median, least, most, latency, counts, peak_memory, first_to_this } = row.summary;
    let milliseconds =
        |of: fn(Latency) -> f64| latency.map(|latency| format!("{:.2}", of(latency))).unwrap_or_default();
    let count = |of: fn(Counts) -> u64| counts.map(|counts| of(counts).to_string()).unwrap_or_default();
    [
        row.name.clone(),
        number(median),
        format!("{} – {}", number(least), number(most)),
        milliseconds(|latency| latency.p50),
        milliseconds(|latency| latency.p99),
        count(|counts| counts.offered),
        count(|counts| counts.accepted),
        count(|counts| counts.refused),
        count(|counts| counts.dropped),
        peak_memory.map(|bytes| format!("{:.0}", mebibytes(bytes))).unwrap_or_default(),
        first_to_this.map(number).unwrap_or_default(),
    ]
}

/// The first column to the left, the others to the right.
fn write_table<const N: usize>(f: &mut fmt::Formatter<'_>, table: &[[String; N]]) -> fmt::Result {
    let width = |column: usize| table.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
    for cells in table {
        write!(f, "   {:<1$}", cells[0], width(0))?;
        for (column, cell) in cells.iter().enumerate().skip(1) {
            write!(f, "  {cell:>0$}", width(column))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

/// Three figures are more than such measurements carry.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn extreme(values: &[f64], choose: fn(f64, f64) -> f64) -> f64 {
    values.iter().copied().reduce(choose).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, figure: f64) -> Run {
        Run { name: name.into(), figure, counts: None, latency: None, peak_memory: Some(64 << 20) }
    }

    fn section() -> Section {
        let mut section = Section::new("test", "a test", Unit::PerSecond);
        let row = |name: &str, figures: &[f64]| Row::new(figures.iter().map(|figure| run(name, *figure)).collect());
        section.take_in(vec![row("we", &[10.0, 20.0, 90.0]), row("they", &[5.0, 10.0, 10.0])]);
        section
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let mut section = section();
        let claim = |bound| Claim::Ratio { of: "we".into(), to: "they".into(), quantity: Quantity::Figure, bound };
        section.claim(claim(Bound::AtLeast(2.0))).unwrap();
        section.claim(claim(Bound::AtLeast(2.1))).unwrap();
        section.claim(claim(Bound::AtMost(2.0))).unwrap();
        let seen: Vec<_> = section.verdicts.iter().map(|verdict| (verdict.median, verdict.most, verdict.met)).collect();
        assert_eq!(seen, [(2.0, 9.0, true), (2.0, 9.0, false), (2.0, 9.0, true)]);
    }

    #[test]
    fn each_row_tells_its_median_its_spread_and_how_the_first_one_compares() {
        let section = section();
        let Summary { median, least, most, first_to_this, .. } = section.rows[1].summary;
        assert_eq!((median, least, most, first_to_this), (10.0, 5.0, 10.0, Some(2.0)));
        let shown = cells(&section.rows[1]);
        assert_eq!(shown, ["they", "10.0", "5.00 – 10.0", "", "", "", "", "", "", "64", "2.00"]);
    }

    #[test]
    fn a_claim_on_a_row_that_is_not_there_is_an_error() {
        let claim = Claim::PeakMemory { of: "nobody".into(), mebibytes: 1.0 };
        assert!(section().claim(claim).is_err());
    }

    #[test]
    fn peak_memory_is_held_against_the_worst_round() {
        let mut section = section();
        section.claim(Claim::PeakMemory { of: "we".into(), mebibytes: 63.0 }).unwrap();
        section.claim(Claim::PeakMemory { of: "we".into(), mebibytes: 64.0 }).unwrap();
        assert_eq!(section.verdicts.iter().map(|verdict| verdict.met).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[tokio::test]
    async fn another_contestant_begins_each_round() {
        let order = std::cell::RefCell::new(Vec::new());
        let mut contestants: Vec<Contestant<'_>> = ["a", "b"]
            .into_iter()
            .map(|name| {
                let order = &order;
                Contestant::new(move || async move {
                    order.borrow_mut().push(name);
                    Ok(vec![run(name, 1.0)])
                })
            })
            .collect();
        let rows = in_turns(2, &mut contestants).await.unwrap();
        assert_eq!(*order.borrow(), ["a", "b", "b", "a"]);
        assert_eq!(rows.iter().map(|row| (&*row.name, row.runs.len())).collect::<Vec<_>>(), [("a", 2), ("b", 2)]);
    }
}
