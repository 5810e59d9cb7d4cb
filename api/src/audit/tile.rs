//! The transparency log as C2SP's `tlog-tiles` lays it out, below `/log`: the latest checkpoint, the tiles of the tree,
//! and the events in bundles.

use axum::{
    Json,
    extract::State,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use daybook_core::{
    Position,
    store::read_events,
    transparency::{self, LogError, digests_after, latest_checkpoint, leaves, standing},
};
use daybook_log::{
    event::LARGEST_ENTRY,
    tree::{self, WIDTH},
};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};

use crate::{
    app::App,
    http::{
        address::{Asked, Named},
        error::ApiError,
        wire::{AskedPosition, Nothing, pattern_text},
    },
};

/// The highest level of tiles that a tree can have.
const HIGHEST: u8 = 7;

/// The latest checkpoint: a signed note.
#[utoipa::path(get, path = "/log/checkpoint", responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn checkpoint(State(app): State<App>, Asked(Nothing {}): Asked<Nothing>) -> Result<Response, ApiError> {
    let latest = latest_checkpoint(app.store().pool()).await?.ok_or(LogError::NoCheckpoint)?;
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    Ok((headers, latest.note).into_response())
}

/// The level of a tile in an address.
#[derive(Debug)]
pub struct Level;

/// The index of a tile in an address, and how much of it.
#[derive(Debug)]
pub struct Index;

impl PartialSchema for Level {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(HIGHEST)).build().into()
    }
}

impl PartialSchema for Index {
    fn schema() -> RefOr<Schema> {
        pattern_text(r"^(x\d{3}/)*\d{3}(\.p/([1-9]\d?|1\d\d|2[0-4]\d|25[0-5]))?$", "000.p/1")
    }
}

/// A tile: up to 256 hashes of 32 bytes. The index is `067` or `x001/x234/067`, with `.p/W` for its first W hashes.
#[utoipa::path(
    get,
    path = "/log/tile/{level}/{*index}",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"))
)]
pub async fn tile(
    State(app): State<App>,
    Named((level, index)): Named<(String, String)>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, ApiError> {
    let Some((Some(level), index, width)) = tree::parse_path(&format!("{level}/{index}")) else {
        return Err(ApiError::new("not-found", "this is not the path of a tile"));
    };
    let absent = || ApiError::new("not-found", "the tree has no such tile, or not so much of it");
    if level > HIGHEST || index > tree::LARGEST {
        return Err(absent());
    }
    let hashes = transparency::tile(app.store().pool(), (level, index), width).await?.ok_or_else(absent)?;
    Ok(octets(hashes, "public", width))
}

/// The entries below a tile of leaves, each after two bytes of length.
///
/// An entry is the encoding of an event. Where that has more than 65535 bytes, the entry holds its digest, and the encoding
/// is at `/log/event/{position}`.
#[utoipa::path(
    get,
    path = "/log/tile/entries/{*index}",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"))
)]
pub async fn entries(
    State(app): State<App>,
    Named(index): Named<String>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, ApiError> {
    let Some((None, index, width)) = tree::parse_path(&format!("entries/{index}")) else {
        return Err(ApiError::new("not-found", "this is not the path of an entry bundle"));
    };
    let pool = app.store().pool();
    if index > tree::LARGEST || index * WIDTH + width > standing(pool).await?.size {
        return Err(ApiError::new("not-found", "the tree has no such entries, or not so many of them"));
    }
    let leaves = leaves(pool, index, width).await?;
    let events = read_events(pool, index * WIDTH, width as u32).await?;
    if events.len() < leaves.len() {
        return Err(LogError::Missing(index * WIDTH + events.len() as u64 + 1).into());
    }
    let (mut bundle, mut entry) = (Vec::new(), Vec::new());
    for (event, leaf) in events.iter().zip(leaves) {
        // What is handed out may be kept for ever.
        if !event.to_log().entry_of(leaf, &mut entry) {
            return Err(LogError::Event(event.position).into());
        }
        let length = u16::try_from(entry.len()).map_err(|_| {
            let detail = format!(
                "event {} went into the tree whole, with {} bytes, and an entry of a bundle has {LARGEST_ENTRY} at most",
                event.position,
                entry.len()
            );
            ApiError::new("entry-too-large", detail).with("position", event.position)
        })?;
        bundle.extend(length.to_be_bytes());
        bundle.extend_from_slice(&entry);
    }
    Ok(octets(bundle, "private", width))
}

/// An event as the log encodes it, whatever its size.
#[utoipa::path(
    get,
    path = "/log/event/{position}",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"))
)]
pub async fn event(
    State(app): State<App>,
    Named(AskedPosition(position)): Named<AskedPosition>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Response, ApiError> {
    let pool = app.store().pool();
    if !(1..=standing(pool).await?.size).contains(&position) {
        return Err(ApiError::new("not-found", "the log has no such event"));
    }
    let index = position - 1;
    let leaf = leaves(pool, index / WIDTH, index % WIDTH + 1).await?.pop();
    let event = read_events(pool, index, 1).await?.pop().ok_or(LogError::Missing(position))?;
    let (event, mut bytes) = (event.to_log(), Vec::new());
    // What is handed out may be kept for ever.
    if event.position != position || !leaf.is_some_and(|leaf| event.entry_of(leaf, &mut bytes)) {
        return Err(LogError::Event(position).into());
    }
    bytes.clear();
    event.encode(&mut bytes);
    // It changes as little as a full tile.
    Ok(octets(bytes, "private", WIDTH))
}

/// How the log is laid out, where that is not the same for all logs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Format {
    /// The last event that stands in the tree whole whatever its size. After it, an event whose encoding has more bytes
    /// than `largest_entry` stands in the tree by its digest.
    digests_after: Position,
    /// Bytes of an entry at most.
    largest_entry: usize,
}

/// From which position on large events stand in the tree by their digests.
#[utoipa::path(get, path = "/log/format", responses((status = 200, body = Format)))]
pub async fn format(State(app): State<App>, Asked(Nothing {}): Asked<Nothing>) -> Result<Json<Format>, ApiError> {
    let digests_after = digests_after(app.store().pool()).await?;
    Ok(Json(Format { digests_after, largest_entry: LARGEST_ENTRY }))
}

/// A full tile never changes; a partial one is the beginning of it, and may be left out one day.
fn octets(bytes: Vec<u8>, whose: &str, width: u64) -> Response {
    let caching =
        if width == WIDTH { format!("{whose}, max-age=31536000, immutable") } else { format!("{whose}, max-age=60") };
    ([(CONTENT_TYPE, "application/octet-stream".to_owned()), (CACHE_CONTROL, caching)], bytes).into_response()
}
