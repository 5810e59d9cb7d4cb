//! The tiles as they lie in the database: read, and added to.

use std::collections::BTreeMap;

use daybook_log::tree::{self, Place, TileBuilder, Tiles};
use sqlx::{Connection, Executor as _, PgConnection, PgExecutor};
use tlog_tiles::{Hash, Tile};
use tokio::task;

use super::{LogError, digests_after, standing};
use crate::{
    event::Position,
    store::{StoreError, events::signed, head, read_events},
};

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

/// The first leaves of the tile of this index.
pub async fn leaves(executor: impl PgExecutor<'_>, index: u64, width: u64) -> Result<Vec<Hash>, LogError> {
    let place = (0, index);
    let hashes = tile(executor, place, width).await?;
    hashes.and_then(|hashes| tree::from_bytes(&hashes)).ok_or(LogError::Tile(place))
}

/// Goes on with the tree of a size.
pub(super) async fn resume(connection: &mut PgConnection, size: u64) -> Result<TileBuilder, LogError> {
    let places: Vec<Place> = tree::partial_tiles(size).into_iter().map(|(place, _)| place).collect();
    let tiles = read_tiles(connection, &places).await?;
    TileBuilder::resume(size, &tiles).map_err(LogError::Tile)
}

/// What has become of the tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Added {
    /// Events that are in it now.
    pub size: u64,
    /// Whether the book was seen to go on.
    pub goes_on: bool,
    /// What was added: the leaves of the last so many events.
    pub leaves: Vec<Hash>,
}

/// Adds the next events of the book to the tree, so many at most. Others may be doing the same: then one of them has
/// done it.
pub async fn add_events(connection: &mut PgConnection, limit: u32) -> Result<Added, LogError> {
    let size = standing(&mut *connection).await?.size;
    // Hashed before the row is locked, so that nobody waits for it.
    let leaves = next_leaves(&mut *connection, size, limit).await?;
    if leaves.is_empty() {
        return Ok(Added { size, ..Added::default() });
    }
    let goes_on = leaves.len() == limit as usize;

    let mut transaction = connection.begin().await?;
    // What a crash takes away of this is made again from the events; nobody need wait for the disk.
    // The setting says that large events are known to stand in the tree by their digests (`0028_large_entries.sql`).
    transaction.execute("set local synchronous_commit = off; set local daybook.log_entries = 'digests'").await?;
    let grown = size + leaves.len() as u64;
    let moved = sqlx::query("update transparency_log set size = $2 where size = $1")
        .bind(signed(size)?)
        .bind(signed(grown)?)
        .execute(&mut *transaction)
        .await?;
    if moved.rows_affected() == 0 {
        // Another process was faster.
        transaction.rollback().await?;
        let size = standing(connection).await?.size;
        return Ok(Added { size, goes_on: true, leaves: Vec::new() });
    }
    let mut builder = resume(&mut transaction, size).await?;
    leaves.iter().for_each(|leaf| builder.push(*leaf));
    write_tiles(&mut transaction, &builder.take_changed()).await?;
    transaction.commit().await?;
    Ok(Added { size: grown, goes_on, leaves })
}

/// The leaves of the events after a position, so many at most. None of those that the book has counted may be missing.
async fn next_leaves(connection: &mut PgConnection, after: Position, limit: u32) -> Result<Vec<Hash>, LogError> {
    // First, so that what is appended meanwhile is not taken for missing.
    let end = head(&mut *connection).await?.position;
    let events = match read_events(&mut *connection, after, limit).await {
        Ok(events) => events,
        Err(StoreError::Gap { after, found }) => {
            return Err(LogError::Absent { missing: after + 1, end: end.max(found) });
        }
        Err(error) => return Err(error.into()),
    };
    let last = events.last().map_or(after, |event| event.position);
    if last < end.min(after + u64::from(limit)) {
        return Err(LogError::Absent { missing: last + 1, end });
    }
    let digests_after = digests_after(connection).await?;
    // So many hashes take milliseconds, for which no worker is taken from those who wait for the database.
    let hash = move || {
        let mut buffer = Vec::new();
        events.iter().map(|event| event.to_log().leaf_with(digests_after, &mut buffer)).collect()
    };
    Ok(task::spawn_blocking(hash).await.expect("hashing does not fall"))
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
