//! Where the events of one side come from.

use std::{
    collections::VecDeque,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use daybook_core::{
    Position,
    store::{RawEvent, head, read_events},
};
use daybook_log::PublicKey;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};

use super::archive::Archive;
use crate::ToolError;

/// Events that are read at once.
const BATCH: u32 = 1_000;

/// One side of a comparison, as it is written on the command line.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// This ledger, up to a position: `@123`.
    Position(Position),
    /// Another database, by its URL.
    Database(Box<PgConnectOptions>),
    /// An archive of a log, by its path.
    Archive(PathBuf),
}

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("a position of this ledger is written `@` and its number")]
    Position,
    #[error("this is not the URL of a database: {0}")]
    Url(String),
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if let Some(position) = text.strip_prefix('@') {
            return position.parse().map(Self::Position).map_err(|_| SourceError::Position);
        }
        if text.starts_with("postgresql://") || text.starts_with("postgres://") {
            let options: PgConnectOptions = text.parse().map_err(|error| SourceError::Url(format!("{error}")))?;
            return Ok(Self::Database(Box::new(options)));
        }
        Ok(Self::Archive(text.into()))
    }
}

/// Without the password.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => write!(f, "this ledger up to position {position}"),
            Self::Database(options) => {
                let host = options.get_socket().map_or(options.get_host().into(), |path| path.display().to_string());
                write!(f, "database {} at {host}", options.get_database().unwrap_or("of the user's name"))
            }
            Self::Archive(path) => write!(f, "archive {}", path.display()),
        }
    }
}

/// The events of one side, from the first one on.
#[derive(Debug)]
pub(crate) enum Events {
    /// As they stood at one moment.
    Database(Box<Pages>),
    Archive(Box<Archive>),
}

/// Events read from a database in portions.
#[derive(Debug)]
pub(crate) struct Pages {
    connection: PgConnection,
    /// The last event to read.
    end: Position,
    read: Position,
    batch: VecDeque<RawEvent>,
}

impl Events {
    /// Those of a database, up to a position or to the end.
    pub async fn of(options: &PgConnectOptions, up_to: Option<Position>) -> Result<Self, ToolError> {
        Ok(Self::Database(Box::new(Pages::of(options, up_to).await?)))
    }

    pub fn archived(path: &Path) -> Result<Self, ToolError> {
        Ok(Self::Archive(Box::new(Archive::open(path)?)))
    }

    /// The key that has signed them, if that was checked.
    pub fn key(&self) -> Option<&PublicKey> {
        match self {
            Self::Database(_) => None,
            Self::Archive(archive) => Some(archive.key()),
        }
    }

    pub async fn next(&mut self) -> Result<Option<RawEvent>, ToolError> {
        match self {
            Self::Database(pages) => pages.next().await,
            Self::Archive(archive) => archive.next(),
        }
    }

    pub async fn close(self) -> Result<(), ToolError> {
        match self {
            Self::Database(pages) => Ok(pages.connection.close().await?),
            Self::Archive(_) => Ok(()),
        }
    }
}

impl Pages {
    async fn of(options: &PgConnectOptions, up_to: Option<Position>) -> Result<Self, ToolError> {
        let mut connection = PgConnection::connect_with(options).await?;
        connection.execute("begin isolation level repeatable read read only").await?;
        let there: bool =
            sqlx::query_scalar("select to_regclass('events') is not null").fetch_one(&mut connection).await?;
        if !there {
            return Err("there is no ledger in this database".into());
        }
        let end = head(&mut connection).await?.position;
        if let Some(wanted) = up_to.filter(|wanted| *wanted > end) {
            return Err(format!("the book ends at position {end}, before {wanted}").into());
        }
        Ok(Self { connection, end: up_to.unwrap_or(end), read: 0, batch: VecDeque::new() })
    }

    async fn next(&mut self) -> Result<Option<RawEvent>, ToolError> {
        if self.batch.is_empty() && self.read < self.end {
            let limit = u32::try_from(self.end - self.read).unwrap_or(BATCH).min(BATCH);
            self.batch = read_events(&mut self.connection, self.read, limit).await?.into();
            self.read += u64::from(limit);
            if self.batch.len() != limit as usize {
                return Err(format!("the book should go on to position {}, but breaks off", self.end).into());
            }
        }
        Ok(self.batch.pop_front())
    }
}
