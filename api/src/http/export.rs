//! A listing as a table: all of its rows, of one moment, as CSV or as a workbook.
//!
//! The rows are read a portion at a time and none is kept. A CSV goes out while they are read: if something fails on the
//! way, the connection breaks, so that nobody takes a part for the whole. A workbook is made in a file without a name
//! first, since it can only be read once it is complete.

mod csv;
mod xlsx;

use std::{io, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use daybook_projections::{
    Chosen, RowOrder,
    listing::{self, Listed},
};
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use tokio::{io::AsyncReadExt, sync::mpsc, task, time::timeout};

use crate::{
    app::App,
    http::{
        columns::{Column, columns},
        error::ApiError,
        listing::{Asking, Question},
        page::Wanted,
        past::{Admitted, too_long},
        read::{Rows, Steps},
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

/// So many portions wait at most for a caller who reads slowly.
const WAITING: usize = 2;

/// How long a caller may take nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many bytes of a file are read at a time.
const BLOCK: usize = 64 << 10;

/// The rows of a table, a portion at a time.
struct Reading {
    rows: Rows,
    chosen: Chosen,
    columns: Vec<Column>,
    /// Of the past.
    steps: Option<Steps>,
    admitted: Admitted,
}

/// A part of a body that is sent while it is made.
enum Part {
    Of(Bytes),
    End,
}

/// Rows as they are shown.
type Portion = Vec<serde_json::Value>;

impl App {
    /// All rows of a listing as a table.
    pub async fn export<Q: Question>(
        &self,
        sheet: Sheet,
        chosen: Chosen,
        order: RowOrder,
        shape: Shape,
        asking: Asking,
        uri: &Uri,
    ) -> Result<Response, ApiError> {
        let columns = asked_for(&shape, columns::<Q::Shown>());
        let admitted = self.exports().admit().await?;
        let mut rows = self.read_at(&[Q::Row::PROJECTION], asking).await?;
        let steps = rows.is_folded_back().then(|| Steps::to(Wanted::first()));
        if steps.is_none() {
            let (connection, viewer) = rows.parts();
            listing::open::<Q::Row>(connection, viewer, &chosen, &order).await?;
        }
        let read_at = rows.read_at();
        let noun = uri.path().rsplit('/').next().unwrap_or_default();
        let name = format!("{noun}-{}.{}", read_at.position, sheet.ending());
        let reading = Reading { rows, chosen, columns, steps, admitted };
        let body = match sheet {
            Sheet::Csv => reading.into_csv::<Q>().await?,
            Sheet::Xlsx => reading.into_workbook::<Q>().await?,
        };
        let disposition = format!("attachment; filename=\"{name}\"");
        let disposition = HeaderValue::from_str(&disposition).expect("an address of ours is plain ASCII");
        Ok(read_at.with(([(header::CONTENT_DISPOSITION, disposition)], body)))
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
}

impl Reading {
    /// The next rows as they are shown; `None` once there are no more.
    async fn next<Q: Question>(&mut self) -> Result<Option<Portion>, ApiError> {
        match timeout(self.admitted.left(), self.portion::<Q>()).await {
            Ok(portion) => portion,
            Err(_) => Err(too_long()),
        }
    }

    async fn portion<Q: Question>(&mut self) -> Result<Option<Portion>, ApiError> {
        if !self.rows.is_folded_back() {
            let found = listing::next::<Q::Row>(&mut self.rows, PORTION).await?;
            return Ok(Some(shown::<Q>(found)).filter(|portion| !portion.is_empty()));
        }
        let Some(mut steps) = self.steps.take() else { return Ok(None) };
        let found = self.rows.chosen::<Q::Row>(&mut steps, &self.chosen).await?;
        self.steps = steps.further(found.last().map(|found| found.place.position));
        Ok(Some(shown::<Q>(found.into_iter().map(|found| found.row).collect())))
    }

    /// Whether the first rows can be read is known before anything is sent.
    async fn into_csv<Q: Question>(mut self) -> Result<Response, ApiError> {
        let mut text = csv::head(&self.columns);
        let mut portion = self.next::<Q>().await?;
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            while let Some(rows) = portion {
                csv::write(&rows, &self.columns, &mut text);
                if !self.send(&sender, Part::Of(std::mem::take(&mut text).into())).await {
                    return;
                }
                portion = match self.next::<Q>().await {
                    Ok(portion) => portion,
                    Err(error) => return tracing::warn!(error = error.code(), "a table was cut short"),
                };
            }
            // The head alone, if there are no rows.
            if text.is_empty() || self.send(&sender, Part::Of(text.into())).await {
                self.send(&sender, Part::End).await;
            }
        });
        Ok(table(csv::CONTENT_TYPE, [], Body::from_stream(parts(receiver))))
    }

    /// Hands a part of a body over. Whoever does not take it in time gets no more.
    async fn send(&self, sender: &mpsc::Sender<Part>, part: Part) -> bool {
        let patience = self.admitted.left().min(PATIENCE);
        matches!(timeout(patience, sender.send(part)).await, Ok(Ok(())))
    }

    async fn into_workbook<Q: Question>(mut self) -> Result<Response, ApiError> {
        let (sender, receiver) = mpsc::channel::<Portion>(WAITING);
        let columns = self.columns.clone();
        let written = task::spawn_blocking(move || xlsx::write(&columns, receiver));
        while let Some(rows) = self.next::<Q>().await? {
            // Why nobody takes rows any more, whoever took them says.
            if sender.send(rows).await.is_err() {
                break;
            }
        }
        drop((sender, self));
        let (file, length) = written.await.expect("whoever writes a workbook does not fall")?;
        let blocks = stream::try_unfold(tokio::fs::File::from_std(file), async |mut file| {
            let mut block = vec![0; BLOCK];
            let read = file.read(&mut block).await?;
            block.truncate(read);
            Ok::<_, io::Error>((read > 0).then_some((Bytes::from(block), file)))
        });
        Ok(table(XLSX, [(header::CONTENT_LENGTH, HeaderValue::from(length))], Body::from_stream(blocks.boxed())))
    }
}

/// The body made of these parts. One that stops without an end breaks the connection.
fn parts(receiver: mpsc::Receiver<Part>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(receiver), async |receiver| {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Part::Of(bytes)) => Some((Ok(bytes), Some(receiver))),
            Some(Part::End) => None,
            None => Some((Err(io::Error::other("the table was cut short")), None)),
        }
    })
}

fn shown<Q: Question>(rows: Vec<Q::Row>) -> Portion {
    rows.into_iter().map(|row| json!(Q::Shown::from(row))).collect()
}

fn table<const N: usize>(content_type: &'static str, headers: [(HeaderName, HeaderValue); N], body: Body) -> Response {
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
    (content_type, headers, body).into_response()
}
