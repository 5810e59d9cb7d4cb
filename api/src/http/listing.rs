//! Listings and single things over HTTP. A noun declares what a listing can be asked ([`Question`]); order, cursor, form,
//! moment, freshness and rights are the same for all of them.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::Response,
};
use daybook_projections::{
    Chosen, RowOrder, Sort, Viewer,
    engine::Row,
    listing::{self, Listed},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    http::{
        accept::preferred,
        address::{read_at_moment, read_page, read_pairs},
        authentication::unauthenticated,
        caller::Caller,
        error::ApiError,
        export::{self, Sheet},
        moment::AskedMoment,
        page::{Addressed, Cursor, Page, PageLimit},
        read::{Fresh, Rows, Walk},
        shape::{self, AskedShape, Expand, Shape},
        wire::{CurrencyCode, Nothing, Number, json},
    },
};

/// What a listing can be asked: its fields are the filters.
pub trait Question: DeserializeOwned + Send + 'static {
    /// What the listing has a row of.
    type Row: Listed;
    /// What is shown of a row.
    type Shown: From<Self::Row> + Serialize + ToSchema;

    /// What it can be sorted by, beside `position`.
    const SORTS: &'static [Sort];
    /// The filters whose rows no index finds.
    const UNINDEXED: &'static [&'static str];
    /// The members that are identifiers of other things, and can be shown as these.
    const EXPANDS: &'static [Expand] = &[];

    /// The rows that are asked for.
    fn chosen(self) -> Result<Chosen, ApiError>;
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

/// A page of what has an order of its own, as it is asked for.
#[derive(Debug)]
pub struct Paged<Q> {
    pub question: Q,
    pub paging: Paging,
    pub asking: Asking,
    pub addressed: Addressed,
}

/// A listing, as it is asked for: a page of it, or all of it as a table.
#[derive(Debug)]
pub struct Listing<Q> {
    question: Q,
    paging: Paging,
    asking: Asking,
    addressed: Addressed,
    order: RowOrder,
    shape: Shape,
    form: Form,
}

/// One thing that a question lists, as it is asked for.
#[derive(Debug)]
pub struct One<Q> {
    pub asking: Asking,
    shape: Shape,
    of: std::marker::PhantomData<fn() -> Q>,
}

/// The forms that a listing comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Table(Sheet),
}

const FORMS: [(Form, &str); 3] = [
    (Form::Json, "application/json"),
    (Form::Table(Sheet::Csv), export::CSV),
    (Form::Table(Sheet::Xlsx), export::XLSX),
];

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

impl<S: Sync> FromRequestParts<S> for Addressed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let principal = Caller::from_request_parts(parts, state).await?.scope();
        Ok(Self { uri: parts.uri.clone(), principal })
    }
}

impl<Q: DeserializeOwned + Send, S: Sync> FromRequestParts<S> for Paged<Q> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let (question, Nothing {}, paging, moment) = read_page(parts.uri.query().unwrap_or_default(), &[])?;
        let addressed = Addressed::from_request_parts(parts, state).await?;
        Ok(Self { question, paging, asking: Asking::of(moment, parts, state).await?, addressed })
    }
}

impl<Q: Question, S: Sync> FromRequestParts<S> for Listing<Q> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let (question, asked, paging, moment) = read_page(query, shape::parameters::<Q>())?;
        let AskedShape { sort, fields, expand } = asked;
        let form = form(&parts.headers)?;
        let order = order(Q::SORTS, sort.map(String::from))?;
        let addressed = Addressed::from_request_parts(parts, state).await?;
        let shape = Shape::of_listing::<Q>(fields, expand, parts)?;
        let asking = Asking::of(moment, parts, state).await?;
        // The rows of the past are found one after the other, from the newest to the oldest.
        if !moment.is_now() && !order.is_newest_first() {
            return Err(malformed("sort", "a listing of the past goes from the newest to the oldest"));
        }
        if form != Form::Json {
            let of_pages = [
                ("cursor", paging.cursor.is_some(), "a table has all rows, and no pages"),
                ("limit", paging.limit.is_some(), "a table has all rows, and no pages"),
                ("expand", shape.expands(), "a table shows identifiers"),
            ];
            if let Some((parameter, _, why)) = of_pages.into_iter().find(|(_, is_asked, _)| *is_asked) {
                return Err(malformed(parameter, why));
            }
        }
        Ok(Self { question, paging, asking, addressed, order, shape, form })
    }
}

impl<Q: Question, S: Sync> FromRequestParts<S> for One<Q> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let (asked, moment) = read_at_moment(query, shape::parameters_of_one::<Q>())?;
        let AskedShape { fields, expand, .. } = asked;
        let shape = Shape::of_one::<Q>(fields, expand, parts)?;
        Ok(Self { asking: Asking::of(moment, parts, state).await?, shape, of: std::marker::PhantomData })
    }
}

/// Whether the caller wants all of a listing as one table.
pub fn wants_table(headers: &HeaderMap) -> bool {
    matches!(preferred(&FORMS, headers), Some(Form::Table(_)))
}

fn form(headers: &HeaderMap) -> Result<Form, ApiError> {
    preferred(&FORMS, headers).ok_or_else(|| {
        let allowed = FORMS.map(|(_, media_type)| media_type);
        ApiError::new("not-acceptable", format!("a listing comes as {}", allowed.join(", "))).with("allowed", allowed)
    })
}

/// The order that is asked for: the name of a member, with a minus before it if the largest comes first.
fn order(sorts: &'static [Sort], asked: Option<String>) -> Result<RowOrder, ApiError> {
    let Some(asked) = asked else { return Ok(RowOrder::default()) };
    let (name, is_descending) = asked.strip_prefix('-').map_or((&*asked, false), |name| (name, true));
    let sort = sorts.iter().find(|sort| sort.name == name).copied();
    if sort.is_none() && name != BY_POSITION {
        let allowed = orders(sorts);
        let detail = format!("a listing is sorted by one of {}", allowed.join(", "));
        return Err(malformed("sort", &detail).with("allowed", allowed));
    }
    Ok(RowOrder::by(sort, is_descending))
}

/// What every listing can be sorted by.
const BY_POSITION: &str = "position";

/// All that `sort` can be.
pub fn orders(sorts: &[Sort]) -> Vec<String> {
    let names = [BY_POSITION].into_iter().chain(sorts.iter().map(|sort| sort.name));
    names.flat_map(|name| [name.to_owned(), format!("-{name}")]).collect()
}

pub fn malformed(parameter: &str, why: &str) -> ApiError {
    ApiError::new("malformed-parameter", format!("`{parameter}`: {why}")).with("parameter", parameter)
}

/// Those of some amount in a currency, where such are asked for.
pub fn of_amount(
    chosen: Chosen,
    column: &'static str,
    currency: Option<CurrencyCode>,
    from: Option<Number>,
    to: Option<Number>,
) -> Result<Chosen, ApiError> {
    if currency.is_none() && (from.is_some() || to.is_some()) {
        return Err(malformed("currency", "an amount is asked for in one currency, which has to be named, too"));
    }
    let currency = currency.map(|currency| currency.0.to_string());
    let (from, to) = (from.map(|from| from.0), to.map(|to| to.0));
    Ok(chosen.lasting("currency", currency).amount_within(column, from, to))
}

pub fn not_found<L: Listed>() -> ApiError {
    ApiError::new(L::NOT_FOUND, format!("there is no such {}", L::NOUN))
}

impl App {
    /// A page of the rows of one projection, or a table of all of them.
    pub async fn list<Q: Question>(&self, asked: Listing<Q>) -> Result<Response, ApiError> {
        let mut listed = self.listed(asked).await?;
        // What keeps answers must not give the one form for the other.
        listed.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
        Ok(listed)
    }

    async fn listed<Q: Question>(&self, asked: Listing<Q>) -> Result<Response, ApiError> {
        let Listing { question, paging, asking, addressed, order, shape, form } = asked;
        let chosen = question.chosen()?;
        if let Form::Table(sheet) = form {
            return self.export::<Q>(sheet, chosen, order, shape, asking, &addressed).await;
        }
        let uri = addressed.uri.clone();
        let mut walk = self.walk(addressed, paging)?.in_order(order);
        let mut rows = self.read_at(&[Q::Row::PROJECTION], asking.clone()).await?;
        let mut found = rows.chosen::<Q::Row>(&mut walk.steps, &chosen).await?;
        // All rows before have gone meanwhile, so that what comes after them is the first page.
        if found.is_empty() && walk.again(order) {
            found = rows.chosen::<Q::Row>(&mut walk.steps, &chosen).await?;
        }
        let found = found.into_iter().map(|found| (found.place, found.row)).collect();
        if shape.is_whole() {
            let page = walk.page_of(found, Q::Shown::from);
            return Ok(rows.answer(page.answer(&uri)));
        }
        let mut page: Page<_> = walk.page_of(found, |row| shape.pruned(&Q::Shown::from(row)));
        let read_at = rows.read_at();
        // What follows reads on connections of its own.
        drop(rows);
        self.expand(&shape, &mut page.data, &asking, read_at.position).await?;
        Ok(read_at.with(page.answer(&uri)))
    }

    /// The thing with this identifier, and the rows that belong to it.
    pub async fn one<L: Listed>(&self, id: &str, asking: Asking) -> Result<(Rows, L), ApiError> {
        let mut rows = self.read_one(L::PROJECTION, id, asking).await?;
        let found = rows.get(id).await?;
        Ok((rows, found))
    }

    /// The answer that shows one thing, as far as is asked.
    pub async fn show<Q: Question>(&self, asked: One<Q>, rows: Rows, shown: Q::Shown) -> Result<Response, ApiError> {
        let One { asking, shape, .. } = asked;
        if shape.is_whole() {
            return Ok(rows.show(shown));
        }
        let read_at = rows.read_at();
        drop(rows);
        let mut shown = [shape.pruned(&shown)];
        self.expand(&shape, &mut shown, &asking, read_at.position).await?;
        let [shown] = shown;
        Ok(read_at.with(json(&shown)))
    }

    /// The way to a page of the listing at this address.
    pub fn walk(&self, addressed: Addressed, Paging { cursor, limit }: Paging) -> Result<Walk<'_>, ApiError> {
        let wanted = self.cursors().wanted(&addressed, cursor.as_deref(), limit)?;
        Ok(Walk::new(self.cursors(), addressed, wanted))
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
