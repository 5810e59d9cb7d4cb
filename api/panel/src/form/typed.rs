//! What was typed into a form, and the body that the API takes of it.

use chrono::{NaiveDateTime, SecondsFormat, TimeZone, Utc};
use serde_json::{Map, Value, json};

use crate::{
    declared::{Member, Shape},
    figures,
    visit::Visit,
};

/// What was typed, by the names of the fields.
#[derive(Clone, Debug, Default)]
pub struct Typed(pub Vec<(String, String)>);

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

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(typed, value)| typed == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// How many rows of a list were typed.
    pub fn rows(&self, name: &str) -> usize {
        let numbers = self.0.iter().filter_map(|(typed, _)| {
            let rest = typed.strip_prefix(name)?.strip_prefix('.')?;
            rest.split('.').next()?.parse::<usize>().ok()
        });
        // More than a person types is no form of ours.
        numbers.max().map_or(0, |last| last + 1).min(MOST_ROWS)
    }
}

pub const MOST_ROWS: usize = 200;

/// What was typed as the body that the API takes; `None` if nothing of it was.
pub fn body(visit: &Visit, shape: &Shape, name: &str, typed: &Typed) -> Option<Value> {
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

/// What is asked of a filter, as the API takes it.
pub fn asked(visit: &Visit, filter: &Member) -> Option<String> {
    let value = visit.asked(&filter.name)?;
    Some(if matches!(filter.shape, Shape::Moment) { moment(visit, value) } else { value.to_owned() })
}

/// The name of a part of what has this name.
pub fn joined(within: &str, name: &str) -> String {
    if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") }
}
