//! The moment that is asked about: as of a time, as known at a position or a time, or now.

use chrono::{DateTime, Utc};
use daybook_projections::{Known, Moment, ReadError};
use serde::{Deserialize, Deserializer};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{RefOr, schema::Schema},
};

use crate::{
    app::App,
    http::{
        error::ApiError,
        time::{AskedTime, asked_moment, moment_pattern},
        wire::{Text, pattern_text},
    },
};

/// What a query says of the moment; nothing of it means now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AskedMoment {
    /// Only what took effect at this time or before it (RFC 3339), whenever it was recorded. An event that builds on one
    /// that has not taken effect by then has not taken effect either: an allocation takes effect once both its money and
    /// its charge are there. Now, and all that is dated later, unless one is given.
    #[param(inline)]
    as_of: Option<AskedTime>,
    /// Only what had been recorded up to this position of the book, or up to this time (RFC 3339): the answer that was
    /// given then. A position that the book has not reached, or a time still to come, is refused.
    #[param(inline)]
    as_known_at: Option<AsKnownAt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AsKnownAt(Known);

pub const PARAMETERS: [&str; 2] = ["as_of", "as_known_at"];

impl<'de> Deserialize<'de> for AsKnownAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let known = if digits {
                text.parse().map(Known::Position).map_err(|_| "no book has so many positions".to_owned())
            } else {
                asked_moment(text)
                    .map(Known::Time)
                    .map_err(|error| format!("it is no position of the book, and {error}"))
            };
            known.map(Self).map_err(|error| ("malformed-parameter", error))
        };
        deserializer.deserialize_str(Text::new("a position or a time", read))
    }
}

impl PartialSchema for AsKnownAt {
    fn schema() -> RefOr<Schema> {
        // A position has as many digits as 2⁶³ − 1 at most.
        pattern_text(&format!(r"^(\d{{1,19}}|{})$", moment_pattern()), "2026-04-11T00:00:00Z")
    }
}

impl ToSchema for AsKnownAt {}

impl AskedMoment {
    /// Whether nothing is said of it.
    pub fn is_now(&self) -> bool {
        *self == Self::default()
    }

    pub fn as_of(&self) -> Option<DateTime<Utc>> {
        self.as_of.map(|AskedTime(time)| time)
    }
}

impl App {
    /// The moment on both axes, a time of recording as the position that it stands for.
    pub async fn moment(&self, asked: AskedMoment) -> Result<Moment, ApiError> {
        let known_at = match asked.as_known_at {
            Some(AsKnownAt(known)) => Some(self.reader().position_of(known).await.map_err(of_known)?),
            None => None,
        };
        Ok(Moment { as_of: asked.as_of(), known_at })
    }

    /// The time that it was at the moment that is asked about, for what depends on it.
    pub async fn time_at(&self, asked: AskedMoment) -> Result<DateTime<Utc>, ApiError> {
        if let Some(as_of) = asked.as_of() {
            return Ok(as_of);
        }
        match asked.as_known_at {
            Some(AsKnownAt(Known::Time(time))) => Ok(time),
            Some(AsKnownAt(Known::Position(position))) => {
                let recorded_at = sqlx::query_scalar("select recorded_at from events where position = $1")
                    .bind(i64::try_from(position).unwrap_or(i64::MAX))
                    .fetch_optional(self.store().pool())
                    .await?;
                Ok(recorded_at.unwrap_or_else(|| self.clock().now()))
            }
            None => Ok(self.clock().now()),
        }
    }
}

fn of_known(error: ReadError) -> ApiError {
    match error {
        ReadError::BeyondTheBook { head } => {
            ApiError::new("malformed-parameter", format!("`as_known_at`: the book ends at position {head}"))
                .with("parameter", "as_known_at")
                .with("position", head)
        }
        ReadError::StillToCome => ApiError::new("malformed-parameter", "`as_known_at`: that time is still to come")
            .with("parameter", "as_known_at"),
        other => other.into(),
    }
}
