//! The tiles as they lie in the database: read, added to, and signed.

use std::collections::BTreeMap;

use daybook_verify::{
    Checkpoint, SigningKey,
    tree::{self, Place, TileBuilder, Tiles},
};
use sqlx::{Connection, PgConnection, PgExecutor};
use tlog_tiles::{Hash, Tile};

use super::{LogError, latest_checkpoint, standing};
use crate::store::{events::signed, read_events};

/// Reads tiles by their places; what is not there is missing in the answer, too.
pub async fn read_tiles(connection: &mut PgConnection, places: &[Place]) -> Result<Tiles, LogError> {
    if places.is_empty() {
        return Ok(Tiles::default());
    }
    let levels: Vec<i16> = places.iter().map(|(level, _)| i16::from(*level)).collect();
    let indexes: Vec<i64> = places.iter().map(|(_, index)| signed(*index)).collect::<Result<_, _>>()?;
    let rows: Vec<(i16, i64, Vec<u8>)> = sqlx::query_as(
        "select t.level, t.n, t.hashes
         from unnest($1::smallint[], $2::bigint[]) as wanted (level, n)
         join log_tiles t on t.level = wanted.level and t.n = wanted.n",
    )
    .bind(levels)
    .bind(indexes)
    .fetch_all(connection)
    .await?;
    let mut tiles = Tiles::default();
    for (level, index, bytes) in rows {
        let place = (level.unsigned_abs() as u8, index.unsigned_abs());
        tiles.0.insert(place, tree::from_bytes(&bytes).ok_or(LogError::Tile(place))?);
    }
    Ok(tiles)
}

pub(super) async fn read_wanted(connection: &mut PgConnection, wanted: &[Tile]) -> Result<Tiles, LogError> {
    let mut places: Vec<Place> = wanted.iter().map(|tile| (tile.level(), tile.level_index())).collect();
    places.sort_unstable();
    places.dedup();
    read_tiles(connection, &places).await
}

/// The first hashes of a tile; `None` if the tree does not have so many of them.
pub async fn tile(executor: impl PgExecutor<'_>, place: Place, width: u64) -> Result<Option<Vec<u8>>, LogError> {
    let bytes: Option<Vec<u8>> =
        sqlx::query_scalar("select substring(hashes for $3 * 32) from log_tiles where level = $1 and n = $2")
            .bind(i16::from(place.0))
            .bind(signed(place.1)?)
            .bind(width as i32)
            .fetch_optional(executor)
            .await?;
    Ok(bytes.filter(|bytes| bytes.len() as u64 == width * 32))
}

/// Goes on with the tree of a size.
async fn resume(connection: &mut PgConnection, size: u64) -> Result<TileBuilder, LogError> {
    let places: Vec<Place> = tree::partial_tiles(size).into_iter().map(|(place, _)| place).collect();
    let tiles = read_tiles(connection, &places).await?;
    TileBuilder::resume(size, &tiles).map_err(LogError::Tile)
}

/// Adds the next events of the book to the tree, so many at most. Answers with how many are in it now, and whether the
/// book was seen to go on. Others may be doing the same: then one of them has done it.
pub async fn add_events(connection: &mut PgConnection, limit: u32) -> Result<(u64, bool), LogError> {
    let size = standing(&mut *connection).await?.size;
    let events = read_events(&mut *connection, size, limit).await?;
    if events.is_empty() {
        return Ok((size, false));
    }
    // Hashed before the row is locked, so that nobody waits for it.
    let mut buffer = Vec::new();
    let leaves: Vec<Hash> = events.iter().map(|event| event.to_log().leaf_with(&mut buffer)).collect();
    let goes_on = leaves.len() == limit as usize;

    let mut transaction = connection.begin().await?;
    // What a crash takes away of this is made again from the events; nobody need wait for the disk.
    sqlx::query("set local synchronous_commit = off").execute(&mut *transaction).await?;
    let grown = size + leaves.len() as u64;
    let moved = sqlx::query("update transparency_log set size = $2 where size = $1")
        .bind(signed(size)?)
        .bind(signed(grown)?)
        .execute(&mut *transaction)
        .await?;
    if moved.rows_affected() == 0 {
        // Another process was faster.
        transaction.rollback().await?;
        return Ok((standing(connection).await?.size, true));
    }
    let mut builder = resume(&mut transaction, size).await?;
    leaves.into_iter().for_each(|leaf| builder.push(leaf));
    write_tiles(&mut transaction, &builder.take_changed()).await?;
    transaction.commit().await?;
    Ok((grown, goes_on))
}

/// Writes tiles as they now are.
pub(crate) async fn write_tiles(
    transaction: &mut PgConnection,
    tiles: &BTreeMap<Place, Vec<Hash>>,
) -> Result<(), LogError> {
    let levels: Vec<i16> = tiles.keys().map(|(level, _)| i16::from(*level)).collect();
    let indexes: Vec<i64> = tiles.keys().map(|(_, index)| signed(*index)).collect::<Result<_, _>>()?;
    let hashes: Vec<Vec<u8>> = tiles.values().map(|hashes| tree::to_bytes(hashes)).collect();
    sqlx::query(
        "insert into log_tiles (level, n, hashes)
         select level, n, hashes from unnest($1::smallint[], $2::bigint[], $3::bytea[]) as tile (level, n, hashes)
         on conflict (level, n) do update set hashes = excluded.hashes",
    )
    .bind(levels)
    .bind(indexes)
    .bind(hashes)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Signs the tree as far as it has come, unless that is signed already. Only what continues the checkpoint before is
/// signed: a ledger whose past was changed loses its word, and not its auditors theirs.
pub async fn sign(connection: &mut PgConnection, key: &SigningKey) -> Result<Option<Checkpoint>, LogError> {
    // In this order: what others sign in between is of no smaller tree. Tiles that others add to meanwhile still begin
    // with what they held.
    let last = latest_checkpoint(&mut *connection).await?;
    let size = standing(&mut *connection).await?.size;
    if size == 0 || last.as_ref().is_some_and(|last| last.size == size) {
        return last.map(|last| last.open(key.public())).transpose();
    }
    let root = resume(connection, size).await?.root();
    if let Some(last) = &last {
        let last = last.open(key.public())?;
        let inconsistent = LogError::Inconsistent { signed: last.size, now: size };
        if last.size > size {
            return Err(inconsistent);
        }
        let tiles = read_wanted(connection, &tree::tiles_for_consistency(size, last.size)).await?;
        let proof = tree::prove_consistency(&tiles, size, root, last.size).map_err(LogError::Tiles)?;
        if !tree::extends(&proof, (size, root), (last.size, last.root)) {
            return Err(inconsistent);
        }
    }
    let checkpoint = Checkpoint::sign(size, root, key);
    // Two processes sign the same tree alike.
    sqlx::query("insert into log_checkpoints (size, note) values ($1, $2) on conflict (size) do nothing")
        .bind(signed(size)?)
        .bind(&checkpoint.note)
        .execute(connection)
        .await?;
    Ok(Some(checkpoint))
}
