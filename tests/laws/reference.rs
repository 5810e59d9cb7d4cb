//! Bookkeeping as one would do it on paper: the independent arithmetic that the ledger is checked against.
//!
//! It knows amounts only. Money that comes in serves what is open, the oldest first; what is charged takes what is
//! free, the oldest first; what is taken back frees the money that had served it.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};

/// What a command asked for, in plain figures. Accounts are numbered.
#[derive(Clone, Debug)]
pub enum Deed {
    Paid {
        account: usize,
        payment: String,
        amount: Decimal,
    },
    /// Positive or negative.
    Adjusted {
        account: usize,
        amount: Decimal,
    },
    Invoiced {
        account: usize,
        total: Decimal,
    },
    Spent {
        account: usize,
        expense: String,
        total: Decimal,
    },
    SpendingReversed {
        expense: String,
    },
    Transferred {
        from: usize,
        to: usize,
        sent: Decimal,
        rate: Decimal,
    },
    RefundStarted {
        payment: String,
        refund: String,
        amount: Decimal,
    },
    RefundSettled {
        refund: String,
    },
    RefundFailed {
        refund: String,
    },
}

#[derive(Clone, Debug, Default)]
pub struct Paper {
    accounts: BTreeMap<usize, Sheet>,
    /// The account of each payment and its line among the money that came in.
    payments: BTreeMap<String, (usize, usize)>,
    expenses: BTreeMap<String, (usize, usize)>,
    refunds: BTreeMap<String, (String, Decimal)>,
}

/// One account.
#[derive(Clone, Debug, Default)]
struct Sheet {
    /// What is free of each sum that came in.
    free: Vec<Decimal>,
    charges: Vec<Charged>,
}

#[derive(Clone, Debug)]
struct Charged {
    uncovered: Decimal,
    /// Which sums that came in serve it.
    served_by: Vec<(usize, Decimal)>,
}

/// The reason why it cannot be done, in the ledger's own codes.
pub type Obstacle = &'static [&'static str];

impl Paper {
    /// Does it, or says what stands against it. Answers with the balance of the account that the ledger tells, too.
    pub fn record(&mut self, deed: &Deed) -> Result<Option<Decimal>, Obstacle> {
        let account = match deed {
            Deed::Paid { account, payment, amount } => {
                // The same notice any number of times is one payment.
                if !self.payments.contains_key(payment) {
                    let line = self.sheet(*account).receive(*amount);
                    self.payments.insert(payment.clone(), (*account, line));
                }
                *account
            }
            Deed::Adjusted { account, amount } => {
                let sheet = self.sheet(*account);
                if amount.is_sign_negative() {
                    sheet.charge(-amount)
                } else {
                    sheet.receive(*amount)
                };
                *account
            }
            Deed::Invoiced { account, total } => {
                self.sheet(*account).charge(*total);
                return Ok(None);
            }
            Deed::Spent { account, expense, total } => {
                let line = self.sheet(*account).charge(*total);
                self.expenses.insert(expense.clone(), (*account, line));
                *account
            }
            Deed::SpendingReversed { expense } => {
                let (account, line) = self.expenses[expense];
                self.sheet(account).take_back(line);
                account
            }
            Deed::Transferred { from, to, sent, rate } => {
                if self.balance(*from) < *sent {
                    return Err(&["insufficient-funds"]);
                }
                self.sheet(*from).charge(*sent);
                let received = (sent * rate).round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
                self.sheet(*to).receive(received);
                return Ok(None);
            }
            Deed::RefundStarted { payment, refund, amount } => {
                let Some(&(account, line)) = self.payments.get(payment) else { return Err(&["payment-not-found"]) };
                let free = &mut self.sheet(account).free[line];
                if *free < *amount {
                    return Err(&["over-refund", "payment-status"]);
                }
                *free -= amount;
                self.refunds.insert(refund.clone(), (payment.clone(), *amount));
                account
            }
            Deed::RefundSettled { refund } => self.payments[&self.refunds[refund].0].0,
            Deed::RefundFailed { refund } => {
                let (payment, amount) = self.refunds[refund].clone();
                let (account, line) = self.payments[&payment];
                self.sheet(account).free[line] += amount;
                self.sheet(account).serve();
                account
            }
        };
        Ok(Some(self.balance(account)))
    }

    pub fn balance(&self, account: usize) -> Decimal {
        self.free(account) - self.uncovered(account)
    }

    pub fn free(&self, account: usize) -> Decimal {
        self.accounts.get(&account).map_or(Decimal::ZERO, |sheet| sheet.free.iter().sum())
    }

    pub fn uncovered(&self, account: usize) -> Decimal {
        let charges = self.accounts.get(&account).map(|sheet| &sheet.charges);
        charges.into_iter().flatten().map(|charged| charged.uncovered).sum()
    }

    fn sheet(&mut self, account: usize) -> &mut Sheet {
        self.accounts.entry(account).or_default()
    }
}

impl Sheet {
    fn receive(&mut self, amount: Decimal) -> usize {
        self.free.push(amount);
        self.serve();
        self.free.len() - 1
    }

    fn charge(&mut self, amount: Decimal) -> usize {
        self.charges.push(Charged { uncovered: amount, served_by: Vec::new() });
        self.serve();
        self.charges.len() - 1
    }

    /// Nobody owes anything for it any more, and what served it is free for the rest.
    fn take_back(&mut self, line: usize) {
        let charged = &mut self.charges[line];
        charged.uncovered = Decimal::ZERO;
        for (sum, part) in charged.served_by.drain(..) {
            self.free[sum] += part;
        }
        self.serve();
    }

    fn serve(&mut self) {
        for charged in &mut self.charges {
            for (sum, free) in self.free.iter_mut().enumerate() {
                let part = charged.uncovered.min(*free);
                if part > Decimal::ZERO {
                    charged.uncovered -= part;
                    *free -= part;
                    charged.served_by.push((sum, part));
                }
            }
        }
    }
}
