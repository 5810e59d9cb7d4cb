//! Importing invoice lines: one account per customer, every document an invoice, a credit note or an adjustment.
//!
//! Every command carries an idempotency key made of the document's number, so that an import that was interrupted
//! anywhere is completed by running it again, and one that was complete imports nothing twice.

mod lines;
mod matching;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    process::ExitCode,
};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use daybook_core::{
    Actor, Context,
    domain::{
        AccountId, Currency, InvoiceId, Money, PayerId, Rounding,
        invoice::{DraftLine, LineToCredit},
        payer::{Address, PayerKind},
        tax::RoundingPolicy,
    },
    operations::{
        AdjustAccount, Answer, ChangeTerms, CreatePayer, CreditRequest, IssueCreditNote, IssueInvoice, Numbering,
        OpenAccount, Operation, RegisterCustomer, Terms,
    },
    writer::{Command, Done, ExecuteError, Idempotency, WriterHandle},
};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use rust_decimal::Decimal;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::{
    lines::{Document, Gathering, Kind, Line, Lines, Party, Survey},
    matching::Matching,
};
use crate::{
    ToolError,
    ledger::{Ledger, LedgerOptions},
    progress::Progress,
};

/// How many documents wait for the writer at once: enough to fill its batches, few enough to keep memory flat.
const IN_FLIGHT: usize = 256;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The file, CSV or CSV.gz, with the columns InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice,
    /// CustomerID and Country
    file: PathBuf,
    /// Currency of all prices, by its ISO 4217 code
    #[arg(long, default_value = "GBP")]
    currency: Currency,
    /// IANA time zone of the dates in the file
    #[arg(long, default_value = "Europe/London")]
    time_zone: Tz,
    /// Days until an invoice is due
    #[arg(long, default_value_t = 30)]
    due_in_days: u16,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// What an import has done.
#[derive(Debug, Default, Serialize)]
struct Summary {
    lines: u64,
    accounts: u64,
    invoices: u64,
    credit_notes: u64,
    adjustments: u64,
    /// Credited lines that refer to an earlier invoice line.
    referring_lines: u64,
    /// Credited lines that refer to none.
    free_standing_lines: u64,
    /// Commands that an earlier run had recorded already.
    found_recorded: u64,
    position: u64,
}

/// Reads the file twice: once to check every line, once to record.
pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let survey = Lines::open(&arguments.file, arguments.time_zone)
        .map_err(|error| format!("{}: {error}", arguments.file.display()))?
        .survey()?;
    let ledger = Ledger::open(options).await?;
    let running = ledger.run().await?;
    let imported = Import::new(running.writer(), arguments, &survey).run().await;
    // What was accepted is written and projected even when the import stops half-way.
    running.catch_up_and_stop().await?;
    ledger.close().await?;

    let summary = imported?;
    if arguments.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!(
            "{} lines: {} accounts, {} invoices, {} credit notes ({} lines refer to an invoice, {} stand free), \
             {} adjustments; {} of these commands had been recorded before; the book stands at position {}",
            summary.lines,
            summary.accounts,
            summary.invoices,
            summary.credit_notes,
            summary.referring_lines,
            summary.free_standing_lines,
            summary.adjustments,
            summary.found_recorded,
            summary.position,
        );
    }
    Ok(ExitCode::SUCCESS)
}

struct Import<'a> {
    writer: WriterHandle,
    arguments: &'a Arguments,
    survey: &'a Survey,
    books: HashMap<String, Book>,
    matching: Matching,
    /// The invoices that have been answered, by number.
    issued: HashMap<Box<str>, InvoiceId>,
    in_flight: VecDeque<InFlight>,
    summary: Summary,
    progress: Progress,
}

/// A document that the writer has and has not answered yet.
struct InFlight {
    number: Box<str>,
    answer: BoxFuture<'static, Result<Done, ExecuteError>>,
}

/// Where the documents of one customer go.
#[derive(Clone)]
struct Book {
    account: AccountId,
    payer: PayerId,
}

impl<'a> Import<'a> {
    fn new(writer: WriterHandle, arguments: &'a Arguments, survey: &'a Survey) -> Self {
        let progress = match arguments.json {
            true => Progress::hidden(),
            false => Progress::new("importing", "lines", survey.lines),
        };
        Self {
            writer,
            arguments,
            survey,
            books: HashMap::new(),
            matching: Matching::default(),
            issued: HashMap::new(),
            in_flight: VecDeque::new(),
            summary: Summary::default(),
            progress,
        }
    }

    async fn run(mut self) -> Result<Summary, ToolError> {
        self.open_books().await?;
        let mut lines = Lines::open(&self.arguments.file, self.arguments.time_zone)?;
        let mut gathering = Gathering::default();
        while let Some(document) = lines.next_document(self.survey, &mut gathering)? {
            self.record(document).await?;
        }
        while self.answered().await? {}
        self.progress.finish();
        Ok(self.summary)
    }

    /// A customer, an account and a payer for each party of the file.
    async fn open_books(&mut self) -> Result<(), ToolError> {
        let parties = self.survey.parties.iter();
        let opened = stream::iter(parties.map(|party| open_book(&self.writer, self.arguments, party)))
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<_>>()
            .await?;
        for (customer, book, replayed, position) in opened {
            self.books.insert(customer, book);
            self.summary.accounts += 1;
            self.summary.found_recorded += replayed;
            self.summary.position = self.summary.position.max(position);
        }
        Ok(())
    }

    async fn record(&mut self, document: Document) -> Result<(), ToolError> {
        let lines = document.lines.len() as u64;
        let operation = match document.kind {
            Kind::Invoice => self.invoice(&document),
            Kind::CreditNote => self.credit_note(&document).await?,
            Kind::Adjustment => self.adjustment(&document)?,
        };
        if self.in_flight.len() >= IN_FLIGHT {
            self.answered().await?;
        }
        let key = format!("document:{}", document.number);
        let command = command(operation, key, document.at, fingerprint(&document));
        let number = document.number.into_boxed_str();
        // In the writer's queue at once, in the order of the file.
        let submitted = self.writer.submit(command);
        self.in_flight.push_back(InFlight { number, answer: submitted.boxed() });
        self.summary.lines += lines;
        self.progress.advance(lines);
        Ok(())
    }

    /// Waits for the oldest document in flight; false when there is none.
    async fn answered(&mut self) -> Result<bool, ToolError> {
        let Some(InFlight { number, answer }) = self.in_flight.pop_front() else {
            return Ok(false);
        };
        let done = answer.await.map_err(|error| format!("document {number} was not recorded: {error}"))?;
        self.summary.found_recorded += u64::from(done.replayed);
        self.summary.position = self.summary.position.max(done.position);
        if number.bytes().all(|b| b.is_ascii_digit()) {
            let invoice = id(&done.answer, "id")?;
            self.issued.insert(number, invoice);
        }
        Ok(true)
    }

    fn book(&self, customer: &str) -> Book {
        self.books.get(customer).cloned().expect("the survey has seen every customer of the file")
    }

    fn invoice(&mut self, document: &Document) -> Operation {
        self.matching.add_invoice(&document.number, &document.customer, &document.lines);
        self.summary.invoices += 1;
        let Book { account, payer } = self.book(&document.customer);
        Operation::IssueInvoice(IssueInvoice {
            account,
            payer,
            numbering: Numbering::Given(document.number.clone()),
            issued_on: Some(document.at.with_timezone(&self.arguments.time_zone).date_naive()),
            due_in_days: self.arguments.due_in_days,
            policy: RoundingPolicy::default(),
            lines: document.lines.iter().map(|line| draft(line, line.quantity)).collect(),
            discount: None,
        })
    }

    async fn credit_note(&mut self, document: &Document) -> Result<Operation, ToolError> {
        self.summary.credit_notes += 1;
        let mut requests = Vec::with_capacity(document.lines.len());
        for line in &document.lines {
            let quantity = line.quantity.abs();
            let request = match self.matching.take(&document.customer, &line.item, quantity, line.unit_price) {
                None => {
                    self.summary.free_standing_lines += 1;
                    CreditRequest::Free(draft(line, quantity))
                }
                Some(found) => {
                    self.summary.referring_lines += 1;
                    let invoice = self.issued_invoice(&found.invoice).await?;
                    let amount = Some(quantity * line.unit_price);
                    let cancelled = LineToCredit { line: found.line, quantity: Some(quantity), amount };
                    let (item, description) = (line.item.clone(), line.description.clone());
                    CreditRequest::Line { invoice, line: cancelled, item, description }
                }
            };
            requests.push(request);
        }
        let Book { account, payer } = self.book(&document.customer);
        Ok(Operation::IssueCreditNote(IssueCreditNote {
            account,
            payer,
            numbering: Numbering::Given(document.number.clone()),
            issued_on: Some(document.at.with_timezone(&self.arguments.time_zone).date_naive()),
            policy: RoundingPolicy::default(),
            lines: requests,
        }))
    }

    /// The identifier of an invoice of this file, waiting until the writer has answered it.
    async fn issued_invoice(&mut self, number: &str) -> Result<InvoiceId, ToolError> {
        loop {
            if let Some(invoice) = self.issued.get(number) {
                return Ok(invoice.clone());
            }
            if !self.answered().await? {
                return Err(format!("invoice {number} was never issued").into());
            }
        }
    }

    fn adjustment(&mut self, document: &Document) -> Result<Operation, ToolError> {
        self.summary.adjustments += 1;
        let exact: Decimal = document.lines.iter().map(|line| line.quantity * line.unit_price).sum();
        // What the file charges lowers the balance.
        let amount = Money::round(-exact, self.arguments.currency, Rounding::default());
        let words: Vec<&str> = document.lines.iter().map(|line| line.description.as_str()).collect();
        let description = format!("adjustment {}: {}", document.number, words.join(", "));
        Ok(Operation::AdjustAccount(AdjustAccount {
            account: self.book(&document.customer).account,
            amount,
            description,
        }))
    }
}

/// Registers a party of the file, and opens its account: post-paid, because a file of invoices has no payments.
async fn open_book(
    writer: &WriterHandle,
    arguments: &Arguments,
    party: &Party,
) -> Result<(String, Book, u64, u64), ToolError> {
    let (name, label) = match party.customer.as_str() {
        "" => ("walk-in customer".to_owned(), "walk-in".to_owned()),
        number => (format!("customer {number}"), number.to_owned()),
    };
    let mut replayed = 0;
    let mut position = 0;
    let mut step = async |verb: &str, operation: Operation| -> Result<Answer, ToolError> {
        let key = format!("{verb}:{label}");
        let print = Sha256::digest(format!("{key}:{}:{}", arguments.currency, arguments.time_zone)).into();
        let done = writer.execute(command(operation, key, party.since, print)).await;
        let done = done.map_err(|error| format!("{name}: {error}"))?;
        replayed += u64::from(done.replayed);
        position = position.max(done.position);
        Ok(done.answer)
    };

    let register = RegisterCustomer { name: name.clone(), email: None };
    let customer = id(&step("customer", Operation::RegisterCustomer(register)).await?, "id")?;
    let open = OpenAccount {
        customer,
        currency: arguments.currency,
        name: name.clone(),
        time_zone: arguments.time_zone.name().into(),
    };
    let customer = open.customer.clone();
    let account: AccountId = id(&step("account", Operation::OpenAccount(open)).await?, "id")?;
    let terms = ChangeTerms { account: account.clone(), terms: Terms::PostPaidAllowed };
    step("post-paid", Operation::ChangeTerms(terms)).await?;
    let address = Address {
        country: party.country.clone(),
        postal_code: String::new(),
        city: String::new(),
        street: String::new(),
    };
    let payer = CreatePayer { customer, kind: PayerKind::Company, name: name.clone(), address, tax_number: None };
    let payer = id(&step("payer", Operation::CreatePayer(payer)).await?, "id")?;
    Ok((party.customer.clone(), Book { account, payer }, replayed, position))
}

fn command(operation: Operation, key: String, at: DateTime<Utc>, fingerprint: [u8; 32]) -> Command {
    let context = Context {
        actor: Actor::system("import"),
        on_behalf_of: None,
        reason: Some("imported from a file of invoice lines".into()),
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        occurred_at: at,
    };
    let idempotency = Idempotency { scope: "import-invoices".into(), key, fingerprint };
    Command { id: Uuid::now_v7(), operation, context, idempotency: Some(idempotency) }
}

/// The same document has the same print; the same number with other content is refused by the writer.
fn fingerprint(document: &Document) -> [u8; 32] {
    let Document { number, kind, customer, at, lines } = document;
    let lines: Vec<_> =
        lines.iter().map(|line| json!([line.item, line.description, line.quantity, line.unit_price])).collect();
    Sha256::digest(json!([number, format!("{kind:?}"), customer, at, lines]).to_string()).into()
}

fn draft(line: &Line, quantity: Decimal) -> DraftLine {
    DraftLine {
        item: line.item.clone(),
        description: line.description.clone(),
        quantity,
        unit_price: line.unit_price,
        tax_rate: Decimal::ZERO,
    }
}

fn id<T: DeserializeOwned>(answer: &Answer, field: &str) -> Result<T, ToolError> {
    Ok(serde_json::from_value(answer[field].clone())?)
}
