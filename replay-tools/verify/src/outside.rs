//! Whether something that a log has signed is of the same log as a checkpoint that the reader has from elsewhere. A log
//! signs something new for everybody who asks, so that the two are hardly ever of the same size.

use crate::archive::Archive;
use daybook_log::{checkpoint::Checkpoint, lines::Refused, note::PublicKey, proof::ConsistencyProof, tree::Tree};

/// Without evidence, both must be of the very same tree.
pub fn compare(tree: Tree, known: &Checkpoint) -> Result<(), Refused> {
    if tree.size != known.size {
        let (here, there) = (tree.size, known.size);
        return refuse(format!(
            "it is of the log of {here} events, and the checkpoint of that of {there}: show by a proof of consistency or \
             an archive that one continues the other"
        ));
    }
    same(tree, known.tree(), "the checkpoint")
}

/// The proof must lead from one to the other, whichever is earlier.
pub fn compare_by_proof(
    tree: Tree,
    known: &Checkpoint,
    proof: &ConsistencyProof,
    key: &PublicKey,
) -> Result<(), Refused> {
    if tree.size == known.size {
        return compare(tree, known);
    }
    let (from, to) = proof.check(key)?;
    let (earlier, later) = if tree.size < known.size { (tree, known.tree()) } else { (known.tree(), tree) };
    if (from.size, to.size) != (earlier.size, later.size) {
        let (from, to) = (from.size, to.size);
        return refuse(format!(
            "the proof leads from {from} to {to} events, and not from {} to {}",
            earlier.size, later.size
        ));
    }
    same(earlier, from.tree(), "the proof")?;
    same(later, to.tree(), "the proof")
}

/// The archive must begin with this tree; its roots are told at the sizes that matter.
pub fn compare_by_archive(tree: Tree, archive: &Archive) -> Result<(), Refused> {
    match archive.roots.get(&tree.size) {
        Some(&root) => same(tree, Tree { size: tree.size, root }, "the archive"),
        None => refuse(format!("the archive ends at event {}, before event {}", archive.checkpoint.size, tree.size)),
    }
}

fn same(tree: Tree, other: Tree, whose: &str) -> Result<(), Refused> {
    if tree == other {
        Ok(())
    } else {
        refuse(format!("the log of {} events is another one than that of {whose}", tree.size))
    }
}

fn refuse(reason: String) -> Result<(), Refused> {
    Err(Refused::Whole(reason))
}
