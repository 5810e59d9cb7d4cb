//! Whatever customers write, and whatever currencies they use, the programs read it.

use std::{path::Path, process::Command};

use chrono::DateTime;
use daybook_core::domain::posting::LedgerAccount;
use proptest::prelude::*;
use rust_decimal::dec;

use super::*;

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, 1).expect("a day")
}

fn place(ledger_account: LedgerAccount, wallet: Option<&str>) -> Account {
    Account::Of(Place { ledger_account, wallet: wallet.map(str::to_owned) })
}

/// Who writes what: an account, what it is called, and a charge with its description.
type Written = (String, String, String);

fn currency(code: &str) -> Currency {
    code.parse().expect("a currency")
}

/// A whole export in which each text describes an entry of an account of its own.
fn journal(format: &dyn Format, texts: &[Written]) -> Vec<u8> {
    let mut out = Vec::new();
    let (usd, jpy) = (currency("USD"), currency("JPY"));
    let book = Book { position: 7, account: None, from: None, to: None, currencies: vec![(jpy, 0), (usd, 6)] };
    format.begin(&mut out, &book).expect("memory takes everything");
    let declared = |account, name: Option<&str>| Declared {
        account,
        name: name.map(str::to_owned),
        currencies: vec![usd, jpy],
        first_day: day(),
    };
    let revenue = place(LedgerAccount::Revenue, None);
    format.account(&mut out, &declared(revenue.clone(), None)).expect("memory takes everything");
    let wallet = |number: usize, id: &str| place(LedgerAccount::CustomerWallets, Some(&format!("acc_{id}{number}")));
    for (number, (id, name, _)) in texts.iter().enumerate() {
        format.account(&mut out, &declared(wallet(number, id), Some(name))).expect("memory takes everything");
    }
    let mut left = [dec!(0), dec!(0)];
    for (number, (id, _, description)) in texts.iter().enumerate() {
        let (currency, amount) = if number % 2 == 0 { (usd, dec!(0.012345)) } else { (jpy, dec!(1200)) };
        left[number % 2] -= amount;
        let posting =
            |account, amount, balance, last_of_day| Posting { account, amount, currency, balance, last_of_day };
        let transaction = Transaction {
            day: day(),
            entry: Some(Entry {
                position: number as i64 + 1,
                event_type: "account.charged".into(),
                aggregate_type: "account".into(),
                aggregate_id: format!("acc_{id}{number}"),
                correlation_id: None,
                occurred_at: DateTime::UNIX_EPOCH,
                recorded_at: DateTime::UNIX_EPOCH,
                number: Some(1),
                origin: Some("invoice".into()),
                origin_id: Some(format!("inv_{id}")),
            }),
            description: description.clone(),
            postings: vec![
                posting(wallet(number, id), amount, amount, true),
                posting(revenue.clone(), -amount, left[number % 2], number + 2 >= texts.len()),
            ],
        };
        format.transaction(&mut out, &transaction).expect("memory takes everything");
        let closing = posting(wallet(number, id), dec!(0), amount, true);
        format.closing(&mut out, day(), &closing).expect("memory takes everything");
    }
    out
}

fn check(program: &str, arguments: &[&str], journal: &[u8]) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("journal");
    std::fs::write(&file, journal).expect("written");
    let output = Command::new(program).args(arguments).arg(&file).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| panic!("{program} (`./run test` installs it): {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    prop_assert!(output.status.success(), "{program}: {said}\n{}", String::from_utf8_lossy(journal));
    Ok(())
}

/// Texts that are likely to break something, and others.
fn text() -> impl Strategy<Value = String> {
    let spiteful = prop::sample::select(vec![
        ";",
        "  ; x",
        "|",
        "\"",
        "\\",
        "\\\"",
        "\n",
        "\r\n",
        "\t",
        "  ",
        "#tag",
        "^link",
        "* ",
        "! ",
        "(",
        ")",
        "[2026-01-99]",
        "[=2026/13/01]",
        "=",
        "@",
        "@@ 1 USD",
        "{",
        "}",
        "a:b",
        ":tag:",
        "key:: 1 +",
        "%",
        "'",
        "~",
        "comment",
        "end comment",
        "include /etc/passwd",
        "2026-01-01",
        "!include",
        "\u{85}",
        "\u{2028}",
        "\u{7f}",
        "\u{1b}[0m",
        "ä",
        "漢字",
        "\u{202e}",
        "\u{feff}",
        "\u{fffe}",
        "\u{10ffff}",
        "1,000.00 USD",
        "-",
        "\\n",
    ]);
    let spiteful = prop::collection::vec(spiteful.prop_map(str::to_owned), 0..6).prop_map(|parts| parts.concat());
    // PostgreSQL has no zero characters.
    prop_oneof![spiteful, any::<String>().prop_map(|text| text.replace('\0', ""))]
}

fn written() -> impl Strategy<Value = Vec<Written>> {
    // What an identifier may have after its prefix.
    prop::collection::vec(("[A-Za-z0-9._:-]{1,20}", text(), text()), 2..100)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_hledger_reads_it(texts in written()) {
        check("hledger", &["check", "--strict", "--file"], &journal(&hledger::Hledger, &texts))?;
    }

    #[test]
    fn whatever_is_written_ledger_reads_it(texts in written()) {
        let arguments = ["--init-file", "/dev/null", "--pedantic", "balance", "--file"];
        check("ledger", &arguments, &journal(&ledger::Ledger, &texts))?;
    }

    #[test]
    fn whatever_is_written_beancount_reads_it(texts in written()) {
        check("bean-check", &["--no-cache"], &journal(&beancount::Beancount, &texts))?;
    }

    #[test]
    fn whatever_is_written_a_spreadsheet_reads_back(texts in written()) {
        let bytes = journal(&csv::Csv, &texts);
        let mut reader = ::csv::Reader::from_reader(bytes.as_slice());
        let rows: Vec<::csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
        prop_assert_eq!(rows.len(), 3 * texts.len());
        for (row, (_, _, description)) in rows.iter().filter(|row| &row[0] == "line").step_by(2).zip(&texts) {
            prop_assert_eq!(&row[8], daybook_core::spreadsheet::harmless(description));
        }
    }
}

#[test]
fn an_amount_has_the_decimals_of_its_currency_and_all_that_it_takes() {
    let (usd, jpy) = (currency("USD"), currency("JPY"));
    assert_eq!(exact(dec!(-5), usd).to_string(), "-5.00");
    assert_eq!(exact(dec!(30.091500), usd).to_string(), "30.0915");
    assert_eq!(exact(dec!(1200.0), jpy).to_string(), "1200");
}

#[test]
fn a_file_appears_when_it_is_complete() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("export");
    let files = |directory: &Path| std::fs::read_dir(directory).expect("the directory").count();
    let mut output = Output::create(Some(&path)).expect("a file");
    writeln!(output.writer(), "half").expect("written");
    drop(output);
    assert_eq!(files(directory.path()), 0);

    let mut output = Output::create(Some(&path)).expect("a file");
    writeln!(output.writer(), "all").expect("written");
    assert!(!path.exists());
    output.finish().expect("finished");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "all\n");
    assert_eq!(files(directory.path()), 1);
}
