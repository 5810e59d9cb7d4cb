//! Listings and single things over HTTP. A noun declares what a listing can be asked ([`Question`]); cursor, moment,
//! freshness and rights are the same for all of them.

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
    response::Response,
};
use daybook_projections::{
    Chosen, Viewer,
    engine::Row,
    listing::{self, Listed},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::IntoParams;

use crate::{
    app::App,
    http::{
        address::{read_page, read_pairs},
        authentication::unauthenticated,
        error::ApiError,
        moment::AskedMoment,
        page::{Cursor, PageLimit},
        read::{Fresh, Rows},
    },
};

/// What a listing can be asked: its fields are the filters.
pub trait Question: DeserializeOwned + Send {
    /// What the listing has a row of.
    type Row: Listed;
    /// What is shown of a row.
    type Shown: From<Self::Row> + Serialize;

    /// The rows that are asked for.
    fn chosen(self) -> Chosen;
}

/// Which page of a listing is asked for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// The `next_cursor` of the page before.
    #[param(inline)]
    pub cursor: Option<Cursor>,
    /// So many rows at most.
    #[param(inline)]
    pub limit: Option<PageLimit>,
}

pub const PARAMETERS: [&str; 2] = ["cursor", "limit"];

/// How something is asked for: by whom, of which moment, and how fresh.
#[derive(Clone, Debug)]
pub struct Asking {
    pub viewer: Viewer,
    pub moment: AskedMoment,
    pub fresh: Fresh,
}

/// Who reads.
#[derive(Clone, Debug)]
pub struct Reading(pub Viewer);

/// A page of a listing, as it is asked for.
#[derive(Debug)]
pub struct Listing<Q> {
    pub question: Q,
    pub paging: Paging,
    pub asking: Asking,
    pub uri: Uri,
}

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let moment = read_pairs(parts.uri.query().unwrap_or_default(), |_| true, &[])?;
        Self::of(moment, parts, state).await
    }
}

impl Asking {
    pub async fn of<S: Sync>(moment: AskedMoment, parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let fresh = Fresh::from_request_parts(parts, state).await?;
        let Reading(viewer) = Reading::from_request_parts(parts, state).await?;
        Ok(Self { viewer, moment, fresh })
    }
}

impl<S: Sync> FromRequestParts<S> for Reading {
    type Rejection = ApiError;

    /// As the layer around the route has found out.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let viewer = parts.extensions.get().cloned();
        viewer.map(Self).ok_or_else(|| unauthenticated("a token or a session is needed"))
    }
}

impl<Q: DeserializeOwned + Send, S: Sync> FromRequestParts<S> for Listing<Q> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let (question, paging, moment) = read_page(parts.uri.query().unwrap_or_default())?;
        let asking = Asking::of(moment, parts, state).await?;
        Ok(Self { question, paging, asking, uri: parts.uri.clone() })
    }
}

pub fn not_found<L: Listed>() -> ApiError {
    ApiError::new(L::NOT_FOUND, format!("there is no such {}", L::NOUN))
}

impl App {
    /// A page of the rows of one projection.
    pub async fn list<Q: Question>(&self, asked: Listing<Q>) -> Result<Response, ApiError> {
        let Listing { question, paging, asking, uri } = asked;
        let chosen = question.chosen();
        let mut walk = self.walk(uri, paging)?;
        let mut rows = self.read_at(&[Q::Row::PROJECTION], asking).await?;
        let found = rows.chosen::<Q::Row>(&mut walk, &chosen).await?;
        Ok(rows.tell(walk.page(found, Listed::position, Q::Shown::from)))
    }

    /// The thing with this identifier, and the rows that belong to it.
    pub async fn one<L: Listed>(&self, id: &str, asking: Asking) -> Result<(Rows, L), ApiError> {
        let mut rows = self.read_one(L::PROJECTION, id, asking).await?;
        let found = rows.get(id).await?;
        Ok((rows, found))
    }
}

impl Rows {
    /// The thing with this identifier.
    pub async fn get<L: Listed>(&mut self, id: &str) -> Result<L, ApiError> {
        let (connection, viewer) = self.parts();
        let found = listing::get(connection, viewer, id).await?;
        found.ok_or_else(not_found::<L>)
    }

    /// The rows that belong to the thing with this identifier.
    pub async fn belonging<R: Row + DeserializeOwned>(&mut self, id: &str) -> Result<Vec<R>, ApiError> {
        self.belonging_where(id, &Chosen::default()).await
    }

    /// Those of them that are chosen.
    pub async fn belonging_where<R: Row + DeserializeOwned>(
        &mut self,
        id: &str,
        chosen: &Chosen,
    ) -> Result<Vec<R>, ApiError> {
        let (connection, viewer) = self.parts();
        Ok(listing::belonging_where(connection, viewer, id, chosen).await?)
    }
}
