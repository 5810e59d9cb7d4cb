//! What a thing has members of, and how these become the columns of a table: both follow from the schema that describes
//! the thing.
//!
//! The members of an object within it are columns of their own, such as `total_amount` and `total_currency`. What has one
//! member that says what kind it is has two columns, such as `purpose` and `purpose_id`. Lists are written in one cell.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    ToSchema,
    openapi::{
        KnownFormat, Ref, RefOr, SchemaFormat,
        schema::{Object, Schema, SchemaType, Type},
    },
};

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// The members that lead to its value.
    path: Vec<String>,
    part: Part,
    kind: Kind,
}

/// What of the value stands in the column.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// The name of its one member, or the word that it is.
    Word,
    /// The value of its one member.
    Held,
    /// A member of that.
    OfHeld(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Truth,
    Day,
    Moment,
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Empty,
    Text(String),
    /// As a plain decimal.
    Number(String),
    Truth(bool),
    /// `YYYY-MM-DD`
    Day(String),
    /// RFC 3339, in UTC.
    Moment(String),
}

/// The members that a listing shows: those that it leaves out are lists and objects that may be missing.
pub fn members<S: ToSchema>() -> Vec<String> {
    let thing = object::<S>();
    let shown = thing.properties.iter().filter(|(name, schema)| !is_left_out(&thing, name, schema));
    shown.map(|(name, _)| name.clone()).collect()
}

/// All members that one thing may show.
pub fn all_members<S: ToSchema>() -> Vec<String> {
    object::<S>().properties.keys().cloned().collect()
}

/// The columns of a table of such things.
pub fn columns<S: ToSchema>() -> Vec<Column> {
    let mut schemas = Vec::new();
    S::schemas(&mut schemas);
    let mut writing = Writing { schemas: schemas.into_iter().collect(), columns: Vec::new() };
    let thing = object::<S>();
    for (name, schema) in thing.properties.iter().filter(|(name, schema)| !is_left_out(&thing, name, schema)) {
        writing.add(name, vec![name.clone()], schema);
    }
    writing.columns
}

fn object<S: ToSchema>() -> Object {
    match S::schema() {
        RefOr::T(Schema::Object(thing)) => thing,
        _ => panic!("what is listed is an object: {}", S::name()),
    }
}

/// What may be missing, rather than `null`.
fn is_left_out(thing: &Object, name: &str, schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Array(_)) | RefOr::Ref(_))
        && !thing.required.iter().any(|required| required == name)
}

struct Writing {
    schemas: BTreeMap<String, RefOr<Schema>>,
    columns: Vec<Column>,
}

impl Writing {
    fn add(&mut self, name: &str, path: Vec<String>, schema: &RefOr<Schema>) {
        match self.resolved(schema) {
            Schema::Object(object) if !object.properties.is_empty() => {
                for (member, schema) in &object.properties {
                    self.add(&format!("{name}_{member}"), [path.clone(), vec![member.clone()]].concat(), schema);
                }
            }
            Schema::Object(object) => self.column(name, &path, Part::Whole, kind(&object)),
            Schema::OneOf(choices) => self.add_choice(name, path, &choices.items),
            // Of lists and of what nothing is known of, the JSON itself.
            _ => self.column(name, &path, Part::Whole, Kind::Text),
        }
    }

    fn add_choice(&mut self, name: &str, path: Vec<String>, choices: &[RefOr<Schema>]) {
        let choices: Vec<Schema> =
            choices.iter().map(|choice| self.resolved(choice)).filter(|choice| !is_null(choice)).collect();
        if let [choice] = &choices[..] {
            return self.add(name, path, &RefOr::T(choice.clone()));
        }
        let held = choices.iter().filter_map(|choice| match choice {
            Schema::Object(object) => object.properties.values().next(),
            _ => None,
        });
        let held: Vec<Schema> = held.map(|schema| self.resolved(schema)).collect();
        self.column(name, &path, Part::Word, Kind::Text);
        let has_amount = held.iter().any(|held| matches!(held, Schema::Object(object) if is_money(object)));
        if has_amount {
            self.column(&format!("{name}_amount"), &path, Part::OfHeld("amount"), Kind::Number);
            self.column(&format!("{name}_currency"), &path, Part::OfHeld("currency"), Kind::Text);
        } else {
            self.column(&format!("{name}_id"), &path, Part::Held, Kind::Text);
        }
    }

    fn column(&mut self, name: &str, path: &[String], part: Part, kind: Kind) {
        self.columns.push(Column { name: name.into(), path: path.to_vec(), part, kind });
    }

    fn resolved(&self, schema: &RefOr<Schema>) -> Schema {
        match schema {
            RefOr::T(schema) => schema.clone(),
            RefOr::Ref(Ref { ref_location, .. }) => {
                let name = ref_location.rsplit('/').next().unwrap_or_default();
                self.resolved(self.schemas.get(name).expect("a schema names those that it refers to"))
            }
        }
    }
}

fn is_null(schema: &Schema) -> bool {
    matches!(schema, Schema::Object(object) if object.schema_type == SchemaType::Type(Type::Null))
}

fn is_money(object: &Object) -> bool {
    object.properties.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>()
        == ["amount", "currency"].into()
}

fn kind(object: &Object) -> Kind {
    let is_of = |wanted: &Type| match &object.schema_type {
        SchemaType::Type(one) => one == wanted,
        SchemaType::Array(several) => several.contains(wanted),
        SchemaType::AnyValue => false,
    };
    // A number with decimals is a text in JSON.
    let is_decimal = object.pattern.as_ref().is_some_and(|pattern| pattern.starts_with(r"^-?\d"));
    match &object.format {
        Some(SchemaFormat::KnownFormat(KnownFormat::Date)) => Kind::Day,
        Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)) => Kind::Moment,
        _ if is_of(&Type::Boolean) => Kind::Truth,
        _ if is_of(&Type::Integer) || is_decimal => Kind::Number,
        _ => Kind::Text,
    }
}

impl Column {
    /// The member of the thing that it is of.
    pub fn member(&self) -> &str {
        &self.path[0]
    }

    /// What stands in the column in the row of this thing.
    pub fn cell(&self, thing: &Value) -> Cell {
        let value = self.path.iter().fold(thing, |value, member| &value[member.as_str()]);
        let held = || value.as_object().and_then(|members| members.iter().next());
        let value = match &self.part {
            Part::Whole => value,
            Part::Word => match held() {
                Some((word, _)) => return Cell::Text(word.clone()),
                None => value,
            },
            Part::Held => held().map_or(&Value::Null, |(_, held)| held),
            Part::OfHeld(member) => match held() {
                Some((_, Value::Object(held))) => held.get(*member).unwrap_or(&Value::Null),
                // A per cent has no currency.
                Some((_, held)) if self.kind == Kind::Number => held,
                _ => &Value::Null,
            },
        };
        match (value, self.kind) {
            (Value::Null, _) => Cell::Empty,
            (Value::Bool(truth), _) => Cell::Truth(*truth),
            (Value::Number(number), _) => Cell::Number(number.to_string()),
            (Value::String(number), Kind::Number) => Cell::Number(number.clone()),
            (Value::String(day), Kind::Day) => Cell::Day(day.clone()),
            (Value::String(moment), Kind::Moment) => Cell::Moment(moment.clone()),
            (Value::String(text), _) => Cell::Text(text.clone()),
            (Value::Array(list), _) if list.iter().all(Value::is_string) => {
                let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                Cell::Text(texts.join(", "))
            }
            (other, _) => Cell::Text(other.to_string()),
        }
    }
}
