//! A column that holds a word of a closed list, such as how an order stands. A word that is not on the list is an error.

use std::ops::Deref;

use serde::{Deserialize, Serialize, de::IntoDeserializer, de::value};
use sqlx::{
    Decode, Postgres, Type,
    error::BoxDynError,
    postgres::{PgTypeInfo, PgValueRef},
};

/// A word, written as serde writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Word<W>(pub W);

impl<W: Copy + Into<&'static str>> Word<W> {
    pub fn as_str(self) -> &'static str {
        self.0.into()
    }
}

impl<W> Deref for Word<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.0
    }
}

impl<W> Type<Postgres> for Word<W> {
    fn type_info() -> PgTypeInfo {
        <&str as Type<Postgres>>::type_info()
    }

    fn compatible(column: &PgTypeInfo) -> bool {
        <&str as Type<Postgres>>::compatible(column)
    }
}

impl<'r, W: Deserialize<'r>> Decode<'r, Postgres> for Word<W> {
    fn decode(column: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(read(<&str as Decode<Postgres>>::decode(column)?)?)
    }
}

fn read<'r, W: Deserialize<'r>>(word: &'r str) -> Result<Word<W>, value::Error> {
    W::deserialize(word.into_deserializer()).map(Word)
}

#[cfg(test)]
mod tests {
    use daybook_core::domain::ticket::Status;

    use super::*;

    #[test]
    fn a_word_that_is_not_on_the_list_is_an_error_that_names_it() {
        assert_eq!(read("in_progress").map(|Word(status): Word<Status>| status), Ok(Status::InProgress));
        let error = read::<Status>("inprogress").expect_err("no such word");
        assert!(error.to_string().contains("`inprogress`"), "{error}");
    }
}
