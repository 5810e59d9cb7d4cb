//! Importing invoice lines: one account per customer, every document an invoice, a credit note or an adjustment.
//!
//! Every command carries an idempotency key made of the document's number, so that an import that was interrupted
//! anywhere is completed by running it again, and one that was complete imports nothing twice.
//!
//! A file goes in whole or not at all: before anything is recorded, all of it is decided in memory by the same operations.

mod desk;
mod lines;
mod matching;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    process::ExitCode,
};

use chrono_tz::Tz;
use daybook_core::{
    chain,
    domain::{
        AccountId, Currency, InvoiceId, Money, PayerId, Rounding,
        account::AccountRejection,
        credit_note::CreditNoteRejection,
        invoice::{DraftLine, InvoiceRejection, LineToCredit, sums_exactly},
        payer::{Address, PayerKind},
    },
    operations::{
        AccountOpening, AdjustAccount, Answer, ChangeTerms, CreditRequest, IssueCreditNote, IssueInvoice, Numbering,
        Operation, Profile, Refusal, Registration, Terms,
    },
    terms::tax::RoundingPolicy,
    writer::{Done, ExecuteError},
};
use futures::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use rust_decimal::Decimal;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use sha2::{Digest, Sha256};

use self::{
    desk::{Desk, Fingerprint, Request},
    lines::{Document, Gathering, Kind, Line, Lines, Malformed, Party, Survey, kind_of},
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
    /// Credit notes and adjustments over nothing, such as for the return of what had been free: nothing is recorded.
    skipped_over_nothing: u64,
    /// Commands that an earlier run had recorded already.
    found_recorded: u64,
    position: u64,
}

/// Reads the file three times: to check every line, to rehearse every command, and to record.
pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let survey = Lines::open(&arguments.file, arguments.time_zone)?.survey()?;
    let ledger = Ledger::open(options).await?;
    let imported = import(&ledger, options, arguments, &survey).await;
    ledger.close().await?;

    let summary = imported?;
    if arguments.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!(
            "{} lines: {} accounts, {} invoices, {} credit notes ({} lines refer to an invoice, {} stand free), \
             {} adjustments; {} credit notes and adjustments over nothing were left out; {} of these commands had been recorded before; the book stands at position {}",
            summary.lines,
            summary.accounts,
            summary.invoices,
            summary.credit_notes,
            summary.referring_lines,
            summary.free_standing_lines,
            summary.adjustments,
            summary.skipped_over_nothing,
            summary.found_recorded,
            summary.position,
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn import(
    ledger: &Ledger,
    options: &LedgerOptions,
    arguments: &Arguments,
    survey: &Survey,
) -> Result<Summary, ToolError> {
    ledger.refuse_fork(options).await?;
    let keys =
        survey.parties.iter().flat_map(keys_of_party).chain(survey.lines_of.keys().map(|number| document_key(number)));
    let rehearsing = Desk::rehearsing(ledger.store(), keys).await?;
    let (_, over_nothing) = Import::new(rehearsing.clone(), arguments, survey, HashSet::new()).run().await?;

    let running = ledger.run().await?;
    let recording = rehearsing.recording(running.writer());
    let recorded = Import::new(recording, arguments, survey, over_nothing).run().await;
    // What was accepted is written and projected even when the import stops half-way.
    running.catch_up_and_stop().await?;
    let (summary, _) = recorded?;
    Ok(summary)
}

struct Import<'a> {
    desk: Desk,
    arguments: &'a Arguments,
    survey: &'a Survey,
    books: HashMap<String, Book>,
    matching: Matching,
    /// The invoices that have been answered, by number.
    issued: HashMap<Box<str>, InvoiceId>,
    /// The documents that the domain refuses because they move nothing.
    over_nothing: HashSet<Box<str>>,
    in_flight: VecDeque<InFlight>,
    summary: Summary,
    progress: Progress,
}

/// A document that the writer has and has not answered yet.
struct InFlight {
    number: Box<str>,
    /// Where its lines stand in the file.
    places: Vec<u64>,
    answer: BoxFuture<'static, Result<Done, ExecuteError>>,
}

/// Where the documents of one customer go.
#[derive(Clone)]
struct Book {
    account: AccountId,
    payer: PayerId,
}

impl<'a> Import<'a> {
    /// `over_nothing` is what the rehearsal has found of it.
    fn new(desk: Desk, arguments: &'a Arguments, survey: &'a Survey, over_nothing: HashSet<Box<str>>) -> Self {
        let progress = match arguments.json {
            true => Progress::hidden(),
            false => Progress::new(if desk.records() { "importing" } else { "checking" }, "lines", survey.lines),
        };
        Self {
            desk,
            arguments,
            survey,
            books: HashMap::new(),
            matching: Matching::default(),
            issued: HashMap::new(),
            over_nothing,
            in_flight: VecDeque::new(),
            summary: Summary::default(),
            progress,
        }
    }

    /// What it comes to, and the documents that were left out.
    async fn run(mut self) -> Result<(Summary, HashSet<Box<str>>), ToolError> {
        self.open_books().await?;
        let mut lines = Lines::open(&self.arguments.file, self.arguments.time_zone)?;
        let mut gathering = Gathering::default();
        while let Some(document) = lines.next_document(self.survey, &mut gathering)? {
            self.record(document).await?;
        }
        while self.answered().await? {}
        self.progress.finish();
        self.summary.skipped_over_nothing = self.over_nothing.len() as u64;
        Ok((self.summary, self.over_nothing))
    }

    /// A customer, an account and a payer for each party of the file.
    async fn open_books(&mut self) -> Result<(), ToolError> {
        let parties = self.survey.parties.iter();
        let opened = stream::iter(parties.map(|party| open_book(&self.desk, self.arguments, party)))
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
        self.summary.lines += lines;
        self.progress.advance(lines);
        if self.over_nothing.contains(document.number.as_str()) {
            return Ok(());
        }
        self.count(&operation);
        if self.in_flight.len() >= IN_FLIGHT {
            self.answered().await?;
        }
        let request = Request {
            operation,
            key: document_key(&document.number),
            fingerprint: fingerprint(&document, Decimal::normalize),
            earlier_fingerprint: fingerprint(&document, Decimal::clone),
            at: document.at,
        };
        let places = document.lines.iter().map(|line| line.at).collect();
        // In the order of the file.
        let answer = self.desk.submit(request);
        self.in_flight.push_back(InFlight { number: document.number.into(), places, answer });
        Ok(())
    }

    fn count(&mut self, operation: &Operation) {
        match operation {
            Operation::IssueInvoice(_) => self.summary.invoices += 1,
            Operation::IssueCreditNote(credit_note) => {
                self.summary.credit_notes += 1;
                let refers = |line: &&CreditRequest| matches!(line, CreditRequest::Line { .. });
                let referring = credit_note.lines.iter().filter(refers).count();
                self.summary.referring_lines += referring as u64;
                self.summary.free_standing_lines += (credit_note.lines.len() - referring) as u64;
            }
            _ => self.summary.adjustments += 1,
        }
    }

    /// Waits for the oldest document in flight; false when there is none.
    async fn answered(&mut self) -> Result<bool, ToolError> {
        let Some(InFlight { number, places, answer }) = self.in_flight.pop_front() else {
            return Ok(false);
        };
        match answer.await {
            Ok(done) => {
                self.note(&done);
                if kind_of(&number) == Some(Kind::Invoice) {
                    let invoice = id(&done.answer, "id")?;
                    self.issued.insert(number, invoice);
                }
            }
            Err(ExecuteError::Refused(refusal)) if is_over_nothing(&refusal) && !self.desk.records() => {
                self.over_nothing.insert(number);
            }
            Err(error) => return Err(self.refused(&number, &places, error)),
        }
        Ok(true)
    }

    fn note(&mut self, done: &Done) {
        self.summary.found_recorded += u64::from(done.replayed);
        self.summary.position = self.summary.position.max(done.position);
    }

    /// Why a document is not recorded, with its place in the file.
    fn refused(&self, number: &str, places: &[u64], error: ExecuteError) -> ToolError {
        let line = match &error {
            ExecuteError::Refused(refusal) => refused_line(refusal).and_then(|line| places.get(line as usize - 1)),
            ExecuteError::KeyReused | ExecuteError::Failed(_) => None,
        };
        let line = *line.or(places.first()).expect("a document has lines");
        refused(self.arguments, line, &format!("document {number}"), error)
    }

    fn book(&self, customer: &str) -> Book {
        self.books.get(customer).cloned().expect("the survey has seen every customer of the file")
    }

    fn invoice(&mut self, document: &Document) -> Operation {
        self.matching.add_invoice(&document.number, &document.customer, &document.lines);
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
        let mut requests = Vec::with_capacity(document.lines.len());
        for line in &document.lines {
            let quantity = line.quantity.abs();
            let request = match self.matching.take(&document.customer, &line.item, quantity, line.unit_price) {
                None => CreditRequest::Free(draft(line, quantity)),
                Some(found) => {
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

    fn adjustment(&self, document: &Document) -> Result<Operation, ToolError> {
        let amounts = document.lines.iter().map(|line| line.quantity * line.unit_price);
        if !sums_exactly(amounts.clone()) {
            let reason = format!("document {}: the sum of its lines is too large to be exact", document.number);
            let line = document.lines.first().expect("a document has lines").at;
            return Err(Malformed { file: self.arguments.file.clone(), line, reason }.into());
        }
        let exact: Decimal = amounts.sum();
        // What the file charges lowers the balance.
        let amount = Money::round(-exact, self.arguments.currency, Rounding::default());
        let words: Vec<&str> = document.lines.iter().map(|line| line.description.as_str()).collect();
        let description = format!("adjustment {}: {}", document.number, words.join(", "));
        let account = self.book(&document.customer).account;
        Ok(Operation::AdjustAccount(AdjustAccount { account, amount, description }))
    }
}

/// The name that a party gets, and how its idempotency keys name it.
fn naming(party: &Party) -> (String, String) {
    match party.customer.as_str() {
        "" => ("walk-in customer".to_owned(), "walk-in".to_owned()),
        // Somebody who is called so is not the walk-in customer. The customers of a file have no space in them.
        "walk-in" => ("customer walk-in".to_owned(), "customer walk-in".to_owned()),
        number => (format!("customer {number}"), number.to_owned()),
    }
}

/// Under which idempotency keys the steps of [`open_book`] are recorded.
fn keys_of_party(party: &Party) -> [String; 4] {
    let (_, label) = naming(party);
    ["customer", "account", "post-paid", "payer"].map(|verb| format!("{verb}:{label}"))
}

fn document_key(number: &str) -> String {
    format!("document:{number}")
}

/// Registers a party of the file, and opens its account: post-paid, because a file of invoices has no payments.
async fn open_book(desk: &Desk, arguments: &Arguments, party: &Party) -> Result<(String, Book, u64, u64), ToolError> {
    let (name, _) = naming(party);
    let mut replayed = 0;
    let mut position = 0;
    let mut step = async |key: String, operation: Operation| -> Result<Answer, ToolError> {
        let print = Sha256::digest(format!("{key}:{}:{}", arguments.currency, arguments.time_zone)).into();
        let request = Request { operation, key, fingerprint: print, earlier_fingerprint: print, at: party.since };
        let done = desk.submit(request).await;
        let done = done.map_err(|error| refused(arguments, party.line, &name, error))?;
        replayed += u64::from(done.replayed);
        position = position.max(done.position);
        Ok(done.answer)
    };

    let [register_key, open_key, terms_key, payer_key] = keys_of_party(party);
    let register = Registration { name: name.clone().into(), email: None };
    let customer = id(&step(register_key, Operation::RegisterCustomer(register)).await?, "id")?;
    let open = AccountOpening {
        customer,
        currency: arguments.currency,
        name: name.clone(),
        time_zone: arguments.time_zone.name().into(),
    };
    let customer = open.customer.clone();
    let account: AccountId = id(&step(open_key, Operation::OpenAccount(open)).await?, "id")?;
    let terms = ChangeTerms { account: account.clone(), terms: Terms::PostPaidAllowed };
    step(terms_key, Operation::ChangeTerms(terms)).await?;
    let address = Address { country: party.country.clone(), ..Address::default() };
    let payer = Profile { customer, kind: PayerKind::Company, name: name.clone().into(), address, tax_number: None };
    let payer = id(&step(payer_key, Operation::CreatePayer(payer)).await?, "id")?;
    Ok((party.customer.clone(), Book { account, payer }, replayed, position))
}

/// Why a part of the file is not recorded, with its place.
fn refused(arguments: &Arguments, line: u64, what: &str, error: ExecuteError) -> ToolError {
    let reason = match error {
        ExecuteError::Refused(refusal) => format!("{what} is refused: {refusal}"),
        ExecuteError::KeyReused => {
            format!("{what} was imported before with other content, or with another currency or time zone")
        }
        // That is not the fault of the file.
        ExecuteError::Failed(failure) => return format!("{what} was not recorded: {}", chain(&failure)).into(),
    };
    Malformed { file: arguments.file.clone(), line, reason }.into()
}

/// The line of the document that is refused, from 1, if it is one of them.
fn refused_line(refusal: &Refusal) -> Option<u32> {
    match refusal {
        Refusal::Invoice(InvoiceRejection::LineOutOfRange { line } | InvoiceRejection::LineNegative { line })
        | Refusal::CreditNote(CreditNoteRejection::LineOutOfRange { line }) => Some(*line),
        _ => None,
    }
}

/// Whether a document is refused only because it moves nothing.
fn is_over_nothing(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::CreditNote(CreditNoteRejection::NothingCredited)
            | Refusal::Account(AccountRejection::AmountNotPositive)
    )
}

/// The same document has the same print; the same number with other content is refused. `spelling` makes numbers of
/// another spelling the same: earlier versions took them as they were written.
fn fingerprint(document: &Document, spelling: fn(&Decimal) -> Decimal) -> Fingerprint {
    let Document { number, kind, customer, at, lines } = document;
    let of_line =
        |line: &Line| json!([line.item, line.description, spelling(&line.quantity), spelling(&line.unit_price)]);
    let lines: Vec<_> = lines.iter().map(of_line).collect();
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
