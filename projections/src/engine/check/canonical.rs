//! Rows in a form in which they can be compared wherever they come from: as PostgreSQL writes them for a COPY, and as a fresh
//! fold makes them. It shares with what writes rows only the columns of a table and what stands for the character NUL.
//!
//! Two rows that have the same form are equal. Where the forms differ, PostgreSQL has the last word: it knows more ways
//! to write the same value.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    mem,
    sync::Arc,
};

use futures::TryStreamExt;
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use tokio::task;

use crate::engine::{
    memory::{BUCKETS, bucket},
    table::Table,
    write::{
        column::{self, Column, names},
        text::without_nul,
    },
};

/// Bytes of stored rows that are collected before they are looked at.
const BATCH: usize = 256 << 10;

/// What is compared of the rows of a table.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Shape {
    columns: Vec<Column>,
    /// Which of the columns make the key.
    key: Vec<usize>,
}

/// The values of a row, in the order of the columns.
pub(in crate::engine) type Values<'v> = Vec<Option<Cow<'v, str>>>;

/// How many rows there are in each bucket of keys, and the sum of their hashes.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Sums(Vec<(u64, u128)>);

impl Shape {
    /// Of a table as it was made for a build, but for some of its columns.
    pub async fn of(
        table: &Table,
        made: &str,
        without: &[&str],
        connection: &mut PgConnection,
    ) -> Result<Self, sqlx::Error> {
        let mut columns = column::columns(made, connection).await?;
        columns.retain(|column| !without.contains(&&*column.name));
        let place =
            |name: &&str| columns.iter().position(|column| column.name == **name).expect("a key has its columns");
        let key = table.key().iter().map(place).collect();
        Ok(Self { columns, key })
    }

    pub fn columns(&self) -> String {
        names(&self.columns.iter().collect::<Vec<_>>())
    }

    pub fn key_columns(&self) -> Vec<&Column> {
        self.key.iter().map(|place| &self.columns[*place]).collect()
    }

    /// Of a row as PostgreSQL writes it, without the end of its line.
    pub fn stored<'l>(&self, line: &'l str) -> Values<'l> {
        let fields = line.split('\t').map(|field| (field != "\\N").then(|| unescaped(field)));
        self.columns.iter().zip(fields).map(|(column, value)| Some(canonical(&column.kind, value?))).collect()
    }

    /// Of a row as a fold makes it. A column that no field stands for is empty: a newer program has added it.
    pub fn fresh<'r>(&self, row: &'r Map<String, Value>) -> Values<'r> {
        let value = |column: &Column| match row.get(&column.name)? {
            Value::Null => None,
            value if column.is_json() => Some(Cow::from(value.to_string())),
            Value::String(text) => Some(canonical(&column.kind, text.into())),
            value => Some(canonical(&column.kind, value.to_string().into())),
        };
        self.columns.iter().map(value).collect()
    }

    pub fn key(&self, values: &Values<'_>) -> Vec<String> {
        self.key.iter().map(|place| values[*place].as_deref().unwrap_or_default().to_owned()).collect()
    }

    pub fn bucket(&self, values: &Values<'_>) -> usize {
        bucket(values[self.key[0]].as_deref().unwrap_or_default())
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self(vec![(0, 0); BUCKETS])
    }
}

impl Sums {
    pub fn enter(&mut self, bucket: usize, hash: u64) {
        let (rows, sum) = &mut self.0[bucket];
        *rows += 1;
        *sum += u128::from(hash);
    }

    pub fn add(&mut self, other: &Self) {
        for ((rows, sum), (more, by)) in self.0.iter_mut().zip(&other.0) {
            *rows += more;
            *sum += by;
        }
    }

    pub fn rows(&self) -> u64 {
        self.0.iter().map(|(rows, _)| rows).sum()
    }

    /// How many rows more or fewer there are in these buckets.
    pub fn rows_apart(&self, other: &Self, buckets: &BTreeSet<usize>) -> u64 {
        buckets.iter().map(|bucket| self.0[*bucket].0.abs_diff(other.0[*bucket].0)).sum()
    }

    /// The buckets that are others.
    pub fn differing(&self, other: &Self) -> BTreeSet<usize> {
        (0..BUCKETS).filter(|bucket| self.0[*bucket] != other.0[*bucket]).collect()
    }
}

/// A hash that nobody can foresee, so that no row can be made to go unnoticed.
pub(in crate::engine) fn hash(values: &Values<'_>, state: &RandomState) -> u64 {
    state.hash_one(values)
}

/// A row of a fold as plain values, without the character NUL, which PostgreSQL may not hold.
pub(in crate::engine) fn plain(row: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(row).expect("what rows hold has names that are texts") {
        Value::Object(mut row) => {
            row.values_mut().for_each(replace_nul);
            row
        }
        _ => unreachable!("a row is a struct"),
    }
}

fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = without_nul(text).into_owned(),
        Value::Array(values) => values.iter_mut().for_each(replace_nul),
        Value::Object(fields) => {
            if fields.keys().any(|name| name.contains('\0')) {
                let renamed = std::mem::take(fields).into_iter();
                fields.extend(renamed.map(|(name, value)| (without_nul(&name).into_owned(), value)));
            }
            fields.values_mut().for_each(replace_nul);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Enters the rows that a query answers into a state, one after the other, beside the tasks that wait for the database.
pub(in crate::engine) async fn each_stored<S: Send + 'static>(
    shape: &Arc<Shape>,
    source: &str,
    connection: &mut PgConnection,
    mut state: S,
    visit: impl Fn(&mut S, Values<'_>) + Clone + Send + 'static,
) -> Result<S, sqlx::Error> {
    let statement = format!("copy (select {} from {source} t) to stdout", shape.columns());
    let mut pieces = connection.copy_out_raw(&statement).await?;
    // A row may come in several pieces.
    let mut begun: Vec<u8> = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        begun.extend_from_slice(&piece);
        if begun.len() < BATCH {
            continue;
        }
        let Some(end) = begun.iter().rposition(|byte| *byte == b'\n') else { continue };
        let rest = begun.split_off(end + 1);
        state = entered(shape, mem::replace(&mut begun, rest), state, visit.clone()).await?;
    }
    entered(shape, begun, state, visit).await
}

/// Enters some rows, each with the end of its line.
async fn entered<S: Send + 'static>(
    shape: &Arc<Shape>,
    lines: Vec<u8>,
    mut state: S,
    visit: impl Fn(&mut S, Values<'_>) + Send + 'static,
) -> Result<S, sqlx::Error> {
    let lines = String::from_utf8(lines).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let shape = shape.clone();
    let work = move || {
        lines.split_terminator('\n').for_each(|line| visit(&mut state, shape.stored(line)));
        state
    };
    Ok(task::spawn_blocking(work).await.expect("reading a row does not fall"))
}

/// What a field of the text format of COPY stands for.
fn unescaped(field: &str) -> Cow<'_, str> {
    if !field.contains('\\') {
        return field.into();
    }
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next() {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('v') => '\u{b}',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    text.into()
}

/// A value as it is compared, of whichever of the two it comes from.
fn canonical<'v>(kind: &str, value: Cow<'v, str>) -> Cow<'v, str> {
    match kind {
        "boolean" => match &*value {
            "t" => "true".into(),
            "f" => "false".into(),
            _ => value,
        },
        "timestamp with time zone" => moment(value),
        "json" | "jsonb" => match serde_json::from_str::<Value>(&value) {
            // What has more digits than a float would be taken for what has fewer.
            Ok(json) if !has_floats(&json) => json.to_string().into(),
            _ => value,
        },
        kind if kind.starts_with("numeric") => number(value),
        _ => value,
    }
}

/// Without the zeros at the end of a fraction.
fn number(value: Cow<'_, str>) -> Cow<'_, str> {
    if value.contains('.') && value.ends_with(['0', '.']) {
        return value.trim_end_matches('0').trim_end_matches('.').to_owned().into();
    }
    value
}

/// As PostgreSQL writes it, and not as RFC 3339 has it.
fn moment(value: Cow<'_, str>) -> Cow<'_, str> {
    let Some(plain) = value.strip_suffix('Z') else { return value };
    let plain = if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.') } else { plain };
    format!("{}+00", plain.replacen('T', " ", 1)).into()
}

fn has_floats(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_floats),
        Value::Object(fields) => fields.values().any(has_floats),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape() -> Shape {
        let kinds = [
            ("id", "text"),
            ("amount", "numeric"),
            ("at", "timestamp with time zone"),
            ("is_open", "boolean"),
            ("count", "bigint"),
            ("day", "date"),
            ("more", "jsonb"),
            ("new", "text"),
        ];
        let columns = kinds.map(|(name, kind)| Column { name: name.into(), kind: kind.into() }).into();
        Shape { columns, key: vec![0] }
    }

    fn fresh() -> Map<String, Value> {
        plain(&json!({
            "id": "a\tb\\\n\0", "amount": "-10.50", "at": "2024-01-02T03:04:05.600Z", "is_open": true, "count": 7,
            "day": "2024-01-02", "more": {"b": [1, "\0"], "a": null}, "not a column": 1
        }))
    }

    const STORED: &str = "a\\tb\\\\\\n\u{fffd}\t-10.5000\t2024-01-02 03:04:05.6+00\tt\t7\t2024-01-02\t{\"a\": null, \"b\": [1, \"\u{fffd}\"]}\t\\N";

    #[test]
    fn a_row_is_the_same_wherever_it_comes_from() {
        let (shape, row) = (shape(), fresh());
        assert_eq!(shape.stored(STORED), shape.fresh(&row));
        assert_eq!(shape.key(&shape.stored(STORED)), ["a\tb\\\n\u{fffd}"]);
    }

    #[test]
    fn whatever_is_changed_in_a_row_is_seen() {
        let (shape, row) = (shape(), fresh());
        for (column, other) in [
            (0, "a"),
            (1, "-10.51"),
            (1, "\\N"),
            (2, "2024-01-02 03:04:05.600001+00"),
            (2, "2024-01-02 03:04:05.6+01"),
            (3, "f"),
            (4, "8"),
            (5, "2024-01-03"),
            (6, r#"{"a": null, "b": [1, "�"], "c": 0.1}"#),
            (7, ""),
        ] {
            let mut fields: Vec<&str> = STORED.split('\t').collect();
            fields[column] = other;
            let line = fields.join("\t");
            assert_ne!(shape.stored(&line), shape.fresh(&row), "{line}");
        }
    }

    #[test]
    fn numbers_in_json_are_not_taken_for_others() {
        let long = canonical("jsonb", "[0.10000000000000000001]".into());
        assert_ne!(long, canonical("jsonb", "[0.1]".into()));
        assert_ne!(canonical("numeric", "100".into()), canonical("numeric", "1".into()));
        assert_eq!(canonical("numeric", "1.00".into()), canonical("numeric", "1".into()));
    }
}
