//! The law that every projection must keep, whoever writes it: what lies in its tables is what a rebuild makes of the
//! same events, and what a fresh fold makes of them.

use daybook_core::store::Store;
use daybook_projections::engine::{Definition, RebuildError, RebuildOptions, Room, rebuild, verify};

/// The projections of the board that break the law, and how. To be asked while their projectors stand at the head.
pub async fn broken(store: &Store, board: &[Definition]) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    for definition in board {
        if let Err(how) = equal(store, definition).await {
            broken.push((definition.name, how));
        }
    }
    broken
}

async fn equal(store: &Store, definition: &Definition) -> Result<(), String> {
    let verified = verify(store, definition, &Room::default()).await.expect("rows can be verified");
    if verified.different > 0 {
        return Err(format!("{} rows are not those of a fresh fold", verified.different));
    }
    // Where memory is scarce the keys are folded in portions, from the disk.
    let cramped =
        verify(store, definition, &Room { memory: 4 << 10, ..Room::default() }).await.expect("rows can be verified");
    assert_eq!((cramped.different, cramped.rows), (0, verified.rows), "{}", definition.name);
    assert!(cramped.rows == 0 || cramped.portions > 1, "{}", definition.name);
    let rebuilt = match rebuild(store, definition, &RebuildOptions::default(), |_| {}).await {
        Ok(rebuilt) => rebuilt,
        Err(RebuildError::Unproven(proof)) => return Err(format!("{} rebuilt rows are not proven", proof.different)),
        Err(other) => panic!("{}: {other}", definition.name),
    };
    let live = rebuilt.live.expect("a projector at the head can be compared with");
    if live.different > 0 {
        return Err(format!("{} rows are not those of a rebuild", live.different));
    }
    assert_eq!((live.rows, live.position), (rebuilt.proof.rows, rebuilt.proof.position), "{}", definition.name);
    let afterwards = verify(store, definition, &Room::default()).await.expect("rows can be verified");
    assert_eq!((afterwards.different, afterwards.build), (0, rebuilt.build), "{}", definition.name);
    Ok(())
}
