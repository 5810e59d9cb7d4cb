//! Forms: each follows from the body that the API takes. What is wrong with a field stands beside it, and a form that is sent
//! twice does once what it says: its idempotency key was made when it was shown.

use std::collections::HashMap;

use askama::Template;
use axum::{
    Form,
    extract::{Path, RawForm},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use chrono::{NaiveDateTime, SecondsFormat, TimeZone, Utc};
use daybook_core::domain::function::Function;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    cell::{self, Cell},
    declared::{Member, Operation, Shape, listing_of},
    figures,
    page::{self, Content},
    visit::{AT, Answer, Outcome, Refused, Visit, escaped},
};

/// What was typed, by the names of the fields.
#[derive(Clone, Debug, Default)]
pub struct Typed(Vec<(String, String)>);

impl Typed {
    pub fn of(form: &[u8]) -> Self {
        Self(form_urlencoded::parse(form).into_owned().collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(typed, _)| typed == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(typed, value)| typed == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// How many rows of a list were typed.
    fn rows(&self, name: &str) -> usize {
        let numbers = self.0.iter().filter_map(|(typed, _)| {
            let rest = typed.strip_prefix(name)?.strip_prefix('.')?;
            rest.split('.').next()?.parse::<usize>().ok()
        });
        // More than a person types is no form of ours.
        numbers.max().map_or(0, |last| last + 1).min(MOST_ROWS)
    }
}

const MOST_ROWS: usize = 200;

/// A field of a form.
#[derive(Debug, Template)]
#[template(path = "field.html")]
pub struct Field {
    name: String,
    label: String,
    error: Option<String>,
    is_required: bool,
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
struct Making<'a> {
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
const FURTHER: [&str; 2] = ["effective_at", "reason"];

const SECRETS: [&str; 4] = ["password", "current", "code", "recovery_code"];

impl<'a> Making<'a> {
    async fn of(visit: &'a Visit, shape: &Shape, typed: &'a Typed, errors: &'a [(String, String)]) -> Self {
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

    fn fields(&self, members: &[Member], within: &str) -> Vec<Field> {
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

fn joined(within: &str, name: &str) -> String {
    if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") }
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

/// What was typed as the body that the API takes; `None` if nothing of it was.
fn body(visit: &Visit, shape: &Shape, name: &str, typed: &Typed) -> Option<Value> {
    let text = || typed.get(name).map(str::to_owned);
    match shape {
        Shape::Integer => {
            let text = text()?;
            Some(text.parse::<i64>().map_or(Value::String(text), Value::from))
        }
        Shape::Truth => typed.get(name).map(|truth| Value::Bool(truth == "true")),
        Shape::Moment => text().map(|text| Value::String(moment(visit, &text))),
        Shape::Number => text().map(|text| Value::String(figures::plain(visit.language, text.trim()))),
        Shape::Currency => text().map(|text| Value::String(text.trim().to_ascii_uppercase())),
        Shape::Money => {
            let amount = figures::plain(visit.language, typed.get(&format!("{name}.amount"))?.trim());
            let currency = typed.get(&format!("{name}.currency")).unwrap_or_default().trim().to_ascii_uppercase();
            Some(json!({"amount": amount, "currency": currency}))
        }
        Shape::Object(members) => {
            let mut object = Map::new();
            for member in members {
                let value = body(visit, &member.shape, &joined(name, &member.name), typed);
                if let Some(value) = value {
                    object.insert(member.name.clone(), value);
                }
            }
            (!object.is_empty() || name.is_empty()).then_some(Value::Object(object))
        }
        Shape::Choice(choices) => {
            let word = text()?;
            let held = choices.iter().find(|(name, _)| *name == word).and_then(|(_, held)| held.as_ref());
            let Some(held) = held else { return Some(Value::String(word)) };
            let value = body(visit, held, &joined(name, &word), typed).unwrap_or_else(|| json!(""));
            Some(json!({ word: value }))
        }
        Shape::List(of) if matches!(**of, Shape::Word(_)) => {
            let words: Vec<&str> = typed.all(name).collect();
            // Nothing that was ticked is nothing, and not all that there is.
            typed.get("_key").map(|_| json!(words))
        }
        Shape::List(of) => {
            let rows = (0..typed.rows(name)).filter_map(|row| body(visit, of, &format!("{name}.{row}"), typed));
            let rows: Vec<Value> = rows.filter(|row| *row != json!({})).collect();
            (!rows.is_empty()).then_some(Value::Array(rows))
        }
        Shape::Text(_) | Shape::Reference(_) | Shape::Word(_) | Shape::Day | Shape::Any => text().map(Value::String),
    }
}

/// A moment as it was typed, in the reader's zone, as RFC 3339. What is none is refused by the API, which names the field.
pub fn moment(visit: &Visit, typed: &str) -> String {
    let parsed =
        ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"].iter().find_map(|form| NaiveDateTime::parse_from_str(typed, form).ok());
    let Some(local) = parsed.and_then(|local| visit.zone.from_local_datetime(&local).earliest()) else {
        return typed.to_owned();
    };
    local.with_timezone(&Utc).to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[derive(Template)]
#[template(path = "form.html")]
struct FormPage<'a> {
    visit: &'a Visit,
    action: String,
    button: String,
    refusal: Option<String>,
    fields: Vec<Field>,
    further: Vec<Field>,
    key: String,
    tag: String,
    /// What the form was filled with.
    was: Vec<(String, String)>,
    /// Whether a code, or else the password, is to be shown once more.
    step_up: Option<&'static str>,
    is_grave: bool,
}

impl FormPage<'_> {
    fn say(&self, message: &str) -> String {
        self.visit.language.say(message)
    }
}

/// Shows a form.
pub async fn show(visit: Visit, Path(operation): Path<String>) -> Response {
    if !visit.is_signed_in() {
        return visit.to_sign_in();
    }
    visit.finish(shown(&visit, &operation, None).await)
}

/// What was refused, and what had been typed.
struct Former {
    typed: Typed,
    refused: Option<Refused>,
    step_up: Option<&'static str>,
}

fn permitted<'a>(visit: &'a Visit, operation: &str) -> Result<&'a Operation, Refused> {
    let found = visit.house.api().named(operation).filter(|operation| operation.method != "GET");
    let found = found.ok_or_else(Refused::not_found)?;
    if visit.may(found) {
        return Ok(found);
    }
    let detail = visit.language.say("not-allowed");
    Err(Refused { status: StatusCode::FORBIDDEN, code: "forbidden-by-role".into(), detail, ..Refused::not_found() })
}

async fn shown(visit: &Visit, operation: &str, former: Option<Former>) -> Outcome {
    let operation = permitted(visit, operation)?;
    let (_, above) = addressed(visit, operation)?;
    let (typed, refused, step_up) = match former {
        Some(Former { typed, refused, step_up }) => (typed, refused, step_up),
        // What begins so is of the form itself, and comes from no link.
        None => {
            let asked = visit.query.iter().filter(|(name, _)| !name.starts_with('_'));
            (Typed(asked.cloned().collect()), None, None)
        }
    };
    let is_first = refused.is_none() && step_up.is_none() && typed.get("_key").is_none();
    let mut typed = typed;
    let mut tag = typed.get("_tag").unwrap_or_default().to_owned();
    if let Some(above) = above.as_deref().filter(|_| is_first && operation.names().next().is_some())
        && let Ok(now) = visit.read(above).await
    {
        now.tag().filter(|_| operation.expects).unwrap_or_default().clone_into(&mut tag);
        if let Some(Shape::Object(members)) = &operation.body {
            fill(visit, &mut typed, members, &now);
        }
    }
    let was: Vec<(String, String)> = if operation.method == "PATCH" {
        let kept = typed.0.iter().filter_map(|(name, value)| Some((name.strip_prefix(WAS)?.to_owned(), value.clone())));
        let filled =
            typed.0.iter().filter(|(name, _)| !name.starts_with('_') && !operation.names().any(|of| of == name));
        if is_first { filled.cloned().collect() } else { kept.collect() }
    } else {
        Vec::new()
    };
    let key = typed.get("_key").map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    let none = Vec::new();
    let errors = refused.as_ref().map_or(&none, |refused| &refused.fields);
    let shape = operation.body.clone().unwrap_or(Shape::Object(Vec::new()));
    let making = Making::of(visit, &shape, &typed, errors).await;
    let members = if let Shape::Object(members) = &shape { members.clone() } else { Vec::new() };
    let mut fields = making.fields(&members, "");
    let further = fields.extract_if(.., |field| FURTHER.contains(&field.name.as_str()) && !field.is_required).collect();
    let beside: Vec<&str> = errors.iter().map(|(at, _)| at.as_str()).collect();
    let refusal = refused.as_ref().filter(|refused| refused.code != "step-up-needed").map(|refused| {
        let text = page::explained(visit, refused);
        let first = refused.fields.first().map(|(_, detail)| detail.as_str());
        // What stands beside a field is not said twice, unless the field is not here.
        if beside.is_empty() || first != Some(&text) { text } else { visit.language.say("look-at-fields") }
    });
    let deed = visit.language.deed(&operation.id);
    let page = FormPage {
        visit,
        action: visit.address_with(&[("done", None), (AT, None)]),
        button: deed.clone(),
        refusal,
        fields,
        further,
        key,
        tag,
        was,
        step_up,
        is_grave: operation.is_grave(),
    };
    let mut crumbs = Vec::new();
    if let Some(above) = above.as_deref().and_then(|above| above.strip_prefix("/v1")) {
        crumbs.push((crumb(visit, above), above.to_owned()));
    }
    // To be asked once more who one is belongs to the ordinary way.
    let refused = refused.filter(|refused| refused.code != "step-up-needed");
    let status = refused.map_or(StatusCode::OK, |refused| refused.status);
    Ok(Content::of(deed, &page).under(crumbs).with_status(visit, status))
}

fn crumb(visit: &Visit, path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    if listing_of(last).is_some() {
        return visit.language.say("back-to-thing");
    }
    visit.house.api().reading(&format!("/v1{path}")).map_or_else(
        || visit.language.say("page-home"),
        |(operation, _)| crate::map::title(visit, &operation.path["/v1".len()..]),
    )
}

/// Fields whose value the thing has by another name.
const CALLED: [(&str, &str); 3] = [("on", "automatic_allocation"), ("allowed", "post_paid"), ("limit", "credit_limit")];

/// Puts into a form what the thing has now, where the form has a field for it.
fn fill(visit: &Visit, typed: &mut Typed, members: &[Member], now: &Answer) {
    for member in members {
        let other = CALLED.iter().find(|(field, of)| *field == member.name && !now.body[*of].is_null());
        let value = &now.body[other.map_or(member.name.as_str(), |(_, of)| of)];
        if typed.get(&member.name).is_some() {
            continue;
        }
        match value {
            Value::String(text) if !FURTHER.contains(&member.name.as_str()) => {
                let is_number = matches!(member.shape, Shape::Number);
                let text = if is_number { figures::typed(visit.language, text) } else { text.clone() };
                typed.0.push((member.name.clone(), text));
            }
            Value::Object(money) if matches!(member.shape, Shape::Money) => {
                let part = |part: &str| money.get(part).and_then(Value::as_str).unwrap_or_default();
                let amount = figures::typed(visit.language, part("amount"));
                typed.0.push((joined(&member.name, "amount"), amount));
                typed.0.push((joined(&member.name, "currency"), part("currency").to_owned()));
            }
            Value::Bool(truth) => typed.0.push((member.name.clone(), truth.to_string())),
            Value::Object(held) => {
                let texts = held.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
                typed.0.extend(texts.map(|(name, value)| (joined(&member.name, name), value.to_owned())));
            }
            _ => {}
        }
    }
}

/// The address of the API that a form is sent to, and the one of what is above it.
fn addressed(visit: &Visit, operation: &Operation) -> Result<(String, Option<String>), Refused> {
    let mut path = operation.path.clone();
    for name in operation.names() {
        let value = visit.asked(name).ok_or_else(Refused::not_found)?;
        let value = escaped(value).replace("%3A", ":");
        path = path.replace(&format!("{{{name}}}"), &value);
    }
    let mut above = path.clone();
    let found = loop {
        if visit.house.api().reading(&above).is_some_and(|(reads, _)| visit.may(reads)) {
            break Some(above);
        }
        match above.rfind('/') {
            Some(at) if at > "/v1".len() => above.truncate(at),
            _ => break None,
        }
    };
    Ok((path, found))
}

/// Sends a form.
pub async fn send(visit: Visit, Path(operation): Path<String>, RawForm(form): RawForm) -> Response {
    if !visit.is_signed_in() {
        return visit.to_sign_in();
    }
    let typed = Typed::of(&form);
    visit.finish(sent(&visit, &operation, typed).await)
}

async fn sent(visit: &Visit, name: &str, typed: Typed) -> Outcome {
    let operation = permitted(visit, name)?;
    if typed.get("_add").is_some() {
        return shown(visit, name, Some(Former { typed, refused: None, step_up: None })).await;
    }
    let (path, above) = addressed(visit, operation)?;
    let content = operation.body.as_ref().map(|shape| body(visit, shape, "", &typed).unwrap_or_else(|| json!({})));
    let content = match (&operation.body, content) {
        (Some(Shape::Object(members)), Some(content)) if operation.method == "PATCH" => {
            Some(changed(visit, members, content, &typed))
        }
        (_, content) => content,
    };
    let mut headers: Vec<(HeaderName, &str)> = Vec::new();
    if let Some(key) = typed.get("_key").filter(|_| operation.has_key) {
        headers.push((HeaderName::from_static("idempotency-key"), key));
    }
    if let Some(tag) = typed.get("_tag").filter(|_| operation.expects) {
        headers.push((header::IF_MATCH, tag));
    }
    match visit.send(&operation.method, &path, &headers, content).await {
        Ok(answer) => Ok(done(visit, operation, above.as_deref(), &answer)),
        Err(refused) if refused.code == "step-up-needed" => step_up(visit, name, typed, refused).await,
        Err(refused) if refused.status.is_client_error() || refused.status == StatusCode::SERVICE_UNAVAILABLE => {
            shown(visit, name, Some(Former { typed, refused: Some(refused), step_up: None })).await
        }
        Err(refused) => Err(refused),
    }
}

/// What of an edit differs from what the form was filled with: what stayed is not sent, and what was emptied is `null`.
fn changed(visit: &Visit, members: &[Member], mut content: Value, typed: &Typed) -> Value {
    let was = typed.0.iter().filter_map(|(name, value)| Some((name.strip_prefix(WAS)?.to_owned(), value.clone())));
    let was = Typed(was.collect());
    let was = body(visit, &Shape::Object(members.to_vec()), "", &was).unwrap_or_else(|| json!({}));
    if let Some(content) = content.as_object_mut() {
        for member in members.iter().filter(|member| !FURTHER.contains(&member.name.as_str())) {
            let (now, before) = (content.get(&member.name), was.get(&member.name));
            if now.is_some() && now == before {
                content.remove(&member.name);
            } else if now.is_none() && before.is_some() && !member.is_required {
                content.insert(member.name.clone(), Value::Null);
            }
        }
    }
    content
}

/// Before the name of what a form was filled with.
const WAS: &str = "_was.";

/// Asks for the password or the code once more, and sends the form again once it was right.
async fn step_up(visit: &Visit, name: &str, typed: Typed, refused: Refused) -> Outcome {
    let me = visit.read("/v1/me").await?;
    let by = if me.body["factors"].as_array().is_some_and(|factors| !factors.is_empty()) { "code" } else { "password" };
    let Some(secret) = typed.get("_secret") else {
        return shown(visit, name, Some(Former { typed, refused: Some(refused), step_up: Some(by) })).await;
    };
    match visit.send("POST", "/v1/session/step-up", &[], Some(json!({ by: secret }))).await {
        Ok(answer) => {
            // The browser sends the same form again, with the cookie that it has now.
            let mut response = Redirect::temporary(&visit.address()).into_response();
            carry_cookies(&answer, &mut response);
            Ok(response)
        }
        Err(wrong) => shown(visit, name, Some(Former { typed, refused: Some(wrong), step_up: Some(by) })).await,
    }
}

pub fn carry_cookies(answer: &Answer, response: &mut Response) {
    for cookie in answer.headers.get_all(header::SET_COOKIE) {
        response.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
}

/// Members of answers that are shown once.
const ONCE: [&str; 5] = ["secret", "codes", "token", "link", "uri"];

fn done(visit: &Visit, operation: &Operation, above: Option<&str>, answer: &Answer) -> Response {
    let is_shown_once = ONCE.iter().any(|member| !answer.body[*member].is_null());
    if is_shown_once {
        return shown_once(visit, operation, answer);
    }
    let made = answer.headers.get(header::LOCATION).and_then(|made| made.to_str().ok());
    let next = made.filter(|made| visit.may_read(made)).or(above).and_then(|path| path.strip_prefix("/v1"));
    let position = answer.position().map(|position| format!("&{AT}={position}")).unwrap_or_default();
    let next = format!("{}?done={}{position}", next.unwrap_or("/"), operation.id);
    let mut response = Redirect::to(&next).into_response();
    carry_cookies(answer, &mut response);
    response
}

#[derive(Template)]
#[template(path = "once.html")]
struct Once<'a> {
    visit: &'a Visit,
    members: Cell,
    next: Option<(String, String)>,
}

fn shown_once(visit: &Visit, operation: &Operation, answer: &Answer) -> Response {
    let mut shown = answer.body.clone();
    if let (Some(link), true) = (shown["link"].as_str(), operation.id.starts_with("user")) {
        // The page where the invited person chooses a password.
        shown["link"] = json!(format!("/password?link={}", escaped(link)));
    }
    if let (Some(link), true) = (shown["link"].as_str(), operation.id.starts_with("sign_up")) {
        shown["link"] = json!(format!("/sign-up/confirm?link={}", escaped(link)));
    }
    let next = (operation.path == "/v1/me/factors").then(|| {
        let confirm = visit.house.api().0.iter().find(|other| other.path == "/v1/me/factors/{id}/confirm");
        let confirm = confirm.map(|confirm| confirm.id.as_str()).unwrap_or_default();
        let address = format!("/do/{confirm}?id={}", escaped(shown["id"].as_str().unwrap_or_default()));
        (visit.language.deed(confirm), address)
    });
    if let Some(members) = shown.as_object_mut() {
        members.remove("id");
    }
    let page = Once { visit, members: Cell::guess(visit, &shown), next };
    let mut response = Content::of(visit.language.deed(&operation.id), &page).shown(visit);
    carry_cookies(answer, &mut response);
    response
}

/// A form of two or three fields that is sent without a session.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub struct Plain(HashMap<String, String>);

impl Plain {
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map(String::as_str).unwrap_or_default()
    }
}

pub type PlainForm = Form<Plain>;

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

/// What is asked of a filter, as the API takes it.
pub fn asked(visit: &Visit, filter: &Member) -> Option<String> {
    let value = visit.asked(&filter.name)?;
    Some(if matches!(filter.shape, Shape::Moment) { moment(visit, value) } else { value.to_owned() })
}
