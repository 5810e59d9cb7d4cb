//! Payers of a customer: documents issued before a change keep the payer as it was.

use serde_json::json;

use super::{Answer, Refusal, answer};
use crate::{
    domain::{
        Payer, PayerId,
        payer::{PayerChange, PayerCommand, Profile},
    },
    state::UnitOfWork,
};

#[derive(Clone, Debug)]
pub struct ChangePayer {
    pub payer: PayerId,
    /// All of them, or none if one is refused.
    pub changes: Vec<PayerChange>,
}

impl Profile {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.get(&self.customer).groups()?;
        let payer = books.new_id::<Payer>();
        books.execute(&payer, PayerCommand::Create(self.clone()))?;
        Ok(answer(json!({ "id": payer })))
    }
}

impl ChangePayer {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        for change in &self.changes {
            books.execute(&self.payer, PayerCommand::Change(change.clone()))?;
        }
        Ok(answer(json!({ "id": self.payer })))
    }
}
