//! Whose a thing is, by its identifier alone: the owner rules read from the row to its customers, for the access log.
//!
//! A table whose key is one `id` says how its identifiers begin (`Row::PREFIX`), and is asked for those alone. A noun that is
//! added later needs nothing here.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use crate::engine::{
    Definition, latest,
    read::{snapshot::Reader, viewer::Owner},
    table::Table,
};

/// So many customers at most own one thing by themselves. What more of them share, such as a discount of a large group, is
/// in the area of none of them.
const MOST: usize = 100;

/// Whose something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    pub customers: BTreeSet<String>,
    /// Whether there is a row of that identifier at all.
    pub is_there: bool,
    /// Whether the rows say all of it. They do not if there is no row of that identifier, or if it names another row that is
    /// not there: a projection may be behind. Of an identifier that no row can have, nothing more will be known.
    pub is_known: bool,
}

impl Reader {
    /// The customers whose thing it is. What the one who asks may see does not matter here.
    pub async fn owners(&self, id: &str) -> Result<Owners, sqlx::Error> {
        let mut connection = self.pool().acquire().await?;
        owners(self.board(), id, &mut connection).await
    }

    /// The projections that have something to say of whose a thing is.
    pub fn knowing_owners(&self) -> Vec<&'static str> {
        let definitions = latest(self.board()).into_iter();
        definitions.filter(|definition| things(definition).next().is_some()).map(|definition| definition.name).collect()
    }
}

/// The tables whose rows are found by an identifier.
fn things(definition: &Definition) -> impl Iterator<Item = &'static Table> + use<> {
    definition.tables.iter().filter(|table| table.prefix().is_some())
}

async fn owners(board: &[Definition], id: &str, connection: &mut PgConnection) -> Result<Owners, sqlx::Error> {
    let prefix = id.split_once('_').map(|(prefix, _)| prefix);
    let Some(query) = prefix.and_then(|prefix| query(board, prefix)) else {
        // Such as the team of a customer, which is named by it.
        let customers: BTreeSet<String> = id.find("cus_").map(|at| id[at..].to_owned()).into_iter().collect();
        return Ok(Owners { is_there: !customers.is_empty(), is_known: true, customers });
    };
    let rows: Vec<(Option<String>, Option<bool>)> = sqlx::query_as(&query).bind(id).fetch_all(connection).await?;
    let is_there = !rows.is_empty();
    let is_known = is_there && rows.iter().all(|(_, is_missing)| *is_missing != Some(true));
    let mut customers: BTreeSet<String> = rows.into_iter().filter_map(|(customer, _)| customer).collect();
    if customers.len() > MOST {
        customers.clear();
    }
    Ok(Owners { customers, is_there, is_known })
}

/// A query of the rows of an identifier with this prefix. There is one text for each prefix, which a connection prepares
/// once. `None` if no row has such an identifier.
fn query(board: &[Definition], prefix: &str) -> Option<String> {
    let of_table = |table: &Table| {
        let name = table.name();
        format!(
            "(select owner.customer_id, owner.is_missing from {name}
              left join lateral ({}) as owner on true where {name}.id = $1 limit {})",
            rule(&table.owner(), name),
            MOST + 1,
        )
    };
    let definitions = latest(board);
    let asked = definitions.iter().flat_map(things).filter(|table| table.prefix() == Some(prefix));
    let tables: Vec<String> = asked.map(of_table).collect();
    (!tables.is_empty()).then(|| tables.join(" union all "))
}

/// A query of the customers whose a row is, and whether a row is missing that it leads to.
fn rule(owner: &Owner, row: &str) -> String {
    match owner {
        Owner::Customer(column) => format!("select {row}.{column} as customer_id, false as is_missing"),
        Owner::Account(column) => format!(
            "select accounts.customer_id, accounts.id is null as is_missing
             from (values ({row}.{column})) as asked (id) left join accounts on accounts.id = asked.id
             where asked.id is not null"
        ),
        Owner::Parent { column, table, key, owner } => format!(
            "select owner.customer_id, coalesce(owner.is_missing, {table}.{key} is null) as is_missing
             from (values ({row}.{column})) as asked (id) left join {table} on {table}.{key} = asked.id
             left join lateral ({}) as owner on true
             where asked.id is not null",
            rule(owner, table)
        ),
        Owner::AnyOf(owners) => owners.iter().map(|owner| rule(owner, row)).collect::<Vec<_>>().join(" union all "),
        Owner::Where { column, is, owner } => format!(
            "select owner.customer_id, owner.is_missing from ({}) as owner where {row}.{column} = '{is}'",
            rule(owner, row)
        ),
        Owner::Everybody | Owner::Nobody => "select null::text as customer_id, null::boolean as is_missing".into(),
    }
}
