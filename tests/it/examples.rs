//! The folders below `examples/`: each is a page of the manual, and each is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use deskbell::units::now;
use serde_json::{Value, json};

use crate::harness::{Place, repository, rules};
use crate::novu::Novu;
use crate::shell::run_with;

pub fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(repository("examples")).expect("the examples");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(!folders.is_empty(), "there are no examples");
    folders
}

/// What follows a prefix in the names of the JSON files of a folder: `-updated` of `event-updated.json`.
fn files(folder: &Path, prefix: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    names.filter_map(|name| Some(name.strip_prefix(prefix)?.strip_suffix(".json")?.to_owned())).collect()
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The events of a folder, and the Novu requests that each is expected to become.
fn events(folder: &Path) -> Vec<(PathBuf, Vec<Value>)> {
    let names = files(folder, "event");
    assert_eq!(names, files(folder, "expected"), "{}: each event has what is expected of it", folder.display());
    assert!(!names.is_empty(), "{} has no event", folder.display());
    let expected = |name: &String| read(&folder.join(format!("expected{name}.json")));
    names
        .iter()
        .map(|name| {
            let expected = expected(name).as_array().expect("a list of requests").clone();
            (folder.join(format!("event{name}.json")), expected)
        })
        .collect()
}

/// Takes the transaction id out of a request.
fn take_id(body: &mut Value) -> String {
    let id = body.as_object_mut().expect("a body").remove("transactionId").expect("a transaction id");
    id.as_str().expect("a text").to_owned()
}

#[test]
fn every_example_checks_without_error_or_warning_and_passes_its_own_tests() {
    let files = folders().into_iter().map(|folder| folder.join("routes.yaml"));
    for file in files.chain([repository("routes.yaml")]) {
        let ran = run_with("check --strict --format json", |command| {
            command.arg(&file);
        });
        let report = ran.json();
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{report:#}");
        let problems = report["problems"].as_array().expect("a list");
        assert!(problems.iter().all(|problem| problem["severity"] == "note"), "{problems:#?}");
        assert_eq!(report["tests"]["failed"], 0, "{report:#}");
        assert!(report["tests"]["passed"].as_u64() > Some(0), "{} has no tests", file.display());
    }
}

#[test]
fn every_event_of_an_example_becomes_the_requests_that_it_shows() {
    for folder in folders() {
        for (event, expected) in events(&folder) {
            let explain = || {
                let ran = run_with("explain --json --routes", |command| {
                    command.arg(folder.join("routes.yaml")).arg(&event);
                });
                ran.fine().json()
            };
            let explained = explain();
            assert_eq!(explained, explain(), "{}: said twice, the same is said", event.display());
            let routes = explained["routes"].as_array().expect("routes");
            let requests = routes.iter().flat_map(|route| route["requests"].as_array().expect("requests"));
            let mut bodies: Vec<Value> = requests.map(|request| request["body"].clone()).collect();
            let ids: BTreeSet<String> = bodies.iter_mut().map(take_id).collect();
            assert_eq!(ids.len(), bodies.len(), "{}: each request has an id of its own", event.display());
            let (bodies, expected) = (json!(bodies), json!(expected));
            assert_eq!(bodies, expected, "{}: {bodies:#} is not {expected:#}", event.display());
        }
    }
}

#[test]
fn every_event_of_an_example_reaches_novu_as_it_shows() {
    for folder in folders() {
        let novu = Novu::start();
        let place = Place::empty();
        let text = fs::read_to_string(folder.join("routes.yaml")).expect("routes");
        // Where webhooks come from and where Novu is; everything else is as it stands there.
        place.write_rules(&rules(novu.address, "").replace("routes:\n", &text));
        let gateway = place.start();

        let mut expected = Vec::new();
        for (number, (path, bodies)) in events(&folder).into_iter().enumerate() {
            let mut event = read(&path);
            // As if it happened now: `max_age` counts from there.
            event["timestamp"] = now().into();
            let answer = gateway.send(&format!("msg_{number}"), &event.to_string());
            assert_eq!(answer.status, 200, "{}: {}", path.display(), answer.body);
            let outcome = if bodies.is_empty() { "unrouted" } else { "accepted" };
            assert_eq!(answer.outcome(), outcome, "{}", path.display());
            expected.extend(bodies);
        }
        gateway.drain();

        let mut sent: Vec<Value> = novu.requests().into_iter().map(|request| request.body).collect();
        let ids: BTreeSet<String> = sent.iter_mut().map(take_id).collect();
        assert_eq!(ids.len(), sent.len(), "{}: nothing was sent twice", folder.display());
        let sorted = |mut bodies: Vec<Value>| {
            bodies.sort_by_key(Value::to_string);
            json!(bodies)
        };
        let (sent, expected) = (sorted(sent), sorted(expected));
        assert_eq!(sent, expected, "{}: {sent:#} is not {expected:#}", folder.display());
    }
}
