//! Invoice lines as CSV: reading them, refusing what is malformed, and gathering the lines of each document.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use chrono::{DateTime, Datelike, Duration, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use daybook_core::{
    domain::invoice::exact_amount,
    event::AHEAD,
    terms::{
        calendar::RECORDED_YEARS,
        money::{MoneyError, parse_decimal},
    },
};
use flate2::read::MultiGzDecoder;
use rust_decimal::Decimal;
use serde::Deserialize;

const COLUMNS: [&str; 8] =
    ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"];

/// A row of the file. The columns are found by their names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    invoice_no: String,
    stock_code: String,
    description: String,
    quantity: String,
    invoice_date: String,
    unit_price: String,
    #[serde(rename = "CustomerID")]
    customer_id: String,
    country: String,
}

/// What a document number stands for, by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All digits.
    Invoice,
    /// `C` and digits; quantities are negative.
    CreditNote,
    /// `A` and digits.
    Adjustment,
}

/// A line, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place in the file.
    pub at: u64,
    pub item: String,
    pub description: String,
    pub quantity: Decimal,
    pub unit_price: Decimal,
}

/// All lines of one document number.
#[derive(Clone, Debug)]
pub struct Document {
    pub number: String,
    pub kind: Kind,
    /// Empty for the walk-in customer.
    pub customer: String,
    /// The first of its time stamps.
    pub at: DateTime<Utc>,
    pub lines: Vec<Line>,
}

/// Why a file is not taken: the place and the reason.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {reason}", file.display())]
pub struct Malformed {
    pub file: PathBuf,
    pub line: u64,
    pub reason: String,
}

/// A customer as the file first names it.
#[derive(Clone, Debug)]
pub struct Party {
    /// Empty for the walk-in customer.
    pub customer: String,
    pub country: String,
    pub since: DateTime<Utc>,
    /// Where that is.
    pub line: u64,
}

/// What a first reading of the whole file tells.
#[derive(Debug, Default)]
pub struct Survey {
    pub lines: u64,
    /// How many lines each document has, so that one whose lines do not stand together is gathered whole.
    pub lines_of: HashMap<String, u32>,
    /// In the order of their first line.
    pub parties: Vec<Party>,
}

/// The file, opened for one reading.
pub struct Lines {
    reader: csv::Reader<Box<dyn Read + Send>>,
    header: csv::StringRecord,
    /// How far the reader's count of lines lags behind: it takes the second half of `\r\n` for part of the next row.
    lag: u64,
    file: PathBuf,
    zone: Tz,
}

impl Lines {
    /// Opens a CSV file, compressed by gzip or not, and finds its columns.
    pub fn open(file: &Path, zone: Tz) -> Result<Self, Malformed> {
        let malformed = |reason: String| Malformed { file: file.into(), line: 1, reason };
        let opened = File::open(file).map_err(|error| malformed(error.to_string()))?;
        let plain = BufReader::with_capacity(1 << 18, opened);
        let compressed = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        let bytes: Box<dyn Read + Send> =
            if compressed { Box::new(MultiGzDecoder::new(plain)) } else { Box::new(plain) };
        let mut reader = csv::Reader::from_reader(bytes);
        // Without names that can be read, the columns would be taken by their positions.
        let header =
            reader.headers().map_err(|error| malformed(format!("the header cannot be read: {error}")))?.clone();
        for column in COLUMNS {
            match header.iter().filter(|name| *name == column).count() {
                0 => return Err(malformed(format!("the header has no column {column}"))),
                1 => {}
                _ => return Err(malformed(format!("the header has the column {column} more than once"))),
            }
        }
        let lag = u64::from(reader.position().line() == 1);
        Ok(Self { reader, header, lag, file: file.into(), zone })
    }

    /// Reads the file to its end and checks every line, so that nothing of a malformed file is recorded.
    pub fn survey(mut self) -> Result<Survey, Malformed> {
        let mut survey = Survey::default();
        let mut known: HashSet<String> = HashSet::new();
        let mut customer_of: HashMap<String, String> = HashMap::new();
        while let Some((at, row)) = self.next_row()? {
            let (number, _, customer, country, moment, _) = self.checked(at, row)?;
            survey.lines += 1;
            let owner = customer_of.entry(number.clone()).or_insert_with(|| customer.clone());
            if *owner != customer {
                return Err(self.malformed(at, format!("document {number} belongs to customer `{owner}` already")));
            }
            *survey.lines_of.entry(number).or_default() += 1;
            if known.insert(customer.clone()) {
                survey.parties.push(Party { customer, country, since: moment, line: at });
            }
        }
        Ok(survey)
    }

    /// The next document whose last line has been read.
    pub fn next_document(&mut self, survey: &Survey, gathering: &mut Gathering) -> Result<Option<Document>, Malformed> {
        while let Some((at, row)) = self.next_row()? {
            let (number, kind, customer, _, moment, line) = self.checked(at, row)?;
            let document = gathering.open.entry(number.clone()).or_insert_with(|| Document {
                number: number.clone(),
                kind,
                customer,
                at: moment,
                lines: Vec::new(),
            });
            document.lines.push(line);
            document.at = document.at.min(moment);
            if survey.lines_of.get(&number).copied() == Some(document.lines.len() as u32) {
                return Ok(gathering.open.remove(&number));
            }
        }
        Ok(None)
    }

    fn next_row(&mut self) -> Result<Option<(u64, Row)>, Malformed> {
        let mut record = csv::StringRecord::new();
        let read = self.reader.read_record(&mut record);
        let place = |position: Option<&csv::Position>| position.map_or(1, csv::Position::line) + self.lag;
        let at = place(record.position());
        let row = match read {
            Ok(false) => return Ok(None),
            Ok(true) => record.deserialize(Some(&self.header)),
            Err(error) => Err(error),
        };
        row.map(|row| Some((at, row))).map_err(|error| {
            let at = if error.position().is_some() { place(error.position()) } else { at };
            self.malformed(at, error.to_string())
        })
    }

    #[expect(clippy::type_complexity, reason = "taken apart at once by the two callers")]
    fn checked(&self, at: u64, row: Row) -> Result<(String, Kind, String, String, DateTime<Utc>, Line), Malformed> {
        let malformed = |reason: String| self.malformed(at, reason);
        let kind = kind_of(&row.invoice_no).ok_or_else(|| {
            malformed(format!("InvoiceNo `{}` is neither digits, nor C or A and digits", row.invoice_no))
        })?;
        let quantity = parse_number(&row.quantity).map_err(|error| malformed(format!("Quantity: {error}")))?;
        let unit_price = parse_number(&row.unit_price).map_err(|error| malformed(format!("UnitPrice: {error}")))?;
        let amount = exact_amount(quantity, unit_price).ok_or_else(|| {
            malformed(
                "Quantity has at most 6 decimals, UnitPrice at most 8, and their product stays below 10^15, or below \
                 10^13 where it has more than 12 decimals"
                    .into(),
            )
        })?;
        let owed_back = amount < Decimal::ZERO;
        match kind {
            Kind::Invoice if owed_back => {
                return Err(malformed("a line of an invoice is negative: that belongs on a C number".into()));
            }
            Kind::CreditNote if quantity >= Decimal::ZERO || unit_price < Decimal::ZERO => {
                return Err(malformed(
                    "a line of a C number has a negative Quantity and a UnitPrice that is not negative".into(),
                ));
            }
            Kind::Invoice | Kind::CreditNote | Kind::Adjustment => {}
        }
        let local = NaiveDateTime::parse_from_str(&row.invoice_date, "%Y-%m-%d %H:%M:%S")
            .map_err(|_| malformed(format!("InvoiceDate `{}` is not like 2010-12-01 08:26:00", row.invoice_date)))?;
        // The calendar reads a leap second as one that lasts longer.
        if local.nanosecond() >= 1_000_000_000 {
            return Err(malformed(format!("InvoiceDate `{}`: no minute has a second 60 here", row.invoice_date)));
        }
        let in_calendar = |year| RECORDED_YEARS.contains(&year);
        let invoiced_at = in_calendar(local.year()).then(|| instant(local, self.zone));
        let invoiced_at = invoiced_at.filter(|at| in_calendar(at.year())).ok_or_else(|| {
            let (first, last) = (RECORDED_YEARS.start(), RECORDED_YEARS.end());
            malformed(format!("InvoiceDate `{}` does not lie in the years {first} to {last}", row.invoice_date))
        })?;
        if invoiced_at > Utc::now() + AHEAD {
            let days = AHEAD.num_days();
            return Err(malformed(format!("InvoiceDate `{}` lies more than {days} days ahead", row.invoice_date)));
        }
        let customer = row.customer_id.trim().trim_end_matches(".0").to_owned();
        if customer.len() > 64 || !customer.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(malformed(format!("CustomerID `{}` is not a number or a short name", row.customer_id)));
        }
        if [&row.stock_code, &row.description, &row.country].iter().any(|text| text.contains('\0')) {
            return Err(malformed("a text contains the character NUL, which no text in PostgreSQL can".into()));
        }
        if row.country.trim().is_empty() {
            return Err(malformed("Country is empty".into()));
        }
        let line = Line { at, item: row.stock_code, description: row.description, quantity, unit_price };
        Ok((row.invoice_no, kind, customer, row.country, invoiced_at, line))
    }

    fn malformed(&self, line: u64, reason: String) -> Malformed {
        Malformed { file: self.file.clone(), line, reason }
    }
}

/// The documents whose last line has not been read yet.
#[derive(Debug, Default)]
pub struct Gathering {
    open: HashMap<String, Document>,
}

/// A number, whose zero has no sign.
fn parse_number(text: &str) -> Result<Decimal, MoneyError> {
    let number = parse_decimal(text)?;
    Ok(if number.is_zero() { number.abs() } else { number })
}

pub fn kind_of(number: &str) -> Option<Kind> {
    let (kind, digits) = match number.as_bytes().first()? {
        b'C' => (Kind::CreditNote, &number[1..]),
        b'A' => (Kind::Adjustment, &number[1..]),
        _ => (Kind::Invoice, number),
    };
    let plausible = !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|b| b.is_ascii_digit());
    plausible.then_some(kind)
}

/// A local time as an instant: the first of two when clocks go back, an hour later when they skip it.
fn instant(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    let known = zone.from_local_datetime(&local).earliest();
    known
        .or_else(|| zone.from_local_datetime(&(local + Duration::hours(1))).earliest())
        .map_or_else(|| local.and_utc(), |at| at.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn lines(rows: &str) -> (tempfile::NamedTempFile, Lines) {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        write!(file, "{HEADER}{rows}").expect("written");
        let lines = Lines::open(file.path(), Tz::Europe__London).expect("opened");
        (file, lines)
    }

    fn refused(row: &str) -> (u64, String) {
        let malformed = lines(&format!("1,A,tea,1,2011-01-01 10:00:00,1.00,7,France\n{row}\n")).1.survey();
        let malformed = malformed.expect_err("it is malformed");
        (malformed.line, malformed.reason)
    }

    #[test]
    fn a_document_is_gathered_even_if_its_lines_do_not_stand_together() {
        let rows = "1,A,tea,1,2011-07-01 10:00:00,1.00,7.0,France\n\
                    2,B,cup,1,2011-07-01 10:01:00,1.00,8.0,France\n\
                    1,C,pot,1,2011-07-01 10:02:00,1.00,7.0,France\n";
        let survey = lines(rows).1.survey().expect("well-formed");
        let mut seen = Vec::new();
        let ((_file, mut again), mut gathering) = (lines(rows), Gathering::default());
        while let Some(document) = again.next_document(&survey, &mut gathering).expect("well-formed") {
            seen.push((document.number, document.lines.len()));
        }
        assert_eq!(seen, [("2".to_owned(), 1), ("1".to_owned(), 2)]);
        assert_eq!(survey.parties[0].customer, "7");
        // British Summer Time is an hour ahead of UTC.
        assert_eq!(survey.parties[0].since.to_rfc3339(), "2011-07-01T09:00:00+00:00");
    }

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        for end in ["\n", "\r\n"] {
            let rows = ["1,A,tea,1,2011-01-01 10:00:00,1.00,7,France", "2,A,tea,1,2011-01-01 10:00:00,1.00,7,France"];
            let mut file = tempfile::NamedTempFile::new().expect("a file");
            let text = format!("{HEADER}{}\n3,A,tea,x,2011-01-01 10:00:00,1.00,7,France\n", rows.join("\n"));
            write!(file, "{}", text.replace('\n', end)).expect("written");
            let malformed = Lines::open(file.path(), Tz::Europe__London).expect("opened").survey();
            assert_eq!(malformed.expect_err("it is malformed").line, 4, "{end:?}");
        }
    }

    #[test]
    fn a_malformed_line_is_refused_with_its_place_and_reason() {
        assert_eq!(refused("2,A,tea,x,2011-01-01 10:00:00,1.00,7,France").0, 3);
        assert!(refused("2,A,tea,x,2011-01-01 10:00:00,1.00,7,France").1.contains("Quantity"));
        assert!(refused("2,A,tea,1,2011-01-01 10:00:00,1e3,7,France").1.contains("UnitPrice"));
        assert!(refused("2,A,tea,1,01/01/2011,1.00,7,France").1.contains("InvoiceDate"));
        for year in ["0000", "-0001", "2999", "9999", "+10000"] {
            assert!(refused(&format!("2,A,tea,1,{year}-01-01 10:00:00,1.00,7,France")).1.contains("InvoiceDate"));
        }
        assert!(refused("2,A,tea,1,2011-03-27 23:59:60,1.00,7,France").1.contains("second 60"));
        assert!(refused("2,A,tea,1000000000000000,2011-01-01 10:00:00,100000000000000,7,France").1.contains("10^15"));
        assert!(refused("Z2,A,tea,1,2011-01-01 10:00:00,1.00,7,France").1.contains("InvoiceNo"));
        assert!(refused("2,A,tea,-1,2011-01-01 10:00:00,1.00,7,France").1.contains("negative"));
        assert!(refused("C2,A,tea,1,2011-01-01 10:00:00,1.00,7,France").1.contains("negative"));
        assert!(refused("2,A,tea,1,2011-01-01 10:00:00,1.00,7").1.contains("fields"));
        assert!(refused("1,A,tea,1,2011-01-01 10:00:00,1.00,8,France").1.contains("belongs to customer"));
    }
}
