//! One value of an answer, as a page shows it: figures by the reader's language, identifiers as links to what they name.

use askama::Template;
use serde_json::{Map, Value};

use crate::{
    declared::{Member, Shape, listing_of},
    figures,
    visit::Visit,
};

/// A value, ready to be shown.
#[derive(Debug, Template)]
#[template(path = "cell.html")]
pub enum Cell {
    Empty,
    Text(String),
    /// Of several lines.
    Long(String),
    Number(String),
    Money(String),
    /// With the moment as machines read it.
    Moment(String, String),
    /// A status or another word, and how it is to be taken.
    Word(String, &'static str),
    Link(String, String),
    /// The same by a short name that stays on one line.
    Short(String, String),
    /// A word, and what belongs to it.
    Of(String, Box<Cell>),
    List(Vec<Cell>),
    Members(Vec<(String, Cell)>),
    Table(Table),
}

/// Rows of things.
#[derive(Debug, Default)]
pub struct Table {
    pub heads: Vec<Head>,
    pub rows: Vec<Vec<Cell>>,
}

/// The head of a column.
#[derive(Debug)]
pub struct Head {
    pub label: String,
    pub is_figure: bool,
    /// Where the list is sorted by it.
    pub sort: Option<String>,
    /// As `aria-sort` has it.
    pub sorted: Option<&'static str>,
}

impl Head {
    pub fn of(label: String, is_figure: bool) -> Self {
        Self { label, is_figure, sort: None, sorted: None }
    }
}

/// Members that are of use to programs only, or that the details of a thing show elsewhere.
const UNSHOWN: [&str; 3] = ["next_cursor", "has_more", "next_after"];

/// Members that a list leaves to the page of the thing.
const DETAILS: [&str; 18] = [
    "id",
    "position",
    "entries",
    "time_zone",
    "policy",
    "residue",
    "rates",
    "automatic_allocation",
    "entry",
    "gateway_payment",
    "gateway_reason",
    "document_number",
    "reverses",
    "reversed_by",
    "command_id",
    "correlation_id",
    "archived",
    "item_count",
];

impl Cell {
    /// What a value of this shape looks like.
    pub fn of(visit: &Visit, shape: &Shape, value: &Value) -> Self {
        match (shape, value) {
            (_, Value::Null) => Self::Empty,
            (Shape::Word(_), Value::String(word)) => Self::word(visit, word),
            (Shape::Number, Value::String(number)) => Self::Number(figures::number(visit.language, number)),
            (Shape::Day, Value::String(day)) => Self::Text(figures::day(visit.language, day)),
            (Shape::Moment, Value::String(moment)) => Self::moment(visit, moment),
            (Shape::Text(_) | Shape::Reference(_), Value::String(text)) => Self::text(text),
            (Shape::Choice(choices), Value::Object(held)) if held.len() == 1 => {
                let held = held.iter().next();
                let (word, held) = held.expect("it has one member");
                let shape = choices.iter().find(|(name, _)| name == word).and_then(|(_, shape)| shape.clone());
                Self::Of(visit.language.word(word), Box::new(Self::of(visit, &shape.unwrap_or(Shape::Any), held)))
            }
            (Shape::Choice(_), Value::String(word)) => Self::word(visit, word),
            (Shape::Object(members), Value::Object(thing)) if !is_named(thing) => Self::object(visit, members, thing),
            (Shape::List(of), Value::Array(list)) => Self::list(visit, of, list),
            _ => Self::guess(visit, value),
        }
    }

    /// The same of which nothing is declared.
    pub fn guess(visit: &Visit, value: &Value) -> Self {
        match value {
            Value::Null => Self::Empty,
            Value::Bool(truth) => {
                Self::Word(visit.language.say(if *truth { "yes" } else { "no" }), if *truth { "" } else { "quiet" })
            }
            Value::Number(number) => Self::Number(figures::number(visit.language, &number.to_string())),
            Value::String(text) if is_moment(text) => Self::moment(visit, text),
            Value::String(text) => Self::text(text),
            Value::Array(list) => Self::list(visit, &Shape::Any, list),
            Value::Object(thing) => match (thing.get("amount"), thing.get("currency")) {
                (Some(Value::String(amount)), Some(Value::String(currency))) if thing.len() == 2 => {
                    Self::Money(figures::money(visit.language, amount, currency))
                }
                _ if is_named(thing) => {
                    let id = thing["id"].as_str().unwrap_or_default();
                    let label = label(visit, thing).unwrap_or_else(|| short(id));
                    listing_of(id).map_or_else(|| Self::Text(label.clone()), |_| Self::Link(page_of(id), label.clone()))
                }
                _ => Self::object(visit, &[], thing),
            },
        }
    }

    fn text(text: &str) -> Self {
        if listing_of(text).is_some() {
            return Self::Short(page_of(text), short(text));
        }
        // An actor: who it was stands after the colon.
        if let Some((_, id)) = text.split_once(':').filter(|(kind, _)| matches!(*kind, "customer" | "staff"))
            && listing_of(id).is_some()
        {
            return Self::Short(page_of(id), short(id));
        }
        if text.contains('\n') { Self::Long(text.to_owned()) } else { Self::Text(text.to_owned()) }
    }

    fn moment(visit: &Visit, moment: &str) -> Self {
        Self::Moment(figures::moment(visit.language, visit.zone, moment), moment.to_owned())
    }

    fn word(visit: &Visit, word: &str) -> Self {
        Self::Word(visit.language.word(word), manner(word))
    }

    fn object(visit: &Visit, members: &[Member], thing: &Map<String, Value>) -> Self {
        let declared =
            members.iter().filter_map(|member| Some((member.name.as_str(), &member.shape, thing.get(&member.name)?)));
        let others = thing.iter().filter(|(name, _)| !members.iter().any(|member| member.name == **name));
        let all = declared.chain(others.map(|(name, value)| (name.as_str(), &Shape::Any, value)));
        let shown = all.filter(|(name, _, value)| !UNSHOWN.contains(name) && !value.is_null());
        Self::Members(
            shown.map(|(name, shape, value)| (visit.language.label(name), Self::of(visit, shape, value))).collect(),
        )
    }

    fn list(visit: &Visit, of: &Shape, list: &[Value]) -> Self {
        if list.is_empty() {
            return Self::Empty;
        }
        match of {
            Shape::Object(columns) => Self::Table(Table::of(visit, columns, list, false)),
            Shape::Any if list.iter().all(Value::is_object) => {
                let names: Vec<Member> = list[0]
                    .as_object()
                    .into_iter()
                    .flat_map(Map::keys)
                    .map(|name| Member { name: name.clone(), shape: Shape::Any, is_required: false })
                    .collect();
                Self::Table(Table::of(visit, &names, list, false))
            }
            _ => Self::List(list.iter().map(|value| Self::of(visit, of, value)).collect()),
        }
    }

    fn is_figure(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Money(_))
    }

    /// What it is, without any marks.
    pub fn plain(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) | Self::Long(text) | Self::Number(text) | Self::Money(text) => text.clone(),
            Self::Moment(text, _) | Self::Word(text, _) | Self::Link(_, text) | Self::Short(_, text) => text.clone(),
            Self::Of(word, held) => format!("{word} {}", held.plain()),
            Self::List(list) => list.iter().map(Self::plain).collect::<Vec<_>>().join(", "),
            Self::Members(_) | Self::Table(_) => String::new(),
        }
    }
}

impl Table {
    /// The things as rows. In a list of things, the first column leads to each.
    pub fn of(visit: &Visit, columns: &[Member], list: &[Value], is_listing: bool) -> Self {
        let is_thing = is_listing && list.iter().all(|thing| thing["id"].as_str().and_then(listing_of).is_some());
        let shown: Vec<&Member> = columns
            .iter()
            .filter(|column| !(is_thing && DETAILS.contains(&column.name.as_str())))
            .filter(|column| {
                !matches!(&column.shape, Shape::List(of) if matches!(**of, Shape::Object(_))) || !is_listing
            })
            // A column without any value, or of nothing but zero, takes room and says nothing.
            .filter(|column| !is_listing || list.is_empty() || list.iter().any(|thing| !is_empty(&thing[&column.name])))
            // Of the customer's own things, all are the customer's.
            .filter(|column| visit.customer().is_none() || column.name != "customer")
            .collect();
        let mut rows: Vec<Vec<Cell>> = list
            .iter()
            .map(|thing| shown.iter().map(|column| Cell::of(visit, &column.shape, &thing[&column.name])).collect())
            .collect();
        let mut heads: Vec<Head> = shown
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let is_figure = rows.iter().any(|row: &Vec<Cell>| row[at].is_figure())
                    || (rows.is_empty() && matches!(column.shape, Shape::Money | Shape::Number | Shape::Integer));
                Head { sort: Some(column.name.clone()), ..Head::of(visit.language.label(&column.name), is_figure) }
            })
            .collect();
        if is_thing {
            let at = naming(&shown, list);
            for (row, thing) in rows.iter_mut().zip(list) {
                let id = thing["id"].as_str().unwrap_or_default();
                let name = at.map(|at| row.remove(at).plain()).filter(|name| !name.is_empty());
                row.insert(
                    0,
                    name.map_or_else(|| Cell::Short(page_of(id), short(id)), |name| Cell::Link(page_of(id), name)),
                );
            }
            let head = at.map(|at| heads.remove(at));
            heads.insert(0, head.unwrap_or_else(|| Head::of(visit.language.label("id"), false)));
            heads[0].is_figure = false;
        }
        Self { heads, rows }
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty) || is_nothing(value)
}

/// An amount of nothing.
fn is_nothing(value: &Value) -> bool {
    let amount = value["amount"].as_str();
    value["currency"].is_string() && amount.is_some_and(|amount| amount.bytes().all(|byte| matches!(byte, b'0' | b'.')))
}

/// The column by which a thing is called.
fn naming(columns: &[&Member], list: &[Value]) -> Option<usize> {
    let names = NAMES.iter().filter_map(|name| columns.iter().position(|column| column.name == *name));
    names.into_iter().find(|at| list.iter().any(|thing| thing[&columns[*at].name].is_string()))
}

/// The members by which people call things, the best first.
const NAMES: [&str; 7] = ["reference", "number", "name", "subject", "description", "product", "kind"];

/// What a thing is called.
pub fn label(visit: &Visit, thing: &Map<String, Value>) -> Option<String> {
    let name = NAMES.iter().find_map(|name| thing.get(*name)?.as_str().filter(|name| !name.is_empty()));
    name.map(str::to_owned).or_else(|| {
        let method = thing.get("method")?.as_str()?;
        Some(visit.language.say_with("payment-by", &[("method", method)]))
    })
}

/// Something with a page of its own.
fn is_named(thing: &Map<String, Value>) -> bool {
    thing.get("id").and_then(Value::as_str).is_some_and(|id| listing_of(id).is_some())
}

/// The page of the thing with this identifier.
pub fn page_of(id: &str) -> String {
    format!("/{}/{id}", listing_of(id).unwrap_or("search"))
}

/// The end of an identifier, where nothing better is known.
pub fn short(id: &str) -> String {
    let tail: Vec<char> = id.chars().rev().take(6).collect();
    format!("…{}", tail.into_iter().rev().collect::<String>())
}

fn is_moment(text: &str) -> bool {
    text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z')
}

/// How a word is to be taken: as good, as something that waits, or as something that needs somebody.
fn manner(word: &str) -> &'static str {
    match word {
        "credited" | "paid" | "processed" | "won" | "settled" | "running" | "active" | "done" | "succeeded"
        | "answered" | "present" | "ready" => "good",
        "in_progress" | "pledged" | "new" | "open" | "pending" | "part_paid" | "issued" | "waiting" | "building" => {
            "waits"
        }
        "failed" | "fraudulent" | "lost" | "stalled" | "parked" | "paused" | "cancelled" => "bad",
        _ => "quiet",
    }
}
