//! Small changes to an event, for trying out what rules would make of it.
//!
//! A path is keys with dots between them and indexes in brackets, `data.email_addresses[0].id`; a key with a dot or a
//! bracket in it is quoted, `data.public_metadata["key.with.dots"]`. A leading `$.`, as in a filter, is allowed.

use serde_json::{Deserializer, Map, Value};

/// How deep a path may reach: as deep as `serde_json` reads a document.
const DEEPEST: usize = 128;

#[derive(Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Changes one value inside an event.
///
/// Objects and arrays that are missing (or null) on the way are created, and an index just past the end appends. After
/// an error the event is as it was.
pub fn set(event: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let steps = steps(path)?;
    let start = Some(&*event);
    let looked = steps.iter().try_fold(start, |place, step| look(place.filter(|place| !place.is_null()), step));
    looked.map_err(|reason| format!("cannot set `{path}`: {reason}"))?;
    if let Some(place) = steps.into_iter().try_fold(event, enter) {
        *place = value;
    }
    Ok(())
}

/// Takes one value out of an event; later items of an array move up. What is already absent is fine.
pub fn unset(event: &mut Value, path: &str) -> Result<(), String> {
    let mut steps = steps(path)?;
    let last = steps.pop();
    let holder = steps.iter().try_fold(event, |place, step| match step {
        Step::Key(key) => place.get_mut(key),
        Step::Index(index) => place.get_mut(index),
    });
    match (holder, last) {
        (Some(Value::Object(object)), Some(Step::Key(key))) => {
            object.remove(&key);
        }
        (Some(Value::Array(array)), Some(Step::Index(index))) if index < array.len() => {
            array.remove(index);
        }
        _ => {}
    }
    Ok(())
}

/// What is at a step, if it can be entered. Nothing is there yet behind what is missing.
fn look<'a>(place: Option<&'a Value>, step: &Step) -> Result<Option<&'a Value>, String> {
    match (place, step) {
        (None, Step::Key(_) | Step::Index(0)) => Ok(None),
        (None, Step::Index(index)) => Err(past_the_end(*index, 0)),
        (Some(Value::Object(object)), Step::Key(key)) => Ok(object.get(key)),
        (Some(Value::Array(array)), Step::Index(index)) if *index > array.len() => {
            Err(past_the_end(*index, array.len()))
        }
        (Some(Value::Array(array)), Step::Index(index)) => Ok(array.get(*index)),
        (Some(other), Step::Key(key)) => Err(format!("`{key}` needs an object, found {}", kind(other))),
        (Some(other), Step::Index(index)) => Err(format!("`[{index}]` needs an array, found {}", kind(other))),
    }
}

fn past_the_end(index: usize, length: usize) -> String {
    format!("`[{index}]` is past the end of an array of {length}")
}

fn enter(place: &mut Value, step: Step) -> Option<&mut Value> {
    if place.is_null() {
        *place = match step {
            Step::Key(_) => Value::Object(Map::new()),
            Step::Index(_) => Value::Array(Vec::new()),
        };
    }
    match (place, step) {
        (Value::Object(object), Step::Key(key)) => Some(object.entry(key).or_insert(Value::Null)),
        (Value::Array(array), Step::Index(index)) => {
            if index == array.len() {
                array.push(Value::Null);
            }
            array.get_mut(index)
        }
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn steps(path: &str) -> Result<Vec<Step>, String> {
    let problem = |expected| format!("`{path}` is not a path: expected {expected}");
    let mut steps = Vec::new();
    let mut rest = path.strip_prefix("$.").unwrap_or(path);
    loop {
        let (step, after) = match rest.strip_prefix('[') {
            Some(inside) => bracketed(inside).ok_or_else(|| problem(r#"`[0]` or `["key"]`"#))?,
            None => bare(rest).ok_or_else(|| problem("a key"))?,
        };
        steps.push(step);
        if steps.len() > DEEPEST {
            return Err(problem("at most 128 steps"));
        }
        rest = match after.strip_prefix('.') {
            _ if after.is_empty() => return Ok(steps),
            Some(key) if !key.starts_with('[') => key,
            Some(_) => return Err(problem("a key after `.`")),
            None if after.starts_with('[') => after,
            None => return Err(problem("`.` or `[` after `]`")),
        };
    }
}

fn bare(rest: &str) -> Option<(Step, &str)> {
    let (key, after) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
    (!key.is_empty()).then(|| (Step::Key(key.to_owned()), after))
}

fn bracketed(inside: &str) -> Option<(Step, &str)> {
    if !inside.starts_with('"') {
        let (index, after) = inside.split_once(']')?;
        return Some((Step::Index(index.parse().ok()?), after));
    }
    let mut strings = Deserializer::from_str(inside).into_iter::<String>();
    let key = strings.next()?.ok()?;
    let after = inside.get(strings.byte_offset()..)?.strip_prefix(']')?;
    Some((Step::Key(key), after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({ "data": { "id": "u1", "user": null, "items": [{ "id": "a" }, { "id": "b" }] } })
    }

    #[track_caller]
    fn check_set(path: &str, expected: Value) {
        let mut event = event();
        set(&mut event, path, json!(1)).expect(path);
        assert_eq!(event["data"], expected);
    }

    #[track_caller]
    fn check_unset(path: &str, expected: Value) {
        let mut event = event();
        unset(&mut event, path).expect(path);
        assert_eq!(event["data"], expected);
    }

    #[track_caller]
    fn check_refused(path: &str, expected: &str) {
        let mut changed = event();
        let refused = set(&mut changed, path, json!(1));
        assert_eq!(refused, Err(expected.to_owned()));
        assert_eq!(changed, event());
    }

    #[test]
    fn one_value_is_changed_and_what_is_missing_on_the_way_is_created() {
        let items = json!([{ "id": "a" }, { "id": "b" }]);
        check_set("data", json!(1));
        check_set("$.data", json!(1));
        check_set("data.id", json!({ "id": 1, "user": null, "items": items }));
        check_set("data.items[1].id", json!({ "id": "u1", "user": null, "items": [{ "id": "a" }, { "id": 1 }] }));
        check_set("data.items[2]", json!({ "id": "u1", "user": null, "items": [{ "id": "a" }, { "id": "b" }, 1] }));
        check_set("data.user.phones[0].id", json!({ "id": "u1", "user": { "phones": [{ "id": 1 }] }, "items": items }));
        check_set(r#"data.user["a.b[\"c\"]"]"#, json!({ "id": "u1", "user": { "a.b[\"c\"]": 1 }, "items": items }));
    }

    #[test]
    fn one_value_is_taken_out_and_absence_is_fine() {
        let items = json!([{ "id": "a" }, { "id": "b" }]);
        check_unset("data.user", json!({ "id": "u1", "items": items }));
        check_unset(r#"["data"]["id"]"#, json!({ "user": null, "items": items }));
        check_unset("data.items[0]", json!({ "id": "u1", "user": null, "items": [{ "id": "b" }] }));
        check_unset("data.items[1].id", json!({ "id": "u1", "user": null, "items": [{ "id": "a" }, {}] }));
        for absent in ["x.y", "data.items[2]", "data.id.x", "data.user[0]", "data.items.id"] {
            check_unset(absent, event()["data"].clone());
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_reason() {
        check_refused("", "`` is not a path: expected a key");
        check_refused("data.", "`data.` is not a path: expected a key");
        check_refused("data..id", "`data..id` is not a path: expected a key");
        check_refused("data.[0]", "`data.[0]` is not a path: expected a key after `.`");
        check_refused("data[x]", "`data[x]` is not a path: expected `[0]` or `[\"key\"]`");
        check_refused("data[\"x]", "`data[\"x]` is not a path: expected `[0]` or `[\"key\"]`");
        check_refused("data[0]x", "`data[0]x` is not a path: expected `.` or `[` after `]`");
        check_refused("data.id.x", "cannot set `data.id.x`: `x` needs an object, found a string");
        check_refused("data[0]", "cannot set `data[0]`: `[0]` needs an array, found an object");
        check_refused("data.items[3]", "cannot set `data.items[3]`: `[3]` is past the end of an array of 2");
        check_refused(
            "new.items[18446744073709551615]",
            "cannot set `new.items[18446744073709551615]`: `[18446744073709551615]` is past the end of an array of 0",
        );
        let deep = vec!["a"; 129].join(".");
        check_refused(&deep, &format!("`{deep}` is not a path: expected at most 128 steps"));
    }

    proptest! {
        #[test]
        fn no_path_panics_and_what_was_set_is_unset_again(path in r#"(\PC|[a.\["\]0-9]){0,12}"#) {
            let mut event = event();
            unset(&mut event, &path).ok();
            if set(&mut event, &path, json!(1)).is_ok() {
                let with_one = event.clone();
                unset(&mut event, &path).expect("a path that can be set can be unset");
                prop_assert_ne!(with_one, event);
            }
        }
    }
}
