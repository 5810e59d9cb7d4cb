//! Proofs: stored rows against a fresh fold of the book, or against another build.
//!
//! Both sides are summed up by the database itself, in buckets of keys and whatever the order of the rows. The fresh
//! fold happens in memory, event by event and without batches, a portion of the keys at a time, so that it shares as
//! little as possible with what it checks. Only where buckets differ are rows compared one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use daybook_core::{Position, store::Store};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, Executor as _, PgConnection};
use tokio::task;

use super::{
    Definition,
    build::{self, Build, Stage, Target},
    copy::{self, Column},
    error::RebuildError,
    memory::{Memory, Portion},
    parking::Parked,
    pipeline,
    rebuild::CHUNK_SHARE,
    table::{Table, WriteError},
};

/// The rows of a table, summed up so that two of its states can be compared, whatever the order of their rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Checksum {
    pub table: String,
    pub rows: i64,
    pub sum: Decimal,
}

/// What a comparison has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verified {
    pub name: &'static str,
    pub build: i32,
    pub version: i32,
    /// The checkpoint at which the rows were compared.
    pub position: Position,
    pub rows: i64,
    /// How many rows differ.
    pub different: i64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// In how many portions the book was folded afresh, so that each fitted into memory.
    pub portions: u64,
}

/// A row that is not what the book says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub table: &'static str,
    pub key: Value,
    /// `None`: the row should not be there, or is missing.
    pub stored: Option<Value>,
    pub expected: Option<Value>,
}

/// The memory of a verification, unless somebody says otherwise.
pub const MEMORY: usize = 200 << 20;
/// What a row takes in memory, in terms of what it takes on the disk.
const INFLATION: u64 = 4;
/// The share of the memory that the rows of a portion may take.
const ROWS_SHARE: usize = 2;
const MOST_PORTIONS: u64 = 1_024;
/// Differences told in full, per table.
const TOLD: i64 = 10;

/// The checksum of each table of a projection, as readers see it.
pub async fn checksum(definition: &Definition, connection: &mut PgConnection) -> Result<Vec<Checksum>, sqlx::Error> {
    let mut checksums = Vec::with_capacity(definition.tables.len());
    for table in definition.tables {
        let statement = summed(table.name());
        checksums.push(sqlx::query_as(&statement).bind(table.name()).fetch_one(&mut *connection).await?);
    }
    Ok(checksums)
}

/// Compares every row of the serving build with a fresh fold up to its checkpoint. Everything happens in one snapshot,
/// so that the projection may go on meanwhile.
pub async fn verify(store: &Store, definition: &Definition, memory: usize) -> Result<Verified, RebuildError> {
    verify_serving(store, definition, None, memory).await
}

/// Compares what the serving build has kept from up to a position with a fresh fold up to there: the rows that stay once
/// they are made. The checkpoint must have come to that position.
pub async fn verify_kept(
    store: &Store,
    definition: &Definition,
    position: Position,
    memory: usize,
) -> Result<Verified, RebuildError> {
    verify_serving(store, definition, Some(position), memory).await
}

async fn verify_serving(
    store: &Store,
    definition: &Definition,
    until: Option<Position>,
    memory: usize,
) -> Result<Verified, RebuildError> {
    let mut connection = store.connection().await?;
    connection.execute(UNHURRIED).await?;
    let views: Vec<&str> = definition.tables.iter().map(Table::name).collect();
    let mut transaction = connection.begin_with(snapshot_of(&views)).await?;
    let serving = serving_build(definition, &mut transaction).await?;
    let target = Target { definition: *definition, build: serving.build };
    let scope = match until {
        None => Scope::Everything,
        Some(until) if until <= serving.position => Scope::Kept(until),
        Some(wanted) => {
            return Err(RebuildError::Behind { name: definition.name, position: serving.position, wanted });
        }
    };
    let position = until.unwrap_or(serving.position);
    let verified = prove_in(scope, store, &target, position, memory, &mut transaction).await?;
    transaction.rollback().await?;
    connection.close().await?;
    Ok(verified)
}

/// The build that serves, if this fold is the one that made it.
async fn serving_build(definition: &Definition, connection: &mut PgConnection) -> Result<Build, RebuildError> {
    let serving = build::at(definition.name, Stage::Serving, connection).await?;
    let serving = serving.ok_or(RebuildError::Nothing { name: definition.name, stage: "serving" })?;
    if serving.version == definition.version {
        return Ok(serving);
    }
    let (name, serving, program) = (definition.name, serving.version, definition.version);
    Err(RebuildError::OtherVersion { name, serving, program })
}

/// What the tables of a projection come to by a fresh fold up to a position, wherever its checkpoint is.
pub async fn checksum_at(
    store: &Store,
    definition: &Definition,
    position: Position,
    memory: usize,
) -> Result<Vec<Checksum>, RebuildError> {
    let mut connection = store.connection().await?;
    connection.execute(UNHURRIED).await?;
    let serving = serving_build(definition, &mut connection).await?;
    let target = Target { definition: *definition, build: serving.build };
    let parked = Arc::new(Parked::read(&[definition.name], &mut connection).await?);
    let portions = portions(&target, memory, &mut connection).await?;
    let empty = |table: &Table| Checksum { table: table.name().into(), rows: 0, sum: Decimal::ZERO };
    let mut checksums: Vec<Checksum> = definition.tables.iter().map(empty).collect();
    let mut fresh = Fresh::new(store, &target, position, parked, memory, portions);
    while let Some((table, rows)) = fresh.next().await? {
        let source = format!("json_populate_recordset(null::{}, $2::json)", target.table(&table));
        let added: Checksum =
            sqlx::query_as(&summed(&source)).bind(table.name()).bind(rows).fetch_one(&mut connection).await?;
        let checksum = checksums.iter_mut().find(|checksum| checksum.table == added.table);
        let checksum = checksum.expect("the rows are those of a table of the projection");
        checksum.rows += added.rows;
        checksum.sum += added.sum;
    }
    connection.close().await?;
    Ok(checksums)
}

fn summed(source: &str) -> String {
    format!(
        "select $1 as \"table\", count(*) as rows, coalesce(sum(hash_record_extended(t, 0)), 0) as sum
         from {source} t"
    )
}

/// What a connection begins with that is at work for as long as it takes.
pub(super) const UNHURRIED: &str = "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0";

/// A snapshot of what readers see in these views. They are locked before it is taken, so that no build takes over in
/// between.
pub(super) fn snapshot_of<S: AsRef<str>>(views: &[S]) -> String {
    let views: Vec<&str> = views.iter().map(AsRef::as_ref).collect();
    format!("begin isolation level repeatable read; lock table {} in access share mode", views.join(", "))
}

/// Compares every row of a build with a fresh fold up to this position. `stored` is in a transaction in which the rows
/// stand at that position and stay there.
pub(super) async fn prove(
    store: &Store,
    target: &Target,
    position: Position,
    memory: usize,
    stored: &mut PgConnection,
) -> Result<Verified, RebuildError> {
    prove_in(Scope::Everything, store, target, position, memory, stored).await
}

type ByTable<T> = BTreeMap<&'static str, Vec<T>>;

/// Which rows are compared.
#[derive(Clone, Copy, Debug)]
enum Scope {
    Everything,
    /// Those that stay, from up to a position, but for the columns in which they change.
    Kept(Position),
}

impl Scope {
    fn has(self, table: &Table) -> bool {
        matches!(self, Self::Everything) || table.stays_but_for().is_some()
    }

    /// What is compared of the stored rows: the columns of a query.
    fn stored(self, target: &Target, table: &Table, columns: &[String]) -> String {
        let (made, columns) = (target.table(table), columns.join(", "));
        match self {
            Self::Everything => made,
            Self::Kept(until) => format!("(select {columns} from {made} where position <= {until})"),
        }
    }

    async fn columns(
        self,
        target: &Target,
        table: &Table,
        connection: &mut PgConnection,
    ) -> Result<Vec<String>, sqlx::Error> {
        let mut columns = column_names(&target.table(table), connection).await?;
        if let (Self::Kept(_), Some(changing)) = (self, table.stays_but_for()) {
            columns.retain(|column| !changing.contains(&column.as_str()));
        }
        Ok(columns)
    }
}

async fn prove_in(
    scope: Scope,
    store: &Store,
    target: &Target,
    position: Position,
    memory: usize,
    stored: &mut PgConnection,
) -> Result<Verified, RebuildError> {
    let definition = target.definition;
    let tables: Vec<Table> = definition.tables.iter().filter(|table| scope.has(table)).copied().collect();
    let parked = Arc::new(Parked::read(&[definition.name], &mut *stored).await?);
    let portions = portions(target, memory, stored).await?;
    let mut evaluator = store.connection().await?;
    evaluator.execute(UNHURRIED).await?;

    let mut fresh = Fresh::new(store, target, position, parked, memory, portions);
    let mut expected: BTreeMap<&'static str, Sums> = BTreeMap::new();
    let mut columns: ByTable<String> = BTreeMap::new();
    for table in &tables {
        columns.insert(table.name(), scope.columns(target, table, stored).await?);
        expected.insert(table.name(), Sums::default());
    }
    while let Some((table, rows)) = fresh.next().await? {
        if !scope.has(&table) {
            continue;
        }
        let rows_of = format!("json_populate_recordset(null::{}, $1::json)", target.table(&table));
        let sums = sums(&rows_of, &columns[table.name()], &table, Some(&rows), &mut evaluator).await?;
        expected.entry(table.name()).or_default().add(sums);
    }

    let (name, build, version) = (definition.name, target.build, definition.version);
    let mut verified =
        Verified { name, build, version, position, rows: 0, different: 0, differences: Vec::new(), portions };
    let mut suspect: ByTable<i64> = BTreeMap::new();
    for table in &tables {
        let source = scope.stored(target, table, &columns[table.name()]);
        let found = sums(&source, &columns[table.name()], table, None, stored).await?;
        verified.rows += found.rows();
        let buckets = found.differing(&expected[table.name()]);
        if !buckets.is_empty() {
            suspect.insert(table.name(), buckets);
        }
    }
    if !suspect.is_empty() {
        name_differences(scope, &mut fresh, target, (&suspect, &columns), &mut verified, stored).await?;
    }
    evaluator.close().await?;
    Ok(verified)
}

/// Compares a build with another one of the same projection at the same position. `live` is in a snapshot in which the
/// other one stands there, and is at its end afterwards. Tables and columns that only one of them has, or has so, are left out.
pub(super) async fn compare(
    (new, connection): (&Target, &mut PgConnection),
    (other, live): (&Build, &mut PgConnection),
) -> Result<Verified, sqlx::Error> {
    let (name, build, version, position) = (new.definition.name, other.build, other.version, other.position);
    let mut verified =
        Verified { name, build, version, position, rows: 0, different: 0, differences: Vec::new(), portions: 1 };
    let mut suspect = Vec::new();
    let both = |table: &&Table| other.tables.iter().any(|name| name == table.name());
    for table in new.definition.tables.iter().filter(both) {
        let theirs: BTreeSet<Column> = copy::columns(&other.table(table.name()), live).await?.into_iter().collect();
        let ours = copy::columns(&new.table(table), connection).await?;
        let columns: Vec<String> =
            ours.into_iter().filter(|column| theirs.contains(column)).map(|column| column.name).collect();
        if !table.key().iter().all(|key| columns.iter().any(|column| column == key)) {
            continue;
        }
        let found = sums(&other.table(table.name()), &columns, table, None, live).await?;
        verified.rows += found.rows();
        let buckets = found.differing(&sums(&new.table(table), &columns, table, None, connection).await?);
        if !buckets.is_empty() {
            let aside = format!("{}_compared", table.name());
            let statement = format!(
                "create temporary table {aside} as select {} from {} t where {} = any($1)",
                columns.join(", "),
                other.table(table.name()),
                bucket(table)
            );
            sqlx::query(&statement).bind(&buckets).execute(&mut *live).await?;
            suspect.push((*table, aside, columns, buckets));
        }
    }
    live.execute("commit").await?;
    for (table, aside, columns, buckets) in suspect {
        let columns = columns.join(", ");
        let expected = format!("select {columns} from {} t where {} = any($1)", new.table(&table), bucket(&table));
        let stored = format!("select {columns} from {aside}");
        tell_apart(&table, &stored, &expected, &buckets, &mut verified, live).await?;
    }
    Ok(verified)
}

/// The rows of a fresh fold, in JSON lists of some thousand, a portion of the keys after the other.
struct Fresh<'a> {
    store: &'a Store,
    target: &'a Target,
    position: Position,
    parked: Arc<Parked>,
    memory: usize,
    portions: u64,
    portion: u64,
    rows: Option<Memory>,
}

impl<'a> Fresh<'a> {
    fn new(
        store: &'a Store,
        target: &'a Target,
        position: Position,
        parked: Arc<Parked>,
        memory: usize,
        portions: u64,
    ) -> Self {
        Self { store, target, position, parked, memory, portions, portion: 0, rows: None }
    }

    async fn next(&mut self) -> Result<Option<(Table, String)>, RebuildError> {
        loop {
            if let Some(memory) = &mut self.rows {
                let tables = self.target.definition.tables.iter();
                if let Some(handed) = tables.copied().find_map(|table| Some((table, table.hand_out(memory)?))) {
                    return Ok(Some(handed));
                }
                self.rows = None;
            }
            if self.portion == self.portions {
                self.portion = 0;
                return Ok(None);
            }
            let portion = Portion::Part { index: self.portion, of: self.portions };
            let (definition, parked) = (self.target.definition, self.parked.clone());
            self.rows = Some(in_memory(self.store, definition, parked, self.position, portion, self.memory).await?);
            self.portion += 1;
        }
    }
}

/// The rows of a portion of the keys, from all events up to a position.
pub(super) async fn in_memory(
    store: &Store,
    definition: Definition,
    parked: Arc<Parked>,
    position: Position,
    portion: Portion,
    memory: usize,
) -> Result<Memory, RebuildError> {
    let mut rows = Memory::default();
    follow(store, definition, parked, (0, position), &portion, memory, &mut rows).await?;
    Ok(rows)
}

/// Folds the events after one position up to another into the rows of a portion.
pub(super) async fn follow(
    store: &Store,
    definition: Definition,
    parked: Arc<Parked>,
    span: (Position, Position),
    portion: &Portion,
    memory: usize,
    rows: &mut Memory,
) -> Result<(), RebuildError> {
    let mut folded = pipeline::folded(store, definition, parked, span, memory / CHUNK_SHARE);
    while let Some(chunk) = folded.recv().await {
        let (mut chunk, portion, mut kept) = (chunk?, portion.clone(), std::mem::take(rows));
        let work = move || {
            for changes in &mut chunk.changes {
                kept.keep(&definition, changes, &portion)?;
            }
            Ok::<Memory, WriteError>(kept)
        };
        *rows = task::spawn_blocking(work).await.expect("folding does not fall")?;
    }
    Ok(())
}

/// How many portions the keys are folded in, so that each fits into the memory.
async fn portions(target: &Target, memory: usize, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let tables: Vec<String> = target.definition.tables.iter().map(|table| target.table(table)).collect();
    let bytes: i64 = sqlx::query_scalar(
        "select coalesce(sum(pg_relation_size(name::regclass)), 0)::bigint from unnest($1::text[]) name",
    )
    .bind(tables)
    .fetch_one(connection)
    .await?;
    let needed = (bytes.unsigned_abs() * INFLATION).div_ceil((memory / ROWS_SHARE).max(1) as u64);
    Ok(needed.clamp(1, MOST_PORTIONS))
}

/// Rows and the sum of their hashes, by bucket.
#[derive(Debug, Default, PartialEq)]
struct Sums(BTreeMap<i64, (i64, Decimal)>);

impl Sums {
    fn add(&mut self, other: Self) {
        for (bucket, (rows, sum)) in other.0 {
            let entry = self.0.entry(bucket).or_default();
            entry.0 += rows;
            entry.1 += sum;
        }
    }

    fn rows(&self) -> i64 {
        self.0.values().map(|(rows, _)| rows).sum()
    }

    fn differing(&self, other: &Self) -> Vec<i64> {
        let buckets: BTreeSet<i64> = self.0.keys().chain(other.0.keys()).copied().collect();
        buckets.into_iter().filter(|bucket| self.0.get(bucket) != other.0.get(bucket)).collect()
    }
}

/// The bucket of a row `t`, by the first column of its key.
fn bucket(table: &Table) -> String {
    format!("(hashtextextended(t.{}::text, 0) & 1023)", table.key()[0])
}

async fn column_names(table: &str, connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    Ok(copy::columns(table, connection).await?.into_iter().map(|column| column.name).collect())
}

/// The sums of rows that a table has, or that a function makes of the JSON in `rows`.
async fn sums(
    source: &str,
    columns: &[String],
    table: &Table,
    rows: Option<&str>,
    connection: &mut PgConnection,
) -> Result<Sums, sqlx::Error> {
    let columns: Vec<String> = columns.iter().map(|column| format!("t.{column}")).collect();
    let statement = format!(
        "select {} as bucket, count(*), sum(hash_record_extended(row({}), 0)) from {source} t group by 1",
        bucket(table),
        columns.join(", ")
    );
    let query = sqlx::query_as(&statement);
    let query = if let Some(rows) = rows { query.bind(rows) } else { query };
    let sums: Vec<(i64, i64, Decimal)> = query.fetch_all(connection).await?;
    Ok(Sums(sums.into_iter().map(|(bucket, rows, sum)| (bucket, (rows, sum))).collect()))
}

/// Folds once more, and this time compares row by row what is in the buckets that differ.
async fn name_differences(
    scope: Scope,
    fresh: &mut Fresh<'_>,
    target: &Target,
    (suspect, columns): (&ByTable<i64>, &ByTable<String>),
    verified: &mut Verified,
    stored: &mut PgConnection,
) -> Result<(), RebuildError> {
    let aside = |table: &Table| format!("{}_expected", table.name());
    let tables: Vec<Table> =
        target.definition.tables.iter().filter(|table| suspect.contains_key(table.name())).copied().collect();
    for table in &tables {
        let statement =
            format!("create temporary table {} (like {}) on commit drop", aside(table), target.table(table));
        stored.execute(&*statement).await?;
    }
    while let Some((table, rows)) = fresh.next().await? {
        let Some(buckets) = suspect.get(table.name()) else { continue };
        let statement = format!(
            "insert into {} select t.* from json_populate_recordset(null::{}, $1::json) t where {} = any($2)",
            aside(&table),
            target.table(&table),
            bucket(&table)
        );
        sqlx::query(&statement).bind(rows).bind(buckets).execute(&mut *stored).await?;
    }
    for table in &tables {
        let source = scope.stored(target, table, &columns[table.name()]);
        let found = format!("select * from {source} t where {} = any($1)", bucket(table));
        let expected = format!("select {} from {}", columns[table.name()].join(", "), aside(table));
        tell_apart(table, &found, &expected, &suspect[table.name()], verified, stored).await?;
    }
    Ok(())
}

/// The stored rows with this first key column that are not the expected ones, a JSON list.
pub(super) async fn rows_of_key(
    target: &Target,
    table: &Table,
    key: &str,
    expected: &Value,
    connection: &mut PgConnection,
) -> Result<Vec<Difference>, sqlx::Error> {
    let (made, first, columns) = (target.table(table), table.key()[0], table.key().join(", "));
    let pairs: Vec<String> =
        table.key().iter().map(|column| format!("'{column}', coalesce(s.{column}, e.{column})")).collect();
    let told: Vec<(Value, Option<Value>, Option<Value>)> = sqlx::query_as(&format!(
        "select jsonb_build_object({}),
             case when s.{first} is not null then to_jsonb(s) end,
             case when e.{first} is not null then to_jsonb(e) end
         from (select * from {made} where {first} = {}) s
         full join (select * from jsonb_populate_recordset(null::{made}, $2)) e using ({columns})
         where row(s.*) is distinct from row(e.*)
         order by {columns}
         limit {TOLD}",
        pairs.join(", "),
        table.first_of(&made),
    ))
    .bind(key)
    .bind(expected)
    .fetch_all(connection)
    .await?;
    let differences =
        told.into_iter().map(|(key, stored, expected)| Difference { table: table.name(), key, stored, expected });
    Ok(differences.collect())
}

/// Compares what two queries answer, row by row; both may use the buckets in `$1`.
async fn tell_apart(
    table: &Table,
    stored: &str,
    expected: &str,
    buckets: &[i64],
    verified: &mut Verified,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let first = table.key()[0];
    let key = table.key().join(", ");
    let pairs: Vec<String> =
        table.key().iter().map(|column| format!("'{column}', coalesce(s.{column}, e.{column})")).collect();
    let told: Vec<(i64, Value, Option<Value>, Option<Value>)> = sqlx::query_as(&format!(
        "select count(*) over (), jsonb_build_object({}),
             case when s.{first} is not null then to_jsonb(s) end,
             case when e.{first} is not null then to_jsonb(e) end
         from ({stored}) s full join ({expected}) e using ({key})
         where row(s.*) is distinct from row(e.*)
         order by {key}
         limit {TOLD}",
        pairs.join(", ")
    ))
    .bind(buckets)
    .fetch_all(connection)
    .await?;
    verified.different += told.first().map_or(0, |(different, ..)| *different);
    verified.differences.extend(told.into_iter().map(|(_, key, stored, expected)| Difference {
        table: table.name(),
        key,
        stored,
        expected,
    }));
    Ok(())
}
