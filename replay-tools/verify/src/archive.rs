//! An archive of the log: one file that holds every event up to a checkpoint, the checkpoint and the public key.
//!
//! It is read from the root downwards, in constant memory, and each line is known to be right before the next one is
//! read; so the first bad line can be named. The header holds the checkpoint and the tiles that are not full: they lead
//! to the root. Every full tile stands before what lies below it, and its hash stands in the tile above; the events of a
//! tile of leaves follow it, one per line.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use tlog_tiles::{EMPTY_HASH, Hash};

use crate::{
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
    #[serde(with = "crate::lines::hashes")]
    hashes: Vec<Hash>,
}

/// What an archive has turned out to be.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The key that the archive was checked with.
    pub key: PublicKey,
    pub checkpoint: Checkpoint,
    /// The root of the tree as it was at the size that was asked for.
    pub root_before: Option<Hash>,
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
/// shows that it is whole, but not whose it is. With `before`, the root at that earlier size is told, too.
pub fn verify(reader: impl BufRead, key: Option<&PublicKey>, before: Option<u64>) -> Result<Archive, Refused> {
    let mut lines = Lines::new(reader);
    let Line::Archive(header) = lines.read("the header of an archive")? else {
        return Err(lines.refuse("this is not the header of an archive".into()));
    };
    let (key, checkpoint, edge) = header.open(key).map_err(|reason| lines.refuse(reason))?;

    let size = checkpoint.size;
    // Of each level, the tile that the events being read lie below.
    let levels: Vec<u8> = tree::levels(size).map(|(level, _)| level).collect();
    let mut above: Vec<Vec<Hash>> = vec![Vec::new(); levels.len()];
    let mut frontier = Frontier::default();
    let mut root_before = before.filter(|size| *size == 0).map(|_| EMPTY_HASH);
    for index in 0..size {
        for &level in levels.iter().rev() {
            let leaves = 1 << (tree::HEIGHT * (level + 1));
            if index.is_multiple_of(leaves) {
                let place = (level, index / leaves);
                above[usize::from(level)] = match edge.0.get(&place) {
                    Some(hashes) => hashes.clone(),
                    None => read_tile(&mut lines, place, above.get(usize::from(level) + 1))?,
                };
            }
        }
        let position = index + 1;
        let Line::Event(event) = lines.read(&format!("event {position}"))? else {
            return Err(lines.refuse(format!("event {position} is due here")));
        };
        if event.position != position {
            return Err(lines.refuse(format!("event {} stands where event {position} is due", event.position)));
        }
        let leaf = event.leaf();
        if above[0].get((index % WIDTH) as usize) != Some(&leaf) {
            return Err(lines.refuse(format!("event {position} is not the one that is in the log")));
        }
        if before.is_some_and(|before| before >= position) {
            frontier.push(leaf);
            root_before = (before == Some(position)).then(|| frontier.root()).or(root_before);
        }
    }
    lines.end()?;
    Ok(Archive { key, checkpoint, root_before })
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
    use crate::note::tests::key;

    const SIZE: u64 = 66_100;

    fn event(position: u64) -> LogEvent<'static> {
        LogEvent {
            position,
            aggregate_type: "account".into(),
            aggregate_id: format!("acc_{}", position % 7).into(),
            sequence: position / 7 + 1,
            event_type: "account.held".into(),
            event_version: "1.0".into(),
            payload: format!(r#"{{"held":"ü{position}"}}"#).into(),
            metadata: "{}".into(),
            recorded_at_us: position as i64,
        }
    }

    fn archive(size: u64) -> (Vec<u8>, Vec<Hash>) {
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
        match verify(bytes, Some(key().public()), None) {
            Ok(_) => None,
            Err(Refused::Line { line, .. }) => Some(line),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn an_archive_holds_at_every_shape_of_the_tree() {
        for size in [1, 2, 255, 256, 257, 512, 700] {
            let (bytes, roots) = archive(size);
            let read = verify(&bytes[..], None, Some(size / 2)).expect("it is whole");
            assert_eq!((read.checkpoint.size, read.root_before), (size, Some(roots[size as usize / 2])));
        }
        let (bytes, roots) = archive(SIZE);
        let read = verify(&bytes[..], Some(key().public()), Some(65_537)).expect("it is whole");
        assert_eq!(read.root_before, Some(roots[65_537]));
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
