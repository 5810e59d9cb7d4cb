//! Granting and revoking discounts.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{Answer, OperationRejection, Refusal, answer};
use crate::{
    domain::{
        Discount, DiscountId,
        discount::{Audience, DiscountsCommand, Grant, Scope, Value},
    },
    state::UnitOfWork,
    terms::calendar::is_recordable,
};

#[derive(Clone, Debug)]
pub struct GrantDiscount {
    pub audience: Audience,
    pub name: String,
    pub scope: Scope,
    pub value: Value,
    pub priority: i32,
    pub valid_from: Option<DateTime<Utc>>,
    pub valid_until: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug)]
pub struct RevokeDiscount {
    pub audience: Audience,
    pub discount: DiscountId,
}

impl GrantDiscount {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        if let Audience::Customer(customer) = &self.audience {
            books.get(customer).groups()?;
        }
        if ![self.valid_from, self.valid_until].into_iter().flatten().all(is_recordable) {
            return Err(OperationRejection::DateOutOfRange.into());
        }
        let discount = books.new_id::<Discount>();
        let stream = self.audience.id().map_err(OperationRejection::from)?;
        let Self { audience, name, scope, value, priority, valid_from, valid_until } = self.clone();
        let grant =
            Grant { discount: discount.clone(), audience, name, scope, value, priority, valid_from, valid_until };
        books.execute(&stream, DiscountsCommand::Grant(Box::new(grant)))?;
        Ok(answer(json!({ "id": discount })))
    }
}

impl RevokeDiscount {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let stream = self.audience.id().map_err(OperationRejection::from)?;
        books.execute(&stream, DiscountsCommand::Revoke { discount: self.discount.clone() })?;
        Ok(answer(json!({ "id": self.discount })))
    }
}
