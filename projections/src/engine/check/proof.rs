//! Proofs: stored rows against a fresh fold of the book, or against another build.
//!
//! The fresh fold happens in memory, event by event and without batches, and its rows are compared in a form of their own
//! (`canonical.rs`), so that it shares as little as possible with what it checks. Both sides are summed up in buckets of
//! keys; only where buckets differ are rows compared one by one, and PostgreSQL says which of them are others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::RandomState,
    slice,
    sync::Arc,
};

use daybook_core::{Position, store::Store};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value;
use sqlx::{Connection, Executor as _, PgConnection};
use tokio::task;

use crate::engine::{
    Definition,
    builds::{
        build::{self, Build, Stage},
        target::Target,
    },
    check::{
        afresh::{self, Afresh, Room, Subject},
        canonical::{self, Shape, Sums, Values, each_stored},
    },
    error::RebuildError,
    follow::fold::Folding,
    memory::Memory,
    session::{UNHURRIED, snapshot_of},
    table::{Table, WriteError},
    write::{
        column::{self, Column},
        staged::{same, unnest},
    },
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

/// Differences told in full, per table.
const TOLD: usize = 10;
/// Once so many rows differ, PostgreSQL is not asked about the others: they are counted as they are.
const EXAMINED: i64 = 1_000;
/// Keys that are asked for at once.
const KEYS: usize = 4_000;

/// The checksum of each table of a projection, as readers see it.
pub async fn checksum(definition: &Definition, connection: &mut PgConnection) -> Result<Vec<Checksum>, sqlx::Error> {
    let mut checksums = Vec::with_capacity(definition.tables.len());
    for table in definition.tables {
        let statement = summed(table.name());
        checksums.push(sqlx::query_as(&statement).bind(table.name()).fetch_one(&mut *connection).await?);
    }
    Ok(checksums)
}

/// Compares every row of the serving build with a fresh fold up to its checkpoint. The projection may go on meanwhile.
pub async fn verify(store: &Store, definition: &Definition, room: &Room) -> Result<Verified, RebuildError> {
    verify_serving(store, &[*definition], None, room).await?.remove(0)
}

/// The same of several projections, for which the book is read once. Some of them may fail, and the others do not.
pub async fn verify_all(
    store: &Store,
    definitions: &[Definition],
    room: &Room,
) -> Result<Vec<Result<Verified, RebuildError>>, RebuildError> {
    verify_serving(store, definitions, None, room).await
}

/// Compares what the serving build has kept from up to a position with a fresh fold up to there: the rows that stay once
/// they are made. The checkpoint must have come to that position.
pub async fn verify_kept(
    store: &Store,
    definition: &Definition,
    position: Position,
    room: &Room,
) -> Result<Verified, RebuildError> {
    verify_serving(store, &[*definition], Some(position), room).await?.remove(0)
}

async fn verify_serving(
    store: &Store,
    definitions: &[Definition],
    until: Option<Position>,
    room: &Room,
) -> Result<Vec<Result<Verified, RebuildError>>, RebuildError> {
    let state = RandomState::new();
    let mut stored = Vec::with_capacity(definitions.len());
    for definition in definitions {
        stored.push(read_serving(store, definition, until, &state).await);
    }
    let equal = match equal(store, &stored, room, &state).await {
        // One that fits into memory by itself can be decided, though there may be no room for all of them.
        Err(_) if stored.len() > 1 => each_equal(store, &stored, room, &state).await,
        equal => equal?,
    };
    let mut found = Vec::with_capacity(stored.len());
    for ((stored, equal), definition) in stored.into_iter().zip(equal).zip(definitions) {
        found.push(match (stored, equal) {
            (Ok(stored), Some(Ok(portions))) => Ok(stored.verified(portions)),
            (Err(error), _) | (_, Some(Err(error))) => Err(error),
            (Ok(_), None) => examine(store, definition, until, room).await,
        });
    }
    Ok(found)
}

/// The rows that serve, in a snapshot that ends before the book is folded, so that nobody has to wait for that.
async fn read_serving(
    store: &Store,
    definition: &Definition,
    until: Option<Position>,
    state: &RandomState,
) -> Result<Stored, RebuildError> {
    let mut connection = store.connection().await?;
    connection.execute(UNHURRIED).await?;
    let mut transaction = connection.begin_with(snapshot_of(&views(definition))).await?;
    let stored = Stored::of_serving(definition, until, state, &mut transaction).await?;
    transaction.rollback().await?;
    connection.close().await?;
    Ok(stored)
}

/// In how many portions a projection was folded afresh that is the same; `None` of one that is not.
type Equal = Option<Result<u64, RebuildError>>;

/// Folds afresh what was read, one after the other.
async fn each_equal(
    store: &Store,
    stored: &[Result<Stored, RebuildError>],
    room: &Room,
    state: &RandomState,
) -> Vec<Equal> {
    let mut found = Vec::with_capacity(stored.len());
    for stored in stored {
        let alone = equal(store, slice::from_ref(stored), room, state).await;
        found.push(alone.map_or_else(|error| Some(Err(error)), |mut alone| alone.remove(0)));
    }
    found
}

/// Folds afresh what was read.
async fn equal(
    store: &Store,
    stored: &[Result<Stored, RebuildError>],
    room: &Room,
    state: &RandomState,
) -> Result<Vec<Equal>, RebuildError> {
    let readable: Vec<&Stored> = stored.iter().filter_map(|stored| stored.as_ref().ok()).collect();
    let subjects = readable.iter().map(|stored| stored.subject()).collect();
    let mut afresh = Afresh::new(store, room, subjects, readable.iter().map(|stored| stored.bytes).sum());
    let mut fresh: Vec<Result<Vec<Sums>, WriteError>> =
        readable.iter().map(|stored| Ok(vec![Sums::default(); stored.tables.len()])).collect();
    for portion in 0..afresh.portions() {
        let rows = afresh.portion(portion).await?;
        for ((fresh, rows), stored) in fresh.iter_mut().zip(rows).zip(&readable) {
            let Ok(sums) = fresh else { continue };
            match rows {
                Ok(rows) => {
                    let (_, of_portion) = stored.sums(rows, state).await;
                    sums.iter_mut().zip(&of_portion).for_each(|(sums, more)| sums.add(more));
                }
                Err(error) => *fresh = Err(error),
            }
        }
    }
    let mut fresh = fresh.into_iter();
    let outcome = |stored: &Result<Stored, RebuildError>| {
        let stored = stored.as_ref().ok()?;
        match fresh.next().expect("each that could be read was folded") {
            Ok(sums) => stored.tables.iter().map(|table| &table.sums).eq(&sums).then_some(Ok(afresh.portions())),
            Err(error) => Some(Err(error.into())),
        }
    };
    Ok(stored.iter().map(outcome).collect())
}

/// Compares the rows that serve now with a fresh fold, one by one where need be: in a snapshot in which they stay as they are.
async fn examine(
    store: &Store,
    definition: &Definition,
    until: Option<Position>,
    room: &Room,
) -> Result<Verified, RebuildError> {
    let state = RandomState::new();
    let mut connection = store.connection().await?;
    connection.execute(UNHURRIED).await?;
    let mut transaction = connection.begin_with(snapshot_of(&views(definition))).await?;
    let stored = Stored::of_serving(definition, until, &state, &mut transaction).await?;
    let verified = stored.compare(store, room, &state, &mut transaction).await?;
    transaction.rollback().await?;
    connection.close().await?;
    Ok(verified)
}

fn views(definition: &Definition) -> Vec<&'static str> {
    definition.tables.iter().map(Table::name).collect()
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
    room: &Room,
) -> Result<Vec<Checksum>, RebuildError> {
    let mut connection = store.connection().await?;
    connection.execute(UNHURRIED).await?;
    let serving = serving_build(definition, &mut connection).await?;
    let target = Target { definition: *definition, build: serving.build };
    let folding = Folding::read(definition, &mut connection).await?;
    let bytes = afresh::size(&target, &mut connection).await?;
    let empty = |table: &Table| Checksum { table: table.name().into(), rows: 0, sum: Decimal::ZERO };
    let mut checksums: Vec<Checksum> = definition.tables.iter().map(empty).collect();
    let mut afresh = Afresh::new(store, room, vec![(folding, position)], bytes);
    for portion in 0..afresh.portions() {
        let mut rows = afresh.portion(portion).await?.remove(0)?;
        for (table, checksum) in definition.tables.iter().zip(&mut checksums) {
            let source = format!("json_populate_recordset(null::{}, $2::json)", target.table(table));
            while let Some(handed) = table.hand_out(&mut rows) {
                let added: Checksum =
                    sqlx::query_as(&summed(&source)).bind(table.name()).bind(handed).fetch_one(&mut connection).await?;
                checksum.rows += added.rows;
                checksum.sum += added.sum;
            }
        }
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

/// Compares every row of a build with a fresh fold up to this position. `connection` is in a transaction in which the
/// rows stand at that position and stay there.
pub(in crate::engine) async fn prove(
    store: &Store,
    target: &Target,
    position: Position,
    room: &Room,
    connection: &mut PgConnection,
) -> Result<Verified, RebuildError> {
    let state = RandomState::new();
    let stored = Stored::read(*target, Scope::Everything, position, &state, connection).await?;
    stored.compare(store, room, &state, connection).await
}

/// Which rows are compared.
#[derive(Clone, Copy, Debug)]
enum Scope {
    Everything,
    /// Those that stay, from up to a position, but for the columns in which they change.
    Kept(Position),
}

/// The rows of a build, summed up.
struct Stored {
    target: Target,
    folding: Folding,
    /// The checkpoint, or where those that are compared end.
    position: Position,
    tables: Arc<Vec<Summed>>,
    bytes: u64,
}

/// Of rows, by key.
type Hashes = HashMap<Vec<String>, u64>;

/// The rows of a table, summed up.
struct Summed {
    table: Table,
    /// The rows that are compared, as a query has them.
    source: String,
    shape: Arc<Shape>,
    sums: Sums,
}

impl Stored {
    /// Of the build that serves. The connection is in a snapshot.
    async fn of_serving(
        definition: &Definition,
        until: Option<Position>,
        state: &RandomState,
        connection: &mut PgConnection,
    ) -> Result<Self, RebuildError> {
        let serving = serving_build(definition, connection).await?;
        let target = Target { definition: *definition, build: serving.build };
        match until {
            None => Self::read(target, Scope::Everything, serving.position, state, connection).await,
            Some(until) if until <= serving.position => {
                Self::read(target, Scope::Kept(until), until, state, connection).await
            }
            Some(wanted) => Err(RebuildError::Behind { name: definition.name, position: serving.position, wanted }),
        }
    }

    async fn read(
        target: Target,
        scope: Scope,
        position: Position,
        state: &RandomState,
        connection: &mut PgConnection,
    ) -> Result<Self, RebuildError> {
        let folding = Folding::read(&target.definition, &mut *connection).await?;
        let bytes = afresh::size(&target, connection).await?;
        let mut tables = Vec::new();
        for table in target.definition.tables {
            let made = target.table(table);
            let (source, without) = match (scope, table.stays_but_for()) {
                (Scope::Everything, _) => (made.clone(), [].as_slice()),
                (Scope::Kept(until), Some(changing)) => {
                    (format!("(select * from {made} where position <= {until})"), changing)
                }
                (Scope::Kept(_), None) => continue,
            };
            let shape = Arc::new(Shape::of(table, &made, without, connection).await?);
            let (of, state) = (shape.clone(), state.clone());
            let enter = move |sums: &mut Sums, values: Values<'_>| {
                sums.enter(of.bucket(&values), canonical::hash(&values, &state));
            };
            let sums = each_stored(&shape, &source, connection, Sums::default(), enter).await?;
            tables.push(Summed { table: *table, source, shape, sums });
        }
        Ok(Self { target, folding, position, tables: Arc::new(tables), bytes })
    }

    fn subject(&self) -> Subject {
        (self.folding.clone(), self.position)
    }

    /// Of each table, as long as no difference is known.
    fn verified(&self, portions: u64) -> Verified {
        let rows: u64 = self.tables.iter().map(|table| table.sums.rows()).sum();
        Verified {
            name: self.target.definition.name,
            build: self.target.build,
            version: self.target.definition.version,
            position: self.position,
            rows: rows as i64,
            different: 0,
            differences: Vec::new(),
            portions,
        }
    }

    /// The sums of fresh rows, table by table, and the rows again.
    async fn sums(&self, mut rows: Memory, state: &RandomState) -> (Memory, Vec<Sums>) {
        let (tables, state) = (self.tables.clone(), state.clone());
        let work = move || {
            let sums = tables.iter().map(|of| of.table.sums(&of.shape, &state, &mut rows)).collect();
            (rows, sums)
        };
        task::spawn_blocking(work).await.expect("adding does not fall")
    }

    /// Compares them with a fresh fold, and names what differs. They have stayed what they were when they were read.
    async fn compare(
        &self,
        store: &Store,
        room: &Room,
        state: &RandomState,
        connection: &mut PgConnection,
    ) -> Result<Verified, RebuildError> {
        let mut afresh = Afresh::new(store, room, vec![self.subject()], self.bytes);
        let portions = afresh.portions();
        let mut verified = self.verified(portions);
        for portion in 0..portions {
            let rows = afresh.portion(portion).await?.remove(0)?;
            let (mut rows, sums) = self.sums(rows, state).await;
            for (of, fresh) in self.tables.iter().zip(&sums) {
                let mut buckets = of.sums.differing(fresh);
                buckets.retain(|bucket| *bucket as u64 % portions == portion);
                if buckets.is_empty() {
                    continue;
                }
                let named = verified.different;
                self.name(of, &buckets, &mut rows, state, &mut verified, connection).await?;
                if verified.different == named {
                    // Of a table that has lost its key, no key may lead to a row.
                    verified.different += of.sums.rows_apart(fresh, &buckets) as i64;
                }
            }
        }
        Ok(verified)
    }

    /// Compares the rows in these buckets one by one.
    async fn name(
        &self,
        Summed { table, source, shape, .. }: &Summed,
        buckets: &BTreeSet<usize>,
        rows: &mut Memory,
        state: &RandomState,
        verified: &mut Verified,
        connection: &mut PgConnection,
    ) -> Result<(), RebuildError> {
        let mut hashes = Hashes::new();
        table.each(rows, &mut |row| {
            let values = shape.fresh(&row);
            if buckets.contains(&shape.bucket(&values)) {
                hashes.insert(shape.key(&values), canonical::hash(&values, state));
            }
        });
        let (of, buckets, state) = (shape.clone(), buckets.clone(), state.clone());
        let strike_out = move |(hashes, differing): &mut (Hashes, BTreeSet<_>), values: Values<'_>| {
            if buckets.contains(&of.bucket(&values)) {
                let key = of.key(&values);
                if hashes.remove(&key) != Some(canonical::hash(&values, &state)) {
                    differing.insert(key);
                }
            }
        };
        let compared = each_stored(shape, source, connection, (hashes, BTreeSet::new()), strike_out).await?;
        let (hashes, mut differing) = compared;
        differing.extend(hashes.into_keys());
        let mut expected: HashMap<Vec<String>, Value> = HashMap::new();
        table.each(rows, &mut |row| {
            let key = shape.key(&shape.fresh(&row));
            if differing.contains(&key) {
                expected.insert(key, row.into());
            }
        });
        let differing: Vec<Vec<String>> = differing.into_iter().collect();
        for keys in differing.chunks(KEYS) {
            if verified.names_enough(table) {
                verified.different += keys.len() as i64;
                continue;
            }
            let expected = keys.iter().filter_map(|key| expected.remove(key)).collect();
            self.tell_apart(table, (source, shape), keys, &Value::Array(expected), verified, connection).await?;
        }
        Ok(())
    }

    /// Lets PostgreSQL compare the rows of these keys.
    async fn tell_apart(
        &self,
        table: &Table,
        (source, shape): (&str, &Shape),
        keys: &[Vec<String>],
        expected: &Value,
        verified: &mut Verified,
        connection: &mut PgConnection,
    ) -> Result<(), sqlx::Error> {
        let key = shape.key_columns();
        let arrays: Vec<String> = (1..=key.len()).map(|number| format!("${number}")).collect();
        let (columns, made, last) = (shape.columns(), self.target.table(table), key.len() + 1);
        let stored = format!("select t.* from {source} t join {} on {}", unnest(&arrays, &key), same(&key));
        let statement = differences(
            table,
            &format!("select {columns} from ({stored}) t"),
            &format!("select {columns} from jsonb_populate_recordset(null::{made}, ${last})"),
        );
        let column = |place: usize| keys.iter().map(|key| key[place].as_str()).collect::<Vec<_>>();
        let query = (0..key.len()).fold(sqlx::query_as(&statement), |query, place| query.bind(column(place)));
        verified.enter(table, query.bind(expected).fetch_all(connection).await?);
        Ok(())
    }
}

/// How many rows differ in all, and of one of them its key, what is stored and what was expected.
type Told = (i64, Value, Option<Value>, Option<Value>);

impl Verified {
    fn names_enough(&self, table: &Table) -> bool {
        self.different >= EXAMINED && self.known(table) >= TOLD
    }

    fn known(&self, table: &Table) -> usize {
        self.differences.iter().filter(|difference| difference.table == table.name()).count()
    }

    /// Enters what a comparison of some rows of a table has told.
    fn enter(&mut self, table: &Table, told: Vec<Told>) {
        self.different += told.first().map_or(0, |(different, ..)| *different);
        let told = told.into_iter().take(TOLD.saturating_sub(self.known(table)));
        let difference = |(_, key, stored, expected)| Difference { table: table.name(), key, stored, expected };
        self.differences.extend(told.map(difference));
    }
}

/// Compares a build with another one of the same projection at the same position. `live` is in a snapshot in which the
/// other one stands there, and is at its end afterwards. Tables and columns that only one of them has, or has so, are left out.
pub(in crate::engine) async fn compare(
    (new, connection): (&Target, &mut PgConnection),
    (other, live): (&Build, &mut PgConnection),
) -> Result<Verified, sqlx::Error> {
    let (name, build, version, position) = (new.definition.name, other.build, other.version, other.position);
    let mut verified =
        Verified { name, build, version, position, rows: 0, different: 0, differences: Vec::new(), portions: 1 };
    let mut suspect = Vec::new();
    let both = |table: &&Table| other.tables.iter().any(|name| name == table.name());
    for table in new.definition.tables.iter().filter(both) {
        let theirs: BTreeSet<Column> = column::columns(&other.table(table.name()), live).await?.into_iter().collect();
        let ours = column::columns(&new.table(table), connection).await?;
        let columns: Vec<String> =
            ours.into_iter().filter(|column| theirs.contains(column)).map(|column| column.name).collect();
        if !table.key().iter().all(|key| columns.iter().any(|column| column == key)) {
            continue;
        }
        let found = sums(&other.table(table.name()), &columns, table, live).await?;
        verified.rows += found.values().map(|(rows, _)| rows).sum::<i64>();
        let buckets = differing(&found, &sums(&new.table(table), &columns, table, connection).await?);
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
        let statement = differences(&table, &stored, &expected);
        verified.enter(&table, sqlx::query_as(&statement).bind(&buckets).fetch_all(&mut *live).await?);
    }
    Ok(verified)
}

/// Rows and the sum of their hashes, by bucket, as PostgreSQL has summed them up.
type Buckets = BTreeMap<i64, (i64, Decimal)>;

fn differing(one: &Buckets, other: &Buckets) -> Vec<i64> {
    let buckets: BTreeSet<i64> = one.keys().chain(other.keys()).copied().collect();
    buckets.into_iter().filter(|bucket| one.get(bucket) != other.get(bucket)).collect()
}

/// The bucket of a row `t`, by the first column of its key.
fn bucket(table: &Table) -> String {
    format!("(hashtextextended(t.{}::text, 0) & 1023)", table.key()[0])
}

/// The sums of rows that a table has.
async fn sums(
    source: &str,
    columns: &[String],
    table: &Table,
    connection: &mut PgConnection,
) -> Result<Buckets, sqlx::Error> {
    let columns: Vec<String> = columns.iter().map(|column| format!("t.{column}")).collect();
    let statement = format!(
        "select {} as bucket, count(*), sum(hash_record_extended(row({}), 0)) from {source} t group by 1",
        bucket(table),
        columns.join(", ")
    );
    let sums: Vec<(i64, i64, Decimal)> = sqlx::query_as(&statement).fetch_all(connection).await?;
    Ok(sums.into_iter().map(|(bucket, rows, sum)| (bucket, (rows, sum))).collect())
}

/// The stored rows with this first key column that are not the expected ones, a JSON list.
pub(in crate::engine) async fn rows_of_key(
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

/// The rows of a table in which the answers of two queries differ. A table that has lost its key may have a row twice, and
/// then the second one is one too many.
fn differences(table: &Table, stored: &str, expected: &str) -> String {
    let (first, key) = (table.key()[0], table.key().join(", "));
    let pairs: Vec<String> =
        table.key().iter().map(|column| format!("'{column}', coalesce(s.{column}, e.{column})")).collect();
    format!(
        "select count(*) over (), jsonb_build_object({}),
             case when s.{first} is not null then to_jsonb(s) - 'occurrence' end,
             case when e.{first} is not null then to_jsonb(e) - 'occurrence' end
         from (select t.*, row_number() over (partition by {key}) as occurrence from ({stored}) t) s
         full join (select t.*, 1::bigint as occurrence from ({expected}) t) e using ({key}, occurrence)
         where row(s.*) is distinct from row(e.*)
         order by {key}
         limit {TOLD}",
        pairs.join(", ")
    )
}
