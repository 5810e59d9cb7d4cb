//! Customers and the groups they are in.

use serde_json::json;

use super::{Answer, Refusal, answer};
use crate::{
    domain::{
        Customer, CustomerId,
        customer::{CustomerCommand, Registration},
    },
    state::UnitOfWork,
};

#[derive(Clone, Debug)]
pub struct JoinGroup {
    pub customer: CustomerId,
    pub group: String,
}

#[derive(Clone, Debug)]
pub struct LeaveGroup {
    pub customer: CustomerId,
    pub group: String,
}

impl Registration {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let customer = books.new_id::<Customer>();
        books.execute(&customer, CustomerCommand::Register(self.clone()))?;
        Ok(answer(json!({ "id": customer })))
    }
}

impl JoinGroup {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.execute(&self.customer, CustomerCommand::JoinGroup { group: self.group.clone() })?;
        Ok(answer(json!({ "id": self.customer, "group": self.group })))
    }
}

impl LeaveGroup {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        books.execute(&self.customer, CustomerCommand::LeaveGroup { group: self.group.clone() })?;
        Ok(answer(json!({ "id": self.customer, "group": self.group })))
    }
}
