//! Which rows are asked for: conditions on columns, each with its values.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::{Postgres, QueryBuilder};

/// The rows that a question chooses. Each condition must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen(Vec<Condition>);

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    test: Test,
    /// Whether a row that meets it always has and always will. Such a condition also chooses among the rows of now those
    /// that a listing of the past has to look at.
    lasting: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equal(&'static str, Value),
    AtLeast(&'static str, Value),
    AtMost(&'static str, Value),
    Below(&'static str, Value),
    /// In upper or lower case.
    Contains(&'static str, Value),
    /// Pieces of SQL, with a value in each gap between two of them.
    Where(Vec<&'static str>, Vec<Value>),
}

/// What a column is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Texts(Vec<String>),
    Truth(bool),
    Time(DateTime<Utc>),
    Day(NaiveDate),
    Number(Decimal),
}

impl Chosen {
    /// The column has this value, if one is asked for. The column of a row never changes.
    pub fn lasting<V: Into<Value>>(self, column: &'static str, value: Option<V>) -> Self {
        self.equal(column, value, true)
    }

    /// The column has this value now, if one is asked for.
    pub fn now<V: Into<Value>>(self, column: &'static str, value: Option<V>) -> Self {
        self.equal(column, value, false)
    }

    /// The column, which never changes in a row, is not less than the one, and less than the other, where these are asked for.
    pub fn lasting_within<V: Into<Value>>(self, column: &'static str, from: Option<V>, to: Option<V>) -> Self {
        let from = from.map(|from| Test::AtLeast(column, from.into()));
        let to = to.map(|to| Test::Below(column, to.into()));
        from.into_iter().chain(to).fold(self, |chosen, test| chosen.and(test, true))
    }

    /// The amount is not less than the one, and no more than the other, where these are asked for.
    pub fn amount_within(self, column: &'static str, from: Option<Decimal>, to: Option<Decimal>) -> Self {
        let from = from.map(|from| Test::AtLeast(column, from.into()));
        let to = to.map(|to| Test::AtMost(column, to.into()));
        from.into_iter().chain(to).fold(self, |chosen, test| chosen.and(test, false))
    }

    /// The column contains this text now, if one is asked for, whether in upper or in lower case.
    pub fn containing(self, column: &'static str, text: Option<String>) -> Self {
        match text {
            None => self,
            Some(text) => self.and(Test::Contains(column, text.into()), false),
        }
    }

    /// SQL that never becomes true or false of a row: pieces with a value in each gap between two of them.
    pub fn lasting_where(self, pieces: Vec<&'static str>, values: Vec<Value>) -> Self {
        self.and(Test::Where(pieces, values), true)
    }

    /// SQL that is true of the row now.
    pub fn now_where(self, pieces: Vec<&'static str>, values: Vec<Value>) -> Self {
        self.and(Test::Where(pieces, values), false)
    }

    fn equal<V: Into<Value>>(self, column: &'static str, value: Option<V>, lasting: bool) -> Self {
        match value {
            None => self,
            Some(value) => self.and(Test::Equal(column, value.into()), lasting),
        }
    }

    fn and(mut self, test: Test, lasting: bool) -> Self {
        self.0.push(Condition { test, lasting });
        self
    }

    /// Adds ` and …` for each condition.
    pub(crate) fn push(&self, query: &mut QueryBuilder<'_, Postgres>) {
        self.0.iter().for_each(|condition| condition.push(query));
    }

    /// Adds ` and …` for each condition that lasts.
    pub(in crate::engine) fn push_lasting(&self, query: &mut QueryBuilder<'_, Postgres>) {
        self.0.iter().filter(|condition| condition.lasting).for_each(|condition| condition.push(query));
    }
}

impl Condition {
    fn push(&self, query: &mut QueryBuilder<'_, Postgres>) {
        query.push(" and ");
        let mut compare = |column: &str, comparison: &str, value: &Value| {
            query.push(column).push(comparison);
            value.push(query);
        };
        match &self.test {
            Test::Equal(column, value) => compare(column, " = ", value),
            Test::AtLeast(column, value) => compare(column, " >= ", value),
            Test::AtMost(column, value) => compare(column, " <= ", value),
            Test::Below(column, value) => compare(column, " < ", value),
            Test::Contains(column, value) => {
                query.push(format_args!("strpos(lower({column}), lower("));
                value.push(query);
                query.push(")) > 0");
            }
            Test::Where(pieces, values) => {
                let mut values = values.iter();
                for piece in pieces {
                    query.push(*piece);
                    if let Some(value) = values.next() {
                        value.push(query);
                    }
                }
            }
        }
    }
}

impl Value {
    fn push(&self, query: &mut QueryBuilder<'_, Postgres>) {
        match self {
            Self::Text(text) => query.push_bind(text.clone()),
            Self::Texts(texts) => query.push_bind(texts.clone()),
            Self::Truth(truth) => query.push_bind(*truth),
            Self::Time(time) => query.push_bind(*time),
            Self::Day(day) => query.push_bind(*day),
            Self::Number(number) => query.push_bind(*number),
        };
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<DateTime<Utc>> for Value {
    fn from(time: DateTime<Utc>) -> Self {
        Self::Time(time)
    }
}

impl From<NaiveDate> for Value {
    fn from(day: NaiveDate) -> Self {
        Self::Day(day)
    }
}

impl From<Decimal> for Value {
    fn from(number: Decimal) -> Self {
        Self::Number(number)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}
