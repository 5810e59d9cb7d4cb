//! What operators tell the server about a projection, and why it is not done. All of it concerns what is derived and
//! never the book, so that no idempotency key belongs to it.

use axum::extract::{FromRequest, FromRequestParts, Request};
use daybook_projections::{
    BOARD, Definition,
    engine::{ParkError, RebuildError, Standing, latest, standings},
    find,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use utoipa::{
    PartialSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::{Schema, Type},
    },
};

use crate::{
    app::App,
    http::{body, caller::Caller, error::ApiError},
};

/// A request of an operator, with its body read.
#[derive(Debug)]
pub struct Instruction<T> {
    pub body: T,
    pub by: String,
}

/// The body of an instruction whose address says everything.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Instruction<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, content) = request.into_parts();
        let by = Caller::from_request_parts(&mut parts, state).await?.who.actor.to_string();
        let headers = parts.headers.clone();
        let content = body::content(Request::from_parts(parts, content), state).await?;
        Ok(Self { body: body::read(&headers, &content)?, by })
    }
}

/// The projection of this name, in the version of this program.
pub fn named(name: &str) -> Result<Definition, ApiError> {
    find(name).ok_or_else(|| {
        let known: Vec<&str> = latest(BOARD).iter().map(|definition| definition.name).collect();
        ApiError::new("projection-not-found", format!("there is no projection `{name}`")).with("known", known)
    })
}

/// The name of a projection in an address.
#[derive(Debug)]
pub struct ProjectionName;

impl PartialSchema for ProjectionName {
    fn schema() -> RefOr<Schema> {
        let names = latest(BOARD).into_iter().map(|definition| definition.name);
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build().into()
    }
}

impl App {
    /// How one projection stands.
    pub async fn standing(&self, definition: Definition) -> Result<Standing, ApiError> {
        let mut connection = self.store().pool().acquire().await?;
        let standing = standings(&[definition], &mut connection).await?.pop();
        Ok(standing.ok_or(RebuildError::Nothing { name: definition.name, stage: "serving" })?)
    }

    /// The projection of this name in the version that serves, whose rows only that version's fold can mend.
    pub async fn serving(&self, name: &str) -> Result<Definition, ApiError> {
        let definition = named(name)?;
        let (program, serving) = (definition.version, self.standing(definition).await?.version);
        let of_it = |other: &&Definition| other.name == definition.name && other.version == serving;
        let found = BOARD.iter().find(of_it).copied();
        Ok(found.ok_or(RebuildError::OtherVersion { name: definition.name, serving, program })?)
    }
}

impl From<RebuildError> for ApiError {
    fn from(error: RebuildError) -> Self {
        let detail = error.to_string();
        match error {
            RebuildError::Fold { position, .. } => Self::new("event-not-foldable", detail).with("position", position),
            // A process that was killed seems to be at work for so long.
            RebuildError::UnderWay(_) => Self::new("rebuild-under-way", detail).retry_after(3),
            RebuildError::Lost(_) => Self::new("build-taken-over", detail),
            RebuildError::Busy(_) => Self::new("readers-in-the-way", detail).retry_after(1),
            RebuildError::Unproven(proof) => {
                Self::new("build-unproven", detail).with("differences", json!(proof.differences))
            }
            RebuildError::Nothing { .. } => Self::new("build-not-found", detail),
            RebuildError::OtherVersion { .. } => Self::new("other-version", detail),
            RebuildError::OtherBuild { serving, .. } => Self::new("other-build", detail).with("serving", serving),
            RebuildError::Behind { .. } | RebuildError::KeptBehind { .. } | RebuildError::KeptStopped { .. } => {
                Self::new("build-behind", detail)
            }
            RebuildError::ParkedMeanwhile(_) => Self::new("parked-meanwhile", detail).retry_after(1),
            RebuildError::Store(error) => error.into(),
            RebuildError::Database(error) => error.into(),
            RebuildError::Spill(error) => sqlx::Error::Io(error).into(),
            RebuildError::Panicked(_) => Self::new("internal", detail),
        }
    }
}

impl From<ParkError> for ApiError {
    fn from(error: ParkError) -> Self {
        let at_position = |code| Self::field(code, "/position", error.to_string());
        match error {
            ParkError::NoEvent(_) => at_position("event-not-found"),
            ParkError::NotFollowed(_) => at_position("event-not-followed"),
            ParkError::Folded { position, .. } => at_position("event-folded").with("position", position),
            ParkError::Parked(from) => at_position("stream-parked").with("from_position", from),
            ParkError::NotParked(_) => at_position("not-parked"),
            ParkError::Refold(error) => error.into(),
            ParkError::Store(error) => error.into(),
            ParkError::Database(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use daybook_projections::engine::Verified;

    use super::*;

    #[test]
    fn what_happens_to_a_build_meanwhile_is_told() {
        let code = |error: RebuildError| ApiError::from(error).code();
        assert_eq!(code(RebuildError::Lost("orders")), "build-taken-over");
        assert_eq!(code(RebuildError::Busy("orders")), "readers-in-the-way");
        assert_eq!(code(RebuildError::ParkedMeanwhile("orders")), "parked-meanwhile");
        let proof = Verified {
            name: "orders",
            build: 2,
            version: 1,
            position: 9,
            rows: 5,
            different: 1,
            differences: Vec::new(),
            portions: 1,
        };
        assert_eq!(code(RebuildError::Unproven(Box::new(proof))), "build-unproven");
    }
}
