//! A drill for the day on which the ledger is lost: a backup is restored into a PostgreSQL of its own, verified, and
//! compared with the ledger that lives. Nothing of it stays.

use std::{
    env,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use chrono::{DateTime, Utc};
use daybook_cluster::{Cluster, ClusterOptions, DATABASE};
use daybook_core::{
    Position, chain,
    store::{Head, Store, StoreOptions, Upcasters, head},
    transparency::standing,
};
use daybook_identity::{Hashing, Identity, IdentityOptions, SessionOptions};
use daybook_log::{Checkpoint, PublicKey};
use daybook_projections::engine::Room;
use serde::Serialize;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    ToolError,
    check::{
        full,
        verify::{self, verify},
    },
    diff::{Comparison, Events, compare},
    ledger::{Ledger, LedgerOptions},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What `pg_dump` has written, in any of its formats. Restoring runs what stands in it: take no backup of others
    #[arg(long, value_name = "FILE")]
    backup: PathBuf,
    /// Do not compare with the living ledger, such as when it is lost
    #[arg(long)]
    alone: bool,
    /// A checkpoint that was kept elsewhere, any number of them: the backup must continue those that it reaches to, and it
    /// is told how many events it lacks up to the others. If alone it reaches to none, exit 2: that cannot be told
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The public key of the log, as you know it; unless told, the backup's own word is taken for it
    #[arg(long, value_name = "KEY")]
    key: Option<PublicKey>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    verdict: Verdict,
    /// The verdict is that.
    sound: bool,
    verification: verify::Report,
    /// The log itself: every event, the tree, and every checkpoint that the backup reaches to.
    log: verify::Report,
    /// When the last event of the backup was recorded.
    recorded_at: DateTime<Utc>,
    outside: Vec<Outside>,
    live: Option<Live>,
    second_factors: SecondFactors,
}

/// The secrets of authenticators, which the keys of the home open.
#[derive(Debug, Serialize)]
struct SecondFactors {
    stored: u64,
    /// Of these, sealed by a key that is not in the home: their owners could not sign in by a code.
    lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// The backup is a sound ledger, and, unless it was looked at alone, the beginning of the one that lives.
    Sound,
    /// It contradicts nothing, but it ends before every checkpoint that it was to be compared with.
    Undecided,
    NotSound,
}

/// The backup against a checkpoint from elsewhere.
#[derive(Debug, Serialize)]
struct Outside {
    /// Events that the log had when it was signed.
    size: u64,
    /// How many of them the backup lacks. If there are any, only the ledger that lives can tell whether the backup is the
    /// beginning of that log.
    missing: u64,
}

/// The backup against the ledger that lives.
#[derive(Debug, Serialize)]
struct Live {
    position: Position,
    recorded_at: DateTime<Utc>,
    /// Events that were recorded after the backup was made: a restoration would lose them.
    missing: Position,
    /// Events of the backup after the end of the ledger that lives: it has lost them.
    lost: Position,
    /// As far as both go.
    comparison: Comparison,
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let backup = Backup::of(&arguments.backup)?;
    let live = if arguments.alone { None } else { Some(living(options).await?) };
    // The last user of a throw-away cluster takes it away, and its watchdog does if this process is killed.
    let home = env::temp_dir().join(format!("daybook-drill-{}", Uuid::now_v7().simple()));
    let cluster = Cluster::start(&ClusterOptions::throw_away(home)).await?;
    let outcome = drill(&cluster, &backup, live.as_ref(), options, arguments).await;
    cluster.stop().await?;
    if let Some(ledger) = live {
        ledger.close().await?;
    }
    let report = outcome?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        tell(&report);
    }
    Ok(match report.verdict {
        Verdict::Sound => ExitCode::SUCCESS,
        Verdict::NotSound => ExitCode::FAILURE,
        Verdict::Undecided => ExitCode::from(2),
    })
}

async fn living(options: &LedgerOptions) -> Result<Ledger, ToolError> {
    let opened = Ledger::open_as_it_is(options).await;
    opened.map_err(|error| format!("the living ledger, which `--alone` leaves out: {}", chain(&*error)).into())
}

async fn drill(
    cluster: &Cluster,
    backup: &Backup<'_>,
    live: Option<&Ledger>,
    options: &LedgerOptions,
    arguments: &Arguments,
) -> Result<Report, ToolError> {
    restore(cluster, backup).await?;
    let url = cluster.url(DATABASE);
    // As it was restored: what is compared is compared before the tables are brought to this version.
    let live = match live {
        None => None,
        Some(ledger) => Some(against(&url.parse()?, ledger).await?),
    };
    let store = Store::open(cluster.logins(DATABASE), StoreOptions::default()).await?;
    let store = store.unlocked_to_read(&options.master_key()).await?;
    let verified = verify_all(&store, arguments).await;
    let Head { recorded_at, .. } = store.head().await?;
    let second_factors = SecondFactors::of(&store, options).await;
    store.close().await;
    let ((verification, log, outside), second_factors) = (verified?, second_factors?);
    let goes_on = live.as_ref().is_none_or(|live| live.comparison.equal && live.lost == 0);
    let compared = live.is_some() || outside.is_empty() || outside.iter().any(|outside| outside.missing == 0);
    let undecided = verification.undecided || log.undecided;
    let nothing_wrong = (verification.sound || verification.undecided) && (log.sound || log.undecided);
    let verdict = match nothing_wrong && goes_on {
        false => Verdict::NotSound,
        true if undecided || !compared || second_factors.lost > 0 => Verdict::Undecided,
        true => Verdict::Sound,
    };
    let sound = verdict == Verdict::Sound;
    Ok(Report { verdict, sound, verification, log, recorded_at, outside, live, second_factors })
}

impl SecondFactors {
    async fn of(store: &Store, options: &LedgerOptions) -> Result<Self, ToolError> {
        let keys = options.home().to_owned();
        let (hashing, sessions) = (Hashing::default(), SessionOptions::default());
        let factors = Identity::new(store, IdentityOptions { keys, hashing, sessions }).factors;
        let stored = factors.stored().await?;
        // Where there are none, no key is asked for, not even one that cannot be read.
        let lost = if stored == 0 { 0 } else { factors.lost().await? };
        Ok(Self { stored, lost })
    }
}

async fn verify_all(
    store: &Store,
    arguments: &Arguments,
) -> Result<(verify::Report, verify::Report, Vec<Outside>), ToolError> {
    let verification = verify(store, &Room::default(), arguments.json).await?;
    let end = store.head().await?.position;
    let mut reached = Vec::new();
    let mut outside = Vec::new();
    for file in &arguments.checkpoint {
        let name = file.display();
        let note = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
        let own = standing(store.pool()).await?.key()?;
        let key = arguments.key.as_ref().or(own.as_ref());
        let key = key.ok_or_else(|| format!("{name} cannot be checked: the backup has no key, so name it by --key"))?;
        let size = Checkpoint::open(&note, key).map_err(|error| format!("{name}: {error}"))?.size;
        let missing = size.saturating_sub(end);
        if missing == 0 {
            reached.push(file.clone());
        }
        outside.push(Outside { size, missing });
    }
    let log = full::verify_restored(store, reached, arguments.key.clone(), arguments.json).await?;
    Ok((verification, log.into(), outside))
}

async fn against(restored: &PgConnectOptions, ledger: &Ledger) -> Result<Live, ToolError> {
    let Head { position, recorded_at } = ledger.store().head().await?;
    let mut connection = PgConnection::connect_with(restored).await?;
    let Head { position: end, .. } = head(&mut connection).await.map_err(|_| "the backup is of no ledger")?;
    connection.close().await?;
    let common = Some(position.min(end));
    let mut backup = Events::of(restored, common).await.map_err(|error| format!("the backup: {}", chain(&*error)))?;
    let mut live = Events::of(ledger.store().application(), common).await?;
    let (missing, lost) = (position.saturating_sub(end), end.saturating_sub(position));
    let comparison = compare(&mut backup, &mut live, &Upcasters::default()).await?;
    backup.close().await?;
    live.close().await?;
    Ok(Live { position, recorded_at, missing, lost, comparison })
}

/// A file that `pg_dump` has written.
#[derive(Debug)]
enum Backup<'a> {
    /// SQL, for psql.
    Plain(&'a Path),
    /// One of the formats of pg_restore.
    Archive(&'a Path),
}

impl<'a> Backup<'a> {
    fn of(path: &'a Path) -> Result<Self, ToolError> {
        let unreadable = |error| format!("cannot read the backup {}: {error}", path.display());
        if path.is_dir() {
            return Ok(Self::Archive(path));
        }
        let mut file = File::open(path).map_err(unreadable)?;
        let (mut beginning, mut end) = (Vec::new(), Vec::new());
        file.by_ref().take(1024).read_to_end(&mut beginning).map_err(unreadable)?;
        let last = file.metadata().map_err(unreadable)?.len().saturating_sub(1024);
        file.seek(SeekFrom::Start(last)).map_err(unreadable)?;
        file.read_to_end(&mut end).map_err(unreadable)?;
        let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        if beginning.starts_with(b"PGDMP") || beginning.starts_with(b"toc.dat") {
            return Ok(Self::Archive(path));
        }
        if !has(&beginning, "-- PostgreSQL database dump") {
            return Err(format!("{} is not what `pg_dump` writes", path.display()).into());
        }
        // A table that breaks off would pass for a shorter one.
        if !has(&end, "-- PostgreSQL database dump complete") {
            return Err(format!("the backup {} breaks off", path.display()).into());
        }
        Ok(Self::Plain(path))
    }
}

async fn restore(cluster: &Cluster, backup: &Backup<'_>) -> Result<(), ToolError> {
    let url = cluster.url(DATABASE);
    let mut command = match backup {
        Backup::Plain(file) => {
            let mut command = Command::new(cluster.program("psql")?);
            command.args(["--quiet", "--no-psqlrc", "--dbname", &url, "--file"]).arg(file);
            command
        }
        Backup::Archive(file) => {
            let mut command = Command::new(cluster.program("pg_restore")?);
            command.args(["--no-owner", "--no-privileges", "--dbname", &url]).arg(file);
            command
        }
    };
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    // Who owned and used the tables elsewhere need not be known here.
    let unknown_role = |line: &str| line.contains("role \"") && line.ends_with("\" does not exist");
    let errors: Vec<&str> =
        said.lines().filter(|line| line.to_lowercase().contains("error: ") && !unknown_role(line)).collect();
    match errors.first() {
        Some(first) => Err(format!("the backup cannot be restored, {} errors, first: {first}", errors.len()).into()),
        None if !output.status.success() && !said.lines().any(unknown_role) => {
            Err(format!("the backup cannot be restored: {}", said.trim()).into())
        }
        None => Ok(()),
    }
}

fn tell(report: &Report) {
    report.verification.tell();
    report.log.tell();
    for Outside { size, missing } in &report.outside {
        match missing {
            0 => println!("the backup reaches to the checkpoint of {size} events"),
            missing => println!("{missing} events up to the checkpoint of {size} events are missing"),
        }
    }
    println!("the last event of the backup was recorded {}", report.recorded_at);
    if let Some(Live { position, recorded_at, missing, lost, comparison }) = &report.live {
        println!("the living ledger ends at position {position}, recorded {recorded_at}");
        match &comparison.first_difference {
            Some(first) => println!("WRONG  event {} is another one there: see `daybook diff`", first.position),
            None if *lost > 0 => println!("WRONG  the last {lost} events of the backup are not there"),
            None => println!("sound  it begins with the events of the backup"),
        }
        println!("{missing} events are missing in the backup");
    }
    let SecondFactors { stored, lost } = report.second_factors;
    match lost {
        0 => println!("sound  the keys of all {stored} second factors are in the home"),
        lost => println!(
            "undecided  {lost} of {stored} second factors were sealed by keys that are not in the home: put `totp.key` back, \
             or their owners sign in by recovery codes and set them up anew"
        ),
    }
    let verdict = match report.verdict {
        Verdict::Sound => "the backup is sound",
        Verdict::Undecided if report.verification.undecided || report.log.undecided || lost > 0 => {
            "nothing wrong was found in the backup, but some checks could not be made"
        }
        Verdict::Undecided => {
            "the backup is intact, but ends before the checkpoint: whether it is the beginning of that log cannot be told \
             without the living ledger, or a checkpoint that it reaches to"
        }
        Verdict::NotSound => "the backup is NOT SOUND",
    };
    println!("{verdict}");
}
