//! The tree over the leaves of a log (RFC 6962), and the tiles that it is kept in (C2SP `tlog-tiles`): tile `index` of
//! level `level` holds up to 256 hashes of the nodes 8·`level` steps above the leaves.

use std::{cell::RefCell, collections::BTreeMap};

use tlog_tiles::{
    EMPTY_HASH, Error, HASH_SIZE, Hash, Tile, TileHashReader, TileReader, check_record, check_tree, node_hash,
    prove_record, prove_tree, sub_tree_index,
};

/// The height of a tile.
pub const HEIGHT: u8 = 8;

/// Hashes in a full tile.
pub const WIDTH: u64 = 1 << HEIGHT;

/// No log of ours is longer; JSON holds this number exactly.
pub const LARGEST: u64 = 1 << 53;

/// Where a tile stands: its level and its index in that level.
pub type Place = (u8, u64);

/// A tree as it is signed, or asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tree {
    /// Its leaves: events of the log.
    pub size: u64,
    pub root: Hash,
}

/// A tree while it grows, leaf by leaf: the hashes of its complete subtrees, the largest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frontier {
    size: u64,
    /// Each with its height.
    peaks: Vec<(u8, Hash)>,
}

impl Frontier {
    /// The tree of a size whose complete subtrees have these hashes.
    pub fn of_peaks(size: u64, hashes: &[Hash]) -> Self {
        let heights = (0..u64::BITS as u8).rev().filter(|height| size >> height & 1 == 1);
        Self { size, peaks: heights.zip(hashes.iter().copied()).collect() }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Splits off what lies after the last multiple of `2^height` leaves.
    pub fn split(self, height: u8) -> (Self, Self) {
        let (high, low): (Vec<_>, Vec<_>) = self.peaks.into_iter().partition(|(peak, _)| *peak >= height);
        let rest = self.size & ((1 << height) - 1);
        (Self { size: self.size - rest, peaks: high }, Self { size: rest, peaks: low })
    }

    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Adds a complete subtree of `2^height` leaves; the size so far is a multiple of that.
    pub fn push_subtree(&mut self, height: u8, hash: Hash) {
        let (mut at, mut hash) = (height, hash);
        while let Some(&(peak, left)) = self.peaks.last()
            && peak == at
        {
            self.peaks.pop();
            hash = node_hash(left, hash);
            at += 1;
        }
        self.peaks.push((at, hash));
        self.size += 1 << height;
    }

    /// Adds what another tree consists of; the size so far is a multiple of its largest subtree.
    pub fn append(&mut self, other: &Self) {
        for &(height, hash) in &other.peaks {
            self.push_subtree(height, hash);
        }
    }

    pub fn root(&self) -> Hash {
        let hashes = self.peaks.iter().rev().map(|(_, hash)| *hash);
        hashes.reduce(|right, left| node_hash(left, right)).unwrap_or(EMPTY_HASH)
    }
}

/// The levels of a tree of this size, from the leaves upwards: how many hashes each holds.
pub fn levels(size: u64) -> impl DoubleEndedIterator<Item = (u8, u64)> {
    let levels: Vec<_> =
        (0..8).map(|level| (level, size >> (HEIGHT * level))).take_while(|(_, count)| *count > 0).collect();
    levels.into_iter()
}

/// The tiles of a tree that are not full, at most one per level, with the number of their hashes.
pub fn partial_tiles(size: u64) -> Vec<(Place, u64)> {
    let last = levels(size).map(|(level, count)| ((level, count / WIDTH), count % WIDTH));
    last.filter(|(_, width)| *width > 0).collect()
}

/// Some tiles of a tree, by their place. A tile may hold more hashes than the tree of a smaller size needs of it.
#[derive(Clone, Debug, Default)]
pub struct Tiles(pub BTreeMap<Place, Vec<Hash>>);

impl Tiles {
    fn read(&self, tile: &Tile) -> Option<Vec<u8>> {
        let hashes = self.0.get(&(tile.level(), tile.level_index()))?.get(..tile.width() as usize)?;
        Some(to_bytes(hashes))
    }
}

impl TileReader for Tiles {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        tiles.iter().map(|tile| self.read(tile).ok_or(Error::InvalidTile)).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Finds out which tiles an answer is made of, without having any.
#[derive(Debug, Default)]
struct Wanted(RefCell<Vec<Tile>>);

impl TileReader for Wanted {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        self.0.borrow_mut().extend(tiles);
        Err(Error::InvalidTile)
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

fn wanted(ask: impl FnOnce(&Wanted) -> Result<Vec<Hash>, Error>) -> Vec<Tile> {
    let wanted = Wanted::default();
    // It fails by design: what it asked for is the answer.
    let _ = ask(&wanted);
    wanted.0.into_inner()
}

/// Proves that the tree of this size and root has a leaf at this index. Every tile is checked against the root.
pub fn prove_inclusion(tiles: &impl TileReader, size: u64, root: Hash, index: u64) -> Result<Vec<Hash>, Error> {
    prove_record(size, index, &TileHashReader::new(size, root, tiles))
}

/// The tiles that [`prove_inclusion`] reads.
pub fn tiles_for_inclusion(size: u64, index: u64) -> Vec<Tile> {
    wanted(|tiles| prove_inclusion(tiles, size, EMPTY_HASH, index))
}

/// Proves that the tree of this size and root begins with the older one. Every tile is checked against the root.
pub fn prove_consistency(tiles: &impl TileReader, size: u64, root: Hash, older: u64) -> Result<Vec<Hash>, Error> {
    if older == 0 || older == size {
        return Ok(Vec::new());
    }
    prove_tree(size, older, &TileHashReader::new(size, root, tiles))
}

/// The tiles that [`prove_consistency`] reads.
pub fn tiles_for_consistency(size: u64, older: u64) -> Vec<Tile> {
    wanted(|tiles| prove_consistency(tiles, size, EMPTY_HASH, older))
}

/// The hashes of the complete subtrees of a tree. Every tile is checked against the root.
pub fn read_frontier(tiles: &impl TileReader, size: u64, root: Hash) -> Result<Frontier, Error> {
    if size == 0 {
        return Ok(Frontier::default());
    }
    let hashes = peaks(tiles, size, root)?;
    Ok(Frontier::of_peaks(size, &hashes))
}

/// The tiles that [`read_frontier`] reads.
pub fn tiles_for_frontier(size: u64) -> Vec<Tile> {
    if size == 0 { Vec::new() } else { wanted(|tiles| peaks(tiles, size, EMPTY_HASH)) }
}

fn peaks(tiles: &impl TileReader, size: u64, root: Hash) -> Result<Vec<Hash>, Error> {
    use tlog_tiles::HashReader as _;
    TileHashReader::new(size, root, tiles).read_hashes(&sub_tree_index(0, size, Vec::new()))
}

/// Whether the tree of this size and root has this leaf at this index.
pub fn includes(proof: &Vec<Hash>, size: u64, root: Hash, index: u64, leaf: Hash) -> bool {
    check_record(proof, size, root, index, leaf).is_ok()
}

/// Whether the newer tree begins with the older one. Every tree begins with the empty one.
pub fn extends(proof: &Vec<Hash>, newer: (u64, Hash), older: (u64, Hash)) -> bool {
    match older {
        (0, root) => proof.is_empty() && root == EMPTY_HASH,
        (size, root) => check_tree(proof, newer.0, newer.1, size, root).is_ok(),
    }
}

/// Makes the tiles of a tree that grows.
#[derive(Clone, Debug, Default)]
pub struct TileBuilder {
    size: u64,
    /// Of each level, from the leaves upwards, the tile that is not full.
    partial: Vec<Vec<Hash>>,
    /// What was added to, since it was taken last.
    changed: BTreeMap<Place, Vec<Hash>>,
}

impl TileBuilder {
    /// Goes on with a tree of this size. The tiles must hold those of [`partial_tiles`]; otherwise the place of the
    /// missing one is the answer.
    pub fn resume(size: u64, tiles: &Tiles) -> Result<Self, Place> {
        let mut partial = vec![Vec::new(); levels(size).count()];
        for (place, width) in partial_tiles(size) {
            let hashes = tiles.0.get(&place).and_then(|hashes| hashes.get(..width as usize)).ok_or(place)?;
            partial[usize::from(place.0)] = hashes.to_vec();
        }
        Ok(Self { size, partial, changed: BTreeMap::new() })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        let (mut level, mut hash) = (0, leaf);
        self.size += 1;
        loop {
            if self.partial.len() <= usize::from(level) {
                self.partial.push(Vec::new());
            }
            let tile = &mut self.partial[usize::from(level)];
            tile.push(hash);
            if (tile.len() as u64) < WIDTH {
                return;
            }
            let full = std::mem::take(tile);
            hash = subtree(&full);
            let index = (self.size >> (HEIGHT * level)) / WIDTH - 1;
            self.changed.insert((level, index), full);
            level += 1;
        }
    }

    /// The tiles that are new or longer than when this was asked last.
    pub fn take_changed(&mut self) -> BTreeMap<Place, Vec<Hash>> {
        let mut changed = std::mem::take(&mut self.changed);
        for ((level, index), _) in partial_tiles(self.size) {
            changed.insert((level, index), self.partial[usize::from(level)].clone());
        }
        changed
    }

    pub fn root(&self) -> Hash {
        let mut frontier = Frontier::default();
        for (level, tile) in self.partial.iter().enumerate().rev() {
            tile.iter().for_each(|hash| frontier.push_subtree(HEIGHT * level as u8, *hash));
        }
        frontier.root()
    }
}

/// Where a tile or an entry bundle stands, and how much of it, as C2SP writes it: `<level>/<index>[.p/<width>]`, or
/// `entries` for the level. `None` if it is not written so.
pub fn parse_path(path: &str) -> Option<(Option<u8>, u64, u64)> {
    let (level, index) = path.split_once('/')?;
    let level = match level {
        "entries" => "data",
        // The library would fall at levels that no tree has, and at an empty tile.
        "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" => level,
        _ => return None,
    };
    if index.rsplit_once(".p/").is_some_and(|(_, width)| !width.starts_with(|digit| matches!(digit, '1'..='9'))) {
        return None;
    }
    let tile = Tile::from_path(&format!("tile/{HEIGHT}/{level}/{index}")).ok()?;
    Some(((!tile.is_data()).then_some(tile.level()), tile.level_index(), tile.width().into()))
}

/// The hash of the node above a full tile.
pub fn subtree(tile: &[Hash]) -> Hash {
    Tile::subtree_hash(&to_bytes(tile))
}

pub fn to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile; `None` if it ends within one.
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let hashes = bytes.chunks(HASH_SIZE).map(|hash| hash.try_into().map(Hash));
    hashes.collect::<Result<_, _>>().ok()
}

#[cfg(test)]
mod tests {
    use tlog_tiles::record_hash;

    use super::*;

    fn leaf(index: u64) -> Hash {
        record_hash(&index.to_be_bytes())
    }

    /// The tree hash as RFC 6962 defines it, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => EMPTY_HASH,
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(by_definition(&leaves[..k]), by_definition(&leaves[k..]))
            }
        }
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        let leaves: Vec<Hash> = (0..300).map(leaf).collect();
        let (mut frontier, mut builder) = (Frontier::default(), TileBuilder::default());
        for size in 0..=leaves.len() {
            let root = by_definition(&leaves[..size]);
            assert_eq!((frontier.root(), builder.root()), (root, root), "{size}");
            if let Some(leaf) = leaves.get(size) {
                frontier.push(*leaf);
                builder.push(*leaf);
            }
        }
    }

    #[test]
    fn proofs_from_tiles_hold_and_fit_nothing_else() {
        const SIZE: u64 = 65_800;
        let mut builder = TileBuilder::default();
        let mut roots = Vec::new();
        let mut frontier = Frontier::default();
        for index in 0..SIZE {
            roots.push(frontier.root());
            frontier.push(leaf(index));
            builder.push(leaf(index));
        }
        let tiles = Tiles(builder.take_changed());
        let root = builder.root();
        for index in [0, 1, 255, 256, 65_535, 65_536, SIZE - 1] {
            let proof = prove_inclusion(&tiles, SIZE, root, index).expect("the tiles are there");
            assert!(includes(&proof, SIZE, root, index, leaf(index)));
            assert!(!includes(&proof, SIZE, root, index, leaf(index + 1)));
        }
        for older in [1, 255, 256, 257, 65_535, 65_536, SIZE - 1] {
            let old_root = roots[older as usize];
            let proof = prove_consistency(&tiles, SIZE, root, older).expect("the tiles are there");
            assert!(extends(&proof, (SIZE, root), (older, old_root)));
            assert!(!extends(&proof, (SIZE, root), (older, leaf(1))));
            let frontier = read_frontier(&tiles, older, old_root).expect("the tiles are there");
            assert_eq!(frontier.root(), old_root);
            let (mut high, low) = frontier.split(16);
            high.append(&low);
            assert_eq!((high.size(), high.root()), (older, old_root));
        }
        let mut spoilt = tiles.clone();
        spoilt.0.get_mut(&(0, 7)).expect("a tile")[3] = leaf(0);
        assert!(prove_inclusion(&spoilt, SIZE, root, 7 * 256).is_err(), "a spoilt tile proves nothing");
    }

    #[test]
    fn paths_are_those_of_c2sp() {
        assert_eq!(parse_path("0/x001/x234/067"), Some((Some(0), 1_234_067, 256)));
        assert_eq!(parse_path("entries/000.p/12"), Some((None, 0, 12)));
        for wrong in [
            "0/1",
            "0/x000/001",
            "0/001.p/256",
            "0/001.p/0",
            "0/001.p/00",
            "64/001",
            "data/001",
            "00/001",
            "0/001/",
            "0",
        ] {
            assert_eq!(parse_path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_builder_goes_on_where_another_stopped() {
        let mut whole = TileBuilder::default();
        (0..1_000).for_each(|index| whole.push(leaf(index)));
        let mut stored = Tiles::default();
        for end in (0..=1_000).step_by(125) {
            let size = if end == 0 { 0 } else { end - 125 };
            let mut builder = TileBuilder::resume(size, &stored).expect("the tiles are there");
            (size..end).for_each(|index| builder.push(leaf(index)));
            stored.0.extend(builder.take_changed());
        }
        assert_eq!(stored.0, whole.take_changed());
        stored.0.remove(&(1, 0));
        assert_eq!(TileBuilder::resume(1_000, &stored).expect_err("a tile is missing"), (1, 0));
    }
}
