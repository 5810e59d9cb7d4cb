//! What a batch writes, gathered over all tables of all builds that go in lock-step: many new rows by COPY, everything
//! else in one statement, together with the checkpoints.

use sqlx::{Arguments, PgConnection, postgres::PgArguments};

use crate::engine::{
    follow::lease::Hold,
    write::{
        column::{Column, names},
        copy::Copied,
        text::Texts,
    },
};

/// The statement does nothing where this is not so.
const HELD: &str = "(select sure from held)";

/// From so many new rows on, a COPY costs less than a statement that takes arrays apart.
pub(in crate::engine) const COPIED: usize = 24;

/// Rows to be written.
#[derive(Debug)]
pub(in crate::engine) struct Staged {
    way: Way,
    copies: Vec<Copied>,
    parts: Vec<Part>,
    arguments: PgArguments,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Way {
    /// By one statement, which is a transaction by itself.
    Statement,
    /// In a transaction that has locked their build: only there may a COPY go before the rest.
    Transaction,
}

/// A statement of one table.
#[derive(Debug)]
struct Part {
    statement: String,
    rows: usize,
    /// Whether the rows are there already.
    are_there: bool,
}

impl Staged {
    pub fn new(way: Way) -> Self {
        Self { way, copies: Vec::new(), parts: Vec::new(), arguments: PgArguments::default() }
    }

    pub fn way(&self) -> Way {
        self.way
    }

    /// New rows, of which there are so many that they go by a COPY.
    pub fn copy(&mut self, copied: Copied) {
        debug_assert!(self.way == Way::Transaction, "a COPY is no part of a statement");
        self.copies.push(copied);
    }

    /// New rows. One that should be new and is there after all is an error: no fold overwrites what it did not expect.
    pub fn insert(&mut self, table: &str, rows: &Texts<'_>) {
        if rows.rows() == 0 {
            return;
        }
        let list = names(rows.columns());
        let (values, from) = (cast(rows.columns()).join(", "), self.unnest_all(rows));
        self.part(rows, false, format!("insert into {table} ({list}) select {values} from {from} where {HELD}"));
    }

    /// Rows that are there: those of their columns that make the key, and those to be set.
    pub fn update(&mut self, table: &str, rows: &Texts<'_>, key: &[usize], set: &[usize]) {
        let from = self.unnest(rows, &[key, set].concat());
        let columns = |places: &[usize]| places.iter().map(|place| rows.columns()[*place]).collect::<Vec<_>>();
        let (same, set) = (same(&columns(key)), columns(set));
        let set = set.iter().zip(cast(&set)).map(|(column, value)| format!("{} = {value}", column.name));
        let set = set.collect::<Vec<_>>().join(", ");
        self.part(rows, true, format!("update {table} t set {set} from {from} where {same} and {HELD} returning 1"));
    }

    pub fn delete(&mut self, table: &str, keys: &Texts<'_>) {
        let (same, from) = (same(keys.columns()), self.unnest_all(keys));
        self.part(keys, true, format!("delete from {table} t using {from} where {same} and {HELD} returning 1"));
    }

    fn part(&mut self, rows: &Texts<'_>, are_there: bool, statement: String) {
        self.parts.push(Part { statement, rows: rows.rows(), are_there });
    }

    /// Some columns of the rows as a list to select from.
    fn unnest(&mut self, rows: &Texts<'_>, places: &[usize]) -> String {
        let arrays: Vec<String> = places.iter().map(|place| self.argument(rows.array(*place))).collect();
        unnest(&arrays, &places.iter().map(|place| rows.columns()[*place]).collect::<Vec<_>>())
    }

    fn unnest_all(&mut self, rows: &Texts<'_>) -> String {
        self.unnest(rows, &(0..rows.columns().len()).collect::<Vec<_>>())
    }

    fn argument<'a, T>(&mut self, value: T) -> String
    where
        T: sqlx::Encode<'a, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'a,
    {
        self.arguments.add(value).expect("a list of texts can be sent");
        format!("${}", self.arguments.len())
    }

    /// Writes the rows, whose build the caller's transaction has locked.
    pub async fn write(mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.send_copies(connection).await?;
        if !self.parts.is_empty() {
            self.execute("select true as sure", "select", connection).await?;
        }
        Ok(())
    }

    /// Writes the rows and moves the checkpoints, if all of these builds are held and stand where they should; `false` if
    /// not, and then nothing is written.
    pub async fn write_holding(mut self, hold: &Hold<'_>, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        self.send_copies(connection).await?;
        let (names, builds) = hold.names();
        let (names, builds) = (self.argument(names), self.argument(builds));
        let (from, to) = (self.argument(hold.from as i64), self.argument(hold.to as i64));
        let recorded_at = self.argument(hold.recorded_at);
        let (holder, lease) = (self.argument(hold.driver.holder), self.argument(hold.driver.lease_milliseconds()));
        let held = format!(
            "select count(*) = cardinality({names}::text[]) as sure from ({}) locked",
            Hold::lock([&names, &builds, &from, &holder, &to, &recorded_at])
        );
        // A row that somebody has taken away must not be missed in silence: no checkpoint can be negative, so that the
        // constraint undoes everything.
        let mut complete = String::from("true");
        for number in 0..self.parts.len() {
            if self.parts[number].are_there {
                let rows = self.argument(self.parts[number].rows as i64);
                complete.push_str(&format!(" and (select count(*) from part{number}) = {rows}"));
            }
        }
        let checkpoint = format!(
            "update projections p
             set position = case when {complete} then {to}::bigint else -1 end, updated_at = clock_timestamp(),
                 leased_until = clock_timestamp() + {lease} * interval '1 millisecond'
             from unnest({names}::text[], {builds}::int[]) g (name, build)
             where p.name = g.name and p.build = g.build and {HELD}"
        );
        match self.execute(&held, &checkpoint, connection).await? as usize {
            0 => Ok(false),
            moved if moved == hold.group.len() => Ok(true),
            moved => {
                Err(sqlx::Error::Protocol(format!("{moved} checkpoints have moved instead of {}", hold.group.len())))
            }
        }
    }

    async fn send_copies(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        for copied in std::mem::take(&mut self.copies) {
            copied.send(connection).await?;
        }
        Ok(())
    }

    async fn execute(self, held: &str, last: &str, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let mut statement = format!("with held as materialized ({held})");
        for (number, part) in self.parts.iter().enumerate() {
            statement.push_str(&format!(", part{number} as ({})", part.statement));
        }
        statement.push(' ');
        statement.push_str(last);
        Ok(sqlx::query_with(&statement, self.arguments).execute(connection).await?.rows_affected())
    }
}

/// Arrays of texts as a list of rows `r`.
pub(in crate::engine) fn unnest(arrays: &[String], columns: &[&Column]) -> String {
    let arrays: Vec<String> = arrays.iter().map(|array| format!("{array}::text[]")).collect();
    format!("unnest({}) as r ({})", arrays.join(", "), names(columns))
}

/// That a row of the table `t` has the key of the row `r`.
pub(in crate::engine) fn same(key: &[&Column]) -> String {
    let same = key.iter().zip(cast(key)).map(|(column, value)| format!("t.{} = {value}", column.name));
    same.collect::<Vec<_>>().join(" and ")
}

/// Each text as what its column holds.
fn cast(columns: &[&Column]) -> Vec<String> {
    columns.iter().map(|column| format!("r.{}::{}", column.name, column.kind)).collect()
}
