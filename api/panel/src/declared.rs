//! What the API declares, as far as pages follow from it: its operations, what they are asked and what they answer.

use std::str::FromStr;

use daybook_core::domain::function::Function;
use utoipa::openapi::{
    KnownFormat, OpenApi, Ref, RefOr, Required, SchemaFormat,
    path::{Operation as Described, ParameterIn},
    schema::{ArrayItems, Components, Object, Schema, SchemaType, Type},
};

/// All operations of the API.
#[derive(Debug)]
pub struct Declared(pub Vec<Operation>);

/// A method at an address.
#[derive(Debug)]
pub struct Operation {
    /// Such as `tickets_open`.
    pub id: String,
    /// In upper case.
    pub method: String,
    /// Such as `/v1/tickets/{id}`.
    pub path: String,
    pub need: Need,
    /// The filters of a listing, and what else an address can ask.
    pub query: Vec<Member>,
    pub body: Option<Shape>,
    pub answer: Shape,
    /// The members that a listing can be sorted by.
    pub sorts: Vec<String>,
    /// The members in whose place things can be shown.
    pub expands: Vec<String>,
    pub takes_moment: bool,
    pub is_paged: bool,
    pub comes_as_table: bool,
    /// Whether it needs `If-Match`, or an idempotency key.
    pub expects: bool,
    pub has_key: bool,
}

/// What the one who asks must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    /// To be signed in, perhaps without the second factor.
    Begun,
    Identity,
    May(Function),
    /// Of a program.
    Signature,
}

/// A member of an object, or a parameter.
#[derive(Clone, Debug)]
pub struct Member {
    pub name: String,
    pub shape: Shape,
    pub is_required: bool,
}

/// What a value can be.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Text of so many characters at most.
    Text(Option<usize>),
    /// The identifier of a thing, such as one of `accounts`.
    Reference(&'static str),
    /// One of some words.
    Word(Vec<String>),
    Integer,
    Number,
    Truth,
    Day,
    Moment,
    Money,
    Currency,
    Object(Vec<Member>),
    /// A word, or an object of one member.
    Choice(Vec<(String, Option<Shape>)>),
    List(Box<Shape>),
    /// Nothing is declared of it.
    Any,
}

/// Things with an identifier and a listing: how the identifier begins, and what the listing is.
pub const THINGS: [(&str, &str); 13] = [
    ("cus", "customers"),
    ("acc", "accounts"),
    ("pyr", "payers"),
    ("ord", "orders"),
    ("pay", "payments"),
    ("inv", "invoices"),
    ("crn", "credit-notes"),
    ("srv", "services"),
    ("exp", "expenses"),
    ("dsc", "discounts"),
    ("tkt", "tickets"),
    ("usr", "users"),
    ("opn", "operations"),
];

/// The listing that has the thing with this identifier.
pub fn listing_of(id: &str) -> Option<&'static str> {
    let (prefix, rest) = id.split_once('_')?;
    // A text that begins so is none.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
    if rest.is_empty() || rest.len() > 600 || !rest.bytes().all(is_plain) {
        return None;
    }
    THINGS.iter().find(|(begins, _)| *begins == prefix).map(|(_, listing)| *listing)
}

impl Declared {
    pub fn of(description: &OpenApi) -> Self {
        let none = Components::default();
        let components = description.components.as_ref().unwrap_or(&none);
        let mut operations = Vec::new();
        for (path, item) in &description.paths.paths {
            let methods = [
                ("GET", &item.get),
                ("POST", &item.post),
                ("PUT", &item.put),
                ("PATCH", &item.patch),
                ("DELETE", &item.delete),
            ];
            for (method, described) in methods {
                if let Some(described) = described {
                    operations.push(operation(method, path, described, components));
                }
            }
        }
        Self(operations)
    }

    pub fn named(&self, id: &str) -> Option<&Operation> {
        self.0.iter().find(|operation| operation.id == id)
    }

    /// What reads this address, and the values that stand for the names in its path.
    pub fn reading(&self, path: &str) -> Option<(&Operation, Vec<(String, String)>)> {
        let reads = self.0.iter().filter(|operation| operation.method == "GET");
        let mut found: Vec<_> =
            reads.filter_map(|operation| Some((operation, matched(&operation.path, path)?))).collect();
        // A path that names no value is meant itself.
        found.sort_by_key(|(_, values)| values.len());
        found.into_iter().next()
    }

    /// What can be done under this template, besides reading it.
    pub fn deeds<'a>(&'a self, template: &'a str) -> impl Iterator<Item = &'a Operation> {
        self.0.iter().filter(move |operation| {
            let further = operation.path.strip_prefix(template);
            operation.method != "GET"
                && further.is_some_and(|further| further.is_empty() || further.starts_with('/'))
                && operation.answers_something()
        })
    }
}

impl Operation {
    /// Whether it ever does what its name says: some are described only to say that they are refused.
    fn answers_something(&self) -> bool {
        !matches!(self.answer, Shape::Word(ref words) if words.is_empty())
    }

    /// Whether it cannot be undone, or takes something away.
    pub fn is_grave(&self) -> bool {
        self.method == "DELETE" || GRAVE.iter().any(|grave| self.path.ends_with(grave))
    }

    /// The rows of a listing.
    pub fn rows(&self) -> Option<(&str, &[Member])> {
        let Shape::Object(members) = &self.answer else { return None };
        let mut lists = members.iter().filter_map(|member| match &member.shape {
            Shape::List(of) => match &**of {
                Shape::Object(columns) => Some((member.name.as_str(), columns.as_slice())),
                _ => None,
            },
            _ => None,
        });
        let is_listing = !self.path.ends_with('}') && members.len() <= 6;
        lists.next().filter(|(name, _)| is_listing && (*name == "data" || members.len() <= 3))
    }

    /// The names in its path.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

const GRAVE: [&str; 9] =
    ["/disable", "/delete", "/deactivate", "/fraud", "/revoke", "/discard", "/reverse", "/cancel", "/rollback"];

fn matched(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (mut parts, mut values) = (path.split('/'), Vec::new());
    for expected in template.split('/') {
        let part = parts.next()?;
        match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if !part.is_empty() => values.push((name.to_owned(), part.to_owned())),
            Some(_) => return None,
            None if part == expected => {}
            None => return None,
        }
    }
    parts.next().is_none().then_some(values)
}

fn operation(method: &str, path: &str, described: &Described, components: &Components) -> Operation {
    let shapes = Shapes { components };
    let mut query = Vec::new();
    let (mut sorts, mut expands) = (Vec::new(), Vec::new());
    let (mut takes_moment, mut is_paged, mut expects, mut has_key) = (false, false, false, false);
    for parameter in described.parameters.iter().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        let name = parameter.name.to_ascii_lowercase();
        expects |= name == "if-match";
        has_key |= name == "idempotency-key";
        if parameter.parameter_in != ParameterIn::Query {
            continue;
        }
        let shape = parameter.schema.as_ref().map_or(Shape::Text(None), |schema| shapes.of(schema, 0));
        match parameter.name.as_str() {
            "sort" => sorts = words(&shape).into_iter().filter(|word| !word.starts_with('-')).collect(),
            "expand" => expands = alternatives(parameter.schema.as_ref()),
            "as_known_at" => takes_moment = true,
            "cursor" => is_paged = true,
            "as_of" | "limit" | "fields" | "format" => {}
            _ => query.push(Member {
                name: parameter.name.clone(),
                shape,
                is_required: parameter.required == Required::True,
            }),
        }
    }
    let body = described.request_body.as_ref().and_then(|body| match body {
        RefOr::T(body) => body.content.get("application/json"),
        RefOr::Ref(_) => None,
    });
    let body = body.and_then(|content| match content {
        RefOr::T(content) => content.schema.as_ref().map(|schema| shapes.of(schema, 0)),
        RefOr::Ref(_) => None,
    });
    let answers = described.responses.responses.iter().filter(|(status, _)| status.starts_with('2'));
    // Of what is always refused there is no answer.
    let (mut answer, mut comes_as_table) = (Shape::Word(Vec::new()), false);
    for (_, response) in answers {
        answer = Shape::Any;
        let RefOr::T(response) = response else { continue };
        comes_as_table = response.content.contains_key("text/csv");
        if let Some(RefOr::T(content)) = response.content.get("application/json")
            && let Some(schema) = &content.schema
        {
            answer = shapes.of(schema, 0);
        }
    }
    let need = described.extensions.as_ref().and_then(|extensions| extensions.get("x-needs"));
    Operation {
        id: described.operation_id.clone().unwrap_or_default(),
        method: method.to_owned(),
        path: path.to_owned(),
        need: need.and_then(|need| need.as_str()).map_or(Need::Nothing, Need::of),
        query,
        body,
        answer,
        sorts,
        expands,
        takes_moment,
        is_paged,
        comes_as_table,
        expects,
        has_key,
    }
}

impl Need {
    fn of(text: &str) -> Self {
        match text {
            "nothing" => Self::Nothing,
            "begun" => Self::Begun,
            "identity" => Self::Identity,
            "signature" => Self::Signature,
            function => Self::May(Function::from_str(function).expect("a route needs a function that there is")),
        }
    }
}

fn words(shape: &Shape) -> Vec<String> {
    if let Shape::Word(words) = shape { words.clone() } else { Vec::new() }
}

/// The names that a list of names, divided by commas, may have.
fn alternatives(schema: Option<&RefOr<Schema>>) -> Vec<String> {
    let Some(RefOr::T(Schema::Object(Object { pattern: Some(pattern), .. }))) = schema else { return Vec::new() };
    let within = pattern.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(within, _)| within);
    let names = within.unwrap_or_default().replace("\\.", ".");
    // What belongs to the thing in its place is not asked for.
    names.split('|').filter(|name| !name.is_empty() && !name.contains('.')).map(str::to_owned).collect()
}

struct Shapes<'a> {
    components: &'a Components,
}

/// Deeper no object is looked into.
const DEEPEST: usize = 8;

impl Shapes<'_> {
    fn of(&self, schema: &RefOr<Schema>, depth: usize) -> Shape {
        match schema {
            _ if depth > DEEPEST => Shape::Any,
            RefOr::Ref(Ref { ref_location, .. }) => {
                let name = ref_location.rsplit('/').next().unwrap_or_default();
                match (name, self.components.schemas.get(name)) {
                    ("Money", _) => Shape::Money,
                    ("Currency", _) => Shape::Currency,
                    (_, Some(schema)) => self.of(schema, depth + 1),
                    (_, None) => Shape::Any,
                }
            }
            RefOr::T(schema) => self.of_schema(schema, depth),
        }
    }

    fn of_schema(&self, schema: &Schema, depth: usize) -> Shape {
        match schema {
            Schema::Object(object) => self.of_object(object, depth),
            Schema::Array(array) => match &array.items {
                ArrayItems::RefOrSchema(items) => Shape::List(Box::new(self.of(items, depth + 1))),
                ArrayItems::False => Shape::Any,
            },
            Schema::OneOf(one) => self.of_choice(&one.items, depth),
            // The first is the thing as a whole; the others are what `fields` and `expand` leave of it.
            Schema::AnyOf(any) => any.items.first().map_or(Shape::Any, |first| self.of(first, depth + 1)),
            Schema::AllOf(all) => {
                let mut members = Vec::new();
                for item in &all.items {
                    match self.of(item, depth + 1) {
                        Shape::Object(more) => members.extend(more),
                        // Some of its members are not declared.
                        _ => return Shape::Any,
                    }
                }
                Shape::Object(members)
            }
            _ => Shape::Any,
        }
    }

    fn of_object(&self, object: &Object, depth: usize) -> Shape {
        if !object.properties.is_empty() {
            let members = object.properties.iter().map(|(name, schema)| Member {
                name: name.clone(),
                shape: self.of(schema, depth + 1),
                is_required: object.required.contains(name),
            });
            return Shape::Object(members.collect());
        }
        if let Some(values) = &object.enum_values {
            let words = values.iter().filter_map(|value| value.as_str()).map(str::to_owned);
            return Shape::Word(words.collect());
        }
        let is_of = |wanted: &Type| match &object.schema_type {
            SchemaType::Type(one) => one == wanted,
            SchemaType::Array(several) => several.contains(wanted),
            SchemaType::AnyValue => false,
        };
        let pattern = object.pattern.as_deref().unwrap_or_default();
        let thing = THINGS.iter().find(|(prefix, _)| pattern.starts_with(&format!("^{prefix}_")));
        match &object.format {
            Some(SchemaFormat::KnownFormat(KnownFormat::Date)) => Shape::Day,
            Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)) => Shape::Moment,
            _ if pattern == "^[A-Z]{3}$" => Shape::Currency,
            _ if is_of(&Type::Boolean) => Shape::Truth,
            _ if is_of(&Type::Integer) => Shape::Integer,
            _ if pattern.starts_with(r"^-?\d") => Shape::Number,
            _ if is_of(&Type::String) => match thing {
                Some((_, listing)) => Shape::Reference(listing),
                None => Shape::Text(object.max_length),
            },
            _ => Shape::Any,
        }
    }

    fn of_choice(&self, items: &[RefOr<Schema>], depth: usize) -> Shape {
        let is_null = |item: &&RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
        let items: Vec<&RefOr<Schema>> = items.iter().filter(|item| !is_null(item)).collect();
        if let [only] = items[..] {
            return self.of(only, depth + 1);
        }
        let mut choices = Vec::new();
        for item in items {
            match self.of(item, depth + 1) {
                Shape::Word(words) => choices.extend(words.into_iter().map(|word| (word, None))),
                Shape::Object(members) if members.len() == 1 => {
                    choices.extend(members.into_iter().map(|member| (member.name, Some(member.shape))));
                }
                _ => return Shape::Any,
            }
        }
        if choices.iter().all(|(_, held)| held.is_none()) {
            return Shape::Word(choices.into_iter().map(|(word, _)| word).collect());
        }
        Shape::Choice(choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_declares_is_read() {
        let api = Declared::of(&daybook_api::openapi());
        let (listing, values) = api.reading("/v1/tickets").expect("tickets are listed");
        assert_eq!((listing.id.as_str(), values.len()), ("tickets_list", 0));
        let (name, columns) = listing.rows().expect("a listing has rows");
        assert_eq!((name, columns[0].name.as_str()), ("data", "id"));
        assert_eq!(listing.expands, ["customer"]);
        assert!(listing.sorts.contains(&"opened_at".to_owned()) && listing.is_paged && listing.comes_as_table);
        let (one, values) = api.reading("/v1/tickets/tkt_1").expect("a ticket is shown");
        assert_eq!((one.id.as_str(), values), ("tickets_show", vec![("id".into(), "tkt_1".into())]));
        assert!(one.rows().is_none());
        let (latest, _) = api.reading("/v1/audit/checkpoints/latest").expect("the latest is shown");
        assert_eq!(latest.path, "/v1/audit/checkpoints/latest");
        let opening = api.named("tickets_open").and_then(|operation| operation.body.clone()).expect("it takes a body");
        let Shape::Object(members) = opening else { panic!("{opening:?}") };
        assert!(matches!(members[0].shape, Shape::Reference("customers")), "{members:?}");
        let about = members.iter().find(|member| member.name == "about").expect("a ticket is about something");
        assert!(matches!(&about.shape, Shape::Choice(choices) if choices.len() == 2), "{about:?}");
    }

    #[test]
    fn what_is_always_refused_is_no_deed() {
        let api = Declared::of(&daybook_api::openapi());
        let of_invoices: Vec<_> = api.deeds("/v1/invoices/{id}").map(|operation| operation.id.as_str()).collect();
        assert!(of_invoices.is_empty(), "{of_invoices:?}");
        let of_tickets: Vec<_> = api.deeds("/v1/tickets/{id}").map(|operation| operation.path.as_str()).collect();
        assert!(of_tickets.contains(&"/v1/tickets/{id}/archive"), "{of_tickets:?}");
    }
}
