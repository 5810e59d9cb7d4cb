//! In which order the rows of a listing go, and where in it a page begins.
//!
//! Each order ends with the position of the event that made the row, so that no two rows have the same place. Rows that have
//! no value to sort by come last in both directions.

use sqlx::{Postgres, QueryBuilder, Row as _, postgres::PgRow};

/// What a listing can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// As a query names it: a member of what is shown.
    pub name: &'static str,
    column: &'static str,
    kind: Kind,
    is_nullable: bool,
    /// The filter with which an index has the rows in this order.
    pub indexed_within: Option<&'static str>,
}

/// What a column holds, as PostgreSQL has to compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Truth,
    Day,
    Moment,
    /// An amount, in the currency that the row's column `currency` names: amounts of different currencies have no order.
    Money,
}

/// The order of a listing: newest first, unless it is asked for otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowOrder {
    sort: Option<Sort>,
    is_descending: bool,
    /// Whether it is read from its end, for the page before one.
    is_backwards: bool,
}

/// Where a row stands in an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Of the event that made it.
    pub position: i64,
    /// What it is sorted by, as PostgreSQL writes it.
    pub values: Vec<Option<String>>,
}

impl Sort {
    pub const fn text(name: &'static str) -> Self {
        Self::of(name, Kind::Text)
    }

    pub const fn whole(name: &'static str) -> Self {
        Self::of(name, Kind::Whole)
    }

    pub const fn truth(name: &'static str) -> Self {
        Self::of(name, Kind::Truth)
    }

    pub const fn day(name: &'static str) -> Self {
        Self::of(name, Kind::Day)
    }

    pub const fn moment(name: &'static str) -> Self {
        Self::of(name, Kind::Moment)
    }

    /// By currency first.
    pub const fn money(name: &'static str) -> Self {
        Self::of(name, Kind::Money)
    }

    const fn of(name: &'static str, kind: Kind) -> Self {
        Self { name, column: name, kind, is_nullable: false, indexed_within: None }
    }

    /// The column has another name than the member.
    pub const fn from_column(self, column: &'static str) -> Self {
        Self { column, ..self }
    }

    /// Some rows have no value.
    pub const fn nullable(self) -> Self {
        Self { is_nullable: true, ..self }
    }

    /// With this filter an index has the rows in this order.
    pub const fn indexed_within(self, filter: &'static str) -> Self {
        Self { indexed_within: Some(filter), ..self }
    }

    /// Whether amounts are compared, which are in the order of their currencies first.
    pub fn is_of_money(&self) -> bool {
        self.kind == Kind::Money
    }

    /// The columns, each with its type.
    fn keys(&self) -> Vec<(&'static str, &'static str)> {
        let of = match self.kind {
            Kind::Text => "text",
            Kind::Whole => "bigint",
            Kind::Money => "numeric",
            Kind::Truth => "boolean",
            Kind::Day => "date",
            Kind::Moment => "timestamptz",
        };
        let currency = self.is_of_money().then_some(("currency", "text"));
        currency.into_iter().chain([(self.column, of)]).collect()
    }
}

impl Default for RowOrder {
    fn default() -> Self {
        Self::by(None, true)
    }
}

impl RowOrder {
    /// By position alone, if nothing else is named.
    pub fn by(sort: Option<Sort>, is_descending: bool) -> Self {
        Self { sort, is_descending, is_backwards: false }
    }

    pub fn backwards(self) -> Self {
        Self { is_backwards: !self.is_backwards, ..self }
    }

    /// Whether rows are read from the newest to the oldest.
    pub fn is_newest_first(&self) -> bool {
        self.sort.is_none() && self.goes_down()
    }

    fn goes_down(&self) -> bool {
        self.is_descending != self.is_backwards
    }

    fn keys(&self) -> Vec<(&'static str, &'static str)> {
        self.sort.as_ref().map(Sort::keys).unwrap_or_default()
    }

    /// Adds what tells the place of a row: columns behind a comma.
    pub(crate) fn push_columns(&self, query: &mut QueryBuilder<'_, Postgres>) {
        for (at, (column, _)) in self.keys().iter().enumerate() {
            query.push(format_args!(", ({column})::text as sorted_by_{at}"));
        }
    }

    /// The place of a row that was read with these columns.
    pub(crate) fn place(&self, row: &PgRow, position: i64) -> Result<Place, sqlx::Error> {
        let values = (0..self.keys().len()).map(|at| row.try_get(format!("sorted_by_{at}").as_str()));
        Ok(Place { position, values: values.collect::<Result<_, _>>()? })
    }

    /// Adds ` and …`: that a row comes after this place.
    pub(crate) fn push_after(&self, place: &Place, query: &mut QueryBuilder<'_, Postgres>) {
        let keys = self.keys();
        query.push(" and (");
        match (self.sort.filter(|sort| sort.is_nullable), place.values.last()) {
            (Some(sort), Some(None)) => {
                query.push(format_args!("({} is null and position {} ", sort.column, self.comparison()));
                query.push_bind(place.position).push(")");
                if self.is_backwards {
                    query.push(format_args!(" or {} is not null", sort.column));
                }
            }
            (nullable, _) => {
                let columns: String = keys.iter().map(|(column, _)| format!("{column}, ")).collect();
                query.push(format_args!("({columns}position) {} (", self.comparison()));
                for ((_, of), value) in keys.iter().zip(&place.values) {
                    query.push_bind(value.clone()).push(format_args!("::{of}, "));
                }
                query.push_bind(place.position).push(")");
                if let Some(sort) = nullable.filter(|_| !self.is_backwards) {
                    query.push(format_args!(" or {} is null", sort.column));
                }
            }
        }
        query.push(")");
    }

    fn comparison(&self) -> &'static str {
        if self.goes_down() { "<" } else { ">" }
    }

    /// Adds ` order by …`.
    pub(crate) fn push(&self, query: &mut QueryBuilder<'_, Postgres>) {
        let direction = if self.goes_down() { "desc" } else { "asc" };
        query.push(" order by ");
        for (column, _) in self.keys() {
            query.push(format_args!("{column} {direction}"));
            if self.sort.is_some_and(|sort| sort.is_nullable) {
                query.push(if self.is_backwards { " nulls first" } else { " nulls last" });
            }
            query.push(", ");
        }
        query.push(format_args!("position {direction}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(order: RowOrder, values: &[Option<&str>]) -> String {
        let mut query = QueryBuilder::new("");
        let values = values.iter().map(|value| value.map(str::to_owned)).collect();
        order.push_after(&Place { position: 7, values }, &mut query);
        order.push(&mut query);
        query.into_sql()
    }

    #[test]
    fn the_position_ends_each_order() {
        assert_eq!(written(RowOrder::default(), &[]), " and ((position) < ($1)) order by position desc");
        let total = RowOrder::by(Some(Sort::money("total")), false);
        let of_total = " and ((currency, total, position) > ($1::text, $2::numeric, $3)) \
                        order by currency asc, total asc, position asc";
        assert_eq!(written(total, &[Some("USD"), Some("1.00")]), of_total);
    }

    #[test]
    fn rows_without_a_value_come_last_in_both_directions_and_first_from_the_end() {
        let due = RowOrder::by(Some(Sort::day("due_on").nullable()), true);
        let after_a_day = " and ((due_on, position) < ($1::date, $2) or due_on is null) \
                           order by due_on desc nulls last, position desc";
        assert_eq!(written(due, &[Some("2024-01-01")]), after_a_day);
        let among_the_last = " and ((due_on is null and position < $1)) order by due_on desc nulls last, position desc";
        assert_eq!(written(due, &[None]), among_the_last);
        let before_a_day = " and ((due_on, position) > ($1::date, $2)) order by due_on asc nulls first, position asc";
        assert_eq!(written(due.backwards(), &[Some("2024-01-01")]), before_a_day);
        let before_the_last = " and ((due_on is null and position > $1) or due_on is not null) \
                               order by due_on asc nulls first, position asc";
        assert_eq!(written(due.backwards(), &[None]), before_the_last);
    }
}
