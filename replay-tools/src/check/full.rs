//! Verifying the log itself: every leaf and the tree are recomputed from the events, and compared with the tiles and with
//! every checkpoint, those in the ledger and those that were kept elsewhere. The first bad position is named.
//!
//! The book is read in pieces of 65,536 positions, which are whole subtrees; so any number of connections and cores work
//! at it, and the pieces are put together in order.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use daybook_core::{
    Position,
    store::Store,
    transparency::{
        LogError, ScanError, StoredCheckpoint, checkpoints_between, digests_after, last_signed, read_tiles, scan,
        standing,
    },
};
use daybook_log::{
    Checkpoint, PublicKey,
    tree::{self, Frontier, Place, TileBuilder, Tiles, WIDTH},
    witness,
};
use sqlx::{Executor as _, PgConnection};
use tlog_tiles::{EMPTY_HASH, Hash};
use tokio::sync::mpsc;

use crate::{
    ToolError,
    check::verify::{Check, Finding, check, keep_first},
    ledger::LedgerOptions,
    progress::Progress,
};

/// The height of a piece: it is one hash of level 2, and one full tile of level 1.
const HEIGHT: u8 = 2 * tree::HEIGHT;
const PIECE: u64 = 1 << HEIGHT;

/// How the files of checkpoints that were verified are named.
const STATE: &str = "verified.";
const CHECKPOINT: &str = ".checkpoint";

/// What is kept of the log from the times before, as far as there is anything.
#[derive(Debug, Default)]
struct Kept {
    /// The last checkpoint that was verified.
    state: Option<PathBuf>,
    /// The last one that was signed here.
    signed: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Check the log itself, instead of what follows from it: every event against its leaf, the tree, and every
    /// checkpoint with its signature
    #[arg(long)]
    pub full: bool,
    /// With --full: take for granted what this checkpoint covers, and go on from there; without a FILE, the last one
    /// that was verified
    #[arg(long, requires = "full", value_name = "FILE", num_args = 0..=1, require_equals = true)]
    since: Option<Option<PathBuf>>,
    /// With --full: a checkpoint that was kept elsewhere, which the log must continue
    #[arg(long, requires = "full", value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// With --full: the public key of the log, as you know it; unless told, the ledger's own word is taken for it
    #[arg(long, requires = "full", value_name = "KEY")]
    key: Option<PublicKey>,
}

/// What a full verification has found.
#[derive(Debug)]
pub struct Verified {
    pub checks: Vec<Check>,
    /// Where the book ends.
    pub position: Position,
    pub events_per_second: u64,
}

/// The log, as everything that knows of it says that it should be.
struct Log {
    key: Option<PublicKey>,
    /// Events in the tiles.
    tiles: u64,
    /// The last event that stands in the tree whole whatever its size.
    digests_after: Position,
    /// Where the book says that it ends, and where its last event stands.
    head: Position,
    last: Position,
    /// The largest checkpoint in the ledger.
    signed: u64,
    /// Checkpoints from outside, by size.
    outside: BTreeMap<u64, Vec<Outside>>,
}

#[derive(Clone, Debug)]
struct Outside {
    name: String,
    checkpoint: Checkpoint,
}

/// Everything that is wrong, in the order of positions.
#[derive(Default)]
struct Findings {
    events: Option<Finding>,
    /// A leaf that is not the one in the tiles: the event's fault or the tile's.
    leaf: Option<Finding>,
    tiles: Option<Finding>,
    checkpoints: Option<Finding>,
    outside: Option<Finding>,
}

/// The verification that is asked for. The last checkpoint that was verified is kept at the home of the ledger, and so is
/// the last one that was signed, beside the key: the log must continue both.
pub async fn verify(
    store: &Store,
    options: &LedgerOptions,
    full: &Options,
    quiet: bool,
) -> Result<Verified, ToolError> {
    let origin = standing(store.pool()).await?.origin;
    let name = full.key.as_ref().map(|key| key.name().to_owned()).or(origin);
    let state = name.as_deref().map(|name| options.home().join(state_file(name)));
    let signed = options.log_key().map(|key| last_signed(&key)).filter(|signed| is_of(signed, name.as_deref()));
    let kept = Kept { state: state.clone().filter(|state| state.exists()), signed };
    if let (None, Some(name)) = (&kept.state, &name)
        && knows_logs(options.home())
    {
        eprintln!("note: the log {name} was never verified from {}; others were", options.home().display());
    }
    let (verified, latest) = verify_since(store, full, &kept, quiet).await?;
    if let (Some(latest), Some(state)) = (latest, state) {
        // What it covers need not be read again, and no later log may forget it.
        fs::create_dir_all(options.home())?;
        witness::replace(&state, &latest.note)?;
    }
    Ok(verified)
}

/// The file of the last checkpoint of a log that was verified: several ledgers may share a home.
fn state_file(name: &str) -> String {
    let name: String = name.chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '-' }).collect();
    format!("{STATE}{name}{CHECKPOINT}")
}

/// Whether any log was verified from here.
fn knows_logs(home: &Path) -> bool {
    let files = fs::read_dir(home).into_iter().flatten().flatten();
    files
        .map(|file| file.file_name())
        .any(|name| name.to_str().is_some_and(|name| name.starts_with(STATE) && name.ends_with(CHECKPOINT)))
}

/// Whether a note is of this log; one that cannot be read is, so that it is told of.
fn is_of(note: &Path, name: Option<&str>) -> bool {
    note.exists() && fs::read_to_string(note).map_or(true, |note| note.lines().next() == name)
}

/// Verifies a ledger of which nothing is kept, against checkpoints from outside.
pub async fn verify_restored(
    store: &Store,
    checkpoint: Vec<PathBuf>,
    key: Option<PublicKey>,
    quiet: bool,
) -> Result<Verified, ToolError> {
    let full = Options { full: true, since: None, checkpoint, key };
    Ok(verify_since(store, &full, &Kept::default(), quiet).await?.0)
}

/// The last checkpoint is told if everything is sound.
async fn verify_since(
    store: &Store,
    full: &Options,
    kept: &Kept,
    quiet: bool,
) -> Result<(Verified, Option<Checkpoint>), ToolError> {
    let begun = Instant::now();
    let mut findings = Findings::default();
    let log = Arc::new(read_log(store, full, kept, &mut findings).await?);
    let since = since(store, &log, full, kept).await?;

    let mut progress = if quiet { Progress::hidden() } else { Progress::new("verifying", "events", log.last) };
    let (start, root) = (since.size(), since.root());
    let (base, carried) = since.split(HEIGHT);
    let mut whole = Whole { log: &log, start, base, upper: TileBuilder::default(), judged: Vec::new(), latest: None };
    whole.judge_covered(store, root, &mut findings).await?;
    let mut pieces = read_pieces(store, &log, start, carried);
    let mut waiting = BTreeMap::new();
    let mut next = start / PIECE;
    let mut events = 0;
    while let Some(piece) = pieces.recv().await {
        let piece = piece?;
        waiting.insert(piece.number, piece);
        while let Some(piece) = waiting.remove(&next) {
            events += piece.events;
            progress.advance(piece.events);
            whole.add(piece, &mut findings);
            next += 1;
        }
    }
    if start.max(next * PIECE) < log.last {
        return Err("a part of the book was not read".into());
    }
    whole.end(store, &mut findings).await?;
    progress.finish();

    let Whole { judged, latest, .. } = whole;
    let tiles = log.tiles.saturating_sub(start);
    let (outside, stored): (Vec<_>, Vec<_>) = judged.iter().partition(|judgement| judgement.outside);
    let (outside, stored) = (outside.len() as u64, stored.len() as u64);
    if outside != log.outside.values().map(Vec::len).sum::<usize>() as u64 {
        return Err("a checkpoint from outside was not compared".into());
    }
    let checks = vec![
        check("every event is the one in the log's tree", events, findings.events),
        check("the tiles follow from the events", tiles, findings.tiles),
        check("every checkpoint is signed, and the tree fits", stored, findings.checkpoints),
        check("the log continues the checkpoints from outside", outside, findings.outside),
    ];
    let latest = latest.filter(|_| checks.iter().all(Check::is_sound));
    let seconds = begun.elapsed().as_secs_f64().max(1e-6);
    #[expect(clippy::float_arithmetic, reason = "a rate is no money")]
    let events_per_second = (events as f64 / seconds) as u64;
    Ok((Verified { checks, position: log.head, events_per_second }, latest))
}

async fn read_log(store: &Store, full: &Options, kept: &Kept, findings: &mut Findings) -> Result<Log, ToolError> {
    let log = standing(store.pool()).await?;
    let own = log.key()?;
    if let (Some(key), Some(own)) = (&full.key, &own)
        && key != own
    {
        let what = format!("the ledger says that its key is {own}, and not the one that is known");
        keep_first(&mut findings.checkpoints, Some(Finding { position: None, what }));
    }
    let key = full.key.clone().or(own);
    let mut outside: BTreeMap<u64, Vec<Outside>> = BTreeMap::new();
    // What is taken for granted must still be reached.
    let since = full.since.iter().flatten();
    for file in full.checkpoint.iter().chain(since).chain(&kept.state).chain(&kept.signed) {
        let name = file.display().to_string();
        let note = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
        match key.as_ref().map(|key| Checkpoint::open(&note, key)) {
            Some(Ok(checkpoint)) => {
                outside.entry(checkpoint.size).or_default().push(Outside { name, checkpoint });
            }
            Some(Err(error)) => {
                let what = format!("{name}: {error}");
                keep_first(&mut findings.outside, Some(Finding { position: None, what }));
            }
            None => return Err(format!("{name} cannot be checked: the log has no key, so name it by --key").into()),
        }
    }

    let digests_after = digests_after(store.pool()).await?;
    // One moment of the book, which may be growing; later than the checkpoints from outside, which it must reach.
    let (head, last, signed): (i64, i64, i64) = sqlx::query_as(
        "select position, (select coalesce(max(position), 0) from events),
             (select coalesce(max(size), 0) from log_checkpoints)
         from book_head
         order by position desc
         limit 1",
    )
    .fetch_one(store.pool())
    .await?;
    let (head, last, signed) = (head.unsigned_abs(), last.unsigned_abs(), signed.unsigned_abs());
    let expected = [
        (head, "the head of the book"),
        (log.size, "the tree"),
        (signed, "a checkpoint"),
        (outside.keys().next_back().copied().unwrap_or_default(), "a checkpoint from outside"),
    ];
    let (furthest, by) = expected.into_iter().max_by_key(|(size, _)| *size).unwrap_or_default();
    if last < furthest {
        let what = format!("the event is missing: the book ends before, but {by} reaches to {furthest}");
        keep_first(&mut findings.events, Some(Finding { position: Some(last + 1), what }));
    }
    if last > head {
        let what = format!("the event stands beyond the head of the book, which is at {head}");
        keep_first(&mut findings.events, Some(Finding { position: Some(head + 1), what }));
    }
    Ok(Log { key, tiles: log.size, digests_after, head, last, signed, outside })
}

/// The tree that is taken for granted.
async fn since(store: &Store, log: &Log, full: &Options, kept: &Kept) -> Result<Frontier, ToolError> {
    let Some(file) = &full.since else { return Ok(Frontier::default()) };
    let file = file.as_ref().or(kept.state.as_ref()).ok_or("--since: nothing of this ledger is kept")?;
    let name = file.display();
    let note = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let key = log.key.as_ref().ok_or_else(|| format!("{name} cannot be checked: the log has no key"))?;
    let checkpoint = Checkpoint::open(&note, key).map_err(|error| format!("{name}: {error}"))?;
    let places: Vec<Place> =
        tree::tiles_for_frontier(checkpoint.size).iter().map(|tile| (tile.level(), tile.level_index())).collect();
    let tiles = read_tiles(&mut connect(store).await?, &places).await?;
    let frontier = tree::read_frontier(&tiles, checkpoint.size, checkpoint.root);
    Ok(frontier.map_err(|_| {
        format!("the tiles do not lead to the checkpoint in {name}: verify without --since, which tells where")
    })?)
}

/// A checkpoint within a piece, and what the piece has come to there.
struct Mark {
    /// Where it comes from, if not from the ledger.
    outside: Option<String>,
    size: u64,
    /// Or why it cannot be trusted.
    checkpoint: Result<Checkpoint, String>,
    so_far: Frontier,
}

/// What was found in one piece of the book.
struct Piece {
    number: u64,
    events: u64,
    tree: Frontier,
    missing: Option<Position>,
    leaf: Option<Position>,
    tile: Option<Place>,
    marks: Vec<Mark>,
}

/// Reads all pieces, several at once, and hands them over as they are done.
fn read_pieces(
    store: &Store,
    log: &Arc<Log>,
    start: u64,
    carried: Frontier,
) -> mpsc::Receiver<Result<Piece, PieceError>> {
    let workers = thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let (send, receive) = mpsc::channel(workers);
    let next = Arc::new(AtomicU64::new(start / PIECE));
    for _ in 0..workers {
        let (store, log, next, send, carried) =
            (store.clone(), log.clone(), next.clone(), send.clone(), carried.clone());
        tokio::spawn(async move {
            let mut connection = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let before = if number == start / PIECE { carried.clone() } else { Frontier::default() };
                if number * PIECE + before.size() >= log.last {
                    return;
                }
                let piece = read_piece(&store, &mut connection, &log, number, before).await;
                let failed = piece.is_err();
                if send.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
    }
    receive
}

#[derive(Debug, thiserror::Error)]
enum PieceError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the events cannot be read")]
    Scan(#[from] ScanError),
}

async fn connect(store: &Store) -> Result<PgConnection, LogError> {
    let mut connection = store.connection().await?;
    connection.execute("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0").await?;
    Ok(connection)
}

async fn read_piece(
    store: &Store,
    connection: &mut Option<PgConnection>,
    log: &Log,
    number: u64,
    before: Frontier,
) -> Result<Piece, PieceError> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(connect(store).await?),
    };
    let first = number * PIECE + before.size() + 1;
    let last = log.last.min((number + 1) * PIECE);
    let leaf_tiles = (first - 1) / WIDTH..last.div_ceil(WIDTH);
    let mut places: Vec<Place> = leaf_tiles.map(|index| (0, index)).collect();
    places.push((1, number));
    let tiles = read_tiles(connection, &places).await?;
    let stored = checkpoints_between(connection, first, last).await?;
    let outside = log.outside.range(first..=last).flat_map(|(_, outside)| outside);
    let marks = stored.iter().map(|stored| stored_mark(stored, log.key.as_ref())).chain(outside.map(Outside::mark));
    let mut marks: Vec<Mark> = marks.collect();
    marks.sort_by_key(|mark| mark.size);

    let (tree, block) = before.split(tree::HEIGHT);
    let mut reading = Reading {
        tiles: &tiles,
        in_tiles: log.tiles,
        due: first,
        buffer: Vec::new(),
        tree,
        block,
        marked: 0,
        piece: Piece { number, events: 0, tree: Frontier::default(), missing: None, leaf: None, tile: None, marks },
    };
    scan(connection, first, last, |event| {
        while reading.due < event.position {
            reading.miss();
        }
        reading.piece.events += 1;
        let leaf = event.leaf_with(log.digests_after, &mut reading.buffer);
        reading.add(leaf);
    })
    .await?;
    while reading.due <= last {
        reading.miss();
    }
    let Reading { mut tree, block, mut piece, .. } = reading;
    tree.append(&block);
    piece.tree = tree;
    Ok(piece)
}

fn stored_mark(stored: &StoredCheckpoint, key: Option<&PublicKey>) -> Mark {
    let checkpoint = match key {
        Some(key) => stored.open(key).map_err(|error| daybook_core::chain(&error)),
        None => Err("it is signed, but the ledger says that its log has no key".into()),
    };
    Mark { outside: None, size: stored.size, checkpoint, so_far: Frontier::default() }
}

impl Outside {
    fn mark(&self) -> Mark {
        let (outside, size) = (Some(self.name.clone()), self.checkpoint.size);
        Mark { outside, size, checkpoint: Ok(self.checkpoint.clone()), so_far: Frontier::default() }
    }
}

/// A piece while it is being read.
struct Reading<'a> {
    tiles: &'a Tiles,
    /// How many events the tiles hold.
    in_tiles: u64,
    /// The position that comes next.
    due: Position,
    buffer: Vec<u8>,
    /// The tree of the piece as far as its blocks of 256 are full, and the block that is not.
    tree: Frontier,
    block: Frontier,
    /// Marks that are passed.
    marked: usize,
    piece: Piece,
}

impl Reading<'_> {
    /// An event is not there. Nothing has its place in the tree, so that those behind it keep theirs.
    fn miss(&mut self) {
        self.piece.missing.get_or_insert(self.due);
        self.add(EMPTY_HASH);
    }

    fn add(&mut self, leaf: Hash) {
        let position = self.due;
        self.due += 1;
        let (index, within) = ((position - 1) / WIDTH, ((position - 1) % WIDTH) as usize);
        if position <= self.in_tiles {
            match self.hash((0, index), within) {
                Some(known) if known == leaf => {}
                Some(_) => _ = self.piece.leaf.get_or_insert(position),
                None => _ = self.piece.tile.get_or_insert((0, index)),
            }
        }
        self.block.push(leaf);
        if self.block.size() == WIDTH {
            let hash = self.block.root();
            self.block = Frontier::default();
            self.tree.push_subtree(tree::HEIGHT, hash);
            let known = self.hash((1, index / WIDTH), (index % WIDTH) as usize);
            if position <= self.in_tiles && self.piece.leaf.is_none() && known != Some(hash) {
                self.piece.tile.get_or_insert((1, index / WIDTH));
            }
        }
        while let Some(mark) = self.piece.marks.get_mut(self.marked)
            && mark.size == position
        {
            mark.so_far = self.tree.clone();
            mark.so_far.append(&self.block);
            self.marked += 1;
        }
    }

    fn hash(&self, place: Place, within: usize) -> Option<Hash> {
        self.tiles.0.get(&place)?.get(within).copied()
    }
}

/// The tree of the whole book, put together of pieces.
struct Whole<'a> {
    log: &'a Log,
    /// Events that were taken for granted.
    start: u64,
    base: Frontier,
    /// The tiles from level 2 upwards.
    upper: TileBuilder,
    judged: Vec<Judgement>,
    /// The largest checkpoint that holds.
    latest: Option<Checkpoint>,
}

/// Whether a checkpoint holds.
struct Judgement {
    outside: bool,
    size: u64,
    holds: bool,
}

impl Whole<'_> {
    /// Judges the checkpoints from outside that lie within what is taken for granted: that vouches for its tiles, and
    /// they prove whether it begins with the tree of such a checkpoint.
    async fn judge_covered(&mut self, store: &Store, root: Hash, findings: &mut Findings) -> Result<(), ToolError> {
        let log = self.log;
        let mut connection = connect(store).await?;
        for (&size, outside) in log.outside.range(..=self.start) {
            let wanted = tree::tiles_for_consistency(self.start, size);
            let places: Vec<Place> = wanted.iter().map(|tile| (tile.level(), tile.level_index())).collect();
            let tiles = read_tiles(&mut connection, &places).await?;
            let proof = tree::prove_consistency(&tiles, self.start, root, size).map_err(|_| {
                let names: Vec<&str> = outside.iter().map(|outside| &*outside.name).collect();
                let names = names.join(", ");
                format!("the tiles do not lead to the checkpoint in {names}: verify without --since, which tells where")
            })?;
            for outside in outside {
                let fits = tree::extends(&proof, (self.start, root), (size, outside.checkpoint.root));
                self.judge(outside.mark(), fits, findings);
            }
        }
        Ok(())
    }

    fn add(&mut self, piece: Piece, findings: &mut Findings) {
        if let Some(position) = piece.missing {
            let what = "the event is missing".into();
            keep_first(&mut findings.events, Some(Finding { position: Some(position), what }));
        }
        if let Some(position) = piece.leaf {
            let what = "the event is not the one that is in the log's tree".into();
            keep_first(&mut findings.leaf, Some(Finding { position: Some(position), what }));
        }
        if let Some(place) = piece.tile {
            keep_first(&mut findings.tiles, Some(bad_tile(place)));
        }
        for mark in piece.marks {
            let mut tree = self.base.clone();
            tree.append(&mark.so_far);
            let fits = mark.checkpoint.as_ref().is_ok_and(|checkpoint| checkpoint.root == tree.root());
            self.judge(mark, fits, findings);
        }
        self.base.append(&piece.tree);
        if self.start == 0 && piece.tree.size() == PIECE {
            self.upper.push(piece.tree.root());
        }
    }

    fn judge(&mut self, mark: Mark, fits: bool, findings: &mut Findings) {
        let Mark { outside, size, checkpoint, .. } = mark;
        let from = outside.is_some();
        let found = match checkpoint {
            Err(reason) => Some(format!("the checkpoint of {size} events cannot be trusted: {reason}")),
            Ok(_) if !fits => {
                let which = outside.as_deref().map_or(String::new(), |name| format!(" in {name}"));
                Some(format!("the log is not the one that the checkpoint of {size} events{which} was signed of"))
            }
            Ok(checkpoint) => {
                if self.latest.as_ref().is_none_or(|latest| latest.size <= size) {
                    self.latest = Some(checkpoint);
                }
                None
            }
        };
        let holds = found.is_none();
        if let Some(what) = found {
            // Nothing before the last checkpoint that holds can be bad. Against one from outside, only those from outside
            // count: whoever has rewritten the log may have signed it anew.
            let before = |judgement: &&Judgement| judgement.holds && judgement.size < size && judgement.outside >= from;
            let granted = if size > self.start { self.start } else { 0 };
            let good = self.judged.iter().rev().find(before).map_or(granted, |good| good.size);
            let list = if from { &mut findings.outside } else { &mut findings.checkpoints };
            // Of no events, none can be bad.
            let finding = if size == 0 {
                Finding { position: None, what }
            } else {
                let what = format!("{what}; the first bad event is among {} to {size}", good + 1);
                Finding { position: Some(good + 1), what }
            };
            keep_first(list, Some(finding));
        }
        self.judged.push(Judgement { outside: from, size, holds });
    }

    async fn end(&mut self, store: &Store, findings: &mut Findings) -> Result<(), ToolError> {
        // An event that differs from its leaf: whose fault is it? A checkpoint that covers it tells.
        if let Some(leaf) = findings.leaf.take() {
            let position = leaf.position.unwrap_or_default();
            let covering = |judgement: &&Judgement| judgement.size >= position;
            let vindicated = self.judged.iter().filter(covering).any(|judgement| judgement.holds)
                && self.judged.iter().filter(covering).all(|judgement| judgement.holds);
            if vindicated {
                keep_first(&mut findings.tiles, Some(bad_tile((0, (position - 1) / WIDTH))));
            } else {
                keep_first(&mut findings.events, Some(leaf));
            }
        }
        if let Some(event) = &findings.events {
            narrow(&mut findings.checkpoints, event);
            narrow(&mut findings.outside, event);
        }
        let last = self.log.last;
        let beyond = |size: u64, which: &str| {
            let what = format!("the checkpoint of {size} events{which} covers more than there is");
            Some(Finding { position: Some(last + 1), what })
        };
        if self.log.signed > last {
            keep_first(&mut findings.checkpoints, beyond(self.log.signed, ""));
        }
        for (&size, outside) in self.log.outside.range(last.max(self.start) + 1..) {
            for Outside { name, .. } in outside {
                keep_first(&mut findings.outside, beyond(size, &format!(" in {name}")));
                self.judged.push(Judgement { outside: true, size, holds: false });
            }
        }
        // The tiles above the pieces; those may be behind the book.
        if self.start == 0 && findings.events.is_none() {
            let computed = self.upper.take_changed().into_iter();
            let computed: Vec<(Place, Vec<Hash>)> =
                computed.map(|((level, index), hashes)| ((level + 2, index), hashes)).collect();
            let places: Vec<Place> = computed.iter().map(|(place, _)| *place).collect();
            let stored = read_tiles(&mut connect(store).await?, &places).await?;
            for ((level, index), hashes) in computed {
                let count = self.log.tiles >> (tree::HEIGHT * level);
                let due = hashes.len().min(count.saturating_sub(index * WIDTH) as usize);
                let known = stored.0.get(&(level, index)).map(Vec::as_slice).unwrap_or_default();
                if known.get(..due) != hashes.get(..due) {
                    keep_first(&mut findings.tiles, Some(bad_tile((level, index))));
                }
            }
        }
        Ok(())
    }
}

/// Where an event is bad, there lies the fault that a checkpoint has shown.
fn narrow(finding: &mut Option<Finding>, event: &Finding) {
    if let Some(finding) = finding
        && finding.position < event.position
    {
        finding.position = event.position;
    }
}

fn bad_tile((level, index): Place) -> Finding {
    let what = format!(
        "tile {index} of level {level} does not follow from the events: `daybook tree rebuild` makes the tiles anew"
    );
    Finding { position: None, what }
}
