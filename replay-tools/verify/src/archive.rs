//! An archive of the log: one file that holds every event up to a checkpoint, the checkpoint and the public key.
//!
//! It is read from the root downwards, and each line is known to be right before the next one is
//! read; so the first bad line can be named. The header holds the checkpoint and the tiles that are not full: they lead
//! to the root. Every full tile stands before what lies below it, and its hash stands in the tile above; the events of a
//! tile of leaves follow it, one per line.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufRead, Write},
};

use serde::{Deserialize, Serialize};
use tlog_tiles::{EMPTY_HASH, HASH_SIZE, Hash, record_hash};

use crate::statement::{self, Chain};
use daybook_log::{
    checkpoint::Checkpoint,
    event::LogEvent,
    lines::{self, Lines, Refused},
    note::PublicKey,
    tree::{self, Frontier, Place, TileBuilder, Tiles, WIDTH},
};

pub const FORMAT: &str = "daybook/archive/1";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line<'a> {
    Archive(Header),
    Tile(TileLine),
    Event(LogEvent<'a>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    key: String,
    /// A signed note.
    checkpoint: String,
    /// The tiles that are not full, from the leaves upwards.
    edge: Vec<TileLine>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TileLine {
    level: u8,
    index: u64,
    #[serde(with = "daybook_log::lines::hashes")]
    hashes: Vec<Hash>,
}

/// What an archive has turned out to be.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The key that the archive was checked with.
    pub key: PublicKey,
    pub checkpoint: Checkpoint,
    /// The roots of the tree as it was at the sizes that were asked for, as far as the archive goes.
    pub roots: BTreeMap<u64, Hash>,
    pub contents: Contents,
}

/// What of the events was looked at beyond their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub streams: u64,
    /// Entries of accounts whose balance follows from the entry before.
    pub entries: u64,
    /// Entries that could not be judged: these, or others of their accounts before them, are of versions that are not
    /// known here.
    pub unjudged: u64,
}

/// The tiles that stand before the event at this index, from the root downwards.
pub fn tiles_before(size: u64, index: u64) -> Vec<Place> {
    let begins = |level: &u8| index.is_multiple_of(1 << (tree::HEIGHT * (level + 1)));
    let levels = tree::levels(size).map(|(level, _)| level).filter(begins);
    let places = levels.map(|level| (level, index >> (tree::HEIGHT * (level + 1)))).rev();
    places.filter(|place| is_full(size, *place)).collect()
}

fn is_full(size: u64, (level, index): Place) -> bool {
    size >> (tree::HEIGHT * level) >= (index + 1) * WIDTH
}

/// Writes the line of a tile.
pub fn write_tile((level, index): Place, hashes: Vec<Hash>, out: &mut impl Write) -> io::Result<()> {
    lines::write(&Line::Tile(TileLine { level, index, hashes }), out)
}

pub fn write_event(event: LogEvent<'_>, out: &mut impl Write) -> io::Result<()> {
    lines::write(&Line::Event(event), out)
}

/// Writes the first line. `edge` are the tiles of the tree that are not full.
pub fn write_header(key: &PublicKey, checkpoint: &Checkpoint, edge: &Tiles, out: &mut impl Write) -> io::Result<()> {
    let edge = edge.0.iter().map(|(&(level, index), hashes)| TileLine { level, index, hashes: hashes.clone() });
    let (format, key, checkpoint) = (FORMAT.to_owned(), key.to_string(), checkpoint.note.clone());
    lines::write(&Line::Archive(Header { format, key, checkpoint, edge: edge.collect() }), out)
}

/// Reads a whole archive. Without a key of the reader's own, the archive is checked with the key that it holds: that
/// shows that it is intact, but not whose it is. `each` is shown every event, and `sizes` are those at which the root is
/// to be told.
///
/// Memory is taken for each stream, some 100 bytes, since the events of each must be numbered 1, 2, 3 …, and each balance
/// of an account must follow from the one before.
pub fn verify(
    reader: impl BufRead,
    key: Option<&PublicKey>,
    sizes: &[u64],
    mut each: impl FnMut(&LogEvent<'_>),
) -> Result<Archive, Refused> {
    let mut reading = Reading::open(reader, key)?;
    let mut streams = Streams::default();
    let mut frontier = Frontier::default();
    let last = sizes.iter().copied().max().unwrap_or_default();
    let mut roots = BTreeMap::new();
    if sizes.contains(&0) {
        roots.insert(0, EMPTY_HASH);
    }
    while let Some((event, leaf)) = reading.read()? {
        streams.add(&event).map_err(|reason| reading.lines.refuse(reason))?;
        each(&event);
        if event.position <= last {
            frontier.push(leaf);
            if sizes.contains(&event.position) {
                roots.insert(event.position, frontier.root());
            }
        }
    }
    let contents = Contents { streams: streams.known.len() as u64, ..streams.contents };
    Ok(Archive { key: reading.key, checkpoint: reading.checkpoint, roots, contents })
}

/// An archive while it is read: an event that it hands out is the one in the tree whose root was signed.
#[derive(Debug)]
pub struct Reading<R> {
    lines: Lines<R>,
    key: PublicKey,
    checkpoint: Checkpoint,
    /// The tiles that are not full.
    edge: Tiles,
    /// Of each level, the tile that the events being read lie below.
    above: Vec<Vec<Hash>>,
    /// Of the next event.
    index: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Reading<R> {
    pub fn open(reader: R, key: Option<&PublicKey>) -> Result<Self, Refused> {
        let mut lines = Lines::new(reader);
        let Line::Archive(header) = lines.read("the header of an archive")? else {
            return Err(lines.refuse("this is not the header of an archive".into()));
        };
        let (key, checkpoint, edge) = header.open(key).map_err(|reason| lines.refuse(reason))?;
        let above = vec![Vec::new(); tree::levels(checkpoint.size).count()];
        Ok(Self { lines, key, checkpoint, edge, above, index: 0, buffer: Vec::new() })
    }

    /// The key that the archive is checked with.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The next event and its leaf; `None` once the archive has ended, and where it should.
    pub fn read(&mut self) -> Result<Option<(LogEvent<'static>, Hash)>, Refused> {
        let index = self.index;
        if index == self.checkpoint.size {
            self.lines.end()?;
            return Ok(None);
        }
        for level in (0..self.above.len() as u8).rev() {
            let leaves = 1 << (tree::HEIGHT * (level + 1));
            if index.is_multiple_of(leaves) {
                let place = (level, index / leaves);
                self.above[usize::from(level)] = match self.edge.0.get(&place) {
                    Some(hashes) => hashes.clone(),
                    None => read_tile(&mut self.lines, place, self.above.get(usize::from(level) + 1))?,
                };
            }
        }
        let position = index + 1;
        let Line::Event(event) = self.lines.read(&format!("event {position}"))? else {
            return Err(self.lines.refuse(format!("event {position} is due here")));
        };
        if event.position != position {
            return Err(self.lines.refuse(format!("event {} stands where event {position} is due", event.position)));
        }
        let leaf = self.above[0].get((index % WIDTH) as usize).copied();
        let Some(leaf) = leaf.filter(|leaf| event.entry_of(*leaf, &mut self.buffer)) else {
            return Err(self.lines.refuse(format!("event {position} is not the one that is in the log")));
        };
        self.index = position;
        Ok(Some((event, leaf)))
    }
}

/// The streams of a log, each known by a hash of its name.
#[derive(Debug, Default)]
struct Streams {
    known: HashMap<[u8; HASH_SIZE], Stream>,
    contents: Contents,
}

#[derive(Debug, Default)]
struct Stream {
    /// The number of its last event.
    sequence: u64,
    account: Account,
}

/// What is known of a stream's entries, if it is an account.
#[derive(Debug, Default)]
enum Account {
    #[default]
    Empty,
    Judged(Box<Chain>),
    /// An entry of a version that is not known here came in between.
    Unknown,
}

impl Streams {
    fn add(&mut self, event: &LogEvent<'_>) -> Result<(), String> {
        let (kind, id) = (&event.aggregate_type, &event.aggregate_id);
        let name = record_hash(format!("{}/{kind}/{id}", kind.len()).as_bytes()).0;
        let stream = self.known.entry(name).or_default();
        let due = stream.sequence + 1;
        if event.sequence != due {
            let (position, sequence) = (event.position, event.sequence);
            return Err(format!("event {position} is number {sequence} of {kind}/{id}, where number {due} is due"));
        }
        stream.sequence = due;
        if *kind != "account" || !statement::is_entry(&event.event_type) {
            return Ok(());
        }
        let judged = stream.account.add(event).map_err(|reason| format!("{reason}, on {kind}/{id}"))?;
        let count = if judged { &mut self.contents.entries } else { &mut self.contents.unjudged };
        *count += 1;
        Ok(())
    }
}

impl Account {
    /// Whether the entry could be judged.
    fn add(&mut self, event: &LogEvent<'_>) -> Result<bool, String> {
        if !statement::can_be_judged(event) {
            *self = Self::Unknown;
        }
        if matches!(self, Self::Empty) {
            *self = Self::Judged(Box::new(Chain::of_first(event)?));
        }
        let Self::Judged(chain) = self else { return Ok(false) };
        chain.add(event).map(|_| true)
    }
}

/// The line of a full tile, whose hash must stand in the tile above it.
fn read_tile<R: BufRead>(lines: &mut Lines<R>, place: Place, above: Option<&Vec<Hash>>) -> Result<Vec<Hash>, Refused> {
    let (level, index) = place;
    let due = format!("tile {index} of level {level}");
    let Line::Tile(tile) = lines.read(&due)? else {
        return Err(lines.refuse(format!("{due} is due here")));
    };
    if (tile.level, tile.index) != place || tile.hashes.len() as u64 != WIDTH {
        return Err(lines.refuse(format!("{due} is due here")));
    }
    let known = above.and_then(|tile| tile.get((index % WIDTH) as usize));
    if known == Some(&tree::subtree(&tile.hashes)) {
        Ok(tile.hashes)
    } else {
        Err(lines.refuse(format!("{due} does not lead to the signed root")))
    }
}

impl Header {
    /// Checks what the header holds: everything else hangs on it.
    fn open(self, key: Option<&PublicKey>) -> Result<(PublicKey, Checkpoint, Tiles), String> {
        if self.format != FORMAT {
            return Err(format!("this is `{}` and not `{FORMAT}`", self.format));
        }
        let own: PublicKey = self.key.parse().map_err(|error| format!("{error}"))?;
        if own.to_string() != self.key || key.is_some_and(|key| *key != own) {
            return Err(format!("the archive is of the key {own}"));
        }
        let checkpoint = Checkpoint::open_alone(&self.checkpoint, &own).map_err(|error| error.to_string())?;
        let widths = self.edge.iter().map(|tile| ((tile.level, tile.index), tile.hashes.len() as u64));
        if !widths.eq(tree::partial_tiles(checkpoint.size)) {
            return Err("the tiles of the header are not those of the checkpoint's tree".into());
        }
        let tiles = Tiles(self.edge.into_iter().map(|tile| ((tile.level, tile.index), tile.hashes)).collect());
        match TileBuilder::resume(checkpoint.size, &tiles) {
            Ok(builder) if builder.root() == checkpoint.root => Ok((own, checkpoint, tiles)),
            _ => Err("the tiles of the header do not lead to the signed root".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::key;

    const SIZE: u64 = 66_100;

    fn event(position: u64) -> LogEvent<'static> {
        LogEvent {
            position,
            aggregate_type: "account".into(),
            aggregate_id: format!("acc_{}", position % 7).into(),
            sequence: (position - 1) / 7 + 1,
            event_type: "account.held".into(),
            event_version: "1.0".into(),
            payload: format!(r#"{{"held":"ü{position}"}}"#).into(),
            metadata: "{}".into(),
            recorded_at_us: position as i64,
        }
    }

    fn archive(size: u64) -> (Vec<u8>, Vec<Hash>) {
        archive_of(size, event)
    }

    fn archive_of(size: u64, event: impl Fn(u64) -> LogEvent<'static>) -> (Vec<u8>, Vec<Hash>) {
        let (mut builder, mut frontier, mut roots) = (TileBuilder::default(), Frontier::default(), vec![EMPTY_HASH]);
        for position in 1..=size {
            builder.push(event(position).leaf());
            frontier.push(event(position).leaf());
            roots.push(frontier.root());
        }
        let tiles = Tiles(builder.take_changed());
        let checkpoint = Checkpoint::sign(size, builder.root(), &key());
        let edge = tree::partial_tiles(size).into_iter().map(|(place, _)| (place, tiles.0[&place].clone()));
        let mut out = Vec::new();
        write_header(key().public(), &checkpoint, &Tiles(edge.collect()), &mut out).expect("memory");
        for index in 0..size {
            for place in tiles_before(size, index) {
                write_tile(place, tiles.0[&place].clone(), &mut out).expect("memory");
            }
            write_event(event(index + 1), &mut out).expect("memory");
        }
        (out, roots)
    }

    fn verdict(bytes: &[u8]) -> Option<u64> {
        match verify(bytes, Some(key().public()), &[], |_| ()) {
            Ok(_) => None,
            Err(Refused::Line { line, .. }) => Some(line),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn an_archive_holds_at_every_shape_of_the_tree() {
        for size in [1, 2, 255, 256, 257, 512, 700] {
            let (bytes, roots) = archive(size);
            let read = verify(&bytes[..], None, &[size / 2, size, size + 1], |_| ()).expect("it is intact");
            let told = BTreeMap::from([size / 2, size].map(|size| (size, roots[size as usize])));
            assert_eq!((read.checkpoint.size, read.roots), (size, told));
            assert_eq!(read.contents.streams, size.min(7));
        }
        let (bytes, roots) = archive(SIZE);
        let read = verify(&bytes[..], Some(key().public()), &[65_537], |_| ()).expect("it is intact");
        assert_eq!(read.roots, BTreeMap::from([(65_537, roots[65_537])]));
    }

    /// Credits of one dollar each on seven accounts.
    fn credit(position: u64) -> LogEvent<'static> {
        let entry = (position - 1) / 7 + 1;
        let payload = format!(
            r#"{{"credited":{{"entry":{entry},"amount":{{"amount":"1.00","currency":"USD"}},"balance":{{"amount":"{entry}.00","currency":"USD"}}}}}}"#
        );
        LogEvent { event_type: "account.credited".into(), payload: payload.into(), ..event(position) }
    }

    #[test]
    fn a_signed_log_that_contradicts_itself_is_refused() {
        let contents = |size, event: &dyn Fn(u64) -> LogEvent<'static>| {
            let (bytes, _) = archive_of(size, event);
            verify(&bytes[..], None, &[], |_| ()).map(|read| read.contents).map_err(|error| error.to_string())
        };
        let (streams, entries, unjudged) = (7, 100, 0);
        assert_eq!(contents(100, &credit), Ok(Contents { streams, entries, unjudged }));
        let changed = |change: fn(&mut LogEvent<'_>)| {
            move |position| {
                let mut event = credit(position);
                if position == 50 {
                    change(&mut event);
                }
                event
            }
        };
        let refused = |change: fn(&mut LogEvent<'_>), why: &str| {
            let error = contents(100, &changed(change)).expect_err(why);
            assert_eq!(error, format!("line 51: {why}"));
        };
        refused(|event| event.sequence = 9000, "event 50 is number 9000 of account/acc_1, where number 8 is due");
        refused(
            |event| event.aggregate_id = "acc_9".into(),
            "event 50 is number 8 of account/acc_9, where number 1 is due",
        );
        refused(
            |event| event.payload = event.payload.replace("\"8.00", "\"9.00").into(),
            "entry 8 says 9.00, but the entries lead to 8.00, on account/acc_1",
        );
        refused(
            |event| event.payload = event.payload.replace(":8,", ":9,").into(),
            "entry 9 stands where entry 8 is due, on account/acc_1",
        );
        refused(
            |event| event.event_type = "account.charged".into(),
            "the payload is that of an event `account.credited`, and not `account.charged`, on account/acc_1",
        );
        // Of a later version nothing is known, nor can it be told what it leads to: acc_1 has 15 entries.
        let later = contents(100, &changed(|event| event.event_version = "2.0".into()));
        assert_eq!(later, Ok(Contents { streams, entries: 92, unjudged: 8 }));
    }

    #[test]
    fn the_first_bad_line_is_named() {
        let (bytes, _) = archive(700);
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        // A header, a tile for each 256 events, 700 events.
        assert_eq!(lines.len(), 703);
        let without = |gone: usize| -> Vec<u8> { [&lines[..gone], &lines[gone + 1..]].concat().concat() };
        let mut swapped = lines.clone();
        swapped.swap(100, 101);
        let inserted = [&lines[..300], &lines[299..300], &lines[300..]].concat().concat();
        assert_eq!(verdict(&without(9)), Some(10));
        assert_eq!(verdict(&swapped.concat()), Some(101));
        assert_eq!(verdict(&inserted), Some(301));
        assert_eq!(verdict(&lines[..600].concat()), Some(601), "a cut tail");
        assert_eq!(verdict(&[&bytes[..], b"\n"].concat()), Some(704), "something follows");
        for line in [0, 1, 2, 255, 257, 258, 300, 514, 515, 600, 702] {
            let at = line * 31 % lines[line].len();
            let mut spoilt: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
            spoilt[line][at] ^= 1;
            assert_eq!(verdict(&spoilt.concat()), Some(line as u64 + 1), "byte {at}");
        }
    }
}
