//! A listing as a table: all of its rows, of one moment, as CSV or as a workbook.
//!
//! The rows are read a portion at a time and written to a file without a name, which is sent once it is complete. So a failure is
//! answered by a problem and not by a part of a table, and a caller who reads slowly holds a file and neither a connection nor a
//! snapshot of the database.

mod csv;
mod xlsx;

use std::{
    fs::File,
    io::{self, Seek},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use daybook_projections::{
    Chosen, RowOrder,
    listing::{self, Listed},
};
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    sync::mpsc,
    task,
    time::{Instant, timeout},
};

use crate::{
    app::App,
    http::{
        columns::{Column, columns},
        error::ApiError,
        listing::{Asking, Question},
        page::{Addressed, Wanted},
        past::{Admitted, Turn, too_long},
        read::{self, ReadAt, Steps},
        shape::Shape,
    },
};

pub const CSV: &str = "text/csv";
pub const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// The forms of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sheet {
    Csv,
    Xlsx,
}

/// So many rows are read at a time.
const PORTION: u32 = 500;

/// So many portions wait at most to be written.
const WAITING: usize = 2;

/// How long a caller may take to read a table.
const READ_WITHIN: Duration = Duration::from_secs(3_600);

/// So many bytes of a file are read at a time.
const BLOCK: usize = 64 << 10;

/// The rows of a table, a portion at a time.
struct Reading {
    rows: read::Rows,
    chosen: Chosen,
    /// Of the past.
    steps: Option<Steps>,
}

/// Rows as they are shown.
type Portion = Vec<serde_json::Value>;

/// What is handed to the thread that writes.
enum Handed {
    Rows(Portion),
    End,
}

/// The rows that a table is written of.
struct Rows(mpsc::Receiver<Handed>);

impl App {
    /// All rows of a listing as a table.
    pub async fn export<Q: Question>(
        &self,
        sheet: Sheet,
        chosen: Chosen,
        order: RowOrder,
        shape: Shape,
        asking: Asking,
        Addressed { uri, principal }: &Addressed,
    ) -> Result<Response, ApiError> {
        let turn = self.exports().turn(principal)?;
        let admitted = Arc::new(self.exports().admit().await?);
        let made = self.made::<Q>(sheet, chosen, order, shape, asking, &admitted);
        let (file, read_at) = timeout(admitted.left(), made).await.map_err(|_| too_long())??;
        let length = file.metadata().map_err(unwritten)?.len();
        let noun = uri.path().rsplit('/').next().unwrap_or_default();
        let disposition = format!("attachment; filename=\"{noun}-{}.{}\"", read_at.position, sheet.ending());
        let disposition = HeaderValue::from_str(&disposition).expect("an address of ours is plain ASCII");
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(sheet.content_type())),
            (header::CONTENT_LENGTH, HeaderValue::from(length)),
            (header::CONTENT_DISPOSITION, disposition),
        ];
        Ok(read_at.with((headers, sent(file, turn))))
    }

    /// The file of the table, at its beginning, and of which position it is.
    async fn made<Q: Question>(
        &self,
        sheet: Sheet,
        chosen: Chosen,
        order: RowOrder,
        shape: Shape,
        asking: Asking,
        admitted: &Arc<Admitted>,
    ) -> Result<(File, ReadAt), ApiError> {
        let columns = asked_for(&shape, columns::<Q::Shown>());
        let mut rows = self.read_at(&[Q::Row::PROJECTION], asking).await?;
        let steps = rows.is_folded_back().then(|| Steps::to(Wanted::first()));
        if steps.is_none() {
            rows.bound(admitted).await?;
            let (connection, viewer) = rows.parts();
            listing::open::<Q::Row>(connection, viewer, &chosen, &order).await?;
        }
        let read_at = rows.read_at();
        let mut reading = Reading { rows, chosen, steps };
        let (sender, receiver) = mpsc::channel(WAITING);
        // The thread goes on for a while after a caller has hung up, and counts as long.
        let admitted = Arc::clone(admitted);
        let written = task::spawn_blocking(move || {
            let _admitted = admitted;
            let mut file = sheet.write(&columns, Rows(receiver))?;
            file.rewind().map_err(unwritten)?;
            Ok::<_, ApiError>(file)
        });
        while let Some(portion) = reading.portion::<Q>().await? {
            // Why nobody takes rows any more is the outcome of the thread.
            if sender.send(Handed::Rows(portion)).await.is_err() {
                break;
            }
        }
        drop(reading);
        _ = sender.send(Handed::End).await;
        let file = written.await.map_err(|error| unwritten(io::Error::other(error)))??;
        Ok((file, read_at))
    }
}

/// The columns of the members that are asked for, in the order in which they are.
fn asked_for(shape: &Shape, columns: Vec<Column>) -> Vec<Column> {
    let Some(fields) = shape.fields() else { return columns };
    let of = |field: &String| columns.iter().filter(|column| column.member() == field).cloned().collect::<Vec<_>>();
    fields.iter().flat_map(of).collect()
}

impl Sheet {
    fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Csv => csv::CONTENT_TYPE,
            Self::Xlsx => XLSX,
        }
    }

    fn write(self, columns: &[Column], rows: Rows) -> Result<File, ApiError> {
        match self {
            Self::Csv => csv::write(columns, rows),
            Self::Xlsx => xlsx::write(columns, rows),
        }
    }
}

impl Reading {
    /// The next rows as they are shown; `None` once there are no more.
    async fn portion<Q: Question>(&mut self) -> Result<Option<Portion>, ApiError> {
        if !self.rows.is_folded_back() {
            let found = listing::next::<Q::Row>(&mut self.rows, PORTION).await?;
            return Ok(Some(shown::<Q>(found)).filter(|portion| !portion.is_empty()));
        }
        let Some(mut steps) = self.steps.take() else { return Ok(None) };
        let found = self.rows.chosen::<Q::Row>(&mut steps, &self.chosen).await?;
        let positions: Vec<i64> = found.iter().map(|found| found.place.position).collect();
        self.steps = steps.further(&positions);
        Ok(Some(shown::<Q>(found.into_iter().map(|found| found.row).collect())))
    }
}

impl Rows {
    /// The next rows; `None` after the last ones.
    fn next(&mut self) -> Result<Option<Portion>, ApiError> {
        match self.0.blocking_recv() {
            Some(Handed::Rows(rows)) => Ok(Some(rows)),
            Some(Handed::End) => Ok(None),
            // The caller has hung up, or the rows cannot be read on.
            None => Err(ApiError::new("internal", "the table was given up")),
        }
    }
}

/// The file as a body. What is not taken in time is not sent any more.
fn sent(file: File, turn: Turn) -> Body {
    let until = Instant::now() + READ_WITHIN;
    let blocks = stream::try_unfold((tokio::fs::File::from_std(file), turn), move |(mut file, turn)| async move {
        if Instant::now() > until {
            return Err(io::Error::other("the table was not read in time"));
        }
        let mut block = vec![0; BLOCK];
        let read = file.read(&mut block).await?;
        block.truncate(read);
        Ok((read > 0).then_some((Bytes::from(block), (file, turn))))
    });
    Body::from_stream(blocks.boxed())
}

/// Such as where there is no room for the file.
fn unwritten(error: io::Error) -> ApiError {
    tracing::error!(%error, "a table cannot be written");
    ApiError::new("internal", "the table cannot be written")
}

fn shown<Q: Question>(rows: Vec<Q::Row>) -> Portion {
    rows.into_iter().map(|row| json!(Q::Shown::from(row))).collect()
}
