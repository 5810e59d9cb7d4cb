//! Whose rows are, and who may see them.
//!
//! This is one of two walls: the other are the rights of the roles in the database.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::engine::row::Row;

/// How the rows of a table say whose they are.
#[derive(Clone, Copy, Debug)]
pub enum Owner {
    /// The column has the customer.
    Customer(&'static str),
    /// The column has the account, and an account never changes its customer.
    Account(&'static str),
    /// The column has the key of a row of another table, and the row is whose that one is.
    Parent { column: &'static str, table: &'static str, key: &'static str, owner: &'static Owner },
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
    /// Sees what is theirs: of the customer and of those merged into it, whose accounts these are.
    Customer { customers: Vec<String>, accounts: Vec<String> },
}

impl Owner {
    /// As the row of this type, whose key the column has.
    pub const fn parent<R: Row>(column: &'static str) -> Self {
        Self::Parent { column, table: R::TABLE, key: R::KEY[0], owner: &R::OWNER }
    }
}

impl Viewer {
    /// A viewer who sees what is of these customers. Needs the projection of accounts in the same snapshot.
    pub async fn of_customers(customers: Vec<String>, connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let accounts = sqlx::query_scalar("select id from accounts where customer_id = any($1)")
            .bind(&customers)
            .fetch_all(connection)
            .await?;
        Ok(Self::Customer { customers, accounts })
    }

    /// Adds ` and …`, so that a query of this table chooses what the viewer may see.
    pub(crate) fn push(&self, table: &str, owner: &Owner, query: &mut QueryBuilder<'_, Postgres>) {
        let Self::Customer { customers, accounts } = self else { return };
        match owner {
            Owner::Customer(column) => {
                query.push(format_args!(" and {table}.{column} = any(")).push_bind(customers.clone()).push(")");
            }
            Owner::Account(column) => {
                query.push(format_args!(" and {table}.{column} = any(")).push_bind(accounts.clone()).push(")");
            }
            Owner::Parent { column, table: parent, key, owner } => {
                query.push(format_args!(" and exists (select from {parent} where {parent}.{key} = {table}.{column}"));
                self.push(parent, owner, query);
                query.push(")");
            }
            Owner::Nobody => {
                query.push(" and false");
            }
        }
    }
}
