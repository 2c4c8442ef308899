//! The keys of `routes.yaml`: the compiler, the schema that editors use, and the table that both come from.

use std::collections::BTreeSet;
use std::fs;

use deskbell::clerk;
use deskbell::compiled::Compiled;
use deskbell::keys::{FILE, Key, Object, Rivals, Shape};
use deskbell::outside::Outside;
use deskbell::problem::Severity;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::examples;
use crate::harness::repository;
use crate::shell::run;
use crate::tidy::rules_in_the_readme;

fn schema() -> Value {
    run("schema").fine().json()
}

fn validator() -> Validator {
    jsonschema::draft7::new(&schema()).expect("a schema")
}

/// An object of the file, and the JSON pointer to the one that a test may change.
struct Place {
    object: &'static Object,
    pointer: String,
}

impl Place {
    /// The object in a file.
    fn of<'a>(&self, file: &'a mut Value) -> &'a mut Map<String, Value> {
        file.pointer_mut(&self.pointer).and_then(Value::as_object_mut).expect("an object")
    }
}

/// The objects inside a value, and the way to them.
fn inner(shape: &Shape) -> Option<(&'static Object, &'static str)> {
    match shape {
        Shape::Object(object) => Some((object, "")),
        Shape::Named(object) => Some((object, "/clerk")),
        Shape::List(Shape::Object(object)) => Some((object, "/0")),
        Shape::Either(_, other) => inner(other),
        _ => None,
    }
}

fn places() -> Vec<Place> {
    let mut places = vec![Place { object: &FILE, pointer: String::new() }];
    let mut next = 0;
    while let Some(place) = places.get(next) {
        let pointer = place.pointer.clone();
        for key in place.object.keys {
            if let Some((object, way)) = inner(&key.shape) {
                places.push(Place { object, pointer: format!("{pointer}/{}{way}", key.name) });
            }
        }
        next += 1;
    }
    assert!(places.len() > 10, "only {} objects were found", places.len());
    places
}

/// A file that has every object in it, and otherwise what is required.
fn full(object: &Object) -> Value {
    let mut value = json!({});
    for key in object.keys {
        let chosen = matches!(object.rivals, Rivals::ExactlyOne([first, _]) if first == key.name);
        let needs = chosen || key.required.is_some();
        value[key.name] = match inner(&key.shape) {
            Some((object, "")) => full(object),
            Some((object, "/0")) => json!([full(object)]),
            Some((object, _)) => json!({ "clerk": full(object) }),
            None if needs => key.example_value().expect("an example of what is required"),
            None => continue,
        };
    }
    value
}

fn file() -> Value {
    let mut file = full(&FILE);
    // The workflow is a table.
    file["routes"][0]["name"] = json!("welcome");
    file
}

/// Whether the compiler takes a file.
fn compiles(file: &Value) -> bool {
    let compiled = Compiled::of(file.to_string().as_bytes(), Outside::Optional);
    compiled.problems.iter().all(|problem| problem.severity != Severity::Error)
}

/// Puts a value into the file, in place of the one that may not stand beside it.
fn with(place: &Place, key: &str, value: Value) -> Value {
    let mut file = file();
    let object = place.of(&mut file);
    if let Rivals::AtMostOne(names) | Rivals::ExactlyOne(names) = place.object.rivals
        && names.contains(&key)
    {
        names.iter().for_each(|name| drop(object.remove(*name)));
    }
    object.insert(key.to_owned(), value);
    file
}

/// Values that fit somewhere, and values that fit nowhere.
fn values(key: &Key) -> Vec<Value> {
    let mut values = json!([
        null, true, false, 0, 1, 7.0, 7.5, -1, "", " ", "x", "two words", "{{data.id}}", "a-{{data.id}}", "$.data.id",
        "clerk", "nobody", "user.created", "organization.*", "auto", "60/s", "60 /s", "0/s", "+60/s", "60/m", "60",
        "10s", "007 d", "0s", "10", "-1s", "1.5h", "10 minutes", "1MiB", "512KiB", "0B", "1MB", "true", "[]",
        [], [null], ["x"], ["user.created"], ["$.data.id", "$.data.name"], [""], [["x"]], [1], {},
        { "x": null }, { "x": 1 }, { "x": "y" }, { "x": { "y": [1, { "z": null }] } }, { "x": { "y": [1, "{{a}}"] } },
        { "a b": {} }, { "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6 }
    ])
    .as_array()
    .expect("a list")
    .clone();
    values.extend(key.default_value());
    values.extend(key.example_value().map(|example| json!([example])));
    values.extend(key.example_value());
    if let Some(most) = key.most {
        values.extend([json!(most), json!(most + 1), json!(format!("{most}/s")), json!(format!("{}/s", most + 1))]);
        values.extend([json!(format!("{most}B")), json!(format!("{}B", most + 1))]);
    }
    if let Shape::Word(words) = key.shape {
        values.extend(words.iter().flat_map(|word| [json!(word), json!([word]), json!(word.to_uppercase())]));
    }
    if let Shape::Name = key.shape {
        values.extend([json!("n".repeat(128)), json!("n".repeat(129)), json!("a\u{7}b")]);
    }
    values
}

/// What the compiler refuses and the schema cannot: of which key, which values (or all texts), and why.
const BEYOND_A_SCHEMA: &[(&str, &str, &str)] = &[
    ("source.signing_secrets", "", "what a text is worth is seen when it is resolved"),
    ("Novu account.api_url", "", "what a text is worth is seen when it is resolved"),
    ("delivery.rate", "100001/s", "a pattern does not count"),
    ("limits.body", "67108865B", "a pattern does not count"),
    ("limits.free_disk", "1125899906842625B", "a pattern does not count"),
    ("delivery.concurrency", "7.0", "to a schema, this is a whole number"),
    ("limits.body", "7.0", "to a schema, this is a whole number"),
    ("limits.free_disk", "7.0", "to a schema, this is a whole number"),
    ("limits.queue", "7.0", "to a schema, this is a whole number"),
    ("route.source", "", "the sources stand elsewhere in the file"),
    ("route.filter", "", "a JSONPath is no regular language"),
    ("route.each", "", "a JSONPath is no regular language"),
    ("workflow table.by", "", "a JSONPath is no regular language"),
    ("workflow table.cases", "{}", "with a `default` beside it, it is fine"),
    ("route.name", "\\u0007", "not worth a pattern that nobody can read"),
];

/// Which of these it is.
fn beyond_a_schema(path: &str, value: &Value) -> Option<usize> {
    let is_text = |value: &Value| value.is_string();
    let texts = is_text(value) || value.as_array().is_some_and(|items| items.iter().all(is_text));
    let fits = |part: &str| if part.is_empty() { texts } else { value.to_string().contains(part) };
    BEYOND_A_SCHEMA.iter().position(|(key, part, _)| *key == path && fits(part))
}

#[test]
fn the_schema_is_one_and_every_file_of_rules_fits_it() {
    let schema = schema();
    jsonschema::draft7::meta::validate(&schema).expect("a draft-07 schema");
    let validator = validator();
    let mut files: Vec<(String, String)> = examples::folders()
        .into_iter()
        .map(|folder| folder.join("routes.yaml"))
        .chain([repository("routes.yaml")])
        .map(|path| (path.display().to_string(), fs::read_to_string(path).expect("a file")))
        .collect();
    files.extend(rules_in_the_readme().into_iter().map(|text| ("README.md".to_owned(), text)));
    for (name, text) in files {
        let file: Value = serde_saphyr::from_str(&text).expect("YAML");
        let wrong: Vec<String> = validator.iter_errors(&file).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}\n{text}");
    }
}

#[test]
fn the_schema_refuses_what_check_refuses_and_nothing_else() {
    let validator = validator();
    assert!(compiles(&file()) && validator.is_valid(&file()), "{:#}", file());
    let mut beyond = BTreeSet::new();
    for place in places() {
        for key in place.object.keys {
            let path = format!("{}.{}", place.object.name, key.name);
            for value in values(key) {
                let file = with(&place, key.name, value.clone());
                let (compiles, fits) = (compiles(&file), validator.is_valid(&file));
                let exception = beyond_a_schema(&path, &value).filter(|_| fits && !compiles);
                beyond.extend(exception);
                assert!(
                    compiles == fits || exception.is_some(),
                    "`{path}: {value}`: check takes it: {compiles}, the schema takes it: {fits}"
                );
                let null_is_a_value = matches!(key.shape, Shape::Any);
                assert!(!compiles || !value.is_null() || null_is_a_value, "`{path}` takes null");
            }
            for value in key.default_value().into_iter().chain(key.example_value()) {
                assert!(compiles(&with(&place, key.name, value.clone())), "`{path}: {value}` is said to be good");
            }
        }
    }
    assert_eq!(beyond.len(), BEYOND_A_SCHEMA.len(), "of the exceptions, {beyond:?} are needed");
}

#[test]
fn keys_that_are_unknown_missing_or_too_many_are_refused_by_both() {
    let validator = validator();
    let both_refuse = |file: &Value| !compiles(file) && !validator.is_valid(file);
    for place in places() {
        let name = place.object.name;
        assert!(both_refuse(&with(&place, "no_such_key", json!("x"))), "{name}: an unknown key");
        for key in place.object.keys.iter().filter(|key| key.required.is_some()) {
            let mut file = file();
            place.of(&mut file).remove(key.name);
            assert!(both_refuse(&file), "{name}: no `{}`", key.name);
        }
        if let Rivals::AtMostOne(names) | Rivals::ExactlyOne(names) = place.object.rivals {
            let mut file = file();
            for name in names {
                let example = place.object.key(name).and_then(Key::example_value).expect("an example");
                place.of(&mut file).insert(name.to_owned(), example);
            }
            assert!(both_refuse(&file), "{name}: both of {names:?}");
        }
        if let Rivals::ExactlyOne(names) = place.object.rivals {
            let mut file = file();
            names.iter().for_each(|name| drop(place.of(&mut file).remove(*name)));
            assert!(both_refuse(&file), "{name}: none of {names:?}");
        }
    }
}

/// All that a file comes to, as text.
fn meaning(file: &Value) -> String {
    let compiled = Compiled::of(file.to_string().as_bytes(), Outside::Optional);
    let rules = compiled.rules.unwrap_or_else(|| panic!("{file}: {:#?}", compiled.problems));
    format!("{:?} {:?} {:?}", rules.settings, rules.source_names().collect::<Vec<_>>(), rules.routes())
}

#[test]
fn a_default_that_is_written_out_changes_nothing() {
    let mut written = 0;
    for place in places() {
        // The environment of whoever runs this may have another address.
        let fixed = |key: &&Key| key.name != "api_url" || std::env::var_os("NOVU_API_URL").is_none();
        for key in place.object.keys.iter().filter(|key| key.default.is_some()).filter(fixed) {
            let mut without = file();
            place.of(&mut without).remove(key.name);
            let default = key.default_value().expect("a default");
            assert_eq!(meaning(&with(&place, key.name, default)), meaning(&without), "{}", key.name);
            written += 1;
        }
    }
    assert!(written > 15, "only {written} defaults were found");
}

#[test]
fn every_setting_is_read_under_its_own_name() {
    let file = json!({
        "routes": [],
        "delivery": {
            "concurrency": 2, "timeout": "3s", "rate": "4/s",
            "retry": { "first": "5ms", "longest": "6m", "unknown": "7h", "give_up_after": "8d" },
        },
        "limits": { "body": "9KiB", "queue": 10 },
    });
    let compiled = Compiled::of(file.to_string().as_bytes(), Outside::Optional);
    let settings = compiled.rules.expect("rules").settings;
    assert_eq!((settings.concurrency, settings.timeout, settings.rate), (2, 3_000, Some(4)));
    let retry = settings.retry;
    let pauses = (retry.first, retry.longest, retry.unknown, retry.give_up_after);
    assert_eq!(pauses, (5, 360_000, 25_200_000, 691_200_000));
    assert_eq!((settings.body_limit, settings.queue_limit), (9_216, 10));
}

#[test]
fn every_key_says_what_it_is_for_and_what_holds_without_it() {
    for place in places() {
        for key in place.object.keys {
            let name = format!("{}.{}", place.object.name, key.name);
            assert!(!key.about.is_empty() && !key.about.ends_with('.'), "{name} says `{}`", key.about);
            let plain = matches!(
                key.shape,
                Shape::Boolean
                    | Shape::Duration
                    | Shape::Size
                    | Shape::Count
                    | Shape::Rate
                    | Shape::Room
                    | Shape::Word(_)
            );
            // A delivery has no end of its own, unless the route says so.
            assert!(!plain || key.default.is_some() || key.name == "max_age", "{name} has no default");
        }
    }
    let schema = schema();
    let timeout = &schema["properties"]["delivery"]["properties"]["timeout"];
    assert_eq!(timeout["description"], "of one attempt. Default: `10s`");
    assert_eq!(timeout["default"], "10s");
    let event = schema["properties"]["routes"]["items"]["properties"]["event"].to_string();
    assert!(clerk::event_types().all(|kind| event.contains(&format!("\"{kind}\""))), "{event}");
}
