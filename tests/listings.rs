//! Every listing of the projections: a walk page by page meets each row once, newest first; a filter keeps what it
//! names; a row asked for by its identifier is the one that was listed.

use std::fmt::Debug;

use chrono::TimeDelta;
use daybook_projections::{
    BOARD, Moment, Reader, Snapshot, account, credit_note, customer, discount, expense, history, invoice, journal,
    order, payer, payment, service, statement, ticket,
};
use daybook_tests::history::{Ledger, varied_history};
use rust_decimal::{Decimal, dec};

/// All projections after a varied history.
async fn all_projections(ledger: &mut Ledger) -> Snapshot {
    let projector = ledger.projector(true).await;
    varied_history(ledger).await;
    ledger.projected(Some(&projector)).await;
    let names: Vec<&str> = BOARD.iter().map(|projection| projection.name).collect();
    let snapshot = Reader::new(&ledger.store, BOARD, Some(&projector)).snapshot(&names, None).await.unwrap();
    assert_eq!(snapshot.position(), ledger.last);
    projector.shutdown().await;
    snapshot
}

fn known_at(position: i64) -> Moment {
    Moment { known_at: Some(position.unsigned_abs()), as_of: None }
}

/// The whole listing, which a walk of one row per page meets in the same order, newest first.
async fn walk<R: Debug + PartialEq>(
    mut list: impl AsyncFnMut(Option<i64>, i64) -> Result<Vec<R>, sqlx::Error>,
    position: impl Fn(&R) -> i64,
) -> Vec<R> {
    let rows = list(None, 1_000).await.unwrap();
    let mut walked = Vec::new();
    let mut before = None;
    while let Some(row) = list(before, 1).await.unwrap().pop() {
        assert!(before.is_none_or(|before| position(&row) < before), "{row:?} comes too late");
        before = Some(position(&row));
        walked.push(row);
    }
    assert_eq!(walked, rows);
    assert!(!rows.is_empty());
    rows
}

#[tokio::test]
async fn accounts_and_customers_are_listed() {
    let mut ledger = Ledger::new().await;
    let mut rows = all_projections(&mut ledger).await;

    let all = account::Filter::default();
    let accounts =
        walk(async |before, limit| account::list(&mut rows, &all, before, limit).await, |row| row.position).await;
    let currencies: Vec<&str> = accounts.iter().map(|row| row.currency.as_str()).collect();
    assert_eq!(currencies, ["EUR", "USD"]);
    let (euros, dollars) = (&accounts[0], &accounts[1]);
    assert_eq!((euros.balance, euros.post_paid, euros.entries), (dec!(9.12), true, 1));
    assert_eq!((dollars.held, dollars.credit_limit, dollars.automatic_allocation), (dec!(1.00), dec!(50.00), true));
    assert_eq!(account::get(&mut rows, &euros.id).await.unwrap().as_ref(), Some(euros));
    let filter = account::Filter { customer: Some(euros.customer_id.clone()), currency: Some("EUR".into()) };
    assert_eq!(account::list(&mut rows, &filter, None, 10).await.unwrap(), accounts[..1]);

    let all = customer::Filter::default();
    let customers =
        walk(async |before, limit| customer::list(&mut rows, &all, before, limit).await, |row| row.customer.position)
            .await;
    assert_eq!(customers[0].groups, ["gold"]);
    let id = &customers[0].customer.id;
    assert_eq!(customer::get(&mut rows, id).await.unwrap().as_ref(), Some(&customers[0]));
    let filter = customer::Filter { group: Some("gold".into()), email: None };
    assert_eq!(customer::list(&mut rows, &filter, None, 10).await.unwrap(), customers);
    let filter = customer::Filter { group: Some("silver".into()), email: None };
    assert_eq!(customer::list(&mut rows, &filter, None, 10).await.unwrap(), []);

    let all = payer::Filter::default();
    let payers =
        walk(async |before, limit| payer::list(&mut rows, &all, before, limit).await, |row| row.position).await;
    assert_eq!((payers[0].name.as_str(), payers[0].city.as_str(), payers[0].active), ("Ada AG", "Potsdam", false));
    assert_eq!(payer::get(&mut rows, &payers[0].id).await.unwrap().as_ref(), Some(&payers[0]));
    let filter = payer::Filter { customer: Some(id.clone()), active: Some(true) };
    assert_eq!(payer::list(&mut rows, &filter, None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn orders_services_and_expenses_are_listed() {
    let mut ledger = Ledger::new().await;
    let mut rows = all_projections(&mut ledger).await;

    let all = order::Filter::default();
    let orders =
        walk(async |before, limit| order::list(&mut rows, &all, before, limit).await, |row| row.order.position).await;
    let statuses: Vec<&str> = orders.iter().map(|row| row.order.status.as_str()).collect();
    assert_eq!(statuses, ["processed", "deleted", "processed"]);
    let first = &orders[2];
    assert_eq!((first.order.description.as_str(), first.items), ("second", 2));
    assert_eq!(order::get(&mut rows, &first.order.id).await.unwrap().as_ref(), Some(first));
    let items = order::items(&mut rows, &first.order.id).await.unwrap();
    assert_eq!(items.iter().map(|item| item.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(items.iter().map(|item| item.total).sum::<Decimal>(), first.total);
    assert_eq!((items[0].discount_name.as_deref(), items[0].saving), (Some("spring"), first.saving));
    let filter = order::Filter { status: Some("deleted".into()), ..order::Filter::default() };
    assert_eq!(order::list(&mut rows, &filter, None, 10).await.unwrap(), [orders[1].clone()]);

    let filter = service::Filter { order: Some(first.order.id.clone()), ..service::Filter::default() };
    let services =
        walk(async |before, limit| service::list(&mut rows, &filter, before, limit).await, |row| row.position).await;
    assert_eq!(services.len(), 2);
    assert_eq!(service::get(&mut rows, &services[0].id).await.unwrap().as_ref(), Some(&services[0]));
    assert_eq!(items[1].service_id.as_ref(), Some(&services[0].id));

    let all = expense::Filter::default();
    let expenses =
        walk(async |before, limit| expense::list(&mut rows, &all, before, limit).await, |row| row.position).await;
    let (corrected, ordered) = (&expenses[0], expenses.last().unwrap());
    assert_eq!((corrected.description.as_str(), corrected.total), ("remote hands", dec!(8.00)));
    assert_eq!((corrected.covered, corrected.uncovered), (dec!(8.00), dec!(0.00)));
    assert_eq!(Some(&ordered.id), items[0].expense_id.as_ref());
    assert_eq!(expense::get(&mut rows, &corrected.id).await.unwrap().as_ref(), Some(corrected));
    let coverage = expense::coverage(&mut rows, &corrected.id).await.unwrap();
    let by_others = coverage.iter().filter(|row| row.origin != "expense");
    assert_eq!(by_others.map(|row| row.amount).sum::<Decimal>(), dec!(8.00));
    let filter = expense::Filter { order: Some(first.order.id.clone()), ..expense::Filter::default() };
    assert_eq!(expense::list(&mut rows, &filter, None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn documents_and_payments_are_listed() {
    let mut ledger = Ledger::new().await;
    let mut rows = all_projections(&mut ledger).await;

    let all = invoice::Filter::default();
    let invoices =
        walk(async |before, limit| invoice::list(&mut rows, &all, before, limit).await, |row| row.position).await;
    let issued = &invoices[0];
    assert_eq!((issued.number.as_str(), issued.status.as_str()), ("INV-000001", "paid"));
    assert_eq!(issued.payer.name, "Ada AG");
    assert_eq!(issued.net + issued.tax - issued.residue, issued.total);
    assert_eq!(invoice::get(&mut rows, &issued.id).await.unwrap().as_ref(), Some(issued));
    let lines = invoice::lines(&mut rows, &issued.id).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.amount).sum::<Decimal>(), issued.net);
    assert_eq!((lines[1].quantity, lines[1].credited_quantity), (dec!(5), dec!(2)));
    assert_eq!(lines[1].credited_amount, issued.credited_net);
    let filter = invoice::Filter { number: Some("INV-000001".into()), status: Some("paid".into()), ..all };
    assert_eq!(invoice::list(&mut rows, &filter, None, 10).await.unwrap(), invoices[..1]);

    let of_invoice = credit_note::Filter { invoice: Some(issued.id.clone()), ..credit_note::Filter::default() };
    let credit_notes =
        walk(async |before, limit| credit_note::list(&mut rows, &of_invoice, before, limit).await, |row| row.position)
            .await;
    let credit_note = credit_note::get(&mut rows, &credit_notes[0].id).await.unwrap();
    assert_eq!(credit_note.as_ref(), Some(&credit_notes[0]));
    let lines = credit_note::lines(&mut rows, &credit_notes[0].id).await.unwrap();
    assert_eq!((lines[0].invoice_id.as_ref(), lines[0].invoice_line), (Some(&issued.id), Some(2)));
    assert_eq!((lines[0].free_standing, lines[1].free_standing), (false, true));

    let all = payment::Filter::default();
    let payments =
        walk(async |before, limit| payment::list(&mut rows, &all, before, limit).await, |row| row.position).await;
    let mut statuses: Vec<&str> = payments.iter().map(|row| row.status.as_str()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, ["credited", "deleted", "failed", "fraudulent", "partly_returned", "returned"]);
    for row in &payments {
        assert_eq!(payment::get(&mut rows, &row.id).await.unwrap().as_ref(), Some(row));
        let allocations = payment::allocations(&mut rows, &row.id).await.unwrap();
        let covering = allocations.iter().filter(|row| !["refund", "payment"].contains(&row.target.as_str()));
        assert_eq!(covering.map(|row| row.amount).sum::<Decimal>(), row.allocated);
        if row.status == "partly_returned" {
            assert_eq!((row.returned, row.gateway_payment.as_deref()), (dec!(5.00), Some("pay_stripe:pi_1")));
            let refunds = payment::refunds(&mut rows, &row.id).await.unwrap();
            let ends: Vec<_> = refunds.iter().map(|refund| (refund.status.as_str(), refund.amount)).collect();
            assert_eq!(ends, [("settled", dec!(5.00)), ("failed", dec!(3.00))]);
            let disputes = payment::disputes(&mut rows, &row.id).await.unwrap();
            let ends: Vec<_> = disputes
                .iter()
                .map(|dispute| (dispute.status.as_str(), dispute.gateway_dispute.as_deref(), dispute.amount))
                .collect();
            assert_eq!(ends, [("won", Some("dp_1"), dec!(4.00)), ("lost", Some("dp_2"), dec!(2.50))]);
            assert_eq!((row.amount, row.received, row.disputed), (dec!(25.00), dec!(25.00), dec!(2.50)));
            assert_eq!(disputes[0].won_entry.is_some(), disputes[1].won_entry.is_none());
            assert_eq!(disputes[1].gateway_reason, "product not received");
        }
        if row.status == "returned" {
            assert_eq!((row.amount, row.received, row.returned), (dec!(12.00), dec!(11.50), dec!(11.50)));
            let refunds = payment::refunds(&mut rows, &row.id).await.unwrap();
            assert_eq!((refunds[0].gateway_refund.as_deref(), refunds.len()), (Some("re_1"), 1));
        }
    }
    let filter = payment::Filter { purpose_id: Some(issued.id.clone()), ..payment::Filter::default() };
    let meant = payment::list(&mut rows, &filter, None, 10).await.unwrap();
    let covering = payment::covering(&mut rows, &issued.id).await.unwrap();
    assert!(covering.iter().any(|row| row.payment_id == meant[0].id));
}

#[tokio::test]
async fn discounts_and_tickets_are_listed() {
    let mut ledger = Ledger::new().await;
    let mut rows = all_projections(&mut ledger).await;
    let everybody = customer::list(&mut rows, &customer::Filter::default(), None, 1).await.unwrap();
    let customer_id = &everybody[0].customer.id;

    let all = discount::Filter::default();
    let discounts =
        walk(async |before, limit| discount::list(&mut rows, &all, before, limit).await, |row| row.position).await;
    let kinds: Vec<_> = discounts.iter().map(|row| (row.kind.as_str(), row.revoked_at.is_some())).collect();
    assert_eq!(kinds, [("fixed_price", false), ("amount_off", false), ("percent", true)]);
    assert_eq!(discount::get(&mut rows, &discounts[0].id).await.unwrap().as_ref(), Some(&discounts[0]));
    let at = discounts[0].granted_at;
    let has = walk(
        async |before, limit| discount::of_customer(&mut rows, customer_id, at, before, limit).await,
        |row| row.position,
    )
    .await;
    assert_eq!(has, discounts[..2]);
    let at = discounts[2].granted_at;
    let filter = discount::Filter { valid_at: Some(at), audience: Some("everyone".into()), audience_id: None };
    assert_eq!(discount::list(&mut rows, &filter, None, 10).await.unwrap(), discounts[2..]);

    for archived in [false, true] {
        let filter = ticket::Filter { archived: Some(archived), ..ticket::Filter::default() };
        let tickets =
            walk(async |before, limit| ticket::list(&mut rows, &filter, before, limit).await, |row| row.position).await;
        assert_eq!(tickets.len(), 1);
        assert_eq!(tickets[0].status, if archived { "archived" } else { "open" });
        assert_eq!(ticket::get(&mut rows, &tickets[0].id).await.unwrap().as_ref(), Some(&tickets[0]));
        let messages = ticket::messages(&mut rows, &tickets[0].id).await.unwrap();
        let sides: Vec<&str> = messages.iter().map(|message| message.side.as_str()).collect();
        assert_eq!(sides, ["customer", "provider", "customer", "provider"]);
        assert_eq!((tickets[0].messages, tickets[0].last_message_at), (4, messages[3].written_at));
    }
}

#[tokio::test]
async fn a_statement_adds_up_from_any_moment_and_as_it_was_known() {
    let mut ledger = Ledger::new().await;
    let mut rows = all_projections(&mut ledger).await;
    let filter = account::Filter { currency: Some("USD".into()), customer: None };
    let dollars = account::list(&mut rows, &filter, None, 1).await.unwrap().remove(0);
    let whole = statement::Period::default();
    let all = statement::statement(&mut rows, &dollars.id, &whole, 1_000).await.unwrap();
    assert_eq!((all.opening, all.closing(), all.lines.len() as i64), (Decimal::ZERO, dollars.balance, dollars.entries));
    for portion in [1, 2, all.lines.len()] {
        assert_eq!(statement::statement(&mut rows, &dollars.id, &whole, portion).await.unwrap(), all);
    }
    // Nothing here was recorded out of order, so both orders tell the same balances.
    let recorded: Vec<Decimal> =
        sqlx::query_scalar("select balance from account_statement where account_id = $1 order by entry")
            .bind(&dollars.id)
            .fetch_all(&mut *rows)
            .await
            .unwrap();
    assert_eq!(all.lines.iter().map(|line| line.balance).collect::<Vec<_>>(), recorded);
    let transfers: i64 = sqlx::query_scalar(
        "select count(*) from account_statement where account_id = $1 and transfer is not null and origin = 'transfer'",
    )
    .bind(&dollars.id)
    .fetch_one(&mut *rows)
    .await
    .unwrap();
    assert!(transfers > 0);
    let reversed = all.lines.iter().find(|line| line.reversed_by.is_some()).unwrap();
    let by = all.lines.iter().find(|line| Some(line.entry) == reversed.reversed_by).unwrap();
    assert_eq!(by.reverses, Some(reversed.entry));

    for (at, line) in all.lines.iter().enumerate() {
        let moment = line.occurred_at;
        let until = statement::Period { to: Some(moment), ..whole.clone() };
        let since = statement::Period { from: Some(moment), ..whole.clone() };
        let until = statement::statement(&mut rows, &dollars.id, &until, 1_000).await.unwrap();
        let since = statement::statement(&mut rows, &dollars.id, &since, 2).await.unwrap();
        assert_eq!(until.closing(), since.opening);
        assert_eq!([until.lines, since.lines].concat(), all.lines);
        assert_eq!(until.opening, Decimal::ZERO);
        let nothing = statement::Period { from: Some(moment), to: Some(moment), ..whole.clone() };
        let nothing = statement::statement(&mut rows, &dollars.id, &nothing, 1_000).await.unwrap();
        assert_eq!((nothing.opening, nothing.closing(), nothing.lines.len()), (since.opening, since.opening, 0));

        let known = statement::Period { moment: known_at(line.position), ..whole.clone() };
        let known = statement::statement(&mut rows, &dollars.id, &known, 1_000).await.unwrap();
        // Nobody knew yet what would be taken back later, or once more.
        let recorded = &all.lines[..=at];
        let until_then = recorded.iter().cloned().map(|mut line| {
            let taking_back = recorded.iter().filter(|other| other.reverses == Some(line.entry));
            line.reversed_by = taking_back.map(|other| other.entry).max();
            line
        });
        assert_eq!((known.closing(), known.lines), (line.balance, until_then.collect()));
        let as_of = Some(moment + TimeDelta::microseconds(1));
        let at_once = all.lines.iter().rev().find(|line| line.occurred_at == moment).unwrap();
        assert_eq!(statement::balance(&mut rows, &dollars.id, as_of, None).await.unwrap(), at_once.balance);
    }
}

#[tokio::test]
async fn the_journal_balances_and_the_history_tells_who_and_why() {
    let mut ledger = Ledger::new().await;
    let mut rows = all_projections(&mut ledger).await;

    let (all, now) = (journal::Filter::default(), Moment::default());
    let lines = journal::list(&mut rows, &all, &now, None, 1_000).await.unwrap();
    let (first, rest) = lines.split_first().unwrap();
    assert_eq!(journal::list(&mut rows, &all, &now, Some((first.position, first.leg)), 1_000).await.unwrap(), rest);
    let trial = journal::trial_balance(&mut rows, None).await.unwrap();
    for currency in ["EUR", "USD"] {
        let of = trial.iter().filter(|row| row.currency == currency);
        assert_eq!(of.map(|row| row.balance).sum::<Decimal>(), Decimal::ZERO);
    }
    assert_eq!(journal::trial_balance_at(&mut rows, None, &now).await.unwrap(), trial);
    let before_the_first = Moment { as_of: Some(first.occurred_at - TimeDelta::microseconds(1)), known_at: None };
    let known = journal::trial_balance_at(&mut rows, None, &before_the_first).await.unwrap();
    assert_eq!(known, []);
    let wallets = journal::Filter { ledger_account: Some("customer_wallets".into()), ..all };
    let wallets = journal::list(&mut rows, &wallets, &now, None, 1_000).await.unwrap();
    assert!(!wallets.is_empty() && wallets.iter().all(|line| line.account_id.is_some()));

    let filter = account::Filter { currency: Some("USD".into()), customer: None };
    let dollars = account::list(&mut rows, &filter, None, 1).await.unwrap().remove(0);
    let id = &dollars.id;
    let history =
        walk(async |before, limit| history::list(&mut rows, id, &now, before, limit).await, |row| row.position).await;
    assert_eq!(
        (history.last().unwrap().position, history.last().unwrap().event_type.as_str()),
        (2, "customer.account_added")
    );
    for row in &history {
        assert_eq!((row.actor.as_deref(), row.on_behalf_of.as_deref()), (Some("staff:anna"), Some("customer:cus_1")));
        assert_eq!(row.reason.as_deref(), Some("as agreed"));
    }
    assert!(history.iter().any(|row| row.aggregate_type == "invoice"));
}
