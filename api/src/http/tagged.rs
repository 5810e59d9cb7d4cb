//! What something is of or for, in the shape in which commands name it.

use serde::{Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;

use crate::http::wire::{CreditNoteRef, ExpenseRef, InvoiceRef, PaymentRef, RefundRef, TransferRef};

/// A word and the identifier that belongs to it, from the columns of a row: `{"invoice": "inv_1"}`, and the word alone
/// where nothing is named. The field that holds it says by `value_type` which words there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    pub word: String,
    pub id: Option<String>,
}

impl Tagged {
    pub fn of(word: String, id: Option<String>) -> Self {
        Self { word, id }
    }
}

impl Serialize for Tagged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.id {
            None => serializer.serialize_str(&self.word),
            Some(id) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(&self.word, id)?;
                map.end()
            }
        }
    }
}

/// What brought an entry to the account, or what it charges.
#[derive(ToSchema)]
#[schema(as = EntryOrigin, rename_all = "snake_case")]
#[schema(examples(json!({ "invoice": "inv_01JD8Z2Q4Y0000000000000001" }), "adjustment"))]
#[expect(dead_code, reason = "rows hold it as columns; this describes it")]
pub enum Origin {
    Payment(PaymentRef),
    Invoice(InvoiceRef),
    CreditNote(CreditNoteRef),
    Expense(ExpenseRef),
    Refund(RefundRef),
    Transfer(TransferRef),
    Adjustment,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_read_as_it_is_posted() {
        let shown = |word: &str, id: Option<&str>| json!(Tagged::of(word.into(), id.map(str::to_owned)));
        assert_eq!(shown("advance", None), json!("advance"));
        assert_eq!(shown("order", Some("ord_1")), json!({ "order": "ord_1" }));
    }
}
