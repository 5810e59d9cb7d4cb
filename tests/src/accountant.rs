//! The accounting programs of others: hledger, ledger-cli and beancount, as an accountant runs them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rust_decimal::Decimal;

use crate::{TestDatabase, program};

/// A program that reads our export and believes nothing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accountant {
    Hledger,
    Ledger,
    Beancount,
}

pub const ACCOUNTANTS: [Accountant; 3] = [Accountant::Hledger, Accountant::Ledger, Accountant::Beancount];

/// By account and currency, those of zero left out.
pub type Balances = BTreeMap<(String, String), Decimal>;

impl Accountant {
    /// What `daybook export --format` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hledger => "hledger",
            Self::Ledger => "ledger",
            Self::Beancount => "beancount",
        }
    }

    /// Checks a file as strictly as the program can; what it has to say against it.
    pub fn check(self, file: &Path) -> Result<(), String> {
        let mut command = match self {
            Self::Hledger => program_with("hledger", &["check", "--strict", "--file"]),
            Self::Ledger => program_with("ledger", &["--init-file", "/dev/null", "--pedantic", "balance", "--file"]),
            Self::Beancount => program_with("bean-check", &["--no-cache"]),
        };
        let output = run(command.arg(file));
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// What the program makes of the postings of a file that it accepts.
    pub fn balances(self, file: &Path) -> Balances {
        match self {
            Self::Hledger => {
                let mut command = program_with("hledger", &["balance", "--flat", "--no-total", "--layout=bare"]);
                rows(&run(command.args(["--output-format=csv", "--file"]).arg(file)))
            }
            Self::Ledger => {
                // An account's line has a line for each currency, and the account on the first only.
                let format = "%(account)\t%(join(display_total))\n";
                let mut command = program_with("ledger", &["--init-file", "/dev/null", "balance", "--flat"]);
                let output = run(command.args(["--no-total", "--format", format, "--file"]).arg(file));
                let text = String::from_utf8(output.stdout).expect("ledger writes UTF-8");
                let mut balances = Balances::new();
                for line in text.lines() {
                    let (account, amounts) = line.split_once('\t').expect("an account and its amounts");
                    for amount in amounts.split("\\n").filter(|amount| *amount != "0") {
                        let (number, currency) = amount.trim().split_once(' ').expect("a number and a currency");
                        let number = number.parse().expect("a decimal");
                        balances.insert((account.to_owned(), currency.to_owned()), number);
                    }
                }
                balances
            }
            Self::Beancount => {
                // As a text, since numbers are shown with the decimals that most of them have.
                let query = "select account, currency, str(sum(number)) as total group by account, currency";
                let mut command = program_with("bean-query", &["--format", "csv"]);
                rows(&run(command.env("BEANCOUNT_DISABLE_LOAD_CACHE", "1").arg(file).arg(query)))
            }
        }
    }

    /// The name of the account, as the export writes it.
    pub fn wallet(self, account: &str) -> String {
        match self {
            Self::Hledger | Self::Ledger => format!("liabilities:wallets:{account}"),
            Self::Beancount => account.replacen("acc_", "Liabilities:Wallets:Acc-", 1),
        }
    }

    /// Whether a line of a file has an amount, and is no declaration.
    pub fn is_money(self, line: &str) -> bool {
        match self {
            Self::Hledger | Self::Ledger => line.starts_with("    ") && line.contains(" = "),
            Self::Beancount => {
                let balance = line.split(' ').nth(1) == Some("balance");
                balance
                    || ["  Assets", "  Liabilities", "  Income", "  Expenses", "  Equity"]
                        .iter()
                        .any(|root| line.starts_with(root))
            }
        }
    }
}

/// Account, currency and amount of each row.
fn rows(output: &Output) -> Balances {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut reader = csv::Reader::from_reader(output.stdout.as_slice());
    let mut balances = Balances::new();
    for row in reader.records() {
        let row = row.expect("a row");
        let cell = |number: usize| row[number].trim().to_owned();
        // As Python shows a decimal.
        let amount = cell(2).replace("Decimal('", "").replace("')", "");
        let amount: Decimal = amount.parse().expect("a decimal");
        if !amount.is_zero() {
            balances.insert((cell(0), cell(1)), amount);
        }
    }
    balances
}

fn program_with(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    // What the programs understand must not depend on whose machine it is.
    command.args(arguments).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} (`./run test` installs it): {error}"))
}

/// Runs `daybook export` on a ledger.
pub fn export(database: &TestDatabase, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("daybook"));
    command
        .envs(crate::master_key_env())
        .arg("export")
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::null());
    command.output().expect("the program starts")
}

/// Exports into a file of this directory.
pub fn exported(database: &TestDatabase, directory: &Path, format: &str, arguments: &[&str]) -> PathBuf {
    let file = directory.join(format!("export.{format}"));
    let path = file.to_str().expect("a plain path");
    let output = export(database, &[&["--format", format, "--output", path], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}
