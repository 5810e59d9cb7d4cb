//! Reading the book as fast as PostgreSQL hands it out: by COPY, in its binary format.

use daybook_log::LogEvent;
use futures::TryStreamExt;
use sqlx::PgConnection;
use tlog_tiles::Hash;

use super::{LogError, digests_after};
use crate::event::Position;

/// Microseconds from the epoch of Unix to that of PostgreSQL, 2000-01-01.
const EPOCH: i64 = 946_684_800_000_000;

/// What a copy in binary format begins with, before its flags and its extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("the database does not do its part")]
    Database(#[from] sqlx::Error),
    #[error("what PostgreSQL copies out cannot be read")]
    Malformed,
}

/// Hands over the events from one position up to another, in order. What is missing in the book is missing here.
pub async fn scan(
    connection: &mut PgConnection,
    from: Position,
    to: Position,
    mut each: impl FnMut(&LogEvent<'_>),
) -> Result<(), ScanError> {
    let statement = format!(
        "copy (
            select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at
            from events where position between {from} and {to} order by position
         ) to stdout (format binary)"
    );
    let mut copied = connection.copy_out_raw(&statement).await?;
    let mut bytes: Vec<u8> = Vec::new();
    let mut begun = false;
    while let Some(more) = copied.try_next().await? {
        bytes.extend_from_slice(&more);
        let mut rest = &bytes[..];
        if !begun {
            let Some(after) = header(rest)? else { continue };
            (rest, begun) = (after, true);
        }
        while let Some((event, after)) = row(rest)? {
            if let Some(event) = event {
                each(&event);
            }
            rest = after;
        }
        let left = rest.len();
        let taken = bytes.len() - left;
        bytes.drain(..taken);
    }
    if bytes.is_empty() { Ok(()) } else { Err(ScanError::Malformed) }
}

/// The leaves of the events from one position up to another, or up to the first that is missing.
pub(super) async fn read_leaves(
    connection: &mut PgConnection,
    from: Position,
    to: Position,
) -> Result<Vec<Hash>, LogError> {
    let digests_after = digests_after(&mut *connection).await?;
    let (mut leaves, mut buffer, mut due) = (Vec::new(), Vec::new(), from);
    scan(connection, from, to, |event| {
        if event.position == due {
            due += 1;
            leaves.push(event.leaf_with(digests_after, &mut buffer));
        }
    })
    .await?;
    Ok(leaves)
}

/// What follows the header; `None` if it has not arrived as a whole.
fn header(bytes: &[u8]) -> Result<Option<&[u8]>, ScanError> {
    let mut reader = Reader(bytes);
    let Some(signature) = reader.take(SIGNATURE.len()) else { return Ok(None) };
    if signature != SIGNATURE {
        return Err(ScanError::Malformed);
    }
    let (Some(_), Some(extension)) = (reader.number::<4>(), reader.number::<4>()) else { return Ok(None) };
    Ok(reader.take(u32::from_be_bytes(extension) as usize).map(|_| reader.0))
}

/// A row, which is no event at the end of the copy, and what follows it.
type RowAndRest<'a> = (Option<LogEvent<'a>>, &'a [u8]);

/// The next row; `None` if it has not arrived as a whole.
fn row(bytes: &[u8]) -> Result<Option<RowAndRest<'_>>, ScanError> {
    let mut reader = Reader(bytes);
    match reader.number().map(i16::from_be_bytes) {
        None => return Ok(None),
        Some(-1) => return Ok(Some((None, reader.0))),
        Some(9) => {}
        Some(_) => return Err(ScanError::Malformed),
    }
    let mut fields = [&[][..]; 9];
    for field in &mut fields {
        let Some(length) = reader.number().map(i32::from_be_bytes) else { return Ok(None) };
        // No column of an event is null.
        let length = usize::try_from(length).map_err(|_| ScanError::Malformed)?;
        let Some(bytes) = reader.take(length) else { return Ok(None) };
        *field = bytes;
    }
    let [position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at] =
        fields;
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| ScanError::Malformed);
    let number = |bytes: &[u8]| bytes.try_into().map(i64::from_be_bytes).map_err(|_| ScanError::Malformed);
    let event = LogEvent {
        position: number(position)?.unsigned_abs(),
        aggregate_type: text(aggregate_type)?.into(),
        aggregate_id: text(aggregate_id)?.into(),
        sequence: number(sequence)?.unsigned_abs(),
        event_type: text(event_type)?.into(),
        event_version: text(event_version)?.into(),
        payload: text(payload)?.into(),
        metadata: text(metadata)?.into(),
        recorded_at_us: number(recorded_at)?.checked_add(EPOCH).ok_or(ScanError::Malformed)?,
    };
    Ok(Some((Some(event), reader.0)))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        self.take(BYTES)?.try_into().ok()
    }
}
