//! The comparison of two books, event by event, in memory for the balances only.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use daybook_core::{
    Position,
    domain::posting::{LedgerAccount, Posting},
    store::{RawEvent, Upcasters},
};
use rust_decimal::Decimal;
use serde::Serialize;

use super::source::Events;
use crate::ToolError;

#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub equal: bool,
    pub a: Side,
    pub b: Side,
    pub first_difference: Option<FirstDifference>,
    /// Customers' accounts whose balances differ: what a customer has is positive, what he owes negative.
    pub accounts: Vec<Difference>,
    /// Accounts of the chart whose balances differ: a debit is positive.
    pub ledger_accounts: Vec<Difference>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Side {
    pub events: u64,
    /// The key of an archive, whose signature covers every event; what a database holds is not signed.
    pub key: Option<String>,
    /// Events that the other side has not, or has in another form.
    pub only_here: u64,
    /// The first event that this program cannot read.
    pub first_unreadable: Option<Position>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FirstDifference {
    pub position: Position,
    pub a: Option<EventShown>,
    pub b: Option<EventShown>,
}

#[derive(Debug, Serialize)]
pub(crate) struct EventShown {
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: u64,
    pub event_type: String,
    pub event_version: String,
    /// Byte for byte as it is stored.
    pub payload: String,
    pub metadata: String,
    pub recorded_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    pub account: String,
    pub currency: String,
    pub a: Decimal,
    pub b: Decimal,
    /// What B has more than A.
    pub by: Decimal,
}

/// What accounts come to on both sides, by account and currency.
type Balances = BTreeMap<(String, &'static str), [Decimal; 2]>;

#[derive(Default)]
struct Sums {
    accounts: Balances,
    ledger_accounts: Balances,
}

pub(crate) async fn compare(a: &mut Events, b: &mut Events, upcasters: &Upcasters) -> Result<Comparison, ToolError> {
    let side = |events: &Events| Side { key: events.key().map(ToString::to_string), ..Side::default() };
    let mut sides = [side(a), side(b)];
    let mut sums = Sums::default();
    let mut first_difference = None;
    loop {
        let pair = [a.next().await?, b.next().await?];
        let Some(position) = pair.iter().flatten().map(|event| event.position).min() else { break };
        let same = pair[0] == pair[1];
        for (number, event) in pair.iter().enumerate() {
            let Some(event) = event else { continue };
            sides[number].events += 1;
            sides[number].only_here += u64::from(!same);
            if sums.add(number, event, upcasters).is_none() {
                sides[number].first_unreadable.get_or_insert(event.position);
            }
        }
        if !same && first_difference.is_none() {
            let [a, b] = pair.map(|event| event.map(EventShown::of));
            first_difference = Some(FirstDifference { position, a, b });
        }
    }
    let [a, b] = sides;
    Ok(Comparison {
        equal: first_difference.is_none(),
        a,
        b,
        first_difference,
        accounts: differing(sums.accounts),
        ledger_accounts: differing(sums.ledger_accounts),
    })
}

impl Sums {
    /// Nothing, if the event cannot be read.
    fn add(&mut self, side: usize, raw: &RawEvent, upcasters: &Upcasters) -> Option<()> {
        let event = raw.event(upcasters).ok()?;
        for Posting { account, amount, currency } in event.postings() {
            let (balances, account, amount) = match account {
                LedgerAccount::CustomerWallets => (&mut self.accounts, raw.aggregate_id.clone(), -amount),
                other => (&mut self.ledger_accounts, other.as_str().to_owned(), amount),
            };
            balances.entry((account, currency.code())).or_default()[side] += amount;
        }
        Some(())
    }
}

fn differing(balances: Balances) -> Vec<Difference> {
    let differing = balances.into_iter().filter(|(_, [a, b])| a != b);
    let shown = differing.map(|((account, currency), [a, b])| Difference {
        account,
        currency: currency.into(),
        a,
        b,
        by: b - a,
    });
    shown.collect()
}

impl EventShown {
    fn of(raw: RawEvent) -> Self {
        Self {
            aggregate_type: raw.aggregate_type,
            aggregate_id: raw.aggregate_id,
            sequence: raw.sequence,
            event_type: raw.event_type,
            event_version: raw.event_version,
            payload: raw.payload,
            metadata: raw.metadata,
            recorded_at: raw.recorded_at,
        }
    }
}
