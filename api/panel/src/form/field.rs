//! The fields of a form: each follows from what a member of the body can be.

use std::collections::HashMap;

use askama::Template;
use daybook_core::domain::function::Function;
use serde_json::{Value, json};

use super::typed::{MOST_ROWS, Typed, joined};
use crate::{
    cell,
    declared::{Member, Operation, Shape},
    visit::Visit,
};

/// A field of a form.
#[derive(Debug, Template)]
#[template(path = "field.html")]
pub struct Field {
    pub name: String,
    label: String,
    error: Option<String>,
    pub is_required: bool,
    control: Control,
    words: Words,
}

/// What all fields say alike.
#[derive(Clone, Debug)]
struct Words {
    any: String,
    add: String,
}

#[derive(Debug)]
enum Control {
    Hidden(String),
    Text(String, usize),
    Long(String, usize),
    Secret,
    Number(String),
    Truth(bool),
    Day(String),
    Moment(String),
    Select(Vec<Choice>),
    Checks(Vec<Choice>),
    /// Text, with things to choose from.
    Suggested(String, Vec<Choice>),
    /// Fields beside one another.
    Group(Vec<Field>),
    /// A choice, some of which need more.
    Variants(Vec<Choice>, Vec<Field>),
    Rows(Vec<Field>),
}

#[derive(Clone, Debug)]
struct Choice {
    value: String,
    label: String,
    is_chosen: bool,
}

impl Field {
    /// As an identifier of HTML.
    fn id(&self) -> String {
        format!("f-{}", self.name.replace('.', "-"))
    }
}

/// What fields are made from.
pub struct Making<'a> {
    visit: &'a Visit,
    typed: &'a Typed,
    errors: &'a [(String, String)],
    things: HashMap<&'static str, Things>,
}

/// The things that a field can name.
#[derive(Default)]
struct Things {
    choices: Vec<(String, String)>,
    /// Of accounts, by their identifiers.
    currencies: HashMap<String, String>,
    /// Whether these are all.
    is_whole: bool,
}

/// Fields that are no part of what is written down: they follow under a line of their own.
pub const FURTHER: [&str; 2] = ["effective_at", "reason"];

const SECRETS: [&str; 4] = ["password", "current", "code", "recovery_code"];

impl<'a> Making<'a> {
    pub async fn of(visit: &'a Visit, shape: &Shape, typed: &'a Typed, errors: &'a [(String, String)]) -> Self {
        let mut listings = Vec::new();
        named(shape, &mut listings);
        let mut things = HashMap::new();
        for listing in listings {
            if !things.contains_key(listing) {
                things.insert(listing, found(visit, listing).await);
            }
        }
        Self { visit, typed, errors, things }
    }

    pub fn fields(&self, members: &[Member], within: &str) -> Vec<Field> {
        let shown = members.iter().filter(|member| self.is_shown(member));
        shown.map(|member| self.field(member, &joined(within, &member.name))).collect()
    }

    fn is_shown(&self, member: &Member) -> bool {
        let may_date = || self.visit.who().is_some_and(|who| who.may(Function::EffectDate));
        member.name != "effective_at" || may_date()
    }

    fn field(&self, member: &Member, name: &str) -> Field {
        let typed = || self.typed.get(name).unwrap_or_default().to_owned();
        let own = self.visit.customer().filter(|_| member.name == "customer" || member.name == "party");
        let control = match (&member.shape, own) {
            (Shape::Reference("customers"), Some(customer)) => Control::Hidden(customer.to_owned()),
            (Shape::Choice(_), Some(customer)) if member.name == "party" => {
                let held = format!("{name}.customer");
                return self.hidden(name, "customer", vec![self.hidden(&held, customer, Vec::new())]);
            }
            // Nobody writes for the other side.
            (Shape::Word(_), _) if member.name == "side" => Control::Hidden(side(self.visit).to_owned()),
            (Shape::Text(_), _) if SECRETS.contains(&member.name.as_str()) => Control::Secret,
            (Shape::Text(longest), _) => match longest.unwrap_or(200) {
                longest if longest >= 1000 => Control::Long(typed(), longest),
                longest => Control::Text(typed(), longest),
            },
            (Shape::Reference(listing), _) => self.reference(listing, &typed(), member.is_required),
            (Shape::Word(words), _) => Control::Select(self.choices(words, &typed())),
            (Shape::Integer | Shape::Number, _) => Control::Number(typed()),
            // What has to be said is said, and not taken from a box that was left alone.
            (Shape::Truth, _) if member.is_required => Control::Select(self.truths(&typed())),
            (Shape::Truth, _) => Control::Truth(typed() == "true"),
            (Shape::Day, _) => Control::Day(typed()),
            (Shape::Moment, _) => Control::Moment(self.visit.local(&typed())),
            (Shape::Currency, _) => Control::Text(typed(), 3),
            (Shape::Money, _) => Control::Group(self.money(name)),
            (Shape::Object(members), _) => Control::Group(self.fields(members, name)),
            (Shape::Choice(choices), _) => self.variants(choices, name, &typed()),
            (Shape::List(of), _) => self.list(of, name),
            (Shape::Any, _) => Control::Text(typed(), 1000),
        };
        let field = Field { is_required: member.is_required, ..self.plain(name, &member.name, control) };
        if member.is_required { field } else { field.optional() }
    }

    fn plain(&self, name: &str, member: &str, control: Control) -> Field {
        let pointer = format!("/{}", name.replace('.', "/"));
        let error = self.errors.iter().find(|(at, _)| *at == pointer).map(|(_, detail)| detail.clone());
        let words = Words { any: self.visit.language.say("not-chosen"), add: self.visit.language.say("add-row") };
        let label = self.visit.language.label(member);
        Field { name: name.into(), label, error, is_required: false, control, words }
    }

    fn hidden(&self, name: &str, value: &str, mut more: Vec<Field>) -> Field {
        let hidden = self.plain(name, "", Control::Hidden(value.to_owned()));
        if more.is_empty() {
            return hidden;
        }
        more.insert(0, hidden);
        self.plain("", "", Control::Rows(more)).without_frame()
    }

    fn choices(&self, words: &[String], typed: &str) -> Vec<Choice> {
        let choice = |word: &String| Choice {
            value: word.clone(),
            label: self.visit.language.word(word),
            is_chosen: word == typed,
        };
        words.iter().map(choice).collect()
    }

    fn truths(&self, typed: &str) -> Vec<Choice> {
        let choice = |value: &str, word: &str| Choice {
            value: value.into(),
            label: self.visit.language.say(word),
            is_chosen: value == typed,
        };
        vec![choice("true", "yes"), choice("false", "no")]
    }

    fn reference(&self, listing: &str, typed: &str, is_required: bool) -> Control {
        let Some(things) = self.things.get(listing) else { return Control::Text(typed.into(), 200) };
        let choice = |(id, label): &(String, String)| Choice {
            value: id.clone(),
            label: label.clone(),
            is_chosen: id == typed || (is_required && typed.is_empty() && things.is_whole && things.choices.len() == 1),
        };
        let choices: Vec<Choice> = things.choices.iter().map(choice).collect();
        let is_among = typed.is_empty() || choices.iter().any(|choice| choice.is_chosen);
        if things.is_whole && is_among { Control::Select(choices) } else { Control::Suggested(typed.into(), choices) }
    }

    fn money(&self, name: &str) -> Vec<Field> {
        let (amount, currency) = (format!("{name}.amount"), format!("{name}.currency"));
        let typed = |name: &str| self.typed.get(name).unwrap_or_default().to_owned();
        // That of the account which is chosen, or of the only one.
        let known = || {
            let accounts = self.things.get("accounts")?;
            let only = || accounts.choices.first().filter(|_| accounts.is_whole && accounts.choices.len() == 1);
            let account = self.typed.get("account").or_else(|| only().map(|(id, _)| id.as_str()))?;
            accounts.currencies.get(account).cloned()
        };
        let chosen = Some(typed(&currency)).filter(|currency| !currency.is_empty()).or_else(known).unwrap_or_default();
        vec![
            self.plain(&amount, "amount", Control::Number(typed(&amount))),
            self.plain(&currency, "currency", Control::Text(chosen, 3)),
        ]
    }

    fn variants(&self, choices: &[(String, Option<Shape>)], name: &str, typed: &str) -> Control {
        let words: Vec<String> = choices.iter().map(|(word, _)| word.clone()).collect();
        let further = choices.iter().filter_map(|(word, held)| {
            let member = Member { name: word.clone(), shape: held.clone()?, is_required: false };
            Some(self.field(&member, &joined(name, word)))
        });
        Control::Variants(self.choices(&words, typed), further.collect())
    }

    fn list(&self, of: &Shape, name: &str) -> Control {
        if let Shape::Word(words) = of {
            let chosen: Vec<&str> = self.typed.all(name).collect();
            let choice = |word: &String| Choice {
                value: word.clone(),
                label: self.visit.language.word(word),
                is_chosen: chosen.contains(&word.as_str()),
            };
            return Control::Checks(words.iter().map(choice).collect());
        }
        let added = usize::from(self.typed.get("_add") == Some(name));
        let rows = (self.typed.rows(name) + added).clamp(1, MOST_ROWS);
        let row = |number: usize| {
            let member = Member { name: (number + 1).to_string(), shape: of.clone(), is_required: false };
            self.field(&member, &format!("{name}.{number}"))
        };
        Control::Rows((0..rows).map(row).collect())
    }
}

impl Field {
    /// Without anything that has to be filled in: what is left empty as a whole is not sent.
    fn optional(mut self) -> Self {
        self.is_required = false;
        let (Control::Group(fields) | Control::Variants(_, fields) | Control::Rows(fields)) = &mut self.control else {
            return self;
        };
        *fields = std::mem::take(fields).into_iter().map(Self::optional).collect();
        self
    }

    fn without_frame(mut self) -> Self {
        self.words.add.clear();
        self
    }
}

/// On which side of a conversation the visitor is.
pub fn side(visit: &Visit) -> &'static str {
    if visit.customer().is_some() { "customer" } else { "provider" }
}

/// The listings of the things that a shape names.
fn named(shape: &Shape, listings: &mut Vec<&'static str>) {
    match shape {
        Shape::Reference(listing) => listings.push(listing),
        Shape::Object(members) => members.iter().for_each(|member| named(&member.shape, listings)),
        Shape::Choice(choices) => {
            choices.iter().filter_map(|(_, held)| held.as_ref()).for_each(|held| named(held, listings))
        }
        Shape::List(of) => named(of, listings),
        _ => {}
    }
}

/// As many things as a person looks through.
const OFFERED: usize = 100;

async fn found(visit: &Visit, listing: &'static str) -> Things {
    let path = format!("/v1/{listing}");
    if !visit.may_read(&path) {
        return Things::default();
    }
    let Ok(answer) = visit.read(&format!("{path}?limit={OFFERED}")).await else { return Things::default() };
    let (mut choices, mut currencies) = (Vec::new(), HashMap::new());
    for thing in answer.rows().iter().filter_map(Value::as_object) {
        let Some(id) = thing.get("id").and_then(Value::as_str) else { continue };
        let mut label = cell::label(visit, thing).unwrap_or_else(|| cell::short(id));
        if let Some(currency) = thing.get("currency").and_then(Value::as_str) {
            // An account that is called after its currency needs it once.
            if !label.ends_with(currency) {
                label = format!("{label}, {currency}");
            }
            currencies.insert(id.to_owned(), currency.to_owned());
        }
        choices.push((id.to_owned(), label));
    }
    Things { choices, currencies, is_whole: answer.body["has_more"] != json!(true) }
}

/// The filters of a list as fields of a form.
pub async fn filters(visit: &Visit, operation: &Operation) -> Vec<Field> {
    let typed = Typed(visit.query.clone());
    let shape = Shape::Object(operation.query.clone());
    let making = Making::of(visit, &shape, &typed, &[]).await;
    let shown = operation.query.iter().filter(|filter| visit.customer().is_none() || filter.name != "customer");
    shown
        .map(|filter| {
            let field = making.field(filter, &filter.name);
            let control = match field.control {
                // Whether it is so, is not so, or does not matter.
                Control::Truth(_) => Control::Select(making.truths(visit.asked(&filter.name).unwrap_or_default())),
                // One thing alone is not what is asked for.
                Control::Select(choices) => {
                    let asked = visit.asked(&filter.name).unwrap_or_default();
                    let chosen = |choice: Choice| Choice { is_chosen: choice.value == asked, ..choice };
                    Control::Select(choices.into_iter().map(chosen).collect())
                }
                control => control,
            };
            Field { is_required: false, control, ..field }
        })
        .collect()
}
