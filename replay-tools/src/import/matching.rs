//! Which earlier invoice line a credited line cancels.

use std::collections::HashMap;

use rust_decimal::Decimal;

use super::lines::Line;

/// What is left to credit of the invoice lines read so far, by customer and item.
#[derive(Debug, Default)]
pub struct Matching {
    /// The invoices in the order they were read.
    invoices: Vec<Box<str>>,
    left: HashMap<(Box<str>, Box<str>), Vec<Left>>,
}

#[derive(Debug)]
struct Left {
    /// Index into `invoices`.
    invoice: u32,
    /// From 1.
    line: u32,
    unit_price: Decimal,
    quantity: Decimal,
    amount: Decimal,
}

/// The line that is cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The number of the invoice.
    pub invoice: Box<str>,
    /// From 1.
    pub line: u32,
}

impl Matching {
    pub fn add_invoice(&mut self, number: &str, customer: &str, lines: &[Line]) {
        let invoice = u32::try_from(self.invoices.len()).expect("a file has fewer than four thousand million invoices");
        self.invoices.push(number.into());
        for (line, number) in lines.iter().zip(1..) {
            let amount = line.quantity * line.unit_price;
            // What was given away or booked out cannot be credited.
            if amount > Decimal::ZERO {
                let (quantity, unit_price) = (line.quantity, line.unit_price);
                let left = Left { invoice, line: number, unit_price, quantity, amount };
                self.left.entry((customer.into(), line.item.as_str().into())).or_default().push(left);
            }
        }
    }

    /// Takes a credited line (its quantity positive here) from the latest earlier line of that customer and item that
    /// has enough left, one of the same price first.
    pub fn take(&mut self, customer: &str, item: &str, quantity: Decimal, unit_price: Decimal) -> Option<Match> {
        let amount = quantity * unit_price;
        if amount.is_zero() {
            // The return of what was free takes nothing from what was not.
            return None;
        }
        let candidates = self.left.get_mut(&(Box::from(customer), Box::from(item)))?;
        let suffices = |left: &Left| left.quantity >= quantity && left.amount >= amount;
        let same_price = candidates.iter().rposition(|left| suffices(left) && left.unit_price == unit_price);
        let at = same_price.or_else(|| candidates.iter().rposition(suffices))?;
        let left = &mut candidates[at];
        left.quantity -= quantity;
        left.amount -= amount;
        let found = Match { invoice: self.invoices[left.invoice as usize].clone(), line: left.line };
        if left.amount.is_zero() {
            candidates.remove(at);
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::dec;

    use super::*;

    fn tea(quantity: Decimal, unit_price: Decimal) -> Line {
        Line { at: 2, item: "tea".into(), description: "tea".into(), quantity, unit_price }
    }

    fn two_invoices() -> Matching {
        let mut matching = Matching::default();
        matching.add_invoice("1", "anna", &[tea(dec!(5), dec!(2)), tea(dec!(3), dec!(1))]);
        matching.add_invoice("2", "anna", &[tea(dec!(4), dec!(2))]);
        matching
    }

    fn found(invoice: &str, line: u32) -> Option<Match> {
        Some(Match { invoice: invoice.into(), line })
    }

    #[test]
    fn the_latest_line_of_the_same_price_is_cancelled() {
        let mut matching = two_invoices();
        assert_eq!(matching.take("anna", "tea", dec!(3), dec!(2)), found("2", 1));
        assert_eq!(matching.take("anna", "tea", dec!(3), dec!(2)), found("1", 1));
        assert_eq!(matching.take("anna", "tea", dec!(3), dec!(1)), found("1", 2));
    }

    #[test]
    fn what_is_left_of_a_line_is_never_exceeded() {
        let mut matching = two_invoices();
        assert_eq!(matching.take("anna", "tea", dec!(6), dec!(2)), None);
        assert_eq!(matching.take("anna", "tea", dec!(5), dec!(2)), found("1", 1));
        assert_eq!(matching.take("anna", "tea", dec!(5), dec!(2)), None);
    }

    #[test]
    fn another_customers_line_is_not_cancelled() {
        assert_eq!(two_invoices().take("bert", "tea", dec!(1), dec!(2)), None);
    }
}
