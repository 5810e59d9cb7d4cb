//! Payers of a customer: documents issued before a change keep the payer as it was.

use serde_json::json;

use super::{Answer, Refusal, answer};
use crate::{
    domain::{
        CustomerId, Payer, PayerId,
        payer::{Address, PayerCommand, PayerKind},
    },
    writer::UnitOfWork,
};

#[derive(Clone, Debug)]
pub struct CreatePayer {
    pub customer: CustomerId,
    pub kind: PayerKind,
    pub name: String,
    pub address: Address,
    pub tax_number: Option<String>,
}

#[derive(Clone, Debug)]
pub struct ChangePayer {
    pub payer: PayerId,
    pub change: PayerChange,
}

#[derive(Clone, Debug)]
pub enum PayerChange {
    Rename { name: String },
    Move { address: Address },
    ChangeTaxNumber { tax_number: Option<String> },
    Deactivate,
}

impl CreatePayer {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.get(&self.customer).groups()?;
        let payer = books.new_id::<Payer>();
        let Self { customer, kind, name, address, tax_number } = self.clone();
        books.execute(&payer, PayerCommand::Create { customer, kind, name, address, tax_number })?;
        Ok(answer(json!({ "id": payer })))
    }
}

impl ChangePayer {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let command = match self.change.clone() {
            PayerChange::Rename { name } => PayerCommand::Rename { name },
            PayerChange::Move { address } => PayerCommand::Move { address },
            PayerChange::ChangeTaxNumber { tax_number } => PayerCommand::ChangeTaxNumber { tax_number },
            PayerChange::Deactivate => PayerCommand::Deactivate,
        };
        books.execute(&self.payer, command)?;
        Ok(answer(json!({ "id": self.payer })))
    }
}
