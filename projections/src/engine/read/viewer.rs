//! Whose rows are, and who may see them.
//!
//! There are two walls. The first is the condition that a viewer adds to each query. The second is PostgreSQL: what a
//! customer reads goes through views that know nothing of the query (`wall.rs`). Both are written from the same rule.

use sqlx::{Postgres, QueryBuilder};

use crate::engine::{read::wall, row::Row};

/// How the rows of a table say whose they are.
#[derive(Clone, Copy, Debug)]
pub enum Owner {
    /// The column has the customer.
    Customer(&'static str),
    /// The column has the account, and an account never changes its customer.
    Account(&'static str),
    /// The column has the key of a row of another table, and the row is whose that one is.
    Parent { column: &'static str, table: &'static str, key: &'static str, owner: &'static Owner },
    /// Whose any of these says.
    AnyOf(&'static [Owner]),
    /// Whose the owner says, where the column has this value.
    Where { column: &'static str, is: &'static str, owner: &'static Owner },
    /// Every customer may see them.
    Everybody,
    /// They are no customer's; only who sees everything sees them.
    Nobody,
}

/// Who reads, and what they may see.
///
/// There is no default, since one that sees everything is not to be had by an oversight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// Sees everything.
    Provider,
    /// Sees what is of some customers.
    Customer(Own),
}

/// The customers whose rows a viewer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    customers: Vec<String>,
    /// Of these customers. A snapshot brings them along; before it there are none.
    accounts: Vec<String>,
    walls: Walls,
}

/// What keeps a viewer from the rows of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Walls {
    Both,
    First,
    Second,
}

impl Owner {
    /// As the row of this type, whose key the column has.
    pub const fn parent<R: Row>(column: &'static str) -> Self {
        Self::Parent { column, table: R::TABLE, key: R::KEY[0], owner: &R::OWNER }
    }

    /// Writes the condition that a row, which SQL calls by the name of its table, is the viewer's.
    pub(in crate::engine) fn write(&self, row: &str, to: &mut impl Condition) {
        match self {
            Self::Customer(column) => to.of_customers(&format!("{row}.{column}")),
            Self::Account(column) => to.of_accounts(&format!("{row}.{column}")),
            Self::Parent { column, table, key, owner } => match to.parent(table) {
                Parent::Open(relation) => {
                    to.sql(&format!(
                        "exists (select from {relation} as {table} where {table}.{key} = {row}.{column} and "
                    ));
                    owner.write(table, to);
                    to.sql(")");
                }
                Parent::Walled(relation) => {
                    to.sql(&format!("exists (select from {relation} as {table} where {table}.{key} = {row}.{column})"));
                }
                Parent::Missing => to.sql("false"),
            },
            Self::AnyOf(owners) => {
                to.sql("(false");
                for owner in *owners {
                    to.sql(" or ");
                    owner.write(row, to);
                }
                to.sql(")");
            }
            Self::Where { column, is, owner } => {
                to.sql(&format!("({row}.{column} = '{is}' and "));
                owner.write(row, to);
                to.sql(")");
            }
            Self::Everybody => to.sql("true"),
            Self::Nobody => to.sql("false"),
        }
    }

    /// The tables whose rows are asked, beside the own one.
    pub fn parents(&self) -> Vec<&'static str> {
        match self {
            Self::Parent { table, owner, .. } => [vec![*table], owner.parents()].concat(),
            Self::AnyOf(owners) => owners.iter().flat_map(Self::parents).collect(),
            Self::Where { owner, .. } => owner.parents(),
            Self::Customer(_) | Self::Account(_) | Self::Everybody | Self::Nobody => Vec::new(),
        }
    }

    /// The columns of the row itself that say whose it is.
    pub(in crate::engine) fn columns(&self) -> Vec<&'static str> {
        match self {
            Self::Customer(column) | Self::Account(column) | Self::Parent { column, .. } => vec![*column],
            Self::AnyOf(owners) => owners.iter().flat_map(Self::columns).collect(),
            Self::Where { column, owner, .. } => [vec![*column], owner.columns()].concat(),
            Self::Everybody | Self::Nobody => Vec::new(),
        }
    }

    /// Whether no customer sees any of the rows.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }
}

/// Where a condition is written to.
pub(in crate::engine) trait Condition {
    fn sql(&mut self, sql: &str);
    /// That the column has one of the customers.
    fn of_customers(&mut self, column: &str);
    /// That the column has one of their accounts.
    fn of_accounts(&mut self, column: &str);
    /// Where the rows of another table are found.
    fn parent(&self, table: &'static str) -> Parent;
}

/// Where the rows of another table are found.
#[derive(Debug)]
pub(in crate::engine) enum Parent {
    /// All of them, so that the condition has to say which of them count.
    Open(String),
    /// Only those of the viewer.
    Walled(String),
    Missing,
}

/// The first wall: the condition of a query, with the customers and accounts as its parameters.
struct Asked<'a, 'q> {
    own: &'a Own,
    relation: &'a dyn Fn(&'static str) -> String,
    query: &'a mut QueryBuilder<'q, Postgres>,
}

impl Condition for Asked<'_, '_> {
    fn sql(&mut self, sql: &str) {
        self.query.push(sql);
    }

    fn of_customers(&mut self, column: &str) {
        self.query.push(column).push(" = any(").push_bind(self.own.customers.clone()).push(")");
    }

    fn of_accounts(&mut self, column: &str) {
        self.query.push(column).push(" = any(").push_bind(self.own.accounts.clone()).push(")");
    }

    fn parent(&self, table: &'static str) -> Parent {
        Parent::Open((self.relation)(table))
    }
}

impl Viewer {
    /// A viewer who sees what is of these customers: of one, and of those merged into it.
    pub fn of_customers(customers: impl IntoIterator<Item = String>) -> Self {
        Self::behind(Walls::Both, customers)
    }

    /// For the tests of each wall without the other.
    #[doc(hidden)]
    pub fn behind(walls: Walls, customers: impl IntoIterator<Item = String>) -> Self {
        // They are told to PostgreSQL as one text.
        let is_identifier = |id: &String| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let customers = customers.into_iter().filter(|id| !id.is_empty() && is_identifier(id)).collect();
        Self::Customer(Own { customers, accounts: Vec::new(), walls })
    }

    /// Adds ` and …`, so that a query of this table chooses what the viewer may see.
    pub(crate) fn push(&self, table: &str, owner: &Owner, query: &mut QueryBuilder<'_, Postgres>) {
        self.push_over(table, owner, &str::to_owned, query);
    }

    /// The same, where the rows of another table are in the relation that is named for it.
    pub(in crate::engine) fn push_over(
        &self,
        table: &str,
        owner: &Owner,
        relation: &dyn Fn(&'static str) -> String,
        query: &mut QueryBuilder<'_, Postgres>,
    ) {
        let Self::Customer(own) = self else { return };
        if own.walls != Walls::Second {
            query.push(" and ");
            owner.write(table, &mut Asked { own, relation, query });
        }
    }

    /// Adds ` and …` to a query that PostgreSQL does not hold behind the second wall, so that it chooses no more than that
    /// would show. `row` is what the query calls the table, and the rows of another table are in the relation that is named
    /// for it.
    pub(in crate::engine) fn push_wall(
        &self,
        row: &str,
        owner: &Owner,
        relation: &dyn Fn(&'static str) -> String,
        query: &mut QueryBuilder<'_, Postgres>,
    ) {
        if self.is_walled() {
            query.push(" and ").push(wall::condition(owner, row, |table| Parent::Open(relation(table))));
        }
    }

    /// Whether PostgreSQL keeps the viewer from the rows of others.
    pub(crate) fn is_walled(&self) -> bool {
        matches!(self, Self::Customer(own) if own.walls != Walls::First)
    }

    /// The customers that a transaction is told; `None` if it is told nothing.
    pub(in crate::engine) fn customers(&self) -> Option<&[String]> {
        match self {
            Self::Provider => None,
            Self::Customer(own) => Some(&own.customers),
        }
    }

    /// The same viewer, with the accounts that belong to these customers.
    pub(in crate::engine) fn with_accounts(&self, accounts: &str) -> Self {
        match self {
            Self::Provider => Self::Provider,
            Self::Customer(own) => {
                let accounts = accounts.split(',').filter(|account| !account.is_empty()).map(String::from).collect();
                Self::Customer(Own { accounts, ..own.clone() })
            }
        }
    }
}
