//! Closing a period of the books.

use chrono::NaiveDate;
use serde_json::json;

use super::{Answer, Refusal, answer};
use crate::{
    domain::{Books, books::BooksCommand},
    state::UnitOfWork,
};

/// Closes all that took effect up to the end of a day.
#[derive(Clone, Debug)]
pub struct ClosePeriod {
    /// The last day that is closed.
    pub through: NaiveDate,
    /// IANA name; the day ends at midnight there.
    pub time_zone: String,
}

impl ClosePeriod {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let Self { through, time_zone } = self.clone();
        let at = books.context().occurred_at;
        books.execute(&Books::id(), BooksCommand::Close { through, time_zone, at })?;
        let open_from = books.get(&Books::id()).open_from;
        Ok(answer(json!({ "through": self.through, "time_zone": self.time_zone, "open_from": open_from })))
    }
}
