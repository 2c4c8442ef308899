//! What `check` finds wrong with a file: each mistake where it stands, once, with nothing in its wake.

mod values;

use std::fs;

use serde_json::Value;

use crate::shell::run_with;

/// A `«` marks where a problem is; what is said of each is given in order.
#[track_caller]
fn check(marked: &str, expected: &[&[&str]]) {
    let mut places = Vec::new();
    for (line, text) in marked.lines().enumerate() {
        let columns = text.chars().enumerate().filter(|(_, char)| *char == '«').map(|(column, _)| column);
        // Marks before this one are no part of the file.
        places.extend(columns.enumerate().map(|(marks, column)| (line + 1, column + 1 - marks)));
    }
    assert_eq!(places.len(), expected.len(), "the marks of {marked}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("routes.yaml");
    fs::write(&file, marked.replace('«', "")).expect("a file");

    let ran = run_with("check --format json", |command| {
        command.arg(&file);
    });
    let report = ran.json();
    let found = report["problems"].as_array().expect("a list");
    assert_eq!(found.len(), expected.len(), "{marked}{found:#?}");
    for ((problem, place), parts) in found.iter().zip(places).zip(expected) {
        let at = |key: &str| problem[key].as_u64().expect(key) as usize;
        assert_eq!((at("line"), at("column")), place, "{marked}{problem:#}");
        let said = said(problem);
        for part in *parts {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }
    let errors = found.iter().any(|problem| problem["severity"] == "error");
    assert_eq!((ran.status, ran.stderr.as_str()), (i32::from(errors), ""), "{marked}");
}

/// `error unknown_key routes[0].filer: unknown key …`
fn said(problem: &Value) -> String {
    let text = |key: &str| problem[key].as_str().unwrap_or_default();
    let [severity, code, path, message] = ["severity", "code", "path", "message"].map(text);
    format!("{severity} {code} {path}: {message}; expected {}; hint: {}", text("expected"), text("hint"))
}

/// A file of one good route, and more lines in it.
#[track_caller]
fn check_route(lines: &str, expected: &[&[&str]]) {
    check(&format!("routes:\n  - event: user.created\n    workflow: welcome\n{lines}\n"), expected);
}

/// A file of these routes.
#[track_caller]
pub fn check_routes(lines: &str, expected: &[&[&str]]) {
    check(&format!("routes:\n{lines}\n"), expected);
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one() {
    check(
        "routes: []\n«vrs: {}\n",
        &[&["error unknown_key vrs: unknown key `vrs`", "one of `sources`, `novu`, `vars`", "did you mean `vars`?"]],
    );
    check_route(
        "    «filer: $.data.banned",
        &[&["error unknown_key routes[0].filer: unknown key `filer`", "hint: did you mean `filter`?"]],
    );
    check_route("    «colour: red", &[&["routes[0].colour: unknown key `colour`; expected one of `event`", "hint: "]]);
    check_route(
        "    subscriber: { subscriberId: x, «frstName: y }",
        &[&["unknown_key routes[0].subscriber.frstName", "did you mean `firstName`?"]],
    );
    check_route("delivery: { «concurency: 3 }", &[&["delivery.concurency", "did you mean `concurrency`?"]]);
    check_route("delivery: { retry: { «frist: 1s } }", &[&["delivery.retry.frist", "did you mean `first`?"]]);
    check_route("novu: { «api_ulr: x }", &[&["novu.api_ulr", "did you mean `api_url`?"]]);
    check_route("limits: { «bdy: 1MiB }", &[&["limits.bdy", "did you mean `body`?"]]);
    check_route(
        "tests: [{ event: user.created, expect: [], «sett: {} }]",
        &[&["tests[0].sett", "did you mean `set`?"]],
    );
    check_routes(
        "  - { name: a, event: email.created, workflow: { by: $.data.slug, cases: { a: b }, «defualt: c } }",
        &[&["routes[0].workflow.defualt", "did you mean `default`?"]],
    );
    check_route("    payload: { é: ü, anything: goes }\n    «filer: x", &[&["routes[0].filer"]]);
}

#[test]
fn a_misspelt_key_is_not_missing_as_well() {
    check("«rotues: []\n", &[&["did you mean `routes`?"]]);
    check_routes("  - { «evnt: user.created, workflow: a }", &[&["did you mean `event`?"]]);
    check_routes("  - { event: user.created, «workflw: a }", &[&["did you mean `workflow`?"]]);
    check_routes("  - { event: role.created, workflow: a, «topc: b }", &[&["did you mean `topic`?"]]);
    check_routes("  - { event: user.created, workflow: { by: $.data.id, «case: {} } }", &[&["did you mean `cases`?"]]);
    check_route("    subscriber: { «subscriberid: x }", &[&["did you mean `subscriberId`?"]]);
    check_route("sources: { clerk: { «signing_secret: x } }", &[&["did you mean `signing_secrets`?"]]);
    check_route("    source: staging\n«source: {}", &[&["did you mean `sources`?"]]);
    check_route("tests: [{ «evnt: user.created, «expct: [] }]", &[&["`event`?"], &["`expect`?"]]);
}

#[test]
fn a_missing_key_is_told_where_it_should_stand() {
    check("«vars: {}\n", &[&["error missing_key : the file has no `routes`", "a whole file is `routes: ["]]);
    check_routes(
        "  - «{ workflow: a }",
        &[&["error missing_key routes[0]: the route has no `event`", "such as `event:"]],
    );
    check_routes("  - «{ event: user.created }", &[&["routes[0]: the route has no `workflow`", "such as `workflow:"]]);
    check_routes("  - «event: user.created", &[&["the route has no `workflow`"]]);
    check_routes(
        "  - «{ event: user.created, workflow: { by: $.data.id, cases: { a: b } } }",
        &[&["missing_key routes[0]: the route needs a `name`", "not one plain id", "such as `name: auth-emails`"]],
    );
    check_routes("  - «{ event: user.created, workflow: 'email-{{data.id}}' }", &[&["the route needs a `name`"]]);
    check_routes("  - «{ event: user.created, workflow: two words }", &[&["the route needs a `name`"]]);
    check_routes(
        "  - { name: a, event: user.created, workflow: «{ by: $.data.id } }",
        &[&["missing_key routes[0].workflow: the workflow table has no `cases`"]],
    );
    check_route(
        "    subscriber: «{ email: x }",
        &[&["missing_key routes[0].subscriber: the subscriber has no `subscriberId`", "or leave `subscriber` out"]],
    );
    check_route(
        "sources: { clerk: «{} }",
        &[&["sources.clerk: the source has no `signing_secrets`", "such as `signing_"]],
    );
    check_route("tests:\n  - «{ event: user.created }", &[&["tests[0]: the test has no `expect`", "`expect: []`"]]);
    check_route("tests:\n  - «{ expect: [] }", &[&["tests[0]: the test needs an `event` or a `file`"]]);
}

#[test]
fn yaml_that_would_lose_something_is_refused() {
    let tag = "is a YAML tag, and the value behind it would be lost";
    check_route(
        "    filter: «!$.data.banned",
        &[&["error yaml_tag routes[0].filter: `!$.data.banned`", tag, "put the whole value in quotes"]],
    );
    check_routes("  - { event: user.created, workflow: «!!str x }", &[&["yaml_tag routes[0].workflow: `!!str`", tag]]);
    check_route("    payload: «!x\n      a: 1", &[&["yaml_tag routes[0].payload: `!x`"]]);
    check_route("    payload: { a: [1, «!x 2] }", &[&["yaml_tag routes[0].payload.a[1]: `!x`"]]);
    check(
        "vars: { x: &x «!$.data.banned }\nroutes:\n  - { event: user.created, workflow: w, filter: *x }\n",
        &[&["yaml_tag vars.x"]],
    );

    check_route(
        "    «workflow: other",
        &[&["error duplicate_key routes[0].workflow: `workflow` stands twice", "the first is in line 3"]],
    );
    check_route("    payload: { a: { x: 1, «x: 2 }, b: { x: 1 } }", &[&["duplicate_key routes[0].payload.a.x"]]);
    check("routes: []\n«routes: []\n«routes: []\n", &[&["the first is in line 1"], &["the first is in line 1"]]);

    let nothing = "there is nothing where a value belongs";
    check_route("    filter: «~", &[&["error bad_value routes[0].filter", nothing]]);
    check_route("    payload: { a: «null }", &[&["bad_value routes[0].payload.a", nothing, "expected a value"]]);
    check_route("    subscriber: { subscriberId: «null }", &[&["routes[0].subscriber.subscriberId", nothing]]);
    check_route("vars: { a: «~ }", &[&["bad_value vars.a", nothing]]);
    check_routes("  - { event: «~, workflow: a }", &[&["routes[0].event", nothing, "a Clerk event type such as"]]);
    check_routes(
        "  - { event: user.created, workflow: «~ }",
        &[&["routes[0].workflow", nothing, "a Novu workflow id"]],
    );
    check_route("    filter: «[]", &[&["bad_value routes[0].filter: an empty list does not belong here"]]);
    check_route("    source: «[]", &[&["bad_value routes[0].source: an empty list does not belong here"]]);
    check_route("sources: «{}", &[&["bad_value sources: an empty object", "at least one source"]]);
    check("«", &[&["bad_value : there is nothing where a value belongs", "an object of keys and values"]]);
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    check_routes(
        "  - event: «*.created\n    workflow: x",
        &[&["error bad_yaml : not readable as YAML", "put the value in quotes"]],
    );
    check_route("    payload: { a: {«{data.id}} }", &[&["bad_yaml", "needs quotes, as in `\"{{data.id}}\"`"]]);
    check_route("    filter: «@.data", &[&["bad_yaml", "hint: put the value in quotes"]]);
    check_route("     filter«: $.data.banned", &[&["bad_yaml", "the keys of one object start in the same column"]]);
    check_route("    filter: $.data.slug == 'a«: b'", &[&["bad_yaml", "a value that holds `: ` needs quotes"]]);
    check("routes:\n- event: user.created\n «workflow: a\n", &[&["bad_yaml", "start in the same column"]]);
    check_route("    name: \"welcome\n    «filter: $.data", &[&["bad_yaml", "is a quote left open"]]);
    check("routes:\n  «event: user.created\n", &[&["bad_value routes: an object", "start each item with `- `"]]);
    check("routes: «[\n", &[&["bad_yaml : not readable as YAML: unclosed bracket '['; expected"]]);
    check("routes:\n\t«- x\n", &[&["bad_yaml : not readable as YAML: tabs disallowed"]]);
    let deep = format!("routes: {}«[]{}\n", "[".repeat(63), "]".repeat(63));
    check(&deep, &[&["bad_yaml : more is in the file, or deeper inside each other"]]);
    check("routes: []\n«---\nroutes: []\n", &[&["bad_yaml : more than one document is in the file"]]);
}
