//! Reading the events of an archive of the log. Each is the one that the archive's own key has signed; whose key that is
//! cannot be told here.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use chrono::DateTime;
use daybook_core::store::RawEvent;
use daybook_log::{LogEvent, PublicKey};
use daybook_verify::archive::Reading;

use crate::ToolError;

/// An open archive.
#[derive(Debug)]
pub(crate) struct Archive {
    reading: Reading<BufReader<File>>,
    path: PathBuf,
}

impl Archive {
    pub fn open(path: &Path) -> Result<Self, ToolError> {
        let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
        Ok(Self { reading: Reading::open(BufReader::with_capacity(1 << 16, file), None)?, path: path.into() })
    }

    /// The key that it is signed by.
    pub fn key(&self) -> &PublicKey {
        self.reading.key()
    }

    pub fn next(&mut self) -> Result<Option<RawEvent>, ToolError> {
        self.reading.read().map_err(|refused| refused.in_file(&self.path))?.map(|(event, _)| raw(event)).transpose()
    }
}

fn raw(event: LogEvent<'_>) -> Result<RawEvent, ToolError> {
    let recorded_at = DateTime::from_timestamp_micros(event.recorded_at_us);
    Ok(RawEvent {
        position: event.position,
        aggregate_type: event.aggregate_type.into(),
        aggregate_id: event.aggregate_id.into(),
        sequence: event.sequence,
        event_type: event.event_type.into(),
        event_version: event.event_version.into(),
        payload: event.payload.into(),
        metadata: event.metadata.into(),
        recorded_at: recorded_at.ok_or_else(|| format!("event {} has no time of recording", event.position))?,
    })
}
