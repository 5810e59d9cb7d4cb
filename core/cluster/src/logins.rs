//! How a ledger is reached: by the login of its owner, and by that of the application.

use std::{fmt, str::FromStr};

use sqlx::postgres::PgConnectOptions;

/// The two logins of a ledger. The owner's is for migrations and for builds, the application's for everything else.
#[derive(Clone)]
pub struct Logins {
    owner: PgConnectOptions,
    application: PgConnectOptions,
}

impl Logins {
    pub fn new(owner: PgConnectOptions, application: PgConnectOptions) -> Self {
        Self { owner, application }
    }

    /// Those of a PostgreSQL of the user's own. Where only one URL is named, it is the owner's.
    pub fn of_urls(url: &str, owner_url: Option<&str>) -> Result<Self, sqlx::Error> {
        let logins: Self = url.parse()?;
        match owner_url {
            Some(owner_url) => Ok(Self { owner: owner_url.parse()?, ..logins }),
            None => Ok(logins),
        }
    }

    pub fn owner(&self) -> &PgConnectOptions {
        &self.owner
    }

    pub fn application(&self) -> &PgConnectOptions {
        &self.application
    }
}

/// One login for both: sessions of the application take on its role, and could give it up.
impl From<PgConnectOptions> for Logins {
    fn from(owner: PgConnectOptions) -> Self {
        Self { application: owner.clone(), owner }
    }
}

impl FromStr for Logins {
    type Err = sqlx::Error;

    fn from_str(url: &str) -> Result<Self, sqlx::Error> {
        Ok(url.parse::<PgConnectOptions>()?.into())
    }
}

/// Without the passwords, which sqlx would print.
impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (owner, application) = (self.owner.get_username(), self.application.get_username());
        f.debug_struct("Logins").field("owner", &owner).field("application", &application).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_printed() {
        let logins: Logins = "postgres://somebody:hushhush@localhost/ledger".parse().expect("it is a URL");
        let printed = format!("{logins:?}");
        assert!(printed.contains("somebody") && !printed.contains("hushhush"), "{printed}");
    }
}
