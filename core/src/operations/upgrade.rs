//! What a ledger of an earlier version lacks, appended once (`crate::upgrade`). Each does nothing where nothing is lacking.

use serde_json::json;

use super::{Answer, Refusal, answer, payment::in_small_letters};
use crate::{
    domain::{
        Payment, PaymentId,
        number_series::{DocumentKind, NumberSeriesCommand, NumberSeriesRejection, series_of},
        payment::{PaymentCommand, PaymentRejection},
    },
    state::UnitOfWork,
};

/// A document was given its number before such numbers were reserved.
#[derive(Clone, Debug)]
pub struct KeepNumber {
    pub kind: DocumentKind,
    pub number: String,
    pub document: String,
}

/// A payment has its stream under the name of a gateway that was spelt with capitals, before spellings were one.
#[derive(Clone, Debug)]
pub struct FoldGateway {
    pub payment: PaymentId,
}

impl KeepNumber {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let reserved = match series_of(self.kind, &self.number) {
            // Nobody can give such a number any more.
            Err(_) => false,
            Ok((series, number)) => {
                let (kind, document) = (self.kind, self.document.clone());
                match books.execute(&series, NumberSeriesCommand::Reserve { number, kind, document }) {
                    Ok(()) => true,
                    Err(NumberSeriesRejection::NumberTaken) => false,
                    Err(rejection) => return Err(rejection.into()),
                }
            }
        };
        Ok(answer(json!({ "number": self.number, "reserved": reserved })))
    }
}

impl FoldGateway {
    pub(super) fn decide(&self, books: &mut UnitOfWork<'_>) -> Result<Answer, Refusal> {
        let payment = match books.get(&self.payment) {
            Payment::Unknown => return Err(PaymentRejection::NotStarted.into()),
            Payment::Started(_) => self.payment.clone(),
            Payment::AssignedTo(ours) => ours.clone(),
        };
        let folded = in_small_letters(&self.payment);
        let assigned = *books.get(&folded) == Payment::Unknown;
        if assigned {
            books.execute(&folded, PaymentCommand::AssignTo { payment: payment.clone() })?;
        }
        Ok(answer(json!({ "id": folded, "payment": payment, "assigned": assigned })))
    }
}
