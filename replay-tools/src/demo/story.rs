//! What happens to the provider and its customers, month after month.

use chrono::{DateTime, Datelike, Days, Duration, Months, NaiveDate, Utc};
use daybook_core::{
    Actor, ActorKind,
    domain::{
        AccountId, Currency, CustomerId, InvoiceId, Money, OrderId, PayerId, PaymentId, Rounding,
        discount::{Audience, Scope, Value},
        invoice::{DraftLine, LineToCredit},
        order::ItemRequest,
        payer::{Address, PayerKind},
        payment::Purpose,
        ticket::Subject,
    },
    operations::{
        AccountOpening, ChangeTerms, CreditRequest, FailRefund, GatewayNotice, GrantDiscount, IssueCreditNote,
        IssueInvoice, JoinGroup, NoticeOutcome, Numbering, Operation, PayOrder, PayOrderBy, PaymentRequest, PlaceOrder,
        Profile, Registration, SettleRefund, StartRefund, Terms, TicketAction, TicketOpening, TransferFunds,
        WriteOnTicket,
    },
    terms::tax::RoundingPolicy,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::{Decimal, dec};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::Teller;
use crate::ToolError;

/// The length of the story.
pub const MONTHS: u32 = 24;

/// The first day of the story.
const BEGIN: NaiveDate = NaiveDate::from_ymd_opt(2024, 1, 1).expect("a date");

/// Product, price in dollars a month.
const PRODUCTS: [(&str, &str, Decimal); 5] = [
    ("vps-1", "virtual server, 1 core", dec!(6.00)),
    ("vps-2", "virtual server, 2 cores", dec!(12.00)),
    ("vps-4", "virtual server, 4 cores", dec!(24.00)),
    ("domain-com", "domain .com, one year", dec!(11.50)),
    ("ssl-dv", "certificate, one year", dec!(39.00)),
];

struct Client {
    customer: CustomerId,
    payer: PayerId,
    account: AccountId,
    currency: Currency,
    /// A second account in euro, for those who have one.
    euro: Option<AccountId>,
    post_paid: bool,
    since: DateTime<Utc>,
    payments: Vec<PaymentId>,
    gateway_payments: u32,
}

/// Tells the whole story; the same seed and number of customers give the same one.
pub(super) async fn tell(teller: &mut Teller, seed: u64, customers: u32) -> Result<(), ToolError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    price_list(teller).await?;
    let mut clients = Vec::new();
    for month in 0..MONTHS {
        let first = BEGIN + Months::new(month);
        while clients.len() < (customers * (month + 1)).div_ceil(18).min(customers) as usize {
            let number = clients.len() as u32 + 1;
            let at = moment(first, rng.random_range(0..3), &mut rng);
            clients.push(register(teller, &mut rng, number, at).await?);
        }
        for client in &mut clients {
            month_of(teller, &mut rng, client, first).await?;
        }
        teller.progress.advance(1);
    }
    match clients.iter_mut().find(|client| !client.post_paid) {
        Some(client) => out_of_the_ordinary(teller, client).await,
        None => Ok(()),
    }
}

/// What seldom happens, once: a dispute that is won, one that is lost, a payment that comes short, and a refund that is made
/// at the gateway.
async fn out_of_the_ordinary(teller: &mut Teller, client: &mut Client) -> Result<(), ToolError> {
    let last = BEGIN + Months::new(MONTHS - 1) + Days::new(24);
    let at = last.and_hms_opt(9, 30, 0).expect("a time of day").and_utc();
    let gateway = || Actor::new(ActorKind::Gateway, "cardgate");
    let in_dollars = |dollars| price(client.currency, dollars);

    let start = PaymentRequest {
        account: client.account.clone(),
        payer: Some(client.payer.clone()),
        method: "card".into(),
        amount: in_dollars(dec!(40)),
        purpose: Purpose::Advance,
    };
    let short: PaymentId = id(&teller.tell(at, shopper(client), Operation::StartPayment(start)).await?)?;
    let notice = |amount, outcome| {
        Operation::GatewayNotice(GatewayNotice {
            gateway: "cardgate".into(),
            gateway_payment: format!("{}-short", client.account),
            payment: Some(short.clone()),
            account: client.account.clone(),
            amount,
            purpose: Purpose::Advance,
            outcome,
        })
    };
    let disputed = |name: &str| NoticeOutcome::Disputed {
        gateway_dispute: name.into(),
        gateway_reason: "product not received".into(),
    };
    let steps = [
        (1, in_dollars(dec!(39)), NoticeOutcome::Succeeded),
        (24, in_dollars(dec!(20)), disputed("case-1")),
        (48, in_dollars(dec!(10)), disputed("case-2")),
        (72, in_dollars(dec!(20)), NoticeOutcome::DisputeWon { gateway_dispute: "case-1".into() }),
        (96, in_dollars(dec!(10)), NoticeOutcome::DisputeLost { gateway_dispute: "case-2".into() }),
        (120, in_dollars(dec!(4)), NoticeOutcome::Refunded { gateway_refund: "refund-1".into() }),
    ];
    for (hours, amount, outcome) in steps {
        teller.tell(at + Duration::hours(hours), gateway(), notice(amount, outcome)).await?;
    }
    Ok(())
}

async fn price_list(teller: &mut Teller) -> Result<(), ToolError> {
    let at = BEGIN.and_hms_opt(0, 0, 0).expect("midnight").and_utc();
    let grants = [
        (Audience::Everyone, "domains are cheaper", Scope::Product("domain-com".into()), Value::Percent(dec!(10))),
        (Audience::Group("resellers".into()), "resellers", Scope::All, Value::Percent(dec!(15))),
        (Audience::Everyone, "opening week", Scope::All, Value::Percent(dec!(25))),
    ];
    for (audience, name, scope, value) in grants {
        let valid_until = (name == "opening week").then(|| at + Duration::days(7));
        let name = name.into();
        let grant = GrantDiscount { audience, name, scope, value, priority: 0, valid_from: Some(at), valid_until };
        // The first event of a ledger says whether it is a demonstration.
        teller.tell(at, system(), Operation::GrantDiscount(grant)).await?;
    }
    Ok(())
}

async fn register(
    teller: &mut Teller,
    rng: &mut ChaCha8Rng,
    number: u32,
    at: DateTime<Utc>,
) -> Result<Client, ToolError> {
    const NAMES: [&str; 12] = [
        "Amber", "Birch", "Cedar", "Dune", "Ember", "Fjord", "Grove", "Harbour", "Iris", "Juniper", "Kestrel", "Linden",
    ];
    const TRADES: [&str; 4] = ["Bakery", "Studio", "Logistics", "Games"];
    let name = format!("{} {}", NAMES[number as usize % NAMES.len()], TRADES[rng.random_range(0..TRADES.len())]);
    let register =
        Registration { name: name.clone().into(), email: Some(format!("billing{number}@example.com").into()) };
    let customer: CustomerId = id(&teller.tell(at, system(), Operation::RegisterCustomer(register)).await?)?;
    let (code, zone, country) = match number % 3 {
        0 => ("JPY", "Asia/Tokyo", "JP"),
        1 => ("USD", "America/New_York", "US"),
        _ => ("EUR", "Europe/Berlin", "DE"),
    };
    let address = Address {
        country: country.into(),
        postal_code: format!("{:05}", rng.random_range(10_000..99_999)).into(),
        city: "Springfield".into(),
        street: format!("Main Street {}", rng.random_range(1..200)).into(),
    };
    let kind = if number.is_multiple_of(4) { PayerKind::Individual } else { PayerKind::Company };
    let payer = Profile { customer: customer.clone(), kind, name: name.into(), address, tax_number: None };
    let payer = id(&teller.tell(at, system(), Operation::CreatePayer(payer)).await?)?;
    let account = open(teller, at, &customer, code, zone).await?;
    let euro = if number % 6 == 1 { Some(open(teller, at, &customer, "EUR", zone).await?) } else { None };
    let post_paid = number % 4 == 1;
    if post_paid {
        let terms = ChangeTerms { account: account.clone(), terms: Terms::PostPaidAllowed };
        teller.tell(at, staff("olga"), Operation::ChangeTerms(terms)).await?;
    }
    if number.is_multiple_of(5) {
        let join = JoinGroup { customer: customer.clone(), group: "resellers".into() };
        teller.tell(at, staff("olga"), Operation::JoinGroup(join)).await?;
    }
    let currency = code.parse()?;
    let payments = Vec::new();
    Ok(Client { customer, payer, account, currency, euro, post_paid, since: at, payments, gateway_payments: 0 })
}

async fn open(
    teller: &mut Teller,
    at: DateTime<Utc>,
    customer: &CustomerId,
    code: &str,
    zone: &str,
) -> Result<AccountId, ToolError> {
    let (customer, currency) = (customer.clone(), code.parse()?);
    let open = AccountOpening { customer, currency, name: format!("hosting, {code}"), time_zone: zone.into() };
    id(&teller.tell(at, system(), Operation::OpenAccount(open)).await?)
}

async fn month_of(
    teller: &mut Teller,
    rng: &mut ChaCha8Rng,
    client: &mut Client,
    first: NaiveDate,
) -> Result<(), ToolError> {
    let at = moment(first, 3 + rng.random_range(0..5), rng).max(client.since + Duration::days(1));
    if client.post_paid {
        invoice_month(teller, rng, client, first, at).await?;
    } else {
        if rng.random_bool(0.8) {
            let amount = price(client.currency, Decimal::from(rng.random_range(2..12) * 5));
            pay(teller, rng, client, at, amount, Purpose::Advance).await?;
        }
        if rng.random_bool(0.6) {
            order(teller, rng, client, at + Duration::days(2)).await?;
        }
    }
    if rng.random_bool(0.05) {
        refund(teller, rng, client, at + Duration::days(6)).await?;
    }
    if rng.random_bool(0.2) {
        ticket(teller, rng, client, at + Duration::days(4), None).await?;
    }
    if let (Some(euro), true) = (&client.euro, rng.random_bool(0.15)) {
        let amount = price(client.currency, dec!(10));
        let (from, to, rate_source) = (client.account.clone(), euro.clone(), "demonstration rate".into());
        let transfer = TransferFunds { from, to, amount, rate: dec!(0.9137), rate_source };
        // Refused when the account does not hold as much.
        let _ = teller.attempt(at + Duration::days(8), shopper(client), Operation::TransferFunds(transfer)).await?;
    }
    Ok(())
}

/// A payment as gateways report it: sometimes failed, sometimes twice, seldom taken back.
async fn pay(
    teller: &mut Teller,
    rng: &mut ChaCha8Rng,
    client: &mut Client,
    at: DateTime<Utc>,
    amount: Money,
    purpose: Purpose,
) -> Result<(), ToolError> {
    client.gateway_payments += 1;
    let notice = GatewayNotice {
        gateway: "cardgate".into(),
        gateway_payment: format!("{}-{}", client.account, client.gateway_payments),
        payment: None,
        account: client.account.clone(),
        amount,
        purpose,
        outcome: NoticeOutcome::Succeeded,
    };
    let gateway = Actor::new(ActorKind::Gateway, "cardgate");
    if rng.random_bool(0.06) {
        let outcome = NoticeOutcome::Failed { gateway_reason: "card declined".into() };
        let failed = GatewayNotice { outcome, ..notice.clone() };
        teller.tell(at, gateway.clone(), Operation::GatewayNotice(failed)).await?;
        if rng.random_bool(0.5) {
            return Ok(());
        }
    }
    let answer =
        teller.tell(at + Duration::minutes(2), gateway.clone(), Operation::GatewayNotice(notice.clone())).await?;
    client.payments.push(id(&answer)?);
    if rng.random_bool(0.1) {
        teller.tell(at + Duration::minutes(3), gateway.clone(), Operation::GatewayNotice(notice.clone())).await?;
    }
    if rng.random_bool(0.01) {
        let outcome = NoticeOutcome::Fraudulent { gateway_reason: "charged back".into() };
        let taken_back = GatewayNotice { outcome, ..notice };
        teller.tell(at + Duration::days(9), gateway, Operation::GatewayNotice(taken_back)).await?;
    }
    Ok(())
}

async fn order(
    teller: &mut Teller,
    rng: &mut ChaCha8Rng,
    client: &mut Client,
    at: DateTime<Utc>,
) -> Result<(), ToolError> {
    let items = (0..rng.random_range(1..=3)).map(|_| {
        let (product, description, dollars) = PRODUCTS[rng.random_range(0..PRODUCTS.len())];
        ItemRequest {
            product: product.into(),
            description: description.into(),
            quantity: Decimal::ONE,
            unit_price: price(client.currency, dollars).amount(),
            part: None,
            tax_rate: if client.currency.code() == "EUR" { dec!(19) } else { Decimal::ZERO },
        }
    });
    let description = "services".to_owned();
    let place = PlaceOrder { account: client.account.clone(), description, items: items.collect() };
    let placed = teller.tell(at, shopper(client), Operation::PlaceOrder(place)).await?;
    let order: OrderId = id(&placed)?;
    let missing: Money = serde_json::from_value(placed["missing"].clone())?;
    let later = at + Duration::minutes(5);
    if missing.is_positive() {
        // Some pay at once, some forget the order.
        if rng.random_bool(0.75) {
            pay(teller, rng, client, later, missing, Purpose::Order(order.clone())).await?;
        }
    } else {
        let pay = PayOrder { order: order.clone(), by: PayOrderBy::Balance };
        let processed = teller.tell(later, shopper(client), Operation::PayOrder(pay)).await?;
        debug_assert_eq!(processed["status"], "processed");
    }
    if rng.random_bool(0.15) {
        ticket(teller, rng, client, at + Duration::days(1), Some(Subject::Order(order))).await?;
    }
    Ok(())
}

/// A post-paid customer gets one invoice for the month, pays it late, in parts or not at all, and is sometimes
/// credited a part of it.
async fn invoice_month(
    teller: &mut Teller,
    rng: &mut ChaCha8Rng,
    client: &mut Client,
    first: NaiveDate,
    at: DateTime<Utc>,
) -> Result<(), ToolError> {
    let lines = (0..rng.random_range(1..=4)).map(|_| {
        let (item, description, dollars) = PRODUCTS[rng.random_range(0..3)];
        DraftLine {
            item: item.into(),
            description: description.into(),
            quantity: rng.random_range(1..6).into(),
            unit_price: price(client.currency, dollars).amount(),
            tax_rate: if client.currency.code() == "USD" { dec!(8.875) } else { dec!(19) },
        }
    });
    let issue = IssueInvoice {
        account: client.account.clone(),
        payer: client.payer.clone(),
        numbering: Numbering::Series(format!("INV-{}", first.year())),
        issued_on: Some(at.date_naive()),
        due_in_days: 14,
        policy: RoundingPolicy::default(),
        lines: lines.collect(),
        discount: None,
    };
    let issued = teller.tell(at, system(), Operation::IssueInvoice(issue)).await?;
    let invoice: InvoiceId = id(&issued)?;
    let total: Money = serde_json::from_value(issued["total"].clone())?;
    match rng.random_range(0..10) {
        0 => {}
        1 | 2 => {
            let half = Money::round(total.amount() / dec!(2), total.currency(), Rounding::default());
            if half.is_positive() {
                pay(teller, rng, client, at + Duration::days(10), half, Purpose::Invoice(invoice.clone())).await?;
            }
        }
        _ => pay(teller, rng, client, at + Duration::days(12), total, Purpose::Invoice(invoice.clone())).await?,
    }
    if rng.random_bool(0.08) {
        let whole_line = LineToCredit { line: 1, quantity: None, amount: None };
        let (item, description) = (String::new(), "service was not delivered".to_owned());
        let note = IssueCreditNote {
            account: client.account.clone(),
            payer: client.payer.clone(),
            numbering: Numbering::Series(format!("CN-{}", first.year())),
            issued_on: Some((at + Duration::days(15)).date_naive()),
            policy: RoundingPolicy::default(),
            lines: vec![CreditRequest::Line { invoice, line: whole_line, item, description }],
        };
        teller.tell(at + Duration::days(15), staff("olga"), Operation::IssueCreditNote(note)).await?;
    }
    Ok(())
}

async fn refund(
    teller: &mut Teller,
    rng: &mut ChaCha8Rng,
    client: &mut Client,
    at: DateTime<Utc>,
) -> Result<(), ToolError> {
    let Some(payment) = client.payments.last().cloned() else { return Ok(()) };
    let amount = price(client.currency, dec!(5));
    let start = StartRefund { payment: payment.clone(), amount, gateway_refund: None };
    // Refused when the money has been spent.
    let Ok(started) = teller.attempt(at, staff("pavel"), Operation::StartRefund(start)).await? else {
        return Ok(());
    };
    let refund = id(&started)?;
    let later = at + Duration::hours(3);
    let outcome = if rng.random_bool(0.8) {
        Operation::SettleRefund(SettleRefund { payment, refund, gateway_refund: None })
    } else {
        Operation::FailRefund(FailRefund { payment, refund, gateway_reason: "card expired".into() })
    };
    teller.tell(later, Actor::new(ActorKind::Gateway, "cardgate"), outcome).await?;
    Ok(())
}

async fn ticket(
    teller: &mut Teller,
    rng: &mut ChaCha8Rng,
    client: &Client,
    at: DateTime<Utc>,
    about: Option<Subject>,
) -> Result<(), ToolError> {
    const SUBJECTS: [&str; 4] = ["server is slow", "how do I move a domain", "question about an invoice", "no mail"];
    let subject = SUBJECTS[rng.random_range(0..SUBJECTS.len())];
    let open = TicketOpening {
        customer: client.customer.clone(),
        category: "support".into(),
        subject: subject.into(),
        about,
        message: format!("Hello, {subject}?").into(),
    };
    let ticket: daybook_core::domain::TicketId =
        id(&teller.tell(at, shopper(client), Operation::OpenTicket(open)).await?)?;
    let steps = [
        (staff("pavel"), TicketAction::TakeUp),
        (staff("pavel"), TicketAction::Answer { message: "We have looked into it and mended it.".into() }),
        (shopper(client), TicketAction::Read),
        (shopper(client), TicketAction::Archive),
    ];
    let reached = rng.random_range(0..=steps.len());
    for ((actor, action), hours) in steps.into_iter().take(reached).zip(1..) {
        let write = WriteOnTicket { ticket: ticket.clone(), action };
        teller.tell(at + Duration::hours(hours * 2), actor, Operation::WriteOnTicket(write)).await?;
    }
    Ok(())
}

/// A price in dollars as this currency has it: round figures, not rates of exchange.
fn price(currency: Currency, dollars: Decimal) -> Money {
    let exact = if currency.digits() == 0 { dollars * dec!(150) } else { dollars };
    Money::round(exact, currency, Rounding::default())
}

/// A moment on a day of the month, in office hours.
fn moment(first: NaiveDate, day: u64, rng: &mut ChaCha8Rng) -> DateTime<Utc> {
    let time = (rng.random_range(8..18), rng.random_range(0..60), rng.random_range(0..60));
    let day = first.checked_add_days(Days::new(day)).expect("the story ends long before the calendar");
    day.and_hms_opt(time.0, time.1, time.2).expect("a time of day").and_utc()
}

fn staff(name: &str) -> Actor {
    Actor::new(ActorKind::Staff, name)
}

fn system() -> Actor {
    Actor::system("demonstration")
}

fn shopper(client: &Client) -> Actor {
    Actor::new(ActorKind::Customer, client.customer.as_str())
}

fn id<T: DeserializeOwned>(answer: &Json) -> Result<T, ToolError> {
    Ok(serde_json::from_value(answer["id"].clone())?)
}
