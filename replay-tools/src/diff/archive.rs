//! Reading the events of an archive of the log. Whether it is genuine is not asked here: a comparison tells what two
//! books say, be they true or not.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use chrono::DateTime;
use daybook_core::{Position, store::RawEvent};
use serde::Deserialize;

use crate::ToolError;

const FORMAT: &str = "daybook/archive/1";

/// An open archive.
#[derive(Debug)]
pub(crate) struct Archive {
    lines: BufReader<File>,
    /// Of the line that was read last.
    number: u64,
    /// How many events there are, as its checkpoint says.
    size: Position,
    read: Position,
}

/// A line of an archive. What leads to the root of its tree is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Archive { format: String, checkpoint: String },
    Tile(serde::de::IgnoredAny),
    Event(Event),
}

#[derive(Deserialize)]
struct Event {
    position: Position,
    aggregate_type: String,
    aggregate_id: String,
    sequence: u64,
    event_type: String,
    event_version: String,
    payload: String,
    metadata: String,
    /// Microseconds since 1970-01-01T00:00:00Z.
    recorded_at_us: i64,
}

impl Archive {
    pub fn open(path: &Path) -> Result<Self, ToolError> {
        let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
        let mut archive = Self { lines: BufReader::new(file), number: 0, size: 0, read: 0 };
        match archive.line() {
            Ok(Some(Line::Archive { format, checkpoint })) if format == FORMAT => {
                // Origin, size and root are its first three lines.
                let size = checkpoint.lines().nth(1).and_then(|size| size.parse().ok());
                archive.size = size.ok_or("line 1: the checkpoint does not tell the size of the log")?;
                Ok(archive)
            }
            Ok(Some(Line::Archive { format, .. })) => Err(format!("this is `{format}` and not `{FORMAT}`").into()),
            _ => Err("this is not an archive of a log".into()),
        }
    }

    pub fn next(&mut self) -> Result<Option<RawEvent>, ToolError> {
        let due = self.read + 1;
        loop {
            match self.line()? {
                Some(Line::Tile(_)) => {}
                Some(Line::Event(event)) if event.position == due => {
                    self.read = due;
                    return Ok(Some(event.raw().ok_or_else(|| self.refused("no such time of recording"))?));
                }
                Some(_) => return Err(self.refused(&format!("event {due} is due here"))),
                None if self.read == self.size => return Ok(None),
                None => return Err(format!("breaks off after event {} of {}", self.read, self.size).into()),
            }
        }
    }

    fn line(&mut self) -> Result<Option<Line>, ToolError> {
        let mut line = String::new();
        self.number += 1;
        if self.lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = serde_json::from_str(&line).map_err(|error| self.refused(&error.to_string()))?;
        Ok(Some(line))
    }

    fn refused(&self, why: &str) -> ToolError {
        format!("line {}: {why}", self.number).into()
    }
}

impl Event {
    fn raw(self) -> Option<RawEvent> {
        Some(RawEvent {
            position: self.position,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            payload: self.payload,
            metadata: self.metadata,
            recorded_at: DateTime::from_timestamp_micros(self.recorded_at_us)?,
        })
    }
}
