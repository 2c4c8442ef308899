//! The JSON Schema of `routes.yaml`, made from the tables of its keys.
//!
//! It is draft-07, which every version of the YAML language server reads. It never refuses what the compiler takes;
//! what a schema cannot say (a JSONPath, a template, a name that is not unique) is left to `deskbell check`.

use serde_json::{Map, Value, json};

use crate::clerk;
use crate::keys::{FILE, Key, MAX_NAME, Object, Rivals, Shape, WARNINGS};
use crate::units::{duration_pattern, rate_pattern, size_pattern};

/// The schema of the whole file.
pub fn schema() -> Value {
    let mut schema = object(&FILE);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Rules of Deskbell");
    schema["description"] = json!("Which Clerk events start which Novu workflows.");
    schema["definitions"] = json!({ "tree": tree() });
    schema
}

fn object(object: &Object) -> Value {
    let properties: Map<String, Value> = object.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = object.keys.iter().filter(|key| key.required.is_some()).map(|key| key.name).collect();
    let mut schema = json!({
        "title": object.name,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    match object.rivals {
        Rivals::None => {}
        Rivals::AtMostOne(names) => schema["not"] = json!({ "required": names }),
        Rivals::ExactlyOne(names) => schema["oneOf"] = names.map(|name| json!({ "required": [name] })).into(),
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = shape(&key.shape, key.most);
    schema["title"] = key.name.into();
    schema["description"] = key.description().into();
    if let Some(default) = key.default_value() {
        schema["default"] = default;
    }
    if let Some(example) = key.example_value() {
        schema["examples"] = json!([example]);
    }
    schema
}

/// What may stand there, up to a limit.
fn shape(kind: &Shape, most: Option<u64>) -> Value {
    match kind {
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Duration => text(&duration_pattern()),
        Shape::Size => any_of([text(&size_pattern()), count(most)]),
        Shape::Count => count(most),
        Shape::Room => any_of([text(&format!("auto|{}", size_pattern())), count(most)]),
        Shape::Rate => text(&format!("auto|{}", rate_pattern())),
        Shape::Word(words) => json!({ "enum": words }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Name => limited(json!({ "type": "string", "pattern": SOMETHING }), "maxLength", most),
        Shape::Filled => json!({ "type": "string", "pattern": SOMETHING }),
        Shape::EventType => offered(clerk::event_types(), 1),
        Shape::Sample => offered(clerk::samples().map(|sample| sample.name), 0),
        Shape::Warning => json!({ "enum": WARNINGS.map(|warning| warning.name) }),
        Shape::WorkflowId => json!({ "type": "string", "pattern": SOMETHING, "not": { "pattern": "\\{\\{" } }),
        Shape::Workflow => json!({ "type": "string", "pattern": SOMETHING, "not": { "pattern": "^\\{\\{" } }),
        Shape::Any => json!({}),
        Shape::Event => json!({ "type": "object" }),
        Shape::Tree => tree(),
        Shape::Object(keys) => object(keys),
        Shape::Map(of) => {
            limited(json!({ "type": "object", "additionalProperties": shape(of, None) }), "maxProperties", most)
        }
        Shape::Named(keys) => json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": format!("^[A-Za-z0-9_-]{{1,{MAX_NAME}}}$") },
            "additionalProperties": object(keys),
        }),
        Shape::List(of) => json!({ "type": "array", "items": shape(of, None) }),
        Shape::OneOrList(of, least) => {
            let one = shape(of, None);
            any_of([one.clone(), json!({ "type": "array", "items": one, "minItems": least })])
        }
        Shape::Either(one, other) => any_of([shape(one, None), shape(other, None)]),
    }
}

/// A character that is not a space.
const SOMETHING: &str = "[^ ]";

fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^({pattern})$") })
}

fn any_of(schemas: [Value; 2]) -> Value {
    json!({ "anyOf": schemas })
}

fn count(most: Option<u64>) -> Value {
    limited(json!({ "type": "integer", "minimum": 1 }), "maximum", most)
}

fn limited(mut schema: Value, keyword: &str, most: Option<u64>) -> Value {
    if let Some(most) = most {
        schema[keyword] = most.into();
    }
    schema
}

/// Any text, and some that editors offer.
fn offered<'a>(texts: impl IntoIterator<Item = &'a str>, least: usize) -> Value {
    let texts: Vec<&str> = texts.into_iter().collect();
    any_of([json!({ "type": "string", "minLength": least }), json!({ "enum": texts })])
}

/// Any value, and no null in it.
fn tree() -> Value {
    let inner = json!({ "$ref": "#/definitions/tree" });
    json!({
        "type": ["string", "number", "boolean", "array", "object"],
        "items": inner,
        "additionalProperties": inner,
    })
}
