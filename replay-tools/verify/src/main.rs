//! `daybook-verify`: checks what a ledger hands out, with nothing but the ledger's public key. Exit code 0 if all of it
//! holds, 1 if it does not (and what is wrong first), 2 if it could not be read, 64 if the arguments are wrong.

use std::{
    fs::{self, File},
    io::{self, BufReader, Write},
    iter,
    path::{Path, PathBuf},
    process::ExitCode,
};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Parser};
use daybook_log::{
    Checkpoint, LogEvent, PublicKey, Refused,
    proof::Proof,
    tree::Tree,
    witness::{self, Evidence, Seen},
};
use daybook_verify::{
    archive, outside,
    statement::{self, Summary},
    usage,
};

#[derive(Debug, Parser)]
#[command(name = "daybook-verify", version, about = "Checks what a ledger hands out, without its database")]
enum Verb {
    /// An archive of the whole log, as `daybook export log` writes it
    Archive(Archive),
    /// A customer's statement with proofs, as `daybook export statement` writes it
    Statement(Statement),
    /// A proof, as `daybook prove` and the API write it
    Proof(ProofArguments),
    /// Compare a checkpoint with the last one seen, and keep it if it continues that one
    Witness(Witness),
}

#[derive(Debug, Args)]
struct Archive {
    file: PathBuf,
    /// The public key of the log, or a file with it; without it, the one in the archive, which shows that the archive
    /// is whole but not whose it is
    #[arg(long, value_parser = public_key)]
    key: Option<PublicKey>,
    /// A checkpoint that was kept elsewhere: the archive must begin with its tree
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Statement {
    file: PathBuf,
    /// The public key of the log, or a file with it
    #[arg(long, value_parser = public_key)]
    key: PublicKey,
    #[command(flatten)]
    outside: Outside,
}

#[derive(Debug, Args)]
struct ProofArguments {
    file: PathBuf,
    /// The public key of the log, or a file with it
    #[arg(long, value_parser = public_key)]
    key: PublicKey,
    #[command(flatten)]
    outside: Outside,
}

/// What the reader has from elsewhere.
#[derive(Debug, Args)]
struct Outside {
    /// A checkpoint that was kept elsewhere: it must be of the same log; if it is earlier or later, `--proof` or
    /// `--archive` must show that
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// A proof of consistency between the two, whichever is earlier, as `daybook prove consistency` writes it
    #[arg(long, value_name = "FILE", requires = "checkpoint", conflicts_with = "archive")]
    proof: Option<PathBuf>,
    /// An archive of the log, which must begin with both; it shows, too, whether a statement lacks an entry
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Witness {
    checkpoint: PathBuf,
    /// The public key of the log, or a file with it
    #[arg(long, value_parser = public_key)]
    key: PublicKey,
    /// Where the last checkpoint seen is kept
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// This is the first checkpoint: none may have been seen
    #[arg(long, conflicts_with_all = ["proof", "tiles"])]
    first: bool,
    /// A proof of consistency from the last checkpoint seen to this one
    #[arg(long, value_name = "FILE", conflicts_with = "tiles")]
    proof: Option<PathBuf>,
    /// An archive of the log, or a directory with its tiles, instead of a proof
    #[arg(long, value_name = "FILE|DIRECTORY")]
    tiles: Option<PathBuf>,
}

fn main() -> ExitCode {
    let verdict = match usage::arguments() {
        Verb::Archive(arguments) => arguments.run(),
        Verb::Statement(arguments) => arguments.run(),
        Verb::Proof(arguments) => arguments.run(),
        Verb::Witness(arguments) => arguments.run(),
    };
    // The exit code is the verdict, too, for whoever does not read to the end.
    let (told, code) = match verdict {
        Ok(text) => (writeln!(io::stdout(), "{text}"), ExitCode::SUCCESS),
        Err(Refused::Unreadable(error)) => (writeln!(io::stderr(), "daybook-verify: {error}"), ExitCode::from(2)),
        Err(refused) => (writeln!(io::stderr(), "REFUSED  {refused}"), ExitCode::FAILURE),
    };
    match told {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => panic!("the verdict cannot be written: {error}"),
        _ => code,
    }
}

impl Archive {
    fn run(&self) -> Result<String, Refused> {
        // The root at the size of the outside checkpoint is told by the archive, once the key is known.
        let known = self.checkpoint.as_deref().map(|file| read(file).map(|note| (file, note))).transpose()?;
        let size = known.as_ref().and_then(|(_, note)| size_of(note));
        let sizes: Vec<u64> = size.into_iter().collect();
        let read = in_file(&self.file, archive::verify(reader(&self.file)?, self.key.as_ref(), &sizes, |_| ()))?;
        let compared = match known {
            Some((file, note)) => {
                let known = in_file(file, open(&note, &read.key))?;
                in_file(&self.file, outside::compare_by_archive(known.tree(), &read))?;
                format!("it begins with the log of the {} events of your checkpoint", known.size)
            }
            None => NOT_COMPARED.to_owned(),
        };
        let whose = if self.key.is_some() { "" } else { "; compare the key with the one that you were given" };
        let Checkpoint { size, root, .. } = &read.checkpoint;
        let archive::Contents { streams, entries, unjudged } = read.contents;
        let unjudged = match unjudged {
            0 => String::new(),
            unjudged => format!(", {unjudged} balances that an entry of a version unknown here leads to"),
        };
        Ok(format!(
            "intact  {size} events, root {root}, signed by {}{whose}
        judged: every byte of every event and their order, against the signed root; that the events of each of {streams} \
             streams are numbered 1, 2, 3 …; that the balances of {entries} entries of accounts follow from those before
        not judged: what else the events say{unjudged}
        {compared}",
            read.key
        ))
    }
}

/// The size that a checkpoint tells, before its signature is looked at.
fn size_of(note: &str) -> Option<u64> {
    note.lines().nth(1)?.parse().ok()
}

impl Statement {
    fn run(&self) -> Result<String, Refused> {
        let statement = in_file(&self.file, statement::verify(reader(&self.file)?, &self.key))?;
        let mut first_lacking = statement.first_lacking();
        let mut lacking = None;
        let Summary { account, currency, from, to, entries, opening, closing, size, root } = &statement.summary;
        let tree = Tree { size: *size, root: *root };
        let compared = self.outside.compare(&self.file, tree, &self.key, |event| lacking = first_lacking(event))?;
        if let Some(position) = lacking {
            let reason = format!("event {position} is an entry of account {account}, and the statement hides it");
            return Err(Refused::Whole(reason).in_file(&self.file));
        }
        let last = match self.outside.archive {
            Some(_) => "the archive has no further entry of the account in that log",
            None => "that there is no further entry in that log is what its key has signed, and `--archive` would show",
        };
        Ok(format!(
            "sound  account {account}, {}, {}
       opening balance {opening} {currency}, closing balance {closing} {currency}
       all {entries} entries in a log of {size} events, root {root}
       {last}
       {compared}",
            from.map_or("from the beginning".into(), |from| format!("from {}", shown(from))),
            to.map_or("to the end".into(), |to| format!("to {}, which is not included", shown(to))),
        ))
    }
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

impl ProofArguments {
    fn run(&self) -> Result<String, Refused> {
        let bytes = fs::read(&self.file).map_err(Refused::from);
        let proof = in_file(&self.file, bytes.and_then(|bytes| Proof::read(&bytes)))?;
        let checkpoint = in_file(&self.file, proof.check(&self.key))?;
        let compared = self.outside.compare(&self.file, checkpoint.tree(), &self.key, |_| ())?;
        let Checkpoint { size, root, .. } = checkpoint;
        let shown = match proof {
            Proof::Event(proof) => format!("event {} is in the log of {size} events", proof.event.position),
            Proof::Consistency(_) => format!("the log of {size} events continues the earlier one"),
        };
        Ok(format!("sound  {shown}, root {root}\n       {compared}"))
    }
}

const NOT_COMPARED: &str = "not compared with a checkpoint of yours";

impl Outside {
    /// Whether a file of this tree is of the same log; answers with what it was compared with. `each` is shown every event
    /// of the archive.
    fn compare(
        &self,
        file: &Path,
        tree: Tree,
        key: &PublicKey,
        each: impl FnMut(&LogEvent<'_>),
    ) -> Result<String, Refused> {
        let known = self.checkpoint.as_deref().map(|file| read_checkpoint(file, key)).transpose()?;
        if let Some(path) = &self.archive {
            let sizes: Vec<u64> = iter::once(tree.size).chain(known.as_ref().map(|known| known.size)).collect();
            let archive = in_file(path, archive::verify(reader(path)?, Some(key), &sizes, each))?;
            in_file(file, outside::compare_by_archive(tree, &archive))?;
            let Checkpoint { size, .. } = archive.checkpoint;
            return match known {
                None => Ok(format!("the archive of {size} events begins with that log; {NOT_COMPARED}")),
                Some(known) => {
                    in_file(path, outside::compare_by_archive(known.tree(), &archive))?;
                    Ok(format!(
                        "the archive of {size} events begins with that log, and with the {} of your checkpoint",
                        known.size
                    ))
                }
            };
        }
        let Some(known) = known else { return Ok(NOT_COMPARED.to_owned()) };
        match &self.proof {
            None => in_file(file, outside::compare(tree, &known))?,
            Some(path) => {
                let bytes = fs::read(path).map_err(Refused::from);
                let proof = in_file(path, bytes.and_then(|bytes| Proof::read_consistency(&bytes)))?;
                in_file(file, outside::compare_by_proof(tree, &known, &proof, key))?;
            }
        }
        Ok(format!("compared with your checkpoint of {} events: it is of the same log", known.size))
    }
}

impl Witness {
    fn run(&self) -> Result<String, Refused> {
        let checkpoint = read_checkpoint(&self.checkpoint, &self.key)?;
        let evidence = match (&self.proof, &self.tiles) {
            _ if self.first => Evidence::First,
            (Some(proof), _) => Evidence::Proof(fs::read(proof).map_err(|error| Refused::from(error).in_file(proof))?),
            (None, Some(directory)) if directory.is_dir() => Evidence::Tiles(directory.clone()),
            (None, Some(file)) => {
                let last = witness::last(&self.state, &self.key)?.map(|checkpoint| checkpoint.size);
                let sizes: Vec<u64> = last.into_iter().collect();
                let archive = in_file(file, archive::verify(reader(file)?, Some(&self.key), &sizes, |_| ()))?;
                let before = last.and_then(|size| archive.roots.get(&size).copied());
                Evidence::Archive(archive.checkpoint, before)
            }
            (None, None) => Evidence::Nothing,
        };
        let size = checkpoint.size;
        Ok(match witness::see(&self.state, &checkpoint, &self.key, &evidence)? {
            Seen::First => format!("kept  the first checkpoint seen, of {size} events"),
            Seen::Same => format!("kept  the checkpoint of {size} events that was seen last"),
            Seen::Continues(last) => format!("kept  {size} events, which continue the {last} that were seen"),
        })
    }
}

fn reader(file: &Path) -> Result<BufReader<File>, Refused> {
    let opened = File::open(file).map_err(|error| Refused::from(error).in_file(file))?;
    Ok(BufReader::with_capacity(1 << 16, opened))
}

fn read(file: &Path) -> Result<String, Refused> {
    fs::read_to_string(file).map_err(|error| Refused::from(error).in_file(file))
}

fn read_checkpoint(file: &Path, key: &PublicKey) -> Result<Checkpoint, Refused> {
    in_file(file, open(&read(file)?, key))
}

fn open(note: &str, key: &PublicKey) -> Result<Checkpoint, Refused> {
    Checkpoint::open(note, key).map_err(|error| Refused::Whole(error.to_string()))
}

fn in_file<T>(file: &Path, outcome: Result<T, Refused>) -> Result<T, Refused> {
    outcome.map_err(|refused| refused.in_file(file))
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    if text.contains('+') {
        return text.parse().map_err(|error| format!("{error}"));
    }
    let text = fs::read_to_string(text).map_err(|error| error.to_string())?;
    text.parse().map_err(|error| format!("{error}"))
}
