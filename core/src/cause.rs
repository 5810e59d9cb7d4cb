//! What lies behind an error: for logs, of which the formats tell the first sentence only.

use std::iter;

/// An error with all that lies behind it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    #[test]
    fn an_error_is_told_with_its_cause() {
        let error = StoreError::Database(sqlx::Error::PoolClosed);
        assert_eq!(chain(&error), format!("the database does not do its part: {}", sqlx::Error::PoolClosed));
    }
}
