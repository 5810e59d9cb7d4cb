//! `daybook-verify`: checks what a ledger hands out, with nothing but the ledger's public key. Exit code 0 if all of it
//! holds, 1 if it does not (and what is wrong first), 2 if it could not be read.

#![expect(clippy::print_stdout, reason = "the verdict goes to standard output")]

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser};
use daybook_verify::{
    Checkpoint, PublicKey, Refused, archive,
    proof::Proof,
    statement,
    witness::{self, Evidence, Seen},
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
    /// A checkpoint that was kept elsewhere: the statement must be of that very tree
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ProofArguments {
    file: PathBuf,
    /// The public key of the log, or a file with it
    #[arg(long, value_parser = public_key)]
    key: PublicKey,
    /// A checkpoint that was kept elsewhere: the proof must lead to it
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
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
    /// A proof of consistency from the last checkpoint seen to this one
    #[arg(long, value_name = "FILE", conflicts_with = "tiles")]
    proof: Option<PathBuf>,
    /// An archive of the log, or a directory with its tiles, instead of a proof
    #[arg(long, value_name = "FILE|DIRECTORY")]
    tiles: Option<PathBuf>,
}

fn main() -> ExitCode {
    let verdict = match Verb::parse() {
        Verb::Archive(arguments) => arguments.run(),
        Verb::Statement(arguments) => arguments.run(),
        Verb::Proof(arguments) => arguments.run(),
        Verb::Witness(arguments) => arguments.run(),
    };
    match verdict {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(Refused::Unreadable(error)) => {
            eprintln!("daybook-verify: the file cannot be read: {error}");
            ExitCode::from(2)
        }
        Err(refused) => {
            eprintln!("REFUSED  {refused}");
            ExitCode::FAILURE
        }
    }
}

impl Archive {
    fn run(&self) -> Result<String, Refused> {
        // The root at the size of the outside checkpoint is told by the archive, once the key is known.
        let outside = self.checkpoint.as_deref().map(fs::read_to_string).transpose()?;
        let size = outside.as_deref().and_then(size_of);
        let read = archive::verify(reader(&self.file)?, self.key.as_ref(), size)?;
        if let Some(note) = &outside {
            let outside = open(note, &read.key)?;
            if read.root_before != Some(outside.root) {
                let reason = format!("it does not begin with the log of {} events of the checkpoint", outside.size);
                return Err(Refused::Whole(reason));
            }
        }
        let whose = if self.key.is_some() { "" } else { "; compare the key with the one that you were given" };
        let Checkpoint { size, root, .. } = &read.checkpoint;
        Ok(format!("sound  {size} events, root {root}, signed by {}{whose}", read.key))
    }
}

/// The size that a checkpoint tells, before its signature is looked at.
fn size_of(note: &str) -> Option<u64> {
    note.lines().nth(1)?.parse().ok()
}

impl Statement {
    fn run(&self) -> Result<String, Refused> {
        let outside = self.checkpoint.as_deref().map(|file| read_checkpoint(file, &self.key)).transpose()?;
        let summary = statement::verify(reader(&self.file)?, &self.key, outside.as_ref())?;
        let statement::Summary { account, entries, opening, closing, currency, size, .. } = summary;
        Ok(format!(
            "sound  account {account}: all {entries} entries in a log of {size} events, from {opening} to {closing} {currency}"
        ))
    }
}

impl ProofArguments {
    fn run(&self) -> Result<String, Refused> {
        let proof = Proof::read(&fs::read(&self.file)?)?;
        let checkpoint = proof.check(&self.key)?;
        if let Some(file) = &self.checkpoint {
            let outside = read_checkpoint(file, &self.key)?;
            if (outside.size, outside.root) != (checkpoint.size, checkpoint.root) {
                let reason = format!("the proof leads to another checkpoint, of {} events", checkpoint.size);
                return Err(Refused::Whole(reason));
            }
        }
        let size = checkpoint.size;
        Ok(match proof {
            Proof::Event(proof) => format!("sound  event {} is in the log of {size} events", proof.event.position),
            Proof::Consistency(_) => format!("sound  the log of {size} events continues the earlier one"),
        })
    }
}

impl Witness {
    fn run(&self) -> Result<String, Refused> {
        let checkpoint = read_checkpoint(&self.checkpoint, &self.key)?;
        let evidence = match (&self.proof, &self.tiles) {
            (Some(proof), _) => Evidence::Proof(fs::read(proof)?),
            (None, Some(directory)) if directory.is_dir() => Evidence::Tiles(directory.clone()),
            (None, Some(archive)) => {
                let last = witness::last(&self.state, &self.key)?.map(|checkpoint| checkpoint.size);
                let archive = archive::verify(reader(archive)?, Some(&self.key), last)?;
                Evidence::Archive(archive.checkpoint, archive.root_before)
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
    Ok(BufReader::with_capacity(1 << 16, File::open(file)?))
}

fn read_checkpoint(file: &Path, key: &PublicKey) -> Result<Checkpoint, Refused> {
    open(&fs::read_to_string(file)?, key)
}

fn open(note: &str, key: &PublicKey) -> Result<Checkpoint, Refused> {
    Checkpoint::open(note, key).map_err(|error| Refused::Whole(error.to_string()))
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    if text.contains('+') {
        return text.parse().map_err(|error| format!("{error}"));
    }
    let text = fs::read_to_string(text).map_err(|error| error.to_string())?;
    text.parse().map_err(|error| format!("{error}"))
}
