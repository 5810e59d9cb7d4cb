//! The board of problems: every way in which a request can fail, with the HTTP status and a sentence that explains it.

use axum::{
    Json,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::error::ApiError;

/// A kind of problem. Its `type` in a problem document is `/problems/<code>`, where it is documented.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub code: &'static str,
    pub status: StatusCode,
    pub title: &'static str,
}

/// The kind that bears this code.
pub fn kind(code: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.code == code)
}

/// The kind that a bare status stands for, such as a method that no handler took.
pub fn of_status(status: StatusCode) -> &'static Kind {
    let code = match status {
        StatusCode::NOT_FOUND => "not-found",
        StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
        StatusCode::REQUEST_TIMEOUT => "request-too-slow",
        StatusCode::PAYLOAD_TOO_LARGE => "payload-too-large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported-media-type",
        StatusCode::TOO_MANY_REQUESTS => "too-many-requests",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded",
        status if status.is_client_error() => "bad-request",
        _ => "internal",
    };
    kind(code).expect("the kinds for bare statuses are on the board")
}

/// What a problem type is, as its URI shows it.
#[derive(Serialize)]
struct Documentation {
    r#type: String,
    code: &'static str,
    status: u16,
    title: &'static str,
    retry: &'static str,
}

impl Documentation {
    fn of(kind: &Kind) -> Self {
        let retry = match kind.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                "wait as long as Retry-After says, then send the same request with the same Idempotency-Key"
            }
            StatusCode::INTERNAL_SERVER_ERROR => "send the same request with the same Idempotency-Key",
            StatusCode::CONFLICT => "the request fits another state of the ledger; look at it before you ask again",
            _ => "correct the request; nothing of it was recorded, so the Idempotency-Key may be used again",
        };
        Self { r#type: uri(kind.code), code: kind.code, status: kind.status.as_u16(), title: kind.title, retry }
    }
}

pub fn uri(code: &str) -> String {
    format!("/problems/{code}")
}

/// All problem types.
pub async fn list() -> Response {
    let all: Vec<Documentation> = KINDS.iter().map(Documentation::of).collect();
    ([(header::CACHE_CONTROL, "max-age=3600")], Json(all)).into_response()
}

/// One problem type.
pub async fn show(Path(code): Path<String>) -> Result<Response, ApiError> {
    let kind = kind(&code).ok_or_else(|| ApiError::new("not-found", "there is no such problem type"))?;
    Ok(([(header::CACHE_CONTROL, "max-age=3600")], Json(Documentation::of(kind))).into_response())
}

const fn at(status: StatusCode, code: &'static str, title: &'static str) -> Kind {
    Kind { code, status, title }
}

const BAD: StatusCode = StatusCode::BAD_REQUEST;
const ABSENT: StatusCode = StatusCode::NOT_FOUND;
const CONFLICT: StatusCode = StatusCode::CONFLICT;
const INVALID: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
const LATER: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

const KINDS: &[Kind] = &[
    // The request itself.
    at(BAD, "bad-request", "The request cannot be understood"),
    at(BAD, "malformed-json", "The body is not JSON"),
    at(BAD, "empty-body", "The request needs a body"),
    at(BAD, "malformed-header", "A header does not have the form that it needs"),
    at(BAD, "unknown-parameter", "The query has a parameter that is not known here"),
    at(BAD, "malformed-parameter", "A parameter of the query does not have the form that it needs"),
    at(BAD, "invalid-cursor", "The cursor was not given by this listing with these filters"),
    at(BAD, "idempotency-key-missing", "A request that moves money needs a header `Idempotency-Key`"),
    at(INVALID, "read-too-long", "The answer takes longer than a request may"),
    at(StatusCode::FORBIDDEN, "cross-site-request", "A page of another site may not change anything here"),
    at(StatusCode::MISDIRECTED_REQUEST, "unknown-host", "The request is for a server of another name"),
    at(ABSENT, "not-found", "There is nothing at this address"),
    at(ABSENT, "no-checkpoint", "The log has not signed a tree of that size"),
    at(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The address does not take this method"),
    at(StatusCode::REQUEST_TIMEOUT, "request-too-slow", "The body did not arrive in the time that it may take"),
    at(StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", "The body is larger than 1 MiB"),
    at(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be `application/json`"),
    at(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests in a short time"),
    // Fields of the body.
    at(INVALID, "invalid-body", "A field of the body is not valid"),
    at(INVALID, "unknown-field", "The body has a field that is not known here"),
    at(INVALID, "missing-field", "A field is missing in the body"),
    at(INVALID, "duplicate-field", "A field stands in the body twice"),
    at(INVALID, "wrong-type", "A field has the wrong JSON type"),
    at(INVALID, "invalid-value", "A field has a value that is not one of those allowed"),
    at(INVALID, "malformed-id", "An identifier does not have the form that it needs"),
    at(INVALID, "unknown-currency", "The currency is not one of ISO 4217 with a smallest unit"),
    at(INVALID, "too-many-decimals", "An amount has more decimals than its currency"),
    at(INVALID, "amount-too-large", "An amount has too many digits"),
    at(INVALID, "text-too-long", "A text is longer than can be kept"),
    at(INVALID, "not-a-number", "A number is written as a plain decimal in a string"),
    at(INVALID, "idempotency-mismatch", "The idempotency key was used for another request"),
    // The service.
    at(LATER, "overloaded", "The ledger has more to do than it can take"),
    at(LATER, "deadline-passed", "The request waited too long and was not begun"),
    at(LATER, "outcome-unknown", "The connection to the store was lost while the request was committed"),
    at(LATER, "shutting-down", "The server is stopping"),
    at(LATER, "clock-jumped", "Nothing is recorded while the clock cannot be trusted"),
    at(
        LATER,
        "ledger-upgrading",
        "A ledger of an earlier version is being brought to this one, and takes no writes yet",
    ),
    at(LATER, "ledger-forked", "The ledger lacks what its log has signed, and an operator has not decided yet"),
    at(LATER, "store-unavailable", "The store does not answer"),
    at(LATER, "projection-behind", "The read model has not come as far as was asked"),
    at(LATER, "projection-stopped", "The read model has stopped at an event that it cannot read"),
    at(LATER, "not-ready", "The server is not ready"),
    at(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server has a fault; nothing of the request was recorded"),
    at(StatusCode::INTERNAL_SERVER_ERROR, "log-not-sound", "The transparency log is not what was signed"),
    at(
        StatusCode::NOT_IMPLEMENTED,
        "entry-too-large",
        "An event of before large events had digests is larger than an entry bundle can hold",
    ),
    at(StatusCode::INTERNAL_SERVER_ERROR, "unbalanced", "The request would leave the books out of balance"),
    // What is not there.
    at(ABSENT, "account-not-found", "There is no such account"),
    at(ABSENT, "credit-note-not-found", "There is no such credit note"),
    at(ABSENT, "customer-not-found", "There is no such customer"),
    at(ABSENT, "discount-not-found", "There is no such discount for that audience"),
    at(ABSENT, "dispute-not-found", "The payment has no such dispute"),
    at(ABSENT, "expense-not-found", "There is no such expense"),
    at(ABSENT, "hold-not-found", "There is no such hold"),
    at(ABSENT, "invoice-line-not-found", "The invoice has no such line"),
    at(ABSENT, "invoice-not-found", "There is no such invoice"),
    at(ABSENT, "order-item-not-found", "The order has no such item"),
    at(ABSENT, "order-not-found", "There is no such order"),
    at(ABSENT, "payer-not-found", "There is no such payer"),
    at(ABSENT, "payment-not-found", "There is no such payment"),
    at(ABSENT, "refund-not-found", "There is no such refund under way"),
    at(ABSENT, "service-not-found", "There is no such service"),
    at(ABSENT, "ticket-not-found", "There is no such ticket"),
    // Conflicts with what stands in the ledger.
    at(CONFLICT, "account-already-open", "The account is already open"),
    at(CONFLICT, "account-exists", "The customer has an account in that currency already"),
    at(CONFLICT, "allocation-unchanged", "Automatic allocation is already so"),
    at(CONFLICT, "already-in-group", "The customer is in that group already"),
    at(CONFLICT, "already-post-paid", "Post-paid services are already allowed"),
    at(CONFLICT, "already-reversed", "The expense is reversed already"),
    at(CONFLICT, "amount-differs", "What is recorded of that payment, refund or dispute has another amount"),
    at(CONFLICT, "answer-due", "The ticket cannot be archived while an answer is due"),
    at(CONFLICT, "balance-out-of-range", "The balance would leave the range of amounts that can be kept"),
    at(CONFLICT, "credit-limit-exceeded", "The charge exceeds the credit limit"),
    at(CONFLICT, "credit-note-final", "The credit note is final"),
    at(CONFLICT, "customer-exists", "The customer is already registered"),
    at(CONFLICT, "discount-exists", "The discount already exists"),
    at(CONFLICT, "dispute-exists", "The dispute already exists"),
    at(CONFLICT, "dispute-status", "The dispute has ended otherwise"),
    at(CONFLICT, "expense-exists", "The expense already exists"),
    at(CONFLICT, "gateway-payment-assigned", "The gateway's payment id belongs to another payment"),
    at(CONFLICT, "gateway-refund-assigned", "The gateway's refund id belongs to another refund of the payment"),
    at(CONFLICT, "hold-exists", "The hold already exists"),
    at(CONFLICT, "insufficient-funds", "The account does not have enough"),
    at(CONFLICT, "invoice-final", "An invoice is final; what is wrong with it is corrected by a credit note"),
    at(CONFLICT, "last-item", "The only item of an order cannot be removed: delete the order"),
    at(CONFLICT, "limit-and-post-paid", "A credit limit and post-paid services exclude each other"),
    at(CONFLICT, "not-in-group", "The customer is not in that group"),
    at(CONFLICT, "not-post-paid", "Post-paid services are not allowed"),
    at(CONFLICT, "not-reversed", "The expense is not reversed"),
    at(CONFLICT, "nothing-to-read", "The ticket has no unread answer"),
    at(CONFLICT, "number-taken", "Another document of this kind has that number"),
    at(CONFLICT, "order-deleted", "The order is deleted"),
    at(CONFLICT, "order-exists", "The order already exists"),
    at(CONFLICT, "order-locked", "A payment for the order is under way"),
    at(CONFLICT, "order-processed", "The order is processed"),
    at(CONFLICT, "payer-deactivated", "The payer is deactivated"),
    at(CONFLICT, "payer-exists", "The payer already exists"),
    at(CONFLICT, "payment-exists", "The payment already exists"),
    at(CONFLICT, "payment-not-awaited", "The order does not wait for that payment"),
    at(CONFLICT, "payment-status", "The payment is in another state than the request needs"),
    at(CONFLICT, "period-already-closed", "The books are closed that far already"),
    at(CONFLICT, "period-not-over", "A period is closed when it is over"),
    at(CONFLICT, "refund-exists", "The refund already exists"),
    at(CONFLICT, "service-active", "The service is active already"),
    at(CONFLICT, "ticket-archived", "The ticket is archived; restore it first"),
    at(CONFLICT, "ticket-exists", "The ticket already exists"),
    at(CONFLICT, "ticket-not-archived", "The ticket is not archived"),
    at(CONFLICT, "ticket-taken-up", "The ticket has been taken up already"),
    at(CONFLICT, "total-unchanged", "The total of the expense is already so"),
    // What operators ask of the projections.
    at(ABSENT, "projection-not-found", "There is no such projection"),
    at(ABSENT, "build-not-found", "The projection has no such build"),
    at(CONFLICT, "other-build", "Another build serves than the one that was to be left"),
    at(CONFLICT, "build-behind", "The build that is kept stands behind the one that serves"),
    at(CONFLICT, "build-taken-over", "Another process has taken the build over"),
    at(CONFLICT, "build-unproven", "The rows of the new build are not those of a fresh fold"),
    at(CONFLICT, "event-folded", "The event is in the rows already"),
    at(CONFLICT, "event-not-foldable", "The projection cannot fold an event"),
    at(CONFLICT, "not-parked", "Nothing is parked at that position"),
    at(CONFLICT, "other-version", "A version of the projection serves that this program does not have"),
    at(CONFLICT, "parked-meanwhile", "Events were parked or taken back meanwhile"),
    at(CONFLICT, "projection-not-running", "The projection does not run"),
    at(CONFLICT, "projection-running", "The projection runs already"),
    at(CONFLICT, "rebuild-under-way", "A build of the projection is being made"),
    at(CONFLICT, "stream-parked", "The stream of the event is parked already"),
    at(INVALID, "event-not-followed", "The projection does not follow events of that type"),
    at(INVALID, "event-not-found", "There is no event at that position"),
    at(INVALID, "keys-missing", "A repair names the keys whose rows it is to mend"),
    at(LATER, "readers-in-the-way", "Readers hold the tables of the projection"),
    // Values that the domain does not accept.
    at(INVALID, "amount-not-positive", "The amount must be greater than zero"),
    at(INVALID, "amount-out-of-range", "An amount off is greater than zero, a fixed price not negative"),
    at(INVALID, "category-missing", "A ticket needs a category"),
    at(INVALID, "conversion-out-of-range", "The amount is too small or too large to be converted"),
    at(INVALID, "text-with-nul", "A text cannot have the character U+0000"),
    at(INVALID, "event-too-large", "An event would be larger than one can be"),
    at(INVALID, "date-out-of-range", "A date lies outside the years 1900 to 9998"),
    at(INVALID, "country-missing", "An address needs a country"),
    at(INVALID, "currency-mismatch", "The amount is in another currency than the account"),
    at(INVALID, "description-missing", "A description is needed"),
    at(
        INVALID,
        "discount-out-of-range",
        "A discount lies between 0 and 100 per cent, or is an amount of that currency",
    ),
    at(INVALID, "document-missing", "The document that takes a number must be named"),
    at(INVALID, "email-malformed", "The e-mail address is not one"),
    at(INVALID, "expense-negative", "An expense cannot be below zero"),
    at(INVALID, "foreign-id", "The identifier is that of another customer or account"),
    at(INVALID, "foreign-invoice", "The invoice belongs to another account"),
    at(INVALID, "foreign-payer", "The payer belongs to another customer"),
    at(INVALID, "foreign-subject", "The service or order of the ticket belongs to another customer"),
    at(INVALID, "dispute-won-ahead", "A dispute is won when the gateway gives the money back, not ahead of that"),
    at(INVALID, "gateway-dispute-malformed", "The gateway's own dispute id is missing, or begins or ends with a space"),
    at(INVALID, "gateway-refund-malformed", "The gateway's own refund id is missing, or begins or ends with a space"),
    at(INVALID, "gateway-payment-missing", "The gateway's own payment id is missing"),
    at(INVALID, "group-malformed", "A group is named by 1 to 64 characters of a-z 0-9 . _ -"),
    at(INVALID, "item-out-of-range", "A quantity, price or tax rate of an item is out of range"),
    at(INVALID, "limit-negative", "A credit limit cannot be negative"),
    at(INVALID, "line-negative", "A line of an invoice cannot be negative"),
    at(INVALID, "line-out-of-range", "A quantity, price or tax rate of a line is out of range"),
    at(INVALID, "message-missing", "A message needs a text"),
    at(INVALID, "method-missing", "The payment method must be named"),
    at(INVALID, "name-missing", "A name is needed"),
    at(INVALID, "no-items", "An order needs at least one item"),
    at(INVALID, "no-lines", "A document needs at least one line"),
    at(INVALID, "nothing-credited", "A credit note over nothing credits nothing"),
    at(INVALID, "nothing-to-credit", "A credit needs at least one line"),
    at(INVALID, "nowhere-to-allocate", "Say where the money goes, or where it comes back from"),
    at(INVALID, "number-missing", "A document needs a number"),
    at(INVALID, "over-allocation", "More would be allocated than is free or open"),
    at(INVALID, "over-credit", "More would be credited than is left of the line"),
    at(INVALID, "over-refund", "More would be refunded than is free of the payment"),
    at(INVALID, "over-release", "More would be released than is allocated there"),
    at(INVALID, "part-out-of-range", "A part of a period has fewer days than the period, and at least one"),
    at(INVALID, "percent-out-of-range", "A percentage lies above 0 and at most at 100, with at most 4 decimals"),
    at(INVALID, "product-missing", "A product is needed"),
    at(INVALID, "quantity-out-of-range", "A quantity is greater than zero with at most 6 decimals"),
    at(INVALID, "rate-out-of-range", "A rate is greater than zero with at most 10 decimals, and its source is named"),
    at(INVALID, "reason-missing", "A reason must be given"),
    at(INVALID, "recipient-not-found", "There is no account to transfer to"),
    at(INVALID, "same-account", "An account cannot transfer to itself"),
    at(INVALID, "subject-missing", "A ticket needs a subject"),
    at(INVALID, "tax-rate-out-of-range", "A tax rate is at least 0 and below 1000 per cent, with at most 4 decimals"),
    at(INVALID, "unknown-charge", "The entry is not a charge"),
    at(INVALID, "unknown-funds", "The entry is not money that came in"),
    at(INVALID, "unknown-time-zone", "The time zone is not one of the IANA database"),
    at(INVALID, "validity-empty", "A discount ends after it begins"),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_refusal_of_the_domain_is_on_the_board() {
        let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
        let mut codes = BTreeSet::new();
        for folder in ["domain", "operations"] {
            for file in fs::read_dir(core.join(folder)).expect("the sources of the core are there") {
                let path = file.expect("an entry").path();
                if path.is_dir() {
                    continue;
                }
                let source = fs::read_to_string(path).expect("a source file");
                for body in source.split("fn code(&self) -> &'static str {").skip(1) {
                    let body = body.split("\n    }\n").next().expect("a split has a first part");
                    codes.extend(body.split('"').skip(1).step_by(2).map(str::to_owned));
                }
            }
        }
        let absent: Vec<_> = codes.iter().filter(|code| kind(code).is_none()).collect();
        assert!(codes.len() > 80, "the codes are found in the sources");
        assert!(absent.is_empty(), "not on the board: {absent:?}");
    }

    #[test]
    fn no_code_stands_twice() {
        let codes: BTreeSet<_> = KINDS.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), KINDS.len());
    }
}
