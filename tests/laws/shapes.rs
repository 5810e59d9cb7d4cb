//! The shapes: the JSON of every version of every event, as a JSON Schema under `golden/schemas`. What is stored keeps its
//! shape for ever, so a shape is added with each new version of an event and never edited.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use daybook_core::domain::{Event, LedgerAggregate, Visitor, with_aggregate};
use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::{Value, json};

use super::golden::examples;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/schemas")
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The shapes of all events in their present version, by the names of their files.
pub fn present_shapes() -> BTreeMap<String, Schema> {
    let examples = examples();
    let present = examples.iter().filter(|example| example.is_present());
    present
        .map(|example| {
            let (event, variant) = (&example.event, example.variant());
            let file = format!("{}.v{}.json", event.event_type(), event.event_version());
            let all = shape_of_all(event);
            let shapes = all.get("oneOf").and_then(Value::as_array).expect("an event is one of several");
            let shape = shapes.iter().find(|shape| shape["properties"].get(variant).is_some());
            (file, shape.expect("every variant has a shape").clone().try_into().expect("a shape is a schema"))
        })
        .collect()
}

/// The shape of whatever can happen to the aggregate that this event happened to.
fn shape_of_all(event: &Event) -> Schema {
    struct ShapeOfEvent;

    impl Visitor for ShapeOfEvent {
        type Output = Schema;

        fn visit<A: LedgerAggregate>(self) -> Schema {
            shape_of::<A::Event>()
        }
    }

    with_aggregate(event.aggregate_type(), ShapeOfEvent).expect("the aggregate is on the board")
}

/// The shape as it is written, in one piece, and without what may change at any time: the words of the doc comments, and
/// the order of fields and variants.
fn shape_of<E: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<E>();
    RecursiveTransform(|schema: &mut Schema| {
        schema.remove("title");
        schema.remove("description");
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.sort_by_key(Value::to_string);
        }
        gather_words(schema);
    })
    .transform(&mut schema);
    schema
}

/// Variants without content are words. One with a doc comment is described by itself, those without in one list; here
/// all of them stand in one list.
fn gather_words(schema: &mut Schema) {
    let Some(Value::Array(mut choices)) = schema.remove("oneOf") else { return };
    let mut words: Vec<Value> = Vec::new();
    choices.retain_mut(|choice| {
        words.extend(choice.get("const").cloned());
        words.extend(choice.get("enum").and_then(Value::as_array).into_iter().flatten().cloned());
        choice["type"] != "string"
    });
    choices.sort_by_key(Value::to_string);
    words.sort_by_key(Value::to_string);
    if choices.is_empty() {
        schema.insert("enum".into(), words.into());
        schema.insert("type".into(), "string".into());
    } else {
        if !words.is_empty() {
            choices.push(json!({ "type": "string", "enum": words }));
        }
        schema.insert("oneOf".into(), choices.into());
    }
}

/// `DAYBOOK_BLESS=1` writes the shapes that are missing. One that is there is never written again.
#[test]
fn no_shape_changes_without_a_new_version() {
    let mut changed = Vec::new();
    for (file, shape) in present_shapes() {
        let path = directory().join(&file);
        let now = serde_json::to_string_pretty(&shape).unwrap() + "\n";
        if !path.exists() && std::env::var_os("DAYBOOK_BLESS").is_some() {
            fs::write(&path, &now).unwrap();
        }
        if !path.exists() {
            changed.push(format!("{file} is missing: run this test with DAYBOOK_BLESS=1 and review it"));
        } else if read(&path) != *shape.as_value() {
            changed.push(format!(
                "{file} is not what is written any more: raise the version of the event in the file of its noun \
                 and add an upcaster for what is stored. Its shape now:\n{now}"
            ));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

#[test]
fn every_version_has_a_shape_and_an_example() {
    let shapes: BTreeSet<String> =
        fs::read_dir(directory()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    let examples: BTreeSet<String> = examples().into_iter().map(|example| example.file.replace('/', ".")).collect();
    assert_eq!(shapes, examples, "tests/golden/schemas and tests/golden/events");
}

/// The shapes that are described by hand (money, identifiers) are those of the JSON that is written by hand.
#[test]
fn every_example_has_the_shape_of_its_version() {
    for example in examples() {
        let shape = read(&directory().join(example.file.replace('/', ".")));
        assert!(fits(&example.payload, &shape), "{} does not fit {shape:#}", example.file);
    }
}

/// As much of JSON Schema as the shapes use, and stricter: a field that the shape does not name does not fit.
fn fits(value: &Value, shape: &Value) -> bool {
    if let Some(choices) = shape.get("oneOf").or_else(|| shape.get("anyOf")) {
        return choices.as_array().unwrap().iter().any(|choice| fits(value, choice));
    }
    let kinds = shape["type"].as_array().cloned().unwrap_or_else(|| vec![shape["type"].clone()]);
    kinds.iter().any(|kind| match (kind.as_str().unwrap(), value) {
        ("object", Value::Object(fields)) => {
            let required = shape["required"].as_array().into_iter().flatten();
            required.into_iter().all(|name| fields.contains_key(name.as_str().unwrap()))
                && fields
                    .iter()
                    .all(|(name, field)| shape["properties"].get(name).is_some_and(|inner| fits(field, inner)))
        }
        ("array", Value::Array(items)) => items.iter().all(|item| fits(item, &shape["items"])),
        ("string", Value::String(text)) => {
            let listed = shape["enum"].as_array().is_none_or(|words| words.contains(value));
            // An identifier begins with what tells whose it is.
            let prefix = shape["pattern"].as_str().and_then(|pattern| pattern.strip_suffix("_.+$"));
            listed && prefix.is_none_or(|prefix| text.starts_with(prefix.trim_start_matches('^')))
        }
        ("integer", Value::Number(number)) => number.is_u64(),
        ("boolean", Value::Bool(_)) | ("null", Value::Null) => true,
        _ => false,
    })
}
