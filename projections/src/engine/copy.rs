//! Writing many rows by COPY: the changes are applied and the rows laid out on all cores, since they do not see each other.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use sqlx::PgConnection;
use tokio::task;

use super::{
    binary,
    build::Target,
    changes::{Queue, Slot},
    row::Row,
    staged::names,
    table::{WriteError, Written, written},
    text::Texts,
};

/// The columns of the tables of a build.
#[derive(Clone, Debug)]
pub(super) struct Columns(HashMap<&'static str, Vec<Column>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub(super) struct Column {
    pub name: String,
    /// The type, as PostgreSQL writes it.
    pub kind: String,
}

impl Column {
    /// Whether it holds JSON, in which even a text has its quotation marks.
    pub fn is_json(&self) -> bool {
        matches!(&*self.kind, "json" | "jsonb")
    }
}

impl Columns {
    pub async fn load(target: &Target, connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut tables = HashMap::new();
        for table in target.definition.tables {
            tables.insert(table.name(), columns(&target.table(table), connection).await?);
        }
        Ok(Self(tables))
    }

    pub fn of(&self, table: &str) -> &[Column] {
        self.0.get(table).expect("the columns of every table of the build were loaded")
    }
}

/// The columns of a table, in their order.
pub(super) async fn columns(table: &str, connection: &mut PgConnection) -> Result<Vec<Column>, sqlx::Error> {
    sqlx::query_as(
        "select attname::text as name, format_type(atttypid, atttypmod) as kind
         from pg_attribute
         where attrelid = $1::regclass and attnum > 0 and not attisdropped
         order by attnum",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}

/// Rows on their way into a table.
#[derive(Debug)]
pub(super) struct Copied {
    statement: String,
    body: Vec<u8>,
}

impl Copied {
    pub fn of(table: &str, rows: &Texts<'_>) -> Self {
        debug_assert!(rows.rows() > 0, "without rows the columns are not known");
        let into = format!("copy {table} ({}) from stdin", names(rows.columns()));
        match binary::of(rows) {
            Some(body) => Self { statement: format!("{into} (format binary)"), body },
            None => Self { statement: into, body: rows.lines().into_bytes() },
        }
    }

    pub async fn send(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut copy = connection.copy_in_raw(&self.statement).await?;
        copy.send(self.body).await?;
        copy.finish().await?;
        Ok(())
    }
}

/// What is to be done, and the new rows of it, if there are any.
type Prepared<R> = (Written<R>, Option<Copied>);

/// Applies the changes, and makes of the new rows what a COPY takes.
pub(super) async fn prepare<R: Row>(
    queue: Queue<R>,
    loaded: BTreeMap<R::Key, Slot<R>>,
    target: &str,
    columns: &[Column],
) -> Result<(Vec<Written<R>>, Vec<Copied>), WriteError> {
    let (target, columns) = (target.to_owned(), columns.to_vec());
    let work = move || {
        let outcomes: Vec<Result<Prepared<R>, WriteError>> = partitions(queue, loaded)
            .into_par_iter()
            .map(|(queue, slots)| {
                let mut written = written(queue, slots)?;
                let new = Texts::of_rows(&std::mem::take(&mut written.new), &columns)?;
                let copied = (new.rows() > 0).then(|| Copied::of(&target, &new));
                Ok((written, copied))
            })
            .collect();
        // Of several events that do not fit, the first is the one to tell of.
        let mut first: Option<WriteError> = None;
        let mut done = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Ok((written, copied)) => {
                    done.0.push(written);
                    done.1.extend(copied);
                }
                Err(error) if first.as_ref().is_none_or(|first| error.position() < first.position()) => {
                    first = Some(error);
                }
                Err(_) => {}
            }
        }
        first.map_or(Ok(done), Err)
    };
    task::spawn_blocking(work).await.expect("folding does not fall")
}

type Partition<R> = (Queue<R>, BTreeMap<<R as Row>::Key, Slot<R>>);

/// The changes and the loaded rows, divided by key; the order of the changes of a row stays.
fn partitions<R: Row>(queue: Queue<R>, loaded: BTreeMap<R::Key, Slot<R>>) -> Vec<Partition<R>> {
    let number = rayon::current_num_threads();
    let place = |key: &R::Key| {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        (hasher.finish() % number as u64) as usize
    };
    let mut partitions: Vec<Partition<R>> = (0..number).map(|_| (Vec::new(), BTreeMap::new())).collect();
    for (position, change) in queue {
        partitions[place(&change.key())].0.push((position, change));
    }
    for (key, slot) in loaded {
        partitions[place(&key)].1.insert(key, slot);
    }
    partitions
}
