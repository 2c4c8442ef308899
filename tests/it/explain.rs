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
            "event": {"id": "msg_sample", "source": "clerk", "type": "user.created"},
            "revision": revision,
            "routes": [
                {"route": "team", "taken": true, "reason": null, "workflow": "new-signup", "requests": [{
                    "method": "POST",
                    "url": "https://api.novu.co/v1/events/trigger",
                    "body": {
                        "name": "new-signup",
                        "to": {"type": "Topic", "topicKey": "team"},
                        "payload": {"id": user},
                        "transactionId": null,
                    },
                    "left_out": [{"path": "payload.none", "reason": "`data.nothing` is missing"}],
                }]},
                {
                    "route": "off",
                    "taken": false,
                    "reason": "the route is switched off (`enabled: false`)",
                    "workflow": null,
                    "requests": [],
                },
                {
                    "route": "dead",
                    "taken": true,
                    "reason": "it would end dead: the subscriber has no `subscriberId`: `data.nothing` is missing",
                    "workflow": "w",
                    "requests": [],
                },
            ],
        })
    );
}

#[test]
fn the_text_shows_the_exact_request() {
    let folder = Folder::with(
        "  - { event: user.created, workflow: welcome, topic: team, payload: { a: 1, b: \"{{data.nothing}}\" } }\n",
    );
    let text = folder.explain(&["--sample", "user.created", "--source", "staging"]).fine().stdout;
    let (head, request) = text.split_once("\ntaken: welcome\n").expect("the route");
    assert!(head.starts_with("user.created from staging, decided by revision "), "{head}");
    let head = "  workflow: welcome\n  POST https://eu.api.novu.co/v1/events/trigger\n";
    let (body, left_out) = request.strip_prefix(head).and_then(|rest| rest.split_once("\n  }\n")).expect("the request");
    assert_eq!(left_out, "  left out: payload.b (`data.nothing` is missing)\n");
    let body: Value = serde_json::from_str(&format!("{body}}}")).expect("JSON");
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
        ("!$.x[*]", "x=[1,2]", "`$.x[*]` selects 2 values"),
        ("!$.x[*]", "x=[\"a\"]", "`$.x[*]` selects \"a\" (string)"),
        (
            "$.data.email_addresses[?@.verification.status == 'new']",
            "x=1",
            "`$.data.email_addresses[?@.verification.status == 'new']` selects nothing",
        ),
        ("$..nothing", "x=1", "`$..nothing` selects nothing"),
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
    let table = "event: user.created, workflow: { by: '$.data.plans[*]', cases: { pro: w } }";
    check(table, &[], "no case and no default for `$.data.plans[*]`, which selects nothing");
    check(&format!("{wants}, each: '$.data.list[*]'"), &[], "`each` selects nothing: `$.data.list[*]`");
}

/// What is left out of each request of the only route, as path and reason, where `user.created` has these changes.
#[track_caller]
fn left_out(route: &str, changes: &[&str]) -> Vec<Vec<(String, String)>> {
    let folder = Folder::with(&format!("  - {{ name: r, event: [user.*, session.created], {route} }}\n"));
    let changes: Vec<&str> = changes.iter().flat_map(|change| ["--set", change]).collect();
    let explained = folder.explain(&[&["--sample", "user.created", "--json"], &changes[..]].concat()).fine().json();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let of_request = |request: &Value| {
        let leaves = request["left_out"].as_array().expect("a list").iter();
        leaves.map(|leaf| (text(&leaf["path"]), text(&leaf["reason"]))).collect()
    };
    explained["routes"][0]["requests"].as_array().expect("requests").iter().map(of_request).collect()
}

#[test]
fn every_leaf_that_is_left_out_has_its_reason() {
    let check = |part: &str, changes: &[&str], expected: &[(&str, &str)]| {
        let expected: Vec<_> =
            expected.iter().map(|(path, reason)| ((*path).to_owned(), (*reason).to_owned())).collect();
        assert_eq!(left_out(&format!("workflow: w, topic: t, {part}"), changes), [expected], "{part}");
    };
    let plan = "payload: { plan: \"{{data.public_metadata.plan}}\" }";
    check(plan, &[], &[]);
    for (value, reason) in [
        ("null", "`data.public_metadata.plan` is missing"),
        ("{\"plan\":null}", "`data.public_metadata.plan` is null"),
        ("{\"plan\":\"\"}", "`data.public_metadata.plan` is an empty text"),
    ] {
        check(plan, &[&format!("data.public_metadata={value}")], &[("payload.plan", reason)]);
    }
    for fine in ["false", "0", "{}", "[]", "\" \""] {
        check(plan, &[&format!("data.public_metadata={{\"plan\":{fine}}}")], &[]);
    }
    check(
        "payload: { mail: \"{{primary_email}}\", is: \"{{primary_email}} it\", list: [x, \"{{data.none}}\", { deep: \"{{upper data.none}}\" }] }",
        &["data.primary_email_address_id=null"],
        &[
            ("payload.mail", "`{{primary_email}}` gives nothing"),
            ("payload.list[1]", "`data.none` is missing"),
            ("payload.list[2].deep", "`{{upper data.none}}` gives nothing"),
        ],
    );
    check("actor: \"{{data.actor}}\"", &[], &[("actor", "`data.actor` is missing")]);
    check(
        "overrides: { email: { to: [\"{{data.none}}\"] } }",
        &[],
        &[("overrides.email.to[0]", "`data.none` is missing")],
    );
}

#[test]
fn what_a_subscriber_is_without_has_its_reason() {
    let subscriber = |route: &str, changes: &[&str]| {
        let [found] = left_out(&format!("workflow: w{route}"), changes).try_into().expect("one request");
        found.into_iter().map(|(path, reason)| format!("{path}: {reason}")).collect::<Vec<_>>()
    };
    assert_eq!(subscriber("", &[]), [""; 0]);
    let nobody_knows = [
        "data.first_name=null",
        "data.last_name=",
        "data.primary_email_address_id=null",
        "data.primary_phone_number_id=\"idn_gone\"",
        "data.image_url=null",
        "data.locale=null",
    ];
    assert_eq!(
        subscriber("", &nobody_knows),
        [
            "subscriber.firstName: the event has no first name",
            "subscriber.lastName: the event has no last name",
            "subscriber.email: the event names no primary e-mail address",
            "subscriber.phone: the event names no primary phone number",
            "subscriber.avatar: the event has no picture",
            "subscriber.locale: the event has no locale",
        ]
    );
    assert_eq!(
        subscriber("", &["type=user.deleted", "data.first_name=null"]),
        [""; 0],
        "nobody would look for it there"
    );
    let session = ["type=session.created", "data={\"user_id\":\"u\",\"user\":{\"id\":\"u\",\"first_name\":\"A\"}}"];
    assert_eq!(subscriber("", &session).len(), 5);
    assert_eq!(subscriber("", &["type=session.created", "data={\"user_id\":\"u\",\"user\":null}"]), [""; 0]);
    assert_eq!(
        subscriber(
            ", subscriber: { subscriberId: \"{{data.id}}\", email: \"{{data.none}}\", phone: \"{{data.banned}}\", locale: \"{{data.locale}}\", data: { a: \"{{data.none}}\", b: \"{{data.banned}}\" } }",
            &["data.locale= "]
        ),
        [
            "subscriber.email: `data.none` is missing",
            "subscriber.data.a: `data.none` is missing",
            "subscriber.locale: it is blank, or neither a text nor a number",
            "subscriber.phone: it is blank, or neither a text nor a number",
        ]
    );
}

#[test]
fn each_request_of_a_route_has_its_own_reasons() {
    let route = "workflow: \"w-{{item.kind}}\", topic: t, each: '$.data.list[*]', payload: { a: \"{{item.a}}\" }";
    let list = "data.list=[{\"kind\":\"x\"},{\"kind\":\"y\",\"a\":1},{\"a\":null}]";
    let missing = ("payload.a".to_owned(), "`item.a` is missing".to_owned());
    assert_eq!(left_out(route, &[list]), [vec![missing], vec![]], "and the third has no workflow");

    let folder = Folder::with(&format!("  - {{ name: r, event: user.created, {route} }}\n"));
    let explained = folder.explain(&["--sample", "user.created", "--json", "--set", list]).fine().json();
    assert_eq!(explained["routes"][0]["workflow"], "w-x");
    let reason = "it would end dead: the workflow has no id: `item.kind` is missing";
    assert_eq!(explained["routes"][0]["reason"], reason);
}

#[test]
fn what_would_end_dead_says_which_expression_is_missing() {
    let check = |route: &str, change: &str, workflow: Option<&str>, expected: &str| {
        let folder = Folder::with(&format!("  - {{ name: r, event: [user.created, session.*], {route} }}\n"));
        let explained = folder.explain(&["--sample", "user.created", "--json", "--set", change]).fine().json();
        let explained = &explained["routes"][0];
        assert_eq!(explained["reason"], format!("it would end dead: {expected}"), "{route}");
        assert_eq!((&explained["workflow"], &explained["requests"]), (&json!(workflow), &json!([])), "{route}");
    };
    let subscriber = "the subscriber has no `subscriberId`";
    check("workflow: w", "data.id=null", Some("w"), &format!("{subscriber}: the event names nobody"));
    for (id, because) in [
        ("{{data.nothing}}", "`data.nothing` is missing"),
        ("u-{{data.id}}-{{lower data.nothing}}", "`{{lower data.nothing}}` gives nothing"),
        ("{{data.banned}}", "it is blank, or neither a text nor a number"),
    ] {
        let route = format!("workflow: w, subscriber: {{ subscriberId: \"{id}\" }}");
        check(&route, "x=1", Some("w"), &format!("{subscriber}: {because}"));
    }
    let topic = "workflow: w, topic: \"org-{{data.org}}\"";
    check(topic, "data.org=null", Some("w"), "the topic has no key: `data.org` is null");
    check(
        "workflow: w, topic: \"{{data.org}}\"",
        "data.org={}",
        Some("w"),
        "the topic has no key: it is blank, or neither a text nor a number",
    );
    let table = "workflow: { by: $.data.plan, cases: { pro: w }, default: \"plan-{{data.plan}}\" }";
    check(table, "data.plan=", None, "the workflow has no id: `data.plan` is an empty text");
    let failing = "workflow: w, payload: { day: \"{{date data.first_name}}\" }";
    check(failing, "x=1", Some("w"), "a template failed: `date` was given a text that is no date");
}

#[test]
fn what_would_be_more_than_an_event_may_become_says_so() {
    let route = |number| {
        format!("  - {{ event: \"*\", workflow: w{number}, topic: t, payload: {{ all: \"{{{{data}}}}\" }} }}\n")
    };
    let folder = Folder::with(&(0..20).map(route).collect::<String>());
    let event = json!({"type": "user.created", "data": {"text": "x".repeat(1 << 20)}}).to_string();
    let said = folder.explain_input(&["-", "--json"], event.as_bytes()).fine().json();
    let reason = |number: usize| said["routes"][number]["reason"].as_str();
    let too_much = "it would end dead: a template failed: the templates of this event loop too often or write too much";
    assert_eq!((reason(14), reason(19)), (None, Some(too_much)));
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
