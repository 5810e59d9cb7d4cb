//! Rules: which rule of the house an event followed, in words. For each event that moves money or changes what is due, one
//! short name that stays, and a sentence for whoever asks why.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable, such as `expense-charged`.
    pub name: &'static str,
    pub text: &'static str,
}

impl Rule {
    pub(crate) fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text }
    }
}
