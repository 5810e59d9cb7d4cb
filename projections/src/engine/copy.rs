//! Writing many rows by COPY: the changes are applied and the lines made on all cores, since rows do not see each other.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use tokio::task;

use super::{
    build::Target,
    changes::{Queue, Slot},
    table::{Row, WriteError, Written, without_nul, written},
};

/// The columns of the tables of a build.
#[derive(Clone, Debug)]
pub(super) struct Columns(HashMap<&'static str, Vec<Column>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub(super) struct Column {
    pub name: String,
    /// The type, as PostgreSQL writes it.
    kind: String,
}

impl Column {
    /// Whether it holds JSON, in which even a text has its quotation marks.
    fn is_json(&self) -> bool {
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

/// Applies the changes, and makes the lines of the new rows.
pub(super) async fn prepare<R: Row>(
    queue: Queue<R>,
    loaded: BTreeMap<R::Key, Slot<R>>,
    columns: &[Column],
) -> Result<(Vec<Written<R>>, Vec<String>), WriteError> {
    let columns = columns.to_vec();
    let work = move || {
        let outcomes: Vec<Result<(Written<R>, String), WriteError>> = partitions(queue, loaded)
            .into_par_iter()
            .map(|(queue, slots)| {
                let mut written = written(queue, slots)?;
                let lines = lines(&std::mem::take(&mut written.new), &columns);
                Ok((written, lines))
            })
            .collect();
        // Of several events that do not fit, the first is the one to tell of.
        let mut first: Option<WriteError> = None;
        let mut done = (Vec::new(), Vec::new());
        for outcome in outcomes {
            match outcome {
                Ok((written, lines)) => {
                    done.0.push(written);
                    done.1.push(lines);
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

pub(super) async fn send(
    target: &str,
    columns: &[Column],
    lines: Vec<String>,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    if lines.iter().all(String::is_empty) {
        return Ok(());
    }
    let list = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut copy = connection.copy_in_raw(&format!("copy {target} ({list}) from stdin")).await?;
    for lines in lines {
        copy.send(lines.into_bytes()).await?;
    }
    copy.finish().await?;
    Ok(())
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

/// The rows in the text format of COPY.
pub(super) fn lines<R: Row>(rows: &[R], columns: &[Column]) -> String {
    let mut lines = String::new();
    // Of each column, which field of a row it is: the fields of a struct come in one order.
    let mut places: Option<Vec<Option<usize>>> = None;
    for row in rows {
        let row = without_nul(serde_json::to_string(row).expect("a row is plain values"));
        let Fields(fields) = serde_json::from_str(&row).expect("a row is a plain struct");
        let places = places.get_or_insert_with(|| {
            columns.iter().map(|column| fields.iter().position(|(name, _)| *name == column.name)).collect()
        });
        for (number, (column, place)) in columns.iter().zip(places).enumerate() {
            if number > 0 {
                lines.push('\t');
            }
            match place.and_then(|place| fields.get(place)).map(|(_, value)| value.get()) {
                None | Some("null") => lines.push_str("\\N"),
                Some(text) if text.starts_with('"') && !column.is_json() => match text.contains('\\') {
                    // Nothing is escaped in it.
                    false => escape(&text[1..text.len() - 1], &mut lines),
                    true => {
                        let text: String = serde_json::from_str(text).expect("what begins as a text is one");
                        escape(&text, &mut lines);
                    }
                },
                Some(value) => escape(value, &mut lines),
            }
        }
        lines.push('\n');
    }
    lines
}

/// The fields of a row, in their order.
struct Fields<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Reading)
    }
}

fn escape(text: &str, lines: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '\t', '\n', '\r']) {
        lines.push_str(&rest[..at]);
        lines.push_str(match rest.as_bytes()[at] {
            b'\\' => "\\\\",
            b'\t' => "\\t",
            b'\n' => "\\n",
            _ => "\\r",
        });
        rest = &rest[at + 1..];
    }
    lines.push_str(rest);
}
