//! How much of a thing is shown: which of its members (`fields`), and which of the identifiers among them are replaced by
//! the things that they name (`expand`).
//!
//! A thing that is shown in the place of its identifier is read as any other: by the same rules of who may see it, and by
//! one query for all rows of a page.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

use axum::http::request::Parts;
use daybook_core::{Position, domain::function::Function};
use daybook_projections::listing::{self, Listed};
use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    app::App,
    http::{
        authentication::{Authenticated, forbidden, unauthenticated},
        columns,
        error::ApiError,
        listing::{Asking, Question, malformed},
        wire::AskedText,
    },
    routes::function_of,
};

/// So many identifiers follow each other in a path at most, such as `order.account.customer`.
const DEEPEST: usize = 3;

/// What a query says of the shape of an answer, and of its order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskedShape {
    pub sort: Option<AskedText>,
    pub fields: Option<AskedText>,
    pub expand: Option<AskedText>,
}

pub const PARAMETERS: [&str; 2] = ["fields", "expand"];

/// The parameters of a listing besides its filters, its pages and the moment.
pub fn parameters<Q: Question>() -> &'static [&'static str] {
    if Q::EXPANDS.is_empty() { &["sort", "fields"] } else { &["sort", "fields", "expand"] }
}

/// The same of one thing.
pub fn parameters_of_one<Q: Question>() -> &'static [&'static str] {
    &parameters::<Q>()[1..]
}

/// How much is shown.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The members; all of them, unless some are named.
    fields: Option<Vec<String>>,
    /// The paths of the identifiers that are replaced.
    expand: Vec<Vec<&'static str>>,
    expands: &'static [Expand],
}

/// A member that is the identifier of another thing, and can be shown as that thing.
#[derive(Clone, Copy)]
pub struct Expand {
    pub name: &'static str,
    to: &'static dyn Expandable,
}

impl Expand {
    /// The member of this name is one of the things that a question lists.
    pub const fn to<Q: Question>(name: &'static str) -> Self {
        Self { name, to: &Of::<Q>(PhantomData) }
    }
}

impl fmt::Debug for Expand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What an identifier can be replaced by.
trait Expandable: Sync {
    /// What whoever reads such a thing must be allowed to do.
    fn needs(&self) -> Function;
    fn expands(&self) -> &'static [Expand];
    /// Those of the things with these identifiers that are seen.
    fn fetch<'a>(&self, app: &'a App, ids: Vec<String>, asking: Asking) -> BoxFuture<'a, Result<Vec<Value>, ApiError>>;
}

struct Of<Q>(PhantomData<fn() -> Q>);

impl<Q: Question> Expandable for Of<Q> {
    fn needs(&self) -> Function {
        function_of::<Q>()
    }

    fn expands(&self) -> &'static [Expand] {
        Q::EXPANDS
    }

    fn fetch<'a>(&self, app: &'a App, ids: Vec<String>, asking: Asking) -> BoxFuture<'a, Result<Vec<Value>, ApiError>> {
        async move {
            let mut rows = app.read_at(&[Q::Row::PROJECTION], asking).await?;
            rows.bring_back(Q::Row::PROJECTION, &ids).await?;
            let (connection, viewer) = rows.parts();
            let found = listing::get_all::<Q::Row>(connection, viewer, &ids).await?;
            Ok(found.into_iter().map(|row| json!(Q::Shown::from(row))).collect())
        }
        .boxed()
    }
}

/// All paths that can be asked for.
pub fn paths(expands: &'static [Expand]) -> Vec<String> {
    let mut paths = Vec::new();
    collect(expands, "", DEEPEST, &mut paths);
    paths
}

fn collect(expands: &'static [Expand], before: &str, deeper: usize, paths: &mut Vec<String>) {
    for expand in expands.iter().filter(|_| deeper > 0) {
        let path = format!("{before}{}", expand.name);
        let further = format!("{path}.");
        paths.push(path);
        collect(expand.to.expands(), &further, deeper - 1, paths);
    }
}

impl Shape {
    /// Of a listing, where what only one thing shows is left out.
    pub fn of_listing<Q: Question>(
        fields: Option<AskedText>,
        expand: Option<AskedText>,
        parts: &Parts,
    ) -> Result<Self, ApiError> {
        Self::of::<Q>(fields, columns::members::<Q::Shown>, expand, parts)
    }

    /// Of one thing.
    pub fn of_one<Q: Question>(
        fields: Option<AskedText>,
        expand: Option<AskedText>,
        parts: &Parts,
    ) -> Result<Self, ApiError> {
        Self::of::<Q>(fields, columns::all_members::<Q::Shown>, expand, parts)
    }

    fn of<Q: Question>(
        fields: Option<AskedText>,
        members: impl Fn() -> Vec<String>,
        expand: Option<AskedText>,
        parts: &Parts,
    ) -> Result<Self, ApiError> {
        let fields = fields.map(|fields| named("fields", &String::from(fields), &members())).transpose()?;
        let expand = match expand {
            None => Vec::new(),
            Some(expand) => named("expand", &String::from(expand), &paths(Q::EXPANDS))?,
        };
        let who = parts.extensions.get::<Arc<Authenticated>>();
        let who = who.ok_or_else(|| unauthenticated("a token or a session is needed"))?;
        let expand = expand.iter().map(|path| allowed(Q::EXPANDS, path, who)).collect::<Result<_, _>>()?;
        Ok(Self { fields, expand, expands: Q::EXPANDS })
    }

    /// Whether things are shown as they are.
    pub fn is_whole(&self) -> bool {
        self.fields.is_none() && self.expand.is_empty()
    }

    pub fn expands(&self) -> bool {
        !self.expand.is_empty()
    }

    /// Whether a member is shown.
    pub fn has(&self, member: &str) -> bool {
        self.fields.as_ref().is_none_or(|fields| fields.iter().any(|field| field == member))
    }

    /// The members that are asked for, in their order; all of them, unless some are named.
    pub fn fields(&self) -> Option<&[String]> {
        self.fields.as_deref()
    }

    /// What is shown of a thing, before identifiers are replaced.
    pub fn pruned(&self, shown: &impl Serialize) -> Value {
        let mut shown = json!(shown);
        if let Some(members) = shown.as_object_mut() {
            members.retain(|member, _| self.has(member));
        }
        shown
    }
}

/// The names in a list, each of which must be among those that are allowed.
fn named(parameter: &str, list: &str, allowed: &[String]) -> Result<Vec<String>, ApiError> {
    let mut names: Vec<String> = Vec::new();
    for name in list.split(',') {
        if !allowed.iter().any(|one| one == name) {
            let detail = format!("a list of names without spaces, divided by commas, of {}", allowed.join(", "));
            return Err(malformed(parameter, &detail).with("allowed", allowed));
        }
        if !names.iter().any(|one| one == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The path, if whoever asks may read all things on it.
fn allowed(expands: &'static [Expand], path: &str, who: &Authenticated) -> Result<Vec<&'static str>, ApiError> {
    let (mut names, mut expands) = (Vec::new(), expands);
    for name in path.split('.') {
        let expand =
            expands.iter().find(|expand| expand.name == name).expect("the path is one of those that there are");
        let function = expand.to.needs();
        if !who.may(function) {
            return Err(forbidden(function));
        }
        names.push(expand.name);
        expands = expand.to.expands();
    }
    Ok(names)
}

impl App {
    /// Replaces identifiers by what they name, as far as that is asked for and seen. The things are as they are at this
    /// position, or a later one.
    pub async fn expand(
        &self,
        shape: &Shape,
        shown: &mut [Value],
        asking: &Asking,
        position: Position,
    ) -> Result<(), ApiError> {
        let paths: Vec<&[&str]> = shape.expand.iter().map(Vec::as_slice).collect();
        let asking = Asking { fresh: asking.fresh.reaching(position), ..asking.clone() };
        self.expand_all(shape.expands, paths, shown, &asking).await
    }

    fn expand_all<'a>(
        &'a self,
        expands: &'static [Expand],
        paths: Vec<&'a [&'static str]>,
        shown: &'a mut [Value],
        asking: &'a Asking,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        async move {
            let begun = expands.iter().filter(|expand| paths.iter().any(|path| path.first() == Some(&expand.name)));
            for Expand { name, to } in begun {
                let ids: BTreeSet<&str> = shown.iter().filter_map(|thing| thing[*name].as_str()).collect();
                if ids.is_empty() {
                    continue;
                }
                let ids = ids.into_iter().map(str::to_owned).collect();
                let mut found = to.fetch(self, ids, asking.clone()).await?;
                let further = paths.iter().filter(|path| path[0] == *name && path.len() > 1).map(|path| &path[1..]);
                self.expand_all(to.expands(), further.collect(), &mut found, asking).await?;
                let id = |thing: &Value| thing["id"].as_str().map(str::to_owned);
                let found: HashMap<String, Value> =
                    found.into_iter().filter_map(|thing| Some((id(&thing)?, thing))).collect();
                for thing in shown.iter_mut() {
                    let named = thing[*name].as_str().and_then(|id| found.get(id));
                    if let Some(named) = named.cloned() {
                        thing[*name] = named;
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }
}
