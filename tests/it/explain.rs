//! `explain`: one event through the rules, nothing sent.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::harness::{deskbell, sample};
use crate::shell::{Ran, run_command};

/// A folder with rules that need secrets nobody has here.
struct Folder(TempDir);

const SOURCES: &str = "sources:\n  clerk: { signing_secrets: [\"${CLERK_WEBHOOK_SIGNING_SECRET}\"] }\n  \
                       staging: { signing_secrets: [\"${file:/gone}\"], novu: { secret_key: \"${NOVU_GONE}\", api_url: \"https://eu.api.novu.co/\" } }\n";

impl Folder {
    fn with(routes: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("routes.yaml"), format!("{SOURCES}routes:\n{routes}")).expect("rules");
        Self(folder)
    }

    fn explain(&self, arguments: &[&str]) -> Ran {
        self.explain_input(arguments, b"")
    }

    fn explain_input(&self, arguments: &[&str], stdin: &[u8]) -> Ran {
        let mut command = deskbell();
        command.current_dir(self.0.path()).arg("explain").args(arguments);
        run_command(command, stdin)
    }

    /// What is said of the only route about `user.created`, changed like this.
    #[track_caller]
    fn reason(&self, arguments: &[&str]) -> String {
        let arguments = [&["--sample", "user.created", "--json"], arguments].concat();
        let explained = self.explain(&arguments).fine().json();
        let [route] = explained["routes"].as_array().expect("routes").as_slice() else { panic!("{explained:#}") };
        assert_eq!((&route["taken"], &route["requests"]), (&json!(false), &json!([])), "{explained:#}");
        let reason = route["reason"].as_str().expect("a reason").to_owned();
        let text =
            self.explain(&arguments.iter().copied().filter(|argument| *argument != "--json").collect::<Vec<_>>());
        assert!(text.fine().stdout.contains(&format!("\nnot taken: r\n  {reason}\n")), "the text says the same");
        reason
    }
}

/// The only request of an explanation.
#[track_caller]
fn only_body(ran: Ran) -> Value {
    let explained = ran.fine().json();
    let [request] = explained["routes"][0]["requests"].as_array().expect("requests").as_slice() else {
        panic!("{explained:#}")
    };
    request["body"].clone()
}

#[test]
fn the_json_has_the_shape_that_scripts_rely_on() {
    let folder = Folder::with(
        "  - { name: team, event: user.created, workflow: new-signup, topic: team, payload: { id: \"{{data.id}}\", none: \"{{data.nothing}}\" } }\n  \
         - { name: off, event: user.created, workflow: w, enabled: false }\n  \
         - { name: dead, event: user.created, workflow: w, subscriber: { subscriberId: \"{{data.nothing}}\" } }\n",
    );
    let mut explained = folder.explain(&["--sample", "user.created", "--json"]).fine().json();
    let id = explained["routes"][0]["requests"][0]["body"]["transactionId"].take();
    let hex = id.as_str().and_then(|id| id.strip_prefix("deskbell_")).expect("a transaction id");
    assert!(hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hex}");
    let hash = Sha256::digest(fs::read(folder.0.path().join("routes.yaml")).expect("rules"));
    let revision: String = hash[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let user = deskbell::clerk::sample("user.created").expect("a sample")["data"]["id"].clone();
    assert_eq!(
        explained,
        json!({
            "event": {"id": "msg_sample", "type": "user.created"},
            "revision": revision,
            "routes": [
                {"route": "team", "taken": true, "reason": null, "requests": [{
                    "method": "POST",
                    "url": "https://api.novu.co/v1/events/trigger",
                    "body": {
                        "name": "new-signup",
                        "to": {"type": "Topic", "topicKey": "team"},
                        "payload": {"id": user},
                        "transactionId": null,
                    },
                }]},
                {"route": "off", "taken": false, "reason": "the route is switched off (`enabled: false`)", "requests": []},
                {"route": "dead", "taken": true, "reason": "it would end dead: the subscriber has no `subscriberId`", "requests": []},
            ],
        })
    );
}

#[test]
fn the_text_shows_the_exact_request() {
    let folder = Folder::with("  - { event: user.created, workflow: welcome, topic: team, payload: { a: 1 } }\n");
    let text = folder.explain(&["--sample", "user.created", "--source", "staging"]).fine().stdout;
    let (head, request) = text.split_once("\ntaken: welcome\n").expect("the route");
    assert!(head.starts_with("user.created from staging, decided by revision "), "{head}");
    let body = request.strip_prefix("  POST https://eu.api.novu.co/v1/events/trigger\n").expect("the request");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&body["name"], &body["payload"]), (&json!("welcome"), &json!({"a": 1})));
}

#[test]
fn an_event_comes_from_a_sample_a_file_or_standard_input() {
    let folder = Folder::with("  - { event: user.created, workflow: welcome }\n");
    let event = sample("user.created");
    fs::write(folder.0.path().join("event.json"), &event).expect("an event");
    let from_sample = folder.explain(&["--sample", "user.created"]).fine().stdout;
    assert_eq!(folder.explain(&["event.json"]).fine().stdout, from_sample);
    assert_eq!(folder.explain_input(&["-"], event.as_bytes()).fine().stdout, from_sample);

    let untyped = folder.explain_input(&["-"], b"{\"success\":true}").fine().stdout;
    assert!(untyped.contains("it wants `user.created`, and the event has no type"), "{untyped}");
    folder.explain(&["nowhere.json"]).failed(1).says(&["`nowhere.json` cannot be read"]);
    folder.explain_input(&["-"], b"{} {}").failed(1).says(&["`-` is not JSON"]);
}

#[test]
fn set_and_unset_change_the_event() {
    let folder = Folder::with(
        "  - { event: user.created, workflow: w, topic: t, payload: { a: \"{{data.a}}\", first: \"{{data.first_name}}\", last: \"{{data.last_name}}\", mail: \"{{data.email_addresses.0.id}}\" } }\n",
    );
    let payload = |changes: &[&str]| {
        let arguments = [&["--sample", "user.created", "--json"], changes].concat();
        only_body(folder.explain(&arguments))["payload"].clone()
    };
    let mail = deskbell::clerk::sample("user.created").expect("a sample")["data"]["email_addresses"][1]["id"].clone();
    assert_eq!(
        payload(&["--set", "data.first_name=Grace", "--unset=data.last_name", "--unset", "data.email_addresses[0]"]),
        json!({"first": "Grace", "mail": mail})
    );
    for (written, value) in [
        ("1.5", json!(1.5)),
        ("true", json!(true)),
        ("{\"b\":[1]}", json!({"b": [1]})),
        ("\"1\"", json!("1")),
        ("a=b", json!("a=b")),
        ("not json", json!("not json")),
    ] {
        assert_eq!(payload(&["--set", &format!("data.a={written}")])["a"], value, "{written}");
    }
    for (changes, said) in [
        (["--set", "data.a"], "`--set data.a` has no value, expected PATH=VALUE"),
        (["--set", "data.id.x=1"], "`x` needs an object, found a string"),
        (["--unset", "data..x"], "is not a path"),
    ] {
        folder.explain(&[&["--sample", "user.created"], &changes[..]].concat()).failed(2).says(&[said]);
    }
}

#[test]
fn every_route_that_is_not_taken_has_its_reason() {
    let check = |route: &str, arguments: &[&str], expected: &str| {
        assert_eq!(Folder::with(&format!("  - {{ name: r, {route} }}\n")).reason(arguments), expected, "{route}");
    };
    let wants = "event: user.created, workflow: w";
    check(
        "event: [user.deleted, session.*], workflow: w",
        &[],
        "it wants `user.deleted`, `session.*`, and the event is `user.created`",
    );
    check(&format!("{wants}, source: staging"), &[], "it wants the source `staging`, and the event came from `clerk`");
    check(
        &format!("{wants}, source: [clerk]"),
        &["--source", "staging"],
        "it wants the source `clerk`, and the event came from `staging`",
    );
    check(&format!("{wants}, enabled: false"), &[], "the route is switched off (`enabled: false`)");
    for (filter, change, seen) in [
        ("$.data.banned == true", "data.banned=false", "`$.data.banned` is `false` (boolean)"),
        ("$.data.banned == true", "data.banned=\"true\"", "`$.data.banned` is \"true\" (string)"),
        ("$.data.banned == true", "data.banned=1.5", "`$.data.banned` is `1.5` (number)"),
        ("$.data.banned == true", "data.banned=null", "`$.data.banned` is `null`"),
        ("$.data.banned == true", "data.banned=[1,2]", "`$.data.banned` is an array of 2"),
        ("$.data.banned == true", "data.banned={\"a\":1}", "`$.data.banned` is an object of 1"),
        ("$.data.nothing == true", "x=1", "`$.data.nothing` is missing"),
        ("$.data.a == 1 || $.data.b == 2", "data.b=3", "`$.data.a` is missing, `$.data.b` is `3` (number)"),
        ("$.x == 1 && $.data.a == 1", "x=1", "`$.data.a` is missing"),
        ("!$.x", "x=1", "`$.x` is `1` (number)"),
        ("!$.x[*]", "x=[1,2]", "`$.x[*]` is 2 values"),
    ] {
        let route = format!("{wants}, filter: \"{filter}\"");
        check(&route, &["--set", change], &format!("the filter `{filter}` does not hold: {seen}"));
    }
    check(
        &format!("{wants}, filter: [$.data.id, '$.data.nothing']"),
        &[],
        "the filter `$.data.nothing` does not hold: `$.data.nothing` is missing",
    );
    let table = "event: user.created, workflow: { by: $.data.plan, cases: { pro: w } }";
    check(table, &["--set", "data.plan=free"], "no case and no default for `$.data.plan`, which is \"free\" (string)");
    check(table, &[], "no case and no default for `$.data.plan`, which is missing");
    check(&format!("{wants}, each: '$.data.list[*]'"), &[], "`each` selects nothing: `$.data.list[*]`");
}

#[test]
fn an_event_is_judged_at_its_own_time_and_the_same_every_time() {
    let folder = Folder::with(
        "  - { event: user.created, workflow: w, max_age: 1s, topic: t, payload: { of: \"{{timestamp}}\" } }\n",
    );
    let long_ago = ["--sample", "user.created", "--json", "--set", "timestamp=1000000000000"];
    let body = only_body(folder.explain(&long_ago));
    assert_eq!(body["payload"]["of"], 1_000_000_000_000_i64);
    assert_eq!(only_body(folder.explain(&long_ago)), body);
}

#[test]
fn rules_that_cannot_run_explain_nothing() {
    let folder = Folder::with("  - { event: user.created, workflow: w, filter: data.id, priority: x }\n");
    folder.explain(&["--sample", "user.created", "--json"]).failed(1).says(&[
        "routes.yaml:5:49: error[bad_jsonpath]: unexpected `data`",
        "routes.yaml:5:68: error[bad_value]: `x` does not belong here",
        "deskbell: `routes.yaml` has errors",
    ]);
    folder.explain(&["--sample", "user.created", "--routes", "nowhere.yaml"]).failed(1).says(&["cannot be read"]);
    let folder = Folder::with("  - { event: user.create, workflow: w }\n");
    folder.explain(&["--sample", "user.created"]).fine();
    folder.explain(&["--sample", "user.created", "--source", "nobody"]).failed(2).says(&["no source `nobody`"]);
}
