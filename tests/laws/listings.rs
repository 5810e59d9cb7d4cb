//! Every listing of the projections: a walk page by page meets each row once, newest first; a filter keeps what it
//! names; a row asked for by its identifier is the one that was listed.

use std::fmt::Debug;

use chrono::TimeDelta;
use daybook_core::domain::AGGREGATE_TYPES;
use daybook_projections::{
    BOARD, Chosen, Moment, Place, Reader, RowOrder, Snapshot, Viewer,
    account::AccountRow,
    credit_note::{CreditNoteLineRow, CreditNoteRow},
    customer::{CustomerGroupRow, CustomerSummary},
    discount::{self, DiscountRow},
    engine::{Row, Walls},
    expense::{CoverageRow, ExpenseRow},
    history,
    invoice::{InvoiceLineRow, InvoiceRow},
    journal,
    listing::{self, Found, Listed},
    order::{OrderItemRow, OrderSummary},
    payer::PayerRow,
    payment::{AllocationRow, DisputeRow, PaymentRow, RefundRow},
    service::ServiceRow,
    statement,
    ticket::{TicketMessageRow, TicketRow},
    user::{ContactRow, FactorRow, MembershipRow, TokenRow, UserRow},
};
use daybook_tests::{history::Ledger, listed::newest};
use rust_decimal::{Decimal, dec};
use serde::de::DeserializeOwned;

/// All projections after a varied history. Nobody writes, so that those that are read alone are as far as the others.
async fn all_projections(ledger: &Ledger) -> Snapshot {
    let together = BOARD.iter().filter(|projection| !projection.read_alone);
    let names: Vec<&str> = together.map(|projection| projection.name).collect();
    let snapshot = Reader::new(&ledger.store, BOARD, None).snapshot(&Viewer::Provider, &names, None).await.unwrap();
    assert_eq!(snapshot.position(), ledger.last);
    snapshot
}

fn known_at(position: i64) -> Moment {
    Moment { known_at: Some(position.unsigned_abs()), as_of: None }
}

/// The whole listing, which a walk of one row per page meets in the same order, newest first.
async fn walk<L: Listed + Debug + PartialEq>(rows: &mut Snapshot, chosen: &Chosen) -> Vec<L> {
    let all: Vec<L> = list(rows, chosen).await;
    let mut walked = Vec::new();
    let mut before = None;
    let order = RowOrder::default();
    while let Some(Found { row, place }) =
        listing::page::<L>(rows, &Viewer::Provider, chosen, &order, before.as_ref(), 1).await.unwrap().pop()
    {
        assert!(before.is_none_or(|before: Place| row.position() < before.position), "{row:?} comes too late");
        assert_eq!(place.position, row.position());
        before = Some(place);
        walked.push(row);
    }
    assert_eq!(walked, all);
    assert!(!all.is_empty());
    all
}

async fn list<L: Listed>(rows: &mut Snapshot, chosen: &Chosen) -> Vec<L> {
    newest(rows, &Viewer::Provider, chosen, 1_000).await
}

async fn get<L: Listed>(rows: &mut Snapshot, id: &str) -> L {
    listing::get(rows, &Viewer::Provider, id).await.unwrap().expect("the row is there")
}

async fn belonging<R: Row + DeserializeOwned>(rows: &mut Snapshot, id: &str) -> Vec<R> {
    listing::belonging(rows, &Viewer::Provider, id).await.unwrap()
}

fn all() -> Chosen {
    Chosen::default()
}

/// The law of the wall: the rows of a table are one customer's each, or nobody's, and nobody else sees them.
#[tokio::test]
async fn a_customer_sees_what_is_theirs_and_nothing_else() {
    let ledger = Ledger::varied_and_projected().await;
    let mut rows = all_projections(&ledger).await;
    let owner = list::<CustomerSummary>(&mut rows, &all()).await.remove(0).customer.id;
    let nobodys = ["trial_balance"];
    // What is about neither a customer nor what is theirs, and what everybody may know.
    let without_owner = [
        ("journal_lines", "select count(*) from journal_lines where account_id is null"),
        (
            "history",
            "select count(*) from history where entity_id not in (
                 select id from accounts union all select id from credit_notes union all select id from customers
                 union all select id from disputes union all select id from expenses union all select id from invoices
                 union all select id from orders union all select id from payers union all select id from payments
                 union all select id from refunds union all select id from services union all select id from tickets
             )",
        ),
        ("discounts", "select count(*) from discounts where audience = 'group' and audience_id <> 'gold'"),
        ("memberships", "select count(*) from memberships where customer_id is null"),
        (
            "users",
            "select count(*) from users where id not in (select user_id from memberships where customer_id is not null)",
        ),
    ];
    let everybodys = [
        ("closed_periods", "select count(*) from closed_periods"),
        ("discounts", "select count(*) from discounts where audience = 'everyone'"),
    ];
    for walls in [Walls::Both, Walls::First, Walls::Second] {
        for (projection, table) in BOARD.iter().flat_map(|one| one.tables.iter().map(move |table| (one.name, table))) {
            let name = table.name();
            let all = listing::count(&mut rows, &Viewer::Provider, table).await.unwrap();
            assert!(all > 0 || name == "closed_periods", "the history has no row of `{name}`");
            if nobodys.contains(&name) {
                assert!(table.owner().is_nobody());
                continue;
            }
            let mut counted = async |queries: &[(&str, &'static str)]| -> i64 {
                let Some((_, query)) = queries.iter().find(|(of, _)| *of == name) else { return 0 };
                sqlx::query_scalar(query).fetch_one(&mut *rows).await.unwrap()
            };
            let (without, everybodys) = (counted(&without_owner).await, counted(&everybodys).await);
            let of = async |customer: &str| {
                let viewer = Viewer::behind(walls, [customer.to_owned()]);
                let reader = Reader::new(&ledger.store, BOARD, None);
                let mut rows = reader.snapshot(&viewer, &[projection], None).await.unwrap();
                let (connection, viewer) = rows.parts();
                listing::count(connection, viewer, table).await.unwrap()
            };
            let seen = (of(&owner).await, of("cus_stranger").await);
            assert_eq!(seen, (all - without, everybodys), "{name} behind {walls:?}");
        }
    }
}

#[tokio::test]
async fn accounts_and_customers_are_listed() {
    let ledger = Ledger::varied_and_projected().await;
    let mut rows = all_projections(&ledger).await;

    let accounts = walk::<AccountRow>(&mut rows, &all()).await;
    let currencies: Vec<&str> = accounts.iter().map(|row| row.currency.as_str()).collect();
    assert_eq!(currencies, ["EUR", "USD"]);
    let (euros, dollars) = (&accounts[0], &accounts[1]);
    assert_eq!((euros.balance, euros.post_paid, euros.entries), (dec!(9.12), true, 1));
    assert_eq!((dollars.held, dollars.credit_limit, dollars.automatic_allocation), (dec!(1.00), dec!(50.00), true));
    assert_eq!(&get::<AccountRow>(&mut rows, &euros.id).await, euros);
    let filter = all().lasting("customer_id", Some(euros.customer_id.clone())).lasting("currency", Some("EUR"));
    assert_eq!(list::<AccountRow>(&mut rows, &filter).await, accounts[..1]);

    let customers = walk::<CustomerSummary>(&mut rows, &all()).await;
    assert_eq!(customers[0].groups, ["gold"]);
    let id = &customers[0].customer.id;
    assert_eq!(&get::<CustomerSummary>(&mut rows, id).await, &customers[0]);
    let in_group = |name: &str| {
        let pieces = ["id in (select customer_id from customer_groups where group_name = ", ")"];
        all().now_where(pieces.into(), vec![name.into()])
    };
    assert_eq!(list::<CustomerSummary>(&mut rows, &in_group("gold")).await, customers);
    assert_eq!(list::<CustomerSummary>(&mut rows, &in_group("silver")).await, []);

    let payers = walk::<PayerRow>(&mut rows, &all()).await;
    assert_eq!((payers[0].name.as_str(), payers[0].city.as_str(), payers[0].active), ("Ada AG", "Potsdam", false));
    assert_eq!(&get::<PayerRow>(&mut rows, &payers[0].id).await, &payers[0]);
    let filter = all().lasting("customer_id", Some(id.clone())).now("active", Some(true));
    assert_eq!(list::<PayerRow>(&mut rows, &filter).await, []);
}

#[tokio::test]
async fn orders_services_and_expenses_are_listed() {
    let ledger = Ledger::varied_and_projected().await;
    let mut rows = all_projections(&ledger).await;

    let orders = walk::<OrderSummary>(&mut rows, &all()).await;
    let statuses: Vec<&str> = orders.iter().map(|row| row.order.status.as_str()).collect();
    assert_eq!(statuses, ["processed", "deleted", "processed"]);
    let first = &orders[2];
    assert_eq!((first.order.description.as_str(), first.items), ("second", 2));
    assert_eq!(&get::<OrderSummary>(&mut rows, &first.order.id).await, first);
    let items = belonging::<OrderItemRow>(&mut rows, &first.order.id).await;
    assert_eq!(items.iter().map(|item| item.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(items.iter().map(|item| item.total).sum::<Decimal>(), first.total);
    assert_eq!((items[0].discount_name.as_deref(), items[0].saving), (Some("spring"), first.saving));
    let filter = all().now("status", Some("deleted"));
    assert_eq!(list::<OrderSummary>(&mut rows, &filter).await, [orders[1].clone()]);

    let filter = all().lasting("order_id", Some(first.order.id.clone()));
    let services = walk::<ServiceRow>(&mut rows, &filter).await;
    assert_eq!(services.len(), 2);
    assert_eq!(&get::<ServiceRow>(&mut rows, &services[0].id).await, &services[0]);
    assert_eq!(items[1].service_id.as_ref(), Some(&services[0].id));

    let expenses = walk::<ExpenseRow>(&mut rows, &all()).await;
    let (corrected, ordered) = (&expenses[0], expenses.last().unwrap());
    assert_eq!((corrected.description.as_str(), corrected.total), ("remote hands", dec!(8.00)));
    assert_eq!((corrected.covered, corrected.uncovered), (dec!(8.00), dec!(0.00)));
    assert_eq!(Some(&ordered.id), items[0].expense_id.as_ref());
    assert_eq!(&get::<ExpenseRow>(&mut rows, &corrected.id).await, corrected);
    let coverage = belonging::<CoverageRow>(&mut rows, &corrected.id).await;
    let by_others = coverage.iter().filter(|row| row.origin != "expense");
    assert_eq!(by_others.map(|row| row.amount).sum::<Decimal>(), dec!(8.00));
    let filter = all().lasting("order_id", Some(first.order.id.clone()));
    assert_eq!(list::<ExpenseRow>(&mut rows, &filter).await.len(), 2);
}

#[tokio::test]
async fn documents_and_payments_are_listed() {
    let ledger = Ledger::varied_and_projected().await;
    let mut rows = all_projections(&ledger).await;

    let invoices = walk::<InvoiceRow>(&mut rows, &all()).await;
    let issued = &invoices[0];
    assert_eq!((issued.number.as_str(), issued.status.as_str()), ("INV-000001", "paid"));
    assert_eq!(issued.payer.name, "Ada AG");
    assert_eq!(issued.net + issued.tax - issued.residue, issued.total);
    assert_eq!(&get::<InvoiceRow>(&mut rows, &issued.id).await, issued);
    let lines = belonging::<InvoiceLineRow>(&mut rows, &issued.id).await;
    assert_eq!(lines.iter().map(|line| line.amount).sum::<Decimal>(), issued.net);
    assert_eq!((lines[1].quantity, lines[1].credited_quantity), (dec!(5), dec!(2)));
    assert_eq!(lines[1].credited_amount, issued.credited_net);
    let filter = all().lasting("number", Some("INV-000001")).now("status", Some("paid"));
    assert_eq!(list::<InvoiceRow>(&mut rows, &filter).await, invoices[..1]);

    let pieces = ["id in (select credit_note_id from credit_note_lines where invoice_id = ", ")"];
    let of_invoice = all().now_where(pieces.into(), vec![issued.id.clone().into()]);
    let credit_notes = walk::<CreditNoteRow>(&mut rows, &of_invoice).await;
    assert_eq!(get::<CreditNoteRow>(&mut rows, &credit_notes[0].id).await, credit_notes[0]);
    let lines = belonging::<CreditNoteLineRow>(&mut rows, &credit_notes[0].id).await;
    assert_eq!((lines[0].invoice_id.as_ref(), lines[0].invoice_line), (Some(&issued.id), Some(2)));
    assert_eq!((lines[0].free_standing, lines[1].free_standing), (false, true));

    let payments = walk::<PaymentRow>(&mut rows, &all()).await;
    let mut statuses: Vec<&str> = payments.iter().map(|row| row.status.as_str()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, ["credited", "deleted", "failed", "fraudulent", "partly_returned", "returned"]);
    for row in &payments {
        assert_eq!(&get::<PaymentRow>(&mut rows, &row.id).await, row);
        let allocations = belonging::<AllocationRow>(&mut rows, &row.id).await;
        let covering = allocations.iter().filter(|row| !["refund", "payment"].contains(&row.target.as_str()));
        assert_eq!(covering.map(|row| row.amount).sum::<Decimal>(), row.allocated);
        if row.status.as_str() == "partly_returned" {
            assert_eq!((row.returned, row.gateway_payment.as_deref()), (dec!(5.00), Some("pay_stripe:pi_1")));
            let refunds = belonging::<RefundRow>(&mut rows, &row.id).await;
            let ends: Vec<_> = refunds.iter().map(|refund| (refund.status.as_str(), refund.amount)).collect();
            assert_eq!(ends, [("settled", dec!(5.00)), ("failed", dec!(3.00))]);
            let disputes = belonging::<DisputeRow>(&mut rows, &row.id).await;
            let ends: Vec<_> = disputes
                .iter()
                .map(|dispute| (dispute.status.as_str(), dispute.gateway_dispute.as_deref(), dispute.amount))
                .collect();
            assert_eq!(ends, [("won", Some("dp_1"), dec!(4.00)), ("lost", Some("dp_2"), dec!(2.50))]);
            assert_eq!((row.amount, row.received, row.disputed), (dec!(25.00), dec!(25.00), dec!(2.50)));
            assert_eq!(disputes[0].won_entry.is_some(), disputes[1].won_entry.is_none());
            assert_eq!(disputes[1].gateway_reason, "product not received");
        }
        if row.status.as_str() == "returned" {
            assert_eq!((row.amount, row.received, row.returned), (dec!(12.00), dec!(11.50), dec!(11.50)));
            let refunds = belonging::<RefundRow>(&mut rows, &row.id).await;
            assert_eq!((refunds[0].gateway_refund.as_deref(), refunds.len()), (Some("re_1"), 1));
        }
    }
    let filter = all().lasting("purpose_id", Some(issued.id.clone()));
    let meant = list::<PaymentRow>(&mut rows, &filter).await;
    let covers = belonging::<AllocationRow>(&mut rows, &meant[0].id).await;
    assert!(covers.iter().any(|row| row.target_id.as_ref() == Some(&issued.id)));
}

#[tokio::test]
async fn discounts_and_tickets_are_listed() {
    let ledger = Ledger::varied_and_projected().await;
    let mut rows = all_projections(&ledger).await;
    let everybody = list::<CustomerSummary>(&mut rows, &all()).await;
    let customer_id = &everybody[0].customer.id;

    let discounts = walk::<DiscountRow>(&mut rows, &all()).await;
    let kinds: Vec<_> = discounts.iter().map(|row| (row.kind.as_str(), row.revoked_at.is_some())).collect();
    assert_eq!(kinds, [("fixed_price", false), ("amount_off", false), ("percent", true)]);
    assert_eq!(&get::<DiscountRow>(&mut rows, &discounts[0].id).await, &discounts[0]);
    let at = discounts[0].granted_at;
    let groups: Vec<CustomerGroupRow> = belonging(&mut rows, customer_id).await;
    let groups = groups.into_iter().map(|row| row.group_name).collect();
    let own = discount::valid_at(discount::of_customer(customer_id, groups), at);
    let has = walk::<DiscountRow>(&mut rows, &own).await;
    assert_eq!(has, discounts[..2]);
    let at = discounts[2].granted_at;
    let filter = discount::valid_at(all().lasting("audience", Some("everyone")), at);
    assert_eq!(list::<DiscountRow>(&mut rows, &filter).await, discounts[2..]);

    for archived in [false, true] {
        let filter = all().now("archived", Some(archived));
        let tickets = walk::<TicketRow>(&mut rows, &filter).await;
        assert_eq!(tickets.len(), 1);
        assert_eq!(tickets[0].status.as_str(), if archived { "archived" } else { "open" });
        assert_eq!(&get::<TicketRow>(&mut rows, &tickets[0].id).await, &tickets[0]);
        let messages = belonging::<TicketMessageRow>(&mut rows, &tickets[0].id).await;
        let sides: Vec<&str> = messages.iter().map(|message| message.side.as_str()).collect();
        assert_eq!(sides, ["customer", "provider", "customer", "provider"]);
        assert_eq!((tickets[0].messages, tickets[0].last_message_at), (4, messages[3].written_at));
    }
}

#[tokio::test]
async fn users_are_listed_with_all_that_is_theirs() {
    let ledger = Ledger::varied_and_projected().await;
    let mut rows = all_projections(&ledger).await;

    let users = walk::<UserRow>(&mut rows, &all()).await;
    let shown: Vec<_> =
        users.iter().map(|row| (row.login.as_str(), row.login_name.as_str(), row.name.as_str(), row.enabled)).collect();
    assert_eq!(
        shown,
        [
            ("olga@example.org", "una_olga", "olga the person", false),
            ("clerk@example.org", "una_clerk", "clerk the person", true),
            ("lovelace@example.org", "una_lovelace", "Ada Lovelace", true),
        ]
    );
    let (olga, clerk, ada) = (&users[0], &users[1], &users[2]);
    assert_eq!((ada.password_id.as_deref(), ada.recovery_codes_id.as_deref()), (Some("pwd_second"), Some("rec_codes")));
    assert_eq!((&clerk.password_id, &clerk.recovery_codes_id, &clerk.address), (&None, &None, &None));
    let address = &ada.address.as_ref().unwrap().0;
    assert_eq!((address.country.as_str(), address.city.as_str()), ("GB", "London upon Thames"));
    assert!(ada.invited_at < clerk.invited_at && ada.position < ada.changed_position, "{ada:?}");
    for user in &users {
        assert_eq!(&get::<UserRow>(&mut rows, &user.id).await, user);
    }
    assert_eq!(list::<UserRow>(&mut rows, &all().now("enabled", Some(false))).await, users[..1]);

    let customer = list::<CustomerSummary>(&mut rows, &all()).await.remove(0).customer.id;
    let pieces = ["exists (select from memberships m where m.user_id = users.id and m.customer_id = ", ")"];
    let members = all().now_where(pieces.into(), vec![customer.clone().into()]);
    assert_eq!(list::<UserRow>(&mut rows, &members).await, [clerk.clone(), ada.clone()]);
    for (user, superuser, function) in [(ada, false, Some("orders.read")), (clerk, true, None)] {
        let [membership] = &belonging::<MembershipRow>(&mut rows, &user.id).await[..] else { panic!("one") };
        let functions: Vec<&str> = membership.functions.0.iter().map(|function| function.name()).collect();
        assert_eq!((membership.superuser, functions), (superuser, function.into_iter().collect()));
        assert_eq!((&membership.party, &membership.customer_id), (&customer, &Some(customer.clone())));
        assert_eq!(membership.given_at, user.invited_at);
        assert!(membership.roles.0.is_empty() && membership.position > user.position, "{membership:?}");
    }
    let [of_provider] = &belonging::<MembershipRow>(&mut rows, &olga.id).await[..] else { panic!("one") };
    assert_eq!((of_provider.party.as_str(), &of_provider.customer_id), ("provider", &None));
    assert!(of_provider.roles.0.is_empty() && of_provider.allowed().is_empty(), "{of_provider:?}");

    let contacts = belonging::<ContactRow>(&mut rows, &ada.id).await;
    let shown: Vec<_> = contacts.iter().map(|row| (row.number, row.kind.as_str(), row.value.as_str())).collect();
    assert_eq!(shown, [(2, "telephone", "+44 20 7946 0000")]);
    let factors = belonging::<FactorRow>(&mut rows, &ada.id).await;
    let shown: Vec<_> = factors.iter().map(|row| (row.id.as_str(), row.kind.as_str())).collect();
    assert_eq!(shown, [("fac_telephone", "totp")]);
    assert!(contacts[0].added_at > ada.invited_at && factors[0].added_at > contacts[0].added_at);
    let tokens = belonging::<TokenRow>(&mut rows, &ada.id).await;
    let shown: Vec<_> =
        tokens.iter().map(|row| (row.id.as_str(), row.name.as_str(), row.revoked_at.is_some())).collect();
    assert_eq!(shown, [("tok_kept", "kept", false), ("tok_revoked", "revoked", true)]);
    for token in &tokens {
        let functions: Vec<&str> = token.functions.iter().flat_map(|scope| &scope.0).map(|one| one.name()).collect();
        assert_eq!(
            (&token.party, &token.customer_id, functions),
            (&customer, &Some(customer.clone()), vec!["orders.read"])
        );
        assert!(token.made_at > factors[0].added_at && token.expires_at > Some(token.made_at), "{token:?}");
        assert_eq!(token.revoked_at.is_some(), token.changed_position > token.position);
    }
}

#[tokio::test]
async fn a_statement_adds_up_from_any_moment_and_as_it_was_known() {
    let ledger = Ledger::varied_and_projected().await;
    let mut rows = all_projections(&ledger).await;
    let filter = all().lasting("currency", Some("USD"));
    let dollars = list::<AccountRow>(&mut rows, &filter).await.remove(0);
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
    let ledger = Ledger::varied_and_projected().await;
    let mut rows = all_projections(&ledger).await;

    let (everything, now) = (journal::Filter::default(), Moment::default());
    let lines = journal::list(&mut rows, &everything, &now, None, 1_000).await.unwrap();
    let (first, rest) = lines.split_first().unwrap();
    assert_eq!(
        journal::list(&mut rows, &everything, &now, Some((first.position, first.leg)), 1_000).await.unwrap(),
        rest
    );
    let trial = journal::trial_balance(&mut rows, None).await.unwrap();
    for currency in ["EUR", "USD"] {
        let of = trial.iter().filter(|row| row.currency == currency);
        assert_eq!(of.map(|row| row.balance).sum::<Decimal>(), Decimal::ZERO);
    }
    assert_eq!(journal::trial_balance_at(&mut rows, None, &now).await.unwrap(), trial);
    let before_the_first = Moment { as_of: Some(first.occurred_at - TimeDelta::microseconds(1)), known_at: None };
    let known = journal::trial_balance_at(&mut rows, None, &before_the_first).await.unwrap();
    assert_eq!(known, []);
    let wallets = journal::Filter { ledger_account: Some("customer_wallets".into()), ..everything };
    let wallets = journal::list(&mut rows, &wallets, &now, None, 1_000).await.unwrap();
    assert!(!wallets.is_empty() && wallets.iter().all(|line| line.account_id.is_some()));

    let filter = all().lasting("currency", Some("USD"));
    let dollars = list::<AccountRow>(&mut rows, &filter).await.remove(0);
    let id = &dollars.id;
    let history = history::list(&mut rows, &Viewer::Provider, id, &AGGREGATE_TYPES, &now, None, 1_000).await.unwrap();
    let (newest, older) = history.split_first().unwrap();
    assert_eq!(
        history::list(&mut rows, &Viewer::Provider, id, &AGGREGATE_TYPES, &now, Some(newest.position), 1_000)
            .await
            .unwrap(),
        older
    );
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
