//! The reference of `routes.yaml` in the README is what the table of keys says.

use std::fs;

use deskbell::keys::{EXPECT, FILE, Key, Object, ROUTE, SUBSCRIBER, Shape, TEST, WORKFLOW};
use serde_json::Value;

use crate::harness::repository;

/// Where comments start, if the line before them is not longer.
const COMMENTS: usize = 46;

/// A value on one line, as people write YAML.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains(['{', '}', '[', ']', '"', '#', ',']) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(name, value)| format!("{name}: {}", flow(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        value => value.to_string(),
    }
}

/// Every key of an object with its default, or an example of what has none.
fn settings(object: &Object, indent: &str, lines: &mut String) {
    for key in object.keys {
        let below = match (key.example_value().is_some(), &key.shape) {
            (false, Shape::Object(object) | Shape::Named(object)) => Some(*object),
            _ => None,
        };
        let value = key.default_value().or(key.example_value()).filter(|_| below.is_none());
        let value = value.map_or(String::new(), |value| format!(" {}", flow(&value)));
        let line = format!("{indent}{}:{value}", key.name);
        lines.push_str(&format!("{line:COMMENTS$}  # {}\n", key.meaning()));
        let Some(object) = below else { continue };
        match key.default_value() {
            Some(Value::Object(named)) => {
                let name = named.keys().next().expect("a name");
                lines.push_str(&format!("{indent}  {name}:\n"));
                settings(object, &format!("{indent}    "), lines);
            }
            _ => settings(object, &format!("{indent}  "), lines),
        }
    }
}

fn rows(object: &Object, prefix: &str) -> String {
    let row = |key: &Key| {
        let required = key.required.map_or("", |_| "required: ");
        let row = format!("| `{prefix}{}` | {required}{} |\n", key.name, key.description());
        let below = if key.name == "workflow" { rows(&WORKFLOW, "workflow.") } else { String::new() };
        row + &below
    };
    object.keys.iter().map(row).collect()
}

fn names(object: &Object) -> String {
    let name = |key: &Key| format!("`{}`{}", key.name, key.required.map_or("", |_| " (required)"));
    object.keys.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_readme_shows_every_key_as_the_table_has_it() {
    let readme = fs::read_to_string(repository("README.md")).expect("README.md");
    let mut block = String::new();
    settings(&FILE, "", &mut block);
    let mut missing = vec![
        format!("```yaml\n{block}```\n"),
        format!("| key of a route | meaning |\n|---|---|\n{}\n", rows(&ROUTE, "")),
        format!("| key of a test | meaning |\n|---|---|\n{}\n", rows(&TEST, "")),
        format!("The keys of a subscriber: {}.\n", names(&SUBSCRIBER)),
        format!("The keys of an expected delivery: {}.\n", names(&EXPECT)),
    ];
    missing.retain(|expected| !readme.contains(expected));
    assert!(missing.is_empty(), "README.md has to say:\n\n{}", missing.join("\n\n"));
}
