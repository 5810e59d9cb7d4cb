//! A witness keeps the last checkpoint that it has seen of a log, and accepts only what continues it: a log that was
//! cut or rewritten cannot be shown to him any more.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tlog_tiles::{HASH_SIZE, Hash, Tile};

use crate::{
    checkpoint::Checkpoint,
    lines::Refused,
    note::PublicKey,
    proof::Proof,
    tree::{self, HEIGHT, Tiles},
};

/// What has become of a checkpoint that was shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It is the first one.
    First,
    /// It is the one that was seen last.
    Same,
    /// It continues the one that was seen last, which had so many events.
    Continues(u64),
}

/// What a checkpoint is compared by with the one that was seen last.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// It is to be the first one: none may have been seen.
    First,
    Nothing,
    /// A proof of consistency.
    Proof(Vec<u8>),
    /// A directory with the tiles of the log, laid out as C2SP has them.
    Tiles(PathBuf),
    /// The root at the size that was seen last, recomputed from an archive of the new checkpoint's very tree.
    Archive(Checkpoint, Option<Hash>),
}

/// The checkpoint that was seen last; `None` if nothing was seen yet.
pub fn last(state: &Path, key: &PublicKey) -> Result<Option<Checkpoint>, Refused> {
    let note = match fs::read_to_string(state) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Refused::Unreadable(error).in_file(state)),
    };
    let open = Checkpoint::open(&note, key);
    open.map(Some).map_err(|error| Refused::Whole(error.to_string()).in_file(state))
}

/// Compares a checkpoint with the one that was seen last, and keeps it if it continues that one.
pub fn see(state: &Path, checkpoint: &Checkpoint, key: &PublicKey, evidence: &Evidence) -> Result<Seen, Refused> {
    let refuse = |reason: String| Err(Refused::Whole(reason).in_file(state));
    let seen = match (last(state, key)?, evidence) {
        (None, Evidence::First) => Seen::First,
        // Whoever has mistaken the name of the file must not take any checkpoint for the first.
        (None, _) => return refuse("nothing was seen yet: `--first` begins with this checkpoint".into()),
        (Some(last), Evidence::First) => {
            return refuse(format!("a log of {} events was seen already: leave `--first` out", last.size));
        }
        (Some(last), evidence) => compare(&last, checkpoint, key, evidence)?,
    };
    if seen != Seen::Same {
        replace(state, &checkpoint.note).map_err(|error| Refused::Unreadable(error).in_file(state))?;
    }
    Ok(seen)
}

fn compare(last: &Checkpoint, checkpoint: &Checkpoint, key: &PublicKey, evidence: &Evidence) -> Result<Seen, Refused> {
    let refuse = |reason: String| Err(Refused::Whole(reason));
    if checkpoint.size < last.size {
        return refuse(format!("a log of {} events was seen, and this one has {}", last.size, checkpoint.size));
    }
    if checkpoint.size == last.size {
        let other = "another log of the same size was seen".to_owned();
        return if checkpoint.root == last.root { Ok(Seen::Same) } else { refuse(other) };
    }
    let continues = match evidence {
        Evidence::First | Evidence::Nothing => {
            return refuse(format!("nothing shows that it continues the log of {} events that was seen", last.size));
        }
        Evidence::Proof(bytes) => {
            let (from, to) = Proof::read_consistency(bytes)?.check(key)?;
            if from.tree() != last.tree() || to.tree() != checkpoint.tree() {
                let (from, to) = (from.size, to.size);
                return refuse(format!("the proof is of other checkpoints, of {from} and {to} events"));
            }
            true
        }
        Evidence::Tiles(directory) => {
            let wanted = tree::tiles_for_consistency(checkpoint.size, last.size);
            let tiles = read_tiles(directory, &wanted)?;
            let proof = tree::prove_consistency(&tiles, checkpoint.size, checkpoint.root, last.size);
            proof.is_ok_and(|proof| tree::extends(&proof, (checkpoint.size, checkpoint.root), (last.size, last.root)))
        }
        Evidence::Archive(whole, before) => {
            if whole.tree() != checkpoint.tree() {
                return refuse(format!("the archive is of another checkpoint, of {} events", whole.size));
            }
            *before == Some(last.root)
        }
    };
    if continues {
        Ok(Seen::Continues(last.size))
    } else {
        refuse(format!("it does not continue the log of {} events that was seen", last.size))
    }
}

/// The tiles below `tile/`, by the names that C2SP gives them.
fn read_tiles(directory: &Path, wanted: &[Tile]) -> Result<Tiles, Refused> {
    let mut tiles = Tiles::default();
    for tile in wanted {
        let full = Tile::new(HEIGHT, tile.level(), tile.level_index(), tree::WIDTH as u32, false);
        // A tile may have become full since.
        let names = [tile_path(tile), tile_path(&full)].map(|path| directory.join(path));
        let bytes = fs::read(&names[0]).or_else(|_| fs::read(&names[1]));
        let bytes = bytes.map_err(|error| Refused::Whole(format!("{}: {error}", names[0].display())))?;
        let whole = bytes.len() / HASH_SIZE * HASH_SIZE;
        tiles.0.insert((tile.level(), tile.level_index()), tree::from_bytes(&bytes[..whole]).unwrap_or_default());
    }
    Ok(tiles)
}

/// `tile/<level>/<index>`, and `.p/<width>` if the tile is not full. C2SP's name lacks the height, which is always 8.
pub fn tile_path(tile: &Tile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1)
}

/// Replaces a file at once: whoever reads it, also after a crash, finds it as it was or as it is.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let written = write_synced(Path::new(&beside), text).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // What is half written is of no use to anybody.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use tlog_tiles::record_hash;

    use super::*;
    use crate::{note::tests::key, proof::ConsistencyProof, tree::TileBuilder};

    fn checkpoint(size: u64, salt: u8) -> (Checkpoint, Tiles) {
        let mut builder = TileBuilder::default();
        (0..size).for_each(|index| builder.push(record_hash(&[salt, index as u8])));
        (Checkpoint::sign(size, builder.root(), &key()), Tiles(builder.take_changed()))
    }

    fn proof(from: &Checkpoint, (to, tiles): &(Checkpoint, Tiles)) -> Evidence {
        let proof = tree::prove_consistency(tiles, to.size, to.root, from.size).expect("the tiles are there");
        let proof = ConsistencyProof { from: from.note.clone(), to: to.note.clone(), proof };
        Evidence::Proof(serde_json::to_vec(&Proof::Consistency(proof)).expect("a proof is JSON"))
    }

    #[test]
    fn only_what_continues_the_last_checkpoint_is_accepted() {
        let key = key();
        let public = key.public();
        let (first, second, other) = (checkpoint(5, 0).0, checkpoint(300, 0), checkpoint(300, 1));
        let nothing = &Evidence::Nothing;
        let compare = |last: &Checkpoint, next: &Checkpoint, evidence: &Evidence| {
            super::compare(last, next, public, evidence).map_err(|error| error.to_string())
        };
        assert_eq!(compare(&first, &first, nothing), Ok(Seen::Same));
        assert_eq!(compare(&first, &second.0, &proof(&first, &second)), Ok(Seen::Continues(5)));

        let refused = |last, next, evidence: &Evidence, why: &str| {
            let error = compare(last, next, evidence).expect_err(why);
            assert!(error.contains(why), "{error}");
        };
        refused(&second.0, &first, nothing, "this one has 5");
        refused(&first, &second.0, nothing, "nothing shows");
        refused(&second.0, &other.0, nothing, "of the same size");
        refused(&first, &other.0, &proof(&first, &other), "does not continue");
        let foreign = checkpoint(5, 1).0;
        refused(&first, &other.0, &proof(&foreign, &other), "other checkpoints");
    }
}
