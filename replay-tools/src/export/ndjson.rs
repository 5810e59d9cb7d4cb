//! The journal as JSON, one object a line: the book, its accounts, its transactions, the closing balances.

use std::io::{self, Write};

use chrono::NaiveDate;
use serde_json::{Value, json};

use super::{Book, Declared, Format, Posting, Transaction, exact, instant};

pub(super) struct Ndjson;

impl Format for Ndjson {
    fn begin(&self, out: &mut dyn Write, book: &Book) -> io::Result<()> {
        let Book { position, account, from, to, .. } = book;
        line(out, &json!({ "type": "book", "position": position, "account": account, "from": from, "to": to }))
    }

    fn account(&self, out: &mut dyn Write, account: &Declared) -> io::Result<()> {
        let object = json!({
            "type": "account",
            "ledger_account": account.account.ledger_account(),
            "account": account.account.wallet(),
            "name": account.name,
            "currencies": account.currencies,
            "first_day": account.first_day,
        });
        line(out, &object)
    }

    fn transaction(&self, out: &mut dyn Write, transaction: &Transaction) -> io::Result<()> {
        let postings: Vec<Value> = transaction.postings.iter().map(money).collect();
        let mut object = json!({
            "type": if transaction.entry.is_some() { "transaction" } else { "opening" },
            "date": transaction.day,
            "description": transaction.description,
            "postings": postings,
        });
        if let (Some(entry), Some(members)) = (&transaction.entry, object.as_object_mut()) {
            members.insert("position".into(), entry.position.into());
            members.insert("event".into(), entry.event_type.as_str().into());
            members.insert("aggregate_type".into(), entry.aggregate_type.as_str().into());
            members.insert("aggregate_id".into(), entry.aggregate_id.as_str().into());
            members.insert("entry".into(), entry.number.into());
            members.insert("origin".into(), entry.origin.as_deref().into());
            members.insert("origin_id".into(), entry.origin_id.as_deref().into());
            members.insert("occurred_at".into(), instant(entry.occurred_at).into());
            members.insert("recorded_at".into(), instant(entry.recorded_at).into());
            members.insert("correlation_id".into(), entry.correlation_id.as_deref().into());
        }
        line(out, &object)
    }

    fn closing(&self, out: &mut dyn Write, on: NaiveDate, posting: &Posting) -> io::Result<()> {
        let mut object = money(posting);
        if let Some(members) = object.as_object_mut() {
            members.remove("amount");
            members.insert("type".into(), "closing".into());
            members.insert("date".into(), on.to_string().into());
        }
        line(out, &object)
    }
}

fn money(line: &Posting) -> Value {
    json!({
        "ledger_account": line.account.ledger_account(),
        "account": line.account.wallet(),
        "amount": exact(line.amount, line.currency),
        "balance": exact(line.balance, line.currency),
        "currency": line.currency,
    })
}

fn line(out: &mut dyn Write, object: &Value) -> io::Result<()> {
    writeln!(out, "{object}")
}
