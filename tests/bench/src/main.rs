//! The benchmark: Daybook, its rivals and the limits of the machine take turns on the same work, on a PostgreSQL of
//! their own with durability on. What counts is the ratio of two of them within one run.

mod books;
mod cluster;
mod daybook;
mod http;
mod limits;
mod load;
mod measure;
mod memory;
mod rivals;
mod sections;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use serde::Serialize;
use tokio::sync::OnceCell;

use books::Book;
use cluster::{Machine, Server};
use load::Span;
use measure::{Section, Unit};
use rivals::{cala, postgres_es, sql_function};
use sections::{appending, deposits, identity, listing, pages, rebuild, start_up, statement, verify};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures Daybook against its rivals and against the limits of the machine.
#[derive(Debug, Parser)]
#[command(name = "daybook-bench", version)]
struct Arguments {
    /// Smaller sizes and fewer rounds: it shows that everything runs, and roughly how things stand
    #[arg(long)]
    quick: bool,
    /// Only these sections
    #[arg(long, value_name = "SECTION", value_delimiter = ',', value_parser = SECTIONS)]
    only: Vec<String>,
    /// How often each contestant has its turn; an odd number
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Where the database is made, and removed at the end; not in memory
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Where to write the figures as JSON; beside this program, unless it is told
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    child: Option<Child>,
}

/// What this program does as a child of itself.
#[derive(Debug, Subcommand)]
enum Child {
    #[command(hide = true)]
    RebuildOnce { url: String },
}

/// Most of what this program allocates is small and short-lived, and freed on another thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECTIONS: [&str; 16] = [
    "spread",
    "bytes",
    "hot",
    "one-caller",
    "full",
    "http",
    "identity",
    "rebuild",
    "verify",
    "statement",
    "listing",
    "pages",
    "history",
    "long-book",
    "start-up",
    "wide",
];

/// How much is measured.
#[derive(Clone, Debug, Serialize)]
pub struct Sizes {
    pub rounds: usize,
    pub span: Span,
    /// That the deposits are spread over.
    pub accounts: usize,
    /// Rows that the limits append again and again.
    pub rows: i64,
    /// Events of the book whose statements are rebuilt.
    pub rebuilt: i64,
    /// Events that postgres-es replays.
    pub replayed: i64,
    /// Of one statement.
    pub lines: i64,
    /// Invoices, of which pages are listed.
    pub listed: i64,
    /// Events of an account with a long history, and how many such accounts there are.
    pub long_history: i64,
    pub histories: i64,
    /// Accounts of the long book, each with ten events.
    pub long_book: i64,
}

/// What all sections share; templates are made when the first section needs them.
pub struct Bench {
    pub server: Server,
    pub sizes: Sizes,
    programs: PathBuf,
    ledger: OnceCell<daybook::Ledger>,
    postgres_es: OnceCell<postgres_es::Template>,
    sql_function: OnceCell<sql_function::Template>,
    cala: OnceCell<cala::Template>,
    rows: OnceCell<Vec<limits::Batch>>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    quick: bool,
    sizes: Sizes,
    machine: Machine,
    seconds: f64,
    sections: Vec<Section>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.child {
        Some(Child::RebuildOnce { url }) => rebuild::once(url).await.map(|()| true),
        None => run(&arguments).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("daybook-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether every section could be measured; a target that is missed is a result, too.
async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let begun = Instant::now();
    let program = env::current_exe()?;
    let programs = program.parent().ok_or("a program lies in a directory")?.to_owned();
    let directory = arguments.directory.clone().unwrap_or_else(env::temp_dir);
    let sizes = Sizes::of(arguments);
    let server = Server::start(&directory).await?;
    let machine = server.machine().await?;
    println!("{}", introduction(arguments, &sizes, &machine));
    let bench = Bench::new(server, sizes, programs);
    let measured = bench.measure(&arguments.only).await;
    let Bench { server, sizes, programs, .. } = bench;
    server.stop().await?;
    let (sections, whole) = measured?;

    let seconds = begun.elapsed().as_secs_f64();
    let report =
        Report { version: env!("CARGO_PKG_VERSION"), quick: arguments.quick, sizes, machine, seconds, sections };
    let path = arguments.json.clone().unwrap_or_else(|| programs.join("bench.json"));
    fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    println!("\n{}", conclusion(&report, &path));
    Ok(whole)
}

impl Sizes {
    fn of(arguments: &Arguments) -> Self {
        let mut sizes = if arguments.quick { Self::quick() } else { Self::full() };
        if let Some(rounds) = arguments.rounds {
            sizes.rounds = rounds.into();
        }
        sizes
    }

    fn full() -> Self {
        Self {
            rounds: 5,
            span: Span { warm_up: Duration::from_millis(500), measured: Duration::from_secs(4) },
            accounts: 1000,
            rows: 100_000,
            rebuilt: 1_000_000,
            replayed: 10_000,
            lines: 1_000_000,
            listed: 100_000,
            long_history: 100_000,
            histories: 5,
            long_book: 1_000_000,
        }
    }

    fn quick() -> Self {
        Self {
            rounds: 3,
            span: Span { warm_up: Duration::from_millis(100), measured: Duration::from_millis(500) },
            accounts: 1000,
            rows: 20_000,
            rebuilt: 50_000,
            replayed: 1000,
            lines: 20_000,
            listed: 20_000,
            long_history: 5000,
            histories: 2,
            long_book: 10_000,
        }
    }
}

impl Bench {
    fn new(server: Server, sizes: Sizes, programs: PathBuf) -> Self {
        Self {
            server,
            sizes,
            programs,
            ledger: OnceCell::new(),
            postgres_es: OnceCell::new(),
            sql_function: OnceCell::new(),
            cala: OnceCell::new(),
            rows: OnceCell::new(),
        }
    }

    /// All sections, each shown as soon as it is done; and whether all could be measured.
    async fn measure(&self, only: &[String]) -> Result<(Vec<Section>, bool), Failure> {
        let mut measured = Vec::new();
        let mut whole = true;
        let (mut rebuilt, mut long) = (None, None);
        for name in SECTIONS {
            if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
                continue;
            }
            eprint!("{name} ");
            let section = match self.section(name, &mut rebuilt, &mut long).await {
                Ok(section) => section,
                Err(error) => {
                    whole = false;
                    Section::new(name, "failed", Unit::PerSecond).skipped(format!("it failed: {error}"))
                }
            };
            println!("{section}");
            measured.push(section);
        }
        Ok((measured, whole))
    }

    async fn section(
        &self,
        name: &'static str,
        rebuilt: &mut Option<(Book, String)>,
        long: &mut Option<(Book, String)>,
    ) -> Result<Section, Failure> {
        match name {
            "spread" => deposits::spread(self).await,
            "bytes" => deposits::bytes(self).await,
            "hot" => deposits::hot(self).await,
            "one-caller" => deposits::one_caller(self).await,
            "full" => deposits::full(self).await,
            "http" => deposits::http(self).await,
            "identity" => identity::identity(self).await,
            "rebuild" | "verify" => {
                let book = match rebuilt.take() {
                    Some(book) => book,
                    None => rebuild::prepare(self).await?,
                };
                let book = rebuilt.insert(book);
                if name == "rebuild" { rebuild::rebuild(self, book).await } else { verify::verify(self, book).await }
            }
            "statement" => statement::statement(self).await,
            "listing" => listing::listing(self).await,
            "pages" => pages::pages(self).await,
            "history" => appending::history(self).await,
            _ => {
                let book = match long.take() {
                    Some(book) => book,
                    None => {
                        let book = Book { accounts: self.sizes.long_book, events_each: 10, seconds: 86_400 };
                        (book, book.write(&self.server).await?)
                    }
                };
                let book = long.insert(book);
                match name {
                    "long-book" => appending::long_book(self, book).await,
                    "start-up" => start_up::start_up(self, book).await,
                    _ => rebuild::wide(self, book).await,
                }
            }
        }
    }

    /// A program of Daybook, built beside this one.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    pub async fn ledger(&self) -> Result<&daybook::Ledger, Failure> {
        self.ledger.get_or_try_init(|| daybook::Ledger::prepare(&self.server, self.sizes.accounts)).await
    }

    pub async fn postgres_es(&self) -> Result<&postgres_es::Template, Failure> {
        self.postgres_es.get_or_try_init(|| postgres_es::Template::prepare(&self.server, self.sizes.accounts)).await
    }

    pub async fn sql_function(&self) -> Result<&sql_function::Template, Failure> {
        self.sql_function.get_or_try_init(|| sql_function::Template::prepare(&self.server, self.sizes.accounts)).await
    }

    pub async fn cala(&self) -> Result<&cala::Template, Failure> {
        self.cala.get_or_try_init(|| cala::Template::prepare(&self.server, self.sizes.accounts)).await
    }

    /// Event rows of a run of ours, spread over so many accounts.
    pub async fn rows(&self, accounts: usize) -> Result<&[limits::Batch], Failure> {
        let ledger = self.ledger().await?;
        let (span, rows) = (self.sizes.span, self.sizes.rows);
        let rows =
            self.rows.get_or_try_init(|| limits::rows_of_a_run(&self.server, ledger, accounts, span, rows)).await?;
        Ok(rows)
    }
}

fn introduction(arguments: &Arguments, sizes: &Sizes, machine: &Machine) -> String {
    let Machine { postgresql, fsync, synchronous_commit, cores, commit_milliseconds, .. } = machine;
    let kind = if arguments.quick {
        "QUICK: small sizes, few and short rounds. This shows that everything runs; it is not a measurement."
    } else {
        "Absolute figures are this machine's at this hour; only ratios within one run carry over."
    };
    let (rounds, seconds) = (sizes.rounds, sizes.span.measured.as_secs_f64());
    format!(
        "{kind}\nPostgreSQL {postgresql}, fsync {fsync}, synchronous_commit {synchronous_commit}, {cores} cores; a commit of one \
         row takes {commit_milliseconds:.2} ms\n{rounds} rounds, in turns, {seconds} s each where a time is given"
    )
}

fn conclusion(report: &Report, path: &Path) -> String {
    let verdicts: Vec<_> = report.sections.iter().flat_map(|section| &section.verdicts).collect();
    let met = verdicts.iter().filter(|verdict| verdict.met).count();
    let quick = if report.quick { " (QUICK: not a measurement)" } else { "" };
    format!(
        "{met} of {} targets met{quick}; {:.0} s in all; the figures are in {}",
        verdicts.len(),
        report.seconds,
        path.display()
    )
}
